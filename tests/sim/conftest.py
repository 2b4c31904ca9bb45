"""Say at the end of the run what the simulation saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.tally import COUNTED, RESTORES, TALLY

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY["seeds"]:
        counts = ", ".join(f"{name} {TALLY[name]}" for name in COUNTED)
        terminalreporter.write_line(f"simulation: {counts}")
    if RESTORES["restores"]:
        counts = ", ".join(f"{name} {count}" for name, count in RESTORES.items())
        terminalreporter.write_line(f"put back to old backups: {counts}")
