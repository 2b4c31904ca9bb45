from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalUseError
from signing.merkle import leaf_hash
from signing.suites import Suite, digest
from signing.tiles import HASH_OCTETS, TILE_WIDTH, Tile, edge, grow, root_at, tile_of
from tests.trees import Recursive

SUITE = Suite.P256
LEAVES = [number.to_bytes(41) for number in range(70_000)]
TREE = Recursive(LEAVES)


class Tiled:
    """A tree in tiles, grown like a log grows."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], Tile] = {}
        self.size = 0

    def add(self, count: int) -> list[Tile]:
        hashes = [leaf_hash(SUITE, leaf) for leaf in LEAVES[self.size : self.size + count]]
        edge_tiles = {place: self.tiles[place] for place in edge(self.size)}
        changed = list(grow(SUITE, self.size, edge_tiles, hashes))
        self.tiles |= {(tile.level, tile.number): tile for tile in changed}
        self.size += count
        return changed

    def node(self, level: int, index: int) -> bytes:
        tile_level, number, height, offset = tile_of(level, index)
        return self.tiles[tile_level, number].node(height, offset)

    def root(self, size: int) -> bytes:
        return root_at(SUITE, self.node, size)


@pytest.mark.spec("LG-3")
@given(st.lists(st.integers(0, 700), max_size=6))
def test_tiles_hold_the_tree_however_it_grew(counts: list[int]) -> None:
    tiled = Tiled()
    for count in counts:
        changed = tiled.add(count)
        assert len({(tile.level, tile.number) for tile in changed}) == len(changed)
        assert tiled.root(tiled.size) == TREE.root(tiled.size)
    for level in range(tiled.size.bit_length()):
        for index in range(tiled.size >> level):
            assert tiled.node(level, index) == TREE.mth(index << level, index + 1 << level)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 65_535, 65_536, 65_537, 70_000])
def test_roots_of_every_kind_of_size(size: int) -> None:
    tiled = Tiled()
    tiled.add(size)
    for earlier in {size, *random.Random(size).sample(range(1, size + 1), min(size, 20))}:
        assert tiled.root(earlier) == TREE.root(earlier)
    assert all(tile.width == len(tile.hashes) // HASH_OCTETS - _above(tile.width) for tile in
               tiled.tiles.values())  # fmt: skip


def _above(width: int) -> int:
    return sum(width >> height for height in range(1, 8))


def test_one_step_or_many_make_the_same_tiles() -> None:
    whole, slow = Tiled(), Tiled()
    whole.add(3000)
    for count in (1, 254, 1, 1, 1023, 1720):
        slow.add(count)
    assert whole.tiles == slow.tiles


def test_a_tile_begins_with_its_lowest_nodes() -> None:
    """As the tiles of tlog-tiles do, so that an auditor's tile is a prefix of ours."""
    tiled = Tiled()
    tiled.add(300)
    hashes = [leaf_hash(SUITE, leaf) for leaf in LEAVES[:300]]
    full, begun = tiled.tiles[0, 0], tiled.tiles[0, 1]
    assert full.hashes[: HASH_OCTETS * TILE_WIDTH] == b"".join(hashes[:256])
    assert begun.hashes[: HASH_OCTETS * 44] == b"".join(hashes[256:])
    assert tiled.tiles[1, 0].hashes == TREE.mth(0, 256)
    assert edge(300) == [(0, 1), (1, 0)]


def test_nothing_is_read_that_is_not_there() -> None:
    tiled = Tiled()
    tiled.add(5)
    tile = tiled.tiles[0, 0]
    for height, offset in ((0, 5), (1, 2), (3, 0), (0, -1)):
        with pytest.raises(LocalUseError, match="no node"):
            tile.node(height, offset)


def test_an_empty_tree_has_no_tiles_and_the_root_of_nothing() -> None:
    tiled = Tiled()
    assert tiled.add(0) == []
    assert edge(0) == []
    assert tiled.root(0) == digest(SUITE, b"")
