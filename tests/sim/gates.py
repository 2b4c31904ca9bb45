"""One-way gates between simulated nodes: real folders, and every vice a gate may have.

A gate moves the files of one folder into another, in its own time and under its own names. In bad
weather it loses some, doubles some, leaves some half there, for a while or for good, and lets later
ones overtake. It outlives the crashes of the nodes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from node.carriers.ferry import Ferry, FerryTerms, Folders

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from node.context import NodeContext

    T = TypeVar("T")

ROUND_TRIP_MS = 10_000
MAX_FILE_OCTETS = 66 * 1024


@dataclass(frozen=True, slots=True)
class GateWeather:
    """Probabilities per file, and the longest time it is under way (ms)."""

    lose: float = 0.0
    double: float = 0.0
    cut: float = 0.0
    delay_ms: int = 2_000


CLEAR = GateWeather()
FOUL = GateWeather(lose=0.15, double=0.15, cut=0.15, delay_ms=8_000)


class Gates:
    """All ferried links of a simulation, their folders and what moves between them."""

    def __init__(
        self,
        folder: Path,
        dice: random.Random,
        *links: tuple[str, str],
        round_trip_ms: int = ROUND_TRIP_MS,
    ) -> None:
        self.weather = CLEAR
        self.carried = 0
        self._round_trip_ms = round_trip_ms
        self.faults: Counter[str] = Counter()
        self._folder = folder
        self._dice = dice
        self._links = links
        self._count = 0
        self._tasks: list[asyncio.Task[None]] = []
        for one, other in links:
            for origin, target in ((one, other), (other, one)):
                self.folders(origin, target).out.mkdir(parents=True)
                self.folders(origin, target).into.mkdir(parents=True)

    def folders(self, here: str, peer: str) -> Folders:
        """A node's own two folders of a link."""
        base = self._folder / f"{here}-{peer}"
        return Folders(base / "out", base / "in", durable=False)

    def ferries(self, context: NodeContext) -> dict[str, Ferry]:
        """The carriers of a node."""
        found = {}
        for link in self._links:
            if context.here in link:
                (peer,) = set(link) - {context.here}
                terms = FerryTerms(peer, self._round_trip_ms, MAX_FILE_OCTETS)
                folders = self.folders(context.here, peer)
                found[peer] = Ferry(context, terms, folders, self._inline)
        return found

    async def _inline(self, work: Callable[..., Any], *args: Any) -> Any:
        """File work, with moments before and after it at which a crash may come."""
        await asyncio.sleep(self._dice.random() * 0.002)
        result = work(*args)
        await asyncio.sleep(self._dice.random() * 0.002)
        return result

    def open(self) -> None:
        for one, other in self._links:
            for origin, target in ((one, other), (other, one)):
                self._tasks.append(asyncio.ensure_future(self._serve(origin, target)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _serve(self, origin: str, target: str) -> None:
        source, sink = self.folders(origin, target).out, self.folders(target, origin).into
        moving: set[asyncio.Task[None]] = set()
        try:
            while True:
                await asyncio.sleep(0.3)
                for path in sorted(source.glob("[!.]*")):
                    octets = path.read_bytes()
                    path.unlink()
                    self.carried += 1
                    task = asyncio.ensure_future(self._pass(octets, sink))
                    moving.add(task)
                    task.add_done_callback(moving.discard)
        finally:
            for task in moving:
                task.cancel()

    async def _pass(self, octets: bytes, sink: Path) -> None:
        weather, dice = self.weather, self._dice
        await asyncio.sleep(dice.random() * weather.delay_ms / 1000)
        if dice.random() < weather.lose:
            self.faults["file lost"] += 1
            return
        target = self._fresh(sink)
        if dice.random() < weather.cut:
            self.faults["file cut"] += 1
            target.write_bytes(octets[: dice.randrange(len(octets))])
            await asyncio.sleep(dice.random() * 5)
            if dice.random() < 0.5:
                return
            if not target.exists():
                target = self._fresh(sink)
        target.write_bytes(octets)
        if dice.random() < weather.double:
            self.faults["file doubled"] += 1
            await asyncio.sleep(dice.random() * weather.delay_ms / 1000)
            self._fresh(sink).write_bytes(octets)

    def _fresh(self, sink: Path) -> Path:
        """A name as gates give them: nothing of the old one is left."""
        self._count += 1
        return sink / f"{self._dice.randrange(16**6):06x}{self._count}"
