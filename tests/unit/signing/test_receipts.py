from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocol.envelope import MessageReference
from protocol.errors import RefusedError, UnavailableError
from protocol.limits import MAX_CLOCK_SKEW_MS, MAX_DETAIL_OCTETS
from protocol.proof import Batched
from protocol.reasons import Reason
from protocol.receipt import Receipt, ReceiptType, read_receipt, write_receipt
from signing.batch import Checking, sign_group
from signing.keys import KeyUse
from signing.receipts import (
    concerns,
    draft_receipt,
    receipt_request,
    sign_receipt,
    verify_receipt,
)
from signing.suites import Suite, digest
from tests.messages import (
    DAY_MS,
    HUB,
    NOW_MS,
    WUHAN,
    XIANGYANG,
    YEAR_MS,
    Keys,
    authority_of,
    envelope,
    keys_of,
    message_id,
    receipt_for,
    signed_by_sender,
    verified,
)

KEYS = keys_of([HUB, WUHAN, XIANGYANG])
MESSAGE = verified(signed_by_sender(envelope(KEYS), KEYS), KEYS)
REFERENCE = MESSAGE.envelope.header.reference
RECEIVED = receipt_for(MESSAGE, KEYS, XIANGYANG)
RECEIPT_KEY = KEYS.find(KeyUse.RECEIPT, XIANGYANG)


def refusal(octets: bytes, keys: Keys = KEYS, *, live: bool = True) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        verify_receipt(octets, keys.trust(), live=live)
    assert caught.value.reason is Reason.RECEIPT_INVALID
    return caught.value


def registered(**changes: Any) -> Keys:
    """The same keys, with the receipt key of 襄阳 registered otherwise."""
    records = [
        replace(record, **changes) if record.key.key_id == RECEIPT_KEY else record
        for record in KEYS.records
    ]
    return Keys(records, KEYS.secrets)


def resigned(**changes: Any) -> bytes:
    """The receipt with other statements, under a good signature by the key it names."""
    return sign_receipt(replace(read_receipt(RECEIVED).receipt, **changes), KEYS)


def nameless(octets: bytes = MESSAGE.octets, issuer: str = XIANGYANG) -> bytes:
    """A refusal of octets that were never authenticated."""
    key = KEYS.public(KEYS.find(KeyUse.RECEIPT, issuer))
    refusal = RefusedError(Reason.NOT_CANONICAL, "at octet 7")
    draft = draft_receipt(ReceiptType.REFUSED, issuer, key, octets, NOW_MS, refusal=refusal)
    return sign_receipt(draft, KEYS)


def about(octets: bytes) -> bool:
    return concerns(
        verify_receipt(octets, KEYS.trust()), REFERENCE, MESSAGE.message_digest, MESSAGE.octets
    )


@pytest.mark.parametrize("suite", Suite, ids=str)
def test_a_good_receipt_says_who_received_what_and_when(suite: Suite) -> None:
    keys = keys_of([WUHAN, XIANGYANG], suite)
    message = verified(signed_by_sender(envelope(keys, suite), keys), keys)
    octets = receipt_for(message, keys, XIANGYANG)
    result = verify_receipt(octets, keys.trust())
    assert result.octets == octets
    assert result.receipt.type is ReceiptType.RECEIVED
    assert result.receipt.issuer == XIANGYANG
    assert result.receipt.instant_ms == NOW_MS
    assert result.receipt.message_digest == message.message_digest
    assert result.receipt.octets_digest == digest(suite, message.octets)


@pytest.mark.spec("RC-3")
def test_a_refusal_carries_its_reason_and_as_much_detail_as_fits() -> None:
    detail = "长" * 100
    octets = receipt_for(
        MESSAGE,
        KEYS,
        XIANGYANG,
        ReceiptType.REFUSED,
        refusal=RefusedError(Reason.ITEM_NOT_SERVED, detail),
    )
    receipt = verify_receipt(octets, KEYS.trust()).receipt
    assert receipt.reason is Reason.ITEM_NOT_SERVED
    assert detail.startswith(receipt.detail)
    assert MAX_DETAIL_OCTETS - 3 < len(receipt.detail.encode()) <= MAX_DETAIL_OCTETS


@pytest.mark.spec("RC-3")
def test_a_detail_is_one_line_whatever_it_quotes() -> None:
    refused = RefusedError(Reason.ITEM_NOT_SERVED, "第一行\n\x1b[2J第二行　\0")
    octets = receipt_for(MESSAGE, KEYS, XIANGYANG, ReceiptType.REFUSED, refusal=refused)
    assert verify_receipt(octets, KEYS.trust()).receipt.detail == "第一行  [2J第二行　 "


@pytest.mark.spec("RC-1", "RC-3")
def test_a_detail_that_would_move_a_cursor_makes_a_receipt_invalid() -> None:
    octets = receipt_for(
        MESSAGE, KEYS, XIANGYANG, ReceiptType.REFUSED,
        refusal=RefusedError(Reason.ITEM_NOT_SERVED, "detail"),
    )  # fmt: skip
    for spoilt in (octets.replace(b"detail", b"de\0ail"), octets.replace(b"detail", b"de\x1bail")):
        assert "control character" in refusal(spoilt).detail


@pytest.mark.spec("RC-1")
def test_step_1_layout() -> None:
    assert "magic" in refusal(b"X" + RECEIVED[1:]).detail


@pytest.mark.spec("RC-11", "TR-1")
def test_step_2_an_unknown_key_is_transient() -> None:
    with pytest.raises(UnavailableError) as caught:
        verify_receipt(RECEIVED, keys_of([WUHAN]).trust())
    assert caught.value.reason is Reason.KEY_UNKNOWN


@pytest.mark.spec("RC-1", "RC-11")
def test_step_3_only_a_receipt_key_of_the_issuer() -> None:
    assert "no receipt key" in refusal(resigned(issuer=HUB)).detail
    ping_key = KEYS.find(KeyUse.PING, authority_of(XIANGYANG))
    assert "no receipt key" in refusal(resigned(key_id=ping_key)).detail
    # The same owner, but a key for another use.
    evidence_key = KEYS.find(KeyUse.EVIDENCE, XIANGYANG)
    assert "no receipt key" in refusal(resigned(key_id=evidence_key)).detail
    assert "suite" in refusal(resigned(suite="ed25519")).detail


@pytest.mark.spec("RC-12")
def test_step_3_live_a_revoked_key_says_nothing_any_more() -> None:
    keys = registered(revoked_ms=NOW_MS + DAY_MS)
    assert "revoked" in refusal(RECEIVED, keys).detail
    verify_receipt(RECEIVED, keys.trust(), live=False)


@pytest.mark.spec("RC-12")
def test_step_3_historic_what_it_said_before_still_counts() -> None:
    verify_receipt(RECEIVED, registered(revoked_ms=NOW_MS + 1).trust(), live=False)
    assert "before" in refusal(RECEIVED, registered(revoked_ms=NOW_MS), live=False).detail


@pytest.mark.spec("RC-12")
def test_step_3_the_instant_lies_in_the_validity_of_the_key() -> None:
    trust = KEYS.trust()
    for instant_ms in (NOW_MS - YEAR_MS - MAX_CLOCK_SKEW_MS, NOW_MS + YEAR_MS - 1):
        verify_receipt(resigned(instant_ms=instant_ms), trust)
    for instant_ms in (NOW_MS - YEAR_MS - MAX_CLOCK_SKEW_MS - 1, NOW_MS + YEAR_MS, (1 << 64) - 1):
        assert "validity" in refusal(resigned(instant_ms=instant_ms)).detail


@pytest.mark.spec("RC-13")
def test_step_4_any_changed_octet_is_refused() -> None:
    for place in range(len(RECEIVED)):
        changed = RECEIVED[:place] + bytes([RECEIVED[place] ^ 1]) + RECEIVED[place + 1 :]
        # Unknown key: the one octet whose change is "not decided" rather than "refused".
        with pytest.raises((RefusedError, UnavailableError)):
            verify_receipt(changed, KEYS.trust())


@pytest.mark.spec("RC-13")
def test_step_4_a_signature_over_something_else_of_the_same_key() -> None:
    other = resigned(instant_ms=NOW_MS + 1)
    assert "signature" in refusal(RECEIVED[:-64] + other[-64:]).detail


def together(*receipts: Receipt, keys: Keys = KEYS) -> list[bytes]:
    """The receipts, signed as one group by the keys they name."""
    proofs = sign_group(keys, [receipt_request(receipt) for receipt in receipts])
    return [write_receipt(*pair) for pair in zip(receipts, proofs, strict=True)]


def some_receipts() -> list[Receipt]:
    receipt = read_receipt(RECEIVED).receipt
    return [replace(receipt, instant_ms=NOW_MS + number) for number in range(3)]


def with_proof(octets: bytes, **changes: Any) -> bytes:
    """The batched receipt with another proof."""
    signed = read_receipt(octets)
    assert isinstance(signed.proof, Batched)
    return write_receipt(signed.receipt, replace(signed.proof, **changes))


@pytest.mark.spec("BP-1")
@pytest.mark.parametrize("suite", Suite, ids=str)
def test_each_receipt_of_a_batch_verifies_alone(suite: Suite) -> None:
    keys = keys_of([WUHAN, XIANGYANG], suite)
    messages = [
        verified(signed_by_sender(envelope(keys, suite, number=number), keys), keys)
        for number in range(5)
    ]
    receipts = [read_receipt(receipt_for(each, keys, XIANGYANG)).receipt for each in messages]
    for receipt, octets in zip(receipts, together(*receipts, keys=keys), strict=True):
        assert isinstance(read_receipt(octets).proof, Batched)
        assert verify_receipt(octets, keys.trust()).receipt == receipt


@pytest.mark.spec("BP-2")
def test_step_4_a_proof_belongs_to_its_receipt() -> None:
    first, second, _ = together(*some_receipts())
    other = read_receipt(second)
    swapped = write_receipt(read_receipt(first).receipt, other.proof)
    assert "signature" in refusal(swapped).detail
    assert "signature" in refusal(with_proof(first, index=1)).detail
    assert "signature" in refusal(with_proof(first, size=4)).detail
    assert "signature" in refusal(with_proof(first, signature=bytes(64))).detail


@pytest.mark.spec("BP-2")
@pytest.mark.parametrize("purpose", [KeyUse.ENVELOPE, KeyUse.PING])
def test_step_4_a_batch_for_another_purpose_is_no_receipt(purpose: KeyUse) -> None:
    requests = [replace(receipt_request(receipt), use=purpose) for receipt in some_receipts()]
    proof = sign_group(KEYS, requests)[0]
    assert isinstance(proof, Batched)
    assert "signature" in refusal(write_receipt(some_receipts()[0], proof)).detail


@pytest.mark.spec("BP-5")
def test_step_4_a_zeroed_root_signature_after_the_root_was_verified() -> None:
    first, second, _ = together(*some_receipts())
    trust, checking = KEYS.trust(), Checking()
    verify_receipt(first, trust, checking=checking)
    with pytest.raises(RefusedError, match="signature"):
        verify_receipt(with_proof(second, signature=bytes(64)), trust, checking=checking)
    verify_receipt(second, trust, checking=checking)


def test_step_4_any_changed_octet_of_a_batched_receipt_is_refused() -> None:
    octets, checking = together(*some_receipts())[0], Checking()
    verify_receipt(octets, KEYS.trust(), checking=checking)
    for place in range(len(octets)):
        changed = octets[:place] + bytes([octets[place] ^ 1]) + octets[place + 1 :]
        with pytest.raises((RefusedError, UnavailableError)):
            verify_receipt(changed, KEYS.trust(), checking=checking)


@pytest.mark.spec("RC-14")
def test_step_5_a_receipt_concerns_the_message_it_names_by_digest() -> None:
    assert about(RECEIVED)
    assert not about(resigned(message_digest=b"x" * 32))
    assert not about(resigned(reference=MessageReference(REFERENCE.authority, message_id(2))))
    assert not about(resigned(reference=MessageReference(authority_of(HUB), REFERENCE.message_id)))


@pytest.mark.spec("RC-14")
def test_step_5_other_octets_of_the_same_content_are_the_same_message() -> None:
    # Two valid signatures over one content are one message.
    assert about(resigned(octets_digest=b"x" * 32))


@pytest.mark.spec("RC-14")
def test_step_5_a_refusal_that_names_nothing_is_about_its_octets_only() -> None:
    assert about(nameless())
    assert not about(nameless(MESSAGE.octets.replace(b"</Kind>", b" </Kind>")))
