"""What a receipt means for a message this node sent on: who may end it, and who may not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from protocol.errors import RefusedError
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from routing.delivery import (
    InCustody,
    Irrelevant,
    PathFailure,
    Sent,
    Settled,
    Standing,
    Turn,
    judge_receipt,
    same_message,
    turn,
)
from signing.keys import KeyUse
from signing.receipts import VerifiedReceipt, draft_receipt, sign_receipt, verify_receipt
from tests.sim.craft import Message, sign
from tests.sim.federation import HUB, WUHAN, XIANGYANG, make_sample

if TYPE_CHECKING:
    from protocol.envelope import MessageReference

SAMPLE = make_sample()
SIGNED = sign(Message(WUHAN, XIANGYANG), SAMPLE.keyrings[WUHAN])
DIGEST = bytes(range(32))
SENT = Sent(SIGNED.reference, DIGEST, SIGNED.octets, XIANGYANG, Standing.QUEUED)
GONE = RefusedError(Reason.EXPIRED, "too late")


@dataclass(frozen=True, slots=True)
class Said:
    """A receipt somebody signed."""

    kind: ReceiptType
    issuer: str = XIANGYANG
    octets: bytes = SIGNED.octets
    reference: MessageReference | None = SIGNED.reference
    digest: bytes = DIGEST
    refusal: RefusedError = GONE

    def verified(self) -> VerifiedReceipt:
        keyring = SAMPLE.keyrings[self.issuer]
        draft = draft_receipt(
            self.kind,
            self.issuer,
            keyring.public(keyring.find(KeyUse.RECEIPT, self.issuer)),
            self.octets,
            1,
            reference=self.reference,
            message_digest=self.digest,
            refusal=self.refusal if self.kind is ReceiptType.REFUSED else None,
        )
        return verify_receipt(sign_receipt(draft, keyring), SAMPLE.directory.trust)


@pytest.mark.spec("EX-3")
def test_the_destination_ends_a_message() -> None:
    assert judge_receipt(Said(ReceiptType.RECEIVED).verified(), SENT) == Settled(
        Standing.RECEIVED, None, ""
    )
    assert judge_receipt(Said(ReceiptType.REFUSED).verified(), SENT) == Settled(
        Standing.REFUSED, Reason.EXPIRED, "too late"
    )


@pytest.mark.spec("EX-4")
def test_custody_discharges_nobody() -> None:
    verdict = judge_receipt(Said(ReceiptType.CUSTODY, HUB).verified(), SENT)
    assert verdict == InCustody(HUB)
    assert not Standing.CUSTODY.settled


@pytest.mark.spec("RC-15")
def test_a_hubs_refusal_is_a_failure_of_the_path() -> None:
    verdict = judge_receipt(Said(ReceiptType.REFUSED, HUB).verified(), SENT)
    assert verdict == PathFailure(HUB, Reason.EXPIRED)


@pytest.mark.spec("EX-3")
def test_nobody_but_the_destination_says_received() -> None:
    verdict = judge_receipt(Said(ReceiptType.RECEIVED, HUB).verified(), SENT)
    assert isinstance(verdict, Irrelevant)
    assert verdict.alarm


@pytest.mark.parametrize("kind", [ReceiptType.RECEIVED, ReceiptType.REFUSED])
def test_a_receipt_for_another_content_changes_nothing(kind: ReceiptType) -> None:
    verdict = judge_receipt(Said(kind, digest=bytes(32)[1:] + b"\x01").verified(), SENT)
    assert isinstance(verdict, Irrelevant)
    assert verdict.alarm


@pytest.mark.spec("RC-14", "RC-16")
def test_a_refusal_of_octets_counts_only_for_the_very_octets_we_hold() -> None:
    """What a forwarder altered on the way is refused by the destination, and ends nothing."""
    broken = RefusedError(Reason.SIGNATURE_INVALID, "")
    nameless = Said(ReceiptType.REFUSED, reference=None, digest=bytes(32), refusal=broken)
    assert isinstance(judge_receipt(nameless.verified(), SENT), Settled)
    altered = replace(nameless, octets=SIGNED.octets + b" ")
    assert isinstance(judge_receipt(altered.verified(), SENT), Irrelevant)


@pytest.mark.spec("RC-16")
@pytest.mark.parametrize("reason", [Reason.KIND_UNKNOWN, Reason.KEY_REVOKED, Reason.SUITE_UNKNOWN])
def test_a_refusal_that_tomorrow_may_lift_ends_nothing_today(reason: Reason) -> None:
    """It was not recorded; after an upgrade or a new directory the same octets are received."""
    refusal = RefusedError(reason, "")
    nameless = Said(ReceiptType.REFUSED, reference=None, digest=bytes(32), refusal=refusal)
    verdict = judge_receipt(nameless.verified(), SENT)
    assert isinstance(verdict, Irrelevant)
    assert reason.code in verdict.why


@pytest.mark.spec("RC-17")
def test_a_settled_message_stays_settled_and_a_contradiction_alarms() -> None:
    done = replace(SENT, standing=Standing.RECEIVED)
    again = judge_receipt(Said(ReceiptType.RECEIVED).verified(), done)
    assert again == Irrelevant("already settled", alarm=False)
    contrary = judge_receipt(Said(ReceiptType.REFUSED).verified(), done)
    assert contrary == Irrelevant("already settled", alarm=True)
    late = judge_receipt(Said(ReceiptType.CUSTODY, HUB).verified(), done)
    assert isinstance(late, Irrelevant)


@pytest.mark.spec("EX-9")
def test_in_doubt_is_not_the_end() -> None:
    doubtful = replace(SENT, standing=Standing.IN_DOUBT)
    assert isinstance(judge_receipt(Said(ReceiptType.RECEIVED).verified(), doubtful), Settled)


@pytest.mark.spec("EX-6", "EX-7")
@pytest.mark.parametrize(
    ("last", "number", "expected"),
    [
        (0, 1, Turn.NEXT),
        (0, 2, Turn.GAP),
        (3, 3, Turn.USED),
        (3, 1, Turn.USED),
        (3, 4, Turn.NEXT),
        (3, 9, Turn.GAP),
    ],
)
def test_numbers_have_their_turn(last: int, number: int, expected: Turn) -> None:
    assert turn(last, number) is expected


@pytest.mark.spec("EX-5")
def test_identity_is_the_message_digest() -> None:
    assert same_message(DIGEST, bytes(range(32)))
    assert not same_message(DIGEST, bytes(32))
