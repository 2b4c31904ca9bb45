"""`directory`: a province's signed documents, from its publisher's desk to a node's home.

Who signs what, offline and by several people, is in `node.cli.ceremony`. Here is what a publisher
does day by day: `admit` enters a node into the draft, `draft` proposes it for signatures, `publish`
puts out what enough people signed, `freshness sign` says which of it is in force (a machine does
that every few hours), `revoke` takes a key back at once. `install` puts what was published into a
node's home, after checking it against the node's anchor.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from node.cli.ceremony import (
    HERE,
    PublisherOption,
    key,
    root_app,
    sign,
    still_needed,
    tell_proposed,
)
from node.cli.documents import check_files, naming, payload_of, read_anchor, read_files, read_octets
from node.cli.ending import CommandError, Exit
from node.cli.in_force import freshness_app, revoke
from node.cli.install import install
from node.cli.output import NOT_DIALLED, AsJson, write, write_json, write_table
from node.cli.publisher import Publisher
from node.cli.summaries import changes, summary
from node.clock import SystemClock
from node.documents import read_document, write_file
from node.request import NodeFacts, read_request
from protocol.errors import RefusedError, TongbanError
from protocol.instants import format_instant, parse_instant
from protocol.reasons import Reason
from routing.catalogue import ItemsPayload
from routing.directory_document import (
    DIRECTORY_TYPE,
    AuthorityEntry,
    DirectoryPayload,
    KeyEntry,
    RegionEntry,
    Succession,
)
from routing.directory_province import open_province, open_revocation
from routing.directory_roles import (
    AnchorEntry,
    RevocationPayload,
    RootPayload,
    TrustAnchor,
)
from routing.directory_rules import advice, check_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from node.documents import DocumentFile, Payload

_DAY_MS: Final = 24 * 3600 * 1000
_HOUR_MS: Final = 3600 * 1000

app = typer.Typer(no_args_is_help=True, help="节点目录 · the signed directory of nodes")

Trust = Annotated[Path, typer.Option("--trust", help="信任锚文件 · the trust anchor's file")]


for _command in (install, key, sign, revoke):
    app.command()(_command)
app.add_typer(root_app, name="root")
app.add_typer(freshness_app, name="freshness")


def add_to(program: typer.Typer) -> None:
    """Add the group."""
    program.add_typer(app, name="directory")


@app.command()
def admit(
    request: Annotated[Path, typer.Argument(help="节点的 request.json · a node's request")],
    *,
    publisher: PublisherOption = HERE,
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
    desk = Publisher(publisher)
    draft = desk.read_draft()
    with naming(request):
        facts = read_request(read_octets(request))
    if facts.environment != draft.environment:
        what = f"{request}: {facts.environment}, 而目录为 but the directory is {draft.environment}"
        raise CommandError(what, "两者互不相通 the two never mix", Exit.REFUSED)
    now_ms = SystemClock().now_ms()
    node = facts.node.id
    regions = [_region(row) for row in region or ()]
    succeeds = {row.uscc: row.succeeds for row in draft.authorities}
    authorities = [
        row.model_copy(update={"succeeds": succeeds.get(row.uscc, ())})
        for row in (_authority(text, node) for text in authority or ())
    ]
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
    desk.write_draft(changed)
    write(f"已接纳 admitted {node} {facts.node.name}  {facts.node.url or NOT_DIALLED}")
    write(f"证书 certificate SHA-256 {facts.node.certificate_digest.hex()}")
    for row in facts.keys:
        write(f"密钥 key {row.use:9} {row.owner:18} {row.id}")
    write("请经另一渠道（电话、当面）与节点核对以上指纹 compare these by telephone or in person,")
    write("  再提交签署 then: run_node.py directory draft")


@app.command()
def succeed(
    old: Annotated[str, typer.Argument(help="原机关 · USCC of the authority that is succeeded")],
    new: Annotated[str, typer.Argument(help="承继机关 · USCC of the one in its place")],
    *,
    since: Annotated[str, typer.Option(help="自何时 · from when, as 2026-11-22T03:00:00.000Z")],
    publisher: PublisherOption = HERE,
) -> None:
    """机关承继 · enter into the draft that an authority stands in another's place."""
    desk = Publisher(publisher)
    listed = desk.read_draft()
    rows = {row.uscc: row for row in listed.authorities}
    if new not in rows:
        what = f"{new}: 目录中没有此机关 no authority of the directory"
        raise CommandError(what, "先接纳 first: directory admit --authority", Exit.REFUSED)
    succession = Succession(uscc=old, since_ms=parse_instant(since))
    kept = tuple(row for row in rows[new].succeeds if row.uscc != old)
    rows[new] = rows[new].model_copy(update={"succeeds": (*kept, succession)})
    changed = listed.model_copy(update={"authorities": tuple(rows[uscc] for uscc in sorted(rows))})
    now_ms = SystemClock().now_ms()
    check_directory(changed.model_copy(update={"issued_ms": now_ms, "expires_ms": now_ms + 1}))
    desk.write_draft(changed)
    write(f"已记入草稿 in the draft: {new} 自 from {since} 承继 succeeds {old}")
    write("新件只送承继机关，在办案件由它继续 new cases go to it; it goes on with those in flight")
    write("  再提交签署 then: run_node.py directory draft")


@app.command()
def draft(
    *,
    publisher: PublisherOption = HERE,
    days: Annotated[int, typer.Option(min=1, max=730, help="有效天数 · valid for")] = 90,
    version: Annotated[
        int | None, typer.Option(min=1, help="版本；默认为下一个 · version, if not the next")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="替换待签文件 · replace a proposal")
    ] = False,
) -> None:
    """提交签署 · propose the draft as the next directory, for its signers."""
    desk = Publisher(publisher)
    now_ms = SystemClock().now_ms()
    payload = desk.read_draft().model_copy(
        update={
            "version": version or desk.latest_version(DIRECTORY_TYPE) + 1,
            "issued_ms": now_ms,
            "expires_ms": now_ms + days * _DAY_MS,
        }
    )
    check_directory(payload)
    newest = desk.newest(DIRECTORY_TYPE, DirectoryPayload)
    path = desk.propose(payload, again=again)
    for line in changes(None if newest is None else newest[0], payload):
        write(f"  {line}")
    for line in advice(payload):
        write(f"提醒 mind: {line}")
    tell_proposed(desk, path)


@app.command()
def publish(*, publisher: PublisherOption = HERE) -> None:
    """发布 · check what enough people have signed, and put it where nodes get it."""
    desk = Publisher(publisher)
    proposals = desk.proposals()
    if not proposals:
        what = f"{desk.pending}: 没有待签文件 nothing waits for signatures"
        raise CommandError(what, "先 first: directory draft | root init | root rotate | revoke")
    done = 0
    for file in proposals:
        payload = payload_of(file)
        missing = still_needed(desk, file, payload)
        if missing:
            write(f"{file.path.name}: 尚缺 still needed: {'; '.join(missing)}")
            continue
        with naming(file.path):
            _verify(desk, file, payload)
        path = desk.publish(file)
        if isinstance(payload, RootPayload):
            _tell_root(desk, payload, file.octets)
        write(f"已发布 published {path}")
        write(f"  SHA-256 {read_document(path, file.octets).digest}")
        done += 1
    if not done:
        raise CommandError(
            "无一完成 none is complete", "继续签署 go on: directory sign", Exit.REFUSED
        )
    _tell_whole(desk)


@app.command()
def pin(
    anchors: Annotated[list[Path], typer.Argument(help="各省信任锚 · trust anchors to join")],
    *,
    out: Annotated[Path, typer.Option(help="输出文件 · where the joint anchor goes")],
) -> None:
    """合并信任锚 · join trust anchors of several provinces into one file."""
    entries: dict[str, AnchorEntry] = {}
    for path in anchors:
        for entry in read_anchor(path).anchors:
            if entries.setdefault(entry.prefix, entry) != entry:
                what = f"{path}: {entry.prefix} 与前不同 is pinned otherwise before"
                raise CommandError(what, "逐一核实 find out which is right", Exit.REFUSED)
    joint = TrustAnchor(anchors=tuple(entries[prefix] for prefix in sorted(entries)))
    write_file(out, joint.model_dump_json(indent=1).encode() + b"\n")
    for entry in joint.anchors:
        write(f"{entry.prefix} {entry.name}  根 root {entry.root.version}  {entry.root.digest}")
    write("请与各省当面或电话核对摘要 compare the digests with each province by telephone")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="已签名文件 · a signed document")],
    *,
    as_json: AsJson = False,
) -> None:
    """查看文件 · what a document says; `check` checks signatures."""
    (document,) = read_files([file])
    payload = payload_of(document)
    if as_json:
        write_json({"kind": document.name, **payload.model_dump(mode="json")})
        return
    write(f"{document.name}  SHA-256 {document.digest}")
    write(f"签署 signed by {'  '.join(sorted(document.signers)) or '—'}")
    write("签名未核验 signatures NOT checked: run_node.py directory check")
    write()
    if isinstance(payload, DirectoryPayload):
        _write_directory(payload)
        return
    for line in summary(payload):
        write(line)


@app.command()
def check(
    paths: Annotated[
        list[Path], typer.Argument(help="文件或目录 · documents, or folders of them: whole sets")
    ],
    *,
    trust: Trust,
    as_json: AsJson = False,
) -> None:
    """核验成套文件 · check whole sets: signatures, rules, versions, time."""
    now_ms = SystemClock().now_ms()
    checked = check_files(read_files(paths), read_anchor(trust), now_ms)
    rows = [
        {
            "prefix": row.prefix,
            "root": row.root.payload.version,
            "version": row.payload.version,
            "digest": row.directory.digest,
            "revocations": len(row.revocations),
            "freshUntil": format_instant(row.fresh_until_ms),
            "fresh": now_ms < row.fresh_until_ms,
            "advice": list(advice(row.payload)),
        }
        for row in checked.provinces
    ]
    if as_json:
        write_json({"provinces": rows})
    else:
        for province, row in zip(checked.provinces, rows, strict=True):
            write(
                f"成套有效 a good set: {province.payload.name} {row['prefix']}"
                f"  根 root {row['root']}  目录 directory {row['version']}"
                f"  至 until {row['freshUntil']}"
            )
            write(f"  SHA-256 {row['digest']}")
            for line in advice(province.payload):
                write(f"  提醒 mind: {line}")
    late = [str(row["prefix"]) for row in rows if not row["fresh"]]
    if late:
        what = f"{' '.join(late)}: 已过期 expired"
        raise CommandError(what, "向发布者索取新的时效声明 get a newer freshness", Exit.REFUSED)


def _tell_root(desk: Publisher, payload: RootPayload, octets: bytes) -> None:
    """After the first root: the anchor. After another: what its keys have to sign anew."""
    if payload.version == 1:
        desk.pin(payload.name, payload.prefix, octets)
        write(f"信任锚 trust anchor {desk.anchor_file}，当面交给每个节点 to every node by hand")
        return
    for path in desk.propose_again(SystemClock().now_ms()):
        write(
            f"原签名含已移除的密钥，须重签 signed by a key that is gone, to be signed anew: {path}"
        )


def _verify(desk: Publisher, file: DocumentFile, payload: Payload) -> None:
    """Hold a complete proposal against what nodes will hold it against."""
    match payload:
        case RootPayload():
            desk.roots_with(file.octets, payload)
        case RevocationPayload():
            open_revocation(file.octets, desk.roots()[-1])
        case DirectoryPayload() | ItemsPayload():
            desk.open_signed(file, type(payload))
        case _:
            raise RefusedError(Reason.DOCUMENT_INVALID, f"{file.name} is not published this way")


def _tell_whole(desk: Publisher) -> None:
    """Whether what lies there is a set that nodes take, and what is missing if not."""
    files = [file.octets for file in desk.files()]
    (pinned,) = desk.anchor().anchors
    try:
        open_province(files, pinned, SystemClock().now_ms())
    except TongbanError as error:
        write(f"尚不成套，节点不会采用 not a set yet, nodes keep what they have: {error}")
        write(
            "下一步 next: directory draft / sign / publish，最后 at last: directory freshness sign"
        )
    else:
        write(
            "成套 a whole set；新目录随时效生效 what is new counts with: directory freshness sign"
        )


def _write_directory(payload: DirectoryPayload) -> None:
    write(f"{payload.name} {payload.prefix}  {payload.environment}  版本 version {payload.version}")
    write(f"有效至 until {format_instant(payload.expires_ms)}")
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
                succeeds=(),
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
