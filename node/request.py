"""What a new node tells its directory's publisher: who it is, and the keys it can sign with.

``request.json`` holds the facts, and beside them one proof per key: a signature by that key over
all the facts. So nobody gets a key registered that somebody else holds, and a key that was shown
for one node and owner serves for no other (design, section 5: proof of possession). Whether the
facts are true is for the publisher to find out: by telephone, by letter, in person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, Field

from protocol.envelope import Environment
from protocol.errors import RefusedError
from protocol.reasons import Reason
from routing.directory_document import NodeEntry
from routing.payload import STRICT, Octets, Text, read_model, refuse_if_any, repeated, write_payload
from signing.keys import KeyUse, SigningRequest
from signing.suites import Suite, load_public_key

if TYPE_CHECKING:
    from signing.keys import KeyStore

DOMAIN: Final = b"TONGBAN-NODE-REQUEST-1\x00"
_MAX_KEYS: Final = 512


class KeyFacts(BaseModel):
    """A key to be registered: a directory's key entry before its validity is decided."""

    model_config = STRICT

    id: str
    suite: Suite
    spki: Octets
    use: KeyUse
    owner: Text


class NodeFacts(BaseModel):
    """A node as it wants to stand in the directory; the keys are delegated to it."""

    model_config = STRICT

    version: Literal[1]
    environment: Environment
    node: NodeEntry
    keys: Annotated[tuple[KeyFacts, ...], Field(min_length=1, max_length=_MAX_KEYS)]


class NodeRequest(BaseModel):
    """The file: the facts, and one signature per key in the order of the keys."""

    model_config = STRICT

    facts: NodeFacts
    proofs: tuple[Octets, ...]


def write_request(facts: NodeFacts, keys: KeyStore) -> bytes:
    """The file's octets, each key's proof made by the key store."""
    octets = DOMAIN + write_payload(facts)
    proofs = keys.sign([SigningRequest(row.id, octets) for row in facts.keys])
    request = NodeRequest(facts=facts, proofs=tuple(proofs))
    return request.model_dump_json(indent=1).encode() + b"\n"


def read_request(octets: bytes) -> NodeFacts:
    """The facts of a request whose every key is shown to be in its hands.

    Raises:
        RefusedError: DOCUMENT_INVALID: another structure, a key twice, or an id that is not its
            key's; KEY_MALFORMED; DOCUMENT_SIGNATURE: a proof is missing or does not verify.
        UnavailableError: SUITE_UNAVAILABLE: it could not be checked.
    """
    request = read_model(NodeRequest, octets)
    facts = request.facts
    refuse_if_any(repeated("keys.id", [row.id for row in facts.keys]))
    signed = DOMAIN + write_payload(facts)
    if len(request.proofs) != len(facts.keys):
        detail = f"{len(facts.keys)} keys, {len(request.proofs)} proofs"
        raise RefusedError(Reason.DOCUMENT_SIGNATURE, detail)
    for place, (row, proof) in enumerate(zip(facts.keys, request.proofs, strict=True)):
        key = load_public_key(row.suite, row.spki)
        if key.key_id != row.id:
            detail = f"keys[{place}].id: not the digest of the key, {key.key_id}"
            raise RefusedError(Reason.DOCUMENT_INVALID, detail)
        if not key.verify(signed, proof):
            detail = f"keys[{place}]: the {row.use} key of {row.owner} did not sign these facts"
            raise RefusedError(Reason.DOCUMENT_SIGNATURE, detail)
    return facts
