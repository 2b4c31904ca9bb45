"""Ferry files signed and checked: layout in `protocol.ferry_file`, keys of the nodes (网闸摆渡).

Whoever can write into a folder could otherwise put in hints that nobody sent. A reader checks, in
this order:

    1. the fixed layout                                                      FF-2
    2. from the peer this folder is for, to this node                        FF-2
    3. the key is in the trust set (else transient)                          TR-1
    4. registered for carriers, owned by the sender, suite, in its time      FF-1
    5. the signature over domain and statement                               FF-1
    6. the octets' digest                                                    FF-2

Steps 1 to 5 need the head only; 6 is apart, because the octets may still be coming.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.errors import RefusedError, UnavailableError
from protocol.ferry_file import FerryHead, ferry_signed_octets, read_ferry_head, write_ferry_file
from protocol.limits import MAX_CLOCK_SKEW_MS
from protocol.reasons import Reason
from signing.keys import KeyUse, SigningRequest
from signing.suites import Suite, digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from signing.keys import KeyStore
    from signing.trust import KeyRecord, TrustSet


@dataclass(frozen=True, slots=True)
class Passage:
    """One direction between two nodes."""

    sender: str
    receiver: str


@dataclass(frozen=True, slots=True)
class VerifiedHead:
    """A head whose steps 1 to 5 held. Only `verify_ferry_head` makes one."""

    head: FerryHead

    def holds(self, octets: bytes) -> bool:
        """Step 6: whether these are the octets the head speaks of."""
        own = digest(Suite(self.head.suite), octets)
        return hmac.compare_digest(own, self.head.octets_digest)


def sign_ferry_files(
    octets: bytes, passage: Passage, number: int, now_ms: int, room: int, keys: KeyStore
) -> list[bytes]:
    """The files of one hand-over.

    Args:
        octets: The hand-over's frames.
        passage: From this node, to whom.
        number: Of the hand-over.
        now_ms: The present.
        room: Octets of the hand-over in one file.
        keys: This node's, among them its carrier key.

    Raises:
        KeyStoreError: it has no carrier key.
        UnavailableError: SUITE_UNAVAILABLE.
    """
    key = keys.public(keys.find(KeyUse.CARRIER, passage.sender))
    pieces = list(_split(octets, room))
    heads = [
        FerryHead(
            sender=passage.sender,
            receiver=passage.receiver,
            number=number,
            instant_ms=now_ms,
            place=place,
            files=len(pieces),
            suite=key.suite.value,
            key_id=key.key_id,
            size=len(piece),
            octets_digest=digest(key.suite, piece),
        )
        for place, piece in enumerate(pieces)
    ]
    signatures = keys.sign(
        [SigningRequest(key.key_id, ferry_signed_octets(head)) for head in heads]
    )
    return [
        write_ferry_file(head, signature, piece)
        for head, signature, piece in zip(heads, signatures, pieces, strict=True)
    ]


def _split(octets: bytes, room: int) -> Iterator[bytes]:
    yield octets[:room]
    for start in range(room, len(octets), room):
        yield octets[start : start + room]


def verify_ferry_head(
    octets: bytes, passage: Passage, trust: TrustSet, now_ms: int
) -> VerifiedHead:
    """Run steps 1 to 5 of the module's docstring.

    Raises:
        RefusedError: FRAME_MALFORMED, KEY_USE, KEY_OWNER, SUITE_MISMATCH, KEY_REVOKED or
            SIGNATURE_INVALID.
        UnavailableError: KEY_UNKNOWN or CLOCK_SKEW: not decided.
    """
    # 1 layout
    signed = read_ferry_head(octets)
    head = signed.head
    # 2 passage
    if (head.sender, head.receiver) != (passage.sender, passage.receiver):
        detail = f"from {head.sender} to {head.receiver}, not from {passage.sender}"
        raise RefusedError(Reason.FRAME_MALFORMED, detail)
    # 3 key known
    record = trust.key(head.key_id, head.sender)
    if record is None:
        raise UnavailableError(Reason.KEY_UNKNOWN, f"carrier key {head.key_id}")
    # 4 registration
    _check_key(record, head, now_ms)
    # 5 signature
    if not record.key.verify(ferry_signed_octets(head), signed.signature):
        raise RefusedError(Reason.SIGNATURE_INVALID, "of a ferry file")
    return VerifiedHead(head)


def _check_key(record: KeyRecord, head: FerryHead, now_ms: int) -> None:
    if record.use is not KeyUse.CARRIER:
        raise RefusedError(Reason.KEY_USE, f"{head.key_id} is a {record.use} key")
    if record.owner != head.sender:
        raise RefusedError(Reason.KEY_OWNER, f"{head.key_id} belongs to {record.owner}")
    if record.key.suite is not Suite(head.suite):
        raise RefusedError(Reason.SUITE_MISMATCH, "suite is not the key's")
    if record.revoked_ms is not None:
        raise RefusedError(Reason.KEY_REVOKED, f"key {head.key_id} is revoked")
    if now_ms < record.not_before_ms - MAX_CLOCK_SKEW_MS:
        # Either a clock is wrong or the key is used too early; time will tell.
        raise UnavailableError(Reason.CLOCK_SKEW, f"key {head.key_id} is not valid yet here")
    if now_ms >= record.not_after_ms:
        raise RefusedError(Reason.KEY_REVOKED, f"key {head.key_id} is past its validity")
