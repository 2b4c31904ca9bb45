"""Single situations between nodes, in virtual time: each names the rule it shows."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from node.dispatch import POSTS_UNDER_WAY
from node.outgoing import Filed
from node.store.queries import MessageRow, Role, custody_receipts, find_message, queue_lengths
from protocol.errors import UnavailableError
from protocol.frames import AskFrame, EnvelopeFrame, read_frames, write_frames
from protocol.reasons import Reason
from protocol.receipt import read_receipt
from tests.sim.federation import EZHOU, HUB, HUNAN, RULES, WUHAN, XIANGYANG, YUEYANG, make_sample
from tests.sim.loop import run_virtual
from tests.sim.weather import Network
from tests.sim.world import SimNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

SAMPLE = make_sample()
DAY_S = 24 * 3600


class World:
    """All nodes of the sample, and what passes between them."""

    def __init__(self, folder: Path) -> None:
        self.nodes: dict[str, SimNode] = {}
        self.network = Network(random.Random(1), self.nodes)
        self.posts: list[tuple[str, str, float]] = []
        self.cut: set[frozenset[str]] = set()
        self.tamper: Callable[[str, str, bytes], bytes] | None = None
        self.answers_take_s = 0
        for node_id in (HUB, WUHAN, XIANGYANG, EZHOU, HUNAN, YUEYANG):
            self.nodes[node_id] = SimNode(
                node_id,
                folder,
                SAMPLE.keyrings[node_id],
                RULES,
                SAMPLE.federation,
                random.Random(node_id),
            )

    async def post(
        self, origin: str, peer: str, octets: bytes, wait_ms: int | None = None
    ) -> bytes:
        self.posts.append((origin, peer, asyncio.get_running_loop().time()))
        if frozenset((origin, peer)) in self.cut:
            await asyncio.sleep(1)
            raise UnavailableError(Reason.PEER_UNREACHABLE, "cut")
        if self.tamper is not None:
            octets = self.tamper(origin, peer, octets)
        answer = await self.network.post(origin, peer, octets, wait_ms)
        await asyncio.sleep(self.answers_take_s)
        return answer

    def start(self, node_id: str) -> None:
        self.nodes[node_id].start(self)

    async def ping(self, origin: str, destination: str) -> Filed:
        engine = self.nodes[origin].engine
        assert engine is not None
        filed = await engine.ping(destination)
        assert isinstance(filed, Filed)
        return filed

    async def sent(self, filed: Filed, node_id: str, role: Role = Role.OUT) -> MessageRow:
        row = await self.nodes[node_id].read(lambda c: find_message(c, filed.message, role))
        assert row is not None
        return row


@asynccontextmanager
async def world(folder: Path, *down: str) -> AsyncIterator[World]:
    made = World(folder)
    for node_id in made.nodes:
        if node_id not in down:
            made.start(node_id)
    try:
        yield made
    finally:
        for node in made.nodes.values():
            await node.crash()


def play(scene: Callable[[], Any]) -> None:
    run_virtual(scene())


@pytest.mark.spec("RC-18", "WF-8")
def test_custody_on_the_way_and_one_receipt_at_the_end(tmp_path: Path) -> None:
    async def scene() -> None:
        async with world(tmp_path) as w:
            filed = await w.ping(WUHAN, YUEYANG)
            await asyncio.sleep(20)
            row = await w.sent(filed, WUHAN)
            assert row.standing == "received"
            assert row.receipt is not None
            assert read_receipt(row.receipt).receipt.issuer == YUEYANG
            given = await w.nodes[WUHAN].read(lambda c: custody_receipts(c, row))
            assert [read_receipt(octets).receipt.issuer for octets in given] == [HUB]
            # The very same octets of envelope and receipt at every hop.
            for hub in (HUB, HUNAN):
                passed = await w.sent(filed, hub, Role.TRANSIT)
                assert (passed.envelope, passed.receipt) == (row.envelope, row.receipt)
            assert (await w.sent(filed, YUEYANG, Role.IN)).envelope == row.envelope

    play(scene)


@pytest.mark.spec("EX-4", "EX-45")
def test_a_dead_destination_leaves_the_message_in_custody_and_its_return_drains(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        async with world(tmp_path, XIANGYANG) as w:
            filed = [await w.ping(WUHAN, XIANGYANG) for _ in range(5)]
            await asyncio.sleep(3600)
            assert (await w.sent(filed[0], WUHAN)).standing == "custody"
            assert await w.nodes[HUB].read(queue_lengths) == {XIANGYANG: 5}
            w.start(XIANGYANG)
            await asyncio.sleep(10)
            assert [(await w.sent(one, WUHAN)).standing for one in filed] == ["received"] * 5
            assert await w.nodes[HUB].read(queue_lengths) == {}

    play(scene)


def test_what_is_filed_while_a_post_is_answered_leaves_at_once(tmp_path: Path) -> None:
    async def scene() -> None:
        async with world(tmp_path) as w:
            w.answers_take_s = 30
            filed = []
            for _ in range(POSTS_UNDER_WAY + 4):
                filed.append(await w.ping(WUHAN, EZHOU))
                await asyncio.sleep(2)
            began = [when for origin, peer, when in w.posts if (origin, peer) == (WUHAN, EZHOU)]
            assert len(began) == POSTS_UNDER_WAY, "the others wait for a post to spare"
            assert all(later - earlier < 3 for earlier, later in pairwise(began))
            w.answers_take_s = 0
            await asyncio.sleep(60)
            began = [when for origin, peer, when in w.posts if (origin, peer) == (WUHAN, EZHOU)]
            assert len(began) == POSTS_UNDER_WAY + 1, "and leave with it, all together"
            assert [(await w.sent(one, WUHAN)).standing for one in filed] == ["received"] * len(
                filed
            )

    play(scene)


@pytest.mark.spec("EX-45", "EX-46")
def test_a_peer_that_is_away_is_probed_lightly_and_not_forgotten(tmp_path: Path) -> None:
    async def scene() -> None:
        async with world(tmp_path, EZHOU) as w:
            await w.ping(HUB, EZHOU)
            await asyncio.sleep(3600)
            tries = [when for origin, peer, when in w.posts if (origin, peer) == (HUB, EZHOU)]
            # Never a storm, never a silence of more than the probe's cap and the time-out.
            assert 300 < len(tries) < 3600
            assert max(after - before for before, after in pairwise(tries)) < 12

    play(scene)


@pytest.mark.spec("RT-9", "RT-12")
def test_while_the_direct_link_is_down_the_hub_takes_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with world(tmp_path) as w:
            w.cut.add(frozenset((WUHAN, EZHOU)))
            filed = await w.ping(WUHAN, EZHOU)
            assert filed.route == (WUHAN, EZHOU)
            await asyncio.sleep(60)
            assert (await w.sent(filed, WUHAN)).standing == "received"
            assert (await w.sent(filed, EZHOU, Role.IN)).path == f"{WUHAN},{HUB}"

    play(scene)


@pytest.mark.spec("EX-45")
def test_a_call_from_a_peer_ends_the_waiting_for_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with world(tmp_path) as w:
            w.cut.add(frozenset((HUB, HUNAN)))
            out = await w.ping(HUB, HUNAN)
            for _ in range(20):
                # However long it has been away, and whatever the moment it calls.
                await asyncio.sleep(100 + _ / 3)
                w.cut.clear()
                await w.ping(HUNAN, HUB)
                await asyncio.sleep(2)
                assert (await w.sent(out, HUB)).standing == "received"
                w.cut.add(frozenset((HUB, HUNAN)))
                out = await w.ping(HUB, HUNAN)

    play(scene)


@pytest.mark.spec("EX-9", "EX-36")
def test_after_expiry_the_sender_asks_and_the_destination_decides(tmp_path: Path) -> None:
    """Nobody expires a message alone: in doubt until the destination stored a tombstone."""

    async def scene() -> None:
        async with world(tmp_path, XIANGYANG) as w:
            for node_id in (WUHAN, HUB):
                engine = w.nodes[node_id].engine
                assert engine is not None
                engine.context.lifetime_ms = 600_000
            filed = await w.ping(WUHAN, XIANGYANG)
            assert (await w.sent(filed, WUHAN)).standing == "queued"
            await asyncio.sleep(3600)
            assert (await w.sent(filed, WUHAN)).standing == "in-doubt"
            w.start(XIANGYANG)
            await asyncio.sleep(DAY_S)
            row = await w.sent(filed, WUHAN)
            assert row.standing == "refused"
            assert row.reason == Reason.EXPIRED.number
            tombstone = await w.sent(filed, XIANGYANG, Role.IN)
            assert tombstone.receipt == row.receipt

    play(scene)


@pytest.mark.spec("EX-9")
def test_a_message_that_did_arrive_is_not_expired_by_its_senders_clock(tmp_path: Path) -> None:
    async def scene() -> None:
        async with world(tmp_path) as w:
            silent = True

            def drop_receipts(origin: str, peer: str, octets: bytes) -> bytes:
                if silent and (origin, peer) == (HUB, WUHAN):
                    raise UnavailableError(Reason.PEER_UNREACHABLE, "one-way")
                return octets

            w.tamper = drop_receipts
            w.cut.add(frozenset((WUHAN, EZHOU)))
            filed = await w.ping(WUHAN, XIANGYANG)
            await asyncio.sleep(3)
            assert (await w.sent(filed, XIANGYANG, Role.IN)).standing == "received"
            assert (await w.sent(filed, WUHAN)).standing == "custody"
            # Upstream never comes through: the sender's own question finds the answer at the hub.
            await asyncio.sleep(3600)
            assert (await w.sent(filed, WUHAN)).standing == "received"

    play(scene)


@pytest.mark.spec("RC-14")
def test_a_forwarder_that_alters_an_envelope_ends_nothing(tmp_path: Path) -> None:
    """The destination refuses what it got; the sender holds other octets and goes on."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            tampering = True

            def alter(origin: str, peer: str, octets: bytes) -> bytes:
                if not tampering or (origin, peer) != (HUB, XIANGYANG):
                    return octets
                return write_frames(
                    EnvelopeFrame(frame.path, frame.octets.replace(b"<Kind>ping", b"<Kind>pong"))
                    if isinstance(frame, EnvelopeFrame)
                    else frame
                    for frame in read_frames(octets)
                )

            w.tamper = alter
            filed = await w.ping(WUHAN, XIANGYANG)
            await asyncio.sleep(600)
            assert (await w.sent(filed, WUHAN)).standing == "custody"
            assert (await w.sent(filed, HUB, Role.TRANSIT)).standing == "queued"
            tampering = False
            await asyncio.sleep(600)
            assert (await w.sent(filed, WUHAN)).standing == "received"

    play(scene)


@pytest.mark.spec("EX-4")
def test_a_forwarder_that_lost_what_it_had_in_custody_gets_it_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with world(tmp_path, XIANGYANG) as w:
            filed = await w.ping(WUHAN, XIANGYANG)
            await asyncio.sleep(20)
            assert (await w.sent(filed, WUHAN)).standing == "custody"
            await w.nodes[HUB].crash()
            w.nodes[HUB].lose_everything()
            w.start(HUB)
            w.start(XIANGYANG)
            await asyncio.sleep(DAY_S)
            assert (await w.sent(filed, WUHAN)).standing == "received"

    play(scene)


@pytest.mark.parametrize("asked", [AskFrame, EnvelopeFrame])
def test_a_message_to_oneself_is_a_message_like_any_other(tmp_path: Path, asked: type) -> None:
    async def scene() -> None:
        async with world(tmp_path) as w:
            filed = await w.ping(HUB, HUB)
            await asyncio.sleep(5)
            row = await w.sent(filed, HUB)
            assert row.standing == "received"
            assert w.posts == []
            frame = asked((HUB,), row.envelope)
            engine = w.nodes[HUB].engine
            assert engine is not None
            answer = read_frames(await engine.exchange(HUB, write_frames([frame])))
            assert row.receipt is not None
            assert row.receipt in write_frames(answer)

    play(scene)
