"""What is kept of heads that go between nodes: theirs here, ours there, and contradictions.

Rows and questions; what is done with them is in `node.log.heads`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, select

from node.log.reading import HeadRow
from node.ports import Insert
from node.store import schema
from node.store.query import Query, columns, given
from signing.log import Head, read_head

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from node.ports import Row


SPLIT: Final = "split"
"""A peer was given another document of a province under one version (DI-13)."""


@dataclass(frozen=True, slots=True)
class HeldRow:
    """One row of `schema.log_held`: the last head taken of a peer."""

    node: str
    octets: bytes
    view: bytes
    taken_ms: int

    @property
    def head(self) -> Head:
        """The head."""
        return read_head(self.octets).head


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One row of `schema.log_shown`: what a peer holds of our log."""

    node: str
    size: int
    octets: bytes
    heard_ms: int


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """One row of `schema.log_alarm`: two signed statements that contradict each other.

    Attributes:
        node: Whose log it is; of a split directory, the province's own code.
        verdict: Of `signing.heads.Verdict`, or `SPLIT`.
        seen_ms: When it was seen first.
        held: The head taken before; of a split, our own view of the directories.
        shown: The head that contradicts it; of a split, the one over the other view.
        first: The growth it was shown with.
        path: The hashes of that; of a split, the other view.
    """

    node: str
    verdict: str
    seen_ms: int
    held: bytes
    shown: bytes
    first: int
    path: bytes


_HELD: Final = Query(
    select(*columns(schema.log_held, HeldRow)).where(given(schema.log_held, "node")), HeldRow
)
_ALL_HELD: Final = Query(
    select(*columns(schema.log_held, HeldRow)).order_by(schema.log_held.c.node), HeldRow
)
_SHOWN: Final = Query(
    select(*columns(schema.log_shown, ShownRow)).where(given(schema.log_shown, "node")), ShownRow
)
_ALL_SHOWN: Final = Query(
    select(*columns(schema.log_shown, ShownRow)).order_by(schema.log_shown.c.node), ShownRow
)
_ALARMS: Final = Query(
    select(*columns(schema.log_alarm, AlarmRow)).order_by(
        schema.log_alarm.c.seen_ms, schema.log_alarm.c.node
    ),
    AlarmRow,
)
_head = schema.log_head
_KEPT: Final = Query(
    select(*columns(_head, HeadRow))
    .where(_head.c.kept == 1, _head.c.instant_ms > bindparam("after_ms"))
    .order_by(_head.c.incarnation.desc(), _head.c.size.desc())
    .limit(1),
    HeadRow,
)


def recently_kept(connection: Connection, after_ms: int) -> HeadRow | None:
    """The newest of our heads that somebody was shown after this instant."""
    return _KEPT.first(connection, after_ms=after_ms)


def find_held(connection: Connection, node: str) -> HeldRow | None:
    """The last head taken of a peer."""
    return _HELD.first(connection, node=node)


def all_held(connection: Connection) -> list[HeldRow]:
    """The last head taken of each peer."""
    return _ALL_HELD.all(connection)


def find_shown(connection: Connection, node: str) -> ShownRow | None:
    """What a peer holds of our log, as far as it has said."""
    return _SHOWN.first(connection, node=node)


def all_shown(connection: Connection) -> list[ShownRow]:
    """What each peer holds of our log."""
    return _ALL_SHOWN.all(connection)


def alarms(connection: Connection) -> list[AlarmRow]:
    """Every contradiction seen, the oldest first."""
    return _ALARMS.all(connection)


def alarm_rows(connection: Connection, alarm: AlarmRow) -> list[Row]:
    """The first contradiction of a kind in a node's log is kept, for ever."""
    known = {(row.node, row.verdict) for row in alarms(connection)}
    if (alarm.node, alarm.verdict) in known:
        return []
    return [Insert(schema.log_alarm, asdict(alarm))]
