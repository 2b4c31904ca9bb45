"""Group signature, family wrap: the signature and what it signs, moved to where nobody looks.

Every signature in these verifies for a tool that follows its Reference; `EVIL` is what a careless
reader would then act on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.reasons import Reason
from signing.profile import DS
from tools.vectors.samples import (
    CONTENT,
    GOOD,
    OTHER,
    SIGNATURE,
    START,
    TEMPLATE,
    canonical,
    detach,
    edited,
    envelope_case,
    parsed,
    resign,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml import etree

    from tools.vectors.cases import Case

EVIL: Final = ('node="420600"', 'node="420000"')
"""What an attacker changes: another destination."""

SECOND: Final = (
    "A tool checks the signature it finds first; a reader may believe the content of another."
)
MOVED: Final = (
    "What a transform removes depends on where the signature stands; the reader has to see exactly "
    "the octets that were digested."
)
WRAPPED: Final = (
    "The classical wrapping attack: the Reference finds the signed original by its id, while the "
    "reader takes the first Header it meets."
)
IDS: Final = "An id lets a Reference choose what is signed, and two ids let the parser choose."
STRAY: Final = "Whatever carries content in a signature can carry what was signed out of sight."


def cases() -> Iterator[Case]:
    """Every case of the family."""
    yield from _second_signatures()
    yield from _moved()
    yield from _wrapped()
    yield from _ids_and_objects()
    yield _case(
        "missing",
        CONTENT.encode(),
        "No signature at all.",
        "没有签名。",
        "A verifier that loops over signatures passes a document with none.",
        reason=Reason.SIGNATURE_MISSING,
        clause="SG-2",
    )
    yield _case(
        "missing-other-namespace",
        GOOD.replace(DS, "urn:example:signature").encode(),
        "An element called Signature in another namespace.",
        "名为 Signature 而属于其他名字空间的元素。",
        "Who compares local names only takes anything for a signature.",
        reason=Reason.SIGNATURE_MISSING,
        clause="SG-2",
    )


def _case(
    name: str,
    octets: bytes,
    what: str,
    what_zh: str,
    why: str,
    *,
    reason: Reason = Reason.SIGNATURE_PROFILE,
    clause: str = "SG-1 SG-15",
) -> Case:
    # In the wire form, so that nothing but the wrapping can be refused.
    return envelope_case(
        "signature",
        f"wrap-{name}",
        canonical(parsed(octets)),
        what,
        what_zh,
        why,
        clause=clause,
        reason=reason,
        stage="form",
    )


def _second_signatures() -> Iterator[Case]:
    """The signed original with one more signature."""
    signature = GOOD[START : -len("</Envelope>")]
    by_other = resign(TEMPLATE, OTHER).decode()[START : -len("</Envelope>")]
    bare = signature.replace(f' xmlns:ds="{DS}"', "")
    places = [
        ("second-after", "</Envelope>", f"{signature}</Envelope>", "after the first", "之后"),
        ("second-before", "<ds:Signature", f"{signature}<ds:Signature", "before the last", "之前"),
        (
            "second-by-another",
            "<ds:Signature",
            f"{by_other}<ds:Signature",
            "of another authority before the last",
            "之前（另一机关所签）",
        ),
        ("second-in-header", "</Header>", f"{signature}</Header>", "in the header", "之外的首部内"),
        (
            "second-in-part",
            "></Part>",
            f">{signature}</Part>",
            "inside a part's row",
            "之外的部件行内",
        ),
    ]
    for name, old, new, where, where_zh in places:
        yield _case(
            name,
            edited((old, new), text=GOOD).encode(),
            f"A second signature {where}.",
            f"原签名{where_zh}另有一个签名。",
            SECOND,
        )
    inside = [
        ("in-signed-info", "</ds:SignedInfo>", "SignedInfo"),
        ("in-reference", "</ds:Reference>", "Reference"),
        ("in-signature", "</ds:Signature>", "Signature"),
        ("in-value", "</ds:SignatureValue>", "SignatureValue"),
    ]
    for name, end, element in inside:
        yield _case(
            f"second-{name}",
            resign(edited((end, bare + end))),
            f"A second signature inside {element}, all of it signed by the sender.",
            f"{element} 之内另有一个签名，整体由发送方签名。",
            SECOND,
        )


def _moved() -> Iterator[Case]:
    places = [
        ("before-header", "<Header>", SIGNATURE + "<Header>", "before the header", "首部之前"),
        ("before-parts", "<Parts>", SIGNATURE + "<Parts>", "before the manifest", "清单之前"),
        ("in-parts", "</Parts>", SIGNATURE + "</Parts>", "in the manifest", "清单之内"),
        ("in-header", "</Header>", SIGNATURE + "</Header>", "in the header", "首部之内"),
        ("in-kind", "</Kind>", SIGNATURE + "</Kind>", "inside a value", "某个取值之内"),
    ]
    for name, old, new, where, where_zh in places:
        text = edited((SIGNATURE, ""), (old, new))
        yield _case(
            f"moved-{name}",
            resign(text),
            f"The one signature stands {where}; it verifies there.",
            f"唯一的签名位于{where_zh}，且在该处可以验证。",
            MOVED,
        )
    yield _case(
        "text-after",
        resign(edited(("</Envelope>", "x</Envelope>"))),
        "Text follows the signature, and was signed.",
        "签名之后有文字，且已被签名。",
        MOVED,
    )
    yield _case(
        "element-after",
        resign(edited(("</Envelope>", "<Parts></Parts></Envelope>"))),
        "A second manifest follows the signature, and was signed.",
        "签名之后有第二份清单，且已被签名。",
        MOVED,
    )


def _by_id(root: etree._Element, signature: etree._Element) -> bytes:
    """The element whose Id is x, without the signature."""
    found = next(element for element in root.iter() if element.get("Id") == "x")
    if signature is not found and signature in list(found.iter()):
        detach(signature)
    return canonical(found)


def _wrapped() -> Iterator[Case]:
    """A signed original somewhere, and a changed one where a reader looks."""
    evil = edited(EVIL)
    reference = ('<ds:Reference URI="">', '<ds:Reference URI="#x">')
    signature = edited(reference, text=SIGNATURE)
    original = CONTENT.replace("<Envelope", '<Envelope Id="x"', 1)
    placed = [
        (
            "original-in-object",
            evil[:START]
            + edited(
                ("</ds:Signature>", f"<ds:Object>{original}</ds:Object></ds:Signature>"),
                text=signature,
            )
            + "</Envelope>",
            "in an Object of the signature",
            "签名的 Object 内",
        ),
        (
            "original-after",
            evil[:START] + signature + original + "</Envelope>",
            "after the signature",
            "签名之后",
        ),
        (
            "original-before",
            evil[:START] + original + signature + "</Envelope>",
            "before the signature",
            "签名之前",
        ),
        (
            "original-in-header",
            edited(("</Header>", original + "</Header>"), text=evil[:START])
            + signature
            + "</Envelope>",
            "in the changed header",
            "被改动的首部内",
        ),
        (
            "original-in-part",
            edited(("></Part>", f">{original}</Part>"), text=evil[:START])
            + signature
            + "</Envelope>",
            "in a part's row",
            "部件行内",
        ),
    ]
    for name, text, where, where_zh in placed:
        yield _case(
            name,
            resign(text, covered=_by_id),
            f"A changed envelope; the signed original stands {where}, found by its id.",
            f"报文已被改动；签过名的原文藏在{where_zh}，由 Id 引用。",
            WRAPPED,
        )
    header = ("<Header>", '<Header Id="x">')
    swapped = edited(header, text=CONTENT)
    first = swapped[swapped.index("<Header") : swapped.index("<Parts>")]
    yield _case(
        "two-headers",
        resign(
            evil[:START].replace("<Parts>", f"{first}<Parts>") + signature + "</Envelope>",
            covered=_by_id,
        ),
        "Two headers: the first is changed, the second is the signed one, found by its id.",
        "两个首部：第一个被改动，第二个才是签过名的，由 Id 引用。",
        WRAPPED,
    )
    yield _case(
        "wrapper",
        resign(f"<Wrapper>{TEMPLATE}</Wrapper>"),
        "The envelope inside a foreign element, and the whole signed.",
        "报文被包在外来元素之内，并整体签名。",
        MOVED,
    )
    yield _case(
        "wrapper-two-envelopes",
        resign(
            f"<Wrapper>{edited(EVIL, text=CONTENT)}{original}{signature}</Wrapper>", covered=_by_id
        ),
        "A foreign element around a changed envelope, the signed original and its signature.",
        "外来元素之内有被改动的报文、签过名的原文及其签名。",
        WRAPPED,
    )
    nested = edited(("</Envelope>", f"{GOOD}</Envelope>"), text=edited(EVIL, text=CONTENT))
    yield _case(
        "envelope-in-envelope",
        nested.encode(),
        "A changed envelope without signature around the signed original.",
        "没有签名的、被改动的报文包着签过名的原文。",
        WRAPPED,
    )
    yield _case(
        "signature-at-root",
        resign(
            edited(
                reference,
                (
                    "</ds:Signature>",
                    f'<ds:Object Id="x">{CONTENT}</ds:Object></ds:Signature>',
                ),
                text=SIGNATURE,
            ),
            covered=_by_id,
        ),
        "An enveloping signature: the document is a Signature with the envelope in its Object.",
        "包裹式签名：文档本身是 Signature，报文在其 Object 内。",
        MOVED,
    )


def _ids_and_objects() -> Iterator[Case]:
    for name, old, new, element in (
        ("signature", "<ds:Signature xmlns", '<ds:Signature Id="x" xmlns', "Signature"),
        ("signed-info", "<ds:SignedInfo>", '<ds:SignedInfo Id="x">', "SignedInfo"),
        ("reference", "<ds:Reference URI", '<ds:Reference Id="x" URI', "Reference"),
        ("value", "<ds:SignatureValue>", '<ds:SignatureValue Id="x">', "SignatureValue"),
    ):
        text = edited((old, new)).replace(f'Id="x" xmlns:ds="{DS}"', f'xmlns:ds="{DS}" Id="x"')
        yield _case(
            f"id-{name}",
            resign(text),
            f"{element} has an Id.",
            f"{element} 带有 Id。",
            IDS,
        )
    twice = edited(
        ("<Header>", '<Header Id="x">'), ("<Parts>", '<Parts Id="x">'), ('URI=""', 'URI="#x"')
    )
    yield _case(
        "id-twice",
        resign(twice, covered=_by_id),
        "The Reference names an id that two elements have.",
        "引用的 Id 同时属于两个元素。",
        IDS,
    )
    prop = '<ds:SignatureProperty Target=""><x xmlns="urn:x"></x></ds:SignatureProperty>'
    for name, inner, what, what_zh in (
        ("object", "<ds:Object>x</ds:Object>", "an Object with text", "含文字的 Object"),
        ("object-empty", "<ds:Object></ds:Object>", "an empty Object", "空的 Object"),
        (
            "properties",
            f"<ds:Object><ds:SignatureProperties>{prop}</ds:SignatureProperties></ds:Object>",
            "signature properties",
            "签名属性",
        ),
        ("foreign", '<x xmlns="urn:x"></x>', "a foreign element", "外来元素"),
        ("text", "x", "text", "文字"),
        ("space", "\n", "a line feed", "换行"),
    ):
        yield _case(
            f"{name}-in-signature",
            resign(edited(("</ds:Signature>", f"{inner}</ds:Signature>"))),
            f"The signature ends with {what}, which nothing signs.",
            f"签名末尾有{what_zh}，不在任何签名之内。",
            STRAY,
        )
    yield _case(
        "indented-signature",
        resign(edited(("<ds:SignedInfo>", "\n  <ds:SignedInfo>"), ("<ds:Sig", "<ds:Sig"))),
        "The signature is indented, as many libraries write it.",
        "签名带缩进，许多库如此输出。",
        "White space outside SignedInfo is not signed: free octets under one signature.",
    )
    yield _case(
        "object-elsewhere",
        resign(edited(("</Parts>", f'<ds:Object xmlns:ds="{DS}"></ds:Object></Parts>'))),
        "An element of the signature's namespace in the manifest, and signed.",
        "清单中有签名名字空间的元素，且已签名。",
        STRAY,
    )
    yield _case(
        "prefix",
        resign(TEMPLATE.replace("ds:", "dsig:").replace(":ds=", ":dsig=")),
        "The signature under another prefix.",
        "签名使用另一前缀。",
        "A prefix is a free choice; one octet form has one.",
    )
    yield _case(
        "no-prefix",
        resign(
            TEMPLATE.replace("<ds:", "<").replace("</ds:", "</").replace(" xmlns:ds=", " xmlns=")
        ),
        "The signature in a default namespace, without prefix.",
        "签名使用默认名字空间，没有前缀。",
        "A prefix is a free choice; one octet form has one.",
    )
