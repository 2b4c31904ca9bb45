"""What a measurement comes to, and the one form it is printed in."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class AuditError(Exception):
    """What was measured did not happen: the number is worth nothing."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement.

    Attributes:
        name: What was measured.
        value: The median of the runs.
        unit: Of value and floor.
        floor: What the same work costs with nothing around it, measured in the same run.
        ratio: How near to the floor: value/floor where more is better, floor/value where less is;
            `settings.ratio` says if it is another quotient.
        spread: Largest less smallest of the runs, over their median.
        settings: What was measured under which conditions.
    """

    name: str
    value: float
    unit: str
    floor: float
    ratio: float
    spread: float
    settings: Mapping[str, object] = field(default_factory=dict)

    def line(self) -> str:
        """One JSON object, on one line."""
        rounded = {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }
        return json.dumps(rounded, ensure_ascii=False)

    def told(self) -> str:
        """The same for people."""
        return (
            f"{self.name}: {self.value:,.1f} {self.unit}   floor {self.floor:,.1f}"
            f"   ratio {self.ratio:.2f}   spread {self.spread:.0%}   {dict(self.settings)}"
        )


def spread(values: Sequence[float]) -> float:
    """Largest less smallest, over the median; 0 for a single run."""
    return (max(values) - min(values)) / statistics.median(values)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
