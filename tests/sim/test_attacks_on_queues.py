"""What peers and clocks may do to a queue: delay it within bounds, never stop or spin it."""

from __future__ import annotations

from asyncio import sleep
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from protocol.frames import AskFrame, EnvelopeFrame, NotHereFrame, PartFrame, write_frames
from protocol.reasons import Reason
from routing.retry import ASK, DELIVERY
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG
from tests.sim.peers import HOUR_S, busy, now_ms, play, quiet, references

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sim.peers import Handler, Stage

DAY_MS = 24 * HOUR_S * 1000
NEVER_MS = 2**32 - 1
"""The longest hint a frame can carry: 49 days."""


async def not_here(octets: bytes) -> bytes:
    """Every message has come the wrong way."""
    reason = Reason.PEER_NOT_FORWARDER
    return write_frames(NotHereFrame(reference, reason) for reference in references(octets))


def test_peers_that_all_point_elsewhere_do_not_make_the_sender_spin(tmp_path: Path) -> None:
    """Every way is tried at once, and after that by the timetable."""

    async def scene(stage: Stage) -> None:
        node, destination = stage.node(WUHAN), stage.node(EZHOU)
        node.peers |= {EZHOU: not_here, HUB: not_here}
        await node.run()
        filed = await node.ping(EZHOU)
        await sleep(60)
        assert len(node.posts_to(EZHOU)) > 0
        assert len(node.posts_to(HUB)) > 0
        assert len(node.posts) < 30
        node.reaches(destination)
        await sleep(2 * DELIVERY.cap_ms / 1000)
        assert await node.standing(filed) == "received"

    play(tmp_path, scene)


@pytest.mark.spec("EX-4", "RT-12")
def test_custody_at_a_hub_that_died_for_good_does_not_bind_the_message(tmp_path: Path) -> None:
    """Custody discharges nobody: the octets are still here, and another way is taken."""

    async def scene(stage: Stage) -> None:
        node, hub, destination = stage.node(WUHAN), stage.node(HUB), stage.node(EZHOU)
        node.reaches(hub)
        await node.run()
        filed = await node.ping(EZHOU)
        await sleep(20)
        assert await node.standing(filed) == "custody"
        del node.peers[HUB]
        node.reaches(destination)
        await sleep(HOUR_S)
        assert await node.standing(filed) == "received"

    play(tmp_path, scene)


def test_custody_at_a_hub_that_delivers_nothing_does_not_bind_the_message(tmp_path: Path) -> None:
    """The hub lives and says "in custody" for ever; after a while others are asked too."""

    async def scene(stage: Stage) -> None:
        node, hub, destination = stage.node(WUHAN), stage.node(HUB), stage.node(EZHOU)
        node.reaches(hub)
        await node.run()
        filed = await node.ping(EZHOU)
        await sleep(20)
        assert await node.standing(filed) == "custody"
        node.reaches(destination)
        await sleep(6 * HOUR_S)
        assert await node.standing(filed) == "received"

    play(tmp_path, scene)


@pytest.mark.spec("EX-9", "EX-44")
def test_in_custody_the_bare_envelope_goes_again_and_questions_only_after_expiry(
    tmp_path: Path,
) -> None:
    """A question allows a tombstone, so nobody asks while the message may still arrive."""

    async def scene(stage: Stage) -> None:
        node, hub = stage.node(WUHAN), stage.node(HUB)
        node.context.lifetime_ms = HOUR_S * 1000
        node.reaches(hub)
        await node.run()
        filed = await node.ping(XIANGYANG)
        expires_ms = now_ms() + node.context.lifetime_ms
        await sleep(8 * HOUR_S)
        assert await node.standing(filed) == "in-doubt"
        whole, *later = node.posts_to(HUB)
        assert {type(frame) for frame in whole.frames} == {EnvelopeFrame, PartFrame}
        before = [post for post in later if post.at_ms < expires_ms]
        after = [post for post in later if post.at_ms >= expires_ms]
        assert {type(frame) for post in before for frame in post.frames} == {EnvelopeFrame}
        assert {type(frame) for post in after for frame in post.frames} == {AskFrame}

    play(tmp_path, scene)


def test_however_long_its_destination_is_busy_a_message_in_doubt_is_asked_about(
    tmp_path: Path,
) -> None:
    """In doubt for days or months, it is asked about some times a day until it is answered."""

    async def scene(stage: Stage) -> None:
        node, destination = stage.node(WUHAN), stage.node(EZHOU)
        node.context.lifetime_ms = 12 * HOUR_S * 1000
        node.peers[EZHOU] = busy(1_000, Reason.KEY_UNKNOWN)
        await node.run()
        filed = await node.ping(EZHOU)
        await sleep(36 * HOUR_S)
        assert len(node.posts) > 200
        assert await node.standing(filed) == "in-doubt"
        gaps = [later.at_ms - post.at_ms for post, later in pairwise(node.posts_to(EZHOU))]
        assert max(gaps) <= ASK.cap_ms + 1_000
        node.reaches(destination)
        await sleep(1 + ASK.cap_ms / 1000)
        row = await node.row(filed.message)
        assert (row.standing, row.reason) == ("refused", Reason.EXPIRED.number)

    play(tmp_path, scene)


@pytest.mark.spec("EX-46")
@pytest.mark.parametrize("after_ms", [NEVER_MS, DAY_MS], ids=["49 days", "a day"])
def test_a_peer_that_asks_for_patience_gets_no_more_than_the_timetable_has(
    tmp_path: Path, after_ms: int
) -> None:
    """A `busy` is a hint of somebody who may be wrong, or lie."""

    async def scene(stage: Stage) -> None:
        node, destination = stage.node(WUHAN), stage.node(EZHOU)
        node.peers[EZHOU] = busy(after_ms)
        await node.run()
        filed = await node.ping(EZHOU)
        await sleep(1)
        node.reaches(destination)
        await sleep(1 + DELIVERY.cap_ms / 1000)
        assert await node.standing(filed) == "received"
        assert len(node.posts) < 10

    play(tmp_path, scene)


def test_why_a_peer_is_busy_can_be_seen_where_it_is_waited_for(tmp_path: Path) -> None:
    """A peer whose disk is full answers every call: without its word nobody would know."""

    async def scene(stage: Stage) -> None:
        node, destination = stage.node(WUHAN), stage.node(EZHOU)
        node.peers[EZHOU] = busy(0, Reason.STORE_UNAVAILABLE)
        await node.run()
        filed = await node.ping(EZHOU)
        await sleep(1)
        (status,) = node.engine.peers()
        assert (status.failures, status.trouble) == (0, "busy: store-unavailable")
        node.reaches(destination)
        await sleep(1 + DELIVERY.cap_ms / 1000)
        assert await node.standing(filed) == "received"
        (status,) = node.engine.peers()
        assert status.trouble is None

    play(tmp_path, scene)


@pytest.mark.spec("EX-46")
@pytest.mark.parametrize("peers", [{}, {XIANGYANG: busy(0)}], ids=["peer away", "peer busy"])
def test_a_clock_that_was_wrong_for_a_minute_stops_nothing(
    tmp_path: Path, peers: dict[str, Handler]
) -> None:
    """What was put off until a day far ahead is due as soon as the clock is right again."""

    async def scene(stage: Stage) -> None:
        node, destination = stage.node(HUB), stage.node(XIANGYANG)
        node.peers |= peers
        await node.run()
        filed = await node.ping(XIANGYANG)
        await sleep(5)
        node.clock._skew_ms = 20 * DAY_MS
        await sleep(600)
        node.clock._skew_ms = 0
        await sleep(2)
        node.reaches(destination)
        await sleep(2 * DELIVERY.cap_ms / 1000)
        assert await node.standing(filed) == "received"

    play(tmp_path, scene)


def test_what_moved_to_a_way_that_is_dead_too_finds_back(tmp_path: Path) -> None:
    """Direct link down, so the hub should take it; the hub is down as well; the link returns."""

    async def scene(stage: Stage) -> None:
        node, destination = stage.node(WUHAN), stage.node(EZHOU)
        await node.run()
        filed = await node.ping(EZHOU)
        await sleep(60)
        assert await node.standing(filed) == "queued"
        node.reaches(destination)
        await sleep(60)
        assert await node.standing(filed) == "received"

    play(tmp_path, scene)


def test_a_peer_that_answers_and_says_nothing_does_not_hold_a_message(tmp_path: Path) -> None:
    """No receipt, no hint, for ever: another way is tried, without a storm on this one."""

    async def scene(stage: Stage) -> None:
        node, hub, destination = stage.node(WUHAN), stage.node(HUB), stage.node(EZHOU)
        node.peers[EZHOU] = quiet
        node.reaches(hub)
        hub.reaches(destination)
        hub.reaches(node)
        await hub.run()
        await node.run()
        filed = await node.ping(EZHOU)
        await sleep(HOUR_S)
        assert await node.standing(filed) == "received"
        assert len(node.posts_to(EZHOU)) < 30

    play(tmp_path, scene)
