"""Answering a recall: page by page, what concerns the node that asks (RV-6, RV-7).

It is handed the messages addressed to it for which its own receipt is here, those its authorities
sent, and those it once had in custody, with the receipts; the first two with their parts, as far as
they are still here. Nothing that it was not party to: whoever asks knew all of it before.

A page is bounded in octets and in messages; the cursor names the last message handed over, and how
far into its large parts the page got.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import and_, bindparam, exists, or_, select, tuple_

from node.store import schema
from node.store.queries import MessageRow, StoredBlob, find_blobs, find_parts
from node.store.query import Query, columns
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import PageFrame, Piece, RecalledFrame, frame_size
from protocol.identifiers import uuid_octets, uuid_text
from protocol.limits import MAX_PIECE_OCTETS, MIB
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from node.context import NodeContext
    from protocol.frames import Frame, RecallFrame

PAGE_OCTETS: Final = 2 * MIB
PAGE_MESSAGES: Final = 64
NOTHING_MS: Final = 2**63 - 1
"""A recall of what is recorded from here on is the question what head is held, and no more."""
_CURSOR: Final = struct.Struct(">16s18s8sHQ")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins: after this message, or within its large parts."""

    message_id: str = ""
    authority: str = ""
    role: str = ""
    part: int = 0
    offset: int = 0

    @property
    def within(self) -> bool:
        """Whether some of the message was handed over, and some not."""
        return (self.part, self.offset) != (0, 0)

    @property
    def octets(self) -> bytes:
        """As a cursor."""
        name = uuid_octets(self.message_id), self.authority.encode(), self.role.encode()
        return _CURSOR.pack(*name, self.part, self.offset)


def _read_place(cursor: bytes) -> _Place:
    """Read a cursor of ours.

    Raises:
        RefusedError: FRAME_MALFORMED: it is not one.
    """
    if not cursor:
        return _Place()
    try:
        message_id, authority, role, part, offset = _CURSOR.unpack(cursor)
        names = authority.decode("ascii"), role.rstrip(b"\0").decode("ascii")
        return _Place(uuid_text(message_id), *names, part, offset)
    except (struct.error, ValueError) as error:
        raise RefusedError(Reason.FRAME_MALFORMED, f"cursor: {error}") from error


_m, _c = schema.message, schema.custody
_IN_CUSTODY: Final = exists().where(
    _c.c.authority == _m.c.authority,
    _c.c.message_id == _m.c.message_id,
    _c.c.role == _m.c.role,
    _c.c.issuer == bindparam("peer"),
)
_CONCERNING: Final = Query(
    select(*columns(_m, MessageRow))
    .where(
        tuple_(_m.c.message_id, _m.c.authority, _m.c.role)
        > tuple_(bindparam("message_id"), bindparam("authority"), bindparam("role")),
        or_(
            and_(_m.c.to_node == bindparam("peer"), _m.c.receipt.is_not(None)),
            _m.c.from_node == bindparam("peer"),
            _IN_CUSTODY,
        ),
        or_(
            _m.c.recorded_ms >= bindparam("since_ms"),
            _m.c.settled_ms >= bindparam("since_ms"),
            _m.c.settled_ms.is_(None),
        ),
    )
    .order_by(_m.c.message_id, _m.c.authority, _m.c.role)
    .limit(PAGE_MESSAGES),
    MessageRow,
)
_ONE: Final = Query(
    select(*columns(_m, MessageRow)).where(
        _m.c.message_id == bindparam("message_id"),
        _m.c.authority == bindparam("authority"),
        _m.c.role == bindparam("role"),
    ),
    MessageRow,
)
_GIVEN: Final = Query(
    select(_c.c.receipt).where(
        _c.c.authority == bindparam("authority"),
        _c.c.message_id == bindparam("message_id"),
        _c.c.role == bindparam("role"),
        _c.c.issuer == bindparam("peer"),
    ),
    bytes,
)


@dataclass(frozen=True, slots=True)
class _Found:
    """One message to hand over, and what there is of it."""

    row: MessageRow
    receipts: tuple[bytes, ...]
    small: Mapping[str, bytes]
    large: Mapping[str, StoredBlob]

    def after(self, part: int = 0, offset: int = 0) -> _Place:
        """The place behind this much of it; behind all of it if nothing is said."""
        return _Place(self.row.message_id, self.row.authority, self.row.role, part, offset)


async def answer_recall(context: NodeContext, peer: str, frame: RecallFrame) -> list[Frame]:
    """One page.

    Args:
        context: The node.
        peer: Who asks, authenticated.
        frame: What it asks.

    Raises:
        RefusedError: FRAME_MALFORMED: the cursor is none of ours.
        UnavailableError: STORE_UNAVAILABLE.
    """
    place = _read_place(frame.cursor)
    rows: list[MessageRow] = []
    if frame.since_ms < NOTHING_MS:
        rows = await context.store.read(lambda c: _rows(c, peer, place, frame.since_ms))
    frames: list[Frame] = []
    octets, end = 0, place
    for row in rows:
        one = await context.store.read(partial(_find, peer=peer, row=row))
        begin = place if place.within and not frames else one.after()
        made, stop = await _hand_over(context, one, begin)
        octets += sum(map(frame_size, made))
        if frames and octets > PAGE_OCTETS:
            break
        frames += made
        end = stop
        if end.within:
            break
    whole = not rows or end == _Found(rows[-1], (), {}, {}).after()
    following = b"" if whole and len(rows) < PAGE_MESSAGES else end.octets
    return [*frames, PageFrame(frame.since_ms, frame.cursor, following)]


def _rows(connection: Connection, peer: str, place: _Place, since_ms: int) -> list[MessageRow]:
    key = {"message_id": place.message_id, "authority": place.authority, "role": place.role}
    begun = _ONE.all(connection, **key) if place.within else []
    return [*begun, *_CONCERNING.all(connection, **key, peer=peer, since_ms=since_ms)]


def _find(connection: Connection, peer: str, row: MessageRow) -> _Found:
    party = [row] if peer in (row.from_node, row.to_node) else []
    return _Found(
        row,
        _receipts(connection, peer, row),
        find_parts(connection, party).get(row.name, {}),
        find_blobs(connection, party).get(row.name, {}),
    )


def _receipts(connection: Connection, peer: str, row: MessageRow) -> tuple[bytes, ...]:
    given = _GIVEN.all(connection, **row.key, peer=peer)
    return tuple(given if row.receipt is None else [row.receipt, *given])


async def _hand_over(
    context: NodeContext, one: _Found, begin: _Place
) -> tuple[list[Frame], _Place]:
    """The frames of one message from a place in it on, a page at most, and where they end."""
    frames: list[Frame] = []
    room, names = PAGE_OCTETS, sorted(one.large)
    for number, name in enumerate(names):
        offset = begin.offset if number == begin.part else 0
        while number >= begin.part and offset < one.large[name].size:
            try:
                octets = await context.blobs.read(one.large[name].name, offset, MAX_PIECE_OCTETS)
            except UnavailableError as trouble:
                # What is not to be had now will not be with the next page; the rest is.
                _log.warning("part not to be had", message=one.row.message_id, why=str(trouble))
                break
            if room <= 0:
                return frames, one.after(number, offset)
            pieces = (Piece(name, offset, octets),)
            frames.append(RecalledFrame(one.row.envelope, one.receipts, pieces, last=False))
            offset, room = offset + len(octets), room - len(octets)
    if frames and sum(map(len, one.small.values())) > room:
        return frames, one.after(len(names))
    small = tuple(Piece(name, 0, octets) for name, octets in one.small.items())
    frames.append(RecalledFrame(one.row.envelope, one.receipts, small, last=True))
    return frames, one.after()
