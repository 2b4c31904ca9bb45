"""Peers that call for what waits for them: handed out once, or until they say what became of it."""

from __future__ import annotations

import asyncio
import random
from asyncio import sleep
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from node.dispatch import CALLS_MS
from node.pull import CALLS_PER_S
from node.store import schema
from node.store.queries import Role
from protocol.errors import UnavailableError
from protocol.frames import (
    BusyFrame,
    EnvelopeFrame,
    HeadFrame,
    HeldFrame,
    KeptFrame,
    NotHereFrame,
    ReceiptFrame,
    WaitingFrame,
    read_frames,
    write_frames,
)
from protocol.limits import MAX_POST_MESSAGES, MAX_POST_OCTETS
from protocol.reasons import Reason
from routing.retry import DELIVERY, LEASE
from tests.sim import peers
from tests.sim.craft import Message, sign
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG, make_sample
from tests.sim.gates import Gates
from tests.sim.little import KIB, LIMITS, scan
from tests.sim.peers import HOUR_S, busy, now_ms, play, references, silence
from tests.sim.test_large_parts import arrived, send
from tests.sim.weather import call

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from node.links import Pull
    from protocol.frames import Frame
    from tests.sim.peers import DrivenNode, Stage

DARK = make_sample(XIANGYANG)
WAIT_MS = 25_000


def pair(stage: Stage) -> tuple[DrivenNode, DrivenNode]:
    """A hub, and a node that only calls it."""
    hub = stage.node(HUB, federation=DARK.federation)
    node = stage.node(XIANGYANG, federation=DARK.federation)
    node.reaches(hub)
    return hub, node


async def fetch(hub: DrivenNode, said: bytes = b"", wait_ms: int = 0) -> list[Frame]:
    """A call of Xiangyang, made by hand; what is about logs is left out."""
    answer = read_frames(await call(hub.engine, XIANGYANG, said, wait_ms))
    return [frame for frame in answer if not isinstance(frame, HeadFrame | HeldFrame)]


def _places(connection: Connection) -> list[Any]:
    """Every errand: where, when, how often."""
    return list(connection.execute(select(schema.outbox)).all())


@pytest.mark.spec("PU-1", "PU-5")
def test_a_node_nobody_can_dial_sends_and_receives(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub, node = pair(stage)
        await hub.run()
        await node.run()
        there, back = await hub.ping(XIANGYANG), await node.ping(HUB)
        await sleep(1)
        assert await hub.standing(there) == "received"
        assert await node.standing(back) == "received"
        assert hub.posts == [], "nobody dials it"
        assert (await hub.queue(), await node.queue()) == ({}, {})

    play(tmp_path, scene)


@pytest.mark.spec("PU-5")
@pytest.mark.parametrize("pull", ["auto", "never"])
def test_a_peer_with_which_files_are_agreed_is_not_called(tmp_path: Path, pull: Pull) -> None:
    async def scene(stage: Stage) -> None:
        links = [(XIANGYANG, HUB)]
        gates = Gates(tmp_path / "gates", random.Random(1), *links, round_trip_ms=100_000)
        node = stage.node(XIANGYANG, federation=DARK.federation, gates=gates, pull=pull)
        gates.open()
        await node.run()
        await sleep(600)
        assert node.posts == []
        await gates.close()

    play(tmp_path, scene)


@pytest.mark.spec("PU-3")
def test_what_is_committed_while_a_call_is_held_leaves_at_once(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub, node = pair(stage)
        await hub.run()
        await node.run()
        for _ in range(20):
            await sleep(7)
            filed = await hub.ping(XIANGYANG)
            # One way with the answer, one with the next call, and a little of the scheduler.
            await sleep(0.1)
            assert await hub.standing(filed) == "received"

    play(tmp_path, scene)


@pytest.mark.spec("PU-3")
def test_an_idle_link_costs_a_call_a_wait_and_no_more(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub, node = pair(stage)
        await hub.run()
        await node.run()
        await sleep(HOUR_S)
        assert len(node.posts) < HOUR_S * 1000 / WAIT_MS + 5
        (status,) = hub.engine.peers()
        assert (status.failures, status.trouble) == (0, None)

    play(tmp_path, scene)


@pytest.mark.spec("PU-6")
def test_a_peer_that_does_not_hold_calls_is_not_hammered(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        async def at_once(_octets: bytes, _wait_ms: int) -> bytes:
            return b""

        _, node = pair(stage)
        node.called[HUB] = at_once
        await node.run()
        await sleep(600)
        assert 100 < len(node.posts) < 600

    play(tmp_path, scene)


@pytest.mark.spec("PU-6")
def test_a_peer_whose_answers_are_worth_nothing_is_not_called_without_end(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        async def idle_talk(_octets: bytes, _wait_ms: int) -> bytes:
            return write_frames([BusyFrame(None, Reason.OVERLOADED, 0)])

        _, node = pair(stage)
        node.called[HUB] = idle_talk
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(peers, "_LATENCY_S", 0.0005)  # the peer is next door
            await node.run()
            await sleep(20)
        assert len(node.posts) < 20 * CALLS_PER_S + 600

    play(tmp_path, scene)


def test_a_line_that_cuts_what_is_idle_is_asked_for_less_and_later_for_more(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        hub, node = pair(stage)
        patient, waits = False, []

        async def cutting(octets: bytes, wait_ms: int) -> bytes:
            waits.append(wait_ms)
            if patient:
                return await call(hub.engine, XIANGYANG, octets, wait_ms)
            try:
                async with asyncio.timeout(10):
                    return await call(hub.engine, XIANGYANG, octets, wait_ms)
            except TimeoutError as error:
                raise UnavailableError(Reason.PEER_UNREACHABLE, "cut") from error

        node.called[HUB] = cutting
        await hub.run()
        await node.run()
        await sleep(600)
        # One call in nine tries its luck.
        assert waits.count(6_250) > 6 * (len(waits) - waits.count(6_250))
        patient = True
        await sleep(600)
        assert waits[-1] == WAIT_MS

    play(tmp_path, scene)


@pytest.mark.spec("PU-4", "EX-22")
def test_an_answer_that_is_lost_is_handed_out_again_with_the_next_call(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub, _ = pair(stage)
        await hub.run()
        filed = await hub.ping(XIANGYANG)
        for attempt in range(4):
            (first, *_) = await fetch(hub, wait_ms=WAIT_MS)
            assert isinstance(first, EnvelopeFrame), attempt
            # While nothing says it was lost, it is not handed out twice.
            assert await hub.queue() == {XIANGYANG: 1}
        assert await hub.standing(filed) == "queued"

    play(tmp_path, scene)


@pytest.mark.spec("EX-22")
def test_what_was_handed_out_waits_for_its_lease_if_nobody_calls(tmp_path: Path) -> None:
    """A restart of the one that handed it out changes nothing: the lease is in the store."""

    async def scene(stage: Stage) -> None:
        hub, node = pair(stage)
        await hub.run()
        filed = await hub.ping(XIANGYANG)
        assert await fetch(hub, wait_ms=WAIT_MS)
        (due_ms,) = [row.due_ms for row in await hub.read(_places)]
        assert due_ms - now_ms() >= LEASE.floor_ms - 100
        await node.run()
        await sleep(1)
        assert await hub.standing(filed) == "received"

    play(tmp_path, scene)


@pytest.mark.spec("EX-20")
@pytest.mark.parametrize("kind", ["busy", "waiting", "not here", "busy with all"])
def test_a_hint_in_a_call_moves_the_errand_as_in_an_answer(tmp_path: Path, kind: str) -> None:
    async def scene(stage: Stage) -> None:
        hub, node = pair(stage)
        await hub.run()
        filed = await hub.ping(XIANGYANG)
        (envelope, *_) = await fetch(hub, wait_ms=WAIT_MS)
        assert isinstance(envelope, EnvelopeFrame)
        hint: dict[str, Frame] = {
            "busy": BusyFrame(filed.message, Reason.OVERLOADED, 20_000),
            "waiting": WaitingFrame(filed.message, 3),
            "not here": NotHereFrame(filed.message, Reason.LOOP),
            "busy with all": BusyFrame(None, Reason.OVERLOADED, 20_000),
        }
        assert await fetch(hub, write_frames([hint[kind]])) == []
        (row,) = await hub.read(_places)
        assert (row.peer, row.handed, row.attempts) == (XIANGYANG, 0, 1)
        after_ms = 20_000 if kind.startswith("busy") else 0
        assert after_ms <= row.due_ms - now_ms() + 100 <= after_ms + DELIVERY.cap_ms
        await node.run()
        await sleep(DELIVERY.cap_ms / 1000)
        assert await hub.standing(filed) == "received"

    play(tmp_path, scene)


@pytest.mark.spec("EX-20")
def test_a_hint_about_what_waits_for_others_moves_nothing(tmp_path: Path) -> None:
    """A peer may only speak of errands that are at itself."""

    async def scene(stage: Stage) -> None:
        hub, _ = pair(stage)
        hub.peers[EZHOU] = busy(60_000)
        await hub.run()
        filed = await hub.ping(EZHOU)
        await sleep(1)
        before = await hub.read(_places)
        lies: list[Frame] = [
            NotHereFrame(filed.message, Reason.LOOP),
            BusyFrame(filed.message, Reason.OVERLOADED, 2**32 - 1),
            BusyFrame(None, Reason.OVERLOADED, 2**32 - 1),
            KeptFrame(filed.message),
        ]
        assert await fetch(hub, write_frames(lies)) == []
        assert await hub.engine.exchange(XIANGYANG, write_frames(lies)) == b""
        assert await hub.read(_places) == before

    play(tmp_path, scene)


@pytest.mark.spec("EX-2", "PU-2")
def test_what_comes_in_an_answer_is_as_suspect_as_any_post(tmp_path: Path) -> None:
    """A peer that is called may present no more than one that calls."""

    async def scene(stage: Stage) -> None:
        keys = DARK.keyrings[WUHAN]
        node = stage.node(XIANGYANG, federation=DARK.federation)
        theirs = sign(Message(WUHAN, XIANGYANG), keys)
        answers = [theirs.post(), b"junk", sign(Message(WUHAN, EZHOU), keys).via(HUB).post()]
        said: list[list[Frame]] = []

        async def present(octets: bytes, _wait_ms: int) -> bytes:
            said.append(read_frames(octets))
            return answers.pop(0) if answers else await silence(b"")

        node.called[HUB] = present
        await node.run()
        await sleep(30)
        (not_forwarded,) = said[1]
        assert isinstance(not_forwarded, NotHereFrame)
        assert not_forwarded.reason is Reason.PEER_NOT_FORWARDER
        (refused,) = said[2]
        assert isinstance(refused, ReceiptFrame)
        (not_for_us,) = said[3]
        assert isinstance(not_for_us, NotHereFrame)
        assert not_for_us.reason is Reason.NOT_FOR_US

    play(tmp_path, scene)


@pytest.mark.spec("EX-21")
def test_who_passes_on_a_receipt_is_told_that_it_is_kept(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub, node = pair(stage)
        await hub.run()
        keys = DARK.keyrings[XIANGYANG]
        up = sign(Message(XIANGYANG, WUHAN), keys)
        wuhan = stage.node(WUHAN, federation=DARK.federation)
        hub.reaches(wuhan)
        await hub.engine.exchange(XIANGYANG, up.post())
        await sleep(1)
        # It is owed the receipt of Wuhan until it says that it has it; silence is no proof here.
        for _ in range(2):
            (receipt,) = await fetch(hub, wait_ms=WAIT_MS)
            assert isinstance(receipt, ReceiptFrame)
            assert await hub.queue() == {XIANGYANG: 1}
        assert await fetch(hub, write_frames([KeptFrame(up.reference)])) == []
        assert await hub.queue() == {}
        # And the other way round: the one who gets it says so.
        filed = await node.ping(WUHAN)
        await node.run()
        await sleep(2)
        assert await node.standing(filed) == "received"
        assert await hub.queue() == {}

    play(tmp_path, scene)


def test_a_receipt_that_could_not_be_taken_is_handed_out_again(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub, _ = pair(stage)
        await hub.run()
        up = sign(Message(XIANGYANG, WUHAN), DARK.keyrings[XIANGYANG])
        hub.reaches(stage.node(WUHAN, federation=DARK.federation))
        await hub.engine.exchange(XIANGYANG, up.post())
        await sleep(1)
        assert await fetch(hub, wait_ms=WAIT_MS)
        hint = BusyFrame(up.reference, Reason.KEY_UNKNOWN, 1_000)
        assert await fetch(hub, write_frames([hint])) == []
        (receipt,) = await fetch(hub, wait_ms=WAIT_MS)
        assert isinstance(receipt, ReceiptFrame)

    play(tmp_path, scene)


@pytest.mark.spec("EX-43", "EX-9")
def test_a_question_reaches_a_node_that_only_calls(tmp_path: Path) -> None:
    """The hub never had the message: it keeps nothing, and yet the answer comes back."""

    async def scene(stage: Stage) -> None:
        hub, node = pair(stage)
        asker = stage.node(WUHAN, federation=DARK.federation)
        asker.context.lifetime_ms = 60_000
        asker.peers[HUB] = silence
        for one in (hub, node, asker):
            await one.run()
        filed = await asker.ping(XIANGYANG)
        await sleep(120)
        asker.reaches(hub)
        await sleep(2 * HOUR_S)
        row = await asker.row(filed.message)
        assert (row.standing, row.reason) == ("refused", Reason.EXPIRED.number)
        assert (await node.row(filed.message, Role.IN)).receipt == row.receipt

    play(tmp_path, scene)


@pytest.mark.spec("PU-3")
def test_a_newer_call_ends_an_older_one(tmp_path: Path) -> None:
    """The older one's connection may be dead: nothing is handed out to it."""

    async def scene(stage: Stage) -> None:
        hub, _ = pair(stage)
        await hub.run()
        older = asyncio.ensure_future(fetch(hub, wait_ms=WAIT_MS))
        await sleep(1)
        newer = asyncio.ensure_future(fetch(hub, wait_ms=WAIT_MS))
        await sleep(0.1)
        assert older.done()
        assert await older == []
        await hub.ping(XIANGYANG)
        await sleep(0.1)
        assert len(await newer) == 2

    play(tmp_path, scene)


@pytest.mark.spec("PU-3")
def test_calls_that_are_held_end_when_the_node_stops(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub, _ = pair(stage)
        await hub.run()
        held = asyncio.ensure_future(fetch(hub, wait_ms=WAIT_MS))
        await sleep(1)
        hub.engine.release()
        await sleep(0.001)
        assert held.done()

    play(tmp_path, scene)


def test_who_calls_no_more_does_not_answer_and_what_has_another_way_takes_it(
    tmp_path: Path,
) -> None:
    """Ezhou cannot be dialled; while it does not call, the hub may have a way."""

    async def scene(stage: Stage) -> None:
        dark = make_sample(EZHOU).federation
        node, hub = stage.node(WUHAN, federation=dark), stage.node(HUB, federation=dark)
        far = stage.node(EZHOU, federation=dark)
        node.reaches(hub)
        far.reaches(hub)
        for one in (node, hub, far):
            await one.run()
        filed = await node.ping(EZHOU)
        assert filed.route == (WUHAN, EZHOU)
        await sleep(10 + 2 * CALLS_MS / 1000)
        assert await node.standing(filed) == "received"
        assert (await far.row(filed.message, Role.IN)).path == f"{WUHAN},{HUB}"
        away = next(row for row in node.engine.peers() if row.node == EZHOU)
        assert away.failures == 1
        # When it calls again, the direct way is taken again, at once.
        far.reaches(node)
        await sleep(10)
        direct = await node.ping(EZHOU)
        await sleep(1)
        assert direct.route == (WUHAN, EZHOU)
        assert (await far.row(direct.message, Role.IN)).path == WUHAN

    play(tmp_path, scene)


def test_two_nodes_neither_of_which_can_be_dialled_meet_at_their_hub_at_once(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        dark = make_sample(WUHAN, EZHOU).federation
        node, hub = stage.node(WUHAN, federation=dark), stage.node(HUB, federation=dark)
        far = stage.node(EZHOU, federation=dark)
        node.reaches(hub)
        far.reaches(hub)
        for one in (node, hub, far):
            await one.run()
        filed = await node.ping(EZHOU)
        await sleep(2)
        assert await node.standing(filed) == "received"
        again = await node.ping(EZHOU)
        assert again.route == (WUHAN, HUB, EZHOU)

    play(tmp_path, scene)


def test_a_peer_that_calls_is_not_dialled_even_if_it_could_be(tmp_path: Path) -> None:
    """So a node behind a firewall that lets calls in only is served by its peers' calls."""

    async def scene(stage: Stage) -> None:
        walled = stage.node(WUHAN)
        outside = stage.node(EZHOU, pull="always")
        outside.reaches(walled)
        await walled.run()
        await outside.run()
        await sleep(1)
        there, back = await walled.ping(EZHOU), await outside.ping(WUHAN)
        await sleep(1)
        assert await walled.standing(there) == "received"
        assert await outside.standing(back) == "received"
        assert walled.posts == []

    play(tmp_path, scene)


def test_a_peer_that_stops_calling_is_dialled_again(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node, peer = stage.node(WUHAN), stage.node(EZHOU)
        node.reaches(peer)
        await node.run()
        assert read_frames(await call(node.engine, EZHOU, b"", 100)) == []
        filed = await node.ping(EZHOU)
        await sleep(2 * CALLS_MS / 1000)
        assert await node.standing(filed) == "received"

    play(tmp_path, scene)


def test_a_hand_out_that_never_arrives_is_halved(tmp_path: Path) -> None:
    """Something between the two may choke on what is large; one by one it gets through."""

    async def scene(stage: Stage) -> None:
        hub, node = pair(stage)
        filed = [await hub.ping(XIANGYANG) for _ in range(16)]
        taken: list[int] = []

        async def choke(octets: bytes, wait_ms: int) -> bytes:
            answer = await call(hub.engine, XIANGYANG, octets, wait_ms)
            taken.append(len(references(answer)))
            if len(references(answer)) > 3:
                raise UnavailableError(Reason.PEER_UNREACHABLE, "the answer was cut short")
            return answer

        node.called[HUB] = choke
        await hub.run()
        await node.run()
        await sleep(60)
        assert {await hub.standing(one) for one in filed} == {"received"}
        assert (taken[0], len(taken) < 20) == (16, True)

    play(tmp_path, scene)


@pytest.mark.spec("UP-3", "PU-1")
def test_large_parts_are_handed_out_piece_by_piece(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node, far = stage.node(WUHAN, parts=LIMITS), stage.node(EZHOU, parts=LIMITS, pull="always")
        far.reaches(node)
        await node.run()
        await far.run()
        await sleep(1)
        film = scan(60 * KIB)
        filed = await send(node, EZHOU, film=film, note=b"small")
        await sleep(20)
        assert await node.standing(filed) == "received"
        assert await arrived(far, filed) == {"film": film}
        assert node.posts == []

    play(tmp_path, scene)


def test_a_backlog_leaves_in_hand_outs_no_larger_than_a_post(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub, node = pair(stage)
        filed = [await hub.ping(XIANGYANG) for _ in range(MAX_POST_MESSAGES + 10)]
        sizes: list[int] = []

        async def measured(octets: bytes, wait_ms: int) -> bytes:
            answer = await call(hub.engine, XIANGYANG, octets, wait_ms)
            sizes.append(len(references(answer)))
            assert len(answer) <= MAX_POST_OCTETS
            return answer

        node.called[HUB] = measured
        await hub.run()
        await node.run()
        await sleep(5)
        assert {await hub.standing(one) for one in filed} == {"received"}
        assert sizes[:2] == [MAX_POST_MESSAGES, 10]

    play(tmp_path, scene)
