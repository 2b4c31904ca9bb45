"""Named queries: every question the engine asks of its store, with typed answers.

The statement stands above the function that asks it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, bindparam, func, or_, select

from node.cases import CaseView, Party, Side
from node.store import schema
from node.store.query import Query, columns, given
from protocol.envelope import MessageReference
from routing.retry import LONGEST_MS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

DELIVER: Final = "deliver"
RECEIPT: Final = "receipt"


class Role(StrEnum):
    """What this node is to a message."""

    OUT = "out"
    IN = "in"
    TRANSIT = "transit"


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One row of `schema.message`."""

    authority: str
    message_id: str
    role: str
    kind: str
    case_id: str | None
    sequence: int | None
    in_reply_to: str | None
    from_node: str
    to_node: str
    to_authority: str
    message_digest: bytes
    envelope: bytes
    created_ms: int
    expires_ms: int
    recorded_ms: int
    path: str
    upstream: str | None
    standing: str
    reason: int | None
    detail: str | None
    receipt: bytes | None
    settled_ms: int | None

    @property
    def reference(self) -> MessageReference:
        """What names the message."""
        return MessageReference(self.authority, self.message_id)

    @property
    def key(self) -> dict[str, object]:
        """The row's primary key."""
        return message_key(self.reference, Role(self.role))

    @property
    def name(self) -> tuple[str, str, str]:
        """The same, to look it up by."""
        return self.authority, self.message_id, self.role


@dataclass(frozen=True, slots=True)
class Errand:
    """One outbox row with the message it is about.

    `attempts` counts answers, `handed` the hand-overs since the last one.
    """

    purpose: str
    attempts: int
    handed: int
    size: int
    message: MessageRow

    @property
    def key(self) -> dict[str, object]:
        """The outbox row's primary key."""
        return {**self.message.key, "purpose": self.purpose}


@dataclass(frozen=True, slots=True)
class ErrandRow:
    """Where and when an outbox row is due."""

    peer: str
    due_ms: int
    attempts: int
    handed: int


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """Where the octets of a large part are, and how many."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An earlier answer, and the digest of the request it was given to."""

    request_digest: bytes
    answer: str


@dataclass(frozen=True, slots=True)
class PeerRow:
    """What is remembered about a peer; retry_ms is 0 while it answers."""

    node: str
    failures: int
    retry_ms: int
    heard_ms: int | None
    trouble: str | None


@dataclass(frozen=True, slots=True)
class FerryRow:
    """What is remembered about a link over a gate: numbers, those taken as u64 each."""

    sent: int
    taken: bytes
    floor: int


def message_key(reference: MessageReference, role: Role) -> dict[str, object]:
    """The primary key of a message row, and the head of its parts' and errands' keys."""
    return {
        "authority": reference.authority,
        "message_id": reference.message_id,
        "role": role.value,
    }


_MESSAGE: Final = Query(
    select(*columns(schema.message, MessageRow)).where(
        given(schema.message, "authority", "message_id", "role")
    ),
    MessageRow,
)


def find_message(
    connection: Connection, reference: MessageReference, *roles: Role
) -> MessageRow | None:
    """The message in the first of these roles in which it is known here."""
    for role in roles:
        row = _MESSAGE.first(connection, **message_key(reference, role))
        if row is not None:
            return row
    return None


_STANDING: Final = Query(
    select(schema.message.c.standing).where(
        given(schema.message, "authority", "message_id", "role")
    ),
    str,
)


def find_standing(connection: Connection, message: MessageRow) -> str | None:
    """How a message stands now, if it is known; nothing else of its row changes before its end."""
    return _STANDING.first(connection, **message.key)


_BY_ID: Final = Query(
    select(*columns(schema.message, MessageRow)).where(given(schema.message, "message_id")),
    MessageRow,
)


def find_by_id(connection: Connection, message_id: str) -> list[MessageRow]:
    """Every role in which a message with this id is known here."""
    return _BY_ID.all(connection, message_id=message_id)


_SMALL_PARTS: Final = Query(
    select(schema.part.c.part_id, schema.part.c.octets)
    .where(given(schema.part, "authority", "message_id", "role"), schema.part.c.octets.is_not(None))
    .order_by(schema.part.c.part_id),
    lambda part_id, octets: (part_id, octets),
)
_LARGE_PARTS: Final = Query(
    select(schema.part.c.part_id, schema.part.c.blob, schema.part.c.size)
    .where(given(schema.part, "authority", "message_id", "role"), schema.part.c.blob.is_not(None))
    .order_by(schema.part.c.part_id),
    lambda part_id, blob, size: (part_id, StoredBlob(blob, size)),
)


# One question for each message: for a list of them together SQLite would read the whole table.


def find_parts(
    connection: Connection, messages: Iterable[MessageRow]
) -> dict[tuple[str, str, str], dict[str, bytes]]:
    """The small parts of these messages: (authority, message id, role) → part id → octets."""
    return {row.name: dict(_SMALL_PARTS.all(connection, **row.key)) for row in messages}


def find_blobs(
    connection: Connection, messages: Iterable[MessageRow]
) -> dict[tuple[str, str, str], dict[str, StoredBlob]]:
    """The large parts of these messages: (authority, message id, role) → part id → blob."""
    return {row.name: dict(_LARGE_PARTS.all(connection, **row.key)) for row in messages}


_OF_CASE: Final = Query(
    select(*columns(schema.message, MessageRow))
    .where(given(schema.message, "case_id"))
    .order_by(
        schema.message.c.recorded_ms, schema.message.c.created_ms, schema.message.c.role.desc()
    ),
    MessageRow,
)


def case_messages(connection: Connection, case_id: str) -> list[MessageRow]:
    """All messages of a case known here, in the order they were recorded."""
    return _OF_CASE.all(connection, case_id=case_id)


_CUSTODY: Final = Query(
    select(schema.custody.c.receipt)
    .where(given(schema.custody, "authority", "message_id", "role"))
    .order_by(schema.custody.c.issuer),
    bytes,
)


def custody_receipts(connection: Connection, message: MessageRow) -> list[bytes]:
    """The custody receipts forwarders gave for it."""
    return _CUSTODY.all(connection, **message.key)


_LAST: Final = Query(
    select(schema.sequence.c.last).where(
        given(schema.sequence, "case_id", "province", "authority", "role")
    ),
    int,
)


def last_sequence(connection: Connection, case_id: str, party: Party, role: Role) -> int:
    """The last number given (role out) or consumed (role in) in a case; 0 before the first."""
    return _LAST.first(connection, **sequence_key(case_id, party, role)) or 0


def sequence_key(case_id: str, party: Party, role: Role) -> dict[str, object]:
    """The primary key of a row of `schema.sequence`."""
    return {"case_id": case_id, **party._asdict(), "role": role.value}


_NUMBERED: Final = (
    select(schema.message.c.message_id)
    .where(
        given(schema.message, "case_id", "authority", "sequence"),
        func.substr(schema.message.c.from_node, 1, 2) == bindparam("province"),
        schema.message.c.role == Role.IN.value,
    )
    .limit(1)
)
_RECORDED: Final = Query(_NUMBERED, str)
_REFUSED: Final = Query(_NUMBERED.where(schema.REFUSED), str)


def refused_number(connection: Connection, case_id: str, party: Party, number: int) -> bool:
    """Whether a message with this number was refused before its turn came."""
    return _REFUSED.first(connection, **_numbered(case_id, party, number)) is not None


def recorded_number(connection: Connection, case_id: str, party: Party, number: int) -> bool:
    """Whether a message to us with this number is on record."""
    return _RECORDED.first(connection, **_numbered(case_id, party, number)) is not None


def _numbered(case_id: str, party: Party, number: int) -> dict[str, object]:
    return {
        "case_id": case_id,
        "authority": party.authority,
        "province": party.province,
        "sequence": number,
    }


_ERRANDS: Final = (
    select(
        schema.outbox.c.purpose,
        schema.outbox.c.attempts,
        schema.outbox.c.handed,
        schema.outbox.c.size,
        *columns(schema.message, MessageRow),
    )
    .join(
        schema.message,
        and_(
            schema.message.c.authority == schema.outbox.c.authority,
            schema.message.c.message_id == schema.outbox.c.message_id,
            schema.message.c.role == schema.outbox.c.role,
        ),
    )
    .where(given(schema.outbox, "peer"))
)


def _errand(purpose: str, attempts: int, handed: int, size: int, *message: Any) -> Errand:  # noqa: ANN401
    return Errand(purpose, attempts, handed, size, MessageRow(*message))


_DUE: Final = Query(
    _ERRANDS.where(
        or_(
            schema.outbox.c.due_ms <= bindparam("now_ms"),
            schema.outbox.c.due_ms > bindparam("beyond_ms"),
        ),
    )
    .order_by(schema.outbox.c.due_ms, schema.message.c.recorded_ms, schema.message.c.sequence)
    .limit(bindparam("limit")),
    _errand,
)


def due_errands(connection: Connection, peer: str, now_ms: int, limit: int) -> list[Errand]:
    """What is due at a peer, in the order of cases and their numbers, then of age."""
    # What lies beyond every timetable was put there by a wrong clock.
    beyond_ms = now_ms + LONGEST_MS
    return _DUE.all(connection, peer=peer, now_ms=now_ms, beyond_ms=beyond_ms, limit=limit)


_ABOUT: Final = Query(_ERRANDS.where(given(schema.outbox, "authority", "message_id")), _errand)


def errands_about(
    connection: Connection, peer: str, references: Iterable[MessageReference]
) -> list[Errand]:
    """What waits for a peer about these messages."""
    return [
        errand
        for name in references
        for errand in _ABOUT.all(
            connection, peer=peer, authority=name.authority, message_id=name.message_id
        )
    ]


_HANDED: Final = Query(
    _ERRANDS.where(schema.outbox.c.handed > 0)
    .order_by(schema.outbox.c.due_ms)
    .limit(bindparam("limit")),
    _errand,
)


def handed_errands(connection: Connection, peer: str, limit: int) -> list[Errand]:
    """What was handed to a peer and not answered yet, oldest hand-over first."""
    return _HANDED.all(connection, peer=peer, limit=limit)


_ERRAND: Final = Query(
    select(*columns(schema.outbox, ErrandRow)).where(
        given(schema.outbox, "authority", "message_id", "role", "purpose")
    ),
    ErrandRow,
)


def find_errand(
    connection: Connection, message: dict[str, object], purpose: str
) -> ErrandRow | None:
    """The outbox row of a message, if it still waits."""
    return _ERRAND.first(connection, **message, purpose=purpose)


_ANSWER: Final = Query(
    select(*columns(schema.idempotency, AnswerRow)).where(
        given(schema.idempotency, "client", "key")
    ),
    AnswerRow,
)


def find_answer(connection: Connection, client: str, key: str) -> AnswerRow | None:
    """What a request with this idempotency key was answered."""
    return _ANSWER.first(connection, client=client, key=key)


_CASE: Final = Query(
    select(*columns(schema.case, CaseView)).where(given(schema.case, "case_id", "side")), CaseView
)


def find_case(connection: Connection, case_id: str, side: Side) -> CaseView | None:
    """One end's view of a case."""
    return _CASE.first(connection, case_id=case_id, side=side.value)


_NEXT_DUE: Final = Query(
    select(schema.outbox.c.due_ms)
    .where(given(schema.outbox, "peer"))
    .order_by(schema.outbox.c.due_ms)
    .limit(1),
    int,
)


def next_due(connection: Connection, peer: str) -> int | None:
    """The earliest instant at which something is due at this peer."""
    return _NEXT_DUE.first(connection, peer=peer)


_PEERS_WAITED_FOR: Final = Query(
    select(schema.outbox.c.peer).distinct().order_by(schema.outbox.c.peer), str
)


def peers_with_errands(connection: Connection) -> list[str]:
    """The peers something waits for."""
    return _PEERS_WAITED_FOR.all(connection)


_PEER: Final = Query(
    select(*columns(schema.peer, PeerRow)).where(given(schema.peer, "node")), PeerRow
)


def find_peer(connection: Connection, node: str) -> PeerRow:
    """What is remembered about a peer; a fresh row if nothing is."""
    return _PEER.first(connection, node=node) or PeerRow(node, 0, 0, None, None)


_FERRY: Final = Query(
    select(*columns(schema.ferry, FerryRow)).where(given(schema.ferry, "node")), FerryRow
)


def find_ferry(connection: Connection, node: str) -> FerryRow | None:
    """What is remembered about the link over a gate to this node."""
    return _FERRY.first(connection, node=node)


_QUEUES: Final = Query(
    select(schema.outbox.c.peer, func.count()).group_by(schema.outbox.c.peer),
    lambda peer, length: (peer, length),
)


def queue_lengths(connection: Connection) -> dict[str, int]:
    """How many errands wait per peer."""
    return dict(_QUEUES.all(connection))
