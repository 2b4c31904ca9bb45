"""Evidence out of the store: one file for a case or a message, sealed by this node.

A file is as large as its parts, so it is handed out piece by piece while they are read: what is in
memory is its envelopes, receipts and proofs, and one piece, or the small parts of one message.

What goes in is what this node holds: its own messages and those it received, with the receipts
given for them. A message that is still on its way has no receipt of its destination and cannot be
proven yet; it is left out of a case's file only if nothing of the same sender follows it, so that
numbers stay without gap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from node.log.leaves import receipt_digest
from node.log.reading import newest_head, proofs_for, stamped_head
from node.ports import Decision, Unit, Update
from node.store import schema
from node.store.contents import StoredPart, find_erasures, list_parts
from node.store.queries import (
    MessageRow,
    Role,
    case_messages,
    custody_receipts,
    find_by_id,
    find_parts,
)
from protocol.errors import RefusedError, UnavailableError
from protocol.identifiers import province_of
from protocol.reasons import Reason
from protocol.receipt import read_receipt
from routing.directory import Directory
from routing.directory_province import open_provinces
from signing.evidence import (
    About,
    LeafProof,
    LogEvidence,
    MessageToShow,
    Report,
    Subject,
    verify_evidence,
)
from signing.evidence_writer import (
    SEAL_RECORD_OCTETS,
    Sealing,
    after_parts,
    before_parts,
    beginning,
    piece,
    pieces_of,
    written_size,
)
from signing.verify import Rules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence

    from lxml import etree
    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.log.reading import HeadRow
    from protocol.envelope import Environment
    from routing.directory_roles import TrustAnchor
    from signing.evidence_file import Source
    from signing.stamps import StampRoots
    from signing.trust import TrustSet


@dataclass(frozen=True, slots=True)
class _Held:
    """A message and what is held of it."""

    row: MessageRow
    shown: MessageToShow
    parts: Sequence[StoredPart]


class Export:
    """A file on its way out: how many octets it has, and they themselves, once."""

    def __init__(
        self, context: NodeContext, sealing: Sealing, first: bytes, held: Sequence[_Held]
    ) -> None:
        """Use `export_case` or `export_message`."""
        self._context = context
        self._sealing = sealing
        self._first = first
        self._held = held

    @property
    def size(self) -> int:
        """Octets of the whole file."""
        size = len(self._first) + SEAL_RECORD_OCTETS
        for held in self._held:
            size += len(before_parts(held.shown)) + len(after_parts(held.shown))
            size += sum(written_size(part.part_id, part.size) for part in held.parts)
        return size

    async def octets(self) -> AsyncIterator[bytes]:
        """The file, in pieces; it is whole only with the last one, its seal.

        Raises:
            UnavailableError: STORE_UNAVAILABLE: a part cannot be read, or was erased meanwhile;
                SUITE_UNAVAILABLE.
        """
        yield self._sealing.take(self._first)
        for held in self._held:
            yield self._sealing.take(before_parts(held.shown))
            async for octets in self._pieces(held):
                yield self._sealing.take(octets)
            yield self._sealing.take(after_parts(held.shown))
        yield self._sealing.seal()

    async def _pieces(self, held: _Held) -> AsyncIterator[bytes]:
        small: Mapping[str, bytes] = {}
        if held.parts:
            found = await self._context.store.read(lambda c: find_parts(c, [held.row]))
            small = found.get(held.row.name, {})
        for part in held.parts:
            for offset, length in pieces_of(part.size):
                if part.blob is None:
                    octets = small.get(part.part_id, b"")[offset : offset + length]
                else:
                    octets = await self._context.blobs.read(part.blob, offset, length)
                if len(octets) != length:
                    detail = f"part {part.part_id} of {held.row.message_id} went meanwhile"
                    raise UnavailableError(Reason.STORE_UNAVAILABLE, detail)
                yield piece(part.part_id, octets)


async def export_case(context: NodeContext, case_id: str, *, contents: bool = True) -> Export:
    """The evidence file of a case, as this node holds it.

    Args:
        context: The node.
        case_id: UUIDv7.
        contents: False leaves bodies and parts out: proof for somebody who may not read them.

    Raises:
        RefusedError: CASE_UNKNOWN: nothing of this case is here.
        UnavailableError: RECEIPT_MISSING: none of its messages has its destination's receipt yet;
            LOG_PENDING: no head covers it yet.
    """
    rows = await context.store.read(lambda c: _read(c, case_messages(c, case_id), contents))
    if not rows:
        raise RefusedError(Reason.CASE_UNKNOWN, f"no case {case_id} here")
    return await _export(context, Subject.CASE, case_id, _without_gap(rows))


async def export_message(
    context: NodeContext, message_id: str, authority: str | None = None, *, contents: bool = True
) -> Export:
    """The evidence file of one message, as this node holds it.

    Args:
        context: The node.
        message_id: UUIDv7.
        authority: Its sender, should two senders have chosen one id.
        contents: As `export_case`.

    Raises:
        RefusedError: MESSAGE_UNKNOWN: it is not here, or it is not clear whose is meant.
        UnavailableError: RECEIPT_MISSING: none of its messages has its receipt yet; LOG_PENDING:
            no head covers it yet.
    """
    rows = await context.store.read(lambda c: _read(c, find_by_id(c, message_id), contents))
    rows = [held for held in rows if authority in (None, held.row.authority)]
    if len(rows) != 1:
        detail = f"{len(rows)} messages {message_id} here" + (": say whose" if rows else "")
        raise RefusedError(Reason.MESSAGE_UNKNOWN, detail)
    return await _export(context, Subject.MESSAGE, message_id, _settled(rows))


def verify_file(
    file: bytes | Source,
    anchor: TrustAnchor,
    schemas: Mapping[str, etree.XMLSchema],
    kinds: Collection[str],
    roots: StampRoots = (),
) -> Report:
    """Check an evidence file against a trust anchor from outside it; see `signing.evidence`."""

    def open_trust(documents: Sequence[bytes], environment: Environment) -> TrustSet:
        directory = Directory.merge(open_provinces(documents, anchor))
        if directory.environment != environment:
            detail = f"directories of {directory.environment}, the file says {environment}"
            raise RefusedError(Reason.ENVIRONMENT_MISMATCH, detail)
        return directory.trust

    # The environment is read from the file: both kinds can be proven.
    return verify_evidence(file, open_trust, Rules(schemas, kinds, "trial"), roots)


def _read(
    connection: Connection,
    rows: Sequence[MessageRow],
    contents: bool,  # noqa: FBT001
) -> list[_Held]:
    """What is held, each message once: where both ends are here, by the one that knows more.

    What only passes through is not ours to show: its parts stay out, its hand-over is proven.
    """
    erasures = find_erasures(connection, rows)
    chosen: dict[tuple[str, str], MessageRow] = {}
    for row in rows:
        before = chosen.get((row.authority, row.message_id))
        if before is None or _rank(row, erasures) > _rank(before, erasures):
            chosen[row.authority, row.message_id] = row
    own = [row for row in chosen.values() if row.role != Role.TRANSIT] if contents else []
    parts = list_parts(connection, own)
    found: list[_Held] = []
    for row in chosen.values():
        receipts = custody_receipts(connection, row)
        if row.receipt is not None:
            receipts.append(row.receipt)
        erasure = erasures.get(row.name)
        record = None if erasure is None else erasure.record
        shown = MessageToShow(row.envelope, {}, receipts, erasure=record)
        found.append(_Held(row, shown, parts.get(row.name, ())))
    return found


def _rank(row: MessageRow, erased: Collection[tuple[str, str, str]]) -> tuple[bool, bool, bool]:
    """Which end speaks for a message: that knows the outcome, has the contents, or sent it."""
    return row.receipt is not None, row.name not in erased, row.role == Role.OUT


def _settled(rows: list[_Held]) -> list[_Held]:
    return [held for held in rows if held.row.receipt is not None]


def _without_gap(rows: list[_Held]) -> list[_Held]:
    """The settled messages up to each sender's first one that is not."""
    expected: dict[tuple[str, str], int] = {}
    kept: list[_Held] = []
    for held in sorted(_settled(rows), key=lambda held: held.row.sequence or 0):
        row = held.row
        sender = province_of(row.from_node), row.authority
        number = expected.get(sender, 1)
        if row.sequence == number:
            expected[sender] = number + 1
            kept.append(held)
    return sorted(kept, key=lambda held: (held.row.created_ms, held.row.message_id))


async def _export(
    context: NodeContext, subject: Subject, subject_id: str, rows: list[_Held]
) -> Export:
    if not rows:
        raise UnavailableError(
            Reason.RECEIPT_MISSING, f"{subject} {subject_id}: no destination has answered yet"
        )
    about = About(
        environment=context.rules.environment,
        subject=subject,
        subject_id=subject_id,
        node=context.here,
        exported_ms=context.clock.now_ms(),
    )
    concerned = {province_of(node) for node in (context.here, *_nodes(rows))}
    documents = [
        octets
        for prefix, province in context.federation.directory.provinces.items()
        if prefix in concerned
        for octets in province.octets()
    ]
    head, messages = await context.store.read(lambda connection: _dated(connection, rows))
    log = None
    if head is not None:
        log = LogEvidence(head.octets, head.stamp)
        await context.store.run(_keep(head))
    first = beginning(about, documents, log)
    return Export(context, Sealing(context.keys, context.here), first, messages)


def _dated(connection: Connection, rows: list[_Held]) -> tuple[HeadRow | None, list[_Held]]:
    """The messages with their proofs, and the head these lead to: one with a stamp if it can be.

    Without a head where none was signed yet, or where something is older than the log.

    Raises:
        UnavailableError: LOG_PENDING: no head covers them yet.
    """
    for head in (stamped_head(connection), newest_head(connection)):
        if head is None:
            continue
        try:
            found = [
                replace(held, shown=replace(held.shown, proofs=_proofs(connection, held.row, head)))
                for held in rows
            ]
        except RefusedError as refusal:
            if refusal.reason is not Reason.LEAF_UNKNOWN:
                raise
            break
        except UnavailableError as trouble:
            if head.stamp is None or trouble.reason is not Reason.LOG_PENDING:
                raise
        else:
            return head, found
    return None, rows


def _proofs(connection: Connection, row: MessageRow, head: HeadRow) -> list[LeafProof]:
    """That the message, and the receipt that ended it, stand in the log."""
    receipt = row.receipt or b""
    ended = receipt_digest(read_receipt(receipt).receipt, receipt)
    shown = (proofs_for(connection, what, head)[0] for what in (row.message_digest, ended))
    return [LeafProof(one.leaf.octets, one.index, one.path) for one in shown]


def _keep(head: HeadRow) -> Unit[None]:
    """A head that left this node stays."""
    key = {"incarnation": head.incarnation, "size": head.size}
    row = Update(schema.log_head, key, {"kept": 1})
    decision: Decision[None] = Decision(lambda _proofs: ([row], None))
    return Unit(lambda _connection: decision)


def _nodes(rows: list[_Held]) -> Iterator[str]:
    """Every node whose keys it takes to check these messages."""
    for held in rows:
        yield held.row.from_node
        yield held.row.to_node
        for octets in held.shown.receipts:
            yield read_receipt(octets).receipt.issuer
