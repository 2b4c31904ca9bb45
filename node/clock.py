"""The world's clock and randomness, as production uses them: the ports `Clock` and `Entropy`."""

from __future__ import annotations

import asyncio
import os
import time
from threading import Lock
from typing import Final

_NS_PER_MS: Final = 1_000_000
_MS_PER_S: Final = 1000
_PAGE: Final = 4096


class SystemClock:
    """The machine's wall clock. It may be set back, so nobody takes two readings for an order."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        return time.time_ns() // _NS_PER_MS

    async def sleep_ms(self, duration_ms: int) -> None:
        """Return after at least this long; at once, but yielding, if that is not positive."""
        await asyncio.sleep(max(0, duration_ms) / _MS_PER_S)


class SystemEntropy:
    """The kernel's random number generator, asked for a page at a time; never handed out twice.

    Each question lets go of the interpreter's lock, and may wait long to get it back.
    """

    def __init__(self) -> None:
        self._page = b""
        self._lock = Lock()

    def octets(self, count: int) -> bytes:
        """This many unpredictable octets."""
        with self._lock:
            if count > len(self._page):
                self._page = os.urandom(max(_PAGE, count))
            drawn, self._page = self._page[:count], self._page[count:]
            return drawn
