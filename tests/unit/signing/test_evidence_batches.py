"""Batched messages and receipts in an evidence file: each carries all it takes to be checked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.proof import Batched
from protocol.receipt import ReceiptType, read_receipt, write_receipt
from signing.batch import sign_group
from signing.evidence import MessageToShow, Outcome, Subject
from signing.receipts import receipt_request
from signing.suites import Suite
from tests.evidence_files import PARTS, check, evidence, failing_step, keys
from tests.messages import (
    HUB,
    XIANGYANG,
    Keys,
    envelope,
    message_id,
    receipt_for,
    signed_together,
    verified,
)


def batched_case(held: Keys) -> list[MessageToShow]:
    """Three messages of one sender under one signature; custody and receipts under two more."""
    suite = held.records[0].key.suite
    kinds = ["case.submit", "case.supplement", "case.supplement"]
    unsigned = [
        envelope(held, suite, number=number, sequence=number, kind=kind)
        for number, kind in enumerate(kinds, start=1)
    ]
    envelopes = signed_together(unsigned, held)
    messages = [verified(octets, held) for octets in envelopes]
    drafts = [
        read_receipt(receipt_for(message, held, issuer, kind)).receipt
        for message in messages
        for issuer, kind in ((HUB, ReceiptType.CUSTODY), (XIANGYANG, ReceiptType.RECEIVED))
    ]
    proofs = sign_group(held, [receipt_request(draft) for draft in drafts])
    receipts = [write_receipt(*pair) for pair in zip(drafts, proofs, strict=True)]
    assert all(isinstance(proof, Batched) and proof.size == 3 for proof in proofs)
    return [
        MessageToShow(octets, PARTS, receipts[2 * place : 2 * place + 2])
        for place, octets in enumerate(envelopes)
    ]


@pytest.mark.spec("BP-8")
@pytest.mark.parametrize("suite", Suite, ids=str)
def test_a_case_of_batched_messages_and_receipts_is_proven(suite: Suite) -> None:
    held = keys(suite)
    report = check(evidence(held, batched_case(held)))
    assert report.outcome is Outcome.VALID, report
    assert [(proven.outcome, proven.custody) for proven in report.proven] == [
        (ReceiptType.RECEIVED, (HUB,))
    ] * 3


@pytest.mark.spec("BP-8")
@pytest.mark.parametrize("place", range(3))
def test_a_message_is_proven_without_the_rest_of_its_batch(place: int) -> None:
    held = keys()
    alone = batched_case(held)[place]
    subject_id = message_id(place + 1)
    report = check(evidence(held, [alone], subject=Subject.MESSAGE, subject_id=subject_id))
    assert report.outcome is Outcome.VALID, report
    assert [proven.message_id for proven in report.proven] == [subject_id]


@pytest.mark.spec("BP-5")
def test_a_zeroed_signature_behind_a_good_one_of_the_same_batch_is_found() -> None:
    held = keys()
    first, second, third = batched_case(held)
    signed = read_receipt(second.receipts[1])
    assert isinstance(signed.proof, Batched)
    forged = write_receipt(signed.receipt, replace(signed.proof, signature=bytes(64)))
    altered = replace(second, receipts=[second.receipts[0], forged])
    assert failing_step(evidence(held, [first, altered, third])) == "receipts"
