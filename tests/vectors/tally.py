"""How many vectors were run, for the last lines of the test run."""

from __future__ import annotations

from collections import Counter
from typing import Final

TALLY: Final[Counter[str]] = Counter()
