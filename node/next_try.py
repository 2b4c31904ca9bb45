"""When and where an errand is tried again that a peer has not served.

Every errand has its own timetable in the store (`routing.retry`); what a peer says moves it, within
the bounds of the timetable. Another first hop is taken if the planner knows one that answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from node.ports import Decision, Delete, Unit, Update
from node.posts import goes_whole
from node.settlement import jitter, message_lock
from node.store import schema
from node.store.queries import DELIVER, RECEIPT, find_errand
from protocol.errors import UnavailableError
from protocol.frames import BusyFrame, NotHereFrame, WaitingFrame
from protocol.reasons import Reason
from routing.delivery import Standing
from routing.planner import plan
from routing.retry import ASK, DELIVERY

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.ports import Row
    from node.posts import Hint
    from node.store.queries import Errand

PATIENCE: Final = 6
"""Answers in vain, or none, after which another way is tried."""


@dataclass(frozen=True, slots=True)
class Later:
    """An errand that goes on waiting.

    Attributes:
        reason: Why.
        after_ms: Not before this long, whatever the timetable says.
        peer: The next hop from now on, if it changes.
        standing: The message's standing from now on, if it changes.
        at_once: Due now: the peer asked for it.
        anew: The timetable begins anew: the peer has taken something.
        falls: How often it has lost again what it had taken: so far is the timetable at least.
    """

    reason: Reason | None
    after_ms: int = 0
    peer: str | None = None
    standing: Standing | None = None
    at_once: bool = False
    anew: bool = False
    falls: int = 0


class NextTry:
    """The next tries of one peer's errands."""

    def __init__(
        self, context: NodeContext, peer: str, moved: Callable[[Errand, str], None]
    ) -> None:
        """Bind them to their peer.

        Args:
            context: The node.
            peer: Its node id.
            moved: Called with each errand that went to another peer, and that peer.
        """
        self._context = context
        self._peer = peer
        self._moved = moved

    def after(self, errand: Errand, hint: Hint | None) -> Later:
        """What the peer's word about an errand, or its silence, means for the next try."""
        match hint:
            case BusyFrame(_, reason, after_ms):
                return Later(reason, min(after_ms, DELIVERY.cap_ms))
            case WaitingFrame():
                return Later(None)
            case NotHereFrame(_, reason):
                return self.elsewhere(errand, reason)
            case _ if errand.attempts + errand.handed >= PATIENCE:
                # The peer answers, and says nothing about this one again and again.
                return self.elsewhere(errand, Reason.PEER_UNREACHABLE)
            case _:
                return Later(None)

    def elsewhere(self, errand: Errand, reason: Reason) -> Later:
        """Another first hop for this errand, if there is one."""
        row = errand.message
        if errand.purpose == RECEIPT:
            return Later(reason)
        path = tuple(node for node in row.path.split(",") if node != self._context.here)
        down = frozenset(self._context.failing | {self._peer})
        try:
            found = plan(
                self._context.federation.directory,
                self._context.here,
                row.to_node,
                down=down,
                path=path,
            )
        except UnavailableError:
            return Later(reason)
        # Moved at once while there are ways not tried yet; after that by the timetable.
        fresh = errand.attempts < len(found.alternates)
        for route in found.alternates:
            if route.next_hop not in down:
                return Later(reason, peer=route.next_hop, at_once=fresh)
        return Later(reason)

    async def divert(self, errand: Errand, reason: Reason) -> bool:
        """Send it another way, if there is one; whether there is."""
        later = self.elsewhere(errand, reason)
        if later.peer is None:
            return False
        await self.put_off(errand, later)
        return True

    async def never(self, errand: Errand) -> None:
        """It is done."""
        gone = Delete(schema.outbox, errand.key)
        decision: Decision[None] = Decision(lambda _signatures: ([gone], None))
        lock = frozenset({message_lock(errand.message.reference)})
        await self._context.store.run(Unit(lambda _connection: decision, lock))

    async def put_off(self, errand: Errand, later: Later) -> None:
        """It is tried again as this says."""
        unit = Unit(
            lambda connection: self._decide(connection, errand, later),
            frozenset({message_lock(errand.message.reference)}),
        )
        moved = await self._context.store.run(unit)
        if moved is not None:
            self._moved(errand, moved)

    def _decide(self, connection: Connection, errand: Errand, later: Later) -> Decision[str | None]:
        waiting = find_errand(connection, errand.message.key, errand.purpose)
        if waiting is None or waiting.peer != self._peer:
            # Settled or moved meanwhile.
            return Decision(lambda _signatures: ([], None))
        now_ms = self._context.clock.now_ms()
        attempts = 1 if later.anew else max(waiting.attempts + 1, later.falls)
        row = errand.message
        asking = not goes_whole(errand, now_ms) and errand.purpose == DELIVER
        timetable = ASK if asking else DELIVERY
        pause_ms = max(later.after_ms, timetable.delay_ms(attempts, jitter(self._context)))
        changes: dict[str, object] = {
            "attempts": attempts,
            "handed": 0,
            "due_ms": now_ms if later.at_once else now_ms + pause_ms,
            "peer": later.peer or self._peer,
            "last_reason": None if later.reason is None else later.reason.number,
        }
        rows: list[Row] = []
        standing = later.standing
        if asking and row.expires_ms <= now_ms and row.standing != Standing.IN_DOUBT:
            standing = Standing.IN_DOUBT
            changes["attempts"] = 1
        if standing is not None and standing != row.standing:
            rows.append(Update(schema.message, row.key, {"standing": standing.value}))
        rows.append(Update(schema.outbox, errand.key, changes))
        return Decision(lambda _signatures: (rows, later.peer))
