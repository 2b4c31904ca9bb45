"""A node is put back to an old backup in a storm, and nothing that others saw is lost.

Its store, or its whole home, is that of a minute or two ago; meanwhile it sent, received, forwarded
and signed. At the end every message is where it belongs, every receipt verifies and is in its
issuer's log, every case looks the same at both ends. Only what never left the node is gone: no peer
can give it back.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from node.recovery.gate import CHECK_MS, Recovery
from node.store.queries import Role
from tests.sim.agents import Clerk, Officer
from tests.sim.audit import Findings, audit, read_holdings
from tests.sim.federation import EZHOU, HUB, HUNAN, RULES, WUHAN, XIANGYANG, YUEYANG
from tests.sim.gates import CLEAR, FOUL, Gates
from tests.sim.little import LIMITS
from tests.sim.loop import run_virtual
from tests.sim.test_federation import (
    CASES,
    FERRIED,
    HANDLERS,
    SAMPLES,
    WINDOWS,
    crash_at_random,
    quiet,
)
from tests.sim.weather import FAIR, Network, Weather
from tests.sim.world import SimNode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sim.federation import Sample

__all__ = ["quiet"]

BACKED_UP_S, RESTORED_S, STORM_S, CALM_S = 50, 110, 240, 2400
BREEZE = Weather(drop_request=0.05, drop_answer=0.05, duplicate=0.1, truncate=0.01, delay_ms=300)
"""Rough, and yet so that much is said between the backup and the loss."""


@dataclass(slots=True)
class Story:
    """What is done to whom.

    Attributes:
        victim: The node that is put back.
        carriers: As in `tests.sim.test_federation`.
        whole: Its home goes back, not only its store, and its operator says so.
        killed: How often it is killed while it recovers.
        away: Its peers that are down when it begins to recover, for two minutes.
    """

    victim: str
    carriers: str = "push"
    whole: bool = False
    killed: int = 0
    away: tuple[str, ...] = ()
    gone: set[str] = field(default_factory=set)


STORIES = {
    "window": Story(WUHAN),
    "handler-killed": Story(XIANGYANG, killed=3),
    "hub-whole-killed": Story(HUB, whole=True, killed=2),
    "peer-away": Story(EZHOU, away=(WUHAN,)),
    "called": Story(HUB, carriers="pull"),
    "calling": Story(YUEYANG, carriers="pull"),
    "ferried": Story(XIANGYANG, carriers="ferry"),
}


async def live_through(seed: int, story: Story, folder: Path) -> Findings:
    dice, sample = random.Random(seed), SAMPLES[story.carriers]
    gates = Gates(folder, dice, *(FERRIED if story.carriers == "ferry" else ()))
    nodes: dict[str, SimNode] = {}
    network = Network(dice, nodes)
    for node_id in (HUB, WUHAN, XIANGYANG, EZHOU, HUNAN, YUEYANG):
        nodes[node_id] = SimNode(
            *(node_id, folder, sample.keyrings[node_id], RULES, sample.federation, dice),
            skew_ms=dice.randrange(-120_000, 120_000),
            parts=LIMITS,
            gates=gates,
            check_ms=CHECK_MS,
        )
        nodes[node_id].start(network)
    clerks = {node_id: Clerk(nodes[node_id], dice) for node_id in WINDOWS}
    people = [asyncio.ensure_future(Officer(node, dice).run()) for node in nodes.values()]
    filing = [
        asyncio.ensure_future(clerks[window].file(sample.implementation(handler), handler, number))
        for number, (window, handler) in enumerate(errands(story.victim, dice))
    ]
    gates.open()
    network.weather, gates.weather = BREEZE, FOUL
    victim = nodes[story.victim]
    others = [node for node in nodes.values() if node is not victim]
    crashing = asyncio.ensure_future(crash_at_random(others, network, dice))
    await asyncio.sleep(BACKED_UP_S)
    backup = victim.back_up()
    await asyncio.sleep(RESTORED_S - BACKED_UP_S)
    await victim.crash()
    for peer in story.away:
        if nodes[peer].engine is not None:
            await nodes[peer].crash()
    crashing.cancel()
    story.gone = await unseen(victim, others, network)
    victim.restore(backup, whole=story.whole)
    await restart(victim, network, dice, story)
    await asyncio.sleep(STORM_S - RESTORED_S)
    network.weather, gates.weather = FAIR, CLEAR
    for node in nodes.values():
        if node.engine is None:
            node.start(network)
    await asyncio.gather(*filing)
    promised = [filed.case_id or "" for clerk in clerks.values() for filed in clerk.filed]
    findings = await settle(nodes, sample, promised, story)
    for task in people:
        task.cancel()
    results = await asyncio.gather(*people, return_exceptions=True)
    for node in nodes.values():
        await node.crash()
    await gates.close()
    for result in results:
        assert isinstance(result, asyncio.CancelledError), result
    return findings


def errands(victim: str, dice: random.Random) -> Iterator[tuple[str, str]]:
    """Who files where: two of three cases have to do with the node that is put back."""
    for number in range(CASES):
        window, handler = dice.choice(WINDOWS), dice.choice(HANDLERS)
        if number % 3 == 1 and victim in WINDOWS:
            window = victim
        elif number % 3 == 2 and victim in HANDLERS:
            handler = victim
        elif number % 3:
            # Only a hub lies between these two.
            window, handler = WUHAN, XIANGYANG if dice.random() < 0.5 else YUEYANG
        yield window, handler


async def restart(victim: SimNode, network: Network, dice: random.Random, story: Story) -> None:
    # Who puts a whole home back says so: peers may not have been shown what it signed last.
    victim.start(network, recover=story.whole)
    for _ in range(story.killed):
        await asyncio.sleep(1 + dice.random() * 4)
        await victim.crash()
        victim.start(network)


async def unseen(victim: SimNode, others: list[SimNode], network: Network) -> set[str]:
    """The cases of which nobody but this node ever knew: nobody can give them back."""
    victim_alone, seen = await rows_of(victim, network), set()
    for node in others:
        seen |= await rows_of(node, network)
    return {case_id for case_id in victim_alone - seen if case_id is not None}


async def rows_of(node: SimNode, network: Network) -> set[str | None]:
    down = node.engine is None
    if down:
        node.start(network)
    holdings = await node.read(read_holdings)
    if down:
        await node.crash()
    return {row.case_id for row in holdings.messages if row.role in (Role.OUT, Role.IN, "transit")}


async def settle(
    nodes: dict[str, SimNode], sample: Sample, promised: list[str], story: Story
) -> Findings:
    findings = Findings()
    for _ in range(CALM_S // 60):
        await asyncio.sleep(60)
        findings = await audit(nodes, sample.directory.trust, promised)
        forgive(findings, story)
        findings.doubled += await contradictions(nodes)
        if findings.clean:
            break
    return findings


async def contradictions(nodes: dict[str, SimNode]) -> list[str]:
    """What the audit of what is held does not see: numbers given twice, and senders that forgot."""
    held = {node_id: await node.read(read_holdings) for node_id, node in nodes.items()}
    sent = {
        (row.authority, row.message_id)
        for holdings in held.values()
        for row in holdings.messages
        if row.role == Role.OUT
    }
    arrived = {
        (row.authority, row.message_id): row
        for holdings in held.values()
        for row in holdings.messages
        if row.role == Role.IN
    }
    numbers = Counter((row.authority, row.case_id, row.sequence) for row in arrived.values())
    return [
        *(f"{number} given {times} times" for number, times in numbers.items() if times > 1),
        *(f"{row.from_node} does not know its {row.kind} {row.message_id}"
          for name, row in arrived.items() if name not in sent),
    ]  # fmt: skip


def forgive(findings: Findings, story: Story) -> None:
    """What nobody else knew of is lost; that the node noticed it by a peer's head is no fault."""
    gone = {f"case {case_id} was promised" for case_id in story.gone}
    findings.lost = [each for each in findings.lost if each not in gone]
    noticed = f"{story.victim}: alarm {story.victim} lost"
    findings.unlogged = [each for each in findings.unlogged if each != noticed]


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("seed", range(1))
def test_a_node_comes_back_from_an_old_backup(name: str, seed: int, tmp_path: Path) -> None:
    findings = run_virtual(live_through(seed, STORIES[name], tmp_path))
    assert findings.clean, f"{name}, seed {seed}: {findings}"
    assert findings.cases >= CASES - len(STORIES[name].gone)


async def nothing(*_args: object, **_options: object) -> None:
    """What a node without recovery does about it."""


def test_a_node_that_works_on_from_an_old_backup_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recovery, "prepare", nothing)
    monkeypatch.setattr(Recovery, "lost", nothing)
    monkeypatch.setattr("tests.sim.test_recovery.CALM_S", 120)
    findings = run_virtual(live_through(0, Story(WUHAN), tmp_path))
    assert findings.lost
    assert findings.split
    assert any("does not know" in each for each in findings.doubled)
