"""What a believed message becomes: the rows there were.

Rows only: what a message does to its case, and who finds it in the inbox, is decided when all peers
have spoken (`node.recovery.replay`). Each message is one unit of work, and doing it again changes
nothing. What one peer keeps back of it, a part or a receipt, another one adds.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from node.log import leaves
from node.log.reading import LogReader, find_birth
from node.parts.intake import blob_name, large_parts
from node.ports import Decision, Delete, Unit, Update
from node.recovery.believing import ENDS
from node.recovery.state import replay_row
from node.settlement import message_lock
from node.store import schema
from node.store.queries import (
    DELIVER,
    MessageRow,
    Role,
    StoredBlob,
    find_blobs,
    find_message,
    find_parts,
)
from node.store.rows import blob_rows, ended, errand_row, message_row, part_rows
from protocol.errors import LocalUseError, UnavailableError
from routing.delivery import Standing, same_message
from signing.verify import check_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.ports import Row
    from node.recovery.believing import Believed
    from protocol.envelope import Part
    from protocol.frames import Piece, RecalledFrame
    from signing.receipts import VerifiedReceipt
    from signing.verify import VerifiedEnvelope

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Recalled:
    """One believed message, and what came of its parts.

    Attributes:
        told: The message, and what proves what became of it.
        small: Octets by part id, each equal to its digest.
        large: Whole parts on disk, by part id.
    """

    told: Believed
    small: Mapping[str, bytes]
    large: Mapping[str, StoredBlob]


class Restorer:
    """Restores recalled messages at one node."""

    def __init__(self, context: NodeContext) -> None:
        """Restore for this node."""
        self._context = context

    async def take(self, believed: Believed, frame: RecalledFrame) -> bool:
        """Take one frame; whether it made a message whole that was not here.

        Raises:
            UnavailableError: STORE_UNAVAILABLE: the page has to be asked for again.
        """
        large = await self._grow(believed, frame)
        if not frame.last:
            return False
        small = _small_parts(believed.verified, frame.pieces, self._context.parts.inline)
        recalled = _Recalled(believed, small, large)
        lock = frozenset({message_lock(believed.reference)})
        unit = Unit(lambda connection: self._decide(connection, recalled), lock)
        return await self._context.store.run(unit)

    # its large parts

    async def _grow(self, believed: Believed, frame: RecalledFrame) -> dict[str, StoredBlob]:
        """Put pieces on disk; with the last of them, the parts that are whole."""
        wanted = await self._missing(believed)
        for piece in frame.pieces:
            if piece.part_id in wanted:
                await self._append(believed, wanted[piece.part_id], piece)
        if not frame.last:
            return {}
        sealed = {name: await self._seal(believed, part) for name, part in wanted.items()}
        return {name: blob for name, blob in sealed.items() if blob is not None}

    async def _missing(self, believed: Believed) -> dict[str, Part]:
        """Its large parts that are not here."""
        context, verified = self._context, believed.verified
        wanted = {part.part_id: part for part in large_parts(verified.envelope, context.parts)}
        if believed.role is Role.TRANSIT or not wanted:
            return {}
        held = await context.store.read(lambda c: _held_parts(c, believed))
        return {name: part for name, part in wanted.items() if name not in held}

    async def _append(self, believed: Believed, part: Part, piece: Piece) -> None:
        blobs, name = self._context.blobs, _blob_name(believed, part)
        held = await blobs.held(name)
        fits = piece.offset <= held.octets and piece.offset + len(piece.octets) <= part.size
        if not held.sealed and fits and piece.octets:
            await blobs.append(name, piece.offset, [piece.octets], believed.verified.suite)

    async def _seal(self, believed: Believed, part: Part) -> StoredBlob | None:
        blobs, name = self._context.blobs, _blob_name(believed, part)
        held = await blobs.held(name)
        if not held.sealed:
            whole = held.octets == part.size
            if not whole or not hmac.compare_digest(
                await blobs.digest(name, believed.verified.suite), part.digest
            ):
                _log.error("part not restored", part=part.part_id, **_named(believed.verified))
                await blobs.delete(name)
                return None
            await blobs.seal(name)
        return StoredBlob(name, part.size)

    # what it becomes

    def _decide(self, connection: Connection, recalled: _Recalled) -> Decision[bool]:
        told = recalled.told
        role, verified = told.role, told.verified
        known = find_message(connection, told.reference, role)
        if known is not None and not same_message(known.message_digest, verified.message_digest):
            _log.error("another message under this id", **_named(verified))
            return Decision(lambda _proofs: ([], False))
        become = {
            Role.IN: self._received,
            Role.OUT: self._sent,
            Role.TRANSIT: self._forwarded,
        }
        rows = become[role](told, known)
        if role is not Role.TRANSIT and told.received:
            rows += _part_rows(connection, recalled)
        case = verified.envelope.header.case
        if rows and case is not None and role is not Role.TRANSIT:
            rows.append(replay_row(case.case_id))
        fresh = bool(rows)
        rows += self._unlogged(connection, told)
        return Decision(lambda _proofs: (rows, fresh))

    def _received(self, told: Believed, known: MessageRow | None) -> list[Row]:
        """A message to us, with the receipt we signed for it."""
        final, verified = told.final, told.verified
        if final is None:
            raise LocalUseError("a message to us without our receipt")
        standing = ENDS[final.receipt.type]
        if known is not None:
            if known.standing != standing:
                # Both are ours: it was taken anew from the old state before anybody noticed.
                _log.error("two receipts of ours contradict", **_named(verified))
            return []
        at_ms = final.receipt.instant_ms
        origin = verified.envelope.header.sender.node
        path = tuple(dict.fromkeys((origin, told.peer)))
        outcome = ended(standing, final.octets, at_ms) | _why(final)
        rows: list[Row] = [_row(told, path, at_ms, outcome)]
        if standing is Standing.RECEIVED:
            rows.append(leaves.taken(verified.message_digest, at_ms))
        return rows

    def _sent(self, told: Believed, known: MessageRow | None) -> list[Row]:
        """A message of ours, and what its destination said, if it did."""
        final, verified, now_ms = told.final, told.verified, self._context.clock.now_ms()
        header = verified.envelope.header
        outcome: dict[str, object] = {"standing": Standing.QUEUED.value}
        rows: list[Row] = []
        if final is not None:
            outcome = ended(ENDS[final.receipt.type], final.octets, now_ms) | _why(final)
            rows.append(leaves.settled(final.receipt, final.octets, now_ms))
        if known is None:
            created_ms = header.created_ms
            rows.append(_row(told, (self._context.here,), created_ms, outcome))
            rows.append(leaves.sent(verified.message_digest, created_ms))
            if final is None:
                size = len(verified.octets) + self._inline(told)
                rows.append(errand_row(header, Role.OUT, told.peer, now_ms, size))
            return rows
        if final is None or Standing(known.standing).settled:
            return []
        rows.append(Update(schema.message, known.key, outcome))
        rows.append(Delete(schema.outbox, {**known.key, "purpose": DELIVER}))
        return rows

    def _forwarded(self, told: Believed, known: MessageRow | None) -> list[Row]:
        """A message we had in custody. Without its end it comes again: its sender still has it."""
        final, verified, now_ms = told.final, told.verified, self._context.clock.now_ms()
        if known is not None or final is None:
            return []
        header = verified.envelope.header
        outcome = ended(ENDS[final.receipt.type], final.octets, now_ms) | _why(final)
        path = (header.sender.node, self._context.here)
        return [
            _row(told, path, header.created_ms, outcome),
            leaves.taken(verified.message_digest, header.created_ms),
            leaves.settled(final.receipt, final.octets, now_ms),
        ]

    def _inline(self, told: Believed) -> int:
        """Octets of its small parts."""
        parts, limit = told.verified.envelope.parts, self._context.parts.inline
        return sum(part.size for part in parts if part.size <= limit)

    def _unlogged(self, connection: Connection, told: Believed) -> list[Row]:
        """Leaves of the receipts we signed that our log has lost (LG-2)."""
        birth, here = find_birth(connection), self._context.here
        reader = None if birth is None else LogReader(connection, birth.digest)
        receipts = [*told.custody, *([] if told.final is None else [told.final])]
        return [
            leaves.issued(one.receipt, one.octets)
            for one in receipts
            if one.receipt.issuer == here
            and (reader is None or not reader.find(leaves.receipt_digest(one.receipt, one.octets)))
        ]


def _row(told: Believed, path: tuple[str, ...], at_ms: int, outcome: dict[str, object]) -> Row:
    verified = told.verified
    return message_row(
        verified.envelope.header,
        verified.message_digest,
        verified.octets,
        told.role,
        path,
        at_ms,
        **outcome,
    )


def _held_parts(connection: Connection, told: Believed) -> set[str]:
    """Those of its parts that are here."""
    known = find_message(connection, told.reference, told.role)
    if known is None:
        return set()
    small, large = find_parts(connection, [known]), find_blobs(connection, [known])
    return {*small.get(known.name, {}), *large.get(known.name, {})}


def _part_rows(connection: Connection, recalled: _Recalled) -> list[Row]:
    """What of its parts was not here: one peer may have had less of it than another."""
    told, held = recalled.told, _held_parts(connection, recalled.told)
    small = {name: octets for name, octets in recalled.small.items() if name not in held}
    large = {name: blob for name, blob in recalled.large.items() if name not in held}
    return [
        *part_rows(told.reference, told.role, small),
        *blob_rows(told.reference, told.role, large),
    ]


def _blob_name(told: Believed, part: Part) -> str:
    """Of its own for each peer: what one hands over does not spoil what another does."""
    name = blob_name(told.role, told.verified, part.part_id)
    return hashlib.sha256(f"{name}\n{told.peer}".encode()).hexdigest()


def _why(receipt: VerifiedReceipt) -> dict[str, object]:
    reason = receipt.receipt.reason
    return {} if reason is None else {"reason": reason.number, "detail": receipt.receipt.detail}


def _small_parts(
    verified: VerifiedEnvelope, pieces: Iterable[Piece], limit: int
) -> dict[str, bytes]:
    """The small parts that came, each held against the manifest."""
    listed = {part.part_id: part for part in verified.envelope.parts if part.size <= limit}
    found: dict[str, bytes] = {}
    for piece in pieces:
        part = listed.get(piece.part_id)
        if part is None or len(piece.octets) != part.size:
            continue
        try:
            check_part(verified, part, piece.octets)
        except UnavailableError as fault:
            _log.error("recalled part not believed", why=str(fault), **_named(verified))
            continue
        found[part.part_id] = piece.octets
    return found


def _named(verified: VerifiedEnvelope) -> dict[str, str]:
    header = verified.envelope.header
    return {"message": header.message_id, "kind": header.kind, "origin": header.sender.node}
