"""The verifier: octets go in, a `VerifiedEnvelope` or a named error comes out.

The steps, in this order; nothing after step 4 is believed before step 9 holds:

    1.  size and wire form: the octets are their own exclusive c14n          LI-1 WF-1 WF-2
    2.  the signature is the template and nothing else; the numbers of a
        batch proof hold together                                  SG-1 SG-2 SG-3 BP-3 BP-4
    3.  header and manifest follow the schema, in the one form a writer gives
        them; the kind is published; a case message names its case and a ping
        none                                                                 EN-1 EN-2 EN-4 EN-5
    4.  the environment is ours                                              EN-3
    5.  the key is in the trust set (else: transient, the directory may be old)    TR-1
    6.  suite, use, owner and node are those the key is registered for       SG-4 SG-6 SG-7
    7.  the key is valid now: not revoked, not past its validity (before it:
        transient, a clock is wrong)                                         SG-8
    8.  the stated digest is the digest of the content                       SG-9
    9.  the signature verifies over SignedInfo, or over the batch that
        SignedInfo is a leaf of                                              SG-10 BP-1 BP-2
    10. it was not created in the future (transient: a clock is wrong)       TR-2

Expiry is not a step: an expired message is authentic, and the receiver needs it authenticated to
say so in a receipt. Parts are checked by `check_part` as they arrive. The caller decides whether it
is the addressee or forwards for it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.envelope import Envelope, Environment, read_envelope, write_content
from protocol.errors import RefusedError, UnavailableError
from protocol.limits import MAX_CLOCK_SKEW_MS, MAX_ENVELOPE_OCTETS
from protocol.reasons import Reason
from protocol.wire import first_difference, parse_canonical
from signing.batch import Checking, verify_proof
from signing.keys import KeyUse
from signing.profile import SignedContent, take_apart
from signing.suites import Suite, digest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from lxml import etree

    from protocol.envelope import Part
    from signing.trust import KeyRecord, TrustSet

PING_KIND = "ping"


@dataclass(frozen=True, slots=True)
class Rules:
    """What this verifier holds envelopes against.

    Attributes:
        schemas: Compiled schemas by target namespace.
        kinds: The published kinds.
        environment: Ours.
    """

    schemas: Mapping[str, etree.XMLSchema]
    kinds: Collection[str]
    environment: Environment


@dataclass(frozen=True, slots=True)
class VerifiedEnvelope:
    """An envelope whose ten steps held. Only `verify_envelope` makes one.

    Attributes:
        envelope: Header and manifest.
        octets: As received; never re-encoded.
        message_digest: The identity of the content, 32 octets.
        suite: The sender's suite; its digest is the manifest's.
        key: The registered key.
    """

    envelope: Envelope
    octets: bytes
    message_digest: bytes
    suite: Suite
    key: KeyRecord


def verify_envelope(
    octets: bytes,
    rules: Rules,
    trust: TrustSet,
    now_ms: int,
    *,
    live: bool = True,
    checking: Checking | None = None,
) -> VerifiedEnvelope:
    """Run the ten steps of the module's docstring.

    Args:
        octets: The envelope as received.
        rules: Schemas, kinds and environment.
        trust: The keys of the directory in force.
        now_ms: The receiver's clock. With `live=False` the instant the envelope was first seen.
        live: False for evidence: step 7 then asks for validity at `now_ms` instead of refusing
            whatever is
            revoked by now.
        checking: Batches that verified before, and the charge for verifying another.

    Raises:
        RefusedError: a rule is broken; the reason names it.
        UnavailableError: KEY_UNKNOWN, CLOCK_SKEW, SUITE_UNAVAILABLE, or what the charge raises: not
            decided, try again.
    """
    # 1 wire form
    root = parse_canonical(octets, MAX_ENVELOPE_OCTETS)
    # 2 template
    signed = take_apart(octets, root)
    # 3 schema and kind
    envelope = read_envelope(root, rules.schemas)
    # White space between elements and prefixes are canonical too, and pass a schema.
    written = write_content(envelope)
    if written != signed.content:
        place = first_difference(signed.content, written)
        raise RefusedError(Reason.NOT_CANONICAL, f"not as a writer has it, from octet {place}")
    header = envelope.header
    if header.kind not in rules.kinds:
        raise RefusedError(Reason.KIND_UNKNOWN, header.kind)
    if (header.kind == PING_KIND) != (header.case is None):
        raise RefusedError(Reason.SCHEMA_INVALID, f"{header.kind}: Case belongs to cases only")
    # 4 environment
    if envelope.environment != rules.environment:
        raise RefusedError(
            Reason.ENVIRONMENT_MISMATCH, f"{envelope.environment}, here {rules.environment}"
        )
    # 5 key known
    record = trust.key(header.sender.key, header.sender.node)
    if record is None:
        raise UnavailableError(Reason.KEY_UNKNOWN, f"key {header.sender.key}")
    # 6, 7 key fits and is valid
    use = KeyUse.PING if header.kind == PING_KIND else KeyUse.ENVELOPE
    _check_registration(envelope, signed, record, use)
    _check_validity(record, now_ms, live=live)
    # 8 digest
    if not hmac.compare_digest(digest(signed.suite, signed.content), signed.message_digest):
        raise RefusedError(Reason.DIGEST_MISMATCH, "DigestValue")
    # 9 signature
    checking = checking or Checking()
    if not verify_proof(signed.proof, signed.signed_info, use, record.key, trust.version, checking):
        raise RefusedError(Reason.SIGNATURE_INVALID, f"key {record.key.key_id}")
    # 10 clock
    ahead_ms = header.created_ms - now_ms
    if ahead_ms > MAX_CLOCK_SKEW_MS:
        raise UnavailableError(
            Reason.CLOCK_SKEW, f"created {ahead_ms // 1000} s ahead of our clock"
        )
    return VerifiedEnvelope(envelope, octets, signed.message_digest, signed.suite, record)


def _check_registration(
    envelope: Envelope, signed: SignedContent, record: KeyRecord, use: KeyUse
) -> None:
    if record.key.suite is not signed.suite:
        raise RefusedError(
            Reason.SUITE_MISMATCH, f"{signed.suite}, registered for {record.key.suite}"
        )
    if record.use is not use:
        raise RefusedError(Reason.KEY_USE, f"registered for {record.use}, needed for {use}")
    sender = envelope.header.sender
    if record.owner != sender.authority:
        raise RefusedError(Reason.KEY_OWNER, f"owned by {record.owner}, From is {sender.authority}")
    if record.node != sender.node:
        raise RefusedError(Reason.KEY_OWNER, f"delegated to {record.node}, From is {sender.node}")


def _check_validity(record: KeyRecord, now_ms: int, *, live: bool) -> None:
    revoked_ms = record.revoked_ms
    if revoked_ms is not None and (live or revoked_ms <= now_ms):
        raise RefusedError(Reason.KEY_REVOKED, f"key {record.key.key_id} is revoked")
    if now_ms < record.not_before_ms - MAX_CLOCK_SKEW_MS:
        # Either a clock is wrong or the key is used too early; time will tell.
        raise UnavailableError(Reason.CLOCK_SKEW, f"key {record.key.key_id} is not valid yet here")
    if now_ms >= record.not_after_ms:
        raise RefusedError(Reason.KEY_REVOKED, f"key {record.key.key_id} is past its validity")


def check_part(verified: VerifiedEnvelope, part: Part, octets: bytes) -> None:
    """Check one part's octets against the signed manifest.

    Raises:
        UnavailableError: PART_MISMATCH. Whoever carried the part may have damaged it, so the
            message is never
            refused for it (PA-2).
    """
    check_size(part, len(octets))
    check_digest(part, digest(verified.suite, octets))


def check_size(part: Part, size: int) -> None:
    """Check how many octets a part has; as `check_part`."""
    if size != part.size:
        raise UnavailableError(
            Reason.PART_MISMATCH, f"{part.part_id}: {size} octets, listed {part.size}"
        )


def check_digest(part: Part, found: bytes) -> None:
    """Check the digest of a part, in the suite of its message; as `check_part`."""
    if not hmac.compare_digest(found, part.digest):
        raise UnavailableError(Reason.PART_MISMATCH, f"{part.part_id}: digest")
