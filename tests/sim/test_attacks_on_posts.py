"""What one message may do to those that share its post: nothing."""

from __future__ import annotations

from asyncio import sleep
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from node.outgoing import Draft
from node.parts.files import Material as File
from node.store import schema
from node.store.queries import Role
from protocol.bodies import Material
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import ReceiptFrame, write_frames
from protocol.limits import (
    MAX_INLINE_PART_OCTETS,
    MAX_MESSAGE_OCTETS,
    MAX_PARTS,
    MAX_POST_FRAMES,
    MAX_POST_OCTETS,
)
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from signing.keys import KeyUse
from signing.receipts import draft_receipt, sign_receipt
from tests.sim.craft import Message, receipt_in, sign
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG
from tests.sim.peers import SAMPLE, operator, play, quiet, references, submission

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from node.outgoing import Filed
    from tests.sim.craft import Signed
    from tests.sim.peers import DrivenNode, Stage

KIB = 1024


def message_size(message: Signed) -> int:
    """Envelope and parts, as MAX_MESSAGE_OCTETS counts them."""
    return len(message.octets) + sum(map(len, message.parts.values()))


def post_size(message: Signed) -> int:
    return len(message.post())


def sized(measure: Callable[[Signed], int], octets: int) -> Signed:
    """A message of Wuhan to Xiangyang of exactly this size; a hub never opens its body."""
    count = min(MAX_PARTS, octets // MAX_INLINE_PART_OCTETS) - 1
    files = {f"m{index}": bytes(MAX_INLINE_PART_OCTETS) for index in range(count)}

    def with_body(size: int) -> Signed:
        whole = {"body": bytes(size)} | files
        return sign(Message(WUHAN, XIANGYANG, files=whole), SAMPLE.keyrings[WUHAN])

    size = MAX_INLINE_PART_OCTETS // 2
    for _ in range(3):  # the number of its digits is part of the size
        size += octets - measure(with_body(size))
    message = with_body(size)
    assert measure(message) == octets
    return message


def recorded_size(connection: Connection) -> int:
    """The size of everything that waits, as the outbox has it."""
    return int(connection.execute(select(func.sum(schema.outbox.c.size))).scalar_one())


async def submit_files(node: DrivenNode, count: int, octets: int) -> Filed:
    """A case of Wuhan for Ezhou with so many scans of this size."""
    names = [f"m{index}" for index in range(count)]
    body = submission(
        EZHOU, tuple(Material(name, "扫描件", "electronic", "B", 1, part=name) for name in names)
    )
    files = {name: File("application/pdf", bytes(octets)) for name in names}
    return await node.file(
        Draft(operator(WUHAN).authority, body, materials=files, recipient=operator(EZHOU))
    )


@pytest.mark.spec("LI-6")
@pytest.mark.parametrize(
    ("measure", "octets", "answer"),
    [
        (message_size, MAX_MESSAGE_OCTETS, (ReceiptType.CUSTODY, None)),
        (post_size, MAX_POST_OCTETS, (ReceiptType.REFUSED, Reason.TOO_LARGE)),
    ],
    ids=["largest message", "fills the post"],
)
def test_a_hub_takes_what_it_can_pass_on_and_nothing_larger(
    tmp_path: Path,
    measure: Callable[[Signed], int],
    octets: int,
    answer: tuple[ReceiptType, Reason | None],
) -> None:
    """The path grows by every hop: a message that just fits on the first would stop a link."""

    async def scene(stage: Stage) -> None:
        hub, destination = stage.node(HUB), stage.node(XIANGYANG)
        hub.reaches(destination)
        await hub.run()
        large = sized(measure, octets)
        receipt = receipt_in(await hub.engine.exchange(WUHAN, large.post()))
        assert (receipt.type, receipt.reason) == answer
        honest = sign(Message(EZHOU, XIANGYANG, number=2), SAMPLE.keyrings[EZHOU])
        await hub.engine.exchange(EZHOU, honest.post())
        await sleep(60)
        assert (await destination.row(honest.reference, Role.IN)).standing == "received"
        # All that was taken has arrived.
        assert XIANGYANG not in await hub.queue()

    play(tmp_path, scene)


def test_a_backlog_whose_framing_makes_it_too_large_leaves_in_two_posts(tmp_path: Path) -> None:
    """What fits by its recorded sizes is more on the wire: a post is measured as it is written."""

    async def scene(stage: Stage) -> None:
        node, destination = stage.node(WUHAN), stage.node(EZHOU)
        node.reaches(destination)
        filed = [await submit_files(node, 10, 64 * KIB) for _ in range(12)]
        before = await node.read(recorded_size)
        filed.append(await submit_files(node, 8, 1))
        bare = await node.read(recorded_size) - before
        rest = MAX_POST_OCTETS - before - 2 * bare
        filed.append(await submit_files(node, 8, (rest - 64) // 8))
        assert 0 <= MAX_POST_OCTETS - await node.read(recorded_size) < KIB
        await node.run()
        await sleep(60)
        assert {await node.standing(one) for one in filed} == {"received"}

    play(tmp_path, scene)


def test_many_small_files_leave_within_the_frames_a_post_may_have(tmp_path: Path) -> None:
    """A peer refuses a post of too many frames whole; and what it refused, it has not read."""

    async def scene(stage: Stage) -> None:
        hub, near, far = stage.node(HUB), stage.node(WUHAN), stage.node(XIANGYANG)
        hub.reaches(far)
        near.reaches(hub)
        await hub.run()
        filed = await near.ping(XIANGYANG)
        await near.run()
        await sleep(1)
        files = {f"m{index}": b"0" for index in range(MAX_PARTS - 8)}
        sent = [
            sign(Message(XIANGYANG, WUHAN, number=index, files=files), SAMPLE.keyrings[XIANGYANG])
            for index in range(MAX_POST_FRAMES // len(files) + 2)
        ]
        for message in sent:
            answer = receipt_in(await hub.engine.exchange(XIANGYANG, message.post()))
            assert answer.type is ReceiptType.CUSTODY
        await sleep(1)
        assert await near.standing(filed) == "custody"
        hub.reaches(near)
        await sleep(60)
        assert {(await near.row(one.reference, Role.IN)).standing for one in sent} == {"received"}
        assert await near.standing(filed) == "received"
        assert await hub.queue() == {}
        carried = [len(post.frames) for post in hub.posts_to(WUHAN)]
        assert max(carried) <= MAX_POST_FRAMES

    play(tmp_path, scene)


@pytest.mark.spec("EX-47")
def test_a_post_refused_whole_is_no_answer_to_what_it_carried(tmp_path: Path) -> None:
    """A receipt on its way upstream leaves the outbox only with a post that was read."""

    async def scene(stage: Stage) -> None:
        hub, far = stage.node(HUB), stage.node(XIANGYANG)
        keys = SAMPLE.keyrings[WUHAN]
        key = keys.public(keys.find(KeyUse.RECEIPT, WUHAN))

        async def refuse_whole(octets: bytes) -> bytes:
            refusal = RefusedError(Reason.TOO_LARGE, "more frames than an older version takes")
            receipt = draft_receipt(
                ReceiptType.REFUSED, WUHAN, key, octets, hub.clock.now_ms(), refusal=refusal
            )
            return write_frames([ReceiptFrame(sign_receipt(receipt, keys))]) if octets else b""

        hub.reaches(far)
        hub.peers[WUHAN] = refuse_whole
        await hub.run()
        message = sign(Message(WUHAN, XIANGYANG), keys)
        await hub.engine.exchange(WUHAN, message.post())
        await sleep(60)
        assert await hub.queue() == {WUHAN: 1}
        hub.peers[WUHAN] = quiet
        await sleep(600)
        assert await hub.queue() == {}
        assert any(isinstance(frame, ReceiptFrame) for frame in hub.posts_to(WUHAN)[-1].frames)

    play(tmp_path, scene)


@pytest.mark.spec("EX-48")
def test_what_spoils_every_post_it_is_in_waits_alone(tmp_path: Path) -> None:
    """One message a peer breaks on holds up none of its neighbours."""

    async def scene(stage: Stage) -> None:
        node, destination = stage.node(WUHAN), stage.node(EZHOU)
        filed = [await node.ping(EZHOU) for _ in range(8)]
        poison = filed[3].message

        async def break_on_it(octets: bytes) -> bytes:
            if poison in references(octets):
                raise UnavailableError(Reason.PEER_UNREACHABLE, "HTTP 500")
            return await destination.engine.exchange(WUHAN, octets)

        node.peers[EZHOU] = break_on_it
        await node.run()
        await sleep(120)
        neighbours = [one for one in filed if one.message != poison]
        assert {await node.standing(one) for one in neighbours} == {"received"}
        tries = [post for post in node.posts_to(EZHOU) if poison in references(post.octets)]
        assert len(tries) < 30

    play(tmp_path, scene)


def test_a_peer_that_answers_probes_but_no_post_is_not_hammered(tmp_path: Path) -> None:
    """Its probes are answered, so all seems well; every post of weight fails all the same."""

    async def scene(stage: Stage) -> None:
        node, hub, destination = stage.node(WUHAN), stage.node(HUB), stage.node(EZHOU)

        async def fail_on_weight(octets: bytes) -> bytes:
            if octets:
                raise UnavailableError(Reason.PEER_UNREACHABLE, "HTTP 500")
            return b""

        node.peers[EZHOU] = fail_on_weight
        node.reaches(hub)
        hub.reaches(destination)
        hub.reaches(node)
        await hub.run()
        await node.run()
        filed = [await node.ping(EZHOU) for _ in range(3)]
        await sleep(300)
        assert {await node.standing(one) for one in filed} == {"received"}
        assert len(node.posts_to(EZHOU)) < 100

    play(tmp_path, scene)


@pytest.mark.parametrize("error", [RuntimeError("Session is closed"), KeyError("lost")], ids=repr)
def test_a_fault_of_ours_does_not_end_the_service_of_a_peer(
    tmp_path: Path, error: Exception
) -> None:
    """Whatever a carrier throws at us once, the queue goes on without a restart of the node."""

    async def scene(stage: Stage) -> None:
        node, destination = stage.node(WUHAN), stage.node(EZHOU)

        async def fail_once(_octets: bytes) -> bytes:
            node.reaches(destination)
            raise error

        node.peers[EZHOU] = fail_once
        await node.run()
        filed = await node.ping(EZHOU)
        await sleep(60)
        assert await node.standing(filed) == "received"
        assert len(node.posts_to(EZHOU)) < 10

    play(tmp_path, scene)
