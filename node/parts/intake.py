"""The receiving half: pieces go to disk where they fit, and what is missing is wanted.

A piece counts if its part was asked for and it begins exactly where the octets on disk end. One
that begins earlier is passed over. One that begins later has overtaken another: it is kept in
memory for a while, as far as there is room, and counts when the disk has come so far; the answer
says where that is, whatever is kept. A piece outside its part is refused with its whole post.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from node.parts.turns import Turns
from node.ports import Decision, Delete, Insert, Unit, Update
from node.store import schema
from node.store.queries import Role, StoredBlob, find_message
from node.store.transfers import TransferRow, find_transfers, transfers_under_way
from protocol.envelope import BODY_ID, MessageReference
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import WantedFrame
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.parts.limits import PartLimits
    from node.ports import Row
    from protocol.envelope import Envelope, Part
    from protocol.frames import PartFrame
    from signing.verify import VerifiedEnvelope

_TOUCH_MS = 60_000
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Large:
    """How far the large parts of an arrival are.

    Attributes:
        blobs: Where the octets of each are, or will be.
        missing: Those that are not whole, in the manifest's order, and the octets held of each.
        unasked: Those of them that no transfer was opened for.
        space: Octets the disk has for them.
    """

    blobs: Mapping[str, StoredBlob] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    unasked: frozenset[str] = frozenset()
    space: int = 0

    @property
    def under_way(self) -> bool:
        """Whether all that is missing was asked for before: only octets are still to come."""
        return bool(self.missing) and not self.unasked

    def wanted(self, reference: MessageReference) -> list[WantedFrame]:
        """What to ask for."""
        return [WantedFrame(reference, name, held) for name, held in self.missing.items()]

    def settled(self) -> list[Row]:
        """The end of its transfers: the blobs become the message's, or nobody's."""
        return [Delete(schema.transfer, {"blob": blob.name}) for blob in self.blobs.values()]


def check_sizes(sizes: Mapping[str, int], octets: int, limits: PartLimits) -> None:
    """Hold the parts of a message against their bounds (LI-2, LI-6, LI-8, LI-9).

    Args:
        sizes: Of the parts, by their id.
        octets: Of the envelope.
        limits: The bounds.

    Raises:
        RefusedError: TOO_LARGE.
    """
    for name, size in sizes.items():
        most = limits.inline if name == BODY_ID else limits.part
        if size > most:
            raise RefusedError(Reason.TOO_LARGE, f"{name}: {size} octets, at most {most}")
    small = octets + sum(size for size in sizes.values() if size <= limits.inline)
    if small > limits.message:
        detail = f"{small} octets in one message, at most {limits.message} beside large parts"
        raise RefusedError(Reason.TOO_LARGE, detail)
    large = sum(size for size in sizes.values() if size > limits.inline)
    if large > limits.large:
        detail = f"{large} octets in large parts, at most {limits.large}"
        raise RefusedError(Reason.TOO_LARGE, detail)


def large_parts(envelope: Envelope, limits: PartLimits) -> list[Part]:
    """The parts that travel in pieces."""
    return [part for part in envelope.parts if part.size > limits.inline]


def blob_name(role: Role, verified: VerifiedEnvelope, part_id: str) -> str:
    """The name of a received part: a digest of what it is, so that no two share a file."""
    header = verified.envelope.header
    identity = verified.message_digest.hex()
    said = (role.value, header.sender.authority, header.message_id, identity, part_id)
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


class Intake:
    """Takes the large parts of messages that are not on record yet."""

    def __init__(self, context: NodeContext) -> None:
        """Take them for this node."""
        self._context = context
        self._turns: Turns[MessageReference] = Turns()
        self._early = Early(context.parts.early)

    def alone(self, reference: MessageReference) -> AbstractAsyncContextManager[None]:
        """While the block runs, nobody else touches the files of this message."""
        return self._turns.alone(reference)

    async def take(
        self, verified: VerifiedEnvelope, pieces: Mapping[str, Sequence[PartFrame]]
    ) -> Large:
        """Put on disk what continues what is there; how far things are then.

        Args:
            verified: The envelope, within the bounds of sizes.
            pieces: Of its large parts, by part id, in order.

        Raises:
            UnavailableError: PART_UNEXPECTED, nothing was taken; PART_MISMATCH: it came wrong too
                often, and has to wait; STORE_UNAVAILABLE.
        """
        context, envelope = self._context, verified.envelope
        here = envelope.header.recipient.node == context.here
        role = Role.IN if here else Role.TRANSIT
        parts = {part.part_id: part for part in large_parts(envelope, context.parts)}
        blobs = {
            name: StoredBlob(blob_name(role, verified, name), part.size)
            for name, part in parts.items()
        }
        _check_pieces(parts, pieces)
        known, rows = await context.store.read(
            lambda connection: (
                find_message(connection, envelope.header.reference, role),
                find_transfers(connection, [blob.name for blob in blobs.values()]),
            )
        )
        over = known is not None or envelope.header.expires_ms <= context.clock.now_ms()
        if over:
            # The store has the answer already; no octet is needed for it.
            return Large(blobs, dict.fromkeys(blobs, 0))
        asked = {name: rows[blob.name] for name, blob in blobs.items() if blob.name in rows}
        grown = await asyncio.gather(
            *(
                self._grow(verified, parts[name], row, pieces.get(name, ()))
                for name, row in asked.items()
            ),
            # All of them end before the turn of this message does.
            return_exceptions=True,
        )
        held: dict[str, int] = {}
        for name, octets in zip(asked, grown, strict=True):
            if isinstance(octets, BaseException):
                raise octets
            held[name] = octets
        missing = {
            name: octets for name in blobs if (octets := held.get(name, 0)) < blobs[name].size
        }
        return Large(blobs, missing, frozenset(blobs.keys() - asked), await context.blobs.space())

    async def _grow(
        self,
        verified: VerifiedEnvelope,
        part: Part,
        row: TransferRow,
        pieces: Sequence[PartFrame],
    ) -> int:
        """The octets held of one part, once these pieces were put to those before."""
        blobs, name, limits = self._context.blobs, row.blob, self._context.parts
        now_ms = self._context.clock.now_ms()
        if row.mismatches >= limits.mismatches and now_ms < row.touched_ms + limits.rest_ms:
            detail = f"{part.part_id} came whole and wrong {row.mismatches} times"
            raise UnavailableError(Reason.PART_MISMATCH, detail)
        held = await blobs.held(name)
        if held.sealed:
            return part.size
        for piece in pieces:
            self._early.put(name, piece.offset, piece.octets)
        fitting, octets = self._early.take(name, held.octets)
        if fitting:
            await blobs.append(name, held.octets, fitting, verified.suite)
            if now_ms >= row.touched_ms + _TOUCH_MS:
                await self._note(row, {"touched_ms": now_ms})
        if octets < part.size:
            return octets
        if hmac.compare_digest(await blobs.digest(name, verified.suite), part.digest):
            await blobs.seal(name)
            self._early.drop(name)
            return part.size
        # Whoever carried it may have damaged it, so nobody is refused for it (UP-6).
        _log.warning("part came whole and is not it", message=row.message_id, part=part.part_id)
        await self._note(row, {"touched_ms": now_ms, "mismatches": row.mismatches + 1})
        self._early.drop(name)
        await blobs.delete(name)
        return 0

    async def _note(self, row: TransferRow, changes: Mapping[str, object]) -> None:
        decision: Decision[None] = Decision(
            lambda _signatures: ([Update(schema.transfer, {"blob": row.blob}, changes)], None)
        )
        await self._context.store.run(Unit(lambda _connection: decision, frozenset({row.blob})))

    async def drop(self, names: Sequence[str]) -> None:
        """These blobs are nobody's any more. What fails to go is swept at the next start."""
        for name in names:
            self._early.drop(name)
            try:
                await self._context.blobs.delete(name)
            except UnavailableError as trouble:
                _log.warning("blob left behind", blob=name, why=str(trouble))


def _check_pieces(parts: Mapping[str, Part], pieces: Mapping[str, Sequence[PartFrame]]) -> None:
    for name, frames in pieces.items():
        for frame in frames:
            if not 0 < len(frame.octets) <= parts[name].size - frame.offset:
                detail = f"{name}: {len(frame.octets)} octets at {frame.offset}"
                raise UnavailableError(Reason.PART_UNEXPECTED, detail)


class Early:
    """Pieces that came before those in front of them. Memory only, so nothing is said of them."""

    def __init__(self, room: int) -> None:
        """None yet; so many octets at most."""
        self._room = room
        self._octets = 0
        self._held: OrderedDict[str, dict[int, bytes]] = OrderedDict()

    def put(self, name: str, offset: int, octets: bytes) -> None:
        """A piece of this blob."""
        pieces = self._held.setdefault(name, {})
        self._octets += len(octets) - len(pieces.get(offset, b""))
        pieces[offset] = octets

    def take(self, name: str, offset: int) -> tuple[list[bytes], int]:
        """The pieces that follow one another from here on, and where they end.

        What is left, and begins later, is kept as far as there is room: others' goes first.
        """
        pieces = self._held.pop(name, {})
        self._octets -= sum(map(len, pieces.values()))
        fitting: list[bytes] = []
        while (piece := pieces.get(offset)) is not None:
            fitting.append(piece)
            offset += len(piece)
        later = {place: octets for place, octets in pieces.items() if place > offset}
        coming = sum(map(len, later.values()))
        while later and self._octets + coming > self._room and self._held:
            self.drop(next(iter(self._held)))
        if later and self._octets + coming <= self._room:
            self._held[name] = later
            self._octets += coming
        return fitting, offset

    def drop(self, name: str) -> None:
        """Nothing of this blob is needed any more."""
        self._octets -= sum(map(len, self._held.pop(name, {}).values()))


def opening(
    connection: Connection,
    limits: PartLimits,
    peer: str,
    reference: MessageReference,
    large: Large,
    now_ms: int,
) -> list[Row]:
    """The rows that set room aside for what was not asked for yet: for all of it, or for nothing.

    Raises:
        UnavailableError: PART_QUOTA, or STORE_UNAVAILABLE: too little disk is left (UP-7).
    """
    new = {name: large.blobs[name] for name in large.missing if name in large.unasked}
    if not new:
        return []
    coming = sum(blob.size for blob in new.values())
    own, all_peers = transfers_under_way(connection, peer)
    if own.count + len(new) > limits.peer_parts:
        raise UnavailableError(Reason.PART_QUOTA, f"{own.count} parts of {peer} under way")
    if own.octets + coming > limits.peer_octets:
        raise UnavailableError(Reason.PART_QUOTA, f"{own.octets} octets of {peer} under way")
    if all_peers.octets + coming > limits.octets:
        raise UnavailableError(Reason.PART_QUOTA, f"{all_peers.octets} octets under way")
    if coming > large.space:
        raise UnavailableError(Reason.STORE_UNAVAILABLE, "too little disk for large parts")
    return [
        Insert(
            schema.transfer,
            {
                "blob": blob.name,
                "authority": reference.authority,
                "message_id": reference.message_id,
                "part_id": name,
                "peer": peer,
                "size": blob.size,
                "touched_ms": now_ms,
                "mismatches": 0,
            },
        )
        for name, blob in new.items()
    ]
