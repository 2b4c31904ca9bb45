"""How long one case takes, from being filed to its destination's receipt on disk.

Idle: one after the other, nothing else going on. The floor is the sum of what one message cannot do
without, each measured alone in this run: three durable commits (filed, received, settled), two
signatures and two verifications, and one round trip of its octets. Then the same at half of what
`exchange` can do, offered evenly.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from typing import TYPE_CHECKING, Final

from bench.exchange import WINDOWS, audit, move
from bench.floor import Disk, key_of, round_trip_ms
from bench.pair import lay_pair, logging_to, process, reading
from bench.result import Measured, quantile, spread
from bench.workplace import workplace
from node.outgoing import Filed
from node.service import running
from signing.suites import Suite

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from bench.pair import Pair
    from node.engine import Engine

_POLL_S: Final = 0.0005
_TIMES: Final = 200
_ENVELOPE: Final = 2000
_BODY: Final = 1000
_SETTLED: Final = """
    SELECT 1 FROM message WHERE message_id = ? AND role = 'out' AND settled_ms IS NOT NULL
"""


async def _one(engine: Engine, pair: Pair, number: int, store: sqlite3.Connection) -> float:
    """File a case and wait for its receipt; milliseconds."""
    began = time.perf_counter()
    filed = await engine.file(pair.draft(number, engine))
    assert isinstance(filed, Filed)  # noqa: S101 -- no idempotency key was given
    key = (filed.message.message_id,)
    while not store.execute(_SETTLED, key).fetchone():  # noqa: ASYNC110 -- looked at from outside
        await asyncio.sleep(_POLL_S)
    return (time.perf_counter() - began) * 1000


async def _idle(pair: Pair, times: int) -> list[float]:
    config = pair.config(pair.sender)
    async with process(pair.receiver), logging_to(pair.sender, config), running(config) as service:
        engine = service.engine
        with reading(pair.sender) as store:
            for number in range(WINDOWS):
                await _one(engine, pair, number, store)
            taken = [await _one(engine, pair, number, store) for number in range(times)]
        trust = engine.context.federation.directory.trust
    audit(pair, WINDOWS + times, trust)
    return taken


async def _under_load(pair: Pair, times: int, rate: float) -> list[float]:
    """Cases offered evenly at this rate a second, whether or not earlier ones are settled."""
    config = pair.config(pair.sender)
    async with process(pair.receiver), logging_to(pair.sender, config), running(config) as service:
        engine = service.engine
        with reading(pair.sender) as store:
            for number in range(WINDOWS):
                await _one(engine, pair, number, store)
            began = time.perf_counter()
            offered = []
            for number in range(times):
                await asyncio.sleep(max(0, began + number / rate - time.perf_counter()))
                offered.append(asyncio.create_task(_one(engine, pair, number, store)))
            taken = list(await asyncio.gather(*offered))
        trust = engine.context.federation.directory.trust
    audit(pair, WINDOWS + times, trust)
    return taken


def _alone_ms(work: Callable[[], object]) -> float:
    """The median of a piece of work with nothing around it."""
    taken = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


async def _floor_ms(pair: Pair, suite: Suite) -> dict[str, float]:
    """What one message cannot do without, milliseconds each."""
    key = key_of(suite)
    octets = bytes(_ENVELOPE // 2)
    signature = key.sign(octets)
    disk = Disk(pair.sender.home / "floor.db")
    numbers = iter(range(_TIMES))
    row = (bytes(_ENVELOPE), bytes(_BODY), None)
    return {
        "commit": _alone_ms(lambda: disk.insert([(next(numbers).to_bytes(4, "big"), *row)])),
        "sign": _alone_ms(lambda: key.sign(octets)),
        "verify": _alone_ms(lambda: key.public.verify(octets, signature)),
        "round_trip": await round_trip_ms(pair, suite, bytes(_ENVELOPE + _BODY), _TIMES),
    }


async def measure(suite: Suite, times: int, folder: Path) -> Measured:
    """Idle against the floor, and half load for the settings."""
    pair = lay_pair(folder / "idle", suite, WINDOWS)
    floor = await _floor_ms(pair, suite)
    idle = await _idle(pair, times)
    moved = await move(lay_pair(folder / "exchange", suite, WINDOWS), times * 10)
    half = moved.rate / 2
    loaded = await _under_load(lay_pair(folder / "half", suite, WINDOWS), times * 5, half)
    value = statistics.median(idle)
    sum_ms = 3 * floor["commit"] + 2 * floor["sign"] + 2 * floor["verify"] + floor["round_trip"]
    settings = {
        "suite": suite.value,
        "ratio": "value / floor",
        "times": times,
        "idle_p99_ms": round(quantile(idle, 0.99), 2),
        "half_load_per_s": round(half),
        "half_load_p50_ms": round(quantile(loaded, 0.5), 2),
        "half_load_p99_ms": round(quantile(loaded, 0.99), 2),
        **{f"alone_{name}_ms": round(ms, 3) for name, ms in floor.items()},
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
