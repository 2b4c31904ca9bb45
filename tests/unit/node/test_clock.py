from __future__ import annotations

import asyncio
import time

from node.clock import SystemClock, SystemEntropy


def test_the_clock_shows_milliseconds_since_1970() -> None:
    before, now_ms, after = time.time(), SystemClock().now_ms(), time.time()
    assert int(before * 1000) <= now_ms <= after * 1000


def test_sleep_is_at_least_as_long_as_asked_and_never_fails_on_the_past() -> None:
    async def sleeps() -> float:
        clock = SystemClock()
        await clock.sleep_ms(-5)
        start = time.monotonic()
        await clock.sleep_ms(5)
        return time.monotonic() - start

    assert asyncio.run(sleeps()) >= 0.005


def test_entropy_is_of_the_length_asked_and_new_each_time() -> None:
    entropy = SystemEntropy()
    assert entropy.octets(0) == b""
    assert len({entropy.octets(16) for _ in range(100)}) == 100
