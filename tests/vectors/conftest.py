"""Say at the end of the run how many vectors held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.vectors.tally import TALLY

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY.total():
        terminalreporter.write_line(
            f"vectors: {TALLY['valid']} valid, {TALLY['refused']} refused,"
            f" {TALLY['before']} of them before any cryptography"
        )
