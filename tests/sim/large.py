"""Messages with large parts, presented and carried by hand, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from node.store import schema
from node.store.queries import Role, find_blobs, find_message
from protocol.frames import EnvelopeFrame, PartFrame, WantedFrame, read_frames, write_frames
from tests.sim.craft import Message, sign
from tests.sim.little import KIB, LIMITS
from tests.sim.peers import SAMPLE

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from node.ports import Blobs
    from protocol.envelope import MessageReference
    from protocol.frames import Frame
    from tests.sim.craft import Signed
    from tests.sim.peers import DrivenNode


def message(origin: str, destination: str, number: int = 1, /, **files: bytes) -> Signed:
    """A ping with these files."""
    bent = Message(origin, destination, number=number, files=files)
    return sign(bent, SAMPLE.keyrings[origin])


def presented(signed: Signed, **changes: Any) -> bytes:
    """The envelope with its small parts, as it is shown first."""
    path = changes.pop("path", signed.path)
    small = [
        PartFrame(signed.reference, name, 0, octets)
        for name, octets in signed.parts.items()
        if len(octets) <= LIMITS.inline
    ]
    return write_frames([EnvelopeFrame(path, signed.octets), *small])


def piece(signed: Signed, name: str, offset: int, size: int = KIB) -> PartFrame:
    """One piece of a part."""
    return PartFrame(signed.reference, name, offset, signed.parts[name][offset : offset + size])


def pieces(signed: Signed, name: str, start: int, end: int) -> list[Frame]:
    """Pieces of a part from here to there."""
    return [
        piece(signed, name, offset, min(KIB, end - offset)) for offset in range(start, end, KIB)
    ]


def carrying(signed: Signed, *frames: Frame) -> bytes:
    """The envelope with these pieces and nothing else."""
    return write_frames([EnvelopeFrame(signed.path, signed.octets), *frames])


def last(signed: Signed, *frames: Frame) -> bytes:
    """The envelope with its small parts and the last pieces."""
    return presented(signed) + write_frames(frames)


def wanted(answer: bytes) -> dict[str, int]:
    """What an answer that wants nothing but parts wants, and from where on."""
    frames = read_frames(answer)
    asked = [frame for frame in frames if isinstance(frame, WantedFrame)]
    assert len(asked) == len(frames) > 0, frames
    return {frame.part_id: frame.offset for frame in asked}


def transfers(connection: Connection) -> dict[str, int]:
    """Open transfers: part id and size."""
    rows = connection.execute(select(schema.transfer.c.part_id, schema.transfer.c.size))
    return {row.part_id: row.size for row in rows}


async def stored(
    node: DrivenNode, reference: MessageReference, role: Role = Role.IN
) -> dict[str, bytes]:
    """The large parts of a message on record, as its node would hand them out."""

    def query(connection: Connection) -> dict[str, tuple[str, int]]:
        row = find_message(connection, reference, role)
        assert row is not None
        found = find_blobs(connection, [row])
        held = found.get((row.authority, row.message_id, row.role), {})
        return {name: (blob.name, blob.size) for name, blob in held.items()}

    blobs: Blobs = node.context.blobs
    held = await node.read(query)
    return {name: await blobs.read(blob, 0, size) for name, (blob, size) in held.items()}
