"""The world's clock and randomness, as production uses them: the ports `Clock` and `Entropy`."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Final

_NS_PER_MS: Final = 1_000_000
_MS_PER_S: Final = 1000


class SystemClock:
    """The machine's wall clock. It may be set back, so nobody takes two readings for an order."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        return time.time_ns() // _NS_PER_MS

    async def sleep_ms(self, duration_ms: int) -> None:
        """Return after at least this long; at once, but yielding, if that is not positive."""
        await asyncio.sleep(max(0, duration_ms) / _MS_PER_S)


class SystemEntropy:
    """The kernel's random number generator."""

    def octets(self, count: int) -> bytes:
        """This many unpredictable octets."""
        return os.urandom(count)
