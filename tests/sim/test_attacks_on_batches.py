"""Batch proofs bent by a peer, and what it may cost a node to look at them."""

from __future__ import annotations

import base64
from asyncio import sleep
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from node.effort import Effort
from node.store.queries import Role, find_message
from protocol.frames import BusyFrame, ReceiptFrame, read_frames, write_frames
from protocol.proof import Batched, Proof, read_proof, write_proof
from protocol.reasons import Reason
from protocol.receipt import ReceiptType, read_receipt, write_receipt
from signing.batch import sign_group
from signing.keys import KeyUse
from signing.receipts import receipt_request
from tests.sim.craft import Message, Signed, receipt_in, sign, sign_together
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG
from tests.sim.peers import HOUR_S, SAMPLE, play

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from protocol.frames import Frame
    from protocol.receipt import Receipt
    from tests.sim.peers import DrivenNode, Stage

KEYS = SAMPLE.keyrings[WUHAN]
ZERO = bytes(64)


def pings(count: int, first: int = 1) -> list[Message]:
    return [Message(WUHAN, XIANGYANG, number=number) for number in range(first, first + count)]


def value_in(signed: Signed) -> bytes:
    return signed.octets.partition(b"<ds:SignatureValue>")[2].partition(b"<")[0]


def proof_in(signed: Signed) -> Batched:
    proof = read_proof(base64.b64decode(value_in(signed)))
    assert isinstance(proof, Batched)
    return proof


def with_proof(signed: Signed, proof: Batched) -> Signed:
    value = base64.b64encode(write_proof(proof))
    return replace(signed, octets=signed.octets.replace(value_in(signed), value))


def together(messages: Sequence[Signed]) -> bytes:
    return write_frames(frame for message in messages for frame in message.frames())


def outcomes(answer: bytes) -> list[ReceiptType | Reason | None]:
    """What was answered to each message of a post."""
    return [outcome(frame) for frame in read_frames(answer)]


def outcome(frame: Frame) -> ReceiptType | Reason | None:
    if isinstance(frame, ReceiptFrame):
        receipt = read_receipt(frame.octets).receipt
        return receipt.reason or receipt.type
    assert isinstance(frame, BusyFrame)
    return frame.reason


async def holds(node: DrivenNode, message: Signed) -> bool:
    row = await node.read(lambda c: find_message(c, message.reference, Role.IN))
    return row is not None


@pytest.mark.spec("BP-5")
def test_a_zeroed_signature_behind_a_root_that_verified(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(XIANGYANG)
        first, second, third = sign_together(pings(3), KEYS)
        forged = with_proof(second, replace(proof_in(second), signature=ZERO))
        answer = await node.engine.exchange(HUB, together([first.via(HUB), forged.via(HUB)]))
        assert outcomes(answer) == [ReceiptType.RECEIVED, Reason.SIGNATURE_INVALID]
        assert not await holds(node, second)
        # Nor did the forgery spoil the good root.
        later = await node.engine.exchange(HUB, together([second.via(HUB), third.via(HUB)]))
        assert outcomes(later) == [ReceiptType.RECEIVED] * 2

    play(tmp_path, scene)


@pytest.mark.spec("BP-2")
def test_a_batch_proof_moved_between_messages_purposes_and_places(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(XIANGYANG)
        first, second, third = sign_together(pings(3), KEYS)
        as_envelopes = [replace(message, key_use=KeyUse.ENVELOPE) for message in pings(3)]
        for forged, reason in [
            (with_proof(first, proof_in(second)), Reason.SIGNATURE_INVALID),
            (with_proof(first, replace(proof_in(first), index=1)), Reason.SIGNATURE_INVALID),
            (with_proof(first, replace(proof_in(first), size=4)), Reason.SIGNATURE_INVALID),
            (with_proof(third, replace(proof_in(third), size=4)), Reason.BATCH_PROOF),
            (with_proof(third, replace(proof_in(third), size=1)), Reason.BATCH_PROOF),
            (sign_together(as_envelopes, KEYS)[0], Reason.KEY_USE),
        ]:
            receipt = receipt_in(await node.engine.exchange(HUB, forged.via(HUB).post()))
            assert (receipt.reason, receipt.reference) == (reason, None)
        assert not any([await holds(node, message) for message in (first, second, third)])

    play(tmp_path, scene)


@pytest.mark.spec("BP-8")
def test_one_message_alone_and_in_a_batch_is_one_message(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(XIANGYANG)
        alone = sign(pings(1)[0], KEYS)
        batched = sign_together(pings(2), KEYS)[0]
        assert alone.octets != batched.octets
        first = await node.engine.exchange(HUB, alone.via(HUB).post())
        assert await node.engine.exchange(HUB, batched.via(HUB).post()) == first
        assert receipt_in(first).type is ReceiptType.RECEIVED

    play(tmp_path, scene)


@pytest.mark.spec("BP-6")
def test_signatures_of_a_peer_beyond_its_share_wait_and_are_not_lost(tmp_path: Path) -> None:
    """Made-up signatures use up the liar's share; nobody else's, and only for a while."""

    async def scene(stage: Stage) -> None:
        node = stage.node(XIANGYANG, effort=Effort(per_s=1, burst=4))
        honest = sign(pings(1)[0], KEYS).via(HUB)
        forged = [
            with_proof(message, replace(proof_in(message), signature=bytes([number]) * 64))
            for number, message in enumerate(sign_together(pings(6, first=10), KEYS))
        ]
        answer = await node.engine.exchange(HUB, together([each.via(HUB) for each in forged]))
        assert outcomes(answer) == [Reason.SIGNATURE_INVALID] * 4 + [Reason.OVERLOADED] * 2
        assert outcomes(await node.engine.exchange(HUB, honest.post())) == [Reason.OVERLOADED]
        # Asking instead of sending comes out of the same share.
        assert outcomes(await node.engine.exchange(HUB, honest.ask())) == [Reason.OVERLOADED]
        other = sign(Message(HUB, XIANGYANG), SAMPLE.keyrings[HUB])
        assert outcomes(await node.engine.exchange(HUB, other.post())) == [Reason.OVERLOADED]
        own = sign(Message(XIANGYANG, XIANGYANG), SAMPLE.keyrings[XIANGYANG])
        assert outcomes(await node.engine.exchange(XIANGYANG, own.post())) == [ReceiptType.RECEIVED]
        await sleep(1)
        assert outcomes(await node.engine.exchange(HUB, honest.post())) == [ReceiptType.RECEIVED]

    play(tmp_path, scene)


@pytest.mark.spec("BP-6")
def test_a_batch_costs_its_peer_one_signature_however_many_it_carries(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(XIANGYANG, effort=Effort(per_s=0, burst=1))
        batch = [message.via(HUB) for message in sign_together(pings(40), KEYS)]
        assert (
            outcomes(await node.engine.exchange(HUB, together(batch[:30])))
            == [ReceiptType.RECEIVED] * 30
        )
        assert (
            outcomes(await node.engine.exchange(HUB, together(batch[20:])))
            == [ReceiptType.RECEIVED] * 20
        )

    play(tmp_path, scene)


def swapped(proofs: Sequence[Proof]) -> Proof:
    return proofs[1]


def zeroed(proofs: Sequence[Proof]) -> Proof:
    return replace(proofs[0], signature=ZERO)


def elsewhere(proofs: Sequence[Proof]) -> Proof:
    return proofs[2]


@pytest.mark.spec("BP-2")
@pytest.mark.parametrize("lie", [swapped, zeroed, elsewhere], ids=lambda lie: lie.__name__)
def test_a_receipt_under_a_proof_that_is_not_its_own_settles_nothing(
    tmp_path: Path, lie: Callable[[Sequence[Proof]], Proof]
) -> None:
    """Another receipt's proof, a zeroed signature, a batch the same key signed for pings."""

    def lying_about(truth: Receipt) -> ReceiptFrame:
        request = receipt_request(truth)
        other = receipt_request(replace(truth, instant_ms=truth.instant_ms + 1))
        proofs = sign_group(SAMPLE.keyrings[EZHOU], [request, other])
        proofs += sign_group(
            SAMPLE.keyrings[EZHOU], [replace(each, use=KeyUse.PING) for each in (request, other)]
        )
        return ReceiptFrame(write_receipt(truth, lie(proofs)))

    async def scene(stage: Stage) -> None:
        node, destination = stage.node(WUHAN), stage.node(EZHOU)

        async def lying(octets: bytes) -> bytes:
            honest = read_frames(await destination.engine.exchange(WUHAN, octets))
            receipts = [frame.octets for frame in honest if isinstance(frame, ReceiptFrame)]
            return write_frames(lying_about(read_receipt(each).receipt) for each in receipts)

        node.peers[EZHOU] = lying
        filed = await node.ping(EZHOU)
        await node.run()
        await sleep(HOUR_S)
        assert len(node.posts_to(EZHOU)) > 1
        assert await node.standing(filed) == "queued"
        node.reaches(destination)
        await sleep(HOUR_S)
        assert await node.standing(filed) == "received"

    play(tmp_path, scene)
