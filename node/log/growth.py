"""One step of the log: leaves that wait get their places, dense and in the order of commits.

A step is planned from a snapshot, beside the writer, because hashing is the work; what it found is
then written by a unit of work that first looks whether the log is still as long as it was. So the
writer only writes, and of two processes that ever plan the same step one does nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from node.log.places import run_rows
from node.log.reading import (
    HeadRow,
    LogReader,
    find_birth,
    log_size,
    newest_head,
)
from node.ports import Decision, Delete, Insert, Unit, Upsert
from node.recovery.marker import LogMark
from node.store import schema
from node.store.query import Query
from signing.log import (
    LEAF_OCTETS,
    Birth,
    Head,
    Leaf,
    LeafType,
    head_request,
    split_leaves,
    view_digest,
    write_head,
)
from signing.merkle import leaf_hash
from signing.tiles import TILE_WIDTH, grow, root_at, tile_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from node.ports import Row
    from protocol.proof import Proof
    from signing.suites import PublicKey
    from signing.tiles import Tile

LOG_LOCK: Final = "log"
"""The key under which units that change the log exclude each other."""
STEP_LEAVES: Final = 4096
"""A step takes rows of waiting leaves until it has this many: some 20 milliseconds of hashing."""
_STEP_ROWS: Final = 256

_wait = schema.log_wait
_WAITING: Final = Query(
    select(_wait.c.id, _wait.c.leaves).order_by(_wait.c.id).limit(_STEP_ROWS),
    lambda number, leaves: (int(number), bytes(leaves)),
)


@dataclass(frozen=True, slots=True)
class Moment:
    """What the node says of itself when it takes a step.

    Attributes:
        now_ms: When.
        view: What it holds of the directories, as peers are shown it.
        event: START or DIRECTORY, if that has to be logged.
    """

    now_ms: int
    view: bytes
    event: LeafType | None


@dataclass(frozen=True, slots=True)
class Step:
    """What to write so that the log grows.

    Attributes:
        birth: Of the log; new in its first step.
        before: Leaves there have to be.
        after: Leaves there will be.
        root: Of the tree they make.
        rows: Everything but the head.
        more: Leaves still wait.
        news: There is more in it than heads of peers: they would tell each other of each other's
            heads for ever.
    """

    birth: Birth
    before: int
    after: int
    root: bytes
    rows: list[Row]
    more: bool
    news: bool


def plan_step(connection: Connection, newborn: Birth, moment: Moment) -> Step | None:
    """What the next step writes; None if there is nothing to do.

    Args:
        connection: To a snapshot of the store.
        newborn: How the log begins, should it not have begun.
        moment: What the node says of itself.
    """
    birth = find_birth(connection)
    rows: list[Row] = []
    leaves: list[bytes] = []
    if birth is None:
        birth = newborn
        rows.append(birth_row(birth))
        leaves.append(birth.leaf.octets)
    waiting = _WAITING.all(connection)
    if moment.event is not None:
        leaves.append(Leaf(moment.event, moment.now_ms, view_digest(moment.view)).octets)
    used = 0
    if waiting and waiting[0][1][0] == LeafType.RECOVERY:
        # A new incarnation begins with its own two leaves, before anything is said (LG-17).
        number, octets = waiting[0]
        leaves = [*split_leaves(octets), *leaves]
        rows.append(Delete(_wait, {"id": number}))
        used = 1
    for number, octets in waiting[used:]:
        if len(leaves) >= STEP_LEAVES:
            break
        leaves.extend(split_leaves(octets))
        rows.append(Delete(_wait, {"id": number}))
        used += 1
    if not leaves:
        return None
    reader = LogReader(connection, birth.digest)
    before, after = reader.size, reader.size + len(leaves)
    more = used < len(waiting) or used == _STEP_ROWS
    tiles = _grown(reader, leaves)
    rows += [_tile_row(tile) for tile in tiles.values()]
    bundles = dict(_bundles(reader, leaves))
    rows += [
        Upsert(schema.log_entry, {"number": number, "leaves": octets})
        for number, octets in bundles.items()
    ]
    rows += run_rows(lambda number: bundles.get(number) or reader.bundle(number), before, after)

    def node(level: int, index: int) -> bytes:
        tile_level, number, height, offset = tile_of(level, index)
        tile = tiles.get((tile_level, number)) or reader.tile(tile_level, number)
        return tile.node(height, offset)

    root = root_at(reader.suite, node, after)
    news = any(leaf[0] != LeafType.PEER_HEAD for leaf in leaves)
    return Step(birth, before, after, root, rows, more, news)


def _grown(reader: LogReader, leaves: list[bytes]) -> dict[tuple[int, int], Tile]:
    hashes = [leaf_hash(reader.suite, leaf) for leaf in leaves]
    changed = grow(reader.suite, reader.size, reader.edge(), hashes)
    return {(tile.level, tile.number): tile for tile in changed}


def _bundles(reader: LogReader, leaves: list[bytes]) -> Iterator[tuple[int, bytes]]:
    number, begun = divmod(reader.size, TILE_WIDTH)
    octets = (reader.bundle(number) if begun else b"") + b"".join(leaves)
    full = TILE_WIDTH * LEAF_OCTETS
    for begin in range(0, len(octets), full):
        yield number + begin // full, octets[begin : begin + full]


def _tile_row(tile: Tile) -> Upsert:
    values = {
        "level": tile.level,
        "number": tile.number,
        "width": tile.width,
        "hashes": tile.hashes,
    }
    return Upsert(schema.log_tile, values)


def birth_row(birth: Birth) -> Insert:
    """A row of `log_birth`; its leaf commits with it."""
    return Insert(schema.log_birth, asdict(birth) | {"digest": birth.digest.value})


def step_unit(step: Step, moment: Moment, key: PublicKey | None) -> Unit[LogMark | None]:
    """The unit of work that writes a step; how long the log is then, None if it was not the next.

    Args:
        step: As planned.
        moment: As it was planned in; the head states its instant.
        key: Signs the head; None if this step signs none.
    """

    def decide(connection: Connection) -> Decision[LogMark | None]:
        if log_size(connection) != step.before:
            return Decision(lambda _proofs: ([], None))
        mark = LogMark(step.birth.incarnation, step.after)
        if key is None:
            return Decision(lambda _proofs: (step.rows, mark))
        head = Head(
            node=step.birth.node,
            digest=step.birth.digest,
            incarnation=step.birth.incarnation,
            size=step.after,
            root=step.root,
            instant_ms=moment.now_ms,
            view=view_digest(moment.view),
            suite=key.suite,
            key_id=key.key_id,
        )
        before = newest_head(connection)
        gone = [] if before is None or not before.passing else [before]
        return Decision(
            lambda proofs: ([*step.rows, *_head_rows(head, proofs[0], moment.view, gone)], mark),
            [head_request(head)],
        )

    return Unit(decide, frozenset({LOG_LOCK}))


def _head_rows(head: Head, proof: Proof, view: bytes, gone: Sequence[HeadRow]) -> Iterator[Row]:
    octets = write_head(head, proof)
    row = HeadRow(head.incarnation, head.size, head.instant_ms, octets, view, 0, None)
    yield Insert(schema.log_head, asdict(row))
    for old in gone:
        yield Delete(schema.log_head, {"incarnation": old.incarnation, "size": old.size})
