from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Final

import pytest
from lxml import etree

import schemas
from protocol.bodies import KINDS
from protocol.bodies.plan import Slot, plan_of
from protocol.bodies.shapes import Choice, CountShape, InstantShape, TextShape
from protocol.envelope import ENVELOPE_NAMESPACE

if TYPE_CHECKING:
    from protocol.bodies import Kind
    from protocol.bodies.shapes import Shape

XS: Final = "{http://www.w3.org/2001/XMLSchema}"
COMMON: Final = etree.parse(schemas.FOLDER / "common.xsd").getroot()


# --- the set


def test_every_kind_and_the_envelope_have_a_compiled_schema() -> None:
    assert set(schemas.compiled()) == {ENVELOPE_NAMESPACE} | {kind.schema for kind in KINDS}


def test_schemas_are_read_once() -> None:
    assert schemas.compiled() is schemas.compiled()


# --- the schemas and the classes say the same


def named(scope: list[etree._Element], tag: str, name: str) -> etree._Element:
    (found,) = [
        one for root in scope for one in root.iterchildren(XS + tag) if one.get("name") == name
    ]
    return found


def elements(definition: etree._Element) -> list[tuple[str | None, str | None, int, int]]:
    sequence = definition.find(f".//{XS}sequence")
    assert sequence is not None
    return [
        (
            element.get("name"),
            element.get("type"),
            int(element.get("minOccurs", "1")),
            int(element.get("maxOccurs", "1")),
        )
        for element in sequence
    ]


def facets(definition: etree._Element, name: str) -> list[str | None]:
    return [facet.get("value") for facet in definition.iter(XS + name)]


def assert_type_says_shape(definition: etree._Element, shape: Shape) -> None:
    match shape:
        case Choice():
            assert facets(definition, "enumeration") == list(shape.words)
        case TextShape():
            assert definition.get("name") == shape.name
            assert facets(definition, "maxLength") == [str(shape.longest)]
            assert facets(definition, "pattern") == [shape.pattern]
        case InstantShape():
            assert definition.get("name") == shape.name
            assert facets(definition, "pattern") == [shape.pattern]
        case CountShape():
            assert definition.get("name") == shape.name
            assert facets(definition, "minInclusive") == [str(shape.least)]
            assert facets(definition, "maxInclusive") == [str(shape.most)]


def assert_in_step(scope: list[etree._Element], definition: etree._Element, cls: type) -> None:
    said = elements(definition)
    slots = plan_of(cls)
    assert [(name, least, most) for name, _, least, most in said] == [
        (slot.element, slot.least, slot.most) for slot in slots
    ]
    for (_, type_name, _, _), slot in zip(said, slots, strict=True):
        assert type_name is not None
        if isinstance(slot.content, type):
            assert type_name == slot.content.__name__
            assert_in_step(scope, named(scope, "complexType", type_name), slot.content)
        else:
            assert_type_says_shape(named(scope, "simpleType", type_name), slot.content)


@pytest.mark.spec("BO-1")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_schema_and_class_say_the_same(kind: Kind) -> None:
    path = schemas.FOLDER / f"{kind.name.replace('.', '-')}.xsd"
    root = etree.parse(path).getroot()
    assert root.get("targetNamespace") == kind.schema
    (element,) = root.iterchildren(XS + "element")
    assert element.get("name") == kind.element
    assert_in_step([root, COMMON], element, kind.body)


@pytest.mark.spec("BO-8", "BO-9")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_body_begins_with_salt_and_actor(kind: Kind) -> None:
    assert [slot.element for slot in plan_of(kind.body)][:2] == ["salt", "actor"]


def classes_within(cls: type) -> set[type]:
    nested = [slot.content for slot in plan_of(cls) if isinstance(slot.content, type)]
    return {cls}.union(*(classes_within(inner) for inner in nested))


def test_a_name_stands_for_one_element_within_a_class() -> None:
    for cls in set[type]().union(*(classes_within(kind.body) for kind in KINDS)):
        names = [slot.element for slot in plan_of(cls)]
        assert len(set(names)) == len(names) == len(dataclasses.fields(cls))


def test_every_common_type_is_used() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in schemas.FOLDER.glob("*.xsd"))
    for definition in COMMON:
        if isinstance(definition.tag, str):
            assert f'type="{definition.get("name")}"' in text, definition.get("name")


def test_every_text_is_bounded() -> None:
    def leaves(cls: type) -> list[Slot]:
        return [slot for slot in plan_of(cls) if not isinstance(slot.content, type)]

    for kind in KINDS:
        for cls in classes_within(kind.body):
            for slot in leaves(cls):
                if isinstance(slot.content, TextShape):
                    assert 0 < slot.content.longest <= 4000


# --- the envelope

DIGEST: Final = "q80BI0VniavN7wEjRWeJq83vASNFZ4mrze8BI0VniaA="
KEY: Final = "a-_BI0VniavN7wEjRWeJq83vASNFZ4mrze8BI0Vnia0"
ENVELOPE: Final = f"""<Envelope xmlns="urn:tongban:envelope:1" environment="trial"><Header>\
<MessageId>01932b5c-7d00-7000-8000-000000000001</MessageId><Kind>case.submit</Kind>\
<Created>2026-11-22T03:00:00.000Z</Created><Expires>2026-12-22T03:00:00.000Z</Expires>\
<From authority="11420100MB1900000A" key="{KEY}" node="420100"></From>\
<To authority="11420600MB1900000B" node="420600"></To>\
<Case id="01932b5c-7d00-7000-8000-000000000002" sequence="1"></Case>\
<InReplyTo>01932b5c-7d00-7000-8000-000000000003</InReplyTo>\
<Trace>00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01</Trace></Header><Parts>\
<Part digest="{DIGEST}" id="body" mediaType="application/xml" role="body" \
schema="urn:tongban:case-submit:1" size="2931"></Part>\
<Part digest="{DIGEST}" id="m1" mediaType="application/pdf" role="material" size="0"></Part>\
</Parts><ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"></ds:Signature></Envelope>"""


def faults(text: str) -> list[str]:
    schema = schemas.compiled()[ENVELOPE_NAMESPACE]
    schema.validate(etree.fromstring(text.encode()))
    return [fault.message or "" for fault in schema.error_log]


def edited(before: str, after: str) -> str:
    assert before in ENVELOPE
    return ENVELOPE.replace(before, after, 1)


def without(element: str) -> str:
    text, count = re.subn(rf"<{element}[ >].*?</{element}>", "", ENVELOPE, count=1)
    assert count == 1
    return text


def manifest(count: int) -> str:
    part = '<Part digest="{0}" id="p{1}" mediaType="image/png" role="material" size="1"></Part>'
    rows = "".join(part.format(DIGEST, number) for number in range(count))
    return re.sub(r"<Parts>.*</Parts>", f"<Parts>{rows}</Parts>", ENVELOPE)


def test_the_envelope_of_the_design_is_valid() -> None:
    assert faults(ENVELOPE) == []


@pytest.mark.spec("EN-1")
@pytest.mark.parametrize(
    "text",
    [
        without("Case"),
        without("InReplyTo"),
        without("Trace"),
        edited('environment="trial"', 'environment="production"'),
        edited('sequence="1"', 'sequence="2147483647"'),
        edited('size="2931"', 'size="1099511627776"'),
        edited("application/pdf", "application/vnd.ofd+xml"),
        manifest(128),
    ],
)
def test_what_an_envelope_may_vary(text: str) -> None:
    assert faults(text) == []


@pytest.mark.spec("EN-1")
@pytest.mark.parametrize(
    ("text", "named"),
    [
        (edited('environment="trial"', 'environment="test"'), "environment"),
        (edited(' environment="trial"', ""), "environment"),
        (edited('environment="trial"', 'environment="trial" version="2"'), "version"),
        (edited("01932b5c-7d00-7000", "01932b5c-7d00-4000"), "MessageId"),
        (edited("01932b5c-7d00-7000", "01932B5C-7d00-7000"), "MessageId"),
        (edited("<Kind>case.submit", "<Kind>case..submit"), "Kind"),
        (edited("<Kind>case.submit", "<Kind>" + "a" * 41), "Kind"),
        (edited("<Kind>case.submit", "<Kind> case.submit"), "Kind"),
        (edited("<Created>2026-11-22T03:00:00.000Z", "<Created>2026-11-22T03:00:00Z"), "Created"),
        (edited("03:00:00.000Z</Expires>", "11:00:00.000+08:00</Expires>"), "Expires"),
        (edited("<Expires>2026-12", "<Expires>2026-13"), "Expires"),
        (edited("<Expires>2", "<Expires>\N{FULLWIDTH DIGIT TWO}"), "Expires"),
        (edited('node="420100"', 'node="42010"'), "node"),
        (edited('node="420100"', 'node="020100"'), "node"),
        (edited('node="420600"', 'node="420600 "'), "node"),
        (edited("11420100MB1900000A", "11420100MB1900000O"), "authority"),
        (edited("11420100MB1900000A", "11420100MB1900000"), "authority"),
        (edited(f' key="{KEY}"', ""), "key"),
        (edited(f'key="{KEY}"', f'key="{KEY[:-1]}B"'), "key"),
        (edited('<To authority="1', f'<To key="{KEY}" authority="1'), "key"),
        (edited('sequence="1"', 'sequence="0"'), "sequence"),
        (edited('sequence="1"', 'sequence="01"'), "sequence"),
        (edited('sequence="1"', 'sequence="2147483648"'), "sequence"),
        (edited("<Trace>00-", "<Trace>ff-"), "Trace"),
        (edited('id="m1"', 'id="body"'), "Part"),
        (edited('id="m1"', 'id="M1"'), "id"),
        (edited('id="m1"', f'id="{"m" * 33}"'), "id"),
        (edited('role="material"', 'role="seal"'), "role"),
        (edited("application/pdf", "application/pdf; x=1"), "mediaType"),
        (edited("application/pdf", "a/" + "b" * 126), "mediaType"),
        (edited('schema="urn:tongban', 'schema="http:tongban'), "schema"),
        (edited('size="0"', 'size="-1"'), "size"),
        (edited('size="0"', 'size="00"'), "size"),
        (edited('size="0"', 'size="1099511627777"'), "size"),
        (edited("iaA=", "iaB="), "digest"),
        (edited("q80B", "q80"), "digest"),
        (manifest(0), "Parts"),
        (manifest(129), "Part"),
        (without("Parts"), "Signature"),
        (without("ds:Signature"), "Envelope"),
        (ENVELOPE.replace("</Envelope>", "<Extra></Extra></Envelope>"), "Extra"),
        (
            edited("</ds:Signature>", "</ds:Signature>" + ENVELOPE.partition("</Parts>")[2][:-11]),
            "ds",
        ),
        (edited("<Parts>", "text<Parts>"), "Envelope"),
        (edited("<Header>", "<Header><Note></Note>"), "Note"),
        (edited("<Parts>", "<Sealing></Sealing><Parts>"), "Sealing"),
    ],
)
def test_what_an_envelope_may_not_be(text: str, named: str) -> None:
    found = faults(text)
    assert found
    assert named in found[0]
