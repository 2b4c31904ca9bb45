"""One dispatcher per peer: it posts to a peer that can be dialled, and hands out to one that calls.

The rules, in one place (what happens to the errands themselves: `node.errands`):

* A dispatcher sleeps until something is due at its peer or it is woken by a commit that gave it
  work. Its first post leaves at once; what comes while posts are answered leaves with the next, and
  a few may be under way, never two with messages of one case.
* A peer that does not answer at all is probed with empty posts on a short timetable, whatever waits
  for it, and even if nothing does; when it answers, or calls us itself, everything due leaves at
  once.
* A post that fails although the peer answers is halved, until the one errand it fails for waits
  alone.
* While a peer does not answer, what has another way takes it; both ways may deliver, since the
  destination knows a duplicate. Whenever a peer comes back, those still waiting look again.
* A peer that calls for what waits for it is not posted to, whether it could be dialled or not: it
  gets everything in the answers (PU-1). One call at a time is held open until something waits or
  its time is up; a newer call ends an older one (PU-3). A peer that cannot be dialled and has not
  called for a minute does not answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from node.errands import Errands, HandOver
from node.health import Health
from node.parts.flow import Flow
from node.posts import require_looked_into
from protocol.errors import TongbanError
from protocol.frames import read_frames
from protocol.limits import MAX_POST_MESSAGES
from routing.retry import LEASE, PROBE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from node.context import NodeContext
    from node.log.heads import HeadExchange
    from node.ports import Transport
    from node.questions import Questions
    from node.recovery.gate import Recovery
    from node.store.queries import PeerRow
    from protocol.frames import Frame

CALLS_MS = 60_000
"""How long after its last call a peer still counts as one that calls; calls are held for less."""
POSTS_UNDER_WAY = 3
"""Posts to one peer at once: one it works on, one on the line, one whose answer is read here."""
_IDLE_MS = 60_000
_TROUBLE_MS = 1_000
_log = structlog.get_logger()


class Dispatcher:
    """Serves one peer. Its only memory is how that peer answers."""

    def __init__(
        self,
        context: NodeContext,
        transport: Transport,
        peer: str,
        wake: Callable[[str], None],
        recovered: Callable[[], None],
        questions: Questions,
        heads: HeadExchange,
        recovery: Recovery,
    ) -> None:
        """Bind a dispatcher to its peer.

        Args:
            context: The node.
            transport: One post to the peer.
            peer: Its node id.
            wake: Called with each other peer that got work.
            recovered: Called when the peer answers again after it did not.
            questions: Those of others, which go along.
            heads: Of evidence logs, which go along too.
            recovery: What goes while the node does not work.
        """
        self._context = context
        self._transport = transport
        self._peer = peer
        self._errands = Errands(context, peer, wake, questions, heads, recovery)
        self._errands.flow = self._flow = Flow(self._errands.pieces, self._post, self._answered)
        self._health = Health(context, peer, recovered)
        self._woken = asyncio.Event()
        self._look_again = False
        self._call: asyncio.Event | None = None
        self._called_ms: int | None = None
        self._rerouted_ms = 0

    @property
    def status(self) -> PeerRow:
        """How the peer answers."""
        return self._health.status

    def wake(self) -> None:
        """There is new work."""
        self._woken.set()
        if self._call is not None:
            self._call.set()

    def heard(self) -> None:
        """The peer has called us: if something waits for it, it can be tried now."""
        if self._health.failing:
            self._woken.set()
        self._health.heard()

    def look_again(self) -> None:
        """Another peer has come back: what waits here may have a way again."""
        if self._health.failing:
            self._look_again = True
            self._woken.set()

    async def hear(self, frames: Sequence[Frame], *, asking: bool) -> list[Frame]:
        """What a call of the peer says about what it was handed; what to answer."""
        if asking:
            self._called_ms = self._context.clock.now_ms()
            await self._health.answered()
        elif not frames:
            return []
        said, answer = await self._errands.hear(frames, asking=asking)
        if frames:
            self._health.troubled(said.busy)
        return answer

    # handing out to a peer that calls

    async def waits(self, wait_ms: int) -> bool:
        """Hold a call of the peer until something waits for it, or for so long (PU-3).

        Returns:
            Whether the call is still the peer's latest.
        """
        self.release()
        call = self._call = asyncio.Event()
        until_ms = self._context.clock.now_ms() + wait_ms
        try:
            while True:
                call.clear()
                due_ms = await self._errands.next_due_ms()
                if self._call is not call:
                    return False
                now_ms = self._context.clock.now_ms()
                next_ms = until_ms if due_ms is None else min(due_ms, until_ms)
                if next_ms <= now_ms:
                    return True
                await self._sleep(next_ms - now_ms, call)
        finally:
            self._called_ms = self._context.clock.now_ms()
            if self._call is call:
                self._call = None

    def release(self) -> None:
        """End the call that is held, if there is one."""
        held, self._call = self._call, None
        if held is not None:
            held.set()

    async def hand_out(self, room: int) -> bytes:
        """What waits for the peer, for the answer to its call; leased to it (EX-22)."""
        if self._context.holds_back(self._peer):
            return b""
        handed = await self._errands.build(room)
        await self._errands.lease(handed, LEASE)
        return handed.octets

    def _calls(self, now_ms: int) -> bool:
        """Whether the peer calls for what waits for it."""
        called_ms = self._called_ms
        return self._call is not None or (called_ms is not None and now_ms < called_ms + CALLS_MS)

    def _dialled(self) -> bool:
        node = self._context.federation.directory.node(self._peer)
        return self._peer == self._context.here or node is None or node.url is not None

    def _reached(self) -> bool:
        """Whether peers can call us."""
        me = self._context.federation.directory.node(self._context.here)
        return me is not None and me.url is not None

    # posting to a peer that can be dialled

    async def run(self) -> None:
        """Serve the peer until cancelled. Our own trouble is logged, waited out, tried again."""
        await self._health.read()
        if self._called_ms is None and not self._dialled() and self._reached():
            self._called_ms = self._context.clock.now_ms()
        try:
            await self._rounds()
        finally:
            await self._flow.stop()

    async def _rounds(self) -> None:
        while True:
            try:
                await self._wait()
                await self.round()
            except TongbanError as error:
                _log.error("dispatch trouble", peer=self._peer, why=str(error))
                await self._context.clock.sleep_ms(_TROUBLE_MS)
            except Exception:  # noqa: BLE001 - a fault of ours must not end the service of a peer
                _log.exception("dispatch failed", peer=self._peer)
                await self._context.clock.sleep_ms(_TROUBLE_MS)

    async def _wait(self) -> None:
        """Until something is due and the peer may be tried, or a failed peer is probed."""
        while True:
            self._woken.clear()
            if self._look_again:
                self._look_again = False
                await self._errands.reroute()
            now_ms = self._context.clock.now_ms()
            if self._calls(now_ms):
                await self._sleep(CALLS_MS, self._woken)
                continue
            due_ms = await self._when(now_ms)
            if due_ms is not None and due_ms <= now_ms:
                return
            pause_ms = _IDLE_MS if due_ms is None else min(_IDLE_MS, due_ms - now_ms)
            await self._sleep(pause_ms, self._woken)

    async def _when(self, now_ms: int) -> int | None:
        """When to try next. What a wrong clock once put beyond every timetable is due now."""
        if not self._dialled():
            if not self._health.failing or now_ms >= self._rerouted_ms + _IDLE_MS:
                await self._away(now_ms)
            return None
        if self._context.holds_back(self._peer):
            return None
        if not self._health.failing:
            return await self._errands.next_due_ms()
        if self._context.federation.directory.node(self._peer) is None:
            return None
        retry_ms = self.status.retry_ms
        return now_ms if retry_ms > now_ms + PROBE.cap_ms else retry_ms

    async def _away(self, now_ms: int) -> None:
        """It cannot be dialled and does not call: what has another way takes it."""
        if not self._health.failing:
            await self._health.failed("it cannot be dialled, and does not call", now_ms)
        self._rerouted_ms = now_ms
        await self._errands.reroute()

    async def _sleep(self, duration_ms: int, woken: asyncio.Event) -> None:
        """Sleep, or be woken."""
        sleeping = asyncio.ensure_future(self._context.clock.sleep_ms(duration_ms))
        waking = asyncio.ensure_future(woken.wait())
        try:
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()

    async def round(self) -> None:
        """All that is due, in posts; while some are answered, the next is on its way.

        What becomes due meanwhile leaves at once, as long as there is a post to spare; else it
        gathers, and the next post takes all of it.
        """
        probed = self._health.failing
        if probed and not await self._probe():
            return
        under_way: dict[asyncio.Task[None], HandOver] = {}
        handed = await self._errands.build()
        if not handed.octets and probed:
            await self._health.answered()
        try:
            while handed.octets or under_way:
                if handed.octets:
                    under_way[asyncio.create_task(self._exchange(handed, probed=probed))] = handed
                self._woken.clear()
                handed = HandOver((), b"")
                spare = self._goes_on and len(under_way) < POSTS_UNDER_WAY
                if spare:
                    beside = [errand for post in under_way.values() for errand in post.errands]
                    handed = await self._errands.build(beside=beside)
                if not handed.octets:
                    await self._first_of(under_way, or_woken=spare)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    @property
    def _goes_on(self) -> bool:
        """Whether a round may begin another post."""
        now_ms = self._context.clock.now_ms()
        held_back = self._context.holds_back(self._peer)
        return not (self._health.failing or held_back or self._calls(now_ms))

    async def _first_of(
        self, under_way: dict[asyncio.Task[None], HandOver], *, or_woken: bool
    ) -> None:
        """Wait until one of these posts has come to its end, or until there may be more work."""
        if not under_way:
            return
        waking = [asyncio.ensure_future(self._woken.wait())] if or_woken else []
        try:
            await asyncio.wait([*under_way, *waking], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waking:
                task.cancel()
        for post in [post for post in under_way if post.done()]:
            del under_way[post]
            post.result()

    async def _exchange(self, handed: HandOver, *, probed: bool) -> None:
        """One post and what its answer means."""
        answer = await self._post(handed, probed=probed)
        if answer is not None:
            await self._answered(handed, answer)

    async def _post(
        self, handed: HandOver, sent: Callable[[], None] | None = None, *, probed: bool = False
    ) -> Sequence[Frame] | None:
        """The answer to a post; None if it came to nothing, which is then seen to."""
        began_ms = self._context.clock.now_ms()
        try:
            answer = read_frames(await self._transport.post(self._peer, handed.octets, sent=sent))
            require_looked_into(answer, handed.octets)
        except TongbanError as error:
            await self._post_failed(handed, error, began_ms, probed=probed)
            return None
        return answer

    async def _answered(self, handed: HandOver, answer: Sequence[Frame]) -> None:
        """What an answer means for what was handed over."""
        self._errands.batch = MAX_POST_MESSAGES
        await self._health.answered()
        said = await self._errands.answered(handed.errands, answer)
        self._health.troubled(said.busy)
        self._woken.set()

    async def _probe(self) -> bool:
        """An empty post: does the peer answer at all? Nothing of weight is sent before it does."""
        began_ms = self._context.clock.now_ms()
        try:
            read_frames(await self._transport.post(self._peer, b""))
        except TongbanError as error:
            await self._failed(error, began_ms)
            return False
        return True

    async def _post_failed(
        self, handed: HandOver, error: TongbanError, began_ms: int, *, probed: bool
    ) -> None:
        """Halve the next post; what fails alone waits alone."""
        self._errands.lost(handed)
        if len(handed.errands) == 1 and probed:
            # The peer just answered a probe, and this alone it does not take.
            await self._errands.refused_alone(handed.errands[0])
        await self._failed(error, began_ms)

    async def _failed(self, error: TongbanError, began_ms: int) -> None:
        seldom = await self._health.failed(str(error), began_ms)
        if seldom and self.status.failures > 1:
            await self._errands.reroute()
