"""Evidence out of the store: one file for a case or a message, sealed by this node.

What goes in is what this node holds: its own messages and those it received, with the receipts
given for them. A message that is still on its way has no receipt of its destination and cannot be
proven yet; it is left out of a case's file only if nothing of the same sender follows it, so that
numbers stay without gap.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from node.log.leaves import receipt_digest
from node.log.reading import newest_head, proofs_for, stamped_head
from node.ports import Decision, Unit, Update
from node.store import schema
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
    MessageEvidence,
    Report,
    Subject,
    verify_evidence,
    write_evidence,
)
from signing.verify import Rules

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from lxml import etree
    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.log.reading import HeadRow
    from protocol.envelope import Environment
    from routing.directory_roles import TrustAnchor
    from signing.stamps import StampRoots
    from signing.trust import TrustSet


async def export_case(context: NodeContext, case_id: str) -> bytes:
    """The evidence file of a case, as this node holds it.

    Raises:
        RefusedError: CASE_UNKNOWN: nothing of this case is here.
        UnavailableError: RECEIPT_MISSING: none of its messages has its destination's receipt yet;
            LOG_PENDING: no head covers it yet.
    """
    rows = await context.store.read(lambda connection: _read(connection, case_id=case_id))
    if not rows:
        raise RefusedError(Reason.CASE_UNKNOWN, f"no case {case_id} here")
    return await _write(context, Subject.CASE, case_id, _without_gap(rows))


async def export_message(
    context: NodeContext, message_id: str, authority: str | None = None
) -> bytes:
    """The evidence file of one message, as this node holds it.

    Args:
        context: The node.
        message_id: UUIDv7.
        authority: Its sender, should two senders have chosen one id.

    Raises:
        RefusedError: MESSAGE_UNKNOWN: it is not here, or it is not clear whose is meant.
        UnavailableError: RECEIPT_MISSING: none of its messages has its receipt yet; LOG_PENDING:
            no head covers it yet.
    """
    rows = await context.store.read(lambda connection: _read(connection, message_id=message_id))
    rows = [held for held in rows if authority in (None, held[0].authority)]
    if len(rows) != 1:
        detail = f"{len(rows)} messages {message_id} here" + (": say whose" if rows else "")
        raise RefusedError(Reason.MESSAGE_UNKNOWN, detail)
    return await _write(context, Subject.MESSAGE, message_id, _settled(rows))


def verify_file(
    octets: bytes,
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
    return verify_evidence(octets, open_trust, Rules(schemas, kinds, "trial"), roots)


_Held = tuple[MessageRow, MessageEvidence]


def _read(
    connection: Connection, *, case_id: str | None = None, message_id: str | None = None
) -> list[_Held]:
    """What is held, each message once: where both ends are here, by the one that knows more.

    What only passes through is not ours to show: its parts stay out, its hand-over is proven.
    """
    if case_id is not None:
        rows = case_messages(connection, case_id)
    else:
        rows = find_by_id(connection, message_id or "")
    chosen: dict[tuple[str, str], MessageRow] = {}
    for row in rows:
        before = chosen.get((row.authority, row.message_id))
        if before is None or _rank(row) > _rank(before):
            chosen[row.authority, row.message_id] = row
    held = find_parts(connection, list(chosen.values()))
    found: list[_Held] = []
    for row in chosen.values():
        passing = row.role == Role.TRANSIT
        parts = {} if passing else held.get((row.authority, row.message_id, row.role), {})
        receipts = custody_receipts(connection, row)
        if row.receipt is not None:
            receipts.append(row.receipt)
        found.append((row, MessageEvidence(row.envelope, parts, receipts)))
    return found


def _rank(row: MessageRow) -> tuple[bool, bool]:
    """Which end speaks for a message: one that knows the outcome, then the sender."""
    return row.receipt is not None, row.role == Role.OUT


def _settled(rows: list[_Held]) -> list[_Held]:
    return [held for held in rows if held[0].receipt is not None]


def _without_gap(rows: list[_Held]) -> list[_Held]:
    """The settled messages up to each sender's first one that is not."""
    expected: dict[tuple[str, str], int] = {}
    kept: list[_Held] = []
    for row, evidence in sorted(_settled(rows), key=lambda held: held[0].sequence or 0):
        sender = province_of(row.from_node), row.authority
        number = expected.get(sender, 1)
        if row.sequence == number:
            expected[sender] = number + 1
            kept.append((row, evidence))
    return sorted(kept, key=lambda held: (held[0].created_ms, held[0].message_id))


async def _write(
    context: NodeContext, subject: Subject, subject_id: str, rows: list[_Held]
) -> bytes:
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
    return write_evidence(about, documents, messages, context.keys, log)


def _dated(
    connection: Connection, rows: list[_Held]
) -> tuple[HeadRow | None, list[MessageEvidence]]:
    """The messages with their proofs, and the head these lead to: one with a stamp if it can be.

    Without a head where none was signed yet, or where something is older than the log.

    Raises:
        UnavailableError: LOG_PENDING: no head covers them yet.
    """
    for head in (stamped_head(connection), newest_head(connection)):
        if head is None:
            continue
        try:
            found = [replace(held, proofs=_proofs(connection, row, head)) for row, held in rows]
        except RefusedError as refusal:
            if refusal.reason is not Reason.LEAF_UNKNOWN:
                raise
            break
        except UnavailableError as trouble:
            if head.stamp is None or trouble.reason is not Reason.LOG_PENDING:
                raise
        else:
            return head, found
    return None, [held for _, held in rows]


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
    for row, evidence in rows:
        yield row.from_node
        yield row.to_node
        for octets in evidence.receipts:
            yield read_receipt(octets).receipt.issuer
