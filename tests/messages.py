"""Messages to try things on: keys made from names, a small trust set, envelopes and receipts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import schemas
from protocol.bodies import KINDS
from protocol.envelope import (
    Address,
    CaseReference,
    Envelope,
    Header,
    Part,
    Sender,
    write_content,
)
from protocol.identifiers import make_uuid7, uscc_check
from protocol.proof import Single
from protocol.receipt import ReceiptType
from signing.batch import sign_group
from signing.keys import KeyStoreError, KeyUse, SigningRequest
from signing.profile import attach, envelope_request, signed_info
from signing.receipts import draft_receipt, sign_receipt
from signing.suites import PrivateKey, PublicKey, Suite, digest, private_key_from_entropy
from signing.trust import KeyRecord, TrustSet
from signing.verify import Rules, VerifiedEnvelope, verify_envelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from protocol.errors import RefusedError

NOW_MS: Final = 1_795_316_400_000  # 2026-11-22T03:00:00.000Z
YEAR_MS: Final = 365 * 24 * 3600 * 1000
DAY_MS: Final = 24 * 3600 * 1000
HUB, WUHAN, XIANGYANG = "420000", "420100", "420600"
BODY: Final = b"<Body></Body>"
SCAN: Final = b"%PDF-1.7 \x00\xff"


def make_key(name: str, suite: Suite = Suite.P256) -> PrivateKey:
    """The key of this name: the same one each time."""
    return private_key_from_entropy(suite, name.encode().ljust(48, b"."))


def authority_of(node: str) -> str:
    """The USCC of the one authority at this node."""
    body = f"11{node}MB1900000"
    return body + uscc_check(body)


def message_id(number: int) -> str:
    """A message or case id; the number sits in its random bits."""
    return make_uuid7(NOW_MS, number.to_bytes(10))


CASE_ID: Final = message_id(1 << 40)


@dataclass(frozen=True)
class Keys:
    """A key store in memory; what is registered here is what its trust set knows."""

    records: Sequence[KeyRecord]
    secrets: Mapping[str, PrivateKey]

    def sign(self, requests: Sequence[SigningRequest]) -> list[bytes]:
        """See `signing.keys.KeyStore`."""
        return [self.secrets[request.key_id].sign(request.octets) for request in requests]

    def public(self, key_id: str) -> PublicKey:
        """See `signing.keys.KeyStore`."""
        return self.secrets[key_id].public

    def find(self, use: KeyUse, owner: str) -> str:
        """See `signing.keys.KeyStore`."""
        for record in self.records:
            if (record.use, record.owner) == (use, owner):
                return record.key.key_id
        raise KeyStoreError(f"no {use} key of {owner}")

    def trust(self) -> TrustSet:
        """The trust set that registers every key."""
        return TrustSet.of(self.records, version=1)


_OF_AUTHORITIES = (KeyUse.ENVELOPE, KeyUse.PING)
_OF_NODES = (KeyUse.RECEIPT, KeyUse.EVIDENCE, KeyUse.HEAD, KeyUse.CARRIER)


def keys_of(nodes: Iterable[str], suite: Suite = Suite.P256, **changes: Any) -> Keys:
    """Every key these nodes need: per node one authority, who is also its operator.

    Args:
        nodes: Node ids.
        suite: Of all the keys.
        changes: Fields every record has instead.
    """
    secrets, records = {}, []
    for node in nodes:
        for use in (*_OF_AUTHORITIES, *_OF_NODES):
            owner = node if use in _OF_NODES else authority_of(node)
            secret = make_key(f"{node} {use}", suite)
            secrets[secret.public.key_id] = secret
            values: dict[str, Any] = {
                "key": secret.public,
                "use": use,
                "owner": owner,
                "node": node,
                "not_before_ms": NOW_MS - YEAR_MS,
                "not_after_ms": NOW_MS + YEAR_MS,
                "revoked_ms": None,
            }
            records.append(KeyRecord(**values | changes))
    return Keys(records, secrets)


def part(part_id: str, octets: bytes, suite: Suite, **changes: Any) -> Part:
    """The manifest's row for these octets; the one called body is the body."""
    values: dict[str, Any] = {
        "part_id": part_id,
        "role": "body" if part_id == "body" else "material",
        "media_type": "application/xml" if part_id == "body" else "application/pdf",
        "size": len(octets),
        "digest": digest(suite, octets),
        "schema": "urn:tongban:case-submit:1" if part_id == "body" else None,
    }
    return Part(**values | changes)


def envelope(
    keys: Keys,
    suite: Suite = Suite.P256,
    *,
    number: int = 1,
    from_node: str = WUHAN,
    to_node: str = XIANGYANG,
    sequence: int = 1,
    parts: Mapping[str, bytes] | None = None,
    **changes: Any,
) -> Envelope:
    """An unsigned envelope from one node's authority to another's; `changes` are header fields."""
    authority = authority_of(from_node)
    held = {"body": BODY, "m1": SCAN} if parts is None else parts
    values: dict[str, Any] = {
        "message_id": message_id(number),
        "kind": "case.submit",
        "created_ms": NOW_MS,
        "expires_ms": NOW_MS + 30 * DAY_MS,
        "sender": Sender(from_node, authority, keys.find(KeyUse.ENVELOPE, authority)),
        "recipient": Address(to_node, authority_of(to_node)),
        "case": CaseReference(CASE_ID, sequence),
    }
    rows = tuple(part(part_id, octets, suite) for part_id, octets in held.items())
    return Envelope("trial", Header(**values | changes), rows)


def sign_envelope(unsigned: Envelope, secret: PrivateKey) -> bytes:
    """The octets on the wire, signed with this key whoever it belongs to."""
    return sign_content(write_content(unsigned), secret)


def sign_content(content: bytes, secret: PrivateKey) -> bytes:
    """The octets on the wire for canonical content, whatever it says."""
    message_digest = digest(secret.suite, content)
    signature = secret.sign(signed_info(secret.suite, message_digest))
    return attach(content, secret.suite, message_digest, Single(signature))


def signed_by_sender(unsigned: Envelope, keys: Keys) -> bytes:
    """The octets on the wire, signed with the key the header names."""
    return sign_envelope(unsigned, keys.secrets[unsigned.header.sender.key])


def signed_together(unsigned: Sequence[Envelope], keys: Keys) -> list[bytes]:
    """The octets of several envelopes on the wire, signed as one group."""
    contents = [write_content(each) for each in unsigned]
    senders = [keys.public(each.header.sender.key) for each in unsigned]
    digests = [digest(key.suite, content) for key, content in zip(senders, contents, strict=True)]
    requests = [
        envelope_request(
            key, KeyUse.PING if each.header.kind == "ping" else KeyUse.ENVELOPE, message_digest
        )
        for each, key, message_digest in zip(unsigned, senders, digests, strict=True)
    ]
    proofs = sign_group(keys, requests)
    return [
        attach(content, key.suite, message_digest, proof)
        for content, key, message_digest, proof in zip(
            contents, senders, digests, proofs, strict=True
        )
    ]


def rules() -> Rules:
    """What a trial node holds envelopes against."""
    return Rules(schemas.compiled(), {kind.name for kind in KINDS}, "trial")


def verified(octets: bytes, keys: Keys, now_ms: int = NOW_MS) -> VerifiedEnvelope:
    """The envelope, verified."""
    return verify_envelope(octets, rules(), keys.trust(), now_ms)


def receipt_for(
    message: VerifiedEnvelope,
    keys: Keys,
    issuer: str,
    kind: ReceiptType = ReceiptType.RECEIVED,
    *,
    now_ms: int = NOW_MS,
    refusal: RefusedError | None = None,
) -> bytes:
    """A signed receipt of this node for the message."""
    draft = draft_receipt(
        kind,
        issuer,
        keys.public(keys.find(KeyUse.RECEIPT, issuer)),
        message.octets,
        now_ms,
        reference=message.envelope.header.reference,
        message_digest=message.message_digest,
        refusal=refusal,
    )
    return sign_receipt(draft, keys)
