"""The signature profile: one template, octet for octet.

An envelope's signature is its last element and is written from this template only. Reading it is
therefore a comparison of octets: whatever is not the template is refused by the name of the first
rule it breaks, before any cryptography (SG-1 to SG-4).

Because the wire form is canonical, the two transforms need no tree: the enveloped-signature
transform of a canonical envelope is the envelope's octets without the Signature element, and
exclusive c14n of those octets is those octets.

Sources: XML Signature Syntax and Processing 1.1 (W3C); RFC 9231 for the identifiers of ECDSA and
Ed25519; ``urn:oid`` identifiers 1.2.156.10197.1.501 and .401 for SM2 with SM3 and SM3 (GB/T
25061-2020 has its own in annex D, not seen; an alias would be configuration).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from protocol.envelope import CLOSING_TAG
from protocol.errors import RefusedError
from protocol.reasons import Reason
from signing.suites import Suite

if TYPE_CHECKING:
    from lxml import etree

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
_SUITE_OF: Final = {uri: suite for suite, uri in SIGNATURE_URI.items()}

_INFO: Final = (
    "<ds:SignedInfo{namespace}>"
    f'<ds:CanonicalizationMethod Algorithm="{EXCLUSIVE_C14N}"></ds:CanonicalizationMethod>'
    '<ds:SignatureMethod Algorithm="{signature_uri}"></ds:SignatureMethod>'
    '<ds:Reference URI=""><ds:Transforms>'
    f'<ds:Transform Algorithm="{ENVELOPED}"></ds:Transform>'
    f'<ds:Transform Algorithm="{EXCLUSIVE_C14N}"></ds:Transform>'
    '</ds:Transforms><ds:DigestMethod Algorithm="{digest_uri}"></ds:DigestMethod>'
    "<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
)
_OPENING: Final = f'<ds:Signature xmlns:ds="{DS}">'
_CLOSING: Final = "</ds:SignatureValue></ds:Signature>"
_DIGEST_OCTETS: Final = 32
_SIGNATURE_OCTETS: Final = 64


@dataclass(frozen=True, slots=True)
class SignedContent:
    """An envelope taken apart by the template; nothing is verified yet.

    Attributes:
        content: The octets the Reference digests.
        suite: From the SignatureMethod.
        message_digest: The DigestValue as stated, 32 octets: the identity of the content.
        signed_info: The octets the signature covers.
        signature: 64 octets.
    """

    content: bytes
    suite: Suite
    message_digest: bytes
    signed_info: bytes
    signature: bytes


def signed_info(suite: Suite, message_digest: bytes) -> bytes:
    """The canonical SignedInfo: what the sender's key signs."""
    return _info(suite, message_digest, f' xmlns:ds="{DS}"').encode()


def _info(suite: Suite, message_digest: bytes, namespace: str) -> str:
    return _INFO.format(
        namespace=namespace,
        signature_uri=SIGNATURE_URI[suite],
        digest_uri=DIGEST_URI[suite],
        digest=base64.b64encode(message_digest).decode(),
    )


def attach(content: bytes, suite: Suite, message_digest: bytes, signature: bytes) -> bytes:
    """The signed envelope's octets: the content with the Signature as its last element."""
    value = base64.b64encode(signature).decode()
    block = f"{_OPENING}{_info(suite, message_digest, '')}<ds:SignatureValue>{value}{_CLOSING}"
    return content[: -len(CLOSING_TAG)] + block.encode() + CLOSING_TAG


def take_apart(octets: bytes, root: etree._Element) -> SignedContent:
    """Split a canonical envelope into content and signature, by the template.

    Args:
        octets: Octets `protocol.wire.parse_canonical` let through.
        root: The element it returned for them.

    Raises:
        RefusedError: SIGNATURE_MISSING, SIGNATURE_PROFILE or SUITE_UNKNOWN, naming the rule.
    """
    children = list(root)
    signatures = [element for element in root.iter() if element.tag == f"{{{DS}}}Signature"]
    if not signatures:
        raise RefusedError(Reason.SIGNATURE_MISSING, "no ds:Signature in the envelope")
    if len(signatures) > 1:
        raise _deviation("more than one ds:Signature")
    if not children or children[-1] is not signatures[0]:
        raise _deviation("ds:Signature is not the last child of the envelope")
    if any(str(e.tag).startswith(f"{{{DS}}}") for child in children[:-1] for e in child.iter()):
        raise _deviation("an xmldsig element outside ds:Signature")
    suite = _suite(signatures[0])
    message_digest = _value(signatures[0], f"{{{DS}}}DigestValue", _DIGEST_OCTETS)
    signature = _value(signatures[0], f"{{{DS}}}SignatureValue", _SIGNATURE_OCTETS)
    start = octets.rfind(_OPENING.encode())
    content = octets[: max(start, 0)] + CLOSING_TAG
    if attach(content, suite, message_digest, signature) != octets:
        raise _deviation(_first_deviation(signatures[0], suite))
    return SignedContent(
        content, suite, message_digest, signed_info(suite, message_digest), signature
    )


def _suite(signature: etree._Element) -> Suite:
    methods = list(signature.iter(f"{{{DS}}}SignatureMethod"))
    if len(methods) != 1:
        raise _deviation("not exactly one SignatureMethod")
    uri = methods[0].get("Algorithm", "")
    suite = _SUITE_OF.get(uri)
    if suite is None:
        raise RefusedError(Reason.SUITE_UNKNOWN, f"SignatureMethod {uri[:80]!r}")
    return suite


def _value(signature: etree._Element, tag: str, octets: int) -> bytes:
    name = tag.partition("}")[2]
    elements = list(signature.iter(tag))
    if len(elements) != 1:
        raise _deviation(f"not exactly one {name}")
    text = elements[0].text or ""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _deviation(f"{name} is not base64") from error
    if base64.b64encode(value).decode() != text:
        raise _deviation(f"{name} is not base64 in its one form")
    if len(value) != octets:
        raise _deviation(f"{name} has {len(value)} octets, not {octets}")
    return value


def _first_deviation(signature: etree._Element, suite: Suite) -> str:
    """Name the first rule of the template a Signature breaks; it is known to break one."""
    expected = [
        ("Signature", {}),
        ("SignedInfo", {}),
        ("CanonicalizationMethod", {"Algorithm": EXCLUSIVE_C14N}),
        ("SignatureMethod", {"Algorithm": SIGNATURE_URI[suite]}),
        ("Reference", {"URI": ""}),
        ("Transforms", {}),
        ("Transform", {"Algorithm": ENVELOPED}),
        ("Transform", {"Algorithm": EXCLUSIVE_C14N}),
        ("DigestMethod", {"Algorithm": DIGEST_URI[suite]}),
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
