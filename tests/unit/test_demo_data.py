from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from adapters.local_json import to_body
from examples.federation import (
    Application,
    NodeFacts,
    case_submit,
    directory_payload,
    items_payload,
    load_federation,
    sheet_payload,
)
from protocol.bodies import CaseSubmit, check_references
from protocol.identifiers import is_identity_number, is_uscc
from protocol.instants import parse_instant
from routing.catalogue import SHEET_TYPE, Catalogue, open_items, open_sheet
from routing.directory import Directory
from routing.directory_rules import check_directory
from routing.jurisdiction import Ambiguous, Responsible, responsible
from routing.payload import write_payload
from routing.planner import plan as plan_routes
from signing.document import sign_document
from signing.keys import KeyUse
from tests.unit.routing.provinces import certificate_of, key_entry, make_key, named, opened
from tests.unit.routing.services import sign_items

if TYPE_CHECKING:
    from collections.abc import Iterator

    from examples.federation import NodePlan
    from routing.directory_document import DirectoryPayload

PLAN = load_federation()
NOW_MS = parse_instant("2026-11-22T03:00:00.000Z")
LATER_MS = parse_instant("2027-11-22T03:00:00.000Z")
TODAY = dt.date(2026, 11, 22)


def facts(node: NodePlan) -> NodeFacts:
    validity = {"not_before_ms": 0, "not_after_ms": LATER_MS}
    return NodeFacts(
        url=f"https://127.0.0.1:{20_000 + int(node.id) % 10_000}",
        certificate=certificate_of(node.id),
        keys=(
            key_entry(f"r{node.id}", KeyUse.RECEIPT, node.id, node.id, **validity),
            key_entry(f"p{node.id}", KeyUse.PING, node.operator, node.id, **validity),
            *(
                key_entry(f"c{row.uscc}", KeyUse.CATALOGUE, row.uscc, node.id, **validity)
                for row in node.authorities
            ),
        ),
    )


def payload(prefix: str, *nodes: NodePlan) -> DirectoryPayload:
    there = {node.id: facts(node) for node in nodes}
    return directory_payload(PLAN, prefix, there, version=1, issued_ms=NOW_MS, expires_ms=LATER_MS)


def federation() -> tuple[Directory, Catalogue]:
    """The whole plan through signing and opening, as nodes will read it."""
    provinces, items, sheets = [], [], []
    for prefix in (province.prefix for province in PLAN.provinces):
        published = sign_items(items_payload(PLAN, prefix, version=1, issued_ms=NOW_MS))
        province = opened(payload(prefix, *PLAN.nodes), items=named(published))
        provinces.append(province)
        items.append(open_items(published, province))
    directory = Directory.merge(provinces)
    for _, row in PLAN.authorities():
        said = write_payload(sheet_payload(PLAN, row.uscc, version=1, issued_ms=NOW_MS))
        octets = sign_document(SHEET_TYPE, said, [make_key(f"c{row.uscc}")])
        sheets.append(open_sheet(octets, directory))
    return directory, Catalogue.merge(items, sheets, directory)


DIRECTORY, CATALOGUE = federation()


def application(name: str) -> Application:
    return next(row for row in PLAN.applications if row.id == name)


# --- the federation


def test_the_eight_nodes_are_there_hubs_first() -> None:
    assert [node.id for node in PLAN.nodes] == [
        *("420000", "430000"),
        *("420100", "420500", "420600", "420700", "430100", "430600"),
    ]


def test_everything_the_plan_implements_counts() -> None:
    assert CATALOGUE.set_aside == ()
    for _, authority in PLAN.authorities():
        for row in authority.implements:
            served = CATALOGUE.served(row.item, authority.uscc, NOW_MS)
            assert served is not None, (authority.name, row.item)
            assert len(served.code) == 31


def test_a_small_federation_is_whole_as_well() -> None:
    small = [PLAN.node(code) for code in ("420000", "420100", "420600")]
    assert check_directory(payload("42", *small))
    assert [row.id for row in payload("42", *small).nodes] == ["420000", "420100", "420600"]
    circle = [PLAN.node(code) for code in ("420100", "420700")]
    assert check_directory(payload("42", *circle)), "without the hub its links are gone too"


def test_the_regions_of_hubei_are_those_of_the_public_table() -> None:
    prefectures = {code for code in DIRECTORY.regions if DIRECTORY.chain(code)[1:] == ("420000",)}
    assert prefectures == {
        *("420100", "420200", "420300", "420500", "420600", "420700", "420800", "420900"),
        *("421000", "421100", "421200", "421300", "422800"),
        *("429004", "429005", "429006", "429021"),
    }


@pytest.mark.parametrize(
    "route",
    [
        "420100 420700",
        "420100 420000 420600",
        "420100 420000 420500",
        "420100 420000 430000 430600",
        "430100 430000 420000 420100",
        "420600 420000 420100",
        "420100 420000",
    ],
)
def test_the_ways_of_the_demo_exist(route: str) -> None:
    nodes = tuple(route.split())
    assert plan_routes(DIRECTORY, nodes[0], nodes[-1]).alternates[0].nodes == nodes


def organisation_check(body: str) -> str:
    """GB 11714: the check character of an organisation code's first eight characters."""
    weights = (3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(c, 36) * weight for c, weight in zip(body, weights, strict=True))
    return "0123456789X0"[(11 - total % 11)]


def test_authorities_have_codes_valid_in_both_check_characters_and_nobodys_telephone() -> None:
    found = [row for _, row in PLAN.authorities()]
    for row in found:
        assert is_uscc(row.uscc)
        assert row.uscc[2:8] == row.region
        assert row.uscc[8:10] == "TB", "no such organisation codes are issued"
        assert organisation_check(row.uscc[8:16]) == row.uscc[16]
        assert row.telephone.split("-")[1] == "0000", "no telephone number begins with 0"
    assert len({row.telephone for row in found}) == len(found)


# --- the items


def test_the_fifteen_items_are_implemented_where_they_are_published() -> None:
    assert len(PLAN.items) == 15
    for code, prefixes in PLAN.published_in.items():
        for prefix in prefixes:
            assert CATALOGUE.item(code, prefix) == PLAN.items[code]
        assert CATALOGUE.implementations(code, NOW_MS), PLAN.items[code].name


def test_what_is_recalled_says_so() -> None:
    marks = {item.name: item.marks for item in PLAN.items.values()}
    assert marks["企业职工基本养老保险关系转移接续"].limit == "V"
    assert marks["退休提取住房公积金"].limit == "L"
    assert marks["异地就医备案（长期居住）"].jurisdiction == "R-high"
    assert marks["道路货运驾驶员从业资格证换证"].limit == "R-low"
    assert marks["大学生就业落户安居一件事"].materials == "V"
    assert marks["大学生就业落户安居一件事"].jurisdiction == "I"
    assert {mark.code for mark in marks.values()} == {"I"}, "no item's code was read anywhere"


def test_facts_that_are_easily_got_wrong() -> None:
    items = {item.name: item for item in PLAN.items.values()}
    fund = items["退休提取住房公积金"].limit.legal
    assert fund is not None
    assert (fund.days, fund.unit) == (3, "calendar-days"), "three days, not working days"
    pension = items["企业职工基本养老保险关系转移接续"].limit.legs
    assert [leg.term.days for leg in pension] == [15, 15, 15]
    card = items["居民身份证换领"]
    assert card.fee is not None
    assert card.fee.fen == 2000
    assert card.handled_in == "vertical"
    licence = items["公共场所卫生许可"].materials
    assert len(licence) == 8
    assert [row.code for row in licence if row.tolerable] == ["m5", "m6", "m8"]
    assert len(items["大学生就业落户安居一件事"].materials) == 4
    assert items["开具无犯罪记录证明"].handled_in == "local"
    assert items["生育登记"].competence == "any-of"


def test_review_points_speak_of_materials_the_item_asks_for() -> None:
    for code in PLAN.items:
        for served in CATALOGUE.implementations(code, NOW_MS):
            codes = {row.code for row in served.materials} | {None}
            assert {point.material for point in served.entry.review_points} <= codes


def test_an_authority_adds_its_own_points_and_promise() -> None:
    licence = next(row for row in PLAN.items.values() if row.name == "公共场所卫生许可")
    health = next(row for _, row in PLAN.authorities() if row.name == "岳阳市岳阳楼区卫生健康局")
    served = CATALOGUE.served(licence.code, health.uscc, NOW_MS)
    assert served is not None
    assert served.promised is not None
    assert (served.promised.days, served.promised.unit) == (8, "working-days")
    points = [point.material for point in served.entry.review_points]
    assert points == ["m4", "m5", "m6"], "what everybody looks at, then its own"


# --- the people


@pytest.mark.parametrize("errand", PLAN.applications, ids=lambda row: row.id)
def test_an_errand_leads_where_its_story_says(errand: Application) -> None:
    basis = errand.basis
    found = responsible(
        CATALOGUE, DIRECTORY, errand.item, basis.kind, basis.region, basis.zone, now_ms=NOW_MS
    )
    if errand.leads_to is None:
        assert isinstance(found, Ambiguous)
        assert len(found.options) > 1
        return
    assert isinstance(found, Responsible)
    assert found.authority.uscc == errand.leads_to
    window = PLAN.authority(errand.window.authority)
    assert PLAN.node_of(window.uscc).id == errand.window.node
    assert plan_routes(DIRECTORY, errand.window.node, found.authority.node).alternates


@pytest.mark.parametrize("errand", PLAN.applications, ids=lambda row: row.id)
def test_an_errand_makes_a_sound_submission(errand: Application) -> None:
    item = PLAN.items[errand.item]
    actor = {"name": "甲", "staffNumber": "001", "window": "1"}
    document = case_submit(errand, item, "11420606TB060602X94000709903000", actor)
    body = to_body("case.submit", document, "0" * 32)
    assert isinstance(body, CaseSubmit)
    check_references(body, list(errand.files))
    assert (body.basis.region, body.basis.zone) == (errand.basis.region, errand.basis.zone)
    codes = [row.code for row in body.materials]
    assert not set(codes) & set(errand.missing)
    assert set(codes) >= {row.code for row in item.materials if row.required == "always"} - set(
        errand.missing
    )
    assert set(errand.applies) <= set(codes)
    if errand.paper_only:
        assert "licence" not in {row.form for row in body.materials}
    fields = {field.name: field for field in item.fields}
    assert {name for name, field in fields.items() if field.required} <= set(errand.form)
    assert set(errand.form) <= set(fields)
    for name, value in errand.form.items():
        assert not fields[name].choices or value in fields[name].choices


def persons() -> Iterator[dict[str, object]]:
    for errand in PLAN.applications:
        others = [row["person"] for row in (errand.agent, errand.guardian) if row is not None]
        yield from (errand.applicant, *others)
        if errand.legal_representative is not None:
            yield errand.legal_representative


def certificates(kind: str) -> list[str]:
    found = [row["certificate"] for row in persons()]
    return [row["number"] for row in found if isinstance(row, dict) and row["type"] == kind]


def test_nobody_in_here_exists() -> None:
    numbers = certificates("111")
    assert len(set(numbers)) == len(numbers) >= 12
    for number in numbers:
        assert is_identity_number(number)
        assert number[4:6] == "99", "no county has the code 99"
    for number in certificates("uscc"):
        assert is_uscc(number)
        assert organisation_check(number[8:16]) == number[16]
    for person in persons():
        assert str(person.get("telephone", "100")).startswith("100"), "no such mobile numbers"
        if person["kind"] == "natural":
            certificate = person["certificate"]
            assert isinstance(certificate, dict)
            digits = str(certificate["number"])
            assert str(person["birthDate"]).replace("-", "") == digits[6:14]
            assert (int(digits[16]) % 2 == 1) == (person["sex"] == "1")


def age(errand: Application) -> int:
    born = dt.date.fromisoformat(errand.applicant["birthDate"])
    return TODAY.year - born.year - ((TODAY.month, TODAY.day) < (born.month, born.day))


def test_every_story_is_told_by_its_data() -> None:
    rare = application("rare-character").applicant["name"]
    assert any(len(character.encode("gb18030")) == 4 for character in rare)
    assert application("widow").paper_only
    assert application("agent").agent is not None
    assert application("minor").guardian is not None
    assert age(application("minor")) < 16
    assert application("new-legal-representative").applicant["kind"] == "legal"
    assert application("new-legal-representative").legal_representative is not None
    assert application("number-ends-in-x").applicant["certificate"]["number"].endswith("X")
    assert age(application("too-young")) < 60 <= age(application("correction"))
    assert application("correction").missing
    assert application("founder").basis.zone == "东湖高新"
    assert application("no-prefecture").basis.region == "429004"
