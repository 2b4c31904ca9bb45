"""Nodes are put back to an old backup in a storm, and nothing that others saw is lost.

A store, or a whole home, is that of a minute ago; meanwhile the node sent, received, forwarded and
signed. At the end every message is where it belongs, both ends hold the same one receipt for it,
every receipt is in its issuer's log, no number was given twice, every case looks the same at both
ends. Only what never left the node is gone: no peer can give it back.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from node.recovery.gate import Recovery
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG, YUEYANG
from tests.sim.loop import run_virtual
from tests.sim.restores import CASES, Story, World
from tests.sim.tally import RESTORES
from tests.sim.test_federation import quiet

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["quiet"]

STORIES = {
    "window": Story((WUHAN,)),
    "handler-killed": Story((XIANGYANG,), killed=4),
    "hub-whole-killed": Story((HUB,), whole=True, killed=2),
    "two-at-once": Story((WUHAN, XIANGYANG)),
    "peer-away": Story((EZHOU,), away=(WUHAN,)),
    "rekeyed": Story((XIANGYANG,), rekeyed=True),
    "called": Story((HUB,), carriers="pull"),
    "calling": Story((YUEYANG,), carriers="pull"),
    "ferried": Story((XIANGYANG,), carriers="ferry"),
}
SEEDS = int(os.environ.get("TONGBAN_SIM_SEEDS", "1"))


@pytest.mark.spec("RV-1", "RV-3", "RV-5", "RV-6", "RV-8", "RV-12")
@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_node_comes_back_from_an_old_backup(name: str, seed: int, tmp_path: Path) -> None:
    story = STORIES[name]
    told = run_virtual(World(seed, story, tmp_path).live())
    found = told.findings
    RESTORES.update(
        {
            "restores": len(story.victims),
            "cases": found.cases,
            "messages": found.messages,
            "rows lost": len(told.lost),
            "rows brought back": len(told.back),
            "known to nobody else": len(told.lost - told.kept),
            "lost": len(found.lost),
            "doubled": len(found.doubled),
            "split": len(found.split),
            "unlogged": len(found.unlogged),
        }
    )
    assert found.clean, f"{name}, seed {seed}: {found}"
    assert found.cases >= CASES - len(told.gone)
    # A backup that lacked nothing would prove nothing.
    assert told.kept & told.back


@pytest.mark.spec("RV-14")
def test_what_a_gate_still_holds_of_before_makes_no_difference(tmp_path: Path) -> None:
    """With this seed receipts of before the loss are under way when the recall is answered."""
    told = run_virtual(World(4, STORIES["ferried"], tmp_path).live())
    assert told.findings.clean, told.findings


async def nothing(*_args: object, **_options: object) -> None:
    """What a node without recovery does about it."""


def test_a_node_that_works_on_from_an_old_backup_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recovery, "prepare", nothing)
    monkeypatch.setattr(Recovery, "lost", nothing)
    monkeypatch.setattr("tests.sim.restores.CALM_S", 120)
    findings = run_virtual(World(0, Story((WUHAN,)), tmp_path).live()).findings
    assert findings.lost
    assert findings.split
    assert any("does not know" in each for each in findings.doubled)
