"""What a peer's octets may cost this node: public-key operations, so many and no more.

Every signature a peer presents has to be verified before anybody can tell whether it is one, and to
make it up costs the peer nothing. So each peer has a bucket of operations that fills at a steady
rate: a batch whose root verified before takes none, anything else one (BP-6). What finds the bucket
empty is not decided: it is answered `busy`, stays with the peer and loses nothing.

The rate is far above what an honest peer needs, because messages that wait are signed in batches.
"""

from __future__ import annotations

from threading import Lock
from typing import Final

from protocol.errors import UnavailableError
from protocol.reasons import Reason
from signing.batch import Checking, VerifiedRoots

CHECKS_PER_S: Final = 2_000
"""Public-key operations for one peer: half a core with SM2."""

BURST: Final = 4_096
"""Sixteen full posts of messages that were all signed alone, as a backlog of an idle node is."""


class Bucket:
    """So many at once, and so many a second. May be used from several threads."""

    def __init__(self, per_s: int, burst: int) -> None:
        """Begin full."""
        self._per_s = per_s
        self._burst = burst
        self._left: float = burst
        self._filled_ms: int | None = None
        self._lock = Lock()

    def fill(self, now_ms: int) -> None:
        """Add what has come together since the last time; nothing when a clock was set back."""
        with self._lock:
            if self._filled_ms is not None:
                passed_ms = max(0, now_ms - self._filled_ms)
                self._left = min(self._burst, self._left + passed_ms * self._per_s / 1000)
            self._filled_ms = now_ms

    def take(self) -> bool:
        """Take one; False if there is none."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True


class Effort:
    """The buckets of all peers, and the batches that verified. Peers are known by the directory."""

    def __init__(self, per_s: int = CHECKS_PER_S, burst: int = BURST) -> None:
        """Begin with nothing verified and every bucket full."""
        self._per_s = per_s
        self._burst = burst
        self._roots = VerifiedRoots()
        self._buckets: dict[str, Bucket] = {}

    def checking(self, peer: str, now_ms: int) -> Checking:
        """What checking the octets of this peer may use, now."""
        bucket = self._buckets.get(peer)
        if bucket is None:
            bucket = self._buckets[peer] = Bucket(self._per_s, self._burst)
        bucket.fill(now_ms)

        def charge() -> None:
            if not bucket.take():
                detail = f"{peer} presents more signatures than are checked for one peer"
                raise UnavailableError(Reason.OVERLOADED, detail)

        return Checking(self._roots, charge)
