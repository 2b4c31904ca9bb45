"""Questions that pass through a hub to a peer that only calls: what they may cost the hub."""

from __future__ import annotations

import asyncio
from asyncio import sleep
from typing import TYPE_CHECKING

import pytest

from node.questions import MAX_ANSWERS
from protocol.frames import AskFrame, ReceiptFrame, read_frames, write_frames
from protocol.limits import MAX_POST_OCTETS
from protocol.receipt import ReceiptType
from signing.keys import KeyUse
from signing.receipts import draft_receipt, sign_receipt
from tests.sim.craft import Message, Signed, sign
from tests.sim.federation import HUB, WUHAN, XIANGYANG, make_sample
from tests.sim.loop import START_MS
from tests.sim.peers import now_ms, play
from tests.sim.weather import call

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sim.peers import DrivenNode, Stage

DARK = make_sample(XIANGYANG)
MINUTE_MS = 60_000


def overdue(number: int, files: int = 0) -> Signed:
    """A message of Wuhan to Xiangyang that has expired, so that its sender may ask about it."""
    message = Message(
        WUHAN,
        XIANGYANG,
        number=number,
        created_ms=START_MS - 2 * MINUTE_MS,
        lifetime_ms=MINUTE_MS,
        files={f"m{file}": b"a" for file in range(files)},
    )
    return sign(message, DARK.keyrings[WUHAN])


def receipt_of(signed: Signed, node: str, instant_ms: int) -> ReceiptFrame:
    """A receipt of this node that names the message, and is about another content."""
    keys = DARK.keyrings[node]
    key = keys.public(keys.find(KeyUse.RECEIPT, node))
    receipt = draft_receipt(
        ReceiptType.CUSTODY,
        node,
        key,
        signed.octets,
        instant_ms,
        reference=signed.reference,
        message_digest=b"1" * 32,
    )
    return ReceiptFrame(sign_receipt(receipt, keys))


async def asked(hub: DrivenNode, questions: list[Signed]) -> list[AskFrame]:
    """What Xiangyang is handed with one call while Wuhan asks."""
    octets = write_frames([AskFrame(one.path, one.octets) for one in questions])
    asking = asyncio.ensure_future(hub.engine.exchange(WUHAN, octets))
    await sleep(0.1)
    answer = await call(hub.engine, XIANGYANG, b"", 0)
    assert len(answer) <= MAX_POST_OCTETS
    await asking
    return [frame for frame in read_frames(answer) if isinstance(frame, AskFrame)]


@pytest.mark.spec("EX-43")
def test_who_was_asked_cannot_fill_the_memory_with_answers(tmp_path: Path) -> None:
    """Whoever asked has gone: the words of the peer are kept for the next time, a few of them."""

    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB, federation=DARK.federation)
        await hub.run()
        await call(hub.engine, XIANGYANG, b"", 0)
        question = overdue(1)
        assert len(await asked(hub, [question])) == 1
        for _ in range(20):
            lie = receipt_of(question, XIANGYANG, now_ms())
            await call(hub.engine, XIANGYANG, write_frames([lie] * 50), 0)
        (known,) = hub.engine._links.questions._open.values()
        assert len(known.answers) == MAX_ANSWERS

    play(tmp_path, scene)


@pytest.mark.spec("EX-43", "LI-5")
def test_questions_do_not_make_a_hand_over_too_large_to_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hand-over beyond the bound is refused whole: a flood of questions would end the link."""

    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB, federation=DARK.federation)
        await hub.run()
        await call(hub.engine, XIANGYANG, b"", 0)
        questions = [overdue(number, files=120) for number in range(6)]
        size = len(questions[0].ask())
        monkeypatch.setattr("node.errands.MAX_POST_OCTETS", 7 * size)
        handed = []
        octets = b"".join(one.ask() for one in questions)
        asking = asyncio.ensure_future(hub.engine.exchange(WUHAN, octets))
        for _ in questions:
            await sleep(0.1)
            answer = await hub.engine.hand_out(XIANGYANG, 5 * size)
            assert len(answer) <= 5 * size
            handed.append(sum(isinstance(frame, AskFrame) for frame in read_frames(answer)))
        await asking
        assert handed == [2, 2, 2, 0, 0, 0]

    play(tmp_path, scene)
