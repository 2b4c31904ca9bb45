"""Receipts signed and checked: layout in `protocol.receipt`, keys of the nodes.

A verifier of a receipt checks, in this order:

    1. the fixed layout, of the proof too                            RC-1 BP-3
    2. the key is in the trust set (else transient)                  TR-1
    3. registered for receipts, owned by the issuing node, suite     SG-4 SG-6 SG-7
    4. the signature over domain and statement, or over the batch
       they are a leaf of                                            SG-10 BP-1 BP-2
    5. it is about the message it is held against: same reference and digest     RC-2

Step 5 is `concerns`, apart, because only the sender knows what it sent.
"""

from __future__ import annotations

import hmac
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.errors import RefusedError, UnavailableError
from protocol.limits import MAX_CLOCK_SKEW_MS, MAX_DETAIL_OCTETS
from protocol.reasons import Reason
from protocol.receipt import (
    UNKNOWN_DIGEST,
    Receipt,
    ReceiptType,
    read_receipt,
    receipt_signed_octets,
    seal_receipt,
)
from signing.batch import Checking, ProofRequest, sign_group, verify_proof
from signing.keys import KeyUse
from signing.suites import Suite, digest

if TYPE_CHECKING:
    from protocol.envelope import MessageReference
    from signing.keys import KeyStore
    from signing.suites import PublicKey
    from signing.trust import TrustSet


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """A receipt whose steps 1 to 4 held. Only `verify_receipt` makes one."""

    receipt: Receipt
    octets: bytes


def sign_receipt(receipt: Receipt, keys: KeyStore) -> bytes:
    """Sign one receipt with the key it names; the octets on the wire."""
    request = receipt_request(receipt)
    (proof,) = sign_group(keys, [request])
    return seal_receipt(request.single, proof)


def receipt_request(receipt: Receipt) -> ProofRequest:
    """What it takes to prove a receipt, alone or with others."""
    return ProofRequest(receipt.key_id, KeyUse.RECEIPT, receipt_signed_octets(receipt))


def draft_receipt(
    kind: ReceiptType,
    issuer: str,
    key: PublicKey,
    octets: bytes,
    now_ms: int,
    *,
    reference: MessageReference | None = None,
    message_digest: bytes = UNKNOWN_DIGEST,
    refusal: RefusedError | None = None,
) -> Receipt:
    """A receipt ready to be signed.

    Args:
        kind: Custody, received or refused.
        issuer: This node's id.
        key: Its receipt key.
        octets: The envelope as it arrived.
        now_ms: The instant stated.
        reference: From.authority and MessageId, only if authenticated.
        message_digest: The DigestValue, only if authenticated.
        refusal: What was refused and why; exactly with REFUSED.
    """
    detail = "" if refusal is None else _fitting(refusal.detail)
    return Receipt(
        type=kind,
        issuer=issuer,
        reference=reference,
        message_digest=message_digest,
        octets_digest=digest(key.suite, octets),
        instant_ms=now_ms,
        suite=key.suite.value,
        key_id=key.key_id,
        reason=None if refusal is None else refusal.reason,
        detail=detail,
    )


def _fitting(detail: str) -> str:
    """As much of it as a receipt carries, in one line (RC-3)."""
    line = "".join(" " if unicodedata.category(each) == "Cc" else each for each in detail)
    return line.encode()[:MAX_DETAIL_OCTETS].decode(errors="ignore")


def verify_receipt(
    octets: bytes, trust: TrustSet, *, live: bool = True, checking: Checking | None = None
) -> VerifiedReceipt:
    """Run steps 1 to 4 of the module's docstring.

    Args:
        octets: The receipt.
        trust: The keys of the directory in force.
        live: False for evidence: what a key said before it was revoked counts.
        checking: Batches that verified before, and the charge for verifying another.

    Raises:
        RefusedError: RECEIPT_INVALID naming the step.
        UnavailableError: KEY_UNKNOWN, or what the charge raises: not decided.
    """
    # 1 layout
    signed = read_receipt(octets)
    receipt = signed.receipt
    # 2 key known
    record = trust.key(receipt.key_id, receipt.issuer)
    if record is None:
        raise UnavailableError(Reason.KEY_UNKNOWN, f"receipt key {receipt.key_id}")
    # 3 registration
    if record.use is not KeyUse.RECEIPT or record.owner != receipt.issuer:
        raise RefusedError(
            Reason.RECEIPT_INVALID, f"key {receipt.key_id} is no receipt key of {receipt.issuer}"
        )
    if record.key.suite is not Suite(receipt.suite):
        raise RefusedError(Reason.RECEIPT_INVALID, "suite is not the key's")
    if live and record.revoked_ms is not None:
        raise RefusedError(Reason.RECEIPT_INVALID, f"key {receipt.key_id} is revoked")
    if record.revoked_ms is not None and record.revoked_ms <= receipt.instant_ms:
        raise RefusedError(Reason.RECEIPT_INVALID, f"key {receipt.key_id} was revoked before")
    early, late = record.not_before_ms - MAX_CLOCK_SKEW_MS, record.not_after_ms
    if not early <= receipt.instant_ms < late:
        raise RefusedError(Reason.RECEIPT_INVALID, "key outside its validity at the stated instant")
    # 4 signature
    checking = checking or Checking()
    if not verify_proof(
        signed.proof, signed.covered, KeyUse.RECEIPT, record.key, trust.version, checking
    ):
        raise RefusedError(Reason.RECEIPT_INVALID, "signature")
    return VerifiedReceipt(receipt, octets)


def concerns(
    verified: VerifiedReceipt, reference: MessageReference, message_digest: bytes, octets: bytes
) -> bool:
    """Step 5: whether this receipt is about exactly this message.

    A refusal that names nothing concerns the message only if it is about the very octets we hold:
    what a forwarder altered on the way is that forwarder's fault and ends nothing.
    """
    receipt = verified.receipt
    if receipt.reference is None:
        held = digest(Suite(receipt.suite), octets)
        same_octets = hmac.compare_digest(receipt.octets_digest, held)
        return receipt.type is ReceiptType.REFUSED and same_octets
    return receipt.reference == reference and hmac.compare_digest(
        receipt.message_digest, message_digest
    )
