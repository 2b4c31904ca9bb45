"""The log in an evidence file: what its messages and receipts are dated by (EV-19 to EV-23).

A file may carry the exporting node's signed log head, a time stamp over it, and for each message
proof that the message and the receipt that ended it are leaves of that log. Then the exporter
cannot show others another history, and with a stamp nobody, the exporter included, can have made
any of it later. A file without a head proves what its signatures prove, and no more.

What a proof is about is read from the octets of message and receipts as they state it; that they
state it truly is for the steps on envelopes and receipts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.envelope import MessageReference, read_envelope
from protocol.errors import RefusedError
from protocol.instants import format_instant
from protocol.limits import MAX_CLOCK_SKEW_MS, MAX_ENVELOPE_OCTETS
from protocol.receipt import ReceiptType, read_receipt
from protocol.wire import parse_canonical
from signing.evidence_file import EvidenceFile, LeafProof, MessageEvidence, invalid
from signing.log import Head, LeafType, read_leaf, verify_head
from signing.merkle import leaf_hash, root_from_inclusion
from signing.profile import take_apart
from signing.stamps import verify_stamp
from signing.suites import Suite, digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lxml import etree

    from signing.evidence_file import About
    from signing.stamps import StampRoots
    from signing.trust import TrustSet

_MESSAGE = frozenset({LeafType.MESSAGE_TAKEN, LeafType.MESSAGE_SENT})
_RECEIPT = frozenset({LeafType.RECEIPT_ISSUED, LeafType.RECEIPT_TAKEN})


@dataclass(frozen=True, slots=True)
class Dated:
    """What the log of a file came to.

    Attributes:
        head: The exporting node's, verified; None if the file has none.
        stamped_ms: Everything in the file was there by then, milliseconds since 1970 UTC; None
            without a stamp, or without certificates to check it against.
        told: For the report.
    """

    head: Head | None
    stamped_ms: int | None
    told: str


def check_log(
    file: EvidenceFile,
    about: About,
    trust: TrustSet,
    roots: StampRoots,
    schemas: Mapping[str, etree.XMLSchema],
) -> Dated:
    """Check head, stamp and proofs.

    Args:
        file: Taken apart.
        about: What it says of itself.
        trust: The keys of its directories.
        roots: Certificates of time-stamping authorities, from outside; none leaves a stamp out of
            account.
        schemas: Compiled schemas by namespace.

    Raises:
        RefusedError: EVIDENCE_INVALID, HEAD_INVALID or STAMP_INVALID.
        UnavailableError: the head's key is unknown, or its suite cannot be computed here.
    """
    if file.log is None:
        if any(message.proofs for message in file.messages):
            raise invalid("proofs of a log without its head")
        return Dated(None, None, "no log head in the file")
    head = verify_head(file.log.head, trust, about.node, live=False).head
    for message in file.messages:
        _check_proofs(message, head, schemas)
    told = f"head of {head.size} leaves by {head.node}"
    if file.log.stamp is None:
        return Dated(head, None, f"{told}, no time stamp")
    if not roots:
        return Dated(head, None, f"{told}; its time stamp is not looked at: no certificates given")
    stamped_ms = verify_stamp(file.log.stamp, file.log.head, roots)
    if stamped_ms < head.instant_ms - MAX_CLOCK_SKEW_MS:
        raise invalid("the head says it is younger than its time stamp")
    return Dated(head, stamped_ms, f"{told}, stamped {format_instant(stamped_ms)}")


def _check_proofs(
    message: MessageEvidence, head: Head, schemas: Mapping[str, etree.XMLSchema]
) -> None:
    """The message itself and what ended it are leaves, and nothing else is shown."""
    proven = {_proven(proof, head) for proof in message.proofs}
    root = parse_canonical(message.envelope, MAX_ENVELOPE_OCTETS)
    reference = read_envelope(root, schemas).header.reference
    stated = take_apart(message.envelope, root).message_digest
    ends = set(_ends(message))
    if not any(kind in _MESSAGE and what == stated for kind, what in proven):
        raise _missing(reference, "the message")
    if not any(kind in _RECEIPT and what in ends for kind, what in proven):
        raise _missing(reference, "the receipt that ended it")


def _proven(proof: LeafProof, head: Head) -> tuple[LeafType, bytes]:
    """Type and digest of a leaf that leads to the head's root."""
    try:
        leaf = read_leaf(proof.leaf)
    except RefusedError as error:
        raise invalid(f"leaf {proof.index}: {error.detail}") from error
    suite = head.digest.suite
    hashed = leaf_hash(suite, proof.leaf)
    if root_from_inclusion(suite, hashed, proof.index, head.size, proof.path) != head.root:
        raise invalid(f"leaf {proof.index} does not lead to the root of the head")
    return leaf.type, leaf.digest


def _ends(message: MessageEvidence) -> Iterator[bytes]:
    """The digests of the receipts that are no custody, as the log knows receipts."""
    for octets in message.receipts:
        receipt = read_receipt(octets).receipt
        if receipt.type is not ReceiptType.CUSTODY:
            yield digest(Suite(receipt.suite), octets)


def _missing(reference: MessageReference, what: str) -> RefusedError:
    return invalid(f"message {reference.message_id}: no proof that {what} is in the log")
