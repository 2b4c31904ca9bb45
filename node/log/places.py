"""From a digest to its place in the log, without an index that every leaf would dirty.

Digests are random, so an ordinary index over them touches a page for each leaf. Instead, leaves are
sorted into runs when enough of them are there, and a run is cut into rows by the first bits of the
digest:

    ====  =============  ===========  =======================================================
    tier  leaves a run   rows a run   made
    ====  =============  ===========  =======================================================
    1     4,096          16           when 4,096 more leaves have their place
    2     65,536         256          when 65,536 have; takes the place of 16 runs of tier 1
    ====  =============  ===========  =======================================================

A row holds about 256 entries of ten octets, sorted: the first eight of the digest, and the leaf's
place in its block of 65,536. To find a digest takes one row of each run, which lie side by side,
and the entries since the last run: 40 octets read per thousand leaves.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from node.ports import Delete, Insert
from node.store import schema
from node.store.query import Query, given
from signing.log import LEAF_OCTETS
from signing.tiles import TILE_WIDTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from node.ports import Row

_DIGEST_AT: Final = LEAF_OCTETS - 32
_KEY_OCTETS: Final = 8
_PLACE: Final = struct.Struct(">H")
_ENTRY_OCTETS: Final = _KEY_OCTETS + _PLACE.size
_BLOCK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class _Tier:
    number: int
    span: int
    bits: int

    def bucket(self, digest: bytes) -> int:
        return digest[0] >> 8 - self.bits


TIERS: Final = (_Tier(1, 1 << 12, 4), _Tier(2, _BLOCK, 8))
_SMALL, _LARGE = TIERS

_table = schema.log_run
_RUNS: Final = Query(
    select(_table.c.number, _table.c.places).where(given(_table, "tier", "bucket")),
    lambda number, places: (int(number), bytes(places)),
)


def run_rows(bundle: Callable[[int], bytes], before: int, after: int) -> Iterator[Row]:
    """The rows to write when the log grows from one size to another.

    Args:
        bundle: Gives the leaves of a full bundle by its number, old or new.
        before: Leaves there were.
        after: Leaves there will be.
    """
    for tier in TIERS:
        for number in range(before // tier.span, after // tier.span):
            merged = tier is _SMALL and (number + 1) * tier.span <= after // _BLOCK * _BLOCK
            if not merged:
                yield from _run(tier, number, bundle)
    each = _BLOCK // _SMALL.span
    for number in range(before // _BLOCK * each, before // _SMALL.span):
        if number < after // _BLOCK * each:
            for bucket in range(1 << _SMALL.bits):
                yield Delete(_table, {"tier": _SMALL.number, "bucket": bucket, "number": number})


def _run(tier: _Tier, number: int, bundle: Callable[[int], bytes]) -> Iterator[Insert]:
    buckets: list[list[bytes]] = [[] for _ in range(1 << tier.bits)]
    first = number * tier.span
    for at in range(first // TILE_WIDTH, (first + tier.span) // TILE_WIDTH):
        leaves, place = bundle(at), at * TILE_WIDTH % _BLOCK
        for begin in range(_DIGEST_AT, len(leaves), LEAF_OCTETS):
            key = leaves[begin : begin + _KEY_OCTETS]
            buckets[tier.bucket(key)].append(key + _PLACE.pack(place))
            place += 1
    for bucket, entries in enumerate(buckets):
        entries.sort()
        values = {"tier": tier.number, "bucket": bucket, "number": number}
        yield Insert(_table, {**values, "places": b"".join(entries)})


def candidates(connection: Connection, digest: bytes) -> Iterator[list[int]]:
    """Places where a leaf with this digest may be, row by row: its first eight octets agree."""
    key = digest[:_KEY_OCTETS]
    for tier in TIERS:
        found = _RUNS.all(connection, tier=tier.number, bucket=tier.bucket(digest))
        for number, places in found:
            block = number * tier.span // _BLOCK * _BLOCK
            yield [block + place for place in _matching(places, key)]


def _matching(places: bytes, key: bytes) -> Iterator[int]:
    begins = range(0, len(places), _ENTRY_OCTETS)
    first = bisect_left(begins, key, key=lambda begin: places[begin : begin + _KEY_OCTETS])
    for begin in begins[first:]:
        if places[begin : begin + _KEY_OCTETS] != key:
            return
        yield _PLACE.unpack_from(places, begin + _KEY_OCTETS)[0]


def unsorted_from(size: int) -> int:
    """The first place of a log of this size that no run covers."""
    return size // _SMALL.span * _SMALL.span
