from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, get_args

import pytest
from lxml import etree

import schemas
from protocol.bodies import (
    KINDS,
    MAX_BODY_OCTETS,
    Actor,
    Body,
    CaseVoid,
    Certificate,
    Delivery,
    Field,
    Material,
    Person,
    Ping,
    check_references,
    decode_body,
    encode_body,
    faults_of,
    kind_named,
    kind_of,
    kind_with_schema,
    references_of,
    rules,
    schema_of,
)
from protocol.bodies.plan import walk
from protocol.errors import LocalUseError, RefusedError
from protocol.limits import MAX_DETAIL_OCTETS
from protocol.reasons import Reason
from tests.samples import (
    BODIES,
    COMPANY,
    FORM,
    GRANT,
    PING,
    REFUSE,
    REJECT,
    SALT,
    SUBMIT,
    SUPPLEMENT,
    VOID,
    WIDOW,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMAS: Final = schemas.compiled()
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"


def label(body: Body) -> str:
    return f"{body.kind}-{BODIES.index(body)}"


def refusal(act: Callable[[], object]) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        act()
    assert len(caught.value.detail.encode()) <= MAX_DETAIL_OCTETS
    return caught.value


# --- there and back


@pytest.mark.spec("BO-1")
@pytest.mark.parametrize("body", BODIES, ids=label)
def test_a_body_survives_the_wire(body: Body) -> None:
    assert decode_body(encode_body(body), SCHEMAS) == body


@pytest.mark.spec("BO-2")
@pytest.mark.parametrize("body", BODIES, ids=label)
def test_the_wire_form_is_its_own_canonical_form(body: Body) -> None:
    octets = encode_body(body)
    root = etree.fromstring(octets)
    assert etree.tostring(root, method="c14n", exclusive=True, with_comments=False) == octets
    assert etree.QName(root).namespace == schema_of(body)


def test_the_samples_cover_every_kind() -> None:
    assert {type(body) for body in BODIES} == set(get_args(Body))


def test_the_exact_octets_of_a_body() -> None:
    actor = Actor(name="夏值班", staff_number="ops-1", window="控制台")
    assert (
        encode_body(Ping(SALT, actor))
        == (
            '<Ping xmlns="urn:tongban:ping:1">'
            "<salt>00112233445566778899aabbccddeeff</salt>"
            "<actor><name>夏值班</name><staffNumber>ops-1</staffNumber><window>控制台</window></actor>"
            "</Ping>"
        ).encode()
    )


def test_text_of_all_sorts_survives() -> None:
    note = "𠮷 䶮 <&>\"' ]]> \r\n\t 末尾 "
    body = replace(SUBMIT, note=note, form=(Field("空", ""), Field("白", " \r\n\t")))
    assert decode_body(encode_body(body), SCHEMAS) == body


# --- the table of kinds


def test_kinds_classes_and_schemas_are_one_to_one() -> None:
    assert {kind.body for kind in KINDS} == set(get_args(Body))
    for same in ("name", "schema", "element", "chinese"):
        assert len({getattr(kind, same) for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        assert kind_named(kind.name) is kind_with_schema(kind.schema) is kind


def test_the_names_the_specification_gives() -> None:
    assert (SUBMIT.kind, schema_of(SUBMIT)) == ("case.submit", "urn:tongban:case-submit:1")
    assert (kind_of(PING).chinese, kind_of(PING).element) == ("连通测试", "Ping")


@pytest.mark.spec("BO-3", "VR-2")
@pytest.mark.parametrize("name", ["case.unheard-of", "", "㊙" * 400])
def test_an_unknown_kind_is_refused(name: str) -> None:
    assert refusal(partial(kind_named, name)).reason is Reason.KIND_UNKNOWN
    assert refusal(partial(kind_with_schema, name)).reason is Reason.KIND_UNKNOWN


def test_only_a_body_has_a_kind() -> None:
    with pytest.raises(LocalUseError, match="Actor is not a body"):
        kind_of(PING.actor)  # type: ignore[arg-type]


# --- what a reader refuses


def edited(body: Body, before: str, after: str) -> bytes:
    text = encode_body(body).decode()
    assert before in text
    return text.replace(before, after, 1).encode()


@pytest.mark.parametrize(
    ("octets", "reason", "detail"),
    [
        (b"", Reason.NOT_CANONICAL, "begin"),
        (b"<Ping", Reason.NOT_WELL_FORMED, "line 1"),
        (b"<?xml version='1.0'?>" + encode_body(PING), Reason.NOT_CANONICAL, "declaration"),
        (b"<!DOCTYPE Ping>" + encode_body(PING), Reason.NOT_CANONICAL, "DOCTYPE"),
        (encode_body(PING) + b"\n", Reason.NOT_CANONICAL, "octet"),
        (edited(PING, "<note>", "<note ><!-- -->"), Reason.NOT_CANONICAL, "comment"),
        (edited(PING, "测试</note>", "&#x6D4B;</note>"), Reason.NOT_CANONICAL, "octet"),
        (b"<a>" + b"x" * MAX_BODY_OCTETS + b"</a>", Reason.TOO_LARGE, "65536"),
        (b"<Ping></Ping>", Reason.KIND_UNKNOWN, "''"),
        (edited(PING, ":ping:1", ":ping:2"), Reason.KIND_UNKNOWN, "urn:tongban:ping:2"),
        (edited(VOID, ":case-void:", ":ping:"), Reason.BODY_INVALID, "not the root element"),
    ],
)
def test_what_no_reader_takes(octets: bytes, reason: Reason, detail: str) -> None:
    caught = refusal(partial(decode_body, octets, SCHEMAS))
    assert caught.reason is reason
    assert detail in caught.detail


@pytest.mark.spec("BO-1", "BO-5")
@pytest.mark.parametrize(
    ("octets", "detail"),
    [
        (
            edited(VOID, "<cause>报文在途丢失</cause>", ""),
            "CaseVoid, line 1: missing or unexpected element, expected cause",
        ),
        (
            edited(VOID, "<staffNumber>", "<nickname>小汪</nickname><staffNumber>"),
            "CaseVoid/actor/nickname, line 1: missing or unexpected element, expected staffNumber",
        ),
        (
            edited(VOID, "</cause>", "</cause><cause>又丢失</cause>"),
            "CaseVoid/cause, line 1: missing or unexpected element",
        ),
        (
            edited(VOID, "报文在途丢失", "丢" * 201),
            "CaseVoid/cause, line 1: too long",
        ),
        (
            edited(VOID, "<cause>", "<cause> "),
            "CaseVoid/cause, line 1: not in the required form",
        ),
        (
            edited(VOID, "<salt>00", "<salt>\n0"),
            "CaseVoid/salt, line 1: not in the required form",
        ),
        (
            edited(VOID, "<actor>", "<actor>汪"),
            "CaseVoid/actor, line 1: text between elements",
        ),
        (
            edited(SUBMIT, "<mode>collected", "<mode>by-hand"),
            "CaseSubmit/mode, line 1: not one of the listed words",
        ),
        (
            edited(SUBMIT, "<name>remark", "<name>cardNumber"),
            "CaseSubmit/field, line 1: occurs twice",
        ),
        (
            edited(SUBMIT, "<count>1", "<count>01"),
            "CaseSubmit/material/count, line 1: not in the required form",
        ),
        (
            edited(SUBMIT, "<count>1", "<count>1 "),
            "CaseSubmit/material/count, line 1: a whole number from 1 to 999",
        ),
        (
            edited(SUBMIT, "<birthDate>1948-03-17", "<birthDate>1949-02-29"),
            "CaseSubmit/applicant/birthDate, line 1: a day that exists, as 2026-11-22",
        ),
        (
            edited(GRANT, "<decided>2026-11-22", "<decided>2026-11-31"),
            "CaseDecide/decided, line 1: an instant in UTC, as 2026-11-22T03:00:00.000Z",
        ),
        (
            edited(GRANT, "<decided>2026-11-22", "<decided>0000-11-22"),
            "CaseDecide/decided, line 1: an instant in UTC, as 2026-11-22T03:00:00.000Z",
        ),
        (
            edited(PING, "<actor>", f'<actor xmlns:x="{XSI}" x:type="Actor">'),
            "a body has no attributes",
        ),
        (
            edited(PING, '1">', f'1" xmlns:x="{XSI}" x:schemaLocation="urn:x file:///x.xsd">'),
            "a body has no attributes",
        ),
    ],
)
def test_a_reader_names_element_line_and_rule(octets: bytes, detail: str) -> None:
    caught = refusal(partial(decode_body, octets, SCHEMAS))
    assert caught.reason is Reason.BODY_INVALID
    assert caught.detail == detail


@pytest.mark.spec("BO-6")
def test_white_space_between_elements_is_allowed_and_counts_lines() -> None:
    indented = encode_body(PING).replace(b"><", b">\n<")
    assert decode_body(indented, SCHEMAS) == PING
    broken = indented.replace(b"<note>", b"<note> ")
    caught = refusal(partial(decode_body, broken, SCHEMAS))
    assert caught.detail == "Ping/note, line 8: not in the required form"


@pytest.mark.spec("BO-6")
def test_prefixes_are_another_spelling_of_the_same_body() -> None:
    text = encode_body(PING).decode()
    prefixed = text.replace("<", "<t:").replace("<t:/", "</t:").replace("xmlns=", "xmlns:t=")
    assert decode_body(prefixed.encode(), SCHEMAS) == PING
    broken = prefixed.replace("<t:note>", "<t:remark>").replace("</t:note>", "</t:remark>")
    caught = refusal(partial(decode_body, broken.encode(), SCHEMAS))
    assert caught.detail.startswith("Ping/remark, line 1: missing or unexpected element")


def test_an_element_with_an_endless_name_is_named_in_part() -> None:
    octets = edited(VOID, "<cause>", "<" + "龘" * 9000 + "></" + "龘" * 9000 + "><cause>")
    with pytest.raises(RefusedError) as caught:
        decode_body(octets, SCHEMAS)
    assert len(caught.value.detail) < MAX_DETAIL_OCTETS


@pytest.mark.spec("TR-11")
def test_a_refusal_never_quotes_a_value() -> None:
    number = "4206061948031705"
    for octets in (
        edited(SUBMIT, f"<number>{number}", f"<number>\t{number}"),
        edited(SUBMIT, f"<number>{number}", f"<number>{number}9"),
        edited(SUBMIT, "<sex>2", f"<sex>{number}"),
        edited(SUBMIT, "<birthDate>1948-03-17", f"<birthDate>{number}"),
        edited(SUBMIT, "<salt>", f"<salt>{number}"),
    ):
        assert number not in str(refusal(partial(decode_body, octets, SCHEMAS)))
    # What the schema lets through and only a reader can tell, in value and in check digit.
    for said, value in (("<birthDate>1948-03-17", "1948-02-30"), (f"<number>{number}", "42060")):
        tag = said.partition(">")[0] + ">"
        octets = edited(SUBMIT, said, tag + value)
        assert value not in str(refusal(partial(decode_body, octets, SCHEMAS)))


def test_a_reader_without_the_schema_is_our_bug() -> None:
    with pytest.raises(LocalUseError, match="urn:tongban:ping:1"):
        decode_body(encode_body(PING), {})


# --- what a writer refuses


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (replace(VOID, salt="00"), "CaseVoid/salt: 32 lower-case hexadecimal digits"),
        (replace(VOID, cause=""), "CaseVoid/cause: one line of at most 200 characters that does"),
        (replace(VOID, cause="a\nb"), "CaseVoid/cause: one line"),
        (replace(VOID, cause="a\x00b"), "CaseVoid/cause: one line"),
        (replace(VOID, cause="\ud800"), "CaseVoid/cause: one line"),
        (replace(VOID, actor=replace(VOID.actor, window=" ")), "CaseVoid/actor/window: one line"),
        (replace(REJECT, remedies=()), "CaseReject/remedy: 0 given, 1 to 4 allowed"),
        (replace(REJECT, rejected_ms=10**18), "CaseReject/rejected: an instant in UTC"),
        (replace(GRANT, numbers=SUBMIT.numbers * 9), "CaseDecide/number: 18 given, 0 to 16"),
        (
            replace(SUBMIT, materials=(replace(SUBMIT.materials[0], count=0),)),
            "CaseSubmit/material/count: a whole number from 1 to 999",
        ),
    ],
)
def test_a_writer_names_the_field_and_what_to_write(body: Body, detail: str) -> None:
    caught = refusal(partial(encode_body, body))
    assert caught.reason is Reason.BODY_INVALID
    assert caught.detail.startswith(detail)


@pytest.mark.spec("BO-2")
def test_a_body_has_a_largest_size() -> None:
    form = tuple(Field(f"f{number}", "文" * 4000) for number in range(6))
    caught = refusal(partial(encode_body, replace(SUBMIT, form=form)))
    assert caught.reason is Reason.TOO_LARGE
    assert "at most 65536" in caught.detail


# --- rules between fields

BAD_IDENTITY: Final = replace(WIDOW, certificate=Certificate("111", "420606194803170521"))
BAD_COMPANY: Final = replace(COMPANY, certificate=Certificate("uscc", "91420606MA49000000"))


@pytest.mark.spec("BO-11", "BO-12", "BO-13", "BO-14", "BO-15", "BO-16", "BO-17", "BO-18", "BO-19")
@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (replace(SUBMIT, applicant=BAD_IDENTITY), ["applicant.certificate.number"]),
        (replace(SUBMIT, applicant=BAD_COMPANY), ["applicant.certificate.number"]),
        (
            replace(SUBMIT, legal_representative=BAD_IDENTITY),
            ["legalRepresentative.certificate.number"],
        ),
        (
            replace(SUBMIT, delivery=Delivery("post")),
            ["delivery.address", "delivery.recipient", "delivery.telephone"],
        ),
        (
            replace(
                SUBMIT, materials=(*SUBMIT.materials, Material("x", "x", "electronic", "C", 1))
            ),
            ["materials[2].part"],
        ),
        (replace(SUBMIT, form=(*FORM, FORM[0])), ["form[2].name"]),
        (replace(SUPPLEMENT, form=(*FORM, FORM[0])), ["form[2].name"]),
        (replace(SUPPLEMENT, materials=(), form=()), ["materials"]),
        (replace(REJECT, competent=None), ["competent"]),
        (replace(REFUSE, ground=None), ["ground"]),
        (replace(REFUSE, explanation=None), ["explanation"]),
        (replace(REFUSE, remedies=()), ["remedies"]),
        (
            replace(REFUSE, ground=None, explanation=None, remedies=()),
            ["explanation", "ground", "remedies"],
        ),
        (replace(REFUSE, documents=GRANT.documents), ["documents"]),
        (replace(GRANT, result="withdrawn", documents=()), ["explanation"]),
        (replace(GRANT, result="terminated", documents=()), ["explanation"]),
    ],
)
def test_rules_between_fields(body: Body, paths: list[str]) -> None:
    faults = faults_of(body)
    assert [fault.path for fault in faults] == paths
    caught = refusal(partial(encode_body, body))
    assert caught.reason is Reason.BODY_INVALID
    assert caught.detail == f"{type(body).__name__}.{paths[0]}: {faults[0].problem}"
    for fault in faults:
        assert all((fault.problem, fault.remedy, fault.chinese_problem, fault.chinese_remedy))


def test_no_class_with_rules_is_passed_over() -> None:
    """Only what leads to one is walked: a class that gains a rule has to be reached everywhere."""
    ruled = rules._RULES.keys()
    met: set[type] = set()
    for body in BODIES:
        there = [(path, value) for path, value in walk(body) if type(value) in ruled]
        reached = [row for row in walk(body, rules._has_rules) if type(row[1]) in ruled]
        assert reached == there
        met |= {type(value) for _, value in there}
    assert met == ruled


def test_the_law_is_named_where_it_is_the_law() -> None:
    for body, article in (
        (replace(REFUSE, remedies=()), "38"),
        (replace(REFUSE, explanation=None), "38"),
        (replace(REFUSE, ground=None), "38"),
        (replace(REJECT, competent=None), "32"),
    ):
        assert f"许可法 {article}" in refusal(partial(encode_body, body)).detail


def without(body: Body, element: str) -> bytes:
    root = etree.fromstring(encode_body(body))
    for child in root.findall(f"{{{schema_of(body)}}}{element}"):
        root.remove(child)
    return etree.tostring(root, method="c14n", exclusive=True)


@pytest.mark.spec("BO-18")
@pytest.mark.parametrize("element", ["ground", "explanation", "remedy"])
@pytest.mark.parametrize("body", [REFUSE, REJECT], ids=lambda body: body.kind)
def test_a_refusal_from_the_wire_without_ground_reasons_or_remedy_is_not_read(
    body: Body, element: str
) -> None:
    caught = refusal(partial(decode_body, without(body, element), SCHEMAS))
    assert caught.reason is Reason.BODY_INVALID
    assert element[:5] in caught.detail  # remedy, remedies


@pytest.mark.parametrize("body", BODIES, ids=label)
def test_the_samples_break_no_rule(body: Body) -> None:
    assert faults_of(body) == ()


@pytest.mark.spec("BO-11")
def test_other_certificates_are_not_held_to_check_digits() -> None:
    person = Person("natural", "Anna Beispiel", Certificate("414", "C01X00T47"))
    assert faults_of(replace(SUBMIT, applicant=person)) == ()


# --- references to parts


@pytest.mark.spec("BO-10")
def test_references_must_be_materials_of_the_manifest() -> None:
    assert list(references_of(SUBMIT)) == [
        ("agent.powerOfAttorney", "m1"),
        ("materials[1].part", "m1"),
    ]
    check_references(SUBMIT, ["body", "m1"])
    check_references(VOID, ["body"])
    for listed in ([], ["body"], ["m2"]):
        caught = refusal(partial(check_references, SUBMIT, listed))
        assert caught.reason is Reason.BODY_INVALID
        assert caught.detail == (
            "CaseSubmit.agent.powerOfAttorney: m1 is not a material in the manifest"
        )


@pytest.mark.spec("BO-10")
def test_a_body_is_not_its_own_material() -> None:
    body = replace(SUPPLEMENT, materials=(replace(SUBMIT.materials[1], part="body"),))
    assert "materials[0].part" in refusal(partial(check_references, body, ["body"])).detail


def test_a_void_message_refers_to_nothing() -> None:
    assert list(references_of(CaseVoid(SALT, PING.actor, "报文在途丢失"))) == []
