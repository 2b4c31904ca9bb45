from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from node.logs import LINES, WINDOW_S, Damper

if TYPE_CHECKING:
    import pytest


@dataclass
class Log:
    """What passes, at the time the test says."""

    now_s: float = 0.0
    lines: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.damper = Damper(lambda: self.now_s)

    def say(self, event: str, **values: str) -> None:
        try:
            self.lines.append(dict(self.damper(None, "warning", {"event": event, **values})))
        except structlog.DropEvent:
            return


def test_a_peer_cannot_fill_the_disk_with_lines_about_it() -> None:
    log = Log()
    for number in range(10_000):
        log.say("refused", peer="420600", reason=str(number))
    assert len(log.lines) == LINES
    log.now_s += WINDOW_S
    log.say("refused", peer="420600", reason="again")
    assert log.lines[-1]["withheld"] == 10_000 - LINES
    log.say("refused", peer="420600", reason="again")
    assert "withheld" not in log.lines[-1]


def test_what_one_peer_does_hides_no_other_event_and_no_other_peer() -> None:
    log = Log()
    for _ in range(10_000):
        log.say("refused", peer="420600")
    log.say("refused", peer="420100")
    log.say("not now", peer="420600")
    log.say("store is behind: recovering")
    assert len(log.lines) == LINES + 3


def test_the_counts_themselves_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.logs._KINDS", 10)
    log = Log()
    for number in range(1_000):
        log.say(f"event {number}")
    assert len(log.lines) == 1_000
    assert len(log.damper._counts) <= 10
