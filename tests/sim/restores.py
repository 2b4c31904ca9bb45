"""Nodes that are put back to an old backup in a storm: the world of `tests.sim.test_recovery`."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from node.context import Federation
from node.recovery.gate import CHECK_MS
from node.store.queries import Role
from routing.directory import Directory
from signing.keys import KeyUse
from tests.sim.agents import Clerk, Officer
from tests.sim.audit import Findings, Holdings, audit, read_holdings
from tests.sim.federation import (
    EZHOU,
    FAR_MS,
    HUB,
    HUNAN,
    RULES,
    WUHAN,
    XIANGYANG,
    YUEYANG,
    make_sample,
)
from tests.sim.gates import CLEAR, FOUL, Gates
from tests.sim.little import LIMITS
from tests.sim.loop import START_MS
from tests.sim.test_federation import FERRIED, HANDLERS, SAMPLES, WINDOWS
from tests.sim.weather import FAIR, Network, Weather
from tests.sim.world import SimNode
from tests.unit.routing.provinces import FOREVER_MS, ISSUED_MS, opened, uscc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from routing.directory_document import KeyEntry
    from tests.sim.federation import Sample
    from tests.sim.world import Backup

NODES: Final = (HUB, WUHAN, XIANGYANG, EZHOU, HUNAN, YUEYANG)
BACKED_UP_S, RESTORED_S, STORM_S, CALM_S = 60, 130, 210, 2400
REKEYED_S, OVERLAP_S = 80, 130
CASES: Final = 10
BREEZE = Weather(drop_request=0.05, drop_answer=0.05, duplicate=0.1, truncate=0.01, delay_ms=300)
"""Rough, and yet so that much is said between the backup and the loss."""


@dataclass(frozen=True, slots=True)
class Story:
    """What is done to whom.

    Attributes:
        victims: The nodes that are put back, all at once.
        carriers: As in `tests.sim.test_federation`.
        whole: Their homes go back, not only their stores, and their operators say so.
        killed: How often they are killed while they recover.
        away: Peers that are down when they begin to recover, for a minute and a half.
        rekeyed: They have new keys since the backup.
    """

    victims: tuple[str, ...]
    carriers: str = "push"
    whole: bool = False
    killed: int = 0
    away: tuple[str, ...] = ()
    rekeyed: bool = False


@dataclass(slots=True)
class Told:
    """How a story ended.

    Attributes:
        findings: What the audit says, beside what nobody else knew of.
        gone: Cases that nobody but the victims knew of when they were put back.
        lost: Messages their stores had before they were put back, and not after.
        back: Of those, which they have again.
        kept: Of those, which some other node had.
    """

    findings: Findings = field(default_factory=Findings)
    gone: set[str] = field(default_factory=set)
    lost: set[Name] = field(default_factory=set)
    back: set[Name] = field(default_factory=set)
    kept: set[Name] = field(default_factory=set)


Name = tuple[str, str, str]
"""A message at a node: the node, From.authority, message id."""


class World:
    """One federation, one seed."""

    def __init__(self, seed: int, story: Story, folder: Path) -> None:
        self.dice = random.Random(seed)
        self.story = story
        sample = make_sample() if story.rekeyed else SAMPLES[story.carriers]
        self.sample: Sample = sample
        self.directory = sample.directory
        self.gates = Gates(folder, self.dice, *(FERRIED if story.carriers == "ferry" else ()))
        self.nodes: dict[str, SimNode] = {}
        self.network = Network(self.dice, self.nodes)
        for node_id in NODES:
            self.nodes[node_id] = SimNode(
                *(node_id, folder, sample.keyrings[node_id], RULES, sample.federation, self.dice),
                skew_ms=self.dice.randrange(-120_000, 120_000),
                parts=LIMITS,
                gates=self.gates,
                check_ms=CHECK_MS,
            )
        self.victims = [self.nodes[name] for name in story.victims]
        self.others = [node for name, node in self.nodes.items() if name not in story.victims]

    # what happens

    async def live(self) -> Told:
        """The whole story."""
        self._start_all()
        clerks = {node_id: Clerk(self.nodes[node_id], self.dice) for node_id in WINDOWS}
        people = [Officer(node, self.dice).run() for node in self.nodes.values()]
        working = [asyncio.ensure_future(person) for person in people]
        filing = [
            asyncio.ensure_future(
                clerks[window].file(self.sample.implementation(handler), handler, number)
            )
            for number, (window, handler) in enumerate(self._errands())
        ]
        self.gates.open()
        self.network.weather, self.gates.weather = BREEZE, FOUL
        told = await self._storm()
        self.network.weather, self.gates.weather = FAIR, CLEAR
        self._start_all()
        await asyncio.gather(*filing)
        promised = [filed.case_id or "" for clerk in clerks.values() for filed in clerk.filed]
        await self._settle(promised, told)
        told.back = told.lost & await self._named(self.victims)
        for task in working:
            task.cancel()
        results = await asyncio.gather(*working, return_exceptions=True)
        for node in self.nodes.values():
            await node.crash()
        await self.gates.close()
        for result in results:
            assert isinstance(result, asyncio.CancelledError), result
        return told

    def _errands(self) -> Iterator[tuple[str, str]]:
        """Who files where: two of three cases have to do with a node that is put back."""
        dice = self.dice
        for number in range(CASES):
            window, handler = dice.choice(WINDOWS), dice.choice(HANDLERS)
            victim = self.story.victims[number // 3 % len(self.story.victims)]
            if number % 3 == 1 and victim in WINDOWS:
                window = victim
            elif number % 3 == 2 and victim in HANDLERS:
                handler = victim
            elif number % 3:
                # Only a hub lies between these two.
                window, handler = WUHAN, XIANGYANG if dice.random() < 0.5 else YUEYANG
            yield window, handler

    async def _storm(self) -> Told:
        crashing = asyncio.ensure_future(self._crash_others())
        await asyncio.sleep(BACKED_UP_S)
        backups = [node.back_up() for node in self.victims]
        await asyncio.sleep(REKEYED_S - BACKED_UP_S)
        if self.story.rekeyed:
            self._rekey()
        await asyncio.sleep(RESTORED_S - REKEYED_S)
        crashing.cancel()
        await asyncio.gather(crashing, return_exceptions=True)
        for node in [*self.victims, *(self.nodes[name] for name in self.story.away)]:
            if node.engine is not None:
                await node.crash()
        told = await self._put_back(backups)
        await self._restart()
        await asyncio.sleep(STORM_S - RESTORED_S)
        return told

    async def _crash_others(self) -> None:
        """Now and then, and not for long: much is to be said before the loss."""
        while True:
            await asyncio.sleep(self.dice.random() * 30)
            node = self.dice.choice(self.others)
            await node.crash()
            await asyncio.sleep(self.dice.random() * 5)
            node.start(self.network)

    async def _put_back(self, backups: list[Backup]) -> Told:
        before, known = await self._named(self.victims), await self._named(self.others)
        cases = await self._cases(self.victims) - await self._cases(self.others)
        for node, backup in zip(self.victims, backups, strict=True):
            node.restore(backup, whole=self.story.whole)
        lost = before - await self._named(self.victims)
        elsewhere = {name[1:] for name in known}
        kept = {name for name in lost if name[1:] in elsewhere}
        return Told(gone=cases, lost=lost, kept=kept)

    async def _restart(self) -> None:
        # Who puts a whole home back says so: peers may not have been shown what it signed last.
        for node in self.victims:
            node.start(self.network, recover=self.story.whole)
        for _ in range(self.story.killed):
            await asyncio.sleep(self.dice.random() * 5)
            for node in self.victims:
                await node.crash()
                node.start(self.network)

    def _start_all(self) -> None:
        for node in self.nodes.values():
            if node.engine is None:
                node.start(self.network)

    def _rekey(self) -> None:
        directory, catalogue = self.directory, self.sample.federation.catalogue
        for victim in self.story.victims:
            directory = rekeyed(directory, self.sample, victim)
        for node in self.nodes.values():
            node.reload(Federation(directory, catalogue))
        self.directory = directory

    # what came of it

    async def _settle(self, promised: list[str], told: Told) -> None:
        for _ in range(CALM_S // 60):
            await asyncio.sleep(60)
            told.findings = await audit(self.nodes, self.directory.trust, promised)
            self._forgive(told)
            told.findings.doubled += await self._contradictions()
            if told.findings.clean:
                break

    def _forgive(self, told: Told) -> None:
        """What nobody else knew of is lost; that a node noticed it by a head is no fault."""
        gone = {f"case {case_id} was promised" for case_id in told.gone}
        told.findings.lost = [each for each in told.findings.lost if each not in gone]
        noticed = {f"{victim}: alarm {victim} lost" for victim in self.story.victims}
        told.findings.unlogged = [row for row in told.findings.unlogged if row not in noticed]

    async def _contradictions(self) -> list[str]:
        """What the audit of what is held does not see.

        Numbers given twice, senders that forgot, and receipts: each message has one, and both ends
        hold the same octets.
        """
        held = {node_id: await node.read(read_holdings) for node_id, node in self.nodes.items()}
        rows = [row for holdings in held.values() for row in holdings.messages]
        sent = {(row.authority, row.message_id): row for row in rows if row.role == Role.OUT}
        arrived = {(row.authority, row.message_id): row for row in rows if row.role == Role.IN}
        numbers = Counter((row.authority, row.case_id, row.sequence) for row in arrived.values())
        return [
            *(f"{number} given {times} times" for number, times in numbers.items() if times > 1),
            *(f"{row.from_node} does not know its {row.kind} {row.message_id}"
              for name, row in arrived.items() if name not in sent),
            *(f"two receipts for {row.message_id}"
              for name, row in arrived.items() if name in sent and sent[name].receipt
              and sent[name].receipt != row.receipt),
        ]  # fmt: skip

    async def _named(self, nodes: list[SimNode]) -> set[Name]:
        return {
            (node.node_id, row.authority, row.message_id)
            for node in nodes
            for row in (await self._holdings(node)).messages
        }

    async def _cases(self, nodes: list[SimNode]) -> set[str]:
        found = [row.case_id for node in nodes for row in (await self._holdings(node)).messages]
        return {case_id for case_id in found if case_id is not None}

    async def _holdings(self, node: SimNode) -> Holdings:
        down = node.engine is None
        if down:
            node.start(self.network)
        holdings = await node.read(read_holdings)
        if down:
            await node.crash()
        return holdings


def rekeyed(directory: Directory, sample: Sample, node: str) -> Directory:
    """The directory with new keys of this node; those for receipts and heads end soon."""
    uses = {
        KeyUse.RECEIPT: node,
        KeyUse.HEAD: node,
        KeyUse.ENVELOPE: uscc(node),
    }
    ring, prefix = sample.keyrings[node], node[:2]
    old = {ring.find(use, owner) for use, owner in uses.items() if use is not KeyUse.ENVELOPE}
    end_ms = START_MS + (REKEYED_S + OVERLAP_S) * 1000
    payload = directory.provinces[prefix].payload
    keys: list[KeyEntry] = [
        key.model_copy(update={"not_after_ms": end_ms}) if key.id in old else key
        for key in payload.keys
    ]
    for use, owner in uses.items():
        like = next(key for key in keys if (key.use, key.owner) == (use, owner))
        public = ring.add(use, owner, 2)
        changes = {"id": public.key_id, "spki": public.spki, "not_after_ms": FAR_MS}
        keys.append(like.model_copy(update=changes))
    others = [row for name, row in directory.provinces.items() if name != prefix]
    version = payload.version + 1
    renewed = payload.model_copy(update={"keys": tuple(keys), "version": version})
    return Directory.merge([opened(renewed, issued_ms=ISSUED_MS + version), *others], FOREVER_MS)
