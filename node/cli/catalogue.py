"""`catalogue`: service items and implementations, from a text file to a clerk's question.

A province's items are signed by the keepers of its directory keys, like the directory: `propose`
them. An authority's sheet is signed with its own catalogue key: `sign` it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.asking import CONFIG_NAME, ConfigFile, ask
from node.cli.documents import (
    Signer,
    check_files,
    kind_of,
    naming,
    payload_of,
    read_anchor,
    read_files,
    read_octets,
    sign_payload,
)
from node.cli.ending import CommandError, Exit
from node.cli.output import AsJson, write, write_json, write_table
from node.cli.publisher import Publisher
from node.clock import SystemClock
from node.documents import MODELS, NAMES, write_file
from node.keystore import FileKeyStore
from protocol.instants import format_instant
from routing.catalogue import ITEMS_TYPE, SHEET_TYPE, ItemsPayload, SheetPayload
from routing.payload import read_model
from signing.keys import KeyUse

if TYPE_CHECKING:
    from node.cli.local import Json, LocalNode
    from node.documents import Payload

app = typer.Typer(no_args_is_help=True, help="事项目录 · service items and who does them where")


def add_to(program: typer.Typer) -> None:
    """Add the group."""
    program.add_typer(app, name="catalogue")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="事项或实施清单文件 · items or a sheet")],
    *,
    as_json: AsJson = False,
) -> None:
    """查看目录文件 · what a catalogue file says; `check` checks its signature."""
    (document,) = read_files([file])
    payload = payload_of(document)
    if as_json:
        write_json({"kind": document.name, **payload.model_dump(mode="json")})
        return
    _write_payload(payload)
    write()
    write("签名未核验 signature NOT checked: run_node.py catalogue check")


@app.command()
def find(
    words: Annotated[str, typer.Argument(help="事项名称或编码 · words of a name, or a code")] = "",
    *,
    basis: Annotated[str | None, typer.Option(help="管辖依据 · kind of jurisdiction basis")] = None,
    region: Annotated[str | None, typer.Option(help="六位区划代码 · region code")] = None,
    zone: Annotated[str | None, typer.Option(help="功能区 · functional zone")] = None,
    config: ConfigFile = Path(CONFIG_NAME),
    as_json: AsJson = False,
) -> None:
    """查找事项；给出区划则查责任机关 · find items; with a region, who is responsible."""

    async def asking(node: LocalNode) -> Json:
        items = await node.items(words)
        if region is None:
            return {"items": items}
        if len(items) != 1:
            what = f"{words}: {len(items)} 个事项与之相符 items match"
            raise CommandError(what, "写明编码 give the code of one", Exit.REFUSED)
        kind = basis or str(items[0]["bases"][0]["kind"])
        return await node.authority(str(items[0]["code"]), kind, region, zone)

    answer = ask(config, asking)
    if as_json:
        write_json(answer)
    elif region is None:
        rows = (
            (row["code"], row["name"], row["mode"], ",".join(one["kind"] for one in row["bases"]))
            for row in answer["items"]
        )
        write_table(("编码 code", "事项 item", "模式 mode", "管辖依据 basis"), rows)
    else:
        _write_answer(answer)


@app.command()
def propose(
    file: Annotated[Path, typer.Argument(help="JSON 文本 · items as JSON text")],
    *,
    publisher: Annotated[
        Path, typer.Option("--publisher", "-p", help="发布者目录 · the publisher's folder")
    ] = Path(),
    again: Annotated[
        bool, typer.Option("--again", help="替换待签文件 · replace a proposal")
    ] = False,
) -> None:
    """提出事项 · propose a province's items, for the signers of its directory."""
    payload = _payload_in(file)
    if not isinstance(payload, ItemsPayload):
        what = f"{file}: 是实施清单 is a sheet"
        raise CommandError(
            what, "由该机关签发 its authority signs it: catalogue sign", Exit.REFUSED
        )
    path = Publisher(publisher).propose(payload, again=again)
    write(f"待签 proposed {path}  版本 version {payload.version}")
    write("下一步 next: 逐人 each signer: directory sign FILE --key OWN-FOLDER; directory publish")


@app.command()
def sign(
    file: Annotated[Path, typer.Argument(help="JSON 文本 · a sheet as JSON text")],
    *,
    keys: Annotated[Path, typer.Option(help="密钥库目录 · folder of the key store with the key")],
    out: Annotated[Path, typer.Option(help="输出文件 · where the signed document goes")],
) -> None:
    """签发实施清单 · sign an authority's sheet with its catalogue key."""
    payload = _payload_in(file)
    if not isinstance(payload, SheetPayload):
        what = f"{file}: 是事项 holds items, which several people sign"
        raise CommandError(what, "改用 use: catalogue propose", Exit.REFUSED)
    store = FileKeyStore(keys)
    signer = Signer(store, store.find(KeyUse.CATALOGUE, payload.authority))
    write_file(out, sign_payload(payload, signer))
    write(f"{out}  {payload.authority}  版本 version {payload.version}")


@app.command()
def check(
    files: Annotated[
        list[Path], typer.Argument(help="目录与事项文件 · directories, items and sheets, together")
    ],
    *,
    trust: Annotated[Path, typer.Option("--trust", help="信任锚文件 · the trust anchor's file")],
    as_json: AsJson = False,
) -> None:
    """核验目录与事项文件 · check them alone and together: what would not count, and why."""
    now_ms = SystemClock().now_ms()
    checked = check_files(read_files(files), read_anchor(trust), now_ms)
    stale = [
        f"{province.prefix}: 已过期 expired at {format_instant(province.fresh_until_ms)}"
        for province in checked.provinces
        if now_ms >= province.fresh_until_ms
    ]
    aside = [f"{row.authority} {row.code}: {row.problem}" for row in checked.catalogue.set_aside]
    counts = {"items": len(checked.catalogue.items), "setAside": aside, "expired": stale}
    if as_json:
        write_json(counts)
    else:
        write(f"事项 items {counts['items']}  未采用 set aside {len(aside)}  过期 {len(stale)}")
    if aside or stale:
        what = "\n  ".join([*stale, *aside])
        raise CommandError(what, "由签发者修正 its publisher has to mend it", Exit.REFUSED)


def _payload_in(file: Path) -> Payload:
    octets = read_octets(file)
    try:
        tree = json.loads(octets)
    except ValueError as error:
        raise CommandError(f"{file}: 不是 JSON not JSON: {error}", "修正 mend it") from error
    if not isinstance(tree, dict) or not {"items", "implementations"} & tree.keys():
        what = f"{file}: 既非事项亦非实施清单 neither items nor a sheet"
        raise CommandError(what, "节点目录用 for a directory use: run_node.py directory sign")
    kind = ITEMS_TYPE if "items" in tree else SHEET_TYPE
    with naming(file):
        return read_model(MODELS[kind], octets)


def _write_payload(payload: Payload) -> None:
    match payload:
        case ItemsPayload():
            write(f"事项 items of {payload.prefix}  版本 version {payload.version}")
            rows = (
                (row.code, row.name, row.mode, f"{row.marks.jurisdiction}/{row.marks.limit}")
                for row in payload.items
            )
            write_table(("编码 code", "事项 item", "模式 mode", "可信度 marks"), rows)
        case SheetPayload():
            write(f"实施清单 sheet of {payload.authority}  版本 version {payload.version}")
            entries = (
                (
                    row.item,
                    row.code,
                    row.zone or row.region,
                    "withdrawn" if row.withdrawn_ms else "",
                )
                for row in payload.implementations
            )
            write_table(("事项 item", "实施编码 implementation", "区划 region", ""), entries)
        case _:
            what = f"这是 this is a {NAMES[kind_of(payload)]}"
            raise CommandError(what, "改用 use: run_node.py directory show")


def _write_answer(answer: Json) -> None:
    match answer["outcome"]:
        case "responsible":
            who = answer["authority"]
            write(f"{who['name']} {who['uscc']}  电话 telephone {who['telephone']}")
            write(f"实施编码 implementation {answer['implementation']}")
            write(f"路径 route {' → '.join(answer['route'])}")
        case "ambiguous":
            write(f"{answer['question']['zh']} {answer['question']['en']}")
            for row in answer["options"]:
                write(f"  {_option(row)}")
        case _:
            write(f"{answer['explanation']['zh']} {answer['explanation']['en']}")
            for row in answer["nearest"]:
                write(f"  {_option(row)}")


def _option(row: Json) -> str:
    if row.get("kind") == "basis":
        return f"--basis {row['basis']}  {row['name']['zh']}"
    return f"{row['authority']['name']} {row['authority']['uscc']} {row['authority']['region']}"
