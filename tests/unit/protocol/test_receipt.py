from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocol.envelope import MessageReference
from protocol.errors import LocalUseError, RefusedError
from protocol.limits import MAX_BATCH, MAX_DETAIL_OCTETS
from protocol.proof import Batched, Single, write_proof
from protocol.reasons import Reason
from protocol.receipt import (
    MAX_RECEIPT_OCTETS,
    RECEIPT_DOMAIN,
    Receipt,
    ReceiptType,
    SignedReceipt,
    read_receipt,
    receipt_signed_octets,
    receipt_statement,
    write_receipt,
)
from tests.messages import NOW_MS, WUHAN, XIANGYANG, authority_of, message_id

PROOF = Single(bytes(range(64)))
BATCHED = Batched(1, 3, (b"p" * 32, b"q" * 32), bytes(range(64)))
LONGEST = Batched(0, MAX_BATCH, (b"p" * 32,) * 12, bytes(range(64)))
CUSTODY = Receipt(
    type=ReceiptType.CUSTODY,
    issuer=XIANGYANG,
    reference=MessageReference(authority_of(WUHAN), message_id(1)),
    message_digest=b"m" * 32,
    octets_digest=b"o" * 32,
    instant_ms=NOW_MS,
    suite="ecdsa-p256-sha256",
    key_id="A" * 42 + "E",
)
RECEIVED = replace(CUSTODY, type=ReceiptType.RECEIVED, suite="sm2-sm3")
REFUSED = replace(
    CUSTODY, type=ReceiptType.REFUSED, suite="ed25519", reason=Reason.EXPIRED, detail="过期 3 天"
)
NAMELESS = replace(REFUSED, reference=None, message_digest=bytes(32))
OCTETS = write_receipt(REFUSED, PROOF)


def refusal(octets: bytes) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        read_receipt(octets)
    return caught.value


@pytest.mark.parametrize("receipt", [CUSTODY, RECEIVED, REFUSED, NAMELESS])
def test_a_receipt_is_read_back_with_its_proof(receipt: Receipt) -> None:
    signed = read_receipt(write_receipt(receipt, PROOF))
    assert signed.receipt == receipt
    assert signed.proof == PROOF


@pytest.mark.spec("RC-5")
def test_every_field_stands_where_the_layout_says() -> None:
    detail = "过期 3 天".encode()
    assert OCTETS[:8] == b"TBR1" + bytes([3, 3, 0, 16])
    assert OCTETS[8:14] == b"420600"
    assert OCTETS[14:32] == authority_of(WUHAN).encode()
    assert OCTETS[32:48].hex() == message_id(1).replace("-", "")
    assert OCTETS[48:80] == b"m" * 32
    assert OCTETS[80:112] == b"o" * 32
    assert int.from_bytes(OCTETS[112:120]) == NOW_MS
    assert OCTETS[120:152] == bytes(31) + b"\x01"
    assert OCTETS[152] == len(detail)
    assert OCTETS[153 : 153 + len(detail)] == detail
    assert OCTETS[153 + len(detail) :] == b"\0" + PROOF.signature


@pytest.mark.spec("RC-10")
def test_the_signature_covers_everything_before_the_proof_under_its_own_domain() -> None:
    assert receipt_signed_octets(REFUSED) == b"TONGBAN-RECEIPT-1\0" + OCTETS[:-65]
    assert receipt_statement(REFUSED) == OCTETS[:-65]
    assert RECEIPT_DOMAIN.endswith(b"\0")


@pytest.mark.spec("RC-3")
def test_the_longest_receipt_is_as_long_as_the_bound() -> None:
    long = replace(REFUSED, detail="x" * MAX_DETAIL_OCTETS)
    octets = write_receipt(long, LONGEST)
    assert len(octets) == MAX_RECEIPT_OCTETS == 810
    assert read_receipt(octets) == SignedReceipt(long, LONGEST, receipt_signed_octets(long))
    assert "octets" in refusal(octets + b"\0").detail


@pytest.mark.spec("BP-3")
def test_the_proof_of_a_batch_stands_where_the_signature_stood() -> None:
    octets = write_receipt(REFUSED, BATCHED)
    assert octets == OCTETS[:-65] + write_proof(BATCHED)
    assert read_receipt(octets) == SignedReceipt(REFUSED, BATCHED, receipt_signed_octets(REFUSED))


@pytest.mark.spec("BP-3")
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"size": 1, "index": 0}, "a batch of 1"),
        ({"size": 4097}, "a batch of 4097"),
        ({"index": 3}, "leaf 3 in a batch of 3"),
        ({"path": ()}, "the path of leaf 1 among 3"),
        ({"path": (bytes(32),) * 3}, "the path of leaf 1 among 3"),
    ],
)
def test_a_batch_proof_that_does_not_hold_together_is_refused(
    changes: dict[str, Any], named: str
) -> None:
    caught = refusal(write_receipt(REFUSED, replace(BATCHED, **changes)))
    assert caught.reason is Reason.RECEIPT_INVALID
    assert named in caught.detail


@pytest.mark.spec("RC-7", "RC-8", "RC-9", "TR-8", "TR-10")
@pytest.mark.parametrize(
    ("place", "octet", "named"),
    [
        (0, b"X", "magic"),
        (4, b"\0", "0"),
        (4, b"\x04", "4"),
        (5, b"\0", "0"),
        (5, b"\x04", "4"),
        (6, b"\xff", "reason"),
        # 100 is key-unknown: transient, and therefore never in a receipt.
        (7, b"\x64", "transient"),
        (7, b"\0", "reason"),
        (8, b"0", "issuer"),
        (8, b"\xff", "ascii"),
        (14, b"I", "reference"),
        (14, bytes(18), "reference"),
        (32, bytes(16), "reference"),
        (14, bytes(34), "digest"),
        (48, bytes(32), "digest"),
        (152, b"\0", "proof"),
        (152, b"\xff", "proof"),
        (153, b"\xff", "utf-8"),
        (len(OCTETS) - 65, b"\x01", "batch"),
        (len(OCTETS) - 65, b"\xff", "proof"),
    ],
)
def test_another_value_in_a_field_is_refused_by_the_field(
    place: int, octet: bytes, named: str
) -> None:
    caught = refusal(OCTETS[:place] + octet + OCTETS[place + len(octet) :])
    assert caught.reason is Reason.RECEIPT_INVALID
    assert named in caught.detail


@pytest.mark.spec("RC-8")
@pytest.mark.parametrize("kind", [1, 2])
def test_only_a_refusal_may_be_about_what_was_never_authenticated(kind: int) -> None:
    nameless = bytearray(write_receipt(NAMELESS, PROOF))
    nameless[4], nameless[7] = kind, 0
    assert "reference" in refusal(bytes(nameless)).detail


@pytest.mark.spec("RC-6")
def test_no_octet_may_be_missing_or_follow() -> None:
    for octets in (OCTETS[:length] for length in range(len(OCTETS))):
        assert refusal(octets).reason is Reason.RECEIPT_INVALID
    assert refusal(OCTETS + b"\0").reason is Reason.RECEIPT_INVALID
    assert refusal(OCTETS + bytes(MAX_RECEIPT_OCTETS)).reason is Reason.RECEIPT_INVALID


@pytest.mark.spec("RC-3", "RC-7", "RC-8", "TR-8")
@pytest.mark.parametrize(
    ("receipt", "named"),
    [
        (replace(REFUSED, reason=None), "reason"),
        (replace(RECEIVED, reason=Reason.EXPIRED), "reason"),
        (replace(REFUSED, reason=Reason.KEY_UNKNOWN), "transient"),
        (replace(REFUSED, detail="长" * 67), "201 octets"),
        (replace(REFUSED, detail="a\0b"), "control character"),
        (replace(REFUSED, detail="\x1b[2J"), "control character"),
        (replace(REFUSED, detail="\x9b2J"), "control character"),
        (replace(RECEIVED, reference=None, message_digest=bytes(32)), "reference"),
        (replace(REFUSED, reference=None), "digest"),
        (replace(REFUSED, message_digest=bytes(32)), "digest"),
        (replace(REFUSED, issuer="4206"), "issuer"),
    ],
)
def test_a_receipt_that_could_not_be_read_is_not_written(receipt: Receipt, named: str) -> None:
    with pytest.raises(LocalUseError, match=named):
        receipt_statement(receipt)
