"""Receipts: what a node says about a message it was handed, in one fixed layout of octets.

Layout, all integers big-endian:

    ======  ======  =====================================================================
    offset  length  field
    ======  ======  =====================================================================
    0       4       "TBR1"
    4       1       type: 1 custody, 2 received, 3 refused
    5       1       suite of the issuer's key: 1 sm2-sm3, 2 ecdsa-p256-sha256, 3 ed25519
    6       2       reason number, 0 unless refused
    8       6       issuing node, ASCII digits
    14      18      From.authority of the message, ASCII
    32      16      MessageId
    48      32      message digest: the DigestValue of the signature's one Reference
    80      32      digest of the envelope's octets, by the digest of the issuer's suite
    112     8       instant, milliseconds since 1970 UTC
    120     32      key id of the issuer's receipt key, raw
    152     1       n, octets of detail (at most 200)
    153     n       detail for people, UTF-8, no control characters (RC-3), no personal data
    153+n   65-457  proof (`protocol.proof`), in either form
    ======  ======  =====================================================================

What was never authenticated is never named: authority, MessageId and message digest are then all
zero and only the octets' digest says what is refused (RC-4). Signed octets: ``"TONGBAN-RECEIPT-1"
00`` and everything before the proof.
"""

from __future__ import annotations

import base64
import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocol.envelope import MessageReference
from protocol.errors import LocalUseError, RefusedError
from protocol.identifiers import is_region, is_uscc, is_uuid7, uuid_octets, uuid_text
from protocol.limits import MAX_DETAIL_OCTETS
from protocol.proof import MAX_PROOF_OCTETS, Proof, read_proof, write_proof
from protocol.reasons import Reason

RECEIPT_DOMAIN: Final = b"TONGBAN-RECEIPT-1\x00"
SUITE_NUMBERS: Final = {"sm2-sm3": 1, "ecdsa-p256-sha256": 2, "ed25519": 3}
SUITE_NAMES: Final = {number: name for name, number in SUITE_NUMBERS.items()}
UNKNOWN_DIGEST: Final = bytes(32)

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_MAGIC: Final = b"TBR1"
_FIXED: Final = struct.Struct(">4sBBH6s18s16s32s32sQ32sB")
MAX_RECEIPT_OCTETS: Final = _FIXED.size + MAX_DETAIL_OCTETS + MAX_PROOF_OCTETS


class ReceiptType(IntEnum):
    """What the issuer says: on disk (托管), recorded by its addressee (签收), refused (拒收)."""

    CUSTODY = 1
    RECEIVED = 2
    REFUSED = 3


@dataclass(frozen=True, slots=True)
class Receipt:
    """A node's statement about one message, before or after signing.

    `reference` is None and `message_digest` all zero where the message was never authenticated.
    """

    type: ReceiptType
    issuer: str
    reference: MessageReference | None
    message_digest: bytes
    octets_digest: bytes
    instant_ms: int
    suite: str
    key_id: str
    reason: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A receipt with its proof; not yet verified.

    Attributes:
        receipt: What it says.
        proof: Of these octets:
        covered: `receipt_signed_octets(receipt)`.
    """

    receipt: Receipt
    proof: Proof
    covered: bytes


def receipt_statement(receipt: Receipt) -> bytes:
    """The octets before the proof.

    Raises:
        LocalUseError: no reader would take it; the message names the rule.
    """
    broken = _broken_rule(receipt)
    if broken is not None:
        raise LocalUseError(broken)
    detail = receipt.detail.encode()
    reference = receipt.reference
    return (
        _FIXED.pack(
            _MAGIC,
            receipt.type,
            SUITE_NUMBERS[receipt.suite],
            0 if receipt.reason is None else receipt.reason.number,
            receipt.issuer.encode(),
            bytes(18) if reference is None else reference.authority.encode(),
            bytes(16) if reference is None else uuid_octets(reference.message_id),
            receipt.message_digest,
            receipt.octets_digest,
            receipt.instant_ms,
            base64.urlsafe_b64decode(receipt.key_id + "="),
            len(detail),
        )
        + detail
    )


def _broken_rule(receipt: Receipt) -> str | None:
    """What the layout cannot carry, or must not say."""
    refused = receipt.type is ReceiptType.REFUSED
    reference, reason = receipt.reference, receipt.reason
    if not is_region(receipt.issuer):
        return "the issuer is no node"
    if refused != (reason is not None):
        return "exactly a refusal carries a reason"
    if reason is not None and not reason.final:
        return f"{reason.code} is transient and never travels in a receipt"
    if reference is None and not refused:
        return "only a refusal goes without a reference"
    if reference is not None and not (
        is_uscc(reference.authority) and is_uuid7(reference.message_id)
    ):
        return "the reference names no message"
    if (reference is None) != (receipt.message_digest == UNKNOWN_DIGEST):
        return "reference and message digest come together, or neither does"
    if _CONTROL.search(receipt.detail):
        return "detail with a control character"
    size = len(receipt.detail.encode())
    return (
        f"detail of {size} octets, at most {MAX_DETAIL_OCTETS}"
        if size > MAX_DETAIL_OCTETS
        else None
    )


def receipt_signed_octets(receipt: Receipt) -> bytes:
    """What the issuer's receipt key signs, or the octets of a leaf in its batch."""
    return RECEIPT_DOMAIN + receipt_statement(receipt)


def seal_receipt(covered: bytes, proof: Proof) -> bytes:
    """The receipt's octets on the wire, from what was signed (`receipt_signed_octets`)."""
    return covered[len(RECEIPT_DOMAIN) :] + write_proof(proof)


def write_receipt(receipt: Receipt, proof: Proof) -> bytes:
    """The receipt's octets on the wire."""
    return seal_receipt(receipt_signed_octets(receipt), proof)


def read_receipt(octets: bytes) -> SignedReceipt:
    """Read a receipt; the proof is not checked here.

    Raises:
        RefusedError: RECEIPT_INVALID, naming the field.
    """
    if not _FIXED.size <= len(octets) <= MAX_RECEIPT_OCTETS:
        raise _invalid(f"{len(octets)} octets")
    (
        magic, kind, suite, reason_number, issuer, authority, message_id,
        message_digest, octets_digest, instant_ms, key_id, detail_length,
    ) = _FIXED.unpack_from(octets)  # fmt: skip
    if magic != _MAGIC:
        raise _invalid("magic")
    end = _FIXED.size + detail_length
    try:
        proof = read_proof(octets[end:])
        receipt = Receipt(
            type=ReceiptType(kind),
            issuer=issuer.decode("ascii"),
            reference=_read_reference(authority, message_id),
            message_digest=message_digest,
            octets_digest=octets_digest,
            instant_ms=instant_ms,
            suite=SUITE_NAMES[suite],
            key_id=base64.urlsafe_b64encode(key_id).decode().rstrip("="),
            reason=_read_reason(reason_number),
            detail=octets[_FIXED.size : end].decode(),
        )
        if receipt_statement(receipt) != octets[:end]:
            raise _invalid("not in its one form")
    except (ValueError, KeyError, LocalUseError) as error:
        raise _invalid(str(error)) from error
    return SignedReceipt(receipt, proof, RECEIPT_DOMAIN + octets[:end])


def _read_reference(authority: bytes, message_id: bytes) -> MessageReference | None:
    if authority == bytes(18) and message_id == bytes(16):
        return None
    return MessageReference(authority.decode("ascii"), uuid_text(message_id))


def _read_reason(number: int) -> Reason | None:
    if number == 0:
        return None
    reason = Reason.from_number(number)
    if reason is None:
        message = f"reason {number} is not on the list"
        raise ValueError(message)
    return reason


def _invalid(what: str) -> RefusedError:
    return RefusedError(Reason.RECEIPT_INVALID, what)
