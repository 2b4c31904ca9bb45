"""The receiving half of large parts: what is asked for, what is taken, what is passed over."""

from __future__ import annotations

from asyncio import gather, sleep
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from node.parts.intake import Early
from node.store.queries import Role, queue_lengths
from protocol.frames import BusyFrame, NotHereFrame, PartFrame, write_frames
from protocol.limits import MAX_POST_FRAMES
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from tests.sim.craft import Message, only, receipt_in, sign
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG
from tests.sim.large import (
    carrying,
    last,
    message,
    piece,
    pieces,
    presented,
    stored,
    transfers,
    wanted,
)
from tests.sim.little import KIB, LIMITS, scan
from tests.sim.peers import SAMPLE, play
from tests.unit.routing.provinces import uscc

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sim.peers import DrivenNode, Stage


def taking(stage: Stage, node_id: str = EZHOU, **bounds: Any) -> DrivenNode:
    """A node to which two kilobytes are large."""
    return stage.node(node_id, parts=replace(LIMITS, **bounds))


def busy_in(answer: bytes) -> Reason:
    frame = only(answer)
    assert isinstance(frame, BusyFrame), frame
    return frame.reason


@pytest.mark.spec("UP-1")
@pytest.mark.spec("UP-2")
def test_it_is_asked_for_once_the_message_would_be_taken_and_recorded_when_whole(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        node = taking(stage)
        film, plan, note = scan(10 * KIB), scan(3 * KIB), b"small"
        signed = message(WUHAN, EZHOU, film=film, plan=plan, note=note)
        post = node.engine.exchange
        assert wanted(await post(WUHAN, presented(signed))) == {"film": 0, "plan": 0}
        assert await node.read(transfers) == {"film": len(film), "plan": len(plan)}
        three = carrying(signed, *pieces(signed, "film", 0, 3 * KIB))
        assert wanted(await post(WUHAN, three)) == {"film": 3 * KIB, "plan": 0}
        rest = pieces(signed, "film", 3 * KIB, len(film)) + pieces(signed, "plan", 0, len(plan))
        assert wanted(await post(WUHAN, carrying(signed, *rest))) == {"body": 0}
        receipt = receipt_in(await post(WUHAN, presented(signed)))
        assert receipt.type is ReceiptType.RECEIVED
        assert await stored(node, signed.reference) == {"film": film, "plan": plan}
        assert await node.read(transfers) == {}
        assert len(node.disk.sealed) == 2

    play(tmp_path, scene)


def test_the_last_pieces_may_come_with_the_small_parts(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = taking(stage)
        signed = message(WUHAN, EZHOU, film=scan(3 * KIB), note=b"small")
        await node.engine.exchange(WUHAN, presented(signed))
        whole = last(signed, *pieces(signed, "film", 0, 3 * KIB))
        assert receipt_in(await node.engine.exchange(WUHAN, whole)).type is ReceiptType.RECEIVED
        again = receipt_in(await node.engine.exchange(WUHAN, presented(signed)))
        assert again.type is ReceiptType.RECEIVED
        assert again == receipt_in(await node.engine.exchange(WUHAN, whole))

    play(tmp_path, scene)


@pytest.mark.spec("UP-3")
@pytest.mark.spec("UP-4")
def test_what_was_said_before_is_passed_over_and_what_is_early_waits_its_turn(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        node = taking(stage)
        signed = message(WUHAN, EZHOU, film=scan(9 * KIB))
        await node.engine.exchange(WUHAN, presented(signed))

        async def offer(*offsets: int) -> dict[str, int]:
            frames = [piece(signed, "film", offset) for offset in offsets]
            return wanted(await node.engine.exchange(WUHAN, carrying(signed, *frames)))

        # What is early is not on disk, so the answer does not count it.
        assert await offer(KIB) == {"film": 0}
        assert await offer(3 * KIB) == {"film": 0}
        assert node.disk.octets == 0
        assert await offer(0) == {"film": 2 * KIB}
        assert await offer(0, KIB) == {"film": 2 * KIB}
        assert await offer(2 * KIB) == {"film": 4 * KIB}
        assert await offer(6 * KIB, 5 * KIB, 4 * KIB) == {"film": 7 * KIB}
        # One that overlaps what is there is neither.
        across = carrying(signed, piece(signed, "film", 6 * KIB + 512))
        assert wanted(await node.engine.exchange(WUHAN, across)) == {"film": 7 * KIB}
        whole = last(signed, *pieces(signed, "film", 7 * KIB, 9 * KIB))
        assert receipt_in(await node.engine.exchange(WUHAN, whole)).type is ReceiptType.RECEIVED
        assert await stored(node, signed.reference) == {"film": signed.parts["film"]}

    play(tmp_path, scene)


def test_what_is_early_takes_so_much_memory_and_no_more() -> None:
    early = Early(10)
    early.put("a", 5, b"12345")
    assert early.take("a", 0) == ([], 0)
    early.put("b", 7, b"1234567")
    assert early.take("b", 0) == ([], 0)  # and the other's had to go
    assert early.take("a", 5) == ([], 5)
    early.put("c", 1, b"12345678901")
    assert early.take("c", 0) == ([], 0)
    assert early.take("c", 1) == ([], 1)
    early.put("d", 3, b"345")
    early.put("d", 0, b"012")
    assert early.take("d", 0) == ([b"012", b"345"], 6)
    early.put("e", 1, b"1")
    assert early.take("e", 0) == ([], 0)
    early.drop("e")
    assert early.take("e", 1) == ([], 1)
    assert early._octets == 0


@pytest.mark.spec("UP-5")
def test_what_lies_outside_its_part_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = taking(stage)
        signed = message(WUHAN, EZHOU, film=scan(3 * KIB), note=b"small")
        other = message(WUHAN, EZHOU, 2, film=scan(3 * KIB, 2))
        post = node.engine.exchange
        for one in (signed, other):
            await post(WUHAN, presented(one))
        await post(WUHAN, carrying(signed, piece(signed, "film", 0)))
        beyond = PartFrame(signed.reference, "film", 3 * KIB, b"more")
        across = PartFrame(signed.reference, "film", 2 * KIB, bytes(KIB + 1))
        endless = PartFrame(signed.reference, "film", 2**64 - 1, b"!")
        empty = PartFrame(signed.reference, "film", KIB, b"")
        unlisted = PartFrame(signed.reference, "film2", 0, b"x")
        swapped = piece(other, "film", 0)
        in_pieces = PartFrame(signed.reference, "note", 1, b"mall")
        for strange in (beyond, across, endless, empty, unlisted, swapped, in_pieces):
            answer = await post(WUHAN, carrying(signed, piece(signed, "film", KIB), strange))
            assert busy_in(answer) is Reason.PART_UNEXPECTED
            assert wanted(await post(WUHAN, carrying(signed)))["film"] in (KIB, 2 * KIB)
        rest = pieces(signed, "film", 2 * KIB, 3 * KIB)
        await post(WUHAN, carrying(signed, piece(signed, "film", KIB)))
        assert receipt_in(await post(WUHAN, last(signed, *rest))).type is ReceiptType.RECEIVED
        assert await stored(node, signed.reference) == {"film": signed.parts["film"]}

    play(tmp_path, scene)


@pytest.mark.spec("FR-2", "UP-1")
def test_pieces_nobody_asked_for_leave_nothing_behind(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = taking(stage)
        signed = message(WUHAN, EZHOU, film=scan(3 * KIB))
        whole = last(signed, *pieces(signed, "film", 0, 3 * KIB))
        assert wanted(await node.engine.exchange(WUHAN, whole)) == {"film": 0}
        assert node.disk.octets == 0
        stranger = message(WUHAN, EZHOU, 2, film=scan(3 * KIB))
        alone = write_frames([piece(stranger, "film", 0)])
        assert receipt_in(await node.engine.exchange(WUHAN, alone)).reason is Reason.FRAME_MALFORMED
        assert node.disk.octets == 0

    play(tmp_path, scene)


@pytest.mark.spec("UP-2")
def test_who_would_be_refused_is_refused_before_an_octet_is_asked_for(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = taking(stage)
        film = scan(3 * KIB)

        def bent(**changes: Any) -> bytes:
            said = Message(WUHAN, EZHOU, files={"film": film}, **changes)
            return presented(sign(said, SAMPLE.keyrings[WUHAN]))

        wrong = bent(to_authority=uscc(XIANGYANG))
        receipt = receipt_in(await node.engine.exchange(WUHAN, wrong))
        assert receipt.reason is Reason.AUTHORITY_NOT_HERE
        before = bent(number=2, lifetime_ms=60_000)
        await sleep(61)
        assert busy_in(await node.engine.exchange(WUHAN, before)) is Reason.CLOCK_SKEW
        early = bent(number=3, created_ms=node.clock.now_ms() + 3600_000)
        assert busy_in(await node.engine.exchange(WUHAN, early)) is Reason.CLOCK_SKEW
        assert await node.read(transfers) == {}
        # Who may not present it is not asked either.
        honest = message(XIANGYANG, EZHOU, film=film)
        answer = only(await node.engine.exchange(WUHAN, presented(honest)))
        assert isinstance(answer, NotHereFrame)

    play(tmp_path, scene)


@pytest.mark.spec("LI-2")
@pytest.mark.spec("LI-8")
@pytest.mark.spec("LI-9")
@pytest.mark.parametrize(
    "files",
    [
        {"film": 64 * KIB + 1},
        {"film": 64 * KIB, "plan": 32 * KIB + 1},
        {"body": 2 * KIB + 1},
    ],
    ids=["a part", "all large parts", "a large body"],
)
def test_what_is_too_large_is_refused_for_good_and_not_asked_for(
    tmp_path: Path, files: dict[str, int]
) -> None:
    async def scene(stage: Stage) -> None:
        node = taking(stage)
        octets = {name: bytes(size) for name, size in files.items()}
        signed = message(WUHAN, EZHOU, **octets)
        receipt = receipt_in(await node.engine.exchange(WUHAN, presented(signed)))
        assert (receipt.type, receipt.reason) == (ReceiptType.REFUSED, Reason.TOO_LARGE)
        assert await node.read(transfers) == {}

    play(tmp_path, scene)


@pytest.mark.spec("UP-6")
def test_a_part_that_came_wrong_is_asked_for_again_a_few_times_and_never_refused(
    tmp_path: Path,
) -> None:
    """A hub may have damaged it: that must not end the sender's message."""

    async def scene(stage: Stage) -> None:
        node = taking(stage)
        honest = message(WUHAN, EZHOU, film=scan(3 * KIB))
        damaged = replace(honest, parts=honest.parts | {"film": scan(3 * KIB, 9)})
        post = node.engine.exchange
        await post(WUHAN, presented(honest))
        wrong = carrying(damaged, *pieces(damaged, "film", 0, 3 * KIB))
        for _ in range(LIMITS.mismatches):
            assert wanted(await post(WUHAN, wrong)) == {"film": 0}
            assert node.disk.octets == 0
        assert busy_in(await post(WUHAN, wrong)) is Reason.PART_MISMATCH
        assert busy_in(await post(WUHAN, presented(honest))) is Reason.PART_MISMATCH
        await sleep(LIMITS.rest_ms / 1000 + 1)
        right = last(honest, *pieces(honest, "film", 0, 3 * KIB))
        assert receipt_in(await post(WUHAN, right)).type is ReceiptType.RECEIVED
        assert await stored(node, honest.reference) == {"film": honest.parts["film"]}

    play(tmp_path, scene)


@pytest.mark.spec("UP-7")
def test_a_peer_that_takes_all_its_room_leaves_the_others_theirs(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = taking(stage)
        post = node.engine.exchange
        greedy = [message(HUB, EZHOU, number, film=scan(60 * KIB, number)) for number in range(4)]
        assert wanted(await post(HUB, presented(greedy[0]))) == {"film": 0}
        for one in greedy[1:]:
            assert busy_in(await post(HUB, presented(one))) is Reason.PART_QUOTA
        assert len(await node.read(transfers)) == 1
        # Its small messages go on, and so does what is under way.
        assert receipt_in(await post(HUB, presented(message(HUB, EZHOU, 9)))).reference is not None
        assert wanted(await post(HUB, carrying(greedy[0], piece(greedy[0], "film", 0)))) == {
            "film": KIB
        }
        honest = message(WUHAN, EZHOU, film=scan(60 * KIB))
        await post(WUHAN, presented(honest))
        whole = last(honest, *pieces(honest, "film", 0, 60 * KIB))
        assert receipt_in(await post(WUHAN, whole)).type is ReceiptType.RECEIVED

    play(tmp_path, scene)


@pytest.mark.spec("UP-7")
def test_room_is_bounded_by_count_and_over_all_peers_and_a_message_gets_all_or_none(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        node = taking(stage, peer_parts=3, octets=20 * KIB)
        post = node.engine.exchange
        many = {f"m{number}": scan(3 * KIB, number) for number in range(4)}
        assert busy_in(await post(WUHAN, presented(message(WUHAN, EZHOU, **many)))) is (
            Reason.PART_QUOTA
        )
        assert await node.read(transfers) == {}
        del many["m3"]
        first = message(WUHAN, EZHOU, 2, **many)
        assert len(wanted(await post(WUHAN, presented(first)))) == 3
        over = message(HUB, EZHOU, film=scan(12 * KIB))
        assert busy_in(await post(HUB, presented(over))) is Reason.PART_QUOTA
        # What is done makes room.
        frames = [frame for name in many for frame in pieces(first, name, 0, 3 * KIB)]
        assert receipt_in(await post(WUHAN, last(first, *frames))).type is ReceiptType.RECEIVED
        assert wanted(await post(HUB, presented(over))) == {"film": 0}

    play(tmp_path, scene)


def test_all_that_many_messages_want_fits_into_one_answer(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = taking(stage, peer_parts=10_000, peer_octets=10**9, octets=10**9)
        node.disk.capacity = 10**9
        files = {f"m{number}": scan(3 * KIB, number) for number in range(32)}
        posts = [presented(message(WUHAN, EZHOU, number, **files)) for number in range(200)]
        asked = wanted(await node.engine.exchange(WUHAN, posts[0]))
        assert list(asked) == list(files)
        answer = await node.engine.exchange(WUHAN, b"".join(posts))
        assert answer.count(b"\x05\x00\x00\x00") <= MAX_POST_FRAMES
        assert wanted(answer)

    play(tmp_path, scene)


def test_a_disk_in_trouble_is_told_as_busy_and_costs_no_octet_that_was_wanted(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        node = taking(stage)
        post = node.engine.exchange
        signed = message(WUHAN, EZHOU, film=scan(4 * KIB))
        node.disk.capacity = 3 * KIB
        assert busy_in(await post(WUHAN, presented(signed))) is Reason.STORE_UNAVAILABLE
        node.disk.capacity = 10 * KIB
        await post(WUHAN, presented(signed))
        await post(WUHAN, carrying(signed, piece(signed, "film", 0)))
        node.disk.failures = 1
        answer = await post(WUHAN, carrying(signed, piece(signed, "film", KIB)))
        assert busy_in(answer) is Reason.STORE_UNAVAILABLE
        node.disk.capacity = KIB
        answer = await post(WUHAN, carrying(signed, piece(signed, "film", KIB)))
        assert busy_in(answer) is Reason.STORE_UNAVAILABLE
        node.disk.capacity = 10 * KIB
        rest = last(signed, *pieces(signed, "film", KIB, 4 * KIB))
        assert receipt_in(await post(WUHAN, rest)).type is ReceiptType.RECEIVED

    play(tmp_path, scene)


@pytest.mark.spec("EX-41", "UP-9")
def test_a_hub_has_custody_only_of_what_is_whole_on_its_disk(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub = taking(stage, HUB)
        signed = message(WUHAN, XIANGYANG, film=scan(5 * KIB))
        post = hub.engine.exchange
        assert wanted(await post(WUHAN, presented(signed))) == {"film": 0}
        assert wanted(await post(WUHAN, carrying(signed, piece(signed, "film", 0)))) == {
            "film": KIB
        }
        assert await hub.read(queue_lengths) == {}
        whole = last(signed, *pieces(signed, "film", KIB, 5 * KIB))
        assert receipt_in(await post(WUHAN, whole)).type is ReceiptType.CUSTODY
        assert await hub.read(queue_lengths) == {XIANGYANG: 1}
        assert await stored(hub, signed.reference, Role.TRANSIT) == {"film": signed.parts["film"]}
        assert receipt_in(await post(WUHAN, presented(signed))).type is ReceiptType.CUSTODY

    play(tmp_path, scene)


def test_two_contents_under_one_id_do_not_share_a_file(tmp_path: Path) -> None:
    """Their sender is at fault, but the one that gets there first has to be whole."""

    async def scene(stage: Stage) -> None:
        node = taking(stage)
        one = message(WUHAN, EZHOU, film=scan(3 * KIB, 1))
        other = message(WUHAN, EZHOU, film=scan(3 * KIB, 2))
        assert one.reference == other.reference
        post = node.engine.exchange
        for signed in (one, other):
            assert wanted(await post(WUHAN, presented(signed))) == {"film": 0}
        for signed in (one, other):
            answer = await post(WUHAN, carrying(signed, piece(signed, "film", 0)))
            assert wanted(answer) == {"film": KIB}
        whole = last(one, *pieces(one, "film", KIB, 3 * KIB))
        assert receipt_in(await post(WUHAN, whole)).type is ReceiptType.RECEIVED
        refused = receipt_in(await post(WUHAN, presented(other)))
        assert refused.reason is Reason.MESSAGE_ID_REUSED
        assert await stored(node, one.reference) == {"film": one.parts["film"]}

    play(tmp_path, scene)


def test_the_same_pieces_at_the_same_time_are_taken_once(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = taking(stage)
        signed = message(WUHAN, EZHOU, film=scan(4 * KIB))
        await node.engine.exchange(WUHAN, presented(signed))
        whole = last(signed, *pieces(signed, "film", 0, 4 * KIB))
        answers = await gather(*(node.engine.exchange(WUHAN, whole) for _ in range(5)))
        assert len(set(answers)) == 1
        assert receipt_in(answers[0]).type is ReceiptType.RECEIVED
        assert await stored(node, signed.reference) == {"film": signed.parts["film"]}

    play(tmp_path, scene)
