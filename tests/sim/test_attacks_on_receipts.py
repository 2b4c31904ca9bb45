"""What receipts, questions and answers may do: settle the message they are about, and no more."""

from __future__ import annotations

import dataclasses
import sys
from asyncio import sleep
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from node.context import Federation
from node.store.queries import Role
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import (
    BusyFrame,
    EnvelopeFrame,
    Frame,
    ReceiptFrame,
    read_frames,
    write_frames,
)
from protocol.limits import MAX_POST_OCTETS
from protocol.reasons import Reason
from protocol.receipt import ReceiptType, read_receipt
from routing.retry import DELIVERY
from signing import suites
from signing.keys import KeyUse
from signing.receipts import draft_receipt, sign_receipt
from tests.sim.craft import Message, Signed, sign
from tests.sim.federation import EZHOU, HUB, RULES, WUHAN, XIANGYANG, YUEYANG
from tests.sim.keyring import Keyring
from tests.sim.loop import START_MS
from tests.sim.peers import SAMPLE, now_ms, play

if TYPE_CHECKING:
    from pathlib import Path

    from protocol.envelope import MessageReference
    from tests.sim.peers import DrivenNode, Stage

MINUTE_MS = 60_000
HINT_MS = 2 * MINUTE_MS


def overdue(number: int) -> Signed:
    """A message of Wuhan to Xiangyang that has expired, so that its sender may ask about it."""
    message = Message(
        WUHAN,
        XIANGYANG,
        number=number,
        created_ms=START_MS - 2 * MINUTE_MS,
        lifetime_ms=MINUTE_MS,
    )
    return sign(message, SAMPLE.keyrings[WUHAN])


def fresh(destination: str, number: int) -> Signed:
    """A message of Wuhan."""
    return sign(Message(WUHAN, destination, number=number), SAMPLE.keyrings[WUHAN])


def about(frame: Frame) -> object:
    """The message an answer's frame is about."""
    if isinstance(frame, ReceiptFrame):
        return read_receipt(frame.octets).receipt.reference
    assert isinstance(frame, BusyFrame), frame
    return frame.reference


async def with_a_receipt_for_wuhan(stage: Stage) -> DrivenNode:
    """A hub that owes Wuhan the receipt of Xiangyang."""
    hub = stage.node(HUB)
    hub.reaches(stage.node(XIANGYANG))
    await hub.run()
    await hub.engine.exchange(WUHAN, fresh(XIANGYANG, 1).post())
    await sleep(1)
    return hub


# receipts on their way upstream


@pytest.mark.parametrize(
    "reference", [fresh(XIANGYANG, 1).reference, None], ids=["about it", "about the whole post"]
)
def test_a_receipt_upstream_could_not_take_waits_as_long_as_it_asks(
    tmp_path: Path, reference: MessageReference | None
) -> None:
    """Busy upstream (an old directory, a full store) is no answer; its hint is kept."""

    async def scene(stage: Stage) -> None:
        async def not_now(octets: bytes) -> bytes:
            hint = BusyFrame(reference, Reason.KEY_UNKNOWN, HINT_MS)
            return write_frames([hint]) if octets else b""

        hub = await with_a_receipt_for_wuhan(stage)
        hub.peers[WUHAN] = not_now
        await sleep(10)
        assert await hub.queue() == {WUHAN: 1}
        (first,) = [post for post in hub.posts_to(WUHAN) if post.at_ms > START_MS + 1_000]
        await sleep(1 + (HINT_MS + DELIVERY.cap_ms) / 1000)
        second = next(post for post in hub.posts_to(WUHAN) if post.at_ms > first.at_ms)
        assert second.at_ms - first.at_ms >= HINT_MS
        assert await hub.queue() == {WUHAN: 1}

    play(tmp_path, scene)


def test_a_receipt_is_not_put_off_for_longer_than_the_timetable_has(tmp_path: Path) -> None:
    """Whoever asks for 49 days gets minutes, and no storm either."""

    async def scene(stage: Stage) -> None:
        taken = fresh(XIANGYANG, 1).reference

        async def not_now(octets: bytes) -> bytes:
            hint = BusyFrame(taken, Reason.OVERLOADED, 2**32 - 1)
            return write_frames([hint]) if octets else b""

        hub = await with_a_receipt_for_wuhan(stage)
        hub.peers[WUHAN] = not_now
        await sleep(60)
        assert len(hub.posts_to(WUHAN)) < 10
        hub.reaches(stage.node(WUHAN))
        await sleep(1 + DELIVERY.cap_ms / 1000)
        assert await hub.queue() == {}

    play(tmp_path, scene)


def with_new_receipt_key(node_id: str, revoked_ms: int) -> tuple[Federation, Keyring]:
    """The directory in which this node's receipt key was revoked and replaced, and its new keys."""
    ring, directory = SAMPLE.keyrings[node_id], SAMPLE.directory
    new = suites.private_key_from_entropy(suites.Suite.ED25519, b"another receipt key".ljust(48))
    old = node_id[:2], ring.find(KeyUse.RECEIPT, node_id)
    records = dict(directory.trust.records)
    records[node_id[:2], new.public.key_id] = dataclasses.replace(records[old], key=new.public)
    records[old] = dataclasses.replace(records[old], revoked_ms=revoked_ms)
    trust = dataclasses.replace(directory.trust, records=MappingProxyType(records))
    keys = Keyring()
    keys._keys = {**ring._keys, new.public.key_id: new}
    keys._by_use = {**ring._by_use, (KeyUse.RECEIPT, node_id): new.public.key_id}
    federation = Federation(
        dataclasses.replace(directory, trust=trust), SAMPLE.federation.catalogue
    )
    return federation, keys


@pytest.mark.spec("RC-19")
def test_a_stored_receipt_outlives_the_revocation_of_its_key(tmp_path: Path) -> None:
    """The same statement under the new key; repeating the old one would never end the message."""

    async def scene(stage: Stage) -> None:
        node, destination = stage.node(WUHAN), stage.node(EZHOU)

        async def lose_the_answer(octets: bytes) -> bytes:
            await destination.engine.exchange(WUHAN, octets)
            raise UnavailableError(Reason.PEER_UNREACHABLE, "answer lost")

        node.peers[EZHOU] = lose_the_answer
        await node.run()
        filed = await node.ping(EZHOU)
        await sleep(0.03)
        assert (await destination.row(filed.message, Role.IN)).standing == "received"
        federation, keys = with_new_receipt_key(EZHOU, now_ms())
        node.context.federation = destination.context.federation = federation
        destination.context.keys = destination._store._engine._keys = keys
        node.reaches(destination)
        await sleep(600)
        assert await node.standing(filed) == "received"
        # And it is what the destination holds from now on.
        stored = (await destination.row(filed.message, Role.IN)).receipt
        assert stored == (await node.row(filed.message)).receipt

    play(tmp_path, scene)


@pytest.mark.spec("RC-17")
def test_a_slow_copy_of_a_refusal_ends_nothing_that_was_received_since(tmp_path: Path) -> None:
    """A blank refusal for a reason that may pass (here: an old version) settles nothing."""

    async def scene(stage: Stage) -> None:
        old = dataclasses.replace(RULES, kinds=frozenset(RULES.kinds) - {"ping"})
        node, destination = stage.node(WUHAN), stage.node(EZHOU, rules=old)
        refusals: list[Reason | None] = []

        async def upgraded_meanwhile(octets: bytes) -> bytes:
            no = await destination.engine.exchange(WUHAN, octets)
            refusals.extend(
                read_receipt(frame.octets).receipt.reason
                for frame in read_frames(no)
                if isinstance(frame, ReceiptFrame)
            )
            destination.context.rules = RULES
            node.reaches(destination)
            await destination.engine.exchange(WUHAN, octets)
            return no

        node.peers[EZHOU] = upgraded_meanwhile
        await node.run()
        filed = await node.ping(EZHOU)
        await sleep(600)
        assert refusals == [Reason.KIND_UNKNOWN]
        assert (await destination.row(filed.message, Role.IN)).standing == "received"
        assert await node.standing(filed) == "received"

    play(tmp_path, scene)


# questions a hub passes on


@pytest.mark.spec("EX-43")
@pytest.mark.parametrize(
    "lie",
    [
        [BusyFrame(None, Reason.OVERLOADED, 2**32 - 1)],
        [BusyFrame(fresh(YUEYANG, 2).reference, Reason.OVERLOADED, 2**32 - 1)],
        [EnvelopeFrame((XIANGYANG,), b"x" * (MAX_POST_OCTETS - 100))],
        [],
    ],
    ids=["busy with everything", "busy with another message", "8 MiB", "nothing"],
)
def test_a_hub_hands_back_only_what_answers_the_question(tmp_path: Path, lie: list[Frame]) -> None:
    """Whatever the next hop says, the asker's other messages and its answer stay unharmed."""

    async def scene(stage: Stage) -> None:
        async def say_so(_octets: bytes) -> bytes:
            return write_frames(lie)

        hub = stage.node(HUB)
        hub.peers[XIANGYANG] = say_so
        asked, other = overdue(1), fresh(YUEYANG, 2)
        answer = read_frames(await hub.engine.exchange(WUHAN, other.post() + asked.ask()))
        assert {about(frame) for frame in answer} == {asked.reference, other.reference}
        (receipt,) = [frame for frame in answer if isinstance(frame, ReceiptFrame)]
        assert read_receipt(receipt.octets).receipt.type is ReceiptType.CUSTODY

    play(tmp_path, scene)


@pytest.mark.spec("EX-43")
def test_one_question_many_times_is_one_post_of_the_hub(tmp_path: Path) -> None:
    """A hub is no amplifier."""

    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB)
        await hub.engine.exchange(WUHAN, overdue(1).ask() * 256)
        assert len(hub.posts) < 4

    play(tmp_path, scene)


@pytest.mark.parametrize("questions", [1, 100])
def test_questions_to_a_silent_destination_do_not_hold_up_the_answer(
    tmp_path: Path, questions: int
) -> None:
    """The asker's own patience is 30 seconds; the rest of its post must not be lost with it."""

    async def scene(stage: Stage) -> None:
        async def say_nothing(_octets: bytes) -> bytes:
            await sleep(30)
            raise UnavailableError(Reason.PEER_UNREACHABLE, "silent for 30 s")

        hub = stage.node(HUB)
        hub.peers[XIANGYANG] = say_nothing
        asked = b"".join(overdue(number).ask() for number in range(questions))
        began_ms = now_ms()
        answer = await hub.engine.exchange(WUHAN, fresh(YUEYANG, 1).post() + asked)
        assert now_ms() - began_ms < 10_000
        assert len(read_frames(answer)) == 1 + questions

    play(tmp_path, scene)


# what answers cost


class Work:
    """Octets that were digested, by whichever room."""

    def __init__(self) -> None:
        self.octets = 0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    done = Work()
    plain = suites.digest

    def measured(suite: suites.Suite, octets: bytes) -> bytes:
        done.octets += len(octets)
        return plain(suite, octets)

    for name, module in list(sys.modules.items()):
        inside = name.partition(".")[0] in ("signing", "routing", "node")
        if inside and getattr(module, "digest", None) is plain:
            monkeypatch.setattr(module, "digest", measured)
    return done


@pytest.mark.spec("EX-3", "RC-14")
def test_an_answer_is_held_against_what_it_names(tmp_path: Path, work: Work) -> None:
    """The work of an answer grows with its receipts, not with receipts times messages."""

    async def scene(stage: Stage) -> None:
        node, destination = stage.node(WUHAN), stage.node(EZHOU)
        node.reaches(destination)
        filed = [await node.ping(EZHOU) for _ in range(64)]
        work.octets = 0
        await node.run()
        await sleep(1)
        assert {await node.standing(one) for one in filed} == {"received"}
        assert len(node.posts) == 1
        assert work.octets < 10 * len(node.posts[0].octets)

    play(tmp_path, scene)


def test_refusals_that_name_nothing_cost_no_more_than_they_are(tmp_path: Path, work: Work) -> None:
    """A peer may sign as many refusals of octets nobody sent as an answer holds."""

    async def scene(stage: Stage) -> None:
        keys = SAMPLE.keyrings[EZHOU]
        key = keys.public(keys.find(KeyUse.RECEIPT, EZHOU))
        refusal = RefusedError(Reason.NOT_CANONICAL, "octets nobody sent")
        blank = [
            draft_receipt(
                ReceiptType.REFUSED, EZHOU, key, number.to_bytes(8), START_MS, refusal=refusal
            )
            for number in range(256)
        ]
        flood = write_frames(ReceiptFrame(sign_receipt(receipt, keys)) for receipt in blank)

        async def refuse_anything(octets: bytes) -> bytes:
            return flood if octets else b""

        node = stage.node(WUHAN)
        node.peers[EZHOU] = refuse_anything
        filed = [await node.ping(EZHOU) for _ in range(64)]
        work.octets = 0
        await node.run()
        await sleep(0.03)
        assert len(node.posts) == 1
        assert work.octets < 10 * (len(node.posts[0].octets) + len(flood))
        node.reaches(stage.node(EZHOU))
        await sleep(60)
        assert {await node.standing(one) for one in filed} == {"received"}

    play(tmp_path, scene)
