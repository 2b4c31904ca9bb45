"""The rules of delivery: what a receipt, a duplicate and a sequence number mean. Pure functions.

* Only a receipt signed by To's node ends a message; custody discharges nobody (EX-3, EX-4).
* Identity is (From.authority, MessageId, message digest); the same again gets the stored receipt
  (EX-5).
* Sequence numbers are per case and sender, from 1, without gaps; a refused number is consumed
  (EX-6, EX-7).
* After `Expires` the sender does not decide alone: it is in doubt and asks (EX-9).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from protocol.reasons import INTRINSIC
from protocol.receipt import ReceiptType
from signing.receipts import concerns

if TYPE_CHECKING:
    from protocol.envelope import MessageReference
    from protocol.reasons import Reason
    from protocol.receipt import Receipt
    from signing.receipts import VerifiedReceipt


class Standing(StrEnum):
    """Where a message stands, seen from a node that sends it on (or, the last two, received it)."""

    QUEUED = "queued"
    CUSTODY = "custody"
    IN_DOUBT = "in-doubt"
    RECEIVED = "received"
    REFUSED = "refused"

    @property
    def settled(self) -> bool:
        """Whether the destination's own receipt has ended it."""
        return self in (Standing.RECEIVED, Standing.REFUSED)

    @property
    def chinese(self) -> str:
        """For people."""
        return _CHINESE[self]


_CHINESE = {
    Standing.QUEUED: "待发",
    Standing.CUSTODY: "枢纽托管",
    Standing.IN_DOUBT: "存疑待查",
    Standing.RECEIVED: "已签收",
    Standing.REFUSED: "已拒收",
}


@dataclass(frozen=True, slots=True)
class Sent:
    """What a sender holds about a message it sent on."""

    reference: MessageReference
    message_digest: bytes
    octets: bytes
    to_node: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Settled:
    """The destination has spoken."""

    standing: Standing
    reason: Reason | None
    detail: str


@dataclass(frozen=True, slots=True)
class InCustody:
    """A forwarder has it on disk; it goes on waiting for the destination."""

    issuer: str


@dataclass(frozen=True, slots=True)
class PathFailure:
    """A forwarder will not carry it: another path has to be tried."""

    issuer: str
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Irrelevant:
    """The receipt changes nothing; `alarm` when an honest peer could not have sent it."""

    why: str
    alarm: bool


Verdict: TypeAlias = Settled | InCustody | PathFailure | Irrelevant


def judge_receipt(verified: VerifiedReceipt, sent: Sent) -> Verdict:
    """What a verified receipt means for a message this node sent on."""
    receipt = verified.receipt
    if not concerns(verified, sent.reference, sent.message_digest, sent.octets):
        return Irrelevant("about another content than the one sent", alarm=True)
    if receipt.issuer == sent.to_node:
        return _from_destination(receipt, sent)
    match receipt.type:
        case ReceiptType.CUSTODY if sent.standing.settled:
            return Irrelevant("custody of a settled message", alarm=False)
        case ReceiptType.CUSTODY:
            return InCustody(receipt.issuer)
        case ReceiptType.REFUSED:
            return PathFailure(receipt.issuer, receipt.reason)
        case _:
            return Irrelevant(f"{receipt.issuer} is not the destination", alarm=True)


def _from_destination(receipt: Receipt, sent: Sent) -> Verdict:
    if receipt.reference is None and receipt.reason not in INTRINSIC:
        # It was not recorded, and may be answered otherwise tomorrow: it ends nothing.
        code = "" if receipt.reason is None else receipt.reason.code
        return Irrelevant(f"refused unauthenticated: {code}", alarm=True)
    match receipt.type:
        case ReceiptType.RECEIVED:
            outcome = Settled(Standing.RECEIVED, None, "")
        case ReceiptType.REFUSED:
            outcome = Settled(Standing.REFUSED, receipt.reason, receipt.detail)
        case _:
            return Irrelevant("custody from the destination itself", alarm=True)
    if sent.standing.settled:
        return Irrelevant("already settled", alarm=sent.standing is not outcome.standing)
    return outcome


def same_message(known_digest: bytes, message_digest: bytes) -> bool:
    """Whether an authenticated message is the one on record under its reference (EX-5)."""
    return hmac.compare_digest(known_digest, message_digest)


class Turn(StrEnum):
    """What a sequence number is to those consumed before."""

    NEXT = "next"
    GAP = "gap"
    USED = "used"


def turn(last_consumed: int, number: int) -> Turn:
    """Whether it is this number's turn in its case (EX-6, EX-7)."""
    if number == last_consumed + 1:
        return Turn.NEXT
    return Turn.GAP if number > last_consumed else Turn.USED
