"""Erasing the contents of messages, while what proves them stays (个人信息保护法 第四十七条).

An authority orders it for its own copies: those it sent, and those it received. In one transaction
the rows of the parts go, and the order is on record with its leaf in the log (EV-25). Then the
files go and the pages and log of the store are emptied (EV-26): until that is done the erasure is
pending, and is gone on with after a crash. To order it again changes nothing.

Envelope, receipts and proofs stay: that is what duplicates are known by, and what evidence is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from node.ports import Decision, Delete, Insert, Leaves, Unit, Update
from node.settlement import case_lock, message_lock
from node.store import schema
from node.store.contents import (
    ErasureRow,
    find_erasures,
    list_parts,
    pending_erasures,
    waits_in_inbox,
)
from node.store.queries import Role, case_messages, find_by_id
from node.store.views import find_sides
from protocol.errors import RefusedError
from protocol.instants import format_instant
from protocol.lifecycle import CaseState
from protocol.limits import BACKUP_HORIZON_MS
from protocol.reasons import Reason
from routing.delivery import Standing
from signing.erasure import Erasure, Order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.ports import Row
    from node.store.queries import MessageRow

_SALT_OCTETS: Final = 16
_MOST: Final = 256
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Scope:
    """What an order is about: a case, or one message.

    Attributes:
        case_id: All messages of the authority in it.
        message_id: One message, of a case or of none.
        although_open: The authority knows that the case is not over.
    """

    case_id: str | None = None
    message_id: str | None = None
    although_open: bool = False


class Eraser:
    """Erases at one node."""

    def __init__(self, context: NodeContext) -> None:
        """Nothing is erased yet."""
        self._context = context

    async def erase(self, order: Order, scope: Scope) -> list[ErasureRow]:
        """Erase, and see it through; the erasures on record now, also those of before.

        Raises:
            RefusedError: CASE_UNKNOWN or MESSAGE_UNKNOWN: the authority has nothing of it here;
                STILL_NEEDED: nothing was erased.
            UnavailableError: STORE_UNAVAILABLE: it is on record or not, and octets may be left:
                order it again.
        """
        rows = await self.record(order, scope)
        await self.finish()
        return rows

    async def record(self, order: Order, scope: Scope) -> list[ErasureRow]:
        """The first half: the rows go, and it is on record; `finish` is still to come.

        Raises:
            RefusedError, UnavailableError: as `erase`.
        """
        found = await self._context.store.read(lambda c: self._found(c, order, scope))
        keys = {message_lock(row.reference) for row in found}
        keys |= {case_lock(row.case_id) for row in found if row.case_id is not None}
        salt = self._context.entropy.octets(_SALT_OCTETS)
        unit = Unit(lambda c: self._decide(c, order, scope, salt), frozenset(keys))
        return await self._context.store.run(unit)

    async def finish(self) -> None:
        """Do away with what erasures on record have left.

        Raises:
            UnavailableError: STORE_UNAVAILABLE.
        """
        context = self._context
        while rows := await context.store.read(lambda c: pending_erasures(c, _MOST)):
            for name in (name for row in rows for name in row.blobs.split(",") if name):
                await context.blobs.delete(name)
            await context.store.forget()
            await context.store.run(_done(rows))
            _log.info("contents erased", messages=len(rows))

    def _found(self, connection: Connection, order: Order, scope: Scope) -> list[MessageRow]:
        """The authority's copies.

        Raises:
            RefusedError: as `erase`.
        """
        context = self._context
        directory, now_ms = context.federation.directory, context.clock.now_ms()
        ours = directory.lineage(order.authority, context.here, now_ms)
        if scope.case_id is not None:
            rows = case_messages(connection, scope.case_id)
        else:
            rows = find_by_id(connection, scope.message_id or "")
        own = [row for row in rows if _holder(row) in ours]
        if not own and scope.case_id is not None:
            detail = f"{order.authority} has nothing of case {scope.case_id} here"
            raise RefusedError(Reason.CASE_UNKNOWN, detail)
        if not own:
            detail = f"{order.authority} has no message {scope.message_id} here"
            raise RefusedError(Reason.MESSAGE_UNKNOWN, detail)
        return own

    def _decide(
        self, connection: Connection, order: Order, scope: Scope, salt: bytes
    ) -> Decision[list[ErasureRow]]:
        messages = self._found(connection, order, scope)
        before = find_erasures(connection, messages)
        fresh = [row for row in messages if row.name not in before]
        now_ms = self._context.clock.now_ms()
        for row in fresh:
            _require_over(connection, row, now_ms, although_open=scope.although_open)
        parts = list_parts(connection, fresh)
        rows: list[Row] = []
        erased = list(before.values())
        for row in fresh:
            held = parts.get(row.name, [])
            record = Erasure(
                order.ground, order.authority, now_ms, row.message_digest, order.digest(salt)
            )
            erasure = ErasureRow(
                *row.name,
                record=record.octets,
                salt=salt,
                name=order.name,
                staff_number=order.staff_number,
                note=order.note,
                blobs=",".join(part.blob for part in held if part.blob is not None),
                pending=1,
            )
            values = {name: getattr(erasure, name) for name in ErasureRow.__dataclass_fields__}
            rows.append(Insert(schema.erasure, values))
            rows.append(Leaves(record.leaf.octets))
            rows += [Delete(schema.part, {**row.key, "part_id": part.part_id}) for part in held]
            erased.append(erasure)
        return Decision(lambda _: (rows, erased))


def _holder(row: MessageRow) -> str | None:
    """Whose copy it is; nobody's if it only passed through."""
    match Role(row.role):
        case Role.OUT:
            return row.authority
        case Role.IN:
            return row.to_authority
        case Role.TRANSIT:
            return None


def _require_over(
    connection: Connection, row: MessageRow, now_ms: int, *, although_open: bool
) -> None:
    """Nothing needs the contents any more (EV-24).

    Raises:
        RefusedError: STILL_NEEDED.
    """
    what = f"{row.kind} {row.message_id}"
    if row.settled_ms is None:
        raise _needed(f"{what} is {Standing(row.standing).value}: its destination has not answered")
    free_ms = row.settled_ms + BACKUP_HORIZON_MS
    if now_ms < free_ms:
        # A peer that goes back to an old backup fetches from us what it lost (RV-13).
        raise _needed(f"{what}: peers may need it again until {format_instant(free_ms)}")
    if row.role == Role.IN and waits_in_inbox(connection, row.reference):
        raise _needed(f"{what} waits in the inbox")
    if row.case_id is None or although_open:
        return
    for view in find_sides(connection, row.case_id):
        state = CaseState(view.state)
        if not state.terminal and not _never_began(connection, row.case_id):
            raise _needed(f"case {row.case_id} is not over: {state.value}")


def _never_began(connection: Connection, case_id: str) -> bool:
    """Whether the submission of a case was refused."""
    rows = case_messages(connection, case_id)
    return any(row.sequence == 1 and row.standing == Standing.REFUSED for row in rows)


def _needed(detail: str) -> RefusedError:
    return RefusedError(Reason.STILL_NEEDED, detail)


def _done(rows: Sequence[ErasureRow]) -> Unit[None]:
    changes = {"blobs": "", "pending": None}
    updates = [Update(schema.erasure, row.key, changes) for row in rows]
    decision: Decision[None] = Decision(lambda _: (updates, None))
    return Unit(lambda _connection: decision)
