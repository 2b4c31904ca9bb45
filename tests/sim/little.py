"""Large parts that are small: bounds a thousandth of the real ones, and octets to fill them."""

from __future__ import annotations

import random
from typing import Final

from node.parts.limits import PartLimits

KIB: Final = 1024
LIMITS: Final = PartLimits(
    inline=2 * KIB,
    part=64 * KIB,
    large=96 * KIB,
    piece=KIB,
    post=8 * KIB,
    peer_parts=8,
    peer_octets=96 * KIB,
    octets=256 * KIB,
    ahead=64 * KIB,
    early=16 * KIB,
    mismatches=3,
    rest_ms=600_000,
    idle_ms=24 * 3600_000,
    forwarded_ms=7 * 24 * 3600_000,
)


def scan(size: int, seed: int = 0) -> bytes:
    """Octets that no two offsets share."""
    return random.Random(f"{size} {seed}").randbytes(size)
