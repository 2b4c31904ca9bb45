from __future__ import annotations

import dataclasses
import json
import re
from datetime import date
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lxml import etree

import schemas
from adapters.local_json import from_body, to_body
from protocol.bodies import (
    KINDS,
    CaseReject,
    Certificate,
    Delivery,
    Field,
    Material,
    decode_body,
    encode_body,
    faults_of,
)
from protocol.bodies.plan import plan_of
from protocol.bodies.shapes import Choice, CountShape, InstantShape, TextShape
from protocol.errors import RefusedError
from protocol.identifiers import identity_check, uscc_check
from protocol.instants import parse_instant
from protocol.reasons import Reason
from tests.samples import BODIES, VOID

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocol.bodies import Body, Kind
    from protocol.bodies.shapes import Shape

SCHEMAS: Final = schemas.compiled()
# Few characters, each with a way to go wrong; a test of its own takes the rest of Unicode.
TRICKY: Final = "aZ9 \t\n\r<>&\"'-·汉䶮𠮷\u0301\u2028\ufeff"


def texts(shape: TextShape) -> st.SearchStrategy[str]:
    free = st.text(TRICKY, max_size=12)
    if shape.name == "Value":
        return free
    if shape.name == "Date":
        return st.dates(min_value=date(1900, 1, 1)).map(date.isoformat)
    if shape.name in ("Text", "Name", "Line", "Label"):
        return free.filter(shape.form.fullmatch)
    return st.from_regex(shape.form, fullmatch=True).filter(lambda text: len(text) <= shape.longest)


def values(shape: Shape) -> st.SearchStrategy[object]:
    match shape:
        case Choice():
            return st.sampled_from(shape.words)
        case CountShape():
            return st.integers(shape.least, shape.most)
        case InstantShape():
            earliest = parse_instant("0001-01-01T00:00:00.000Z")
            return st.integers(earliest, parse_instant("9999-12-31T23:59:59.999Z"))
        case TextShape():
            return texts(shape)


# Classes whose fields are tied together by a rule are made whole here.
CERTIFICATES: Final = st.one_of(
    st.from_regex("[0-9]{17}", fullmatch=True)
    .filter(str.isascii)
    .map(lambda body: Certificate("111", body + identity_check(body))),
    st.from_regex("[0-9A-HJ-NPQRTUWXY]{17}", fullmatch=True).map(
        lambda body: Certificate("uscc", body + uscc_check(body))
    ),
    st.just(Certificate("414", "C01X00T47")),
)


def mended(value: object) -> object:
    match value:
        case Material(form="electronic", part=None):
            return dataclasses.replace(value, part="m1")
        case Delivery(method="post"):
            return Delivery("post", value.address or "某路1号", value.recipient or "某", "0")
        case CaseReject(cause="not-competent", competent=None):
            return dataclasses.replace(value, competent="有权机关")
        case _:
            return value


def instances(cls: type) -> st.SearchStrategy[object]:
    if cls is Certificate:
        return CERTIFICATES
    arguments: dict[str, st.SearchStrategy[object]] = {}
    for slot in plan_of(cls):
        content = slot.content
        one = instances(content) if isinstance(content, type) else values(content)
        if slot.repeated:
            most = min(slot.most, 3)
            unique = (lambda field: field.name) if content is Field else None
            many = st.lists(one, min_size=slot.least, max_size=most, unique_by=unique)
            arguments[slot.name] = many.map(tuple)
        else:
            arguments[slot.name] = one if slot.least else st.none() | one
    return st.builds(cls, **arguments).map(mended)


STRATEGIES: Final = {kind.name: instances(kind.body) for kind in KINDS}


def lawful(body: Body) -> bool:
    return not faults_of(body)


def outcome(act: Callable[[], Body]) -> Body | Reason:
    try:
        return act()
    except RefusedError as refusal:
        return refusal.reason


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@settings(max_examples=40)
@given(data=st.data())
def test_every_lawful_body_survives_the_wire_and_the_local_form(
    kind: Kind, data: st.DataObject
) -> None:
    body = data.draw(STRATEGIES[kind.name])
    assert isinstance(body, kind.body)
    assume(lawful(body))
    octets = encode_body(body)
    assert etree.tostring(etree.fromstring(octets), method="c14n", exclusive=True) == octets
    assert decode_body(octets, SCHEMAS) == body
    document = json.loads(json.dumps(from_body(body)))
    assert to_body(kind.name, document, body.salt) == body


@given(
    body=st.sampled_from(BODIES),
    place=st.floats(0, 1, exclude_max=True),
    length=st.integers(0, 8),
    insert=st.binary(max_size=4) | st.sampled_from([b"<salt>", b"</salt>", b"&#x0;", b"\r", b" "]),
)
def test_whatever_is_done_to_the_octets_only_a_refusal_or_another_body_comes_out(
    body: Body, place: float, length: int, insert: bytes
) -> None:
    octets = encode_body(body)
    start = int(place * len(octets))
    damaged = octets[:start] + insert + octets[start + length :]
    read = outcome(lambda: decode_body(damaged, SCHEMAS))
    if isinstance(read, Reason):
        assert read in {
            Reason.BODY_INVALID,
            Reason.KIND_UNKNOWN,
            Reason.NOT_CANONICAL,
            Reason.NOT_WELL_FORMED,
        }
    else:
        # White space between elements is the one liberty a writer has.
        assert (read == body) == (re.sub(rb">\s+<", b"><", damaged) == octets)


@given(text=st.text(min_size=1, max_size=200))
def test_any_text_survives_or_is_refused(text: str) -> None:
    body = dataclasses.replace(VOID, cause=text)
    read = outcome(lambda: decode_body(encode_body(body), SCHEMAS))
    assert read in (body, Reason.BODY_INVALID)


@given(octets=st.binary(max_size=200))
def test_rubbish_is_refused(octets: bytes) -> None:
    with pytest.raises(RefusedError):
        decode_body(octets, SCHEMAS)


@given(
    kind=st.sampled_from(KINDS),
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=12,
    ),
    key=st.sampled_from(["actor", "materials", "applicant", "remedies", "note", "received"]),
)
def test_no_document_breaks_the_translation(kind: Kind, document: object, key: str) -> None:
    with pytest.raises(RefusedError) as caught:
        to_body(kind.name, {key: document}, "0" * 32)
    assert caught.value.reason is Reason.BODY_INVALID
