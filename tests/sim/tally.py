"""What the simulated storms came to, for the last lines of the test run."""

from __future__ import annotations

from collections import Counter
from typing import Final

TALLY: Final[Counter[str]] = Counter()
COUNTED: Final = (
    "seeds",
    "cases",
    "messages",
    "large",
    "batched",
    "crashes",
    "faults",
    "lost",
    "doubled",
    "split",
    "leaves",
    "heads held",
)

RESTORES: Final[Counter[str]] = Counter()
"""What nodes that were put back to an old backup came to."""
