"""How one peer answers: what is remembered, shown and told to the planner of routes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from node.ports import Decision, Unit, Upsert
from node.settlement import jitter
from node.store import schema
from node.store.queries import PeerRow, find_peer
from protocol.errors import UnavailableError
from routing.retry import PROBE

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.context import NodeContext

_log = structlog.get_logger()


class Health:
    """One peer's. `context.failing` follows it.

    Attributes:
        status: As the store has it, and fresher.
    """

    def __init__(self, context: NodeContext, peer: str, recovered: Callable[[], None]) -> None:
        """Nothing is known yet.

        Args:
            context: The node.
            peer: Its node id.
            recovered: Called when it answers again after it did not.
        """
        self._context = context
        self._peer = peer
        self._recovered = recovered
        self.status = PeerRow(peer, 0, 0, None, None)

    @property
    def failing(self) -> bool:
        """Whether it does not answer now."""
        return self.status.failures > 0

    async def read(self) -> None:
        """Take up what the store remembers."""
        try:
            self.status = await self._context.store.read(
                lambda connection: find_peer(connection, self._peer)
            )
        except UnavailableError:
            return
        if self.failing:
            self._context.failing.add(self._peer)

    def heard(self) -> None:
        """It called: if it did not answer, it may be tried now."""
        now_ms = self._context.clock.now_ms()
        if self.failing:
            self.status = replace(self.status, retry_ms=now_ms)
        self.status = replace(self.status, heard_ms=now_ms)

    def troubled(self, trouble: str | None) -> None:
        """It answers, and says what troubles it."""
        self.status = replace(self.status, trouble=trouble)

    async def failed(self, why: str, began_ms: int) -> bool:
        """It did not answer what was begun then.

        Returns:
            Whether to look for other ways now: at the failures 1, 2, 4, 8 ..., since a peer that is
            away for weeks should cost no commit a probe.
        """
        now_ms = self._context.clock.now_ms()
        failures, heard_ms = self.status.failures + 1, self.status.heard_ms
        retry_ms = now_ms + PROBE.delay_ms(failures, jitter(self._context))
        if heard_ms is not None and heard_ms >= began_ms:
            # It spoke to us while we waited for it: it is back, whatever became of this post.
            retry_ms = now_ms + PROBE.floor_ms
        self._context.failing.add(self._peer)
        self.status = PeerRow(self._peer, failures, retry_ms, heard_ms, why[:200])
        if failures & (failures - 1):
            return False
        _log.warning("peer does not answer", peer=self._peer, failures=failures, why=why)
        await self._remember()
        return True

    async def answered(self) -> None:
        """It answered."""
        now_ms = self._context.clock.now_ms()
        self._context.failing.discard(self._peer)
        if self.failing:
            _log.info("peer answers again", peer=self._peer)
            self.status = PeerRow(self._peer, 0, 0, now_ms, None)
            await self._remember()
            self._recovered()
        # While all is well it is only kept in memory: a commit per post would cost more.
        self.status = replace(self.status, heard_ms=now_ms)

    async def _remember(self) -> None:
        status = self.status
        row = Upsert(
            schema.peer,
            {
                "node": status.node,
                "failures": status.failures,
                "retry_ms": status.retry_ms,
                "heard_ms": status.heard_ms,
                "trouble": status.trouble,
            },
        )
        decision: Decision[None] = Decision(lambda _signatures: ([row], None))
        unit = Unit(lambda _connection: decision, frozenset({f"peer {self._peer}"}))
        try:
            await self._context.store.run(unit)
        except UnavailableError as trouble:
            # Only a restart would miss it.
            _log.warning("not remembered", peer=self._peer, why=str(trouble))
