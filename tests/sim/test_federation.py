"""The promise, in bad weather: nothing lost, nothing twice, both ends of a case the same.

Production engines and production SQL in virtual time. Posts are dropped, answered into the void,
repeated late, cut short; nodes crash with whatever was not committed. When the weather clears,
every case a clerk was promised is finished, and the stores agree message by message. A failure
names its carriers and seed: ``pytest tests/sim -k push-seed-17`` runs it again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.sim.agents import Clerk, Officer
from tests.sim.audit import Findings, audit
from tests.sim.federation import EZHOU, HUB, HUNAN, RULES, WUHAN, XIANGYANG, YUEYANG, make_sample
from tests.sim.gates import CLEAR, FOUL, Gates
from tests.sim.little import LIMITS
from tests.sim.loop import run_virtual
from tests.sim.tally import TALLY
from tests.sim.weather import FAIR, STORM, Network
from tests.sim.world import SimNode

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sim.federation import Sample

SAMPLES = {
    "push": make_sample(),
    # Nobody can dial a window node; each calls its hub and its neighbours that can be dialled.
    "pull": make_sample(WUHAN, XIANGYANG, YUEYANG),
    # Two of them lie behind gates: files are the only way in and out. The third one calls.
    "ferry": make_sample(XIANGYANG, YUEYANG, WUHAN),
}
FERRIED = ((HUB, XIANGYANG), (HUNAN, YUEYANG))
SEEDS = {"push": 20, "pull": 4, "ferry": 4}
STORMS = [
    pytest.param(carriers, seed, id=f"{carriers}-seed-{seed}")
    for carriers, count in SEEDS.items()
    for seed in range(int(os.environ.get("TONGBAN_SIM_SEEDS", count)))
]
WINDOWS = (WUHAN, XIANGYANG, YUEYANG)
HANDLERS = (EZHOU, XIANGYANG, YUEYANG, WUHAN)
CASES = 12
STORM_S, CALM_S = 240, 3600


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A storm would fill the log; other tests read theirs."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


async def live_through(
    seed: int, carriers: str, folder: Path
) -> tuple[Findings, Counter[str], int]:
    """One federation, one storm, one calm; what the checker finds, the faults, the crashes."""
    dice, sample = random.Random(seed), SAMPLES[carriers]
    gates = Gates(folder, dice, *(FERRIED if carriers == "ferry" else ()))
    nodes: dict[str, SimNode] = {}
    network = Network(dice, nodes)
    for node_id in (HUB, WUHAN, XIANGYANG, EZHOU, HUNAN, YUEYANG):
        skew_ms = dice.randrange(-120_000, 120_000)
        nodes[node_id] = SimNode(
            *(node_id, folder, sample.keyrings[node_id], RULES, sample.federation, dice),
            skew_ms=skew_ms,
            parts=LIMITS,
            gates=gates,
        )
        nodes[node_id].start(network)
    clerks = {node_id: Clerk(nodes[node_id], dice) for node_id in WINDOWS}
    people = [asyncio.ensure_future(Officer(node, dice).run()) for node in nodes.values()]
    filing = [
        asyncio.ensure_future(
            clerks[dice.choice(WINDOWS)].file(sample.implementation(handler), handler, number)
        )
        for number, handler in enumerate(dice.choice(HANDLERS) for _ in range(CASES))
    ]
    gates.open()
    network.weather, gates.weather = STORM, FOUL
    crashing = asyncio.ensure_future(crash_at_random(list(nodes.values()), network, dice))
    await asyncio.sleep(STORM_S)
    crashing.cancel()
    await asyncio.gather(crashing, return_exceptions=True)
    network.weather, gates.weather = FAIR, CLEAR
    for node in nodes.values():
        if node.engine is None:
            node.start(network)
    await asyncio.gather(*filing)
    promised = [filed.case_id or "" for clerk in clerks.values() for filed in clerk.filed]
    findings = await settle(nodes, sample, promised)
    for task in people:
        task.cancel()
    results = await asyncio.gather(*people, return_exceptions=True)
    crashes = sum(node.crashes for node in nodes.values())
    for node in nodes.values():
        await node.crash()
    await gates.close()
    for result in results:
        assert isinstance(result, asyncio.CancelledError), result
    return findings, network.faults + gates.faults, crashes


async def settle(nodes: dict[str, SimNode], sample: Sample, promised: list[str]) -> Findings:
    """Wait in fair weather until the checker is content, or time is up."""
    findings = Findings()
    for _ in range(CALM_S // 60):
        await asyncio.sleep(60)
        findings = await audit(nodes, sample.directory.trust, promised)
        if findings.clean and findings.terminal == len(promised):
            break
    return findings


async def crash_at_random(nodes: list[SimNode], network: Network, dice: random.Random) -> None:
    while True:
        await asyncio.sleep(dice.random() * 30)
        node = dice.choice(nodes)
        if node.engine is None:
            node.start(network)
        else:
            await node.crash()


@pytest.mark.spec("EX-3", "EX-4", "EX-8", "EX-30")
@pytest.mark.parametrize(("carriers", "seed"), STORMS)
def test_nothing_is_lost_and_nothing_comes_twice(seed: int, carriers: str, tmp_path: Path) -> None:
    findings, faults, crashes = run_virtual(live_through(seed, carriers, tmp_path))
    TALLY.update(
        seeds=1,
        cases=findings.cases,
        messages=findings.messages,
        large=findings.large,
        batched=findings.batched,
        crashes=crashes,
        faults=faults.total(),
        lost=len(findings.lost),
        doubled=len(findings.doubled),
        split=len(findings.split),
    )
    assert findings.clean, f"{carriers}, seed {seed}: {findings}"
    assert (findings.cases, findings.terminal) == (CASES, CASES), (
        f"{carriers}, seed {seed}: {findings}"
    )
    # A storm that never blew would prove nothing.
    assert faults.total() > 0
    assert crashes > 0
