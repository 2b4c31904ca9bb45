"""The engine: the inbound path, one dispatcher per peer, and the way in for local callers.

Everything here runs on ports (`node.ports`): production and simulation differ in nothing else. The
engine keeps no state of its own but the dispatchers' memory of how their peers answer, which is in
the store too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from node.dispatch import Dispatcher
from node.outgoing import Draft, Filed, Outcome, outgoing_unit
from node.pipeline import Pipeline
from node.store.queries import peers_with_errands
from protocol.bodies import Actor, Ping
from protocol.envelope import Address
from protocol.errors import RefusedError
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from node.context import NodeContext
    from node.ports import Transport
    from node.store.queries import PeerRow

_SALT_OCTETS = 16
_log = structlog.get_logger()


class Engine:
    """One node's message engine."""

    def __init__(self, context: NodeContext, transport: Transport) -> None:
        """Assemble the engine; nothing runs before `run`.

        Args:
            context: This node and its ports.
            transport: One post to a peer. Posts to this node itself never leave the process.
        """
        self._context = context
        self._transport = _WithLoopback(context.here, transport, self)
        self._pipeline = Pipeline(context, self._transport, self.wake)
        self._dispatchers: dict[str, Dispatcher] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._running = False

    @property
    def context(self) -> NodeContext:
        """This node and its ports."""
        return self._context

    async def exchange(self, peer: str, octets: bytes) -> bytes:
        """Take a post of an authenticated peer; the octets of the answer."""
        answer = await self._pipeline.receive(peer, octets)
        dispatcher = self._dispatchers.get(peer)
        if dispatcher is not None:
            dispatcher.heard()
        return answer

    async def file(self, draft: Draft) -> Outcome:
        """Sign, store and queue a message of one of our authorities.

        Returns:
            `Filed` once it is durable, or `TokenClash`.

        Raises:
            RefusedError: the draft breaks a rule; nothing was written.
            UnavailableError: nothing was acknowledged; safe to repeat with the same token.
        """
        outcome = await self._context.store.run(outgoing_unit(self._context, draft))
        if isinstance(outcome, Filed):
            self.wake(outcome.route[min(1, len(outcome.route) - 1)])
        return outcome

    async def ping(self, node: str) -> Outcome:
        """Queue a ping to a node: its operator's receipt shows that the way is open.

        Raises:
            RefusedError: NOT_FOR_US: no such node in the directory.
        """
        directory = self._context.federation.directory
        target, me = directory.node(node), directory.node(self._context.here)
        if target is None or me is None:
            raise RefusedError(Reason.NOT_FOR_US, f"node {node} is not in the directory")
        actor = Actor(name=me.name, staff_number="-", window="-")
        body = Ping(salt=self.salt(), actor=actor)
        return await self.file(
            Draft(me.operator, body, recipient=Address(target.id, target.operator))
        )

    def salt(self) -> str:
        """A fresh salt for a body: 32 hexadecimal digits."""
        return self._context.entropy.octets(_SALT_OCTETS).hex()

    def wake(self, peer: str) -> None:
        """There is new work for a peer."""
        if peer not in self._dispatchers:
            self._dispatchers[peer] = Dispatcher(
                self._context, self._transport, peer, self.wake, self._recovered
            )
        if self._running and peer not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._dispatchers[peer].run())
            task.add_done_callback(lambda ended: self._report(peer, ended))
            self._tasks[peer] = task
        self._dispatchers[peer].wake()

    def _recovered(self) -> None:
        """A peer came back: the others look whether what waits has a way again."""
        for dispatcher in self._dispatchers.values():
            dispatcher.look_again()

    def _report(self, peer: str, task: asyncio.Task[None]) -> None:
        """A dispatcher ended; the next wake starts it anew."""
        if self._tasks.get(peer) is task:
            del self._tasks[peer]
        if not task.cancelled() and task.exception() is not None:
            _log.error("dispatcher ended", peer=peer, exc_info=task.exception())

    def peers(self) -> Iterable[PeerRow]:
        """How each peer we had work for answers."""
        return [dispatcher.status for dispatcher in self._dispatchers.values()]

    async def run(self) -> None:
        """Serve until cancelled: take up what the store still holds, then whatever comes."""
        self._running = True
        try:
            waiting = await self._context.store.read(peers_with_errands)
            for peer in [*waiting, *self._dispatchers]:
                self.wake(peer)
            await asyncio.get_running_loop().create_future()
        finally:
            self._running = False
            tasks = list(self._tasks.values())
            self._tasks.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _WithLoopback:
    """A transport whose posts to this node go straight to its own inbound path."""

    def __init__(self, here: str, transport: Transport, engine: Engine) -> None:
        self._here = here
        self._transport = transport
        self._engine = engine

    async def post(self, peer: str, octets: bytes) -> bytes:
        if peer == self._here:
            return await self._engine.exchange(peer, octets)
        return await self._transport.post(peer, octets)
