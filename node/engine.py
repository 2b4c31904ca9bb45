"""The engine: the inbound path, one dispatcher per peer, and the way in for local callers.

A call of a peer is served in three steps: `exchange` or `asked` takes what it brings; then, if it
asked for what waits and nothing is to be answered yet, `waits` holds it; then `hand_out` fills the
answer. A carrier may so let go of whatever the call occupies while it is held.

Everything here runs on ports (`node.ports`): production and simulation differ in nothing else. The
engine keeps no state of its own but the dispatchers' memory of how their peers answer, which is in
the store too.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import structlog

from node.dispatch import Dispatcher
from node.log.sequencer import Sequencer
from node.outgoing import Draft, Filed, Outcome, outgoing_unit
from node.parts.uploads import Uploads
from node.pipeline import Pipeline
from node.pull import Puller
from node.questions import Questions
from node.store.queries import PeerRow, peers_with_errands
from protocol.bodies import Actor, Ping
from protocol.envelope import Address
from protocol.errors import RefusedError
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from node.context import NodeContext
    from node.ports import Transport
    from protocol.frames import Frame

Pull: TypeAlias = Literal["auto", "always", "never"]
"""Which peers are called for what waits there: those that cannot call us, all, or none."""
MAX_HELD: Final = 512
"""Calls held open at once: one per peer, of as many peers."""
_SALT_OCTETS: Final = 16
_log = structlog.get_logger()


class Engine:
    """One node's message engine."""

    def __init__(self, context: NodeContext, transport: Transport, *, pull: Pull = "auto") -> None:
        """Assemble the engine; nothing runs before `run`.

        Args:
            context: This node and its ports.
            transport: One post to a peer. Posts to this node itself never leave the process.
            pull: Whether peers are called for what waits there; auto: if this node cannot be
                dialled.
        """
        self._context = context
        self._transport = _WithLoopback(context.here, transport, self)
        self._pull: Pull = pull
        self._questions = Questions(context, self._transport, self._dialled, self.wake)
        self._pipeline = Pipeline(context, self._questions, self._hear, self.wake)
        self.uploads: Final = Uploads(context)
        self._dispatchers: dict[str, Dispatcher] = {}
        self._pullers: dict[str, Puller] = {}
        self._tasks: dict[tuple[type, str], asyncio.Task[None]] = {}
        self._held = 0
        self._running = False
        self.log = Sequencer(context)

    @property
    def context(self) -> NodeContext:
        """This node and its ports."""
        return self._context

    # what peers bring

    async def exchange(self, peer: str, octets: bytes) -> bytes:
        """Take a post of an authenticated peer; the octets of the answer."""
        answer = await self._pipeline.receive(peer, octets)
        dispatcher = self._dispatchers.get(peer)
        if dispatcher is not None:
            dispatcher.heard()
        return answer

    async def asked(self, peer: str, octets: bytes) -> bytes:
        """As `exchange`, for a call that asks for what waits: the first part of its answer."""
        return await self._pipeline.receive(peer, octets, asking=True)

    async def waits(self, peer: str, wait_ms: int) -> bool:
        """Hold a call until something waits for the peer, for so long at most.

        Returns:
            Whether to hand out: not if a later call of the peer has ended this one.
        """
        if self._held >= MAX_HELD:
            return True
        self._held += 1
        try:
            return await self._dispatcher(peer).waits(wait_ms)
        finally:
            self._held -= 1

    async def hand_out(self, peer: str, room: int) -> bytes:
        """What waits for the peer, at most so many octets, leased to it."""
        return await self._dispatcher(peer).hand_out(room)

    def release(self) -> None:
        """Have all calls that are held answered now."""
        for dispatcher in self._dispatchers.values():
            dispatcher.release()

    async def _hear(self, peer: str, frames: Sequence[Frame], asking: bool) -> Sequence[Frame]:  # noqa: FBT001
        if not frames and not asking:
            return ()
        return await self._dispatcher(peer).hear(frames, asking=asking)

    # what is said here

    async def file(self, draft: Draft) -> Outcome:
        """Sign, store and queue a message of one of our authorities.

        Returns:
            `Filed` once it is durable, `TokenClash` or `UploadUnfit`.

        Raises:
            RefusedError: the draft breaks a rule; nothing was written.
            UnavailableError: nothing was acknowledged; safe to repeat with the same token.
        """
        context = self._context
        client = "" if draft.token is None else draft.token.client
        files = await self.uploads.ready(client, draft.authority, draft.materials)
        filed = False
        try:
            outcome = await context.store.run(outgoing_unit(context, draft, files))
            filed = isinstance(outcome, Filed) and not outcome.repeated
        finally:
            await self.uploads.used(files, filed=filed)
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

    # what runs

    def wake(self, peer: str) -> None:
        """There is new work for a peer."""
        self._dispatcher(peer).wake()

    def refresh(self) -> None:
        """The directory has changed: call the peers it says, and note it."""
        self.log.wake()
        wanted = self._to_pull()
        for peer in self._pullers.keys() - wanted:
            del self._pullers[peer]
            self._tasks[Puller, peer].cancel()
        for peer in sorted(wanted - self._pullers.keys()):
            self._pullers[peer] = Puller(self._context, self._transport, peer, self.exchange)
            self._start(Puller, peer)

    def _dispatcher(self, peer: str) -> Dispatcher:
        """The one of this peer; it serves as soon as the engine runs."""
        if peer not in self._dispatchers:
            self._dispatchers[peer] = Dispatcher(
                self._context,
                self._transport,
                peer,
                self.wake,
                self._recovered,
                self._questions,
            )
        self._start(Dispatcher, peer)
        return self._dispatchers[peer]

    def _start(self, kind: type[Dispatcher | Puller], peer: str) -> None:
        if not self._running or (kind, peer) in self._tasks:
            return
        served = self._dispatchers if kind is Dispatcher else self._pullers
        task = asyncio.get_running_loop().create_task(served[peer].run())
        task.add_done_callback(lambda ended: self._report(kind, peer, ended))
        self._tasks[kind, peer] = task

    def _dialled(self, peer: str) -> bool:
        """Whether we can call a peer."""
        node = self._context.federation.directory.node(peer)
        return peer == self._context.here or (node is not None and node.url is not None)

    def _to_pull(self) -> set[str]:
        directory, here = self._context.federation.directory, self._context.here
        me = directory.node(here)
        reached = me is None or me.url is not None
        if self._pull == "never" or (self._pull == "auto" and reached):
            return set()
        return {
            node.id
            for node in directory.nodes.values()
            if node.url is not None and directory.linked(here, node.id)
        }

    def _recovered(self) -> None:
        """A peer came back: the others look whether what waits has a way again."""
        for dispatcher in self._dispatchers.values():
            dispatcher.look_again()

    def _report(self, kind: type[Dispatcher | Puller], peer: str, task: asyncio.Task[None]) -> None:
        """A dispatcher or puller ended; the next wake starts it anew."""
        if self._tasks.get((kind, peer)) is task:
            del self._tasks[kind, peer]
        if not task.cancelled() and task.exception() is not None:
            _log.error("service of a peer ended", peer=peer, exc_info=task.exception())

    def peers(self) -> Iterable[PeerRow]:
        """How each peer we had work for answers, and each that we call."""
        found = {peer: dispatcher.status for peer, dispatcher in self._dispatchers.items()}
        for peer, puller in self._pullers.items():
            status = found.get(peer, PeerRow(peer, 0, 0, None, None))
            found[peer] = replace(status, trouble=status.trouble or puller.trouble)
        return found.values()

    async def run(self) -> None:
        """Serve until cancelled: take up what the store still holds, then whatever comes."""
        self._running = True
        try:
            waiting = await self._context.store.read(peers_with_errands)
            for peer in [*waiting, *self._dispatchers]:
                self.wake(peer)
            self.refresh()
            await self.log.run()
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

    async def post(self, peer: str, octets: bytes, *, wait_ms: int | None = None) -> bytes:
        if peer == self._here:
            return await self._engine.exchange(peer, octets)
        return await self._transport.post(peer, octets, wait_ms=wait_ms)
