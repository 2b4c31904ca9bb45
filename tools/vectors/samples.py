"""What the cases are made of: steady keys, one good message, and a signer of anything."""

from __future__ import annotations

import base64
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from lxml import etree

from protocol.bodies import encode_body
from protocol.instants import format_instant
from signing.keys import KeyUse
from signing.profile import DS
from signing.suites import PrivateKey, Suite, digest
from tests.messages import (
    HUB,
    NOW_MS,
    SCAN,
    WUHAN,
    XIANGYANG,
    Keys,
    authority_of,
    envelope,
    keys_of,
    message_id,
    sign_envelope,
)
from tests.samples import SUBMIT
from tools.vectors import curves
from tools.vectors.cases import Case

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from protocol.envelope import Envelope, Environment
    from protocol.reasons import Reason
    from signing.trust import KeyRecord
    from tools.vectors.cases import Json, Stage

BODY: Final = encode_body(SUBMIT)
PARTS: Final = {"body": BODY, "m1": SCAN}
TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DIGEST, VALUE = "@digest@", "@value@"
"""What `resign` fills in."""

# As a forgiving tool reads: document types and entities are let in, the network is not.
_FORGIVING: Final = etree.XMLParser(
    resolve_entities=True, load_dtd=True, attribute_defaults=True, no_network=True
)


def base64_of(octets: bytes) -> str:
    """Base64 as the wire form has it."""
    return base64.b64encode(octets).decode()


class SteadyKey(PrivateKey):
    """A private key that signs the same octets the same way each time, in every suite."""

    __slots__ = ()

    def sign(self, octets: bytes) -> bytes:
        """As `PrivateKey.sign`; SM2 by textbook arithmetic."""
        if self.suite is not Suite.SM2_SM3:
            return super().sign(octets)
        secret = int.from_bytes(self._secret)
        nonce = curves.steady_nonce(curves.SM2.order, secret, octets)
        return curves.sm2_sign(secret, octets, nonce)

    @property
    def secret(self) -> bytes:
        """The 32 secret octets: of keys that are published here anyway."""
        return self._secret

    @classmethod
    def of(cls, key: PrivateKey) -> SteadyKey:
        """The same key, steady."""
        return cls(key.suite, key._secret, None)  # noqa: SLF001 - vectors hide nothing


@cache
def keys(suite: Suite = Suite.P256) -> Keys:
    """The keys of a hub, of Wuhan and of Xiangyang."""
    held = keys_of((HUB, WUHAN, XIANGYANG), suite)
    return Keys(held.records, {name: SteadyKey.of(key) for name, key in held.secrets.items()})


def key_for(use: KeyUse, node: str, suite: Suite = Suite.P256) -> SteadyKey:
    """A node's key for this use."""
    held = keys(suite)
    of_authorities = (KeyUse.ENVELOPE, KeyUse.PING)
    owner = authority_of(node) if use in of_authorities else node
    key = held.secrets[held.find(use, owner)]
    if not isinstance(key, SteadyKey):
        raise TypeError(key)
    return key


def record_for(key: PrivateKey) -> KeyRecord:
    """The registration of one of these keys."""
    held = keys(key.suite).records
    return next(record for record in held if record.key.key_id == key.public.key_id)


def key_row(record: KeyRecord) -> Json:
    """A registration as case.json writes it."""
    revoked = record.revoked_ms
    return {
        "id": record.key.key_id,
        "suite": record.key.suite.value,
        "spki": base64_of(record.key.spki),
        "use": record.use.value,
        "owner": record.owner,
        "node": record.node,
        "notBefore": format_instant(record.not_before_ms),
        "notAfter": format_instant(record.not_after_ms),
        "revoked": None if revoked is None else format_instant(revoked),
    }


def directory(records: Sequence[KeyRecord] | None = None, now_ms: int = NOW_MS) -> dict[str, Json]:
    """Whom a verifier knows and when it looks; by default the two parties of the good message."""
    if records is None:
        records = [record_for(SENDER), record_for(OTHER)]
    return {"now": format_instant(now_ms), "keys": [key_row(record) for record in records]}


def envelope_case(
    group: str,
    name: str,
    octets: bytes,
    what: str,
    what_zh: str,
    why: str,
    *,
    clause: str,
    reason: Reason | None = None,
    stage: Stage | None = None,
    records: Sequence[KeyRecord] | None = None,
    now_ms: int = NOW_MS,
    result: Mapping[str, Json] | None = None,
    more_files: Mapping[str, bytes] | None = None,
    environment: Environment = "trial",
    historic: bool = False,
) -> Case:
    """A case about one envelope; valid unless there is a reason."""
    return Case(
        group,
        name,
        what,
        what_zh,
        why,
        clause,
        {"envelope.xml": octets} | dict(more_files or {}),
        expect=reason,
        stage=stage,
        inputs={
            "environment": environment,
            **directory(records, now_ms),
            **({"historic": True} if historic else {}),
        },
        result=result or {},
    )


def message(suite: Suite = Suite.P256, **changes: Any) -> Envelope:  # noqa: ANN401 - header fields
    """The good message: a case from Wuhan for Xiangyang, with everything a header may have."""
    values: dict[str, Any] = {"parts": PARTS, "in_reply_to": message_id(9), "trace": TRACE}
    return envelope(keys(suite), suite, **values | changes)


SENDER: Final = key_for(KeyUse.ENVELOPE, WUHAN)
OTHER: Final = key_for(KeyUse.ENVELOPE, XIANGYANG)
GOOD: Final = sign_envelope(message(), SENDER).decode()
START: Final = GOOD.index("<ds:Signature ")
CONTENT: Final = GOOD[:START] + "</Envelope>"


def _with_blanks(text: str) -> str:
    for name, blank in (("DigestValue", DIGEST), ("SignatureValue", VALUE)):
        text = re.sub(f"(<ds:{name}>)[^<]*", rf"\g<1>{blank}", text)
    return text


TEMPLATE: Final = _with_blanks(GOOD)
"""The good envelope with its digest and its signature left out."""
SIGNATURE: Final = TEMPLATE[START : -len("</Envelope>")]
INNER: Final = SIGNATURE.replace(f' xmlns:ds="{DS}"', "")


def with_loose_bits(text: str) -> str:
    """The base64 with the last character's spare bits set: the same octets to most decoders."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    stem = text.rstrip("=")
    return stem[:-1] + alphabet[alphabet.index(stem[-1]) + 1] + text[len(stem) :]


def edited(*edits: tuple[str, str], text: str = TEMPLATE) -> str:
    """The text with each first occurrence replaced."""
    for old, new in edits:
        if old not in text:
            raise ValueError(old)
        text = text.replace(old, new, 1)
    return text


def parsed(text: str | bytes) -> etree._Element:
    """As a forgiving tool reads it."""
    return etree.fromstring(text if isinstance(text, bytes) else text.encode(), _FORGIVING)


def canonical(root: etree._Element, *, comments: bool = False) -> bytes:
    """Exclusive c14n."""
    return etree.tostring(root, method="c14n", exclusive=True, with_comments=comments)


def without_signature(root: etree._Element, signature: etree._Element) -> bytes:
    """What our two transforms give: the document without the signature, canonical."""
    detach(signature)
    return canonical(root)


def detach(element: etree._Element) -> None:
    """Take an element out of its parent; the text behind it stays."""
    around, before = element.getparent(), element.getprevious()
    if around is None:
        raise ValueError("it is the document")
    tail = element.tail or ""
    if before is None:
        around.text = (around.text or "") + tail
    else:
        before.tail = (before.tail or "") + tail
    around.remove(element)


def resign(
    text: str,
    key: PrivateKey = SENDER,
    *,
    covered: Callable[[etree._Element, etree._Element], bytes] = without_signature,
    info: Callable[[bytes], bytes] = bytes,
) -> bytes:
    """Fill in digest and signature, correctly for what the text itself says.

    Args:
        text: A document with DIGEST and VALUE where they belong.
        key: Who signs.
        covered: The octets its Reference digests, of the document and the Signature with VALUE.
        info: From the exclusive canonical SignedInfo to the octets that are signed.
    """
    text = text.replace(DIGEST, base64_of(digest(key.suite, covered(*_found(text)))))
    value = key.sign(info(signed_info_of(text)))
    return text.replace(VALUE, base64_of(value)).encode()


def signed_info_of(text: str) -> bytes:
    """The exclusive canonical SignedInfo of the signature with VALUE."""
    info = _found(text)[1].find(f"{{{DS}}}SignedInfo")
    if info is None:
        raise ValueError("no SignedInfo")
    return canonical(info)


def _found(text: str) -> tuple[etree._Element, etree._Element]:
    root = parsed(text)
    for value in root.iter(f"{{{DS}}}SignatureValue"):
        around = value.getparent()
        if VALUE in "".join(value.itertext()) and around is not None:
            return root, around
    raise ValueError("no signature to fill in")
