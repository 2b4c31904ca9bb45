"""Named queries: every question the engine asks of its store, with typed answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from sqlalchemy import ColumnElement, Table, and_, func, or_, select, tuple_

from node.cases import CaseView, Side
from node.store import schema
from protocol.envelope import MessageReference
from routing.retry import LONGEST_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Row

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


@dataclass(frozen=True, slots=True)
class Errand:
    """One outbox row with the message it is about."""

    purpose: str
    attempts: int
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


def message_key(reference: MessageReference, role: Role) -> dict[str, object]:
    """The primary key of a message row, and the head of its parts' and errands' keys."""
    return {
        "authority": reference.authority,
        "message_id": reference.message_id,
        "role": role.value,
    }


def find_message(
    connection: Connection, reference: MessageReference, *roles: Role
) -> MessageRow | None:
    """The message in the first of these roles in which it is known here."""
    table = schema.message
    for role in roles:
        row = connection.execute(
            select(table).where(_match(table, message_key(reference, role)))
        ).one_or_none()
        if row is not None:
            return _message(row)
    return None


def find_by_id(connection: Connection, message_id: str) -> list[MessageRow]:
    """Every role in which a message with this id is known here."""
    table = schema.message
    rows = connection.execute(select(table).where(table.c.message_id == message_id)).all()
    return [_message(row) for row in rows]


def find_parts(
    connection: Connection, messages: Sequence[MessageRow]
) -> dict[tuple[str, str, str], dict[str, bytes]]:
    """The small parts of these messages: (authority, message id, role) → part id → octets."""
    table = schema.part
    found: dict[tuple[str, str, str], dict[str, bytes]] = {}
    for row in _parts_of(connection, messages, table.c.octets.is_not(None)):
        found.setdefault((row.authority, row.message_id, row.role), {})[row.part_id] = row.octets
    return found


def find_blobs(
    connection: Connection, messages: Sequence[MessageRow]
) -> dict[tuple[str, str, str], dict[str, StoredBlob]]:
    """The large parts of these messages: (authority, message id, role) → part id → blob."""
    table = schema.part
    found: dict[tuple[str, str, str], dict[str, StoredBlob]] = {}
    for row in _parts_of(connection, messages, table.c.blob.is_not(None)):
        blob = StoredBlob(row.blob, row.size)
        found.setdefault((row.authority, row.message_id, row.role), {})[row.part_id] = blob
    return found


def _parts_of(
    connection: Connection, messages: Sequence[MessageRow], which: ColumnElement[bool]
) -> Iterable[Row]:  # type: ignore[type-arg]
    if not messages:
        return ()
    table = schema.part
    names = tuple_(table.c.authority, table.c.message_id, table.c.role)
    wanted = [(row.authority, row.message_id, row.role) for row in messages]
    query = select(table).where(names.in_(wanted), which).order_by(table.c.part_id)
    return connection.execute(query)


def case_messages(connection: Connection, case_id: str) -> list[MessageRow]:
    """All messages of a case known here, in the order they were recorded."""
    table = schema.message
    query = (
        select(table)
        .where(table.c.case_id == case_id)
        .order_by(table.c.recorded_ms, table.c.created_ms, table.c.role.desc())
    )
    return [_message(row) for row in connection.execute(query)]


def custody_receipts(connection: Connection, message: MessageRow) -> list[bytes]:
    """The custody receipts forwarders gave for it."""
    table = schema.custody
    query = select(table.c.receipt).where(_match(table, message.key)).order_by(table.c.issuer)
    return list(connection.execute(query).scalars())


def last_sequence(connection: Connection, case_id: str, authority: str, role: Role) -> int:
    """The last number given (role out) or consumed (role in) in a case; 0 before the first."""
    table = schema.sequence
    key = {"case_id": case_id, "authority": authority, "role": role.value}
    last = connection.execute(select(table.c.last).where(_match(table, key))).scalar()
    return 0 if last is None else int(last)


def refused_number(connection: Connection, case_id: str, authority: str, number: int) -> bool:
    """Whether a message with this number was refused before its turn came."""
    table = schema.message
    query = select(table.c.message_id).where(
        table.c.case_id == case_id,
        table.c.authority == authority,
        table.c.role == Role.IN.value,
        table.c.sequence == number,
        table.c.standing == "refused",
    )
    return connection.execute(query.limit(1)).first() is not None


def due_errands(connection: Connection, peer: str, now_ms: int, limit: int) -> list[Errand]:
    """What is due at a peer, in the order of cases and their numbers, then of age."""
    outbox, message = schema.outbox, schema.message
    query = (
        select(outbox.c.purpose, outbox.c.attempts, outbox.c.size, message)
        .join(
            message,
            and_(
                message.c.authority == outbox.c.authority,
                message.c.message_id == outbox.c.message_id,
                message.c.role == outbox.c.role,
            ),
        )
        .where(
            outbox.c.peer == peer,
            # What lies beyond every timetable was put there by a wrong clock.
            or_(outbox.c.due_ms <= now_ms, outbox.c.due_ms > now_ms + LONGEST_MS),
        )
        .order_by(outbox.c.due_ms, message.c.recorded_ms, message.c.sequence)
        .limit(limit)
    )
    return [
        Errand(row.purpose, row.attempts, row.size, _message(row))
        for row in connection.execute(query)
    ]


def find_errand(
    connection: Connection, message: dict[str, object], purpose: str
) -> ErrandRow | None:
    """The outbox row of a message, if it still waits."""
    table = schema.outbox
    key = {**message, "purpose": purpose}
    query = select(table.c.peer, table.c.due_ms, table.c.attempts).where(_match(table, key))
    row = connection.execute(query).one_or_none()
    return None if row is None else ErrandRow(*row)


def find_answer(connection: Connection, client: str, key: str) -> AnswerRow | None:
    """What a request with this idempotency key was answered."""
    table = schema.idempotency
    query = select(table.c.request_digest, table.c.answer).where(
        table.c.client == client, table.c.key == key
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else AnswerRow(*row)


def find_case(connection: Connection, case_id: str, side: Side) -> CaseView | None:
    """One end's view of a case."""
    table = schema.case
    query = select(table).where(table.c.case_id == case_id, table.c.side == side.value)
    row = connection.execute(query).one_or_none()
    return None if row is None else CaseView(*row)


def next_due(connection: Connection, peer: str) -> int | None:
    """The earliest instant at which something is due at this peer."""
    table = schema.outbox
    due = connection.execute(select(func.min(table.c.due_ms)).where(table.c.peer == peer)).scalar()
    return None if due is None else int(due)


def peers_with_errands(connection: Connection) -> list[str]:
    """The peers something waits for."""
    query = select(schema.outbox.c.peer).distinct().order_by(schema.outbox.c.peer)
    return list(connection.execute(query).scalars())


def find_peer(connection: Connection, node: str) -> PeerRow:
    """What is remembered about a peer; a fresh row if nothing is."""
    row = connection.execute(select(schema.peer).where(schema.peer.c.node == node)).one_or_none()
    return PeerRow(node, 0, 0, None, None) if row is None else PeerRow(*row)


def queue_lengths(connection: Connection) -> dict[str, int]:
    """How many errands wait per peer."""
    table = schema.outbox
    query = select(table.c.peer, func.count()).group_by(table.c.peer)
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def _match(table: Table, key: Mapping[str, object]) -> ColumnElement[bool]:
    return and_(*(table.c[name] == value for name, value in key.items()))


def _message(row: Row) -> MessageRow:  # type: ignore[type-arg]
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's documented name for it
    return MessageRow(**{name: values[name] for name in MessageRow.__dataclass_fields__})
