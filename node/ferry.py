"""A link over a one-way gate: hand-overs leave as files, and are answered in files that come later.

The rules, in one place (what happens to the errands themselves: `node.errands`):

* Every few moments the folder is looked into; what has arrived goes the way of every post, and what
  it is answered leaves in the next file, together with what waits for the peer (FF-6).
* A file that arrived is removed only after what it brought is durable and the file with its answers
  is: a node killed in between takes it again, and dedupe gives the same answers.
* What was handed over is leased for twice the round trip, longer and longer for a peer that stays
  silent: so nothing is sent again only because the gate is slow (FF-8).
* A file in which a peer recalls what it lost is a border: what it wrote before counts no more, or
  a late file would bring what the answer to its recall did not have (RV-14).
* Nothing is heard from a peer that has nothing to say, so each end writes an empty hand-over now
  and then. When nothing came for three times as long, the peer does not answer: what has another
  way takes it, the rest is still handed over by its lease.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from node.errands import Errands, HandOver
from node.health import Health
from node.settlement import jitter
from protocol.errors import TongbanError, UnavailableError
from protocol.limits import MAX_POST_OCTETS
from routing.retry import LONGEST_MS, PROBE, Timetable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from node.carriers.ferry import Arrived, Ferry
    from node.context import NodeContext
    from node.log.heads import HeadExchange
    from node.questions import Questions
    from node.recovery.gate import Recovery
    from node.store.queries import PeerRow
    from protocol.frames import Frame

_MOST_AT_ONCE = 16
"""Hand-overs written in one round."""
_log = structlog.get_logger()


class FerryLink:
    """Serves one peer by files. Its only memory is how that peer answers, and what it is owed."""

    def __init__(
        self,
        context: NodeContext,
        ferry: Ferry,
        take: Callable[[str, bytes], Awaitable[bytes]],
        wake: Callable[[str], None],
        recovered: Callable[[], None],
        questions: Questions,
        heads: HeadExchange,
        recovery: Recovery,
    ) -> None:
        """Bind the link to its carrier.

        Args:
            context: The node.
            ferry: The carrier.
            take: What is done with the frames that arrive; the frames to answer.
            wake: Called with each other peer that got work.
            recovered: Called when the peer is heard again after it was not.
            questions: Those of others, which go along.
            heads: Of evidence logs, which go along too.
            recovery: What goes while the node does not work.
        """
        self._context = context
        self._ferry = ferry
        self._peer = ferry.terms.peer
        self._take = take
        self._recovery = recovery
        self._errands = Errands(context, self._peer, wake, questions, heads, recovery)
        self._health = Health(context, self._peer, recovered)
        self._woken = asyncio.Event()
        self._owed: list[tuple[bytes, Arrived]] = []
        self._troubles = 0
        trip_ms = ferry.terms.round_trip_ms
        self._pulse_ms = max(60_000, 5 * trip_ms)
        longest_ms = min(max(5 * 60_000, 8 * trip_ms), LONGEST_MS)
        self._lease = Timetable(base_ms=2 * trip_ms, cap_ms=longest_ms, floor_ms=2 * trip_ms)
        self._sent_ms: int | None = None
        self._began_ms = 0

    @property
    def status(self) -> PeerRow:
        """How the peer answers, and how the folders are."""
        status = self._health.status
        return replace(status, trouble=status.trouble or self._ferry.trouble)

    def wake(self) -> None:
        """There is new work."""
        self._woken.set()

    def heard(self) -> None:
        """The peer has called by another carrier, which says nothing about this one."""

    def look_again(self) -> None:
        """Another peer has come back: what waits here may have a way again."""
        self._woken.set()

    async def hear(self, frames: Sequence[Frame], *, asking: bool) -> list[Frame]:
        """What a file of the peer says about what it was handed; what to answer."""
        if not frames:
            return []
        said, answer = await self._errands.hear(frames, asking=asking)
        self._health.troubled(said.busy)
        return answer

    async def waits(self, wait_ms: int) -> bool:
        """A call of the peer by another carrier: everything goes by this one."""
        await self._context.clock.sleep_ms(min(wait_ms, 1_000))
        return False

    def release(self) -> None:
        """No call is held."""

    async def hand_out(self, room: int) -> bytes:  # noqa: ARG002
        """Everything goes by files."""
        return b""

    async def run(self) -> None:
        """Serve the peer until cancelled. Trouble is said, waited out, tried again."""
        clock = self._context.clock
        self._began_ms = clock.now_ms()
        await self._health.read()
        await self._ferry.tidy()
        while True:
            self._woken.clear()
            pause_ms = self._ferry.terms.scan_ms
            try:
                await self._round()
                if self._troubles:
                    self._health.troubled(None)
                self._troubles = 0
            except TongbanError as error:
                pause_ms = await self._trouble(str(error))
            except Exception:  # noqa: BLE001 - a fault of ours must not end the service of a peer
                _log.exception("ferry failed", peer=self._peer)
                pause_ms = await self._trouble("a fault of this node; its log says which")
            await clock.sleep_ms(pause_ms)

    async def _trouble(self, why: str) -> int:
        """The folders or the store do not serve: how long to wait."""
        self._troubles += 1
        if not self._health.failing:
            await self._health.failed(why, self._context.clock.now_ms())
            await self._errands.reroute()
        self._health.troubled(why)
        return PROBE.delay_ms(self._troubles, jitter(self._context))

    async def _round(self) -> None:
        """One look into the folder, and what has to be written because of it."""
        if not self._context.federation.directory.linked(self._context.here, self._peer):
            self._health.troubled("the directory lists no link with it")
            return
        trouble: UnavailableError | None = None
        try:
            await self._take_files()
        except UnavailableError as error:
            # What is wrong with one folder is no reason to leave the other alone.
            trouble = error
        await self._check_pulse()
        await self._write_files()
        if trouble is not None:
            raise trouble

    # in

    async def _take_files(self) -> None:
        if self._owed_too_much():
            # `out` did not take the answers: what more is owed would have to be held in memory.
            await self._write_files()
        async with aclosing(self._ferry.arrivals()) as arrivals:
            async for arrived in arrivals:
                try:
                    answer = await self._take(self._peer, arrived.octets)
                except BaseException:
                    self._ferry.let_go(arrived)
                    raise
                await self._health.answered()
                begins = self._recovery.answers.recalled(self._peer)
                self._owed.append((answer, replace(arrived, octets=b"", begins=begins)))
                if self._owed_too_much():
                    await self._write_files()

    def _owed_too_much(self) -> bool:
        return sum(len(answer) for answer, _ in self._owed) > MAX_POST_OCTETS // 2

    async def _check_pulse(self) -> None:
        now_ms = self._context.clock.now_ms()
        heard_ms = max(self._health.status.heard_ms or 0, self._began_ms)
        if not self._health.failing and now_ms - heard_ms > 3 * self._pulse_ms:
            since_s = (now_ms - heard_ms) // 1000
            await self._health.failed(f"no file came through the gate for {since_s} s", now_ms)
        if self._health.failing:
            await self._errands.reroute()

    # out

    async def _waiting(self, room: int) -> HandOver:
        """What waits for the peer, unless it has to wait for a fresher directory."""
        if self._context.holds_back(self._peer):
            return HandOver((), b"")
        return await self._errands.build(room, paced=False)

    async def _write_files(self) -> None:
        for _ in range(_MOST_AT_ONCE):
            answers = b"".join(answer for answer, _ in self._owed)
            handed = await self._waiting(MAX_POST_OCTETS - len(answers))
            octets = answers + handed.octets
            now_ms = self._context.clock.now_ms()
            if octets or self._sent_ms is None or now_ms - self._sent_ms >= self._pulse_ms:
                await self._ferry.withdraw(now_ms - 2 * self._lease.cap_ms)
                await self._ferry.send(octets)
                self._sent_ms = now_ms
            await self._errands.lease(handed, self._lease)
            served, self._owed = self._owed, []
            try:
                await self._ferry.done(arrived for _, arrived in served)
            except UnavailableError:
                # The answers are written; only that the files were taken is not remembered yet.
                self._owed = [(b"", arrived) for _, arrived in served]
                raise
            if not handed.octets:
                return
