"""What is remembered of a recovery: that it goes on, and how far it is with each peer and case."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from node.log.reading import newest_head
from node.ports import Decision, Delete, Unit, Update, Upsert
from node.store import schema
from node.store.query import Query, columns, given
from signing.log import read_head

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from node.ports import Row
    from signing.log import Head

RECOVERY_LOCK: Final = "recovery"
"""The key under which units that begin, move on or end a recovery exclude each other."""

MARGIN_MS: Final = 3600 * 1000
"""So much before the last head in the store is recalled: clocks differ, and a head comes late."""


@dataclass(frozen=True, slots=True)
class RecoveryRow:
    """The row of `schema.recovery`."""

    node: str
    begun_ms: int
    since_ms: int
    why: str
    head: bytes | None

    @property
    def row(self) -> Row:
        """To be written."""
        return Upsert(schema.recovery, asdict(self))


@dataclass(frozen=True, slots=True)
class RecallRow:
    """A row of `schema.recovery_peer`."""

    node: str
    cursor: bytes = b""
    messages: int = 0
    done: int = 0
    excused: int = 0

    @property
    def open(self) -> bool:
        """Whether this peer is waited for."""
        return not (self.done or self.excused)

    @property
    def excusing(self) -> RecallRow:
        """The operator goes on without it."""
        return replace(self, excused=1)

    @property
    def row(self) -> Row:
        """To be written."""
        return Upsert(schema.recovery_peer, asdict(self))


_RECOVERY: Final = Query(select(*columns(schema.recovery, RecoveryRow)), RecoveryRow)
_PEERS: Final = Query(
    select(*columns(schema.recovery_peer, RecallRow)).order_by(schema.recovery_peer.c.node),
    RecallRow,
)
_PEER: Final = Query(
    select(*columns(schema.recovery_peer, RecallRow)).where(given(schema.recovery_peer, "node")),
    RecallRow,
)
_CASES: Final = Query(
    select(schema.recovery_case.c.case_id).order_by(schema.recovery_case.c.case_id).limit(256), str
)


def find_recovery(connection: Connection) -> RecoveryRow | None:
    """The recovery that goes on, if one does."""
    return _RECOVERY.first(connection)


def recall_rows(connection: Connection) -> list[RecallRow]:
    """How far it is with each peer it began with."""
    return _PEERS.all(connection)


def recall_row(connection: Connection, node: str) -> RecallRow:
    """How far it is with one peer."""
    return _PEER.first(connection, node=node) or RecallRow(node)


def begun(connection: Connection, here: str, now_ms: int, why: str) -> RecoveryRow:
    """The recovery that goes on, or one that begins now: of all since the store's last head."""
    known = find_recovery(connection)
    if known is not None:
        return known
    newest = newest_head(connection)
    since_ms = 0 if newest is None else max(0, newest.instant_ms - MARGIN_MS)
    return RecoveryRow(here, now_ms, since_ms, why, None)


def noted_unit(head: Head, octets: bytes) -> Unit[None]:
    """The unit of work that notes a head of ours that is not in our log: the newest one counts."""

    def decide(connection: Connection) -> Decision[None]:
        known = find_recovery(connection)
        rows: list[Row] = []
        if known is not None and (known.head is None or _later(head, read_head(known.head).head)):
            rows.append(Update(schema.recovery, {"node": known.node}, {"head": octets}))
        return Decision(lambda _proofs: (rows, None))

    return Unit(decide, frozenset({RECOVERY_LOCK}))


def _later(head: Head, other: Head) -> bool:
    return (head.incarnation, head.size) > (other.incarnation, other.size)


def cases_to_replay(connection: Connection) -> list[str]:
    """Some of the cases that have to be replayed; none if it is done."""
    return _CASES.all(connection)


def replay_row(case_id: str) -> Row:
    """This case has to be replayed."""
    return Upsert(schema.recovery_case, {"case_id": case_id})


def replayed_row(case_id: str) -> Row:
    """It was."""
    return Delete(schema.recovery_case, {"case_id": case_id})


def ended_rows(connection: Connection, node: str) -> list[Row]:
    """The recovery of this node is over."""
    peers = recall_rows(connection)
    return [
        Delete(schema.recovery, {"node": node}),
        *(Delete(schema.recovery_peer, {"node": row.node}) for row in peers),
    ]
