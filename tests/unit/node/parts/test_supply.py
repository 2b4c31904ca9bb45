"""The sending half of large parts: what the peer's words mean, and how much goes at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from node.outgoing import Draft, Filed
from node.parts.files import Material as File
from node.parts.supply import Supply, Word, _Wish
from node.store.queries import Errand, StoredBlob, due_errands, find_blobs
from protocol.bodies import Material
from protocol.frames import EnvelopeFrame, PartFrame, WantedFrame, read_frames
from protocol.limits import MAX_POST_OCTETS
from tests.sim.federation import EZHOU, WUHAN
from tests.sim.little import KIB, LIMITS, scan
from tests.sim.peers import operator, play, submission

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from node.parts.supply import Pieces
    from tests.sim.peers import DrivenNode, Stage

BLOBS = {name: StoredBlob(name * 64, 10 * KIB) for name in "ab"}


class Talk:
    """One message's wish, and a peer that says what it wants of it."""

    def __init__(self, ahead: int = 0, **wanted: int) -> None:
        self.wish = _Wish(BLOBS)
        self.wish.hear(wanted, KIB, None)
        self.wish.ahead = ahead

    def sends(self, octets: int = KIB) -> Talk:
        """So much is handed over, of the first part that is wanted."""
        if not self.wish.flowing or self.wish.complete:
            self.wish.go_back()
        name = next(iter(self.wish.wanted))
        self.wish.front[name] += octets
        self.wish.sent += octets
        self.wish.complete = all(
            self.wish.front[part] >= BLOBS[part].size for part in self.wish.wanted
        )
        self.wish.flowing = self.wish.ahead > 0 and not self.wish.complete
        return self

    def hears(self, *, others: Any = None, **wanted: int) -> Word:
        return self.wish.hear(wanted, KIB, others)


@pytest.mark.spec("UP-8")
def test_more_goes_at_once_while_what_was_given_makes_the_peer_want_less() -> None:
    talk = Talk(a=0, b=0)
    assert talk.hears(a=0, b=0) is Word.SAME
    assert talk.sends().hears(a=KIB, b=0) is Word.MORE
    assert talk.sends(4 * KIB).hears(a=KIB, b=0) is Word.SAME
    # It need not take all of it, but a piece.
    assert talk.sends(4 * KIB).hears(a=KIB + 1, b=0) is Word.SAME
    assert talk.sends(4 * KIB).hears(a=3 * KIB, b=0) is Word.MORE
    assert talk.sends(100).hears(a=3 * KIB + 100, b=0) is Word.MORE
    # Wanted no more it is done, and that once.
    assert talk.hears(b=0) is Word.MORE
    assert talk.hears(b=0) is Word.SAME


@pytest.mark.spec("UP-8")
def test_what_is_no_octet_of_a_part_was_never_wanted() -> None:
    talk = Talk(a=0)
    for strange in (10 * KIB, 2**63):
        talk.hears(a=strange)
        assert talk.wish.wanted == {}
    assert not talk.wish.small
    assert talk.hears(a=0, body=0) is Word.SAME
    assert talk.wish.small


def test_a_peer_that_loses_what_it_had_is_counted_and_goes_on_from_there() -> None:
    talk = Talk(a=0)
    talk.sends(5 * KIB).hears(a=5 * KIB)
    assert talk.hears(a=0) is Word.SAME
    assert (talk.wish.falls, talk.wish.wanted) == (1, {"a": 0})
    assert talk.sends(5 * KIB).hears(a=5 * KIB) is Word.MORE
    talk.hears(b=0)
    assert talk.hears(a=0, b=0) is Word.SAME
    assert talk.wish.falls == 2


@pytest.mark.spec("UP-10")
def test_pieces_go_ahead_of_the_answers_and_an_older_answer_takes_nothing_back() -> None:
    talk = Talk(ahead=20 * KIB, a=0)
    talk.sends(4 * KIB).sends(4 * KIB)
    assert talk.wish.front == {"a": 8 * KIB}
    assert talk.hears(a=4 * KIB, others=True) is Word.MORE
    assert talk.wish.front == {"a": 8 * KIB}
    # Said of a later post before its earlier one had arrived.
    assert talk.hears(a=4 * KIB, others=True) is Word.UNDER_WAY
    talk.sends(2 * KIB)
    assert talk.wish.complete
    assert talk.hears(a=8 * KIB, others=True) is Word.UNDER_WAY


def test_what_was_overtaken_goes_again_once() -> None:
    talk = Talk(ahead=20 * KIB, a=0)
    talk.sends(4 * KIB).sends(4 * KIB).hears(a=4 * KIB, others=True)
    assert talk.hears(a=2 * KIB, others=False) is Word.MORE
    talk.sends(KIB)
    assert talk.wish.front == {"a": 5 * KIB}
    assert talk.hears(a=4 * KIB, others=False) is Word.SAME
    assert talk.wish.falls == 0
    assert talk.hears(a=0, others=False) is Word.SAME
    assert talk.wish.falls == 1


def test_through_a_gate_the_lowest_word_counts_when_nothing_else_comes() -> None:
    talk = Talk(ahead=20 * KIB, a=0)
    talk.sends(4 * KIB).sends(4 * KIB).hears(a=4 * KIB)
    assert talk.hears(a=0) is Word.UNDER_WAY
    assert talk.hears(a=8 * KIB) is Word.MORE
    talk.sends(2 * KIB)
    assert talk.hears(a=0) is Word.UNDER_WAY
    # The lease ends, and it is handed over again.
    talk.sends(KIB)
    assert talk.wish.front == {"a": KIB}
    assert talk.wish.falls == 1


# with errands of a real store


async def errands(node: DrivenNode, count: int, **files: bytes) -> list[Errand]:
    """So many messages with these files, as they wait for Ezhou."""
    rows = tuple(Material(name, "扫描件", "electronic", "B", 1, part=name) for name in files)
    materials = {name: File("application/pdf", octets) for name, octets in files.items()}
    for _ in range(count):
        draft = Draft(
            operator(WUHAN).authority,
            submission(EZHOU, rows),
            materials=materials,
            recipient=operator(EZHOU),
        )
        assert isinstance(await node.engine.file(draft), Filed)
    now_ms = node.clock.now_ms()
    return await node.read(lambda connection: due_errands(connection, EZHOU, now_ms, 100))


async def wanting(node: DrivenNode, supply: Supply, errand: Errand, **wanted: int) -> Word:
    row = errand.message
    found = await node.read(lambda connection: find_blobs(connection, [row]))
    blobs: Mapping[str, StoredBlob] = found[row.name]
    frames = [WantedFrame(row.reference, name, offset) for name, offset in wanted.items()]
    return supply.note(row.reference, frames, blobs)


def octets_of(pieces: Pieces) -> list[int]:
    """Octets of pieces by message, in order."""
    return [
        sum(
            len(frame.octets)
            for frame in read_frames(octets)
            if isinstance(frame, PartFrame) and frame.part_id == "film"
        )
        for octets in pieces.octets
    ]


@pytest.mark.spec("UP-10")
def test_messages_share_what_is_left_and_the_last_pieces_take_the_small_parts_along(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN, parts=replace(LIMITS, post=8 * KIB))
        found = await errands(node, 3, film=scan(6 * KIB), note=b"small")
        supply = Supply(node.context)
        for errand in found:
            assert await wanting(node, supply, errand, film=0) is Word.MORE
            assert supply.wants_pieces(errand.message.reference)

        async def next_pieces(**how: Any) -> Pieces:
            return await supply.hand_over(found, MAX_POST_OCTETS, 0, **how)

        # A line nobody has measured yet gets a piece.
        assert octets_of(await next_pieces()) == [KIB]
        for _ in range(3):
            supply.heard(100)
            await next_pieces()
        supply.heard(100)
        assert octets_of(await next_pieces()) == [2730, 2730, 2730]
        supply.heard(5_000)
        assert octets_of(await next_pieces()) == [1365, 1365, 1365]
        supply.lost()
        supply.lost()
        assert octets_of(await next_pieces()) == [KIB]
        # Where nobody waits for the line it is as much as a post may have.
        whole = await next_pieces(paced=False, ahead=64 * KIB)
        assert octets_of(whole) == [2730, 2730, 2730]
        assert whole.unfinished == found
        await next_pieces(paced=False, ahead=64 * KIB)
        last = await next_pieces(paced=False, ahead=64 * KIB)
        assert octets_of(last) == [684, 684, 684]
        assert last.unfinished == []
        for octets in whole.octets:
            assert {f.part_id for f in read_frames(octets) if isinstance(f, PartFrame)} == {"film"}
        for octets in last.octets:
            frames = read_frames(octets)
            assert isinstance(frames[0], EnvelopeFrame)
            assert {f.part_id for f in frames if isinstance(f, PartFrame)} == {
                *("body", "note", "film")
            }

    play(tmp_path, scene)


def test_a_hand_over_without_room_or_wish_has_no_pieces(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN, parts=LIMITS)
        (errand,) = await errands(node, 1, film=scan(6 * KIB))
        supply = Supply(node.context)
        assert not supply.wants_pieces(errand.message.reference)
        await wanting(node, supply, errand, film=0)
        assert (await supply.hand_over([errand], 100 * KIB, 0)).octets == []
        await wanting(node, supply, errand, film=0, body=0)
        assert not supply.wants_pieces(errand.message.reference)
        supply.forget(errand.message.reference)
        assert supply.falls(errand.message.reference) == 0

    play(tmp_path, scene)


def test_what_cannot_be_read_is_told_apart(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN, parts=LIMITS)
        lost, there = await errands(node, 2, film=scan(6 * KIB))
        supply = Supply(node.context)
        for errand in (lost, there):
            await wanting(node, supply, errand, film=0)
        found = await node.read(lambda connection: find_blobs(connection, [lost.message]))
        del node.disk.sealed[found[lost.message.name]["film"].name]
        supply._room = 8 * KIB
        pieces = await supply.hand_over([lost, there], MAX_POST_OCTETS, 0)
        assert (pieces.stuck, pieces.errands) == ([lost], [there])

    play(tmp_path, scene)
