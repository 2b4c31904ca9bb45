"""Links over one-way gates: whatever a gate, or who can write into its folders, does to files."""

from __future__ import annotations

import random
from asyncio import sleep
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from node import ferry as ferry_link
from node.carriers.ferry import Ferry, FerryTerms
from node.carriers.ferry import ferry as module
from node.carriers.ferry.ferry import MAX_UNDECIDED
from node.carriers.ferry.folders import ASIDE, Folders
from node.ferry import FerryLink
from node.store import schema
from node.store.queries import Role
from protocol.ferry_file import FERRY_HEAD_OCTETS, read_ferry_head
from protocol.frames import (
    AskFrame,
    BusyFrame,
    EnvelopeFrame,
    HeadFrame,
    HeldFrame,
    NotHereFrame,
    read_frames,
    write_frames,
)
from protocol.reasons import Reason
from signing.ferry import Passage, sign_ferry_files
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG, make_sample
from tests.sim.gates import ROUND_TRIP_MS, Gates
from tests.sim.little import KIB, LIMITS, scan
from tests.sim.peers import HOUR_S, now_ms, play, silence
from tests.sim.test_large_parts import arrived, send

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from tests.sim.peers import Stage

DARK = make_sample(XIANGYANG)
PATIENCE_S = 65
SLOW_MS = 100_000


def places(connection: Connection) -> list[Any]:
    """Every errand: where, when, how often."""
    return list(connection.execute(select(schema.outbox)).all())


class Link:
    """A hub and Xiangyang, with nothing but gates between them."""

    def __init__(self, stage: Stage, folder: Path, round_trip_ms: int = ROUND_TRIP_MS) -> None:
        self.gates = Gates(
            folder / "gates", random.Random(1), (HUB, XIANGYANG), round_trip_ms=round_trip_ms
        )
        self.hub = stage.node(HUB, federation=DARK.federation, gates=self.gates)
        self.node = stage.node(XIANGYANG, federation=DARK.federation, gates=self.gates)
        self.out = self.gates.folders(HUB, XIANGYANG).out
        self.into = self.gates.folders(HUB, XIANGYANG).into

    async def run(self) -> None:
        await self.hub.run()
        await self.node.run()

    def trouble(self) -> str:
        (status,) = self.hub.engine.peers()
        return status.trouble or ""

    def aside(self) -> dict[str, str]:
        """What was set aside at the hub, and why."""
        reasons = (self.into / ASIDE).glob("*.reason.txt")
        return {path.name.removesuffix(".reason.txt"): path.read_text() for path in reasons}

    def files(
        self, octets: bytes, number: int = 1, room: int = 2**20, **changes: str
    ) -> list[bytes]:
        """Files as Xiangyang would write them for the hub; or as another node, or for another."""
        sender = changes.get("sender", XIANGYANG)
        passage = Passage(sender, changes.get("receiver", HUB))
        return sign_ferry_files(octets, passage, number, now_ms(), room, DARK.keyrings[sender])

    def put(self, name: str, octets: bytes) -> None:
        (self.into / name).write_bytes(octets)


@pytest.mark.spec("FF-6")
def test_files_carry_everything_both_ways(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        link.gates.open()
        await link.run()
        there, back = await link.hub.ping(XIANGYANG), await link.node.ping(HUB)
        await sleep(3 * ROUND_TRIP_MS / 1000)
        assert await link.hub.standing(there) == "received"
        assert await link.node.standing(back) == "received"
        assert (link.hub.posts, link.node.posts) == ([], [])
        assert list(link.into.iterdir()) == []
        await link.gates.close()

    play(tmp_path, scene)


@pytest.mark.spec("FF-8")
def test_a_slow_gate_is_no_reason_to_send_again(tmp_path: Path) -> None:
    """Four minutes there, four back, as agreed: each message crosses once."""

    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path, round_trip_ms=10 * 60_000)
        await link.run()
        filed = [await link.hub.ping(XIANGYANG) for _ in range(20)]
        crossed = 0
        for _ in range(4):
            await sleep(4 * 60)
            for one, other in ((HUB, XIANGYANG), (XIANGYANG, HUB)):
                source = link.gates.folders(one, other).out
                sink = link.gates.folders(other, one).into
                for path in source.glob("[!.]*"):
                    frames = read_frames(path.read_bytes()[FERRY_HEAD_OCTETS:])
                    crossed += sum(isinstance(frame, EnvelopeFrame) for frame in frames)
                    path.replace(sink / path.stem)
        assert {await link.hub.standing(one) for one in filed} == {"received"}
        assert crossed == len(filed)

    play(tmp_path, scene)


@pytest.mark.spec("FF-8")
def test_a_gate_that_is_shut_for_hours_is_not_flooded_and_drains(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path, round_trip_ms=SLOW_MS)
        await link.run()
        filed = [await link.hub.ping(XIANGYANG) for _ in range(5)]
        most = 0
        for _ in range(4 * 6):
            await sleep(HOUR_S / 6)
            most = max(most, len(list(link.out.iterdir())))
        assert most < 30
        (status,) = link.hub.engine.peers()
        assert status.failures == 1
        assert "no file came through the gate" in link.trouble()
        link.gates.open()
        await sleep(60)
        assert {await link.hub.standing(one) for one in filed} == {"received"}
        (status,) = link.hub.engine.peers()
        assert (status.failures, status.trouble) == (0, None)
        await link.gates.close()

    play(tmp_path, scene)


@pytest.mark.spec("FF-9")
def test_a_link_with_nothing_to_say_writes_seldom(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        link.gates.open()
        await link.run()
        await sleep(20 * 60)
        assert 20 < link.gates.carried < 2 * 25
        (status,) = link.hub.engine.peers()
        assert (status.failures, status.trouble) == (0, None)
        await link.gates.close()

    play(tmp_path, scene)


@pytest.mark.spec("FF-3")
def test_a_hand_over_larger_than_a_file_crosses_in_several(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        filed = [await link.hub.ping(XIANGYANG) for _ in range(100)]
        await link.run()
        await sleep(1)
        heads = [read_ferry_head(path.read_bytes()).head for path in sorted(link.out.iterdir())]
        assert max(head.files for head in heads) > 1
        link.gates.open()
        await sleep(60)
        assert {await link.hub.standing(one) for one in filed} == {"received"}
        await link.gates.close()

    play(tmp_path, scene)


@pytest.mark.spec("FF-3", "FF-7")
def test_a_hand_over_of_which_a_file_is_lost_is_not_taken(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        await link.hub.run()
        taken = BusyFrame(None, Reason.OVERLOADED, 0)
        first, second, third = link.files(write_frames([taken] * 60), room=200)[:3]
        link.put("c", third)
        link.put("a", first)
        await sleep(PATIENCE_S)
        assert set(link.aside()) == {"a", "c"}
        assert "the rest of its hand-over never came" in link.aside()["a"]
        assert second

    play(tmp_path, scene)


# what is not taken


@pytest.mark.spec("FF-1", "FF-2", "FF-7")
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("text", "not a ferry file"),
        ("empty", "0 octets"),
        ("half a head", "100 octets"),
        ("half", "announced are"),
        ("longer", "announced are"),
        ("flipped", "not those its sender signed"),
        ("zeroes", "not a ferry file"),
        ("of Wuhan", "from 420100 to 420000"),
        ("for Wuhan", "from 420600 to 420100"),
        ("forged", "signature"),
    ],
)
def test_what_is_not_a_file_of_this_link_is_set_aside_with_the_reason(
    tmp_path: Path, fault: str, told: str
) -> None:
    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        await link.hub.run()
        hint = write_frames([BusyFrame(None, Reason.OVERLOADED, 0)])
        (good,) = link.files(hint)
        (of_wuhan,) = link.files(hint, sender=WUHAN)
        octets = {
            "text": "会议纪要".encode() * 100,
            "empty": b"",
            "half a head": good[:100],
            "half": good[:-1],
            "longer": good + b"\0",
            "flipped": good[:-1] + bytes([good[-1] ^ 1]),
            "zeroes": bytes(len(good)),
            "of Wuhan": of_wuhan,
            "for Wuhan": link.files(hint, receiver=WUHAN)[0],
            "forged": of_wuhan[:5] + good[5:105] + of_wuhan[105:],
        }
        link.put("some file.dat", octets[fault])
        await sleep(10)
        assert link.aside() == {}, "it may still be coming"
        await sleep(PATIENCE_S)
        assert told in link.aside()["some file.dat"]
        assert (link.into / ASIDE / "some file.dat").read_bytes() == octets[fault]
        assert "1 files were not taken" in link.trouble()
        # Whoever looks after it removes it, and all is well.
        for path in (link.into / ASIDE).iterdir():
            path.unlink()
        await sleep(2)
        assert "not taken" not in link.trouble()

    play(tmp_path, scene)


@pytest.mark.spec("FF-7")
def test_made_up_keys_do_not_keep_the_folder_full(tmp_path: Path) -> None:
    """A file of a key not known yet waits for the directory; a flood of them does not."""

    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        await link.hub.run()
        (good,) = link.files(b"")
        flood = 3 * MAX_UNDECIDED
        for number in range(flood):
            made_up = number.to_bytes(32)
            link.put(f"{number:03}", good[:37] + made_up + good[69:])
        reads = 0
        read = Folders.read

        def counted(self: Folders, name: str, start: int, length: int) -> bytes:
            nonlocal reads
            reads += 1
            return read(self, name, start, length)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Folders, "read", counted)
            await sleep(PATIENCE_S + 10)
        assert len(link.aside()) == flood - MAX_UNDECIDED
        assert reads < flood * (PATIENCE_S + 10) / 5 * 1.5
        assert "key" in link.trouble()

    play(tmp_path, scene)


@pytest.mark.spec("FF-3")
def test_a_hand_over_larger_than_a_post_is_not_even_read(tmp_path: Path) -> None:
    """127 files of 8 MiB each would fill the memory, again at every look."""

    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        await link.hub.run()
        read: list[int] = []
        plain = Folders.read

        def counted(self: Folders, name: str, start: int, length: int) -> bytes:
            octets = plain(self, name, start, length)
            read.append(len(octets))
            return octets

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Folders, "read", counted)
            patch.setattr(module, "MAX_POST_OCTETS", 4 * KIB)
            too_large = link.files(bytes(6 * KIB), number=1, room=KIB)
            unfinished = link.files(bytes(3 * KIB), number=2, room=KIB)[1:]
            for place, file in enumerate([*too_large, *unfinished]):
                link.put(f"{place}", file)
            await sleep(20)
            assert set(read) == {FERRY_HEAD_OCTETS}
            await sleep(PATIENCE_S)
        assert len(link.aside()) == len(too_large) + len(unfinished)

    play(tmp_path, scene)


@pytest.mark.spec("FF-6")
def test_while_answers_cannot_be_written_little_is_taken(tmp_path: Path) -> None:
    """The peer goes on writing, our gate fetches nothing: memory must not take what disk does."""

    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        await link.hub.run()
        await sleep(1)
        link.out.rename(link.out.with_name("gone"))
        taken = 0
        exchange = link.hub.engine.exchange

        async def counted(peer: str, octets: bytes) -> bytes:
            nonlocal taken
            taken += 1
            return await exchange(peer, octets) + bytes(KIB)

        (served,) = link.hub.engine._links._links.values()
        assert isinstance(served, FerryLink)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(served, "_take", counted)
            patch.setattr(ferry_link, "MAX_POST_OCTETS", 8 * KIB)
            for number in range(1, 40):
                link.put(f"{number}", link.files(b"", number=number)[0])
            await sleep(HOUR_S)
            assert taken <= 5
        assert len(list(link.into.iterdir())) == 39

    play(tmp_path, scene)


@pytest.mark.spec("FF-1")
def test_who_can_write_into_the_folder_cannot_speak_for_the_peer(tmp_path: Path) -> None:
    """Frames prove themselves, hints do not: without the signature anybody could hold up a case."""

    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        await link.hub.run()
        filed = await link.hub.ping(XIANGYANG)
        await sleep(2)
        lie = write_frames([NotHereFrame(filed.message, Reason.LOOP)])
        (by_wuhan,) = link.files(lie, sender=WUHAN)
        (honest,) = link.files(lie)
        for name, octets in (
            ("bare", lie),
            ("unsigned", honest[:105] + bytes(64) + honest[FERRY_HEAD_OCTETS:]),
            ("another's", by_wuhan),
        ):
            link.put(name, octets)
        await sleep(PATIENCE_S)
        assert len(link.aside()) == 3
        (errand,) = await link.hub.read(places)
        assert errand.attempts == 0
        link.put("honest", honest)
        await sleep(2)
        (errand,) = await link.hub.read(places)
        assert errand.attempts == 1

    play(tmp_path, scene)


@pytest.mark.spec("FF-4")
def test_a_file_that_comes_again_is_taken_once(tmp_path: Path) -> None:
    """A gate doubles it, or somebody keeps it and puts it back: an old hint must not act again."""

    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        await link.hub.run()
        filed = await link.hub.ping(XIANGYANG)
        await sleep(2)
        (file,) = link.files(write_frames([BusyFrame(filed.message, Reason.OVERLOADED, 1_000)]))
        for again in range(5):
            link.put(f"copy {again}", file)
            link.put(f"copy {again}b", file)
            await sleep(20)
            (errand,) = await link.hub.read(places)
            assert errand.attempts == 1, again
            assert list(link.into.iterdir()) == []

    play(tmp_path, scene)


@pytest.mark.spec("FF-4")
def test_files_that_overtake_one_another_are_all_taken(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        await link.hub.run()
        filed = [await link.hub.ping(XIANGYANG) for _ in range(4)]
        await sleep(2)
        for number in (7, 5, 8, 6):
            hint = BusyFrame(filed[number - 5].message, Reason.OVERLOADED, 60_000)
            link.put(f"{number}", link.files(write_frames([hint]), number)[0])
            await sleep(2)
        assert [errand.attempts for errand in await link.hub.read(places)] == [1] * 4

    play(tmp_path, scene)


@pytest.mark.spec("FF-7")
@pytest.mark.parametrize("how", ["grows", "is filled", "is joined by a half one"])
def test_a_file_that_is_written_slowly_is_waited_for(tmp_path: Path, how: str) -> None:
    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        await link.hub.run()
        filed = await link.hub.ping(XIANGYANG)
        await sleep(2)
        (file,) = link.files(write_frames([BusyFrame(filed.message, Reason.OVERLOADED, 60_000)]))
        for length in range(0, len(file), 20):
            shown = file[:length]
            if how == "is filled":
                shown += bytes(len(file) - length)
            link.put("slow", shown)
            await sleep(20)
        (errand,) = await link.hub.read(places)
        assert errand.attempts == 0
        link.put("whole" if how == "is joined by a half one" else "slow", file)
        await sleep(2)
        (errand,) = await link.hub.read(places)
        assert (errand.attempts, link.aside()) == (1, {})

    play(tmp_path, scene)


@pytest.mark.spec("FF-6")
def test_a_node_killed_before_its_answer_was_written_takes_the_file_again(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        filed = await link.node.ping(HUB)
        await link.node.run()
        await sleep(1)
        for path in link.gates.folders(XIANGYANG, HUB).out.iterdir():
            path.replace(link.into / path.stem)
        # What a process does up to the moment it is killed: taken and durable, nothing written.
        first = Ferry(
            link.hub.context,
            FerryTerms(XIANGYANG, ROUND_TRIP_MS),
            link.gates.folders(HUB, XIANGYANG),
            link.gates._inline,
        )
        answers = [
            await link.hub.engine.exchange(XIANGYANG, arrived.octets)
            async for arrived in first.arrivals()
        ]
        stored = (await link.hub.row(filed.message, Role.IN)).receipt or b"-"
        assert stored in b"".join(answers)
        # The next process finds the file, and says the same.
        await link.hub.run()
        link.gates.open()
        await sleep(30)
        assert (await link.node.row(filed.message)).receipt == stored
        await link.gates.close()

    play(tmp_path, scene)


@pytest.mark.spec("FF-6")
def test_a_file_stays_until_its_answer_is_written(tmp_path: Path) -> None:
    """What arrived is durable long before, but its sender could not be told."""

    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        filed = await link.node.ping(HUB)
        await link.node.run()
        await sleep(1)
        for path in link.gates.folders(XIANGYANG, HUB).out.iterdir():
            path.replace(link.into / path.stem)
        elsewhere = link.out.rename(link.out.with_name("gone"))
        await link.hub.run()
        await sleep(30)
        assert (await link.hub.row(filed.message, Role.IN)).standing == "received"
        assert len(list(link.into.iterdir())) == 1
        elsewhere.rename(link.out)
        await sleep(10)
        assert list(link.into.iterdir()) == []
        link.gates.open()
        await sleep(10)
        assert await link.node.standing(filed) == "received"
        await link.gates.close()

    play(tmp_path, scene)


# folders


@pytest.mark.parametrize("which", ["out", "into"])
def test_a_folder_that_is_gone_is_said_and_its_return_ends_it(tmp_path: Path, which: str) -> None:
    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        folder = getattr(link, which)
        link.gates.open()
        await link.run()
        await sleep(30)
        elsewhere = folder.rename(folder.with_name("gone"))
        filed = await link.hub.ping(XIANGYANG)
        await sleep(600)
        assert "No such file" in link.trouble()
        assert f"`{'in' if which == 'into' else 'out'}`" in link.trouble()
        assert await link.hub.standing(filed) == "queued"
        elsewhere.rename(folder)
        await sleep(8 * 60)
        assert await link.hub.standing(filed) == "received"
        assert link.trouble() == ""
        await link.gates.close()

    play(tmp_path, scene)


def test_a_gate_nobody_fetches_from_does_not_fill_the_disk(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path)
        for number in range(1100):
            (link.out / f"x-{number:04}.tbf").write_bytes(b"")
        await link.hub.run()
        await link.hub.ping(XIANGYANG)
        await sleep(60)
        assert "has not fetched 1100 files" in link.trouble()
        assert len(list(link.out.iterdir())) == 1100

    play(tmp_path, scene)


# the promises, over files


@pytest.mark.spec("UP-3", "FF-3")
def test_large_parts_cross_piece_by_piece_many_to_a_round_trip(tmp_path: Path) -> None:
    """Waiting a round trip for each piece would take an hour where this takes minutes."""

    async def scene(stage: Stage) -> None:
        gates = Gates(tmp_path / "gates", random.Random(1), (WUHAN, EZHOU))
        near = stage.node(WUHAN, parts=LIMITS, gates=gates)
        far = stage.node(EZHOU, parts=LIMITS, gates=gates)
        gates.open()
        await near.run()
        await far.run()
        film = scan(60 * KIB)
        filed = await send(near, EZHOU, film=film, note=b"small")
        await sleep(6 * ROUND_TRIP_MS / 1000)
        assert await near.standing(filed) == "received"
        assert await arrived(far, filed) == {"film": film}
        await gates.close()

    play(tmp_path, scene)


def test_while_the_gate_is_shut_what_has_another_way_takes_it(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        gates = Gates(tmp_path / "gates", random.Random(1), (WUHAN, EZHOU))
        node = stage.node(WUHAN, gates=gates)
        hub, far = stage.node(HUB), stage.node(EZHOU, gates=gates)
        node.reaches(hub)
        hub.reaches(far)
        hub.reaches(node)
        far.reaches(hub)
        for one in (node, hub, far):
            await one.run()
        filed = await node.ping(EZHOU)
        assert filed.route == (WUHAN, EZHOU)
        await sleep(600)
        assert await node.standing(filed) == "received"
        assert (await far.row(filed.message, Role.IN)).path == f"{WUHAN},{HUB}"

    play(tmp_path, scene)


@pytest.mark.spec("EX-9", "EX-43")
def test_a_question_crosses_the_gate_and_its_answer_comes_back(tmp_path: Path) -> None:
    """The hub never had the message; it keeps nothing of the question but in memory."""

    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path, round_trip_ms=SLOW_MS)
        link.gates.open()
        asker = stage.node(WUHAN, federation=DARK.federation)
        asker.context.lifetime_ms = 60_000
        asker.peers[HUB] = silence
        await link.run()
        await asker.run()
        filed = await asker.ping(XIANGYANG)
        await sleep(120)
        asker.reaches(link.hub)
        await sleep(HOUR_S)
        row = await asker.row(filed.message)
        assert (row.standing, row.reason) == ("refused", Reason.EXPIRED.number)
        assert (await link.node.row(filed.message, Role.IN)).receipt == row.receipt
        await link.gates.close()

    play(tmp_path, scene)


@pytest.mark.spec("EX-9")
def test_what_expires_behind_a_gate_is_asked_about(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        link = Link(stage, tmp_path, round_trip_ms=SLOW_MS)
        link.hub.context.lifetime_ms = 600_000
        await link.hub.run()
        filed = await link.hub.ping(XIANGYANG)
        await sleep(HOUR_S)
        kinds = {
            type(frame)
            for path in link.out.iterdir()
            for frame in read_frames(path.read_bytes()[FERRY_HEAD_OCTETS:])
        }
        assert kinds - {HeadFrame, HeldFrame} == {AskFrame}
        link.gates.open()
        await link.node.run()
        await sleep(HOUR_S)
        row = await link.hub.row(filed.message)
        assert (row.standing, row.reason) == ("refused", Reason.EXPIRED.number)
        await link.gates.close()

    play(tmp_path, scene)
