"""What is in force, and what no longer is: freshness statements and revocations (时效与吊销).

`freshness sign` runs every few hours on a machine that is online, by cron: it signs which of the
published documents count, once they hold as every node will check them. `revoke` takes keys back
with fewer signatures than it takes to admit one, and what it writes counts wherever it arrives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from node.cli.ceremony import (
    HERE,
    KeyFolder,
    PublisherOption,
    open_signer,
    still_needed,
    tell_proposed,
)
from node.cli.documents import read_files, sign_payload
from node.cli.ending import CommandError, Exit
from node.cli.output import write
from node.cli.publisher import Publisher
from node.cli.summaries import summary
from node.clock import SystemClock
from node.documents import read_document
from protocol.instants import format_instant, parse_instant
from protocol.limits import MAX_FRESHNESS_MS
from routing.catalogue import ITEMS_TYPE, ItemsPayload
from routing.directory_document import DIRECTORY_TYPE, DirectoryPayload
from routing.directory_province import open_province, open_revocation
from routing.directory_roles import (
    FRESHNESS_TYPE,
    REVOCATION_TYPE,
    FreshnessPayload,
    RevocationPayload,
    RevokedKey,
    check_revocation,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from routing.directory_province import RootDocument

_HOUR_MS: Final = 3600 * 1000
_DAY_MS: Final = 24 * _HOUR_MS
_SOON_MS: Final = 14 * _DAY_MS

freshness_app = typer.Typer(no_args_is_help=True, help="时效 · freshness: what is in force")


@freshness_app.command("sign")
def freshness_sign(
    *,
    key: KeyFolder,
    publisher: PublisherOption = HERE,
    hours: Annotated[int, typer.Option(min=1, max=24, help="有效小时数 · valid for")] = 24,
) -> None:
    """签发时效 · say which root, directory, items and revocations are in force; for cron."""
    desk = Publisher(publisher)
    root, signer = desk.roots()[-1], open_signer(key)
    if signer.key_id not in root.payload.freshness.keys:
        what = f"{key}: 密钥 {signer.key_id} 无时效角色 is no freshness key of root"
        raise CommandError(
            f"{what} {root.payload.version}", "换用 use the one of: directory show", Exit.REFUSED
        )
    directory = desk.newest(DIRECTORY_TYPE, DirectoryPayload)
    if directory is None:
        what = f"{desk.published}: 没有现行密钥签署的目录 no directory by the present keys"
        raise CommandError(what, "先 first: directory draft, sign, publish", Exit.REFUSED)
    items = desk.newest(ITEMS_TYPE, ItemsPayload)
    if items is None and desk.latest_version(ITEMS_TYPE):
        told = f"{desk.published}: 事项未经现行密钥签署 no items by the present keys"
        raise CommandError(told, "重新签署 sign them again: directory sign, publish", Exit.REFUSED)
    now_ms = SystemClock().now_ms()
    payload = FreshnessPayload(
        environment=root.payload.environment,
        prefix=root.payload.prefix,
        issued_ms=now_ms,
        expires_ms=now_ms + min(hours * _HOUR_MS, MAX_FRESHNESS_MS),
        root=root.named,
        directory=directory[1],
        items=None if items is None else items[1],
        revocations=tuple(_still_needed_revocations(desk, root, directory[0])),
    )
    octets = sign_payload(payload, signer)
    others = [file.octets for file in desk.files() if file.kind != FRESHNESS_TYPE]
    province = open_province([*others, octets], desk.anchor().entry(payload.prefix), now_ms)
    if now_ms >= province.fresh_until_ms:
        what = (
            f"根或目录已于 root or directory expired at {format_instant(province.fresh_until_ms)}"
        )
        raise CommandError(what, "先更新 renew it: directory draft | root rotate", Exit.REFUSED)
    path = desk.publish(read_document(desk.published, octets))
    _prune(desk, payload)
    write(
        f"{path}  目录 directory {directory[0].version}"
        f"  吊销 revocations {len(payload.revocations)}"
        f"  至 until {format_instant(payload.expires_ms)}"
    )
    left_ms = min(root.payload.expires_ms, directory[0].expires_ms) - now_ms
    if left_ms < _SOON_MS:
        write(
            f"提醒 mind: 根或目录 {left_ms // _DAY_MS} 天后过期 root or directory expires in days"
        )


def revoke(
    what: Annotated[
        list[str],
        typer.Argument(
            help="密钥号，或节点编号：其全部密钥与证书 · key ids, or a node id: all it has"
        ),
    ],
    *,
    key: KeyFolder,
    ground: Annotated[str, typer.Option(help="缘由 · why")],
    since: Annotated[
        str | None,
        typer.Option(help="自何时不可信，默认现在 · from when, as 2026-11-22T03:00:00.000Z"),
    ] = None,
    publisher: PublisherOption = HERE,
) -> None:
    """吊销 · take keys back at once, with fewer signatures than it takes to admit one."""
    desk = Publisher(publisher)
    root, signer = desk.roots()[-1], open_signer(key)
    listed, now_ms = desk.read_draft(), SystemClock().now_ms()
    ids, certificates = _meant(what, listed)
    revoked_ms = now_ms if since is None else parse_instant(since)
    payload = RevocationPayload(
        environment=root.payload.environment,
        prefix=root.payload.prefix,
        issued_ms=now_ms,
        ground=ground,
        keys=tuple(RevokedKey(id=key_id, revoked_ms=revoked_ms) for key_id in ids),
        certificates=certificates,
    )
    check_revocation(payload)
    if signer.key_id not in root.payload.directory.keys:
        told = f"{key}: 密钥 {signer.key_id} 无目录角色 is no directory key"
        raise CommandError(told, "换用目录角色的密钥 use a key of the role directory", Exit.REFUSED)
    for line in summary(payload):
        write(f"  {line}")
    octets = sign_payload(payload, signer)
    path = desk.put(octets)
    desk.write_draft(_without(listed, ids, revoked_ms))
    (file,) = read_files([path])
    if still_needed(desk, file, payload):
        tell_proposed(desk, path)
        return
    open_revocation(octets, root)
    path = desk.publish(file)
    write(f"已吊销 revoked: {path}")
    write("下一步 next: 立即分发该文件 hand it out at once; 再 then: directory freshness sign")


def _still_needed_revocations(
    desk: Publisher, root: RootDocument, directory: DirectoryPayload
) -> Iterable[str]:
    """The revocations that the directory in force does not say itself, by digest."""
    listed = {row.id: row for row in directory.keys}
    pinned = {row.certificate_digest.hex() for row in directory.nodes}
    for file in desk.files():
        if file.kind != REVOCATION_TYPE or not desk.holds(file, root):
            continue
        said = open_revocation(file.octets, root).payload
        said_there = all(
            row.id not in listed
            or ((ms := listed[row.id].revoked_ms) is not None and ms <= row.revoked_ms)
            for row in said.keys
        )
        if not said_there or pinned & set(said.certificates):
            yield file.digest


def _prune(desk: Publisher, said: FreshnessPayload) -> None:
    """Remove the directories, items and revocations that are no longer named."""
    named = {said.directory.digest, *said.revocations}
    named |= set() if said.items is None else {said.items.digest}
    for file in desk.files():
        if file.kind in (DIRECTORY_TYPE, ITEMS_TYPE, REVOCATION_TYPE) and file.digest not in named:
            file.path.unlink()


def _meant(what: Sequence[str], listed: DirectoryPayload) -> tuple[list[str], tuple[str, ...]]:
    """Key ids and certificates: of a node everything, of a key itself."""
    nodes = {row.id: row for row in listed.nodes}
    known = {row.id for row in listed.keys}
    ids: list[str] = []
    certificates: list[str] = []
    for text in what:
        if text in nodes:
            ids += [row.id for row in listed.keys if row.node == text]
            certificates.append(nodes[text].certificate_digest.hex())
        elif text in known:
            ids.append(text)
        else:
            told = f"{text}: 目录中没有此密钥或节点 neither a key nor a node of the directory"
            raise CommandError(told, "查看 look: directory show", Exit.REFUSED)
    return list(dict.fromkeys(ids)), tuple(dict.fromkeys(certificates))


def _without(listed: DirectoryPayload, ids: Sequence[str], revoked_ms: int) -> DirectoryPayload:
    """The draft with these keys revoked, so that the next directory says so itself."""
    keys = tuple(
        row.model_copy(update={"revoked_ms": min(revoked_ms, row.revoked_ms or revoked_ms)})
        if row.id in ids
        else row
        for row in listed.keys
    )
    return listed.model_copy(update={"keys": keys})
