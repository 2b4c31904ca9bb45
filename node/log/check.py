"""The whole log of a store walked once, and everything that does not hold (存证日志自检).

    1. birth     the log begins, and each incarnation, as is on record            LG-3, LG-17
    2. leaves    they lie dense, whole, and of known types                              LG-1
    3. tree      every tile is what the leaves make it, and there is no other           LG-14
    4. heads     each is signed by a head key of this node, over the root of its size   LG-5
    5. places    every digest leads to its leaf
    6. records   every message, receipt and erasure in the store has its leaves         LG-2
    7. peers     the heads of ours that peers hold lie on this log; nobody has raised
                 an alarm                                                               LG-13

Steps 1 to 5 need nothing but the log; whoever can change the store can make them hold again. What
he cannot change is what peers hold: step 7, and the same heads when they come the next time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from node.log.places import run_rows
from node.log.reading import (
    LogReader,
    all_births,
    all_heads,
    breaks_after,
    find_birth,
    find_tile,
    log_size,
)
from node.log.witness import alarms, all_shown
from node.ports import Insert
from node.store import schema
from node.store.queries import Role
from protocol.errors import LocalUseError, RefusedError, UnavailableError
from protocol.receipt import read_receipt
from routing.delivery import Standing
from signing.erasure import erasure_digest
from signing.keys import KeyStoreError
from signing.log import (
    LEAF_OCTETS,
    LeafType,
    head_signed_octets,
    read_head,
    read_leaf,
    split_leaves,
)
from signing.merkle import leaf_hash
from signing.suites import Suite, digest
from signing.tiles import TILE_WIDTH, Tile, grow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Table

    from node.log.reading import HeadRow
    from signing.keys import KeyStore
    from signing.log import Birth

MOST_SHOWN: Final = 20
"""Problems told of each step; more are counted."""
_PAGE: Final = 500


@dataclass(slots=True)
class CheckStep:
    """One step: what was looked at, how much of it, and what does not hold."""

    number: int
    name: str
    chinese: str
    looked_at: int = 0
    count: int = 0
    problems: list[str] = field(default_factory=list)

    def wrong(self, problem: str) -> None:
        """Something does not hold."""
        self.count += 1
        if len(self.problems) < MOST_SHOWN:
            self.problems.append(problem)


def check_log(connection: Connection, keys: KeyStore) -> list[CheckStep]:
    """Walk the log.

    Args:
        connection: To one snapshot of a node's store.
        keys: The node's own, to know its heads by.
    """
    birth = find_birth(connection)
    if birth is None:
        return [CheckStep(1, "birth", "建档", 0, 1, ["no log has begun in this store"])]
    walk = _Walk(connection, birth, keys)
    steps = (
        ("birth", "建档", walk.birth),
        ("leaves", "存证叶", walk.leaves),
        ("tree", "哈希树", walk.tree),
        ("heads", "日志头", walk.heads),
        ("places", "检索", walk.places),
        ("records", "报文与回执", walk.records),
        ("peers", "对端", walk.peers),
    )
    done: list[CheckStep] = []
    for number, (name, chinese, look) in enumerate(steps, start=1):
        step = CheckStep(number, name, chinese)
        _look(look, step)
        done.append(step)
    return done


def _look(look: Callable[[CheckStep], None], step: CheckStep) -> None:
    """Take a step; what is gone from the store is one more thing that does not hold."""
    try:
        look(step)
    except (RefusedError, UnavailableError, LocalUseError) as error:
        step.wrong(f"not checked to the end: {error}")


class _Walk:
    """The steps, over one snapshot."""

    def __init__(self, connection: Connection, birth: Birth, keys: KeyStore) -> None:
        self._connection = connection
        self._birth = birth
        self._keys = keys
        self._size = log_size(connection)

    def _reader(self) -> LogReader:
        return LogReader(self._connection, self._birth.digest)

    def birth(self, step: CheckStep) -> None:
        reader = self._reader()
        for birth in all_births(self._connection):
            step.looked_at += 1
            expected = 0 if birth.incarnation == 1 else None
            found = [place for place, leaf in reader.find(birth.leaf.digest) if leaf == birth.leaf]
            waits = (birth.leaf.type, birth.leaf.digest) in self._waiting()
            if not (found or waits) or expected not in (None, *found[:1]):
                step.wrong(f"incarnation {birth.incarnation} does not begin as is on record")
            elif found and birth.incarnation > 1 and not self._follows_break(birth, found[0]):
                step.wrong(f"incarnation {birth.incarnation} does not say what was lost")

    def _follows_break(self, birth: Birth, place: int) -> bool:
        """Whether the leaf before it is that of the record on file (LG-17)."""
        row = next(iter(breaks_after(self._connection, birth.node, birth.incarnation - 1)), None)
        if row is None or place == 0:
            return False
        leaf = self._reader().leaf(place - 1)
        expected = digest(birth.digest.suite, row.record)
        return leaf.type is LeafType.RECOVERY and leaf.digest == expected

    def leaves(self, step: CheckStep) -> None:
        reader, number = self._reader(), 0
        for begin in range(0, self._size, TILE_WIDTH):
            number = begin // TILE_WIDTH
            expected = min(TILE_WIDTH, self._size - begin)
            octets = reader.bundle(number)
            if len(octets) != expected * LEAF_OCTETS:
                step.wrong(f"leaves from {begin}: {len(octets)} octets")
            for offset, leaf in enumerate(split_leaves(octets)):
                step.looked_at += 1
                try:
                    read_leaf(leaf)
                except RefusedError as error:
                    step.wrong(f"leaf {begin + offset}: {error.detail}")
        if self._size and self._count(schema.log_entry) != number + 1:
            step.wrong("there are leaves beyond the end of the log")

    def tree(self, step: CheckStep) -> None:
        reader, suite = self._reader(), self._birth.digest.suite
        edge: dict[tuple[int, int], Tile] = {}
        made: dict[tuple[int, int], Tile] = {}
        for begin in range(0, self._size, TILE_WIDTH):
            leaves = split_leaves(reader.bundle(begin // TILE_WIDTH))
            hashes = [leaf_hash(suite, leaf) for leaf in leaves]
            for tile in grow(suite, begin, edge, hashes):
                made[tile.level, tile.number] = tile
            edge = {place: tile for place, tile in made.items() if tile.width < TILE_WIDTH}
            full = [place for place, tile in made.items() if tile.width == TILE_WIDTH]
            for place in full:
                self._compare(made.pop(place), step)
        for tile in made.values():
            self._compare(tile, step)
        if self._count(schema.log_tile) != step.looked_at:
            step.wrong("there are tiles that the leaves do not make")

    def _compare(self, made: Tile, step: CheckStep) -> None:
        step.looked_at += 1
        if find_tile(self._connection, made.level, made.number) != made:
            step.wrong(f"tile ({made.level}, {made.number}) is not what the leaves make it")

    def heads(self, step: CheckStep) -> None:
        for row in all_heads(self._connection):
            step.looked_at += 1
            problem = self._head(row)
            if problem is not None:
                step.wrong(f"head of {row.size}, incarnation {row.incarnation}: {problem}")

    def _head(self, row: HeadRow) -> str | None:
        signed = read_head(row.octets)
        head, birth = signed.head, self._birth
        if (head.incarnation, head.size) != (row.incarnation, row.size):
            return "filed under another size"
        if (head.node, head.digest) != (birth.node, birth.digest):
            return "of another log"
        try:
            key = self._keys.public(head.key_id)
        except KeyStoreError:
            return f"signed by {head.key_id}, which is no key of this node"
        if not key.verify(head_signed_octets(head), signed.signature):
            return "its signature does not hold"
        if head.incarnation != birth.incarnation:
            return None
        if head.size > self._size:
            return f"the log has {self._size} leaves"
        return None if self._reader().root(head.size) == head.root else "another root"

    def places(self, step: CheckStep) -> None:
        reader, table = self._reader(), schema.log_run
        for row in run_rows(reader.bundle, 0, self._size):
            if not isinstance(row, Insert):
                continue
            step.looked_at += 1
            query = select(table.c.places).where(
                *(table.c[name] == row.values[name] for name in ("tier", "bucket", "number"))
            )
            if self._connection.execute(query).scalar() != row.values["places"]:
                tier, number = row.values["tier"], row.values["number"]
                step.wrong(f"run {number} of tier {tier}, bucket {row.values['bucket']}")
        if self._count(table) != step.looked_at:
            step.wrong("there are runs that the leaves do not make")

    def records(self, step: CheckStep) -> None:
        reader, waiting = self._reader(), self._waiting()
        for kind, what, name in self._recorded():
            step.looked_at += 1
            found = any(leaf.type is kind for _, leaf in reader.find(what))
            if not found and (kind, what) not in waiting:
                step.wrong(f"{name} has no leaf {kind.name}")

    def _waiting(self) -> set[tuple[LeafType, bytes]]:
        rows = self._connection.execute(select(schema.log_wait.c.leaves)).scalars()
        leaves = (read_leaf(leaf) for row in rows for leaf in split_leaves(row))
        return {(leaf.type, leaf.digest) for leaf in leaves}

    def _recorded(self) -> Iterator[tuple[LeafType, bytes, str]]:
        """What must have a leaf: its type, its digest, its name for people."""
        message, custody = schema.message, schema.custody
        columns = (
            message.c.role,
            message.c.message_id,
            message.c.standing,
            message.c.message_digest,
            message.c.receipt,
        )
        for role, name, standing, what, receipt in self._paged(select(*columns), message):
            if role == Role.OUT:
                yield LeafType.MESSAGE_SENT, what, f"message {name}"
            elif role == Role.TRANSIT or standing != Standing.REFUSED:
                yield LeafType.MESSAGE_TAKEN, what, f"message {name}"
            if receipt is not None:
                yield self._receipt(receipt, f"the receipt of message {name}")
        erased = select(schema.erasure.c.message_id, schema.erasure.c.record)
        for name, record in self._paged(erased, schema.erasure):
            what = f"the erasure of message {name}"
            yield LeafType.ERASURE, erasure_digest(record), what
        given = select(custody.c.message_id, custody.c.receipt)
        for name, receipt in self._paged(given, custody):
            yield self._receipt(receipt, f"a custody receipt of message {name}")

    def _receipt(self, octets: bytes, name: str) -> tuple[LeafType, bytes, str]:
        receipt = read_receipt(octets).receipt
        ours = receipt.issuer == self._birth.node
        kind = LeafType.RECEIPT_ISSUED if ours else LeafType.RECEIPT_TAKEN
        return kind, digest(Suite(receipt.suite), octets), name

    def _paged(self, query: Any, table: Table) -> Iterator[Any]:  # noqa: ANN401 - rows of any query
        ordered = query.order_by(*table.primary_key.columns)
        yield from self._connection.execute(ordered.execution_options(yield_per=_PAGE))

    def peers(self, step: CheckStep) -> None:
        for row in all_shown(self._connection):
            step.looked_at += 1
            head = read_head(row.octets).head
            if head.incarnation != self._birth.incarnation:
                continue
            if head.size > self._size or self._reader().root(head.size) != head.root:
                step.wrong(f"{row.node} holds a head of {head.size} that is not of this log")
        for alarm in alarms(self._connection):
            step.wrong(f"alarm about {alarm.node}: {alarm.verdict}")

    def _count(self, table: Table) -> int:
        return int(self._connection.scalar(select(func.count()).select_from(table)) or 0)
