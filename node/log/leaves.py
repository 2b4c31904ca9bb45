"""What a unit of work adds to its rows: one leaf for each thing it did (LG-2).

A leaf commits with the rows it speaks of, or not at all. A receipt that names nothing (RC-4) has no
leaf: it is signed without a transaction, so that whoever sends rubbish cannot make a node write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.ports import Leaves
from signing.log import Leaf, LeafType
from signing.suites import Suite, digest

if TYPE_CHECKING:
    from protocol.receipt import Receipt
    from signing.log import VerifiedHead


def taken(message_digest: bytes, now_ms: int) -> Leaves:
    """A message of somebody else is on disk here."""
    return _row(LeafType.MESSAGE_TAKEN, now_ms, message_digest)


def sent(message_digest: bytes, now_ms: int) -> Leaves:
    """A message of ours is on disk and queued."""
    return _row(LeafType.MESSAGE_SENT, now_ms, message_digest)


def issued(receipt: Receipt, octets: bytes) -> Leaves:
    """A receipt was signed here."""
    return _row(LeafType.RECEIPT_ISSUED, receipt.instant_ms, receipt_digest(receipt, octets))


def settled(receipt: Receipt, octets: bytes, now_ms: int) -> Leaves:
    """A receipt of another node took effect here."""
    return _row(LeafType.RECEIPT_TAKEN, now_ms, receipt_digest(receipt, octets))


def peer_head(verified: VerifiedHead, now_ms: int) -> Leaves:
    """A peer's head is kept here."""
    what = digest(verified.head.suite, verified.octets)
    return _row(LeafType.PEER_HEAD, now_ms, what)


def receipt_digest(receipt: Receipt, octets: bytes) -> bytes:
    """What a receipt is logged under, by its issuer and by whoever it was given to."""
    return digest(Suite(receipt.suite), octets)


def _row(kind: LeafType, instant_ms: int, what: bytes) -> Leaves:
    return Leaves(Leaf(kind, instant_ms, what).octets)
