"""How long one case takes, from being filed to its destination's receipt on disk.

Idle: one after the other, nothing else going on. The floor is the sum of what one message cannot
do without, each measured alone in this run: three durable commits (filed, received, settled), two
signatures and two verifications, and one round trip of its octets. Each is taken after a rest, as
it comes to an idle node: processors and disks fall asleep, and waking them is part of the price.
What the same steps cost back to back stands in the settings as `busy_…_ms`, and the quotient over
their sum as `ratio_busy`. Then the same at half of what `exchange` can do, offered evenly.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.exchange import WINDOWS, audit, move
from bench.floor import Disk, key_of, round_trip_ms
from bench.pair import inside, lay_pair, process, reading
from bench.result import Measured, quantile, spread
from bench.workplace import workplace
from node.outgoing import Filed
from signing.suites import Suite

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable, Mapping

    from bench.pair import Pair
    from node.engine import Engine

_POLL_S: Final = 0.001
_TIMES: Final = 200
_REST_S: Final = 0.01  # between two steps of an idle node, about
_ENVELOPE: Final = 2000
_BODY: Final = 1000
_WAITING: Final = "SELECT message_id FROM outbox"


class _Desk:
    """Files cases and waits for their receipts: one look at the outbox for all that wait."""

    def __init__(self, engine: Engine, pair: Pair, store: sqlite3.Connection) -> None:
        self._engine = engine
        self._pair = pair
        self._store = store
        self._waiting: dict[str, asyncio.Event] = {}

    async def one(self, number: int) -> float:
        """File a case and wait for its receipt; milliseconds."""
        began = time.perf_counter()
        filed = await self._engine.file(self._pair.draft(number, self._engine))
        assert isinstance(filed, Filed)  # noqa: S101 -- no idempotency key was given
        settled = self._waiting[filed.message.message_id] = asyncio.Event()
        await settled.wait()
        return (time.perf_counter() - began) * 1000

    async def watch(self) -> None:
        """Tell those whose message has left the outbox; until cancelled."""
        while True:
            await asyncio.sleep(_POLL_S)
            if self._waiting:
                there = {name for (name,) in self._store.execute(_WAITING)}
                for name in self._waiting.keys() - there:
                    self._waiting.pop(name).set()


@asynccontextmanager
async def _desk(pair: Pair, times: int) -> AsyncIterator[_Desk]:
    """The pair at work, warm; audited when so many cases were filed."""
    async with process(pair.receiver), inside(pair.sender) as engine:
        with reading(pair.sender) as store:
            desk = _Desk(engine, pair, store)
            watching = asyncio.create_task(desk.watch())
            for number in range(WINDOWS):
                await desk.one(number)
            yield desk
            watching.cancel()
        trust = engine.context.federation.directory.trust
    audit(pair, WINDOWS + times, trust)


async def _idle(pair: Pair, times: int) -> list[float]:
    async with _desk(pair, times) as desk:
        return [await desk.one(number) for number in range(times)]


async def _under_load(pair: Pair, times: int, rate: float) -> list[float]:
    """Cases offered evenly at this rate a second, whether or not earlier ones are settled."""
    async with _desk(pair, times) as desk:
        began = time.perf_counter()
        offered = []
        for number in range(times):
            await asyncio.sleep(max(0, began + number / rate - time.perf_counter()))
            offered.append(asyncio.create_task(desk.one(number)))
        return list(await asyncio.gather(*offered))


def _alone_ms(work: Callable[[], object], rest_s: float) -> float:
    """The median of a piece of work with nothing around it."""
    taken = []
    for _ in range(_TIMES):
        time.sleep(rest_s)
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


async def _floor_ms(pair: Pair, suite: Suite, rest_s: float) -> dict[str, float]:
    """What one message cannot do without, milliseconds each."""
    key = key_of(suite)
    octets = bytes(_ENVELOPE // 2)
    signature = key.sign(octets)
    with tempfile.TemporaryDirectory(dir=pair.sender.home) as folder:
        disk = Disk(Path(folder) / "floor.db")
        numbers = iter(range(_TIMES))
        row = (bytes(_ENVELOPE), bytes(_BODY), None)

        def commit() -> None:
            disk.insert([(next(numbers).to_bytes(4, "big"), *row)])

        return {
            "commit": _alone_ms(commit, rest_s),
            "sign": _alone_ms(lambda: key.sign(octets), rest_s),
            "verify": _alone_ms(lambda: key.public.verify(octets, signature), rest_s),
            "round_trip": await round_trip_ms(
                pair, suite, bytes(_ENVELOPE + _BODY), _TIMES, rest_s
            ),
        }


def _sum_ms(floor: Mapping[str, float]) -> float:
    """Of one message: filed, received, settled."""
    once = floor["commit"] * 3 + floor["sign"] * 2 + floor["verify"] * 2
    return once + floor["round_trip"]


async def measure(suite: Suite, times: int, folder: Path) -> Measured:
    """Idle against the floor, and half load for the settings."""
    pair = lay_pair(folder / "idle", suite, WINDOWS)
    floor = await _floor_ms(pair, suite, _REST_S)
    busy = await _floor_ms(pair, suite, 0)
    idle = await _idle(pair, times)
    moved = await move(lay_pair(folder / "exchange", suite, WINDOWS), times * 10)
    half = moved.rate / 2
    loaded = await _under_load(lay_pair(folder / "half", suite, WINDOWS), times * 5, half)
    value = statistics.median(idle)
    sum_ms = _sum_ms(floor)
    settings = {
        "suite": suite.value,
        "ratio": "value / floor",
        "times": times,
        "idle_p99_ms": round(quantile(idle, 0.99), 2),
        "half_load_per_s": round(half),
        "half_load_p50_ms": round(quantile(loaded, 0.5), 2),
        "half_load_p99_ms": round(quantile(loaded, 0.99), 2),
        **{f"alone_{name}_ms": round(ms, 3) for name, ms in floor.items()},
        **{f"busy_{name}_ms": round(ms, 3) for name, ms in busy.items()},
        "ratio_busy": round(value / _sum_ms(busy), 2),
    }
    quarters = [statistics.median(idle[at::4]) for at in range(4)]
    return Measured("latency", value, "ms", sum_ms, value / sum_ms, spread(quarters), settings)


def main() -> int:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m bench latency", description=__doc__)
    parser.add_argument("--suite", type=Suite, choices=list(Suite), default=Suite.SM2_SM3)
    parser.add_argument("--times", type=int, default=400)
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    arguments = parser.parse_args()
    with workplace() as folder:
        measured = asyncio.run(measure(arguments.suite, arguments.times, folder))
    print(measured.line() if arguments.json else measured.told())
    return 0
