"""The log as it lies in the store: leaves, roots and proofs, each from a few rows.

A `LogReader` reads through one connection, so everything it says is of one moment. A proof reads
the tiles on the way from the leaf up and those at the edge of the tree: at most two for each eight
levels, whatever the size of the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, select

from node.log.places import candidates, unsorted_from
from node.store import schema
from node.store.query import Query, columns, given
from protocol.errors import RefusedError, UnavailableError
from protocol.reasons import Reason
from signing.log import LEAF_OCTETS, Birth, Leaf, LogDigest, SignedHead, read_head, read_leaf
from signing.merkle import consistency_nodes, inclusion_nodes, node_at
from signing.tiles import TILE_WIDTH, Tile, edge, root_at, tile_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from signing.log import Head
    from signing.suites import Suite

_PENDING_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class HeadRow:
    """One row of `schema.log_head`."""

    incarnation: int
    size: int
    instant_ms: int
    octets: bytes
    view: bytes
    kept: int
    stamp: bytes | None

    @property
    def passing(self) -> bool:
        """Nobody knows of it: it goes when the next one is signed."""
        return not self.kept and self.stamp is None

    @property
    def signed(self) -> SignedHead:
        """The head."""
        return read_head(self.octets)


@dataclass(frozen=True, slots=True)
class BreakRow:
    """One row of `schema.log_break`: a log that went on after a loss.

    Attributes:
        fork: Leaves that both incarnations have, as the node said.
        size: Of the last head known of the one before.
        held: That head.
        record: What the leaf with which it begins is about, if the log is this node's.
    """

    node: str
    incarnation: int
    seen_ms: int
    fork: int
    size: int
    held: bytes
    record: bytes

    def covers(self, head: Head) -> bool:
        """Whether it was declared that the log does not lead to this head any more."""
        if not self.held:
            return False
        known = read_head(self.held).head
        return known.incarnation == head.incarnation and head.size <= known.size

    @property
    def lost(self) -> int:
        """Leaves of which somebody knew and that are gone."""
        return max(0, self.size - self.fork)


@dataclass(frozen=True, slots=True)
class Inclusion:
    """Shows that a leaf stands in the log a head is about (RFC 9162 §2.1.3).

    Attributes:
        leaf: What happened.
        index: Its place, from 0.
        path: The hashes that lead from it to the root, lowest first.
        head: The head, as this node signed it.
    """

    leaf: Leaf
    index: int
    path: tuple[bytes, ...]
    head: HeadRow


_birth = schema.log_birth
_BIRTHS: Final = Query(
    select(*columns(_birth, Birth)).order_by(_birth.c.incarnation.desc()),
    lambda node, digest, *rest: Birth(node, LogDigest(digest), *rest),
)


def find_birth(connection: Connection) -> Birth | None:
    """How the present incarnation of this node's log began; None before its first step."""
    return _BIRTHS.first(connection)


def all_births(connection: Connection) -> list[Birth]:
    """How each incarnation began, the oldest first."""
    return _BIRTHS.all(connection)[::-1]


_break = schema.log_break
_AFTER: Final = Query(
    select(*columns(_break, BreakRow))
    .where(_break.c.node == bindparam("node"), _break.c.incarnation > bindparam("after"))
    .order_by(_break.c.incarnation),
    BreakRow,
)
_BREAKS: Final = Query(
    select(*columns(_break, BreakRow)).order_by(_break.c.seen_ms, _break.c.node), BreakRow
)


def breaks_after(connection: Connection, node: str, incarnation: int) -> list[BreakRow]:
    """Each time it did after this incarnation, the first one first."""
    return _AFTER.all(connection, node=node, after=incarnation)


def breaks(connection: Connection) -> list[BreakRow]:
    """Every log that went on after a loss, this node's among them, the oldest first."""
    return _BREAKS.all(connection)


def incarnation_of(connection: Connection) -> int:
    """The incarnation this node's log is in, from 1."""
    birth = find_birth(connection)
    return 1 if birth is None else birth.incarnation


_head = schema.log_head
_NEWEST: Final = Query(
    select(*columns(_head, HeadRow))
    .order_by(_head.c.incarnation.desc(), _head.c.size.desc())
    .limit(1),
    HeadRow,
)


def newest_head(connection: Connection) -> HeadRow | None:
    """The head signed last; None before the first."""
    return _NEWEST.first(connection)


_STAMPED: Final = Query(
    select(*columns(_head, HeadRow))
    .where(_head.c.stamp.is_not(None))
    .order_by(_head.c.incarnation.desc(), _head.c.size.desc())
    .limit(1),
    HeadRow,
)


def stamped_head(connection: Connection) -> HeadRow | None:
    """The newest head with a time stamp; None if none has one."""
    return _STAMPED.first(connection)


_ALL_HEADS: Final = Query(
    select(*columns(_head, HeadRow)).order_by(_head.c.incarnation, _head.c.size), HeadRow
)


def all_heads(connection: Connection) -> list[HeadRow]:
    """Every head that is kept, the oldest first."""
    return _ALL_HEADS.all(connection)


_tile = schema.log_tile
_SIZE: Final = Query(
    select(_tile.c.number, _tile.c.width)
    .where(_tile.c.level == 0)
    .order_by(_tile.c.number.desc())
    .limit(1),
    lambda number, width: int(number * TILE_WIDTH + width),
)


def log_size(connection: Connection) -> int:
    """How many leaves have their place."""
    return _SIZE.first(connection) or 0


_TILE: Final = Query(select(*columns(_tile, Tile)).where(given(_tile, "level", "number")), Tile)


def find_tile(connection: Connection, level: int, number: int) -> Tile:
    """A tile.

    Raises:
        RefusedError: LOG_BROKEN: it is not in the store, though it should be.
    """
    tile = _TILE.first(connection, level=level, number=number)
    if tile is None:
        raise RefusedError(Reason.LOG_BROKEN, f"tile ({level}, {number}) is gone")
    return tile


_entry = schema.log_entry
_BUNDLE: Final = Query(select(_entry.c.leaves).where(given(_entry, "number")), bytes)


def find_bundle(connection: Connection, number: int) -> bytes | None:
    """The leaves under tile (0, number), if there are any."""
    return _BUNDLE.first(connection, number=number)


_BUNDLES: Final = Query(
    select(_entry.c.number, _entry.c.leaves)
    .where(_entry.c.number >= bindparam("first"))
    .order_by(_entry.c.number),
    lambda number, leaves: (int(number), bytes(leaves)),
)


class LogReader:
    """Reads one log through one connection; keeps the tiles it has read.

    Attributes:
        suite: Whose digest the tree uses.
        size: Leaves that have their place.
        rows_read: How many rows it took so far.
    """

    def __init__(self, connection: Connection, digest: LogDigest) -> None:
        """Read the log whose tree uses this digest."""
        self._connection = connection
        self._tiles: dict[tuple[int, int], Tile] = {}
        self.suite: Final[Suite] = digest.suite
        self.size: Final = log_size(connection)
        self.rows_read = 0

    def tile(self, level: int, number: int) -> Tile:
        """A tile.

        Raises:
            RefusedError: LOG_BROKEN: it is not in the store, though the log is large enough.
        """
        tile = self._tiles.get((level, number))
        if tile is None:
            tile = self._tiles[level, number] = find_tile(self._connection, level, number)
            self.rows_read += 1
        return tile

    def edge(self) -> dict[tuple[int, int], Tile]:
        """The tiles that are begun and not full."""
        return {place: self.tile(*place) for place in edge(self.size)}

    def node(self, level: int, index: int) -> bytes:
        """A complete node, by tree level and index."""
        tile_level, number, height, offset = tile_of(level, index)
        return self.tile(tile_level, number).node(height, offset)

    def root(self, size: int) -> bytes:
        """The root of the tree of the first leaves."""
        return root_at(self.suite, self.node, size)

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """The path from a leaf to the root of the tree of the first leaves; index < size."""
        return tuple(
            node_at(self.suite, self.node, level, at, size)
            for level, at in inclusion_nodes(index, size)
        )

    def consistency(self, first: int, size: int) -> tuple[bytes, ...]:
        """The proof that `first` leaves grew into `size`; 1 <= first <= size."""
        return tuple(
            node_at(self.suite, self.node, level, at, size)
            for level, at in consistency_nodes(first, size)
        )

    def bundle(self, number: int) -> bytes:
        """The leaves under tile (0, number), one after the other.

        Raises:
            RefusedError: LOG_BROKEN: they are not in the store.
        """
        leaves = find_bundle(self._connection, number)
        if leaves is None:
            raise RefusedError(Reason.LOG_BROKEN, f"leaves from {number * TILE_WIDTH} are gone")
        self.rows_read += 1
        return leaves

    def leaf(self, index: int) -> Leaf:
        """The leaf at a place that is taken."""
        number, offset = divmod(index, TILE_WIDTH)
        return read_leaf(self.bundle(number)[offset * LEAF_OCTETS :][:LEAF_OCTETS])

    def find(self, digest: bytes) -> list[tuple[int, Leaf]]:
        """Every leaf with this digest and its place, the oldest first."""
        places = list(self._unsorted(digest))
        for row in candidates(self._connection, digest):
            self.rows_read += 1
            places += row
        found = [(place, self.leaf(place)) for place in sorted(places)]
        return [(place, leaf) for place, leaf in found if leaf.digest == digest]

    def _unsorted(self, digest: bytes) -> Iterator[int]:
        first = unsorted_from(self.size) // TILE_WIDTH
        for number, leaves in _BUNDLES.all(self._connection, first=first):
            self.rows_read += 1
            yield from (number * TILE_WIDTH + offset for offset in _offsets(leaves, digest))


def _offsets(leaves: bytes, digest: bytes) -> Iterator[int]:
    at = leaves.find(digest)
    while at >= 0:
        offset, rest = divmod(at + len(digest), LEAF_OCTETS)
        if rest == 0:
            yield offset - 1
        at = leaves.find(digest, at + 1)


def proofs_for(
    connection: Connection, digest: bytes, head: HeadRow | None = None
) -> list[Inclusion]:
    """Proof of every leaf with this digest, the oldest first; at least one.

    Args:
        connection: To the store.
        digest: Of a message or of a receipt's octets; see `signing.log.LeafType`.
        head: Under which head; the newest if None.

    Raises:
        RefusedError: LEAF_UNKNOWN: nothing was ever logged under this digest.
        UnavailableError: LOG_PENDING: it was, and the head does not cover it yet.
    """
    birth, head = find_birth(connection), head or newest_head(connection)
    found: list[tuple[int, Leaf]] = []
    if birth is not None and head is not None:
        reader = LogReader(connection, birth.digest)
        found = reader.find(digest)
        proven = [
            Inclusion(leaf, place, reader.inclusion(place, head.size), head)
            for place, leaf in found
            if place < head.size
        ]
        if proven:
            return proven
    if found or _waits(connection, digest):
        raise UnavailableError(Reason.LOG_PENDING, f"no signed head covers {digest.hex()} yet")
    raise RefusedError(Reason.LEAF_UNKNOWN, f"no leaf of digest {digest.hex()}")


_WAITING: Final = Query(
    select(schema.log_wait.c.leaves).order_by(schema.log_wait.c.id).limit(_PENDING_ROWS),
    bytes,
)


def _waits(connection: Connection, digest: bytes) -> bool:
    return any(True for leaves in _WAITING.all(connection) for _ in _offsets(leaves, digest))
