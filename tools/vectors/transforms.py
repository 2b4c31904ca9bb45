"""Group signature, families transform and c14n: other ways to what is digested and signed.

Wherever the transform can be followed, the signature is right for it: what is refused is the
choice, not the arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.envelope import ENVELOPE_NAMESPACE
from protocol.reasons import Reason
from signing.profile import DS, ENVELOPED, EXCLUSIVE_C14N
from tools.vectors.samples import (
    canonical,
    edited,
    envelope_case,
    parsed,
    resign,
    without_signature,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml import etree

    from tools.vectors.cases import Case

W3: Final = "http://www.w3.org"
INCLUSIVE: Final = f"{W3}/TR/2001/REC-xml-c14n-20010315"
INCLUSIVE_1_1: Final = f"{W3}/2006/12/xml-c14n11"
EXCLUSIVE_TRANSFORM: Final = f'<ds:Transform Algorithm="{EXCLUSIVE_C14N}"></ds:Transform>'
ENVELOPED_TRANSFORM: Final = f'<ds:Transform Algorithm="{ENVELOPED}"></ds:Transform>'
PREFIXES: Final = (
    f'<x:InclusiveNamespaces xmlns:x="{EXCLUSIVE_C14N}" PrefixList="ds"></x:InclusiveNamespaces>'
)
IDENTITY_XSLT: Final = (
    '<t:stylesheet xmlns:t="http://www.w3.org/1999/XSL/Transform" version="1.0">'
    '<t:template match="@*|node()"><t:copy><t:apply-templates select="@*|node()">'
    "</t:apply-templates></t:copy></t:template></t:stylesheet>"
)
CONSTANT_XSLT: Final = (
    '<t:stylesheet xmlns:t="http://www.w3.org/1999/XSL/Transform" version="1.0">'
    '<t:output method="text"></t:output><t:template match="/">signed</t:template></t:stylesheet>'
)

CHOSEN: Final = (
    "A transform the signer may choose decides what is signed; a verifier that follows it runs a "
    "program of its peer's, and may check something else than it reads."
)
NOTHING: Final = "The transform leaves out the content: the signature holds, whatever is written."
OTHER_FORM: Final = (
    "Canonicalisations differ in namespaces and comments: the octets that are signed are no longer "
    "the octets that travel."
)


def cases() -> Iterator[Case]:
    """Every case of the families."""
    yield from _transforms()
    yield from _canonicalisations()


def _case(name: str, octets: bytes, what: str, what_zh: str, why: str) -> Case:
    # In the wire form, so that nothing but the algorithm can be refused.
    return envelope_case(
        "signature",
        name,
        canonical(parsed(octets)),
        what,
        what_zh,
        why,
        clause="SG-1",
        reason=Reason.SIGNATURE_PROFILE,
        stage="form",
    )


def _transform(algorithm: str, inner: str = "") -> str:
    return f'<ds:Transform Algorithm="{algorithm}">{inner}</ds:Transform>'


def _nothing(_root: etree._Element, _signature: etree._Element) -> bytes:
    return b""


def _constant(_root: etree._Element, _signature: etree._Element) -> bytes:
    return b"signed"


def _transforms() -> Iterator[Case]:
    both = ENVELOPED_TRANSFORM + EXCLUSIVE_TRANSFORM
    xpath = f"{W3}/TR/1999/REC-xpath-19991116"
    filter2 = f"{W3}/2002/06/xmldsig-filter2"
    xslt = f"{W3}/TR/1999/REC-xslt-19991116"
    rows: list[tuple[str, str, str, str, str]] = [
        (
            "enveloped-only",
            ENVELOPED_TRANSFORM,
            "Only the enveloped-signature transform.",
            "只有 enveloped-signature 变换。",
            OTHER_FORM,
        ),
        (
            "exclusive-only",
            EXCLUSIVE_TRANSFORM,
            "Only exclusive c14n: the signature is inside what it signs.",
            "只有独占规范化：签名落在被签内容之内。",
            CHOSEN,
        ),
        (
            "order",
            EXCLUSIVE_TRANSFORM + ENVELOPED_TRANSFORM,
            "The two transforms in the other order.",
            "两个变换次序颠倒。",
            CHOSEN,
        ),
        (
            "exclusive-twice",
            both + EXCLUSIVE_TRANSFORM,
            "Exclusive c14n twice.",
            "独占规范化出现两次。",
            CHOSEN,
        ),
        (
            "enveloped-twice",
            ENVELOPED_TRANSFORM + both,
            "The enveloped-signature transform twice.",
            "enveloped-signature 变换出现两次。",
            CHOSEN,
        ),
        (
            "inclusive",
            ENVELOPED_TRANSFORM + _transform(INCLUSIVE),
            "Inclusive c14n.",
            "包含式规范化。",
            OTHER_FORM,
        ),
        (
            "inclusive-comments",
            ENVELOPED_TRANSFORM + _transform(f"{INCLUSIVE}#WithComments"),
            "Inclusive c14n with comments.",
            "带注释的包含式规范化。",
            OTHER_FORM,
        ),
        (
            "inclusive-1-1",
            ENVELOPED_TRANSFORM + _transform(INCLUSIVE_1_1),
            "Canonical XML 1.1.",
            "规范化 XML 1.1。",
            OTHER_FORM,
        ),
        (
            "inclusive-1-1-comments",
            ENVELOPED_TRANSFORM + _transform(f"{INCLUSIVE_1_1}#WithComments"),
            "Canonical XML 1.1 with comments.",
            "带注释的规范化 XML 1.1。",
            OTHER_FORM,
        ),
        (
            "exclusive-comments",
            ENVELOPED_TRANSFORM + _transform(f"{EXCLUSIVE_C14N}WithComments"),
            "Exclusive c14n with comments.",
            "带注释的独占规范化。",
            OTHER_FORM,
        ),
        (
            "inclusive-namespaces",
            ENVELOPED_TRANSFORM + _transform(EXCLUSIVE_C14N, PREFIXES),
            "Exclusive c14n with a list of prefixes to keep.",
            "带前缀清单的独占规范化。",
            OTHER_FORM,
        ),
        (
            "xpath",
            _transform(xpath, "<ds:XPath>not(ancestor-or-self::ds:Signature)</ds:XPath>")
            + EXCLUSIVE_TRANSFORM,
            "XPath in place of enveloped-signature.",
            "以 XPath 代替 enveloped-signature。",
            CHOSEN,
        ),
        (
            "xpath-nothing",
            _transform(xpath, "<ds:XPath>false()</ds:XPath>") + EXCLUSIVE_TRANSFORM,
            "An XPath that selects nothing.",
            "不选中任何内容的 XPath。",
            NOTHING,
        ),
        (
            "xpath-filter",
            _transform(
                filter2, f'<f:XPath xmlns:f="{filter2}" Filter="subtract">//ds:Signature</f:XPath>'
            )
            + EXCLUSIVE_TRANSFORM,
            "XPath Filter 2.0 in place of enveloped-signature.",
            "以 XPath Filter 2.0 代替 enveloped-signature。",
            CHOSEN,
        ),
        (
            "xslt",
            ENVELOPED_TRANSFORM + _transform(xslt, IDENTITY_XSLT) + EXCLUSIVE_TRANSFORM,
            "XSLT that copies.",
            "原样复制的 XSLT。",
            CHOSEN,
        ),
        (
            "xslt-constant",
            _transform(xslt, CONSTANT_XSLT),
            "XSLT that always gives the same text.",
            "恒定输出的 XSLT。",
            NOTHING,
        ),
        (
            "base64",
            ENVELOPED_TRANSFORM + _transform(f"{DS}base64"),
            "The base64 transform.",
            "base64 变换。",
            CHOSEN,
        ),
        (
            "decrypt",
            both + _transform(f"{W3}/2002/07/decrypt#XML"),
            "The decryption transform.",
            "解密变换。",
            CHOSEN,
        ),
        (
            "unknown",
            both + _transform("urn:example:transform"),
            "A transform nobody knows.",
            "无人知晓的变换。",
            CHOSEN,
        ),
        (
            "with-content",
            ENVELOPED_TRANSFORM.replace("></", ">x</") + EXCLUSIVE_TRANSFORM,
            "A transform with text in it.",
            "变换内含有文字。",
            CHOSEN,
        ),
        ("none", "", "An empty list of transforms.", "变换清单为空。", CHOSEN),
    ]
    covered = {"xpath-nothing": _nothing, "xslt-constant": _constant}
    for name, new, what, what_zh, why in rows:
        text = edited((both, new))
        octets = resign(text, covered=covered.get(name, without_signature))
        yield _case(f"transform-{name}", octets, what, what_zh, why)
    yield _case(
        "transform-element-missing",
        resign(edited((f"<ds:Transforms>{both}</ds:Transforms>", ""))),
        "No list of transforms.",
        "没有变换清单。",
        CHOSEN,
    )


def _inclusively(exclusive: bytes) -> bytes:
    """Inclusive c14n of SignedInfo: every namespace in scope is declared."""
    return exclusive.replace(b" xmlns:ds=", f' xmlns="{ENVELOPE_NAMESPACE}" xmlns:ds='.encode(), 1)


def _canonicalisations() -> Iterator[Case]:
    stated = f'<ds:CanonicalizationMethod Algorithm="{EXCLUSIVE_C14N}">'
    rows = [
        ("inclusive", INCLUSIVE, "inclusive c14n", "包含式规范化"),
        (
            "inclusive-comments",
            f"{INCLUSIVE}#WithComments",
            "inclusive c14n with comments",
            "带注释的包含式规范化",
        ),
        ("inclusive-1-1", INCLUSIVE_1_1, "canonical XML 1.1", "规范化 XML 1.1"),
        (
            "exclusive-comments",
            f"{EXCLUSIVE_C14N}WithComments",
            "exclusive c14n with comments",
            "带注释的独占规范化",
        ),
        ("minimal", f"{DS}minimal", "minimal canonicalisation", "最小规范化"),
        ("unknown", "urn:example:c14n", "a form nobody knows", "无人知晓的规范化"),
    ]
    for name, uri, what, what_zh in rows:
        info = _inclusively if name.startswith("inclusive") else bytes
        yield _case(
            f"c14n-{name}",
            resign(edited((stated, stated.replace(EXCLUSIVE_C14N, uri))), info=info),
            f"SignedInfo in {what}.",
            f"SignedInfo 采用{what_zh}。",
            OTHER_FORM,
        )
    yield _case(
        "c14n-inclusive-namespaces",
        resign(edited((stated, stated + PREFIXES))),
        "SignedInfo in exclusive c14n with a list of prefixes to keep.",
        "SignedInfo 采用带前缀清单的独占规范化。",
        OTHER_FORM,
    )
    yield _case(
        "c14n-missing",
        resign(edited((f"{stated}</ds:CanonicalizationMethod>", ""))),
        "No CanonicalizationMethod.",
        "没有 CanonicalizationMethod。",
        OTHER_FORM,
    )
