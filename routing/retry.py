"""When to try again: one timetable per purpose, as a pure function (exponential, full jitter, cap).

Full jitter spreads the senders that lost the same peer; the cap keeps a returned peer from waiting
long. Sending a message is bounded by its own `Expires`; after that it is only asked about, a few
times a day at most, until its destination says what became of it: nobody else may end it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.errors import LocalUseError


@dataclass(frozen=True, slots=True)
class Timetable:
    """Delays in milliseconds: never below `floor_ms`, never above `cap_ms`."""

    base_ms: int
    cap_ms: int
    floor_ms: int

    def delay_ms(self, attempts: int, jitter: float) -> int:
        """The delay before the next attempt.

        Args:
            attempts: How many were made, from 1.
            jitter: Uniform in [0, 1).

        Raises:
            LocalUseError: no attempt yet, or jitter outside its range.
        """
        if attempts < 1 or not 0 <= jitter < 1:
            message = f"attempts {attempts}, jitter {jitter}"
            raise LocalUseError(message)
        # The exponent is clipped: 2**60 milliseconds is past every cap, and integers stay small.
        ceiling = min(self.cap_ms, self.base_ms << min(attempts - 1, 40))
        return max(self.floor_ms, int(ceiling * jitter))


DELIVERY: Final = Timetable(base_ms=500, cap_ms=5 * 60_000, floor_ms=100)
"""A message its peer answered with busy or waiting."""

PROBE: Final = Timetable(base_ms=500, cap_ms=5_000, floor_ms=250)
"""A peer that does not answer: a probe is an empty post, so a returned peer is noticed within
seconds."""

ASK: Final = Timetable(base_ms=30_000, cap_ms=6 * 3600_000, floor_ms=5_000)
"""A message in a forwarder's custody, or in doubt: what became of it?"""

LEASE: Final = Timetable(base_ms=60_000, cap_ms=10 * 60_000, floor_ms=60_000)
"""What was handed out in the answer to a peer's call. Its next call says what became of it; this is
for a peer that does not call again, and long enough for 8 MiB over a slow line."""

LONGEST_MS: Final = max(DELIVERY.cap_ms, PROBE.cap_ms, ASK.cap_ms, LEASE.cap_ms)
"""No due time is further ahead than this: one that is was set by a clock that was wrong."""
