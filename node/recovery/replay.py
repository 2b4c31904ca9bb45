"""What recalled messages do to their case, at the end that lost them (RV-12).

The handling authority is the case's sequencer, so there is one order, and the messages themselves
say it: those of each end are numbered, and each of the handling end names, by InReplyTo, the last
one of the collecting end that had taken effect before it. Replayed in that order, what is missing
takes effect upon what is there, and both ends see the case alike again.

A number that nobody could hand over stays open in the order and consumed in the count: this node
once signed for a later one, so the missing one had its turn. If its sender still hands it over,
for our receipt was lost on its way, it is taken, and the case replayed from its first step (RV-13).
What then does not fit is said to people, not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import select

from node import cases
from node.cases import CaseView, Party, Side
from node.ports import Decision, Insert, Unit
from node.recovery.state import replayed_row
from node.settlement import case_lock, stored_header, take_effect
from node.store import schema
from node.store.queries import (
    MessageRow,
    Role,
    case_messages,
    find_case,
    find_parts,
    last_sequence,
)
from node.store.query import Query, given
from node.store.rows import case_row, sequence_row
from protocol.bodies import CaseSubmit, decode_body
from protocol.envelope import BODY_ID
from protocol.errors import RefusedError, UnavailableError
from routing.delivery import Standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.ports import Row

_INBOX = Query(
    select(schema.inbox.c.message_id).where(given(schema.inbox, "authority", "message_id")), str
)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Story:
    """The messages of one case at this end, each list in the order of its numbers.

    Attributes:
        side: Which end this is.
        submit: The message that opened it.
        collecting, handling: Of the one end and of the other.
    """

    side: Side
    submit: MessageRow
    collecting: Sequence[MessageRow]
    handling: Sequence[MessageRow]

    def in_order(self) -> Iterator[tuple[MessageRow, bool]]:
        """All of them, and whether a later one says that it has seen this one."""
        place = {row.message_id: number for number, row in enumerate(self.collecting)}
        told = 0
        for row in self.handling:
            seen = place.get(row.in_reply_to or "", -1) + 1
            yield from ((earlier, True) for earlier in self.collecting[told:seen])
            told = max(told, seen)
            yield row, False
        yield from ((later, False) for later in self.collecting[told:])


def replay_unit(context: NodeContext, case_id: str, *, whole: bool) -> Unit[None]:
    """The unit of work that lets what was recalled of a case take effect.

    Args:
        context: The node.
        case_id: The case.
        whole: From its first step on, for something is new in the middle; not only what follows
            upon what is here.
    """
    return Unit(
        lambda connection: _decide(context, connection, case_id, whole=whole),
        frozenset({case_lock(case_id)}),
    )


def _decide(
    context: NodeContext, connection: Connection, case_id: str, *, whole: bool
) -> Decision[None]:
    rows: list[Row] = [replayed_row(case_id)]
    messages = [row for row in case_messages(connection, case_id) if row.role != Role.TRANSIT]
    story = _story(messages)
    if story is None:
        _log.error("case without its submission", case=case_id)
    else:
        rows += _replayed(context, connection, case_id, story, whole=whole)
    rows += _numbers(connection, case_id, messages)
    return Decision(lambda _proofs: (rows, None))


def _story(messages: Sequence[MessageRow]) -> _Story | None:
    numbered = sorted(messages, key=lambda row: row.sequence or 0)
    submit = next((row for row in numbered if row.kind == CaseSubmit.kind), None)
    if submit is None:
        return None
    own = [row for row in numbered if row.role == submit.role]
    others = [row for row in numbered if row.role != submit.role]
    side = Side.COLLECT if submit.role == Role.OUT else Side.HANDLE
    return _Story(side, submit, own, others)


def _replayed(
    context: NodeContext, connection: Connection, case_id: str, story: _Story, *, whole: bool
) -> list[Row]:
    before = find_case(connection, case_id, story.side)
    opened = _opened(context, connection, story) if whole or before is None else None
    view = opened or before
    if view is None:
        return []
    rows: list[Row] = []
    for row, seen in story.in_order():
        last = 0 if opened else _last(connection, case_id, row)
        if row.role == Role.IN:
            if (row.sequence or 0) <= last or row.standing != Standing.RECEIVED:
                continue
            view = _advanced(context, view, row)
            rows += _inbox(context, connection, row)
        elif story.side is Side.HANDLE:
            # What the sequencer says takes effect when it is said.
            if (row.sequence or 0) > last:
                view = _advanced(context, view, row)
        elif row.standing == Standing.RECEIVED or (seen and row.standing != Standing.REFUSED):
            view = take_effect(context, view, row, stored_header(row), row.recorded_ms)
    return rows if view == before else [case_row(view), *rows]


def _opened(context: NodeContext, connection: Connection, story: _Story) -> CaseView | None:
    """The case before its first step; None if it never was one, or cannot be read any more."""
    submit = story.submit
    if submit.role == Role.IN and submit.standing != Standing.RECEIVED:
        return None
    octets = find_parts(connection, [submit]).get(submit.name, {}).get(BODY_ID)
    try:
        body = None if octets is None else decode_body(octets, context.rules.schemas)
        if isinstance(body, CaseSubmit):
            return cases.open_case(stored_header(submit), body, story.side, submit.recorded_ms)
    except RefusedError as refusal:
        _log.error("case not opened again", case=submit.case_id, why=str(refusal))
        return None
    _log.error("case not opened again", case=submit.case_id, why="its submission has no body here")
    return None


def _advanced(context: NodeContext, view: CaseView, row: MessageRow) -> CaseView:
    federation, at_ms = context.federation, row.recorded_ms
    end = Side(view.side)
    said_by = end if row.role == Role.OUT else cases.other(end)
    party = cases.heir(Party.at(row.from_node, row.authority), federation.directory, at_ms)
    try:
        powers = cases.powers_of(federation, view, party, at_ms)
        return cases.advance(view, row.kind, powers, stored_header(row), said_by, at_ms)
    except (RefusedError, UnavailableError) as error:
        _log.error("ends disagree", case=view.case_id, message=row.message_id, why=str(error))
        return view


def _inbox(context: NodeContext, connection: Connection, row: MessageRow) -> list[Row]:
    """An open entry: whether a local system had done with it, no peer can know."""
    if _INBOX.first(connection, authority=row.authority, message_id=row.message_id) is not None:
        return []
    directory = context.federation.directory
    values = {
        "authority": row.authority,
        "message_id": row.message_id,
        "to_authority": directory.heir(row.to_authority, context.here, context.clock.now_ms()),
        "case_id": row.case_id,
        "recorded_ms": row.recorded_ms,
        "leased_until_ms": 0,
        "lease": None,
        "done_ms": None,
    }
    return [Insert(schema.inbox, values)]


def _last(connection: Connection, case_id: str, row: MessageRow) -> int:
    party = Party.at(row.from_node, row.authority)
    return last_sequence(connection, case_id, party, Role(row.role))


def _numbers(connection: Connection, case_id: str, messages: Sequence[MessageRow]) -> list[Row]:
    """The counters, as far as the messages show they had come."""
    found: dict[tuple[Party, Role], list[MessageRow]] = {}
    for row in messages:
        key = Party.at(row.from_node, row.authority), Role(row.role)
        found.setdefault(key, []).append(row)
    rows: list[Row] = []
    for (party, role), own in found.items():
        before = last_sequence(connection, case_id, party, role)
        # What was refused out of turn consumes nothing before its turn.
        taken = [row for row in own if role is Role.OUT or row.standing == Standing.RECEIVED]
        last = max([before, *(row.sequence or 0 for row in taken)])
        numbers = {row.sequence for row in own}
        while last + 1 in numbers:
            last += 1
        if last > before:
            rows.append(sequence_row(case_id, party, role, last))
    return rows
