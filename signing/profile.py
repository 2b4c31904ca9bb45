"""The signature profile: one template, octet for octet.

An envelope's signature is its last element and is written from this template only. Reading it is
therefore a comparison of octets: whatever is not the template is refused by the name of the first
rule it breaks, before any cryptography (SG-1 to SG-4).

A message signed alone has the bare signature as its SignatureValue; one signed in a batch has the
batch proof there (`protocol.proof`, form 01), and a SignatureMethod that says so (BP-4).

Because the wire form is canonical, the two transforms need no tree: the enveloped-signature
transform of a canonical envelope is the envelope's octets without the Signature element, and
exclusive c14n of those octets is those octets.

Sources: XML Signature Syntax and Processing 1.1 (W3C); RFC 9231 for the identifiers of ECDSA and
Ed25519; ``urn:oid`` identifiers 1.2.156.10197.1.501 and .401 for SM2 with SM3 and SM3 (GB/T
25061-2020 has its own in annex D, not seen; an alias would be configuration).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, NoReturn, assert_never

from protocol.envelope import CLOSING_TAG
from protocol.errors import RefusedError
from protocol.proof import (
    MAX_PROOF_OCTETS,
    SIGNATURE_OCTETS,
    Batched,
    Proof,
    Single,
    read_proof,
    write_proof,
)
from protocol.reasons import Reason
from signing.batch import ProofRequest
from signing.suites import Suite

if TYPE_CHECKING:
    from lxml import etree

    from signing.keys import KeyUse
    from signing.suites import PublicKey

DS: Final = "http://www.w3.org/2000/09/xmldsig#"
EXCLUSIVE_C14N: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED: Final = f"{DS}enveloped-signature"

SIGNATURE_URI: Final = {
    Suite.SM2_SM3: "urn:oid:1.2.156.10197.1.501",
    Suite.P256: "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
    Suite.ED25519: "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519",
}
DIGEST_URI: Final = {
    Suite.SM2_SM3: "urn:oid:1.2.156.10197.1.401",
    Suite.P256: "http://www.w3.org/2001/04/xmlenc#sha256",
    Suite.ED25519: "http://www.w3.org/2001/04/xmlenc#sha256",
}
MERKLE_URI: Final = {suite: f"urn:tongban:signature:1:{suite}+merkle" for suite in Suite}

_OPENING: Final = f'<ds:Signature xmlns:ds="{DS}">'.encode()
_NAMESPACE: Final = f' xmlns:ds="{DS}"'.encode()
_VALUE: Final = b"<ds:SignatureValue>"
_CLOSING: Final = b"</ds:SignatureValue></ds:Signature>"


@dataclass(frozen=True, slots=True)
class _Method:
    """A registered SignatureMethod, and the template's SignedInfo for it.

    Attributes:
        uri: Its identifier.
        suite: The suite it belongs to.
        batched: Whether SignatureValue is a batch proof.
        before: SignedInfo after `<ds:SignedInfo` and up to the DigestValue.
        after: SignedInfo from the DigestValue on.
    """

    uri: str
    suite: Suite
    batched: bool
    before: bytes
    after: bytes

    def info(self, message_digest: bytes, namespace: bytes = b"") -> bytes:
        """The SignedInfo; with the declaration it is canonical on its own."""
        value = base64.b64encode(message_digest)
        return b"<ds:SignedInfo" + namespace + self.before + value + self.after


def _method(uri: str, suite: Suite, *, batched: bool) -> _Method:
    before = (
        f'><ds:CanonicalizationMethod Algorithm="{EXCLUSIVE_C14N}"></ds:CanonicalizationMethod>'
        f'<ds:SignatureMethod Algorithm="{uri}"></ds:SignatureMethod>'
        '<ds:Reference URI=""><ds:Transforms>'
        f'<ds:Transform Algorithm="{ENVELOPED}"></ds:Transform>'
        f'<ds:Transform Algorithm="{EXCLUSIVE_C14N}"></ds:Transform>'
        f'</ds:Transforms><ds:DigestMethod Algorithm="{DIGEST_URI[suite]}"></ds:DigestMethod>'
        "<ds:DigestValue>"
    )
    after = "</ds:DigestValue></ds:Reference></ds:SignedInfo>"
    return _Method(uri, suite, batched, before.encode(), after.encode())


_SINGLE: Final = {suite: _method(SIGNATURE_URI[suite], suite, batched=False) for suite in Suite}
_BATCHED: Final = {suite: _method(MERKLE_URI[suite], suite, batched=True) for suite in Suite}
_METHODS: Final = {
    method.uri: method for methods in (_SINGLE, _BATCHED) for method in methods.values()
}
_DIGEST_OCTETS: Final = 32

MAX_SIGNATURE_ELEMENT_OCTETS: Final = (
    max(len(method.info(bytes(_DIGEST_OCTETS))) for method in _BATCHED.values())
    + len(_OPENING + _VALUE + _CLOSING)
    + len(base64.b64encode(bytes(MAX_PROOF_OCTETS)))
)
"""What the longest Signature adds to an envelope's content."""


@dataclass(frozen=True, slots=True)
class SignedContent:
    """An envelope taken apart by the template; nothing is verified yet.

    Attributes:
        content: The octets the Reference digests.
        suite: From the SignatureMethod.
        message_digest: The DigestValue as stated, 32 octets: the identity of the content.
        signed_info: The octets the signature covers, or those of the leaf.
        proof: The signature, or the place in a batch.
    """

    content: bytes
    suite: Suite
    message_digest: bytes
    signed_info: bytes
    proof: Proof


def signed_info(suite: Suite, message_digest: bytes, *, batched: bool = False) -> bytes:
    """The canonical SignedInfo: what the sender's key signs, or the octets of a leaf in a batch."""
    return (_BATCHED if batched else _SINGLE)[suite].info(message_digest, _NAMESPACE)


def envelope_request(key: PublicKey, use: KeyUse, message_digest: bytes) -> ProofRequest:
    """What it takes to prove an envelope, alone or with others.

    Args:
        key: Its sender's.
        use: Envelope or ping.
        message_digest: Of its content.
    """
    alone, batched = (
        signed_info(key.suite, message_digest, batched=batched) for batched in (False, True)
    )
    return ProofRequest(key.key_id, use, alone, batched)


def attach(content: bytes, suite: Suite, message_digest: bytes, proof: Proof) -> bytes:
    """The signed envelope's octets: the content with the Signature as its last element."""
    match proof:
        case Single(signature):
            return _attach(content, _SINGLE[suite], message_digest, signature)
        case Batched():
            return _attach(content, _BATCHED[suite], message_digest, write_proof(proof))
        case _:
            assert_never(proof)


def _attach(content: bytes, method: _Method, message_digest: bytes, value: bytes) -> bytes:
    return b"".join(
        (
            content[: -len(CLOSING_TAG)],
            _OPENING,
            method.info(message_digest),
            _VALUE,
            base64.b64encode(value),
            _CLOSING,
            CLOSING_TAG,
        )
    )


def take_apart(octets: bytes, root: etree._Element) -> SignedContent:
    """Split a canonical envelope into content and signature, by the template.

    Args:
        octets: Octets `protocol.wire.parse_canonical` let through.
        root: The element it returned for them.

    Raises:
        RefusedError: SIGNATURE_MISSING, SIGNATURE_PROFILE, SUITE_UNKNOWN or BATCH_PROOF, naming the
            rule.
    """
    start = max(octets.rfind(_OPENING), 0)
    content = octets[:start] + CLOSING_TAG
    uri, message_digest, value = _read_places(octets[start:])
    method = _METHODS.get(uri)
    if (
        method is None
        or len(message_digest) != _DIGEST_OCTETS
        or _attach(content, method, message_digest, value) != octets
        or (DS.encode() in content and _strays(root))
    ):
        _refuse(root)
    proof = _read_proof(value, method)
    return SignedContent(
        content, method.suite, message_digest, method.info(message_digest, _NAMESPACE), proof
    )


def _read_places(block: bytes) -> tuple[str, bytes, bytes]:
    """What stands in the template's places, if this is the template: method, digest, value."""
    _, _, rest = block.partition(b'<ds:SignatureMethod Algorithm="')
    uri, _, rest = rest.partition(b'"')
    _, _, rest = rest.partition(b"<ds:DigestValue>")
    message_digest, _, rest = rest.partition(b"<")
    _, _, rest = rest.partition(_VALUE)
    value, _, _ = rest.partition(b"<")
    try:
        return uri.decode(), base64.b64decode(message_digest), base64.b64decode(value)
    except ValueError:
        return "", b"", b""


def _read_proof(value: bytes, method: _Method) -> Proof:
    """The SignatureValue in the form its method says, and in no other (BP-4)."""
    if not method.batched:
        if len(value) != SIGNATURE_OCTETS:
            raise _deviation(f"SignatureValue has {len(value)} octets, not {SIGNATURE_OCTETS}")
        return Single(value)
    try:
        proof = read_proof(value)
    except ValueError as error:
        raise RefusedError(Reason.BATCH_PROOF, str(error)) from error
    if not isinstance(proof, Batched):
        raise RefusedError(Reason.BATCH_PROOF, "a single proof under a batch's SignatureMethod")
    return proof


def _refuse(root: etree._Element) -> NoReturn:
    """Name the first rule that an envelope breaks which is known to break one (SG-15)."""
    children = list(root)
    signatures = list(root.iter(f"{{{DS}}}Signature"))
    if not signatures:
        raise RefusedError(Reason.SIGNATURE_MISSING, "no ds:Signature in the envelope")
    if len(signatures) > 1:
        raise _deviation("more than one ds:Signature")
    if not children or children[-1] is not signatures[0]:
        raise _deviation("ds:Signature is not the last child of the envelope")
    if _strays(root):
        raise _deviation("an xmldsig element outside ds:Signature")
    methods = list(signatures[0].iter(f"{{{DS}}}SignatureMethod"))
    if len(methods) != 1:
        raise _deviation("not exactly one SignatureMethod")
    uri = methods[0].get("Algorithm", "")
    method = _METHODS.get(uri)
    if method is None:
        raise RefusedError(Reason.SUITE_UNKNOWN, f"SignatureMethod {uri[:80]!r}")
    message_digest = _read_value(signatures[0], "DigestValue")
    if len(message_digest) != _DIGEST_OCTETS:
        raise _deviation(f"DigestValue has {len(message_digest)} octets, not {_DIGEST_OCTETS}")
    _read_proof(_read_value(signatures[0], "SignatureValue"), method)
    raise _deviation(_wrong_element(signatures[0], method))


def _strays(root: etree._Element) -> bool:
    """Whether anything but the last child of the root is in the namespace of XML signatures."""
    others = chain((root,), *(child.iter() for child in root[:-1]))
    return any(str(element.tag).startswith(f"{{{DS}}}") for element in others)


def _read_value(signature: etree._Element, name: str) -> bytes:
    elements = list(signature.iter(f"{{{DS}}}{name}"))
    if len(elements) != 1:
        raise _deviation(f"not exactly one {name}")
    text = elements[0].text or ""
    try:
        value = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise _deviation(f"{name} is not base64") from error
    if base64.b64encode(value).decode() != text:
        raise _deviation(f"{name} is not base64 in its one form")
    return value


def _wrong_element(signature: etree._Element, method: _Method) -> str:
    expected = [
        ("Signature", {}),
        ("SignedInfo", {}),
        ("CanonicalizationMethod", {"Algorithm": EXCLUSIVE_C14N}),
        ("SignatureMethod", {"Algorithm": method.uri}),
        ("Reference", {"URI": ""}),
        ("Transforms", {}),
        ("Transform", {"Algorithm": ENVELOPED}),
        ("Transform", {"Algorithm": EXCLUSIVE_C14N}),
        ("DigestMethod", {"Algorithm": DIGEST_URI[method.suite]}),
        ("DigestValue", {}),
        ("SignatureValue", {}),
    ]
    found = list(signature.iter())
    for (name, attributes), element in zip(expected, found, strict=False):
        tag = str(element.tag).partition("}")[2] or str(element.tag)
        if element.tag != f"{{{DS}}}{name}":
            return f"{tag[:40]} where {name} belongs"
        if dict(element.attrib) != attributes:
            stated = ", ".join(
                f"{key}={str(value)[:80]!r}" for key, value in element.attrib.items()
            )
            return f"{name} with {stated or 'no attributes'}"
    if len(found) != len(expected):
        tag = str(found[len(expected)].tag) if len(found) > len(expected) else "nothing"
        return f"{re.sub(r'{.*}', '', tag)[:40]} after SignatureValue"
    return "white space, prefix or order of the template"


def _deviation(what: str) -> RefusedError:
    return RefusedError(Reason.SIGNATURE_PROFILE, what)
