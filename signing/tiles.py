"""Tiles: how a growing Merkle tree lies in a store, so that a proof is a few reads (日志分块).

A tile covers eight levels of the tree over up to 256 nodes. Tile (L, N) starts with the nodes of
tree level 8 L from index 256 N on; after them come the nodes above, up to the two below its top.
The top is a node of the tile above. Only complete nodes are kept, so a node never changes, and a
tile only grows until it is full:

    ======  ===============================  ============================
    height  hashes in a tile of width w      tree level
    ======  ===============================  ============================
    0       w         (256 when full)        8 L
    1       w >> 1    (128)                  8 L + 1
    …       …                                …
    7       w >> 7    (2)                    8 L + 7
    ======  ===============================  ============================

The lower tiles of tlog-tiles (C2SP) hold height 0 alone and leave the rest to the reader; here a
full tile takes twice the room, and a proof hashes next to nothing.

Sources: RFC 9162 §2.1; C2SP tlog-tiles for shape and numbering.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from protocol.errors import LocalUseError
from signing.merkle import node_at, node_hash, root_node
from signing.suites import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from signing.suites import Suite

HASH_OCTETS: Final = 32
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile.

    Attributes:
        level: Which eight levels, from the leaves; below 8.
        number: Its place in the level, from 0.
        width: How many nodes of its lowest height are there, 0 to 256.
        hashes: All of its nodes, height by height.
    """

    level: int
    number: int
    width: int
    hashes: bytes = field(repr=False)

    @classmethod
    def empty(cls, level: int, number: int) -> Tile:
        """A tile that nothing is in yet; it is never stored."""
        return cls(level, number, 0, b"")

    def node(self, height: int, offset: int) -> bytes:
        """A node by its height in the tile and its place at that height.

        Raises:
            LocalUseError: this tile does not hold it (yet).
        """
        if not 0 <= offset < self.width >> height:
            message = f"tile ({self.level}, {self.number}) of width {self.width}: no node "
            raise LocalUseError(message + f"({height}, {offset})")
        place = HASH_OCTETS * (_before(height, self.width) + offset)
        return self.hashes[place : place + HASH_OCTETS]

    def heights(self) -> list[bytes]:
        """The hashes of each of the eight heights, the lowest first."""
        places = [HASH_OCTETS * _before(height, self.width) for height in range(TILE_HEIGHT + 1)]
        return [self.hashes[begin:end] for begin, end in pairwise(places)]

    def top(self, suite: Suite) -> bytes:
        """The node a full tile stands under."""
        return node_hash(suite, self.node(TILE_HEIGHT - 1, 0), self.node(TILE_HEIGHT - 1, 1))

    def extended(self, suite: Suite, hashes: Sequence[bytes]) -> Tile:
        """This tile with more nodes at its lowest height; it holds 256 of them at most."""
        width = self.width + len(hashes)
        rows: list[bytes] = []
        fresh: Iterable[bytes] = hashes
        for height, held in enumerate(self.heights(), start=1):
            row = held + b"".join(fresh)
            rows.append(row)
            # What two nodes of the last height stand under is the tile above's.
            pairs = range(self.width >> height, width >> height) if height < TILE_HEIGHT else ()
            fresh = [node_hash(suite, *_pair(row, at)) for at in pairs]
        return Tile(self.level, self.number, width, b"".join(rows))


def _pair(row: bytes, at: int) -> tuple[bytes, bytes]:
    place = 2 * HASH_OCTETS * at
    middle = place + HASH_OCTETS
    return row[place:middle], row[middle : middle + HASH_OCTETS]


def _before(height: int, width: int) -> int:
    """How many nodes stand before those of a height, in a tile of this width."""
    return sum(width >> lower for lower in range(height))


def tile_of(level: int, index: int) -> tuple[int, int, int, int]:
    """Where a complete node is kept.

    Args:
        level: Its level in the tree: it stands over 2^level leaves.
        index: Its place in that level.

    Returns:
        Level and number of the tile, height and offset in it.
    """
    tile_level, height = divmod(level, TILE_HEIGHT)
    number, offset = divmod(index, TILE_WIDTH >> height)
    return tile_level, number, height, offset


def edge(size: int) -> list[tuple[int, int]]:
    """Level and number of each tile that is begun and not full in a tree of this size."""
    found: list[tuple[int, int]] = []
    level, nodes = 0, size
    while nodes:
        if nodes % TILE_WIDTH:
            found.append((level, nodes // TILE_WIDTH))
        level, nodes = level + 1, nodes // TILE_WIDTH
    return found


def grow(
    suite: Suite, size: int, edge_tiles: Mapping[tuple[int, int], Tile], hashes: Sequence[bytes]
) -> Iterator[Tile]:
    """The tiles that change when leaves are added, each once, in its new form.

    Args:
        suite: Whose digest the tree uses.
        size: Leaves there were.
        edge_tiles: The tiles of `edge(size)`, by level and number.
        hashes: Of the new leaves, in order.
    """
    level, nodes = 0, size
    while hashes:
        tops: list[bytes] = []
        number, width = divmod(nodes, TILE_WIDTH)
        tile = edge_tiles[level, number] if width else Tile.empty(level, number)
        begin = 0
        while begin < len(hashes):
            piece = hashes[begin : begin + TILE_WIDTH - tile.width]
            begin += len(piece)
            tile = tile.extended(suite, piece)
            yield tile
            if tile.width == TILE_WIDTH:
                tops.append(tile.top(suite))
                tile = Tile.empty(level, tile.number + 1)
        level, nodes, hashes = level + 1, nodes // TILE_WIDTH, tops


def root_at(suite: Suite, complete: Callable[[int, int], bytes], size: int) -> bytes:
    """The root of the tree of the first leaves, from its complete nodes.

    Args:
        suite: Whose digest the tree uses.
        complete: Gives a complete node by tree level and index.
        size: How many leaves; 0 gives the root of the empty tree.
    """
    if size == 0:
        return digest(suite, b"")
    return node_at(suite, complete, *root_node(size), size)
