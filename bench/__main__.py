"""``python -m bench NAME [--json] …``: run one measurement.

exchange    cases from one node process to another, receipts settled
latency     one case at a time, and at half of what the exchange can do
materials   one file of 1 GiB
proof       an inclusion proof from ten million leaves
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

MODULES: Final = {
    "exchange": "bench.exchange",
    "latency": "bench.latency",
    "materials": "bench.materials",
    "proof": "bench.proof",
}


def main() -> int:
    """Hand the arguments to the measurement that was named."""
    if len(sys.argv) < 2 or sys.argv[1] not in MODULES:  # noqa: PLR2004 -- program, name
        print(__doc__, file=sys.stderr)
        return 2
    name = sys.argv.pop(1)
    measure = import_module(MODULES[name]).main
    return int(measure())


if __name__ == "__main__":
    sys.exit(main())
