from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from adapters.local_json import (
    MAX_ERRORS,
    DocumentRefusedError,
    from_body,
    json_schema,
    to_body,
)
from adapters.local_words import WORDS
from protocol.bodies import KINDS, Body, encode_body
from protocol.bodies.plan import plan_of
from protocol.errors import RefusedError
from protocol.limits import MAX_DETAIL_OCTETS
from protocol.reasons import Reason
from tests.samples import BODIES, SALT, SUBMIT, VOID, identity_number

if TYPE_CHECKING:
    from protocol.bodies import FieldError, Kind

DOCUMENT: Final[dict[str, Any]] = {
    "actor": {"name": "汪小满", "staffNumber": "武昌-0417", "window": "综窗3号"},
    "item": "000112012000",
    "implementation": "11420606000000000X4000112012000",
    "mode": "collected",
    "basis": {"kind": "household", "region": "420606"},
    "applicant": {
        "kind": "natural",
        "name": "覃䶮兰",
        "certificate": {"type": "111", "number": identity_number("42060619480317052")},
        "sex": "2",
        "birthDate": "1948-03-17",
        "ethnicity": "15",
        "telephone": "000-0000-0001",
        "address": "湖北省襄阳市樊城区样例路1号",
    },
    "delivery": {
        "method": "post",
        "address": "湖北省武汉市武昌区样例街2号",
        "recipient": "覃知远",
        "telephone": "000-0000-0002",
    },
    "agent": {
        "person": {
            "kind": "natural",
            "name": "覃知远",
            "certificate": {"type": "111", "number": "42010619900101028X"},
            "sex": "1",
        },
        "powerOfAttorney": "m1",
        "scope": "代为提交、补正与领取",
    },
    "numbers": [
        {"scheme": "collection", "value": "SJ-2026-000001"},
        {"scheme": "query", "value": "7Q2M"},
    ],
    "materials": [
        {"code": "sfz", "name": "居民身份证", "form": "licence", "trust": "A", "count": 1},
        {
            "code": "wts",
            "name": "授权委托书",
            "form": "electronic",
            "trust": "B",
            "count": 1,
            "part": "m1",
        },
    ],
    "form": [{"name": "cardNumber", "value": "4206-000001"}, {"name": "remark", "value": ""}],
    "note": "老人行动不便 <由侄代办> & 自愿\n第二行\r",
}


def errors_of(kind: str, document: dict[str, Any]) -> tuple[FieldError, ...]:
    with pytest.raises(DocumentRefusedError) as caught:
        to_body(kind, document, SALT)
    assert caught.value.reason is Reason.BODY_INVALID
    assert len(caught.value.detail.encode()) <= MAX_DETAIL_OCTETS
    return caught.value.errors


def changed(path: str, value: object) -> dict[str, Any]:
    """DOCUMENT with one value replaced; `...` removes it."""
    document = copy.deepcopy(DOCUMENT)
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    target: Any = document
    for step in way:
        target = target[step]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return document


# --- there and back


def test_a_document_says_what_the_body_says() -> None:
    assert to_body("case.submit", DOCUMENT, SALT) == SUBMIT
    assert from_body(SUBMIT) == DOCUMENT


@pytest.mark.parametrize("body", BODIES, ids=lambda body: f"{body.kind}-{BODIES.index(body)}")
def test_a_body_survives_the_local_form(body: Body) -> None:
    document = json.loads(json.dumps(from_body(body)))
    assert to_body(body.kind, document, body.salt) == body


def test_the_salt_stays_in_the_node() -> None:
    assert SALT not in json.dumps([from_body(body) for body in BODIES])


def test_instants_are_written_not_counted() -> None:
    received = next(body for body in BODIES if body.kind == "case.received")
    assert from_body(received)["received"] == "2026-11-22T04:00:00.000Z"


def test_what_is_absent_may_be_left_out() -> None:
    document = {"actor": DOCUMENT["actor"], "cause": "报文在途丢失"}
    assert to_body("case.void", document, SALT) == VOID
    bare = {key: DOCUMENT[key] for key in ("actor", "item", "implementation", "mode", "basis")}
    bare |= {"applicant": DOCUMENT["applicant"], "delivery": {"method": "window"}}
    assert encode_body(to_body("case.submit", bare, SALT))


# --- what is refused, and how


@pytest.mark.parametrize(
    ("document", "path", "problem", "remedy"),
    [
        (changed("item", ...), "item", "missing: item code", "add a code of at most 64"),
        (changed("actor", ...), "actor", "missing: who acted", "name, staffNumber, window"),
        (changed("actor", 7), "actor", "found a number", "name, staffNumber, window"),
        (changed("actor", None), "actor", "found null", "name, staffNumber, window"),
        (changed("actor.window", ...), "actor.window", "missing: window or post", "one line"),
        (changed("actor.stafNumber", "1"), "actor.stafNumber", "no such field", "staffNumber"),
        (changed("salt", SALT), "salt", "no such field", "remove it"),
        (changed("hobby", "钓鱼"), "hobby", "no such field", "remove it"),
        (changed("mode", "Online"), "mode", "found text of 6 characters", "one of online, "),
        (changed("basis.region", 420606), "basis.region", "found a number", "six digits"),
        (changed("basis.region", "4206"), "basis.region", "found text of 4", "six digits"),
        (changed("materials", {}), "materials", "found an object", "a list of 0 to 127"),
        (
            changed("materials", DOCUMENT["materials"] * 64),
            "materials",
            "found a list of 128",
            "a list of 0 to 127",
        ),
        (changed("materials.1.count", "1"), "materials[1].count", "found text of 1", "999"),
        (changed("materials.1.count", 1.0), "materials[1].count", "found a number", "999"),
        (changed("materials.1.count", True), "materials[1].count", "found true or false", "999"),
        (changed("materials.1.count", 1000), "materials[1].count", "found a number", "999"),
        (changed("materials.1.part", ...), "materials[1].part", "an electronic", "attach"),
        (changed("note", "\x07"), "note", "found text with control characters", "text of"),
        (changed("note", "\ud800"), "note", "found text with control characters", "text of"),
        (changed("note", "x" * 4001), "note", "found text of 4001 characters", "4000"),
        (changed("note", " x"), "note", "found text of 2", "does not begin with white space"),
        (
            changed("applicant.birthDate", "1949-02-29"),
            "applicant.birthDate",
            "found text of 10",
            "a day that exists",
        ),
        (
            changed("applicant.certificate.number", identity_number("42060619480317052")[:17]),
            "applicant.certificate.number",
            "not an identity number",
            "17 digits and a digit or capital X",
        ),
        (
            changed("agent.person.certificate.number", "42010619900101028x"),
            "agent.person.certificate.number",
            "not an identity number",
            "capital X",
        ),
        (
            changed("applicant.certificate", {"type": "uscc", "number": "91420606MA4900000O"}),
            "applicant.certificate.number",
            "not a unified social credit code",
            "without I, O, S, V, Z",
        ),
        (changed("delivery.address", ...), "delivery.address", "delivery by post", "give the"),
        (changed("form.1.name", "cardNumber"), "form[1].name", "occurs twice", "once"),
    ],
)
def test_an_error_names_field_problem_and_remedy(
    document: dict[str, Any], path: str, problem: str, remedy: str
) -> None:
    (error,) = errors_of("case.submit", document)
    assert error.path == path
    assert problem in error.problem
    assert remedy in error.remedy
    assert error.chinese_problem
    assert error.chinese_remedy


def test_errors_speak_chinese_to_a_clerk() -> None:
    (error,) = errors_of("case.submit", changed("actor.staffNumber", ...))
    assert error.chinese_problem == "缺少工号"
    assert error.chinese_remedy == "补填：一行文字，最多 64 字，首字符不为空格"


def test_all_errors_come_at_once() -> None:
    document = changed("mode", "?")
    document["applicant"]["certificate"] = {"type": "11", "number": ""}
    document["materials"][0]["trust"] = "E"
    assert {error.path for error in errors_of("case.submit", document)} == {
        "mode",
        "applicant.certificate.type",
        "applicant.certificate.number",
        "materials[0].trust",
    }


def test_a_flood_of_errors_is_cut() -> None:
    assert len(errors_of("case.submit", changed("form", [{}] * 300))) == MAX_ERRORS


def test_no_error_quotes_a_value() -> None:
    number = "420606194803170521"
    for path in ("applicant.certificate.number", "applicant.name", "mode", "item", "applicant"):
        with pytest.raises(DocumentRefusedError) as caught:
            to_body("case.submit", changed(path, [number]), SALT)
        assert number not in repr((caught.value, caught.value.errors))
        assert caught.value.__cause__ is None
    for error in errors_of("case.submit", changed("applicant.certificate.number", number)):
        assert number not in repr(error)


def test_a_refusal_without_its_reasons_cannot_be_written() -> None:
    document = {
        "actor": DOCUMENT["actor"],
        "result": "refused",
        "decided": "2026-11-22T04:00:00.000Z",
    }
    errors = errors_of("case.decide", document)
    assert [error.path for error in errors] == ["explanation", "ground", "remedies"]
    assert all("许可法" in error.problem for error in errors)


def test_an_instant_has_one_written_form() -> None:
    for instant in ("2026-11-22T12:00:00.000+08:00", "2026-11-22", "2026-02-30T00:00:00.000Z", 0):
        (error,) = errors_of("case.received", {"actor": DOCUMENT["actor"], "received": instant})
        assert error.path == "received"
        assert "2026-11-22T03:00:00.000Z" in error.remedy


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(RefusedError) as caught:
        to_body("case.unheard-of", {}, SALT)
    assert caught.value.reason is Reason.KIND_UNKNOWN


# --- the words that describe it


def keys_within(cls: type) -> set[tuple[str, str]]:
    keys: set[tuple[str, str]] = set()
    for slot in plan_of(cls):
        if slot.name != "salt":
            keys.add((cls.__name__, slot.key))
        if isinstance(slot.content, type):
            keys |= keys_within(slot.content)
    return keys


def test_every_field_is_described_and_nothing_else() -> None:
    used: set[str] = set()
    for cls, key in set[tuple[str, str]]().union(*(keys_within(kind.body) for kind in KINDS)):
        specific = f"{cls}.{key}"
        used.add(specific if specific in WORDS else key)
    assert used == set(WORDS)


def test_every_description_is_in_both_languages() -> None:
    for words in WORDS.values():
        chinese, _, english = words.rpartition(" · ")
        assert chinese
        assert english
        assert english.isascii()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_form_is_published_as_json_schema(kind: Kind) -> None:
    schema = json_schema(kind.name)
    json.dumps(schema)
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {slot.key for slot in plan_of(kind.body)} - {"salt"}
    assert "经办人" in schema["properties"]["actor"]["description"]
