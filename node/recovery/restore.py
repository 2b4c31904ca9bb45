"""What a recalled message becomes: the rows there were, once it is verified like any other (RV-8).

What counts is not who hands it over. A message addressed to us is restored because this node signed
a receipt for it: that receipt, octet by octet, stands again, and nobody is given another. A message
of an authority of ours is restored because that authority signed it. A message we had in custody is
noted because we said so. Everything else is passed over.

Rows only: what a message does to its case, and who finds it in the inbox, is decided when all peers
have spoken (`node.recovery.replay`). Each message is one unit of work, and doing it again changes
nothing.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from node.log import leaves
from node.log.reading import LogReader, find_birth
from node.parts.intake import blob_name, large_parts
from node.ports import Decision, Delete, Unit, Update
from node.recovery.state import replay_row
from node.settlement import message_lock
from node.store import schema
from node.store.queries import DELIVER, MessageRow, Role, StoredBlob, find_message
from node.store.rows import blob_rows, ended, errand_row, message_row, part_rows
from protocol.errors import LocalUseError, RefusedError, UnavailableError
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from routing.delivery import Standing, same_message
from signing.receipts import concerns, verify_receipt
from signing.verify import check_part, verify_envelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.ports import Row
    from protocol.envelope import Part
    from protocol.frames import Piece, RecalledFrame
    from signing.receipts import VerifiedReceipt
    from signing.verify import VerifiedEnvelope

_ENDS = {
    ReceiptType.RECEIVED: Standing.RECEIVED,
    ReceiptType.REFUSED: Standing.REFUSED,
}
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Recalled:
    """One message, verified, with what proves what became of it.

    Attributes:
        peer: Who handed it over.
        verified: The envelope.
        final: Its destination's receipt, if that is there.
        custody: Our own receipts for having had it in custody.
        small: Octets by part id, each equal to its digest.
        large: Whole parts on disk, by part id.
    """

    peer: str
    verified: VerifiedEnvelope
    final: VerifiedReceipt | None
    custody: Sequence[VerifiedReceipt]
    small: Mapping[str, bytes]
    large: Mapping[str, StoredBlob]


class Restorer:
    """Restores recalled messages at one node."""

    def __init__(self, context: NodeContext) -> None:
        """Restore for this node."""
        self._context = context

    async def take(self, peer: str, frame: RecalledFrame) -> bool:
        """Take one frame; whether it made a message whole that was not here.

        Raises:
            UnavailableError: KEY_UNKNOWN, STORE_UNAVAILABLE or what checking may cost: the page has
                to be asked for again.
        """
        try:
            verified, receipts = await self._context.workers.run(lambda: self._verify(peer, frame))
        except RefusedError as refusal:
            _log.error("recalled message not believed", peer=peer, why=str(refusal))
            return False
        role = self._role(verified, receipts)
        if role is None:
            _log.warning("recalled message is not ours", peer=peer, **_named(verified))
            return False
        whole = await self._grow(verified, role, frame)
        if not frame.last:
            return False
        final = next((one for one in receipts if _ends(one, verified)), None)
        custody = [one for one in receipts if one.receipt.type is ReceiptType.CUSTODY]
        small = _small_parts(verified, frame.pieces)
        recalled = _Recalled(peer, verified, final, custody, small, whole)
        lock = frozenset({message_lock(verified.envelope.header.reference)})
        unit = Unit(lambda connection: self._decide(connection, recalled, role), lock)
        return await self._context.store.run(unit)

    # is it true?

    def _verify(
        self, peer: str, frame: RecalledFrame
    ) -> tuple[VerifiedEnvelope, list[VerifiedReceipt]]:
        context, trust = self._context, self._context.federation.directory.trust
        checking = context.checking(peer)
        receipts: list[VerifiedReceipt] = []
        for octets in frame.receipts:
            try:
                receipts.append(verify_receipt(octets, trust, live=False, checking=checking))
            except RefusedError as refusal:
                _log.error("recalled receipt not believed", peer=peer, why=str(refusal))
        now_ms = context.clock.now_ms()
        # What is revoked by now was valid when we took it, or we would not have signed for it.
        signed_ms = [one.receipt.instant_ms for one in receipts]
        try:
            verified = verify_envelope(
                frame.octets, context.rules, trust, now_ms, checking=checking
            )
        except RefusedError as refusal:
            if refusal.reason is not Reason.KEY_REVOKED or not signed_ms:
                raise
            verified = verify_envelope(
                frame.octets, context.rules, trust, min(signed_ms), live=False, checking=checking
            )
        about = (
            verified.envelope.header.reference,
            verified.message_digest,
            verified.octets,
        )
        return verified, [
            one for one in receipts if one.receipt.reference is not None and concerns(one, *about)
        ]

    def _role(self, verified: VerifiedEnvelope, receipts: Iterable[VerifiedReceipt]) -> Role | None:
        """What we were to it, by what was signed."""
        header, here = verified.envelope.header, self._context.here
        said = {one.receipt.type for one in receipts if one.receipt.issuer == here}
        if header.recipient.node == header.sender.node:
            return None
        if header.recipient.node == here:
            return Role.IN if said & _ENDS.keys() else None
        if header.sender.node == here:
            return Role.OUT
        return Role.TRANSIT if ReceiptType.CUSTODY in said else None

    # its large parts

    async def _grow(
        self, verified: VerifiedEnvelope, role: Role, frame: RecalledFrame
    ) -> dict[str, StoredBlob]:
        """Put pieces on disk; with the last of them, the parts that are whole."""
        context = self._context
        wanted = {part.part_id: part for part in large_parts(verified.envelope, context.parts)}
        if role is Role.TRANSIT or not wanted:
            return {}
        known = await context.store.read(
            lambda c: find_message(c, verified.envelope.header.reference, role)
        )
        if known is not None:
            return {}
        for piece in frame.pieces:
            if piece.part_id in wanted:
                await self._append(verified, role, wanted[piece.part_id], piece)
        if not frame.last:
            return {}
        sealed = {name: await self._seal(verified, role, part) for name, part in wanted.items()}
        return {name: blob for name, blob in sealed.items() if blob is not None}

    async def _append(
        self, verified: VerifiedEnvelope, role: Role, part: Part, piece: Piece
    ) -> None:
        blobs, name = self._context.blobs, blob_name(role, verified, part.part_id)
        held = await blobs.held(name)
        fits = piece.offset <= held.octets and piece.offset + len(piece.octets) <= part.size
        if not held.sealed and fits and piece.octets:
            await blobs.append(name, piece.offset, [piece.octets], verified.suite)

    async def _seal(self, verified: VerifiedEnvelope, role: Role, part: Part) -> StoredBlob | None:
        blobs, name = self._context.blobs, blob_name(role, verified, part.part_id)
        held = await blobs.held(name)
        if not held.sealed:
            whole = held.octets == part.size
            if not whole or not hmac.compare_digest(
                await blobs.digest(name, verified.suite), part.digest
            ):
                _log.error("part not restored", part=part.part_id, **_named(verified))
                await blobs.delete(name)
                return None
            await blobs.seal(name)
        return StoredBlob(name, part.size)

    # what it becomes

    def _decide(self, connection: Connection, recalled: _Recalled, role: Role) -> Decision[bool]:
        known = find_message(connection, recalled.verified.envelope.header.reference, role)
        if known is not None and not same_message(
            known.message_digest, recalled.verified.message_digest
        ):
            _log.error("another message under this id", **_named(recalled.verified))
            return Decision(lambda _proofs: ([], False))
        become = {
            Role.IN: self._received,
            Role.OUT: self._sent,
            Role.TRANSIT: self._forwarded,
        }
        rows = become[role](recalled, known)
        case = recalled.verified.envelope.header.case
        if rows and case is not None and role is not Role.TRANSIT:
            rows.append(replay_row(case.case_id))
        fresh = bool(rows)
        rows += self._unlogged(connection, recalled)
        return Decision(lambda _proofs: (rows, fresh))

    def _received(self, recalled: _Recalled, known: MessageRow | None) -> list[Row]:
        """A message to us, with the receipt we signed for it."""
        final, verified = recalled.final, recalled.verified
        if final is None:
            raise LocalUseError("a message to us without our receipt")
        standing = _ENDS[final.receipt.type]
        if known is not None:
            if known.standing != standing:
                # Both are ours: it was taken anew from the old state before anybody noticed.
                _log.error("two receipts of ours contradict", **_named(verified))
            return []
        at_ms = final.receipt.instant_ms
        origin = verified.envelope.header.sender.node
        path = tuple(dict.fromkeys((origin, recalled.peer)))
        outcome = ended(standing, final.octets, at_ms) | _why(final)
        rows: list[Row] = [_row(recalled, Role.IN, path, at_ms, outcome)]
        if standing is Standing.RECEIVED:
            rows += self._parts(recalled, Role.IN)
            rows.append(leaves.taken(verified.message_digest, at_ms))
        return rows

    def _sent(self, recalled: _Recalled, known: MessageRow | None) -> list[Row]:
        """A message of ours, and what its destination said, if it did."""
        final, verified, now_ms = recalled.final, recalled.verified, self._context.clock.now_ms()
        header = verified.envelope.header
        outcome: dict[str, object] = {"standing": Standing.QUEUED.value}
        rows: list[Row] = []
        if final is not None:
            outcome = ended(_ENDS[final.receipt.type], final.octets, now_ms) | _why(final)
            rows.append(leaves.settled(final.receipt, final.octets, now_ms))
        if known is None:
            created_ms = header.created_ms
            rows.append(_row(recalled, Role.OUT, (self._context.here,), created_ms, outcome))
            rows += self._parts(recalled, Role.OUT)
            rows.append(leaves.sent(verified.message_digest, created_ms))
            if final is None:
                size = len(verified.octets) + sum(map(len, recalled.small.values()))
                rows.append(errand_row(header, Role.OUT, recalled.peer, now_ms, size))
            return rows
        if final is None or Standing(known.standing).settled:
            return []
        rows.append(Update(schema.message, known.key, outcome))
        rows.append(Delete(schema.outbox, {**known.key, "purpose": DELIVER}))
        return rows

    def _forwarded(self, recalled: _Recalled, known: MessageRow | None) -> list[Row]:
        """A message we had in custody. Without its end it comes again: its sender still has it."""
        final, verified, now_ms = recalled.final, recalled.verified, self._context.clock.now_ms()
        if known is not None or final is None:
            return []
        header = verified.envelope.header
        outcome = ended(_ENDS[final.receipt.type], final.octets, now_ms) | _why(final)
        path = (header.sender.node, self._context.here)
        return [
            _row(recalled, Role.TRANSIT, path, header.created_ms, outcome),
            leaves.taken(verified.message_digest, header.created_ms),
            leaves.settled(final.receipt, final.octets, now_ms),
        ]

    def _parts(self, recalled: _Recalled, role: Role) -> list[Row]:
        reference = recalled.verified.envelope.header.reference
        return [
            *part_rows(reference, role, recalled.small),
            *blob_rows(reference, role, recalled.large),
        ]

    def _unlogged(self, connection: Connection, recalled: _Recalled) -> list[Row]:
        """Leaves of the receipts we signed that our log has lost (LG-2)."""
        birth, here = find_birth(connection), self._context.here
        reader = None if birth is None else LogReader(connection, birth.digest)
        receipts = [*recalled.custody, *([] if recalled.final is None else [recalled.final])]
        return [
            leaves.issued(one.receipt, one.octets)
            for one in receipts
            if one.receipt.issuer == here
            and (reader is None or not reader.find(leaves.receipt_digest(one.receipt, one.octets)))
        ]


def _row(
    recalled: _Recalled, role: Role, path: tuple[str, ...], at_ms: int, outcome: dict[str, object]
) -> Row:
    verified = recalled.verified
    return message_row(
        verified.envelope.header,
        verified.message_digest,
        verified.octets,
        role,
        path,
        at_ms,
        **outcome,
    )


def _ends(receipt: VerifiedReceipt, verified: VerifiedEnvelope) -> bool:
    """Whether it is the destination's last word."""
    said = receipt.receipt
    return said.type in _ENDS and said.issuer == verified.envelope.header.recipient.node


def _why(receipt: VerifiedReceipt) -> dict[str, object]:
    reason = receipt.receipt.reason
    return {} if reason is None else {"reason": reason.number, "detail": receipt.receipt.detail}


def _small_parts(verified: VerifiedEnvelope, pieces: Iterable[Piece]) -> dict[str, bytes]:
    """The parts that came whole, each held against the manifest."""
    listed = {part.part_id: part for part in verified.envelope.parts}
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
