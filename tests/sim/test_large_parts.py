"""Large parts between nodes, in virtual time: what is large here is two kilobytes."""

from __future__ import annotations

import math
from asyncio import Lock, sleep
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from node.outgoing import Draft
from node.parts.files import Material as File
from node.store.queries import Role
from protocol.bodies import Material
from protocol.errors import UnavailableError
from protocol.frames import EnvelopeFrame, PartFrame, WantedFrame, read_frames, write_frames
from protocol.reasons import Reason
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG
from tests.sim.large import stored, transfers
from tests.sim.little import KIB, LIMITS, scan
from tests.sim.peers import operator, play, references, submission

if TYPE_CHECKING:
    from pathlib import Path

    from node.outgoing import Filed
    from tests.sim.peers import DrivenNode, Post, Stage


def standing_at(stage: Stage, *node_ids: str, **bounds: Any) -> list[DrivenNode]:
    """Nodes to which two kilobytes are large."""
    return [stage.node(node_id, parts=replace(LIMITS, **bounds)) for node_id in node_ids]


async def send(node: DrivenNode, handler: str, *, key: int = 0, **files: bytes) -> Filed:
    """A case with these files."""
    rows = tuple(Material(name, "扫描件", "electronic", "B", 1, part=name) for name in files)
    materials = {name: File("application/pdf", octets) for name, octets in files.items()}
    return await node.file(
        Draft(
            operator(node.node_id).authority,
            replace(submission(handler, rows), note=str(key)),
            materials=materials,
            recipient=operator(handler),
        )
    )


async def arrived(node: DrivenNode, filed: Filed) -> dict[str, bytes]:
    """The large parts as the destination would hand them out."""
    return await stored(node, filed.message)


async def seconds_until_received(node: DrivenNode, filed: Filed) -> float:
    """How long it takes, to a tenth; a minute and it never comes."""
    for tenths in range(600):
        if await node.standing(filed) == "received":
            return tenths / 10
        await sleep(0.1)
    return math.inf


def pieces_in(posts: list[Post]) -> list[PartFrame]:
    """Everything beyond the small parts that these posts carried."""
    frames = [frame for post in posts for frame in post.frames if isinstance(frame, PartFrame)]
    return [frame for frame in frames if frame.part_id.startswith("film")]


@pytest.mark.spec("UP-8")
def test_the_envelope_first_then_pieces_then_the_receipt(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        near, far = standing_at(stage, WUHAN, EZHOU)
        near.reaches(far)
        await near.run()
        film, plan = scan(30 * KIB), scan(3 * KIB)
        filed = await send(near, EZHOU, film=film, plan=plan, note=b"small")
        await sleep(10)
        assert await near.standing(filed) == "received"
        assert await arrived(far, filed) == {"film": film, "plan": plan}
        assert await far.read(transfers) == {}
        posts = near.posts_to(EZHOU)
        first, *rest = posts
        assert [type(frame) for frame in first.frames] == [EnvelopeFrame, PartFrame, PartFrame]
        assert not pieces_in([first])
        # Every octet once, no more of them in a post than it may have, and no post too many.
        sent = pieces_in(posts)
        assert b"".join(piece.octets for piece in sent) == film
        most = [sum(len(piece.octets) for piece in pieces_in([post])) for post in rest]
        assert max(most) <= LIMITS.post
        assert len(posts) < 12

    play(tmp_path, scene)


@pytest.mark.spec("UP-9")
def test_through_a_hub_it_is_whole_at_each_hop(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        near, hub, far = standing_at(stage, WUHAN, HUB, XIANGYANG)
        near.reaches(hub)
        hub.reaches(near)
        await hub.run()
        await near.run()
        film = scan(30 * KIB)
        filed = await send(near, XIANGYANG, film=film)
        await sleep(10)
        assert await near.standing(filed) == "custody"
        hub.reaches(far)
        await sleep(60)
        assert await near.standing(filed) == "received"
        assert await arrived(far, filed) == {"film": film}
        # Kept until the destination has said that it has it, and for a while after that.
        assert await stored(hub, filed.message, Role.TRANSIT) == {"film": film}

    play(tmp_path, scene)


def test_what_is_within_one_node_goes_the_same_way(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        (node,) = standing_at(stage, WUHAN)
        await node.run()
        film = scan(30 * KIB)
        filed = await send(node, WUHAN, film=film)
        await sleep(10)
        assert await node.standing(filed) == "received"
        assert await arrived(node, filed) == {"film": film}

    play(tmp_path, scene)


@pytest.mark.spec("UP-10")
def test_a_small_message_does_not_wait_for_a_large_neighbour(tmp_path: Path) -> None:
    """On a slow line the large one takes minutes; each of the small ones a second or two."""

    async def scene(stage: Stage) -> None:
        bounds = {"peer_octets": 10**6, "octets": 10**6}
        near, far = standing_at(stage, WUHAN, EZHOU, **bounds)
        line = Lock()

        async def slow_line(octets: bytes) -> bytes:
            async with line:
                await sleep(len(octets) / (4 * KIB))
            return await far.engine.exchange(WUHAN, octets)

        near.peers[EZHOU] = slow_line
        await near.run()
        large = [await send(near, EZHOU, key=number, film=scan(45 * KIB)) for number in range(2)]
        large.append(await send(near, EZHOU, key=3, film=scan(64 * KIB)))
        for _ in range(4):
            await sleep(5)
            assert await seconds_until_received(near, await near.ping(EZHOU)) < 5
        assert {await near.standing(one) for one in large} == {"queued"}
        await sleep(300)
        assert {await near.standing(one) for one in large} == {"received"}

    play(tmp_path, scene)


@pytest.mark.spec("UP-10")
def test_large_messages_share_the_line_and_the_least_of_them_is_soon_through(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        near, far = standing_at(stage, WUHAN, EZHOU, peer_parts=64, peer_octets=10**6, octets=10**6)
        near.reaches(far)
        await near.run()
        large = [await send(near, EZHOU, key=number, film=scan(60 * KIB)) for number in range(9)]
        await sleep(0.5)
        least = await send(near, EZHOU, film=scan(3 * KIB))
        await seconds_until_received(near, least)
        assert sum([await near.standing(one) == "queued" for one in large]) >= 5
        await sleep(60)
        assert {await near.standing(one) for one in large} == {"received"}

    play(tmp_path, scene)


@pytest.mark.spec("UP-3")
def test_after_a_cut_it_goes_on_where_the_disk_of_the_receiver_is(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        near, far = standing_at(stage, WUHAN, EZHOU)
        near.reaches(far)
        await near.run()
        film = scan(60 * KIB)
        filed = await send(near, EZHOU, film=film)
        await sleep(0.15)
        near.peers.pop(EZHOU)
        await sleep(3600)
        before = len(pieces_in(near.posts_to(EZHOU)))
        held = far.disk.octets
        assert 0 < held < len(film)
        near.reaches(far)
        await sleep(30)
        assert await near.standing(filed) == "received"
        after = pieces_in(near.posts_to(EZHOU))[before:]
        # A post that came to nothing may have to be said again, and not a gigabyte.
        assert sum(len(piece.octets) for piece in after) <= len(film) - held + LIMITS.post

    play(tmp_path, scene)


@pytest.mark.spec("UP-8", "UP-11")
def test_a_peer_that_wants_the_same_for_ever_is_not_fed_for_ever(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        (near,) = standing_at(stage, WUHAN)

        async def insatiable(octets: bytes) -> bytes:
            return write_frames([WantedFrame(one, "film", 0) for one in references(octets)])

        near.peers[EZHOU] = insatiable
        await near.run()
        await send(near, EZHOU, film=scan(60 * KIB))
        await sleep(24 * 3600)
        # By the timetable of any message that has to wait: once in some minutes.
        assert len(near.posts_to(EZHOU)) < 24 * 60

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("part", "offset"),
    [("film", 2**63), ("film", 60 * KIB), ("body", 7), ("nothing", 0), ("\x7f", 0)],
)
def test_a_peer_that_wants_what_there_is_not_gets_the_message_and_no_more(
    tmp_path: Path, part: str, offset: int
) -> None:
    async def scene(stage: Stage) -> None:
        near, far = standing_at(stage, WUHAN, EZHOU)

        async def strange(octets: bytes) -> bytes:
            return write_frames([WantedFrame(one, part, offset) for one in references(octets)])

        near.peers[EZHOU] = strange
        await near.run()
        filed = await send(near, EZHOU, film=scan(60 * KIB))
        await sleep(3600)
        posts = near.posts_to(EZHOU)
        assert 2 < len(posts) < 100
        assert not pieces_in(posts)
        near.reaches(far)
        await sleep(600)
        assert await near.standing(filed) == "received"

    play(tmp_path, scene)


@pytest.mark.spec("PA-2", "UP-6")
def test_a_hub_that_spoils_a_part_cannot_end_the_message(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        near, far = standing_at(stage, WUHAN, EZHOU)
        spoiled = 0

        async def spoiling(octets: bytes) -> bytes:
            nonlocal spoiled
            frames = read_frames(octets)
            for number, frame in enumerate(frames):
                if isinstance(frame, PartFrame) and frame.part_id == "film" and spoiled < 2:
                    spoiled += frame.offset > 50 * KIB
                    frames[number] = replace(frame, octets=bytes(len(frame.octets)))
            return await far.engine.exchange(WUHAN, write_frames(frames))

        near.peers[EZHOU] = spoiling
        await near.run()
        film = scan(60 * KIB)
        filed = await send(near, EZHOU, film=film)
        await sleep(600)
        assert spoiled == 2
        assert await near.standing(filed) == "received"
        assert await arrived(far, filed) == {"film": film}

    play(tmp_path, scene)


def test_a_part_that_cannot_be_read_holds_up_no_neighbour(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        near, far = standing_at(stage, WUHAN, EZHOU)
        near.reaches(far)
        lost = await send(near, EZHOU, film=scan(60 * KIB))
        near.disk.sealed.clear()
        await near.run()
        await sleep(5)
        film = scan(30 * KIB)
        filed = await send(near, EZHOU, key=1, film=film)
        small = await near.ping(EZHOU)
        await sleep(30)
        assert await near.standing(small) == "received"
        assert await arrived(far, filed) == {"film": film}
        assert await near.standing(lost) == "queued"
        assert len(near.posts_to(EZHOU)) < 60

    play(tmp_path, scene)


def test_a_full_disk_at_the_other_end_delays_it_and_nothing_else(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        near, far = standing_at(stage, WUHAN, EZHOU)
        near.reaches(far)
        await near.run()
        far.disk.capacity = 20 * KIB
        film = scan(60 * KIB)
        filed = await send(near, EZHOU, film=film)
        small = await near.ping(EZHOU)
        await sleep(30)
        assert await near.standing(small) == "received"
        assert await near.standing(filed) == "queued"
        far.disk.capacity = 100 * KIB
        await sleep(600)
        assert await near.standing(filed) == "received"

    play(tmp_path, scene)


def test_two_ways_at_once_bring_one_message(tmp_path: Path) -> None:
    """Half of it came by one way; the rest by another, and what is there is not sent again."""

    async def scene(stage: Stage) -> None:
        near, hub, far = standing_at(stage, WUHAN, HUB, EZHOU)
        near.reaches(hub)
        hub.reaches(far)
        hub.reaches(near)
        await hub.run()
        posts = 0

        async def breaks_down(octets: bytes) -> bytes:
            nonlocal posts
            posts += bool(octets)
            if posts > 4:
                raise UnavailableError(Reason.PEER_UNREACHABLE, "cut")
            return await far.engine.exchange(WUHAN, octets)

        near.peers[EZHOU] = breaks_down
        await near.run()
        film = scan(60 * KIB)
        filed = await send(near, EZHOU, film=film)
        await sleep(300)
        assert await near.standing(filed) == "received"
        assert await arrived(far, filed) == {"film": film}
        assert (await far.row(filed.message, Role.IN)).path == f"{WUHAN},{HUB}"
        by_hub = sum(len(piece.octets) for piece in pieces_in(hub.posts_to(EZHOU)))
        assert by_hub < len(film)

    play(tmp_path, scene)
