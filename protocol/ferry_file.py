"""Ferry files: a hand-over as files, for gates that only let files through, one way (网闸摆渡).

A hand-over is one file, or several where the gate takes small files only: all with one number, each
with its place among them. Layout, all integers big-endian:

    ======  ======  =====================================================================
    offset  length  field
    ======  ======  =====================================================================
    0       4       "TBF1"
    4       1       suite of the sender's key: 1 sm2-sm3, 2 ecdsa-p256-sha256, 3 ed25519
    5       6       sending node, ASCII digits
    11      6       receiving node, ASCII digits
    17      8       number: rises with every hand-over of this sender to this receiver
    25      8       instant, milliseconds since 1970 UTC
    33      2       place of this file in its hand-over, from 0
    35      2       files of the hand-over, 1 to 128
    37      32      key id of the sender's carrier key, raw
    69      4       n, octets of the hand-over in this file
    73      32      digest of these octets, by the suite's digest
    105     64      signature: r‖s, or as Ed25519 has it
    169     n       octets
    ======  ======  =====================================================================

Signed octets: ``"TONGBAN-FERRY-1" 00`` and everything before the signature. The frames inside prove
themselves; the signature is for what does not, the hints, and tells whose file it is (FF-1).
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from typing import Final

from protocol.errors import LocalUseError, RefusedError
from protocol.identifiers import is_region
from protocol.limits import MAX_FERRY_FILES, MAX_POST_OCTETS
from protocol.reasons import Reason
from protocol.receipt import SUITE_NAMES, SUITE_NUMBERS

FERRY_DOMAIN: Final = b"TONGBAN-FERRY-1\x00"

_MAGIC: Final = b"TBF1"
_FIXED: Final = struct.Struct(">4sB6s6sQQHH32sI32s")
_SIGNATURE_OCTETS: Final = 64
FERRY_HEAD_OCTETS: Final = _FIXED.size + _SIGNATURE_OCTETS
"""Everything before the octets of the hand-over."""


@dataclass(frozen=True, slots=True)
class FerryHead:
    """What a file says about itself.

    Attributes:
        sender, receiver: Node ids.
        number: Of the hand-over.
        instant_ms: When it was written, milliseconds since 1970 UTC.
        place: Of this file among those of the hand-over, from 0.
        files: How many they are.
        suite: Of the key.
        key_id: 43 characters.
        size: Octets that follow.
        octets_digest: Of these.
    """

    sender: str
    receiver: str
    number: int
    instant_ms: int
    place: int
    files: int
    suite: str
    key_id: str
    size: int
    octets_digest: bytes


@dataclass(frozen=True, slots=True)
class SignedFerryHead:
    """A head with its signature (64 octets); not yet verified."""

    head: FerryHead
    signature: bytes


def ferry_statement(head: FerryHead) -> bytes:
    """The octets before the signature.

    Raises:
        LocalUseError: no reader would take it; the message names the rule.
    """
    broken = _broken_rule(head)
    if broken is not None:
        raise LocalUseError(broken)
    return _FIXED.pack(
        _MAGIC,
        SUITE_NUMBERS[head.suite],
        head.sender.encode(),
        head.receiver.encode(),
        head.number,
        head.instant_ms,
        head.place,
        head.files,
        base64.urlsafe_b64decode(head.key_id + "="),
        head.size,
        head.octets_digest,
    )


def ferry_signed_octets(head: FerryHead) -> bytes:
    """What the sender's carrier key signs."""
    return FERRY_DOMAIN + ferry_statement(head)


def _broken_rule(head: FerryHead) -> str | None:
    if not (is_region(head.sender) and is_region(head.receiver)):
        return "sender or receiver is no node"
    if head.sender == head.receiver:
        return "sent to its sender"
    if not 0 <= head.place < head.files <= MAX_FERRY_FILES:
        return f"file {head.place} of {head.files}"
    if head.size > MAX_POST_OCTETS:
        return f"{head.size} octets in one file"
    return None


def read_ferry_head(octets: bytes) -> SignedFerryHead:
    """Read the first `FERRY_HEAD_OCTETS` of a file; the signature is not checked here.

    Raises:
        RefusedError: FRAME_MALFORMED, naming the field.
    """
    if len(octets) < FERRY_HEAD_OCTETS:
        raise _malformed(f"{len(octets)} octets")
    (
        magic, suite, sender, receiver, number, instant_ms, place, files, key_id, size, digest,
    ) = _FIXED.unpack_from(octets)  # fmt: skip
    if magic != _MAGIC:
        raise _malformed("not a ferry file")
    try:
        head = FerryHead(
            sender=sender.decode("ascii"),
            receiver=receiver.decode("ascii"),
            number=number,
            instant_ms=instant_ms,
            place=place,
            files=files,
            suite=SUITE_NAMES[suite],
            key_id=base64.urlsafe_b64encode(key_id).decode().rstrip("="),
            size=size,
            octets_digest=digest,
        )
        ferry_statement(head)
    except (ValueError, KeyError, LocalUseError) as error:
        raise _malformed(str(error)) from error
    return SignedFerryHead(head, octets[_FIXED.size : FERRY_HEAD_OCTETS])


def write_ferry_file(head: FerryHead, signature: bytes, octets: bytes) -> bytes:
    """A whole file."""
    return ferry_statement(head) + signature + octets


def _malformed(what: str) -> RefusedError:
    return RefusedError(Reason.FRAME_MALFORMED, f"ferry file: {what}")
