"""`submit`, `act`, `inbox`, `show`, `ping`: what a window or an authority does, by hand.

They speak to the running node as any local system does. A request is repeated safely: unless
`--key` says otherwise, its idempotency key is the digest of the request itself, so that the same
command after an unclear answer never files a second case.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import mimetypes
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from node.cli.asking import CONFIG_NAME, ConfigFile, ask
from node.cli.ending import CommandError, Exit
from node.cli.output import AsJson, write, write_json, write_table
from protocol.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from node.cli.local import Json, LocalNode

_POLL_S: Final = 0.1
_IN_REQUEST_OCTETS: Final = 4 * MIB
_RECEIPTS: Final = {"custody": "托管", "received": "签收", "refused": "拒收"}

DocumentFile: TypeAlias = Annotated[
    Path, typer.Argument(help="JSON 文件，- 为标准输入 · a JSON file, - for standard input")
]
Attached: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--attach", help="部件号=文件，可重复 · part id=file, may be repeated"),
]
Authority: TypeAlias = Annotated[
    str | None, typer.Option(help="本方机关的统一社会信用代码 · USCC of our authority")
]
Key: TypeAlias = Annotated[
    str | None, typer.Option(help="幂等键；默认由内容算出 · idempotency key; else the content's")
]


def add_to(program: typer.Typer) -> None:
    """Add the commands."""
    for command in (submit, act, inbox, show, ping):
        program.command()(command)


def submit(
    document: DocumentFile,
    *,
    authority: Annotated[str, typer.Option(help="收件机关的统一社会信用代码 · USCC of ours")],
    attach: Attached = None,
    key: Key = None,
    config: ConfigFile = Path(CONFIG_NAME),
    as_json: AsJson = False,
) -> None:
    """收件并转送 · file a case with the authority that is responsible for it."""
    form, attached = _document(document), _attached(attach or ())
    key = key or _digest("submit", authority, form, _told(attached))

    async def submitting(node: LocalNode) -> Json:
        return await node.submit(authority, form, await _files(node, attached), key)

    answer = ask(config, submitting)
    if as_json:
        write_json(answer)
        return
    write(f"办件 case {answer['caseId']}")
    write(f"机关 authority {answer['authority']['name']} {answer['authority']['uscc']}")
    write(f"路径 route {' → '.join(answer['route'])}")


def act(
    case: Annotated[str, typer.Argument(help="办件号 · case id")],
    kind: Annotated[str, typer.Argument(help="报文种类，如 case.accept · kind of message")],
    document: DocumentFile,
    *,
    authority: Authority = None,
    attach: Attached = None,
    key: Key = None,
    config: ConfigFile = Path(CONFIG_NAME),
    as_json: AsJson = False,
) -> None:
    """办理一步 · take the next step of a case."""
    form, attached = _document(document), _attached(attach or ())

    async def acting(node: LocalNode) -> Json:
        ours = authority or _only_side(await node.case(case))
        digest = key or _digest(case, kind, ours, form, _told(attached))
        return await node.act(case, ours, kind, form, await _files(node, attached), digest)

    answer = ask(config, acting)
    if as_json:
        write_json(answer)
        return
    write(f"报文 message {answer['messageId']} ({kind})")
    write(f"路径 route {' → '.join(answer['route'])}")


def inbox(
    *,
    authority: Authority = None,
    most: Annotated[int, typer.Option(min=1, max=100, help="最多条数 · at most")] = 20,
    seconds: Annotated[int, typer.Option(min=1, max=3600, help="租期（秒）· lease")] = 60,
    done: Annotated[
        str | None, typer.Option(help="该报文已办理 · this message is dealt with")
    ] = None,
    lease: Annotated[str | None, typer.Option(help="与 --done 同用的租约 · its lease")] = None,
    config: ConfigFile = Path(CONFIG_NAME),
    as_json: AsJson = False,
) -> None:
    """租取收件箱 · take what waits in the inbox; with --done, report one as dealt with."""
    if (done is None) != (lease is None):
        what = "--done 与 --lease 须同时给出 go together"
        raise CommandError(what, "租约见 `inbox` 的输出 `inbox` shows the lease of each entry")
    if done is not None and lease is not None:
        ask(config, lambda node: _report_done(node, done, lease))
        write("已办结此条 done")
        return
    entries = ask(config, lambda node: node.lease(authority, most, seconds))
    if as_json:
        write_json({"entries": entries})
        return
    for entry in entries:
        write(f"{entry['kindName']} {entry['kind']}  报文 message {entry['messageId']}")
        write(f"  自 from {_party(entry['from'])}  致 to {_party(entry['to'])}")
        write(f"  办件 case {entry['caseId']}  租约 lease {entry['lease']}")
        write(f"  {json.dumps(entry['body'], ensure_ascii=False)}")
    if not entries:
        write("收件箱为空 nothing waits")


def show(
    case: Annotated[str, typer.Argument(help="办件号 · case id")],
    *,
    config: ConfigFile = Path(CONFIG_NAME),
    as_json: AsJson = False,
) -> None:
    """查看办件 · one case: its state, who has it, every message and receipt."""
    answer = ask(config, lambda node: node.case(case))
    if as_json:
        write_json(answer)
        return
    write(f"办件 case {answer['caseId']}  {answer.get('itemName') or ''} {answer['item']}")
    for side in answer["sides"]:
        write(f"{side['stateName']} ({side['state']})  自 since {side['changed']}")
    write(f"现持有 holder {_party(answer['holder'])}  结果 outcome {answer['outcome']}")
    write()
    heads = (
        "序号",
        "报文 message",
        "自 from",
        "致 to",
        "状况 standing",
        "路径 path",
        "回执 receipts",
    )
    write_table(heads, map(_message_row, answer["messages"]))


def ping(
    node_id: Annotated[str, typer.Argument(metavar="NODE", help="节点编号 · node id")],
    *,
    wait: Annotated[float, typer.Option(help="等待回执的秒数 · seconds to wait")] = 10.0,
    config: ConfigFile = Path(CONFIG_NAME),
    as_json: AsJson = False,
) -> None:
    """连通测试 · ask a node for a signed receipt, over the way messages take."""

    async def asking(node: LocalNode) -> Json:
        sent = await node.ping(node_id)
        message = str(sent["messageId"])
        end = time.monotonic() + wait
        while True:
            row = await node.message(message)
            if row["settled"] is not None or time.monotonic() >= end:
                return row
            await asyncio.sleep(_POLL_S)

    row = ask(config, asking)
    if as_json:
        write_json(row)
    else:
        write(f"{row['standingName']} ({row['standing']})  {' → '.join(row['path'])}")
    if row["settled"] is None:
        what = (
            f"{node_id}: {wait:.0f} 秒内无回执 no receipt in time; 报文 message {row['messageId']}"
        )
        raise CommandError(what, "对端恢复后自动送达 it goes on by itself", Exit.UNCHECKED)
    if row["standing"] == "refused":
        what = f"{node_id}: {row['reason']}: {row['detail']}"
        raise CommandError(what, "核对节点目录 check the directory", Exit.REFUSED)


def _document(path: Path) -> Json:
    try:
        octets = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        form = json.loads(octets)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", "核对路径 check the path") from error
    except ValueError as error:
        what = f"{path}: 不是 JSON not JSON: {error}"
        raise CommandError(what, "修正该处 mend it there") from error
    if not isinstance(form, dict):
        what = f"{path}: 须为一个 JSON 对象 has to be a JSON object"
        raise CommandError(what, "字段见 /v1/openapi.json lists the fields")
    return form


def _attached(rows: Sequence[str]) -> dict[str, Path]:
    """The files by part id."""
    found: dict[str, Path] = {}
    for row in rows:
        part, equals, name = row.partition("=")
        path = Path(name)
        if not equals or not path.is_file():
            what = f"--attach {row}: 须为 部件号=现有文件 has to be part id=existing file"
            raise CommandError(what, "例如 for example: --attach m1=scan.pdf")
        found[part] = path
    return found


def _told(attached: Mapping[str, Path]) -> Json:
    """What the files are, for the digest of the request."""
    found: Json = {}
    for part, path in attached.items():
        with path.open("rb") as octets:
            found[part] = [_media_type(path), hashlib.file_digest(octets, "sha256").hexdigest()]
    return found


async def _files(node: LocalNode, attached: Mapping[str, Path]) -> Json:
    """The files as a request names them: in it, or uploaded before it if they are many octets."""
    sizes = {part: _size(path) for part, path in attached.items()}
    files: Json = {}
    for part, path in attached.items():
        if sum(sizes.values()) <= _IN_REQUEST_OCTETS:
            content = {"base64": _base64(path)}
        else:
            content = {"upload": await node.upload(path, sizes[part])}
        files[part] = {"mediaType": _media_type(path), **content}
    return files


def _size(path: Path) -> int:
    return path.stat().st_size


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def _media_type(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _digest(*request: object) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _only_side(case: Json) -> str:
    ours = {str(side["ours"]["authority"]) for side in case["sides"]}
    if len(ours) != 1:
        what = f"办件两端皆在本节点 both ends are here: {', '.join(sorted(ours))}"
        raise CommandError(what, "指明一方 say which: --authority USCC")
    return ours.pop()


async def _report_done(node: LocalNode, message: str, lease: str) -> None:
    row = await node.message(message)
    await node.done(message, str(row["from"]["authority"]), lease)


def _party(party: Json | None) -> str:
    return "-" if party is None else f"{party.get('name') or party['authority']} ({party['node']})"


def _message_row(message: Json) -> tuple[object, ...]:
    receipts = (f"{_RECEIPTS[row['type']]} {row['issuer']}" for row in message["receipts"])
    told = f"{message['standingName']} {message['reason'] or ''}".rstrip()
    kind = f"{message['kindName']} {message['kind']}"
    ends = (_party(message["from"]), _party(message["to"]))
    path = " → ".join(message["path"])
    return message["sequence"], kind, *ends, told, path, ", ".join(receipts)
