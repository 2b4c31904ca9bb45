"""Read models for the local API: what callers look at, beside what the engine asks (`queries`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select, tuple_

from node.cases import CaseView
from node.store import schema
from node.store.queries import MessageRow, case_messages, custody_receipts
from node.store.query import Query, columns, given

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from node.cases import Side
    from protocol.envelope import MessageReference
    from protocol.lifecycle import CaseState


@dataclass(frozen=True, slots=True)
class InboxRow:
    """One entry of the inbox; a row of `schema.inbox`."""

    authority: str
    message_id: str
    to_authority: str
    case_id: str | None
    recorded_ms: int
    leased_until_ms: int
    lease: str | None
    done_ms: int | None

    @property
    def key(self) -> dict[str, object]:
        """The row's primary key."""
        return {"authority": self.authority, "message_id": self.message_id}


@dataclass(frozen=True, slots=True)
class Followed:
    """Messages as they stand, with the custody receipts forwarders gave for each.

    Attributes:
        messages: In the order they were recorded.
        custody: By the message's (authority, message id, role).
    """

    messages: Sequence[MessageRow]
    custody: Mapping[tuple[str, str, str], Sequence[bytes]]

    def custody_of(self, row: MessageRow) -> Sequence[bytes]:
        """The custody receipts for one of the messages."""
        return self.custody.get((row.authority, row.message_id, row.role), ())


def list_cases(
    connection: Connection,
    side: Side | None,
    state: CaseState | None,
    after: tuple[str, str] | None,
    limit: int,
) -> list[CaseView]:
    """Cases, newest first; one view for each end that is ours.

    Args:
        connection: To the store.
        side: Only this end.
        state: Only in this state.
        after: (case id, side) of the last one of the page before.
        limit: At most so many.
    """
    table = schema.case
    query = select(*columns(table, CaseView))
    if side is not None:
        query = query.where(table.c.side == side.value)
    if state is not None:
        query = query.where(table.c.state == state.value)
    if after is not None:
        query = query.where(tuple_(table.c.case_id, table.c.side) < tuple_(*after))
    # A case id is a UUIDv7, so its order is that of opening.
    query = query.order_by(table.c.case_id.desc(), table.c.side.desc()).limit(limit)
    return [CaseView(*row) for row in connection.execute(query)]


_SIDES: Final = Query(
    select(*columns(schema.case, CaseView))
    .where(given(schema.case, "case_id"))
    .order_by(schema.case.c.side),
    CaseView,
)


def find_sides(connection: Connection, case_id: str) -> list[CaseView]:
    """Our views of a case: of one end or, when both are ours, of both, the collecting one first."""
    return _SIDES.all(connection, case_id=case_id)


def follow_case(connection: Connection, case_id: str) -> Followed:
    """All messages of a case known here."""
    messages = case_messages(connection, case_id)
    held = {row.name: custody_receipts(connection, row) for row in messages}
    return Followed(messages, held)


def open_entries(
    connection: Connection, to_authority: str | None, now_ms: int, limit: int
) -> list[InboxRow]:
    """Inbox entries nobody has finished or holds a lease on now, the oldest first."""
    table = schema.inbox
    query = select(*columns(table, InboxRow)).where(
        table.c.done_ms.is_(None), table.c.leased_until_ms <= now_ms
    )
    if to_authority is not None:
        query = query.where(table.c.to_authority == to_authority)
    query = query.order_by(table.c.recorded_ms, table.c.message_id).limit(limit)
    return [InboxRow(*row) for row in connection.execute(query)]


_ENTRY: Final = Query(
    select(*columns(schema.inbox, InboxRow)).where(given(schema.inbox, "authority", "message_id")),
    InboxRow,
)


def find_entry(connection: Connection, reference: MessageReference) -> InboxRow | None:
    """The inbox entry of a message."""
    return _ENTRY.first(connection, authority=reference.authority, message_id=reference.message_id)
