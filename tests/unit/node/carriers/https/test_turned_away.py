"""A caller that fails in the handshake again and again does not fill the log."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from node.carriers.https.turned_away import TurnedAway
from tests.sim.loop import run_virtual


def told(lines: list[Any]) -> list[tuple[str, int | None]]:
    return [(line["address"], line.get("more")) for line in lines]


def test_the_first_failure_of_an_address_is_told_at_once_and_the_next_are_counted() -> None:
    async def scene() -> None:
        away = TurnedAway()
        for _ in range(1000):
            away.note("192.0.2.1", "no certificate")
        away.note("192.0.2.2", "no certificate")
        assert told(logged) == [("192.0.2.1", None), ("192.0.2.2", None)]
        await asyncio.sleep(61)
        assert told(logged[2:]) == [("192.0.2.1", 999)]
        away.note("192.0.2.1", "no certificate")
        assert told(logged[3:]) == [("192.0.2.1", None)]
        away.note("192.0.2.1", "no certificate")
        away.stop()
        assert told(logged[4:]) == [("192.0.2.1", 1)]

    with structlog.testing.capture_logs() as logged:
        run_virtual(scene())


def test_callers_from_everywhere_share_one_line() -> None:
    async def scene() -> None:
        away = TurnedAway()
        for number in range(5000):
            away.note(f"2001:db8::{number:x}", "no certificate")
        assert len(logged) == 257
        await asyncio.sleep(61)
        assert told(logged[257:]) == [("others", 5000 - 257)]

    with structlog.testing.capture_logs() as logged:
        run_virtual(scene())
