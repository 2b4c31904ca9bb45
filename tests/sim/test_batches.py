"""Messages and receipts that are signed together, from end to end."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import pytest

from protocol.proof import Batched, Proof, Single, read_proof
from protocol.receipt import read_receipt
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG
from tests.sim.peers import play

if TYPE_CHECKING:
    from pathlib import Path

    from node.store.queries import MessageRow
    from tests.sim.peers import Stage


def proof_of(row: MessageRow) -> Proof:
    """The proof in a message's envelope."""
    value = base64.b64decode(row.envelope.partition(b"<ds:SignatureValue>")[2].partition(b"<")[0])
    return Single(value) if len(value) == 64 else read_proof(value)


def receipt_proof_of(row: MessageRow) -> Proof:
    assert row.receipt is not None
    return read_receipt(row.receipt).proof


@pytest.mark.spec("BP-7")
def test_an_idle_node_signs_at_once_and_a_busy_one_once_for_all(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node, destination = stage.node(WUHAN), stage.node(EZHOU)
        node.reaches(destination)
        alone = await node.ping(EZHOU)
        assert isinstance(proof_of(await node.row(alone.message)), Single)
        together = await asyncio.gather(*(node.ping(EZHOU) for _ in range(5)))
        proofs = [proof_of(await node.row(filed.message)) for filed in together]
        assert all(isinstance(proof, Batched) and proof.size == 5 for proof in proofs)
        assert len({proof.signature for proof in proofs}) == 1
        await node.run()
        await asyncio.sleep(1)
        # One post, so one signature for the receipts of all six.
        rows = [await node.row(filed.message) for filed in (alone, *together)]
        assert {row.standing for row in rows} == {"received"}
        receipts = [receipt_proof_of(row) for row in rows]
        assert all(isinstance(proof, Batched) and proof.size == 6 for proof in receipts)
        assert len({proof.signature for proof in receipts}) == 1

    play(tmp_path, scene)


@pytest.mark.spec("BP-8")
def test_what_was_signed_together_may_go_separate_ways(tmp_path: Path) -> None:
    """Each message carries its own proof: the rest of its batch may be anywhere."""

    async def scene(stage: Stage) -> None:
        node, hub = stage.node(WUHAN), stage.node(HUB)
        near, far = stage.node(EZHOU), stage.node(XIANGYANG)
        node.reaches(near)
        node.reaches(hub)
        hub.reaches(far)
        hub.reaches(node)
        direct, forwarded = await asyncio.gather(node.ping(EZHOU), node.ping(XIANGYANG))
        await node.run()
        await hub.run()
        await asyncio.sleep(60)
        for filed in (direct, forwarded):
            row = await node.row(filed.message)
            proof = proof_of(row)
            assert isinstance(proof, Batched)
            assert (row.standing, proof.size) == ("received", 2)

    play(tmp_path, scene)
