"""An event loop in virtual time: nothing waits for the wall clock, and a run repeats exactly.

The selector sleeps by moving the clock. When nothing is ready and nothing is scheduled, the
simulated world has come to rest for good, which is an error in a test that still waits for
something.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

START_MS = 1_795_320_000_000  # 2026-11-22T04:00:00.000Z


class DeadWorldError(AssertionError):
    """Somebody waits for something that can no longer happen."""


class _Sleeper(selectors.BaseSelector):
    """Instead of waiting for files, move the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = selectors.SelectorKey(fileobj, descriptor, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            message = "nothing is ready and nothing is scheduled"
            raise DeadWorldError(message)
        self.now += max(timeout, 0.0)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop with another clock."""

    def __init__(self) -> None:
        self._sleeper = _Sleeper()
        super().__init__(self._sleeper)

    def time(self) -> float:
        return self._sleeper.now

    def now_ms(self) -> int:
        return START_MS + round(self._sleeper.now * 1000)


def run_virtual(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a fresh virtual world."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
