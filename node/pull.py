"""A puller calls one peer for what waits there, over and over (long-poll).

For a node that peers cannot dial, it is the way in; any other may use it as well. Each call carries
the answers to what the call before brought, so they leave as soon as they are durable, and asks to
be held until something waits (PU-1, PU-2). What comes in an answer goes the way of every post: the
peer may be anybody who was let in.

A call that fails is tried again on the timetable of probes. One that brings something is followed
by the next at once, up to so many a second: what it brought may be worth nothing. Something between
the two may cut calls it thinks idle: whenever a call was cut while it was held, the next ones ask
for less, and only after some that were held to their end for more again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from node.effort import Bucket
from node.settlement import jitter
from protocol.errors import TongbanError
from routing.retry import PROBE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from node.context import NodeContext
    from node.ports import Transport

WAIT_MS: Final = 25_000
"""How long a call asks to be held: most things between two nodes cut what is idle for 30 s."""
_SHORTEST_WAIT_MS: Final = 5_000
_HELD_TO_TRUST: Final = 8
CALLS_PER_S: Final = 50
_CALLS_AT_ONCE: Final = 500
_log = structlog.get_logger()


class Puller:
    """Calls one peer. Its only memory is the answers it still has to bring there.

    Attributes:
        trouble: Why the last call failed; None while all is well.
    """

    def __init__(
        self,
        context: NodeContext,
        transport: Transport,
        peer: str,
        take: Callable[[str, bytes], Awaitable[bytes]],
    ) -> None:
        """Bind a puller to its peer.

        Args:
            context: The node.
            transport: One call to the peer.
            peer: Its node id.
            take: What is done with the frames that an answer brings; the frames to answer.
        """
        self._context = context
        self._transport = transport
        self._peer = peer
        self._take = take
        self._wait_ms = WAIT_MS
        self._failures = 0
        self._held = 0
        self._answers = b""
        self._pace = Bucket(CALLS_PER_S, _CALLS_AT_ONCE)
        self.trouble: str | None = None

    async def run(self) -> None:
        """Call until cancelled. Nothing that a call brings, and no fault of ours, ends it."""
        while True:
            try:
                await self._round()
            except Exception:  # noqa: BLE001 - a fault of ours must not cut us off from a peer
                _log.exception("pull failed", peer=self._peer)
                self._answers = b""
                await self._pause()

    async def _round(self) -> None:
        clock = self._context.clock
        began_ms = clock.now_ms()
        self._pace.fill(began_ms)
        if not self._pace.take():
            await clock.sleep_ms(1_000 // CALLS_PER_S)
            return
        try:
            brought = await self._transport.post(self._peer, self._answers, wait_ms=self._wait_ms)
        except TongbanError as error:
            if clock.now_ms() - began_ms >= _SHORTEST_WAIT_MS:
                self._wait_ms, self._held = max(_SHORTEST_WAIT_MS, self._wait_ms // 2), 0
            if not self._failures:
                _log.warning("peer cannot be called", peer=self._peer, why=str(error))
            self.trouble = str(error)[:200]
            await self._pause()
            return
        self.trouble = None
        spoken = bool(self._answers or brought)
        held = not brought and clock.now_ms() - began_ms >= self._wait_ms // 2
        self._answers = await self._take(self._peer, brought)
        if held:
            self._held += 1
            if self._held == _HELD_TO_TRUST:
                self._wait_ms, self._held = min(WAIT_MS, 2 * self._wait_ms), 0
        if spoken or held:
            self._failures = 0
        else:
            # It does not hold calls, or not this one.
            await self._pause()

    async def _pause(self) -> None:
        self._failures += 1
        delay_ms = PROBE.delay_ms(self._failures, jitter(self._context))
        await self._context.clock.sleep_ms(delay_ms)
