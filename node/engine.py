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
from typing import TYPE_CHECKING, Final

import structlog

from node.erasure import Eraser
from node.links import Links
from node.log.heads import HeadExchange
from node.log.sequencer import Sequencer
from node.outgoing import Draft, Filed, Outcome, outgoing_unit
from node.parts.sweep import Sweeper
from node.parts.uploads import Uploads
from node.pipeline import Pipeline
from node.recovery.gate import CHECK_MS, Recovery
from node.recovery.marker import NoMarker
from node.retention import Retention
from node.store.queries import peers_with_errands
from protocol.bodies import Actor, Ping
from protocol.envelope import Address
from protocol.errors import RefusedError
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from node.carriers.ferry import Ferry
    from node.context import NodeContext
    from node.erasure import Scope
    from node.links import Pull
    from node.ports import Transport
    from node.recovery.marker import Marker
    from node.stamps import Stamper
    from node.store.contents import ErasureRow
    from node.store.queries import PeerRow
    from protocol.frames import Frame
    from signing.erasure import Order
    from signing.log import Head

_SALT_OCTETS: Final = 16
_log = structlog.get_logger()


class Engine:
    """One node's message engine."""

    def __init__(
        self,
        context: NodeContext,
        transport: Transport,
        *,
        pull: Pull = "auto",
        ferries: Mapping[str, Ferry] | None = None,
        stamper: Stamper | None = None,
        marker: Marker | None = None,
    ) -> None:
        """Assemble the engine; nothing runs before `run`.

        Args:
            context: This node and its ports.
            transport: One post to a peer. Posts to this node itself never leave the process.
            pull: Whether peers are called for what waits there; auto: if this node cannot be
                dialled.
            ferries: Carriers of links over a gate, by peer.
            stamper: Has heads of the evidence log stamped.
            marker: Remembers beside the store how long the log is.
        """
        self._context = context
        self._transport = _WithLoopback(context.here, transport, self)
        marker = marker or NoMarker()
        self._heads = HeadExchange(context, self._lost)
        self.recovery = Recovery(
            context, self._heads, marker, self._wake, self._sweep, self._resume
        )
        self._links = Links(
            context,
            self._transport,
            self.exchange,
            ferries or {},
            pull,
            self._heads,
            self.recovery,
        )
        self._pipeline = Pipeline(
            context, self._links.questions, self._hear, self._links.wake, self.recovery.replay
        )
        self.uploads = Uploads(context)
        self._eraser = Eraser(context)
        retention = Retention(
            context, self._pipeline.intake, self._eraser, lambda: self.recovery.working
        )
        self._sweeper = Sweeper(context, self._pipeline.intake, self.uploads, retention)
        self.log = Sequencer(context, self._heads.news, marker, may=lambda: self.recovery.working)
        self.stamper = stamper

    @property
    def context(self) -> NodeContext:
        """This node and its ports."""
        return self._context

    # what peers bring

    async def exchange(self, peer: str, octets: bytes) -> bytes:
        """Take a post of an authenticated peer; the octets of the answer."""
        if not self.recovery.working:
            return await self.recovery.receive(peer, octets, asking=False)
        answer = await self._pipeline.receive(peer, octets)
        self.log.wake()
        self._links.heard(peer)
        return answer

    async def asked(self, peer: str, octets: bytes) -> bytes:
        """As `exchange`, for a call that asks for what waits: the first part of its answer."""
        if not self.recovery.working:
            answer = await self.recovery.receive(peer, octets, asking=True)
            await self._links.to(peer).hear((), asking=True)
            return answer
        return await self._pipeline.receive(peer, octets, asking=True)

    async def waits(self, peer: str, wait_ms: int) -> bool:
        """Hold a call until something waits for the peer, for so long at most.

        Returns:
            Whether to hand out: not if a later call of the peer has ended this one.
        """
        return await self._links.waits(peer, wait_ms)

    async def hand_out(self, peer: str, room: int) -> bytes:
        """What waits for the peer, at most so many octets, leased to it."""
        return await self._links.to(peer).hand_out(room)

    def release(self) -> None:
        """Have all calls that are held answered now."""
        self._links.release()

    async def _hear(self, peer: str, frames: Sequence[Frame], asking: bool) -> Sequence[Frame]:  # noqa: FBT001
        if not frames and not asking:
            # Whoever only looks whether we are there is told what we hold of its log (LG-11).
            return await self._heads.told(peer)
        return await self._links.to(peer).hear(frames, asking=asking)

    # what is said here

    async def file(self, draft: Draft) -> Outcome:
        """Sign, store and queue a message of one of our authorities.

        Returns:
            `Filed` once it is durable, `TokenClash` or `UploadUnfit`.

        Raises:
            RefusedError: the draft breaks a rule; nothing was written.
            UnavailableError: nothing was acknowledged; safe to repeat with the same token.
                RECOVERING among them.
        """
        self.recovery.require_working()
        context = self._context
        client = "" if draft.token is None else draft.token.client
        files = await self.uploads.ready(client, draft.authority, draft.materials)
        try:
            outcome = await context.store.run(outgoing_unit(context, draft, files))
        except Exception:
            await self.uploads.used(files, filed=False)
            raise
        filed = isinstance(outcome, Filed) and not outcome.repeated
        await self.uploads.used(files, filed=filed)
        self.log.wake()
        if isinstance(outcome, Filed):
            self._links.wake(outcome.route[min(1, len(outcome.route) - 1)])
        return outcome

    async def erase(self, order: Order, scope: Scope) -> Sequence[ErasureRow]:
        """Erase contents of messages of one of our authorities; see `node.erasure`.

        Raises:
            RefusedError, UnavailableError: as `Eraser.erase`; RECOVERING.
        """
        self.recovery.require_working()
        erased = await self._eraser.erase(order, scope)
        self.log.wake()
        return erased

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

    def refresh(self) -> None:
        """The directory has changed: call the peers it says, and note it."""
        self.log.wake()
        self._links.refresh()

    def peers(self) -> Iterable[PeerRow]:
        """How each peer we had work for answers, and each that we call."""
        return self._links.status()

    async def prepare(self, *, recover: bool = False, check_ms: int = CHECK_MS) -> None:
        """Look whether the store went back, and clear away what a crash has left.

        To be done before anything is served.

        Args:
            recover: The operator knows that it went back.
            check_ms: How long to wait for a peer that says what it holds; 0: do not ask.

        Raises:
            UnavailableError: STORE_UNAVAILABLE.
        """
        await self.recovery.prepare(forced=recover, check_ms=check_ms)

    async def run(self) -> None:
        """Serve until cancelled: take up what the store still holds, then whatever comes."""
        beside = [asyncio.ensure_future(self._sweeper.run())]
        if self.stamper is not None:
            beside.append(asyncio.ensure_future(self.stamper.run()))
        try:
            self._links.start(await self._context.store.read(peers_with_errands))
            beside.append(asyncio.ensure_future(self.recovery.run()))
            self.log.wake()
            await self.log.run()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._links.stop()

    async def _resume(self) -> None:
        """The node works (again): what waits leaves."""
        for peer in await self._context.store.read(peers_with_errands):
            self._links.wake(peer)
        self.log.wake()

    async def _sweep(self) -> None:
        await self._sweeper.sweep_orphans()

    def _wake(self, peer: str) -> None:
        self._links.wake(peer)

    async def _lost(self, head: Head) -> None:
        await self.recovery.lost(head)


class _WithLoopback:
    """A transport whose posts to this node go straight to its own inbound path."""

    def __init__(self, here: str, transport: Transport, engine: Engine) -> None:
        self._here = here
        self._transport = transport
        self._engine = engine

    async def post(
        self,
        peer: str,
        octets: bytes,
        *,
        wait_ms: int | None = None,
        sent: Callable[[], None] | None = None,
    ) -> bytes:
        if peer == self._here:
            return await self._engine.exchange(peer, octets)
        return await self._transport.post(peer, octets, wait_ms=wait_ms, sent=sent)
