"""Questions about what messages hold: their parts without the octets, erasures, what is old."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, bindparam, exists, select, tuple_

from node.store import schema
from node.store.queries import Role, message_key
from node.store.query import Query, columns, given
from protocol.envelope import MessageReference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Table

    from node.store.queries import MessageRow

_Name = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part as it is held: its size, and its blob if it is large."""

    part_id: str
    size: int
    blob: str | None


def _of_messages(table: Table) -> Any:  # noqa: ANN401 - SQLAlchemy's own
    names = tuple_(table.c.authority, table.c.message_id, table.c.role)
    return names.in_(bindparam("messages", expanding=True))


_PARTS: Final = (
    select(
        schema.part.c.authority,
        schema.part.c.message_id,
        schema.part.c.role,
        *columns(schema.part, StoredPart),
    )
    .where(_of_messages(schema.part))
    .order_by(schema.part.c.part_id)
)


def list_parts(
    connection: Connection, messages: Sequence[MessageRow]
) -> dict[_Name, list[StoredPart]]:
    """The parts held of these messages: (authority, message id, role) → parts, by id."""
    found: dict[_Name, list[StoredPart]] = {}
    wanted = [row.name for row in messages]
    for *name, part_id, size, blob in (
        connection.execute(_PARTS, {"messages": wanted}) if wanted else ()
    ):
        authority, message_id, role = name
        held = found.setdefault((authority, message_id, role), [])
        held.append(StoredPart(part_id, size, blob))
    return found


# what was erased


@dataclass(frozen=True, slots=True)
class ErasureRow:
    """One row of `schema.erasure`."""

    authority: str
    message_id: str
    role: str
    record: bytes
    salt: bytes
    name: str
    staff_number: str
    note: str
    blobs: str
    pending: int | None

    @property
    def key(self) -> dict[str, object]:
        """The row's primary key."""
        return message_key(MessageReference(self.authority, self.message_id), Role(self.role))


_ERASURES: Final = select(*columns(schema.erasure, ErasureRow)).where(_of_messages(schema.erasure))


def find_erasures(
    connection: Connection, messages: Sequence[MessageRow]
) -> dict[_Name, ErasureRow]:
    """The erasures of these messages: (authority, message id, role) → row."""
    wanted = [row.name for row in messages]
    rows = connection.execute(_ERASURES, {"messages": wanted}) if wanted else ()
    return {(row.authority, row.message_id, row.role): ErasureRow(*row) for row in rows}


_PENDING: Final = Query(
    select(*columns(schema.erasure, ErasureRow))
    .where(schema.erasure.c.pending.is_not(None))
    .limit(bindparam("limit")),
    ErasureRow,
)


def pending_erasures(connection: Connection, limit: int) -> list[ErasureRow]:
    """Erasures of which files or free pages may still hold octets."""
    return _PENDING.all(connection, limit=limit)


_NOT_DONE: Final = Query(
    select(schema.inbox.c.message_id).where(
        given(schema.inbox, "authority", "message_id"), schema.inbox.c.done_ms.is_(None)
    ),
    str,
)


def waits_in_inbox(connection: Connection, reference: MessageReference) -> bool:
    """Whether the authority it is for has not dealt with it yet."""
    found = _NOT_DONE.first(
        connection, authority=reference.authority, message_id=reference.message_id
    )
    return found is not None


# what is old


@dataclass(frozen=True, slots=True)
class AgedPart:
    """A part of a message that was created long ago.

    `errands` is 1 if something about the message waits for a peer.
    """

    authority: str
    message_id: str
    role: str
    part_id: str
    blob: str | None
    settled_ms: int | None
    errands: int

    @property
    def reference(self) -> MessageReference:
        """The message it is of."""
        return MessageReference(self.authority, self.message_id)

    @property
    def key(self) -> dict[str, object]:
        """The primary key of its row."""
        return {**message_key(self.reference, Role(self.role)), "part_id": self.part_id}


def _same_message(left: Table, right: Table) -> Any:  # noqa: ANN401 - SQLAlchemy's own
    return and_(*(left.c[name] == right.c[name] for name in ("authority", "message_id", "role")))


_AGED: Final = Query(
    select(
        schema.part.c.authority,
        schema.part.c.message_id,
        schema.part.c.role,
        schema.part.c.part_id,
        schema.part.c.blob,
        schema.message.c.settled_ms,
        exists().where(_same_message(schema.outbox, schema.part)),
    )
    .join(schema.message, _same_message(schema.message, schema.part))
    .where(
        schema.part.c.message_id > bindparam("after"),
        schema.part.c.message_id < bindparam("before"),
    )
    .order_by(schema.part.c.message_id)
    .limit(bindparam("limit")),
    AgedPart,
)


def aged_parts(
    connection: Connection, after: str, before_ms: int, limit: int
) -> tuple[list[AgedPart], str]:
    """Parts of messages whose ids are of before this, a page of them in the order of ids.

    Ids hold the time of their making (UUIDv7), so that this is a walk along the primary key.

    Returns:
        The page, of whole messages, and the id after which the next one begins; empty at the end.
    """
    clock = f"{max(before_ms, 0):012x}"
    before = f"{clock[:8]}-{clock[8:]}"
    rows = _AGED.all(connection, after=after, before=before, limit=limit)
    if len(rows) < limit:
        return rows, ""
    last = rows[-1].message_id
    whole = [row for row in rows if row.message_id != last]
    return (whole, whole[-1].message_id) if whole else (rows, last)


_ANSWERS: Final = Query(
    select(schema.idempotency.c.client, schema.idempotency.c.key)
    .where(schema.idempotency.c.recorded_ms < bindparam("before_ms"))
    .order_by(schema.idempotency.c.recorded_ms)
    .limit(bindparam("limit")),
    lambda client, key: {"client": client, "key": key},
)


def old_answers(connection: Connection, before_ms: int, limit: int) -> list[dict[str, object]]:
    """The keys of answers given before this, oldest first."""
    return _ANSWERS.all(connection, before_ms=before_ms, limit=limit)
