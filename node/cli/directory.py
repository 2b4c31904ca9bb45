"""`directory`: a province's signed list of nodes, from its publisher's desk to a node's home.

The publisher keeps a folder: `keys/` (the directory key, best on a machine without a network),
`anchor.json` (its public half, which every node gets by hand) and `draft.json` (what will be signed
next; a text file that may be edited). `create` makes it, `admit` enters a node, `sign` publishes,
`install` puts what was published into a node's home after checking it against the node's anchor.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from node.cli.documents import (
    NAMES,
    naming,
    read_anchor,
    read_file,
    read_octets,
    sign_payload,
    write_file,
)
from node.cli.ending import CommandError, Exit
from node.cli.install import install
from node.cli.output import NOT_DIALLED, AsJson, write, write_json, write_table
from node.clock import SystemClock, SystemEntropy
from node.keystore import FileKeyStore
from node.request import NodeFacts, read_request
from protocol.envelope import Environment  # noqa: TC001 - typer reads it
from protocol.instants import format_instant
from routing.directory import (
    DIRECTORY_TYPE,
    AnchorEntry,
    AuthorityEntry,
    DirectoryPayload,
    KeyEntry,
    PinnedKey,
    RegionEntry,
    TrustAnchor,
    check_directory,
    open_directory,
)
from routing.payload import read_model
from signing.keys import KeyUse
from signing.suites import Suite

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from node.cli.documents import DocumentFile

_DAY_MS: Final = 24 * 3600 * 1000
_ENTROPY_OCTETS: Final = 48
_KEYS, _ANCHOR, _DRAFT = "keys", "anchor.json", "draft.json"

app = typer.Typer(no_args_is_help=True, help="节点目录 · the signed directory of nodes")

Publisher = Annotated[
    Path, typer.Option("--publisher", "-p", help="发布者目录 · the publisher's folder")
]
Trust = Annotated[Path, typer.Option("--trust", help="信任锚文件 · the trust anchor's file")]
HERE: Final = Path()


def add_to(program: typer.Typer) -> None:
    """Add the group."""
    app.command()(install)
    program.add_typer(app, name="directory")


@app.command()
def create(
    folder: Annotated[Path, typer.Argument(help="新目录 · the publisher's new folder")],
    *,
    prefix: Annotated[str, typer.Option(help="两位区划前缀 · region prefix, as 42")],
    name: Annotated[str, typer.Option(help="省级名称 · the province's name")],
    environment: Annotated[Environment, typer.Option(help="试运行或正式 · never mixed")] = "trial",
    suite: Annotated[Suite, typer.Option(help="算法套件 · suite")] = Suite.SM2_SM3,
) -> None:
    """建立发布者目录 · make a publisher's folder: key, trust anchor, empty draft."""
    if (folder / _DRAFT).exists():
        what = f"{folder}: 已是发布者目录 is a publisher's folder already"
        raise CommandError(what, "另选目录 choose another", Exit.REFUSED)
    top = RegionEntry(code=f"{prefix}0000", name=name, parent=None)
    draft = DirectoryPayload(
        version=1,
        environment=environment,
        prefix=prefix,
        name=name,
        issued_ms=0,
        expires_ms=0,
        regions=(top,),
        circles=(),
        authorities=(),
        nodes=(),
        keys=(),
        links=(),
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = FileKeyStore.create(folder / _KEYS)
    entropy = SystemEntropy().octets(_ENTROPY_OCTETS)
    key = store.create_key(KeyUse.DIRECTORY, prefix, suite, entropy, SystemClock().now_ms())
    pinned = PinnedKey(suite=key.suite, spki=key.spki)
    anchor = TrustAnchor(anchors=(AnchorEntry(prefix=prefix, name=name, keys=(pinned,)),))
    write_file(folder / _ANCHOR, anchor.model_dump_json(indent=1).encode() + b"\n")
    _write_draft(folder, draft)
    write(f"信任锚 trust anchor  {folder / _ANCHOR}   密钥号 key id {key.key_id}")
    write(f"草稿 draft           {folder / _DRAFT}")


@app.command()
def admit(
    request: Annotated[Path, typer.Argument(help="节点的 request.json · a node's request")],
    *,
    publisher: Publisher = HERE,
    region: Annotated[
        list[str] | None, typer.Option(help="代码,名称,上级 · region to enter: code,name,parent")
    ] = None,
    authority: Annotated[
        list[str] | None,
        typer.Option(
            help="代码,名称,区划,电话[,功能区] · to enter: USCC,name,region,telephone[,zone]"
        ),
    ] = None,
    link: Annotated[
        list[str] | None, typer.Option(help="直连的另一节点 · another node it links with directly")
    ] = None,
    years: Annotated[int, typer.Option(min=1, max=10, help="密钥有效年数 · of its keys")] = 3,
) -> None:
    """接纳节点 · enter a node and its keys into the draft, after checking every key's proof."""
    draft = _read_draft(publisher)
    with naming(request):
        facts = read_request(read_octets(request))
    if facts.environment != draft.environment:
        what = f"{request}: {facts.environment}, 而目录为 but the directory is {draft.environment}"
        raise CommandError(what, "两者互不相通 the two never mix", Exit.REFUSED)
    now_ms = SystemClock().now_ms()
    node = facts.node.id
    regions = [_region(row) for row in region or ()]
    authorities = [_authority(row, node) for row in authority or ()]
    keys = _registered(facts, draft.keys, now_ms, now_ms + years * 366 * _DAY_MS)
    changed = draft.model_copy(
        update={
            "regions": _merged(draft.regions, regions, "code"),
            "authorities": _merged(draft.authorities, authorities, "uscc"),
            "nodes": _merged(draft.nodes, [facts.node], "id"),
            "keys": keys,
            "links": tuple(dict.fromkeys((*draft.links, *((node, other) for other in link or ())))),
        }
    )
    check_directory(changed.model_copy(update={"issued_ms": now_ms, "expires_ms": now_ms + 1}))
    _write_draft(publisher, changed)
    write(f"已接纳 admitted {node} {facts.node.name}  {facts.node.url or NOT_DIALLED}")
    write(f"证书 certificate SHA-256 {facts.node.certificate_digest.hex()}")
    for row in facts.keys:
        write(f"密钥 key {row.use:9} {row.owner:18} {row.id}")
    write("请经另一渠道（电话、当面）与节点核对以上指纹 compare these by telephone or in person,")
    write("  再签发 then: run_node.py directory sign")


@app.command()
def sign(
    *,
    publisher: Publisher = HERE,
    out: Annotated[Path | None, typer.Option(help="输出文件 · where it goes")] = None,
    days: Annotated[int, typer.Option(min=1, max=730, help="有效天数 · valid for")] = 90,
) -> None:
    """签发 · sign the draft and publish it as the next version."""
    now_ms = SystemClock().now_ms()
    dates = {"issued_ms": now_ms, "expires_ms": now_ms + days * _DAY_MS}
    payload = _read_draft(publisher).model_copy(update=dates)
    check_directory(payload)
    store = FileKeyStore(publisher / _KEYS)
    octets = sign_payload(payload, store, store.find(KeyUse.DIRECTORY, payload.prefix))
    open_directory(octets, read_anchor(publisher / _ANCHOR))
    path = out or publisher / f"directory-{payload.prefix}.json"
    # First the draft: a version that was signed twice with other content would be refused anywhere.
    _write_draft(publisher, payload.model_copy(update={"version": payload.version + 1}))
    write_file(path, octets)
    write(
        f"{path}  版本 version {payload.version}  有效至 until {format_instant(payload.expires_ms)}"
    )


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="目录文件 · a directory's file")],
    *,
    trust: Annotated[
        Path | None, typer.Option(help="信任锚；不给则不核验签名 · anchor; without it, unchecked")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """查看目录文件 · what a directory says."""
    document = _directory_file(file)
    if trust is not None:
        with naming(file):
            open_directory(document.octets, read_anchor(trust))
    payload = _payload(document)
    if as_json:
        write_json({"signatureChecked": trust is not None, **payload.model_dump(mode="json")})
        return
    checked = "签名有效 signature good" if trust else "签名未核验 signature NOT checked"
    write(f"{payload.name} {payload.prefix}  {payload.environment}  版本 version {payload.version}")
    write(f"有效至 until {format_instant(payload.expires_ms)}  {checked}")
    write()
    nodes = (
        (row.id, row.name, row.role, row.url or NOT_DIALLED, ",".join(row.serves))
        for row in payload.nodes
    )
    write_table(("节点 node", "名称 name", "角色 role", "地址 url", "服务 serves"), nodes)
    write()
    authorities = (
        (row.uscc, row.name, row.zone or row.region, row.node, row.telephone)
        for row in payload.authorities
    )
    write_table(("机关 authority", "名称 name", "区划 region", "节点", "电话"), authorities)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="目录文件 · a directory's file")],
    *,
    trust: Trust,
    as_json: AsJson = False,
) -> None:
    """核验目录文件 · check a directory's signature, rules and time."""
    document = _directory_file(file)
    with naming(file):
        opened = open_directory(document.octets, read_anchor(trust))
    payload, digest = opened.payload, opened.digest.hex()
    if SystemClock().now_ms() >= payload.expires_ms:
        what = f"{file}: 已于 expired at {format_instant(payload.expires_ms)} 过期"
        raise CommandError(what, "向发布者索取新版 get a newer one", Exit.REFUSED)
    if as_json:
        write_json({"prefix": payload.prefix, "version": payload.version, "digest": digest})
        return
    write(f"有效 good: {payload.name} {payload.prefix} 版本 version {payload.version}")
    write(f"SHA-256 {digest}")


def _region(text: str) -> RegionEntry:
    match text.split(","):
        case [code, name, parent]:
            return RegionEntry(code=code, name=name, parent=parent)
        case _:
            what = f"--region {text}: 须为 has to be 代码,名称,上级 code,name,parent"
            raise CommandError(what, "例如 for example: 420100,武汉市,420000")


def _authority(text: str, node: str) -> AuthorityEntry:
    match text.split(","):
        case [uscc, name, region, telephone, *zone] if len(zone) <= 1:
            return AuthorityEntry(
                uscc=uscc,
                name=name,
                region=region,
                zone=zone[0] if zone else None,
                node=node,
                telephone=telephone,
            )
        case _:
            what = f"--authority {text}: 须为 has to be USCC,名称,区划,电话[,功能区]"
            raise CommandError(what, "例如 for example: 11420100…,武汉市…局,420100,027-00000000")


def _registered(
    facts: NodeFacts, known: Iterable[KeyEntry], now_ms: int, until_ms: int
) -> tuple[KeyEntry, ...]:
    """The draft's keys with the node's; one that is registered already keeps its dates."""
    held = {row.id: row for row in known}
    for row in facts.keys:
        entry = KeyEntry(
            id=row.id,
            suite=row.suite,
            spki=row.spki,
            use=row.use,
            owner=row.owner,
            node=facts.node.id,
            not_before_ms=now_ms,
            not_after_ms=until_ms,
            revoked_ms=None,
        )
        held.setdefault(row.id, entry)
    return tuple(held.values())


def _merged(old: Sequence[object], new: Sequence[object], key: str) -> tuple[object, ...]:
    rows = {getattr(row, key): row for row in (*old, *new)}
    return tuple(rows[name] for name in sorted(rows))


def _read_draft(folder: Path) -> DirectoryPayload:
    path = folder / _DRAFT
    if not path.exists():
        what = f"{folder}: 不是发布者目录 not a publisher's folder, it has no {_DRAFT}"
        raise CommandError(
            what, "指明目录 name it: --publisher FOLDER; 新建 a new one: directory create"
        )
    with naming(path):
        return read_model(DirectoryPayload, read_octets(path))


def _write_draft(folder: Path, draft: DirectoryPayload) -> None:
    write_file(folder / _DRAFT, draft.model_dump_json(indent=1).encode() + b"\n")


def _directory_file(path: Path) -> DocumentFile:
    document = read_file(path)
    if document.kind != DIRECTORY_TYPE:
        what = f"{path}: 是 is a document of the kind {NAMES[document.kind]}"
        raise CommandError(what, "改用 use: run_node.py catalogue")
    return document


def _payload(document: DocumentFile) -> DirectoryPayload:
    if not isinstance(document.payload, DirectoryPayload):
        message = f"{document.path}: {document.kind}"
        raise TypeError(message)
    return document.payload
