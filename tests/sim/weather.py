"""The network between simulated nodes, and its weather: all of it drawn from one seed."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.errors import UnavailableError
from protocol.limits import MAX_POST_OCTETS
from protocol.reasons import Reason

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from node.engine import Engine
    from tests.sim.world import SimNode

TIMEOUT_MS = 4_000


@dataclass(frozen=True, slots=True)
class Weather:
    """Probabilities per post, and the longest delay each way (ms)."""

    drop_request: float = 0.0
    drop_answer: float = 0.0
    duplicate: float = 0.0
    truncate: float = 0.0
    delay_ms: int = 40


FAIR = Weather()
STORM = Weather(drop_request=0.15, drop_answer=0.15, duplicate=0.15, truncate=0.03, delay_ms=900)


async def call(engine: Engine, origin: str, octets: bytes, wait_ms: int | None) -> bytes:
    """What a carrier does with a call: take it, hold it, hand out."""
    if wait_ms is None:
        return await engine.exchange(origin, octets)
    answer = await engine.asked(origin, octets)
    if answer or await engine.waits(origin, wait_ms):
        answer += await engine.hand_out(origin, MAX_POST_OCTETS - len(answer))
    return answer


class Network:
    """Carries posts between nodes, or does not."""

    def __init__(self, dice: random.Random, nodes: Mapping[str, SimNode]) -> None:
        self._dice = dice
        self._nodes = nodes
        self.weather = FAIR
        self.faults: Counter[str] = Counter()

    async def post(
        self, origin: str, peer: str, octets: bytes, wait_ms: int | None = None
    ) -> bytes:
        weather, dice = self.weather, self._dice
        await self._pause(weather.delay_ms)
        if dice.random() < weather.drop_request:
            self.faults["request dropped"] += 1
            raise await self._silence()
        if dice.random() < weather.duplicate:
            self.faults["request duplicated"] += 1
            late = asyncio.ensure_future(self._again(origin, peer, octets, wait_ms))
            self._nodes[peer].belongs(late)
        answer = await self._deliver(origin, peer, octets, wait_ms)
        await self._pause(weather.delay_ms)
        if dice.random() < weather.drop_answer:
            self.faults["answer dropped"] += 1
            raise await self._silence()
        if dice.random() < weather.truncate:
            self.faults["answer cut"] += 1
            return answer[: dice.randrange(len(answer) + 1)]
        return answer

    async def _again(self, origin: str, peer: str, octets: bytes, wait_ms: int | None) -> None:
        await self._pause(20 * self.weather.delay_ms)
        try:
            await self._deliver(origin, peer, octets, wait_ms)
        except UnavailableError:
            return

    async def _deliver(self, origin: str, peer: str, octets: bytes, wait_ms: int | None) -> bytes:
        node = self._nodes[peer]
        if node.engine is None:
            self.faults["peer down"] += 1
            raise await self._silence()
        work = asyncio.ensure_future(call(node.engine, origin, octets, wait_ms))
        node.belongs(work)
        await asyncio.wait({work})
        if work.cancelled():
            self.faults["peer crashed"] += 1
            raise await self._silence()
        return work.result()

    async def _silence(self) -> UnavailableError:
        await asyncio.sleep(TIMEOUT_MS / 1000)
        return UnavailableError(Reason.PEER_UNREACHABLE, "no answer")

    async def _pause(self, longest_ms: int) -> None:
        await asyncio.sleep(self._dice.randrange(longest_ms + 1) / 1000)
