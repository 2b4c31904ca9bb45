"""The worked examples of docs/spec/, made from fixed keys: the same octets each time.

Authorities, persons and keys are invented. Every example is held against the code that reads it, so
an example that no verifier would take cannot be printed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import schemas
from protocol.bodies import KINDS, Actor, CaseReceived, encode_body, schema_of
from protocol.envelope import (
    Address,
    CaseReference,
    Envelope,
    Header,
    Part,
    Sender,
    write_content,
)
from protocol.frames import EnvelopeFrame, PartFrame, write_frames
from protocol.identifiers import case_id_of, make_uuid7, uscc_check, uuid_octets
from protocol.proof import Batched, Single, write_proof
from protocol.receipt import (
    Receipt,
    ReceiptType,
    receipt_signed_octets,
    receipt_statement,
    write_receipt,
)
from signing.batch import batch_octets
from signing.keys import KeyUse
from signing.merkle import Tree, leaf_hash
from signing.profile import DIGEST_URI, MERKLE_URI, SIGNATURE_URI, attach, signed_info
from signing.receipts import draft_receipt, verify_receipt
from signing.suites import PrivateKey, Suite, digest, private_key_from_entropy
from signing.trust import KeyRecord, TrustSet
from signing.verify import Rules, VerifiedEnvelope, verify_envelope

if TYPE_CHECKING:
    from collections.abc import Iterator

NOON_MS: Final = 1_795_320_000_000  # 2026-11-22T04:00:00.000Z
DAY_MS: Final = 24 * 3600 * 1000
WUHAN, XIANGYANG = "420100", "420600"
_WIDTH: Final = 100


def make_key(name: str, suite: Suite = Suite.P256) -> PrivateKey:
    """The key of this name: its entropy is the name, filled up with full stops to 48 octets."""
    return private_key_from_entropy(suite, name.encode().ljust(48, b"."))


def authority_of(node: str) -> str:
    """The USCC of the one invented authority at this node."""
    body = f"11{node}MB1900000"
    return body + uscc_check(body)


@dataclass(frozen=True, slots=True)
class Example:
    """One message and everything it is made of."""

    key: PrivateKey
    body: bytes
    content: bytes
    octets: bytes
    trust: TrustSet
    verified: VerifiedEnvelope


@cache
def example() -> Example:
    """The message of the examples: Xiangyang's authority tells Wuhan's that it has the case."""
    key = make_key("envelope key of 420600")
    submission = make_uuid7(NOON_MS - 3_600_000, bytes(range(10)))
    message_id = make_uuid7(NOON_MS, bytes(range(10, 20)))
    body = CaseReceived(
        salt="00112233445566778899aabbccddeeff",
        actor=Actor("聂远舟", "0032", "审批科"),
        received_ms=NOON_MS,
    )
    octets = encode_body(body)
    header = Header(
        message_id=message_id,
        kind=body.kind,
        created_ms=NOON_MS,
        expires_ms=NOON_MS + 30 * DAY_MS,
        sender=Sender(XIANGYANG, authority_of(XIANGYANG), key.public.key_id),
        recipient=Address(WUHAN, authority_of(WUHAN)),
        case=CaseReference(case_id_of(authority_of(WUHAN), submission), 1),
        in_reply_to=submission,
    )
    part = Part(
        "body", "body", "application/xml", len(octets), digest(key.suite, octets), schema_of(body)
    )
    content = write_content(Envelope("trial", header, (part,)))
    message_digest = digest(key.suite, content)
    proof = Single(key.sign(signed_info(key.suite, message_digest)))
    signed = attach(content, key.suite, message_digest, proof)
    records = [_record(key, KeyUse.ENVELOPE, authority_of(XIANGYANG), XIANGYANG)]
    records.append(_record(receipt_key(), KeyUse.RECEIPT, WUHAN, WUHAN))
    trust = TrustSet.of(records, version=1)
    rules = Rules(schemas.compiled(), {kind.name for kind in KINDS}, "trial")
    verified = verify_envelope(signed, rules, trust, NOON_MS)
    return Example(key, octets, content, signed, trust, verified)


def receipt_key() -> PrivateKey:
    """The key with which Wuhan's node signs its receipts."""
    return make_key("receipt key of 420100")


def _record(key: PrivateKey, use: KeyUse, owner: str, node: str) -> KeyRecord:
    return KeyRecord(
        key.public, use, owner, node, NOON_MS - 365 * DAY_MS, NOON_MS + 365 * DAY_MS, None
    )


def _fenced(lines: Iterator[str]) -> list[str]:
    return ["```", *lines, "```"]


def _xml(octets: bytes) -> Iterator[str]:
    """XML broken before its elements, so that no line is too long; the breaks are not its own."""
    line = ""
    for piece in re.split(r"(?=<(?!/))", octets.decode()):
        if line and len(line) + len(piece) > _WIDTH:
            yield line
            line = ""
        line += piece
    yield line


def _hex(octets: bytes) -> Iterator[str]:
    """Octets in hexadecimal, 32 to a line."""
    for place in range(0, len(octets), 32):
        yield octets[place : place + 32].hex()


def envelope() -> list[str]:
    """Chapter 02: the envelope as it is on the wire, and its body."""
    one = example()
    return [
        *_fenced(_xml(one.octets)),
        "",
        f"{len(one.octets)} octets. Its body, {len(one.body)} octets:",
        "",
        *_fenced(_xml(one.body)),
    ]


def template() -> list[str]:
    """Chapter 03: the template with its four places."""
    text = attach(b"</Envelope>", Suite.P256, bytes(32), Single(bytes(64))).decode()
    for old, new in (
        (SIGNATURE_URI[Suite.P256], "{signature}"),
        (DIGEST_URI[Suite.P256], "{digest}"),
        ("A" * 86 + "==", "{value}"),
        ("A" * 43 + "=", "{message digest}"),
    ):
        text = text.replace(old, new)
    return _fenced(_xml(text.removesuffix("</Envelope>").encode()))


def identifiers() -> list[str]:
    """Chapter 03: the identifiers of each suite."""
    lines = ["| suite | `{signature}`, single | batched | `{digest}` |", "|---|---|---|---|"]
    lines += [
        f"| `{suite}` | `{SIGNATURE_URI[suite]}` | `{MERKLE_URI[suite]}` | `{DIGEST_URI[suite]}` |"
        for suite in Suite
    ]
    return lines


def signature() -> list[str]:
    """Chapter 03: from the content to the signature."""
    one = example()
    stated = one.verified.message_digest
    info = signed_info(one.key.suite, stated)
    value = one.key.sign(info)
    return [
        *_fenced(_xml(one.content)),
        "",
        f"Its digest, SHA-256 of these {len(one.content)} octets, is the message digest:",
        "",
        *_fenced(_hex(stated)),
        "",
        f"The canonical SignedInfo, {len(info)} octets:",
        "",
        *_fenced(_xml(info)),
        "",
        "Signed with the key whose SubjectPublicKeyInfo is",
        "",
        *_fenced(_hex(one.key.public.spki)),
        "",
        f"and whose key id is therefore `{one.key.public.key_id}`, the signature r | s is",
        "",
        *_fenced(_hex(value)),
    ]


def case_id() -> list[str]:
    """Chapter 12: the id of the case that a message opens."""
    opener = make_uuid7(NOON_MS - 3_600_000, bytes(range(10)))
    authority = authority_of(WUHAN)
    drawn = hashlib.sha256(b"TONGBAN-CASE-1\0" + authority.encode() + uuid_octets(opener)).digest()
    rows = [
        f"From.authority  {authority}",
        f"MessageId       {opener}",
        f"d               {drawn.hex()}",
        f"case id         {case_id_of(authority, opener)}",
    ]
    return _fenced(iter(rows))


def _drafted(instant_ms: int) -> Receipt:
    """The destination's statement about the message, not signed yet."""
    one = example()
    return draft_receipt(
        ReceiptType.RECEIVED,
        WUHAN,
        receipt_key().public,
        one.octets,
        instant_ms,
        reference=one.verified.envelope.header.reference,
        message_digest=one.verified.message_digest,
    )


def receipt() -> list[str]:
    """Chapter 08: the destination's receipt for the message."""
    key, drafted = receipt_key(), _drafted(NOON_MS + 250)
    octets = write_receipt(drafted, Single(key.sign(receipt_signed_octets(drafted))))
    verify_receipt(octets, example().trust)
    return [
        *_fenced(_hex(octets)),
        "",
        f"{len(octets)} octets. The key's SubjectPublicKeyInfo:",
        "",
        *_fenced(_hex(key.public.spki)),
    ]


def batch() -> list[str]:
    """Chapter 04: three receipts under one signature, and the proof of the second."""
    key = receipt_key()
    drafts = [_drafted(NOON_MS + number) for number in (250, 251, 252)]
    leaves = [leaf_hash(key.suite, receipt_signed_octets(draft)) for draft in drafts]
    tree = Tree(key.suite, leaves)
    signed = batch_octets(key.suite, KeyUse.RECEIPT, key.public.key_id, tree.size, tree.root)
    proof = Batched(1, tree.size, tuple(tree.inclusion_path(1)), key.sign(signed))
    verify_receipt(write_receipt(drafts[1], proof), example().trust)
    return [
        "The second statement, and the hashes of the leaves:",
        "",
        *_fenced(_hex(receipt_statement(drafts[1]))),
        "",
        *_fenced(f"{place}  {leaf.hex()}" for place, leaf in enumerate(leaves)),
        "",
        "The root:",
        "",
        *_fenced(_hex(tree.root)),
        "",
        f"The signed octets, {len(signed)}:",
        "",
        *_fenced(_hex(signed)),
        "",
        f"The proof of the second receipt, {len(write_proof(proof))} octets; its path is leaf 0",
        "and leaf 2:",
        "",
        *_fenced(_hex(write_proof(proof))),
    ]


def frames() -> list[str]:
    """Chapter 07: the post that presents the message, its long octets named instead of shown."""
    one = example()
    reference = one.verified.envelope.header.reference
    first = write_frames([EnvelopeFrame((XIANGYANG,), one.octets)])
    second = write_frames([PartFrame(reference, "body", 0, one.body)])
    named = second[: -len(one.body)]
    rows = [
        f"{first[:5].hex()}            type 1, length {len(first) - 5}",
        f"{first[5:12].hex()}        path: {XIANGYANG}",
        f"...                   the envelope, {len(one.octets)} octets",
        f"{named[:5].hex()}            type 2, length {len(second) - 5}",
        f"{named[5:23].hex()}",
        f"                      From.authority {reference.authority}",
        f"{named[23:39].hex()}",
        f"                      MessageId {reference.message_id}",
        f"{named[39:44].hex()}            part id: body",
        f"{named[44:].hex()}      offset 0",
        f"...                   the body, {len(one.body)} octets",
    ]
    return _fenced(iter(rows))
