from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protocol.reasons import Reason
from routing.jurisdiction import (
    MAX_NEAREST,
    Ambiguous,
    BasisOption,
    Jurisdiction,
    NotFound,
    Responsible,
    leads_to,
    responsible,
)
from tests.unit.routing.provinces import authority, hub, merged, node, province
from tests.unit.routing.services import (
    ITEM,
    NOW_MS,
    basis,
    catalogue,
    implementation,
    item,
    items_of,
    sheet_key,
)

if TYPE_CHECKING:
    from routing.catalogue import Item
    from routing.directory_document import AuthorityEntry

WUHAN = authority("420100", 1)
WUCHANG = authority("420106", 1, node_id="420100")
WUCHANG_2 = authority("420106", 2, node_id="420100")
OPTICS = authority("420100", 2, zone="东湖高新")
FANCHENG = authority("420606", 1, node_id="420600")
XIANGYANG = authority("420600", 1)
XIANTAO = authority("429004", 1, node_id="420000")
PROVINCIAL = authority("420000", 1)
CHANGSHA = authority("430100", 1)
HUBEI_AUTHORITIES = [
    *(WUHAN, WUCHANG, WUCHANG_2, OPTICS, FANCHENG, XIANGYANG, XIANTAO, PROVINCIAL),
]
VIEW = merged(
    province(
        "42",
        [
            hub("420000", "42", "43", serves=("420000", "429004")),
            node("420100", serves=("420100", "420106")),
            node("420600", serves=("420600", "420606")),
        ],
        more_regions=["421100"],
        more_authorities=HUBEI_AUTHORITIES,
        keys=[sheet_key(row) for row in HUBEI_AUTHORITIES],
    ),
    province("43", [node("430100")], more_authorities=[CHANGSHA], keys=[sheet_key(CHANGSHA)]),
)
ALL_LEVELS = item(levels=("province", "city", "county"))


def ask(
    region: str,
    *who: AuthorityEntry,
    zone: str | None = None,
    kind: str = "household",
    published: Item = ALL_LEVELS,
    code: str = ITEM,
    now_ms: int = NOW_MS,
) -> Jurisdiction:
    held = catalogue(
        VIEW,
        [items_of("42", published), items_of("43", published)],
        [(row, implementation(row)) for row in who],
    )
    return responsible(held, VIEW, code, kind, region, zone, now_ms=now_ms)


def the_one(found: Jurisdiction) -> AuthorityEntry:
    assert isinstance(found, Responsible), found
    assert found.implementation.authority == found.authority.uscc
    return found.authority


def options(found: Jurisdiction) -> list[AuthorityEntry]:
    assert isinstance(found, Ambiguous), found
    assert found.chinese_question
    assert found.english_question
    return [row.authority for row in found.options if isinstance(row, Responsible)]


def missing(found: Jurisdiction) -> NotFound:
    assert isinstance(found, NotFound), found
    return found


@pytest.mark.spec("CT-6")
def test_the_way_up_stops_at_the_first_level_that_does_it() -> None:
    assert the_one(ask("420606", FANCHENG, XIANGYANG, PROVINCIAL)) == FANCHENG
    assert the_one(ask("420606", XIANGYANG, PROVINCIAL)) == XIANGYANG
    assert the_one(ask("420606", PROVINCIAL)) == PROVINCIAL
    assert the_one(ask("420600", FANCHENG, XIANGYANG)) == XIANGYANG


def test_a_level_the_item_is_not_done_on_is_passed_over() -> None:
    city = item(levels=("city",))
    assert the_one(ask("420606", FANCHENG, XIANGYANG, published=city)) == XIANGYANG


@pytest.mark.spec("CT-6")
def test_a_county_without_a_prefecture_goes_straight_to_its_province() -> None:
    assert the_one(ask("429004", XIANTAO, PROVINCIAL)) == XIANTAO
    assert the_one(ask("429004", XIANGYANG, PROVINCIAL)) == PROVINCIAL
    assert the_one(ask("429004", XIANTAO, published=item(levels=("city",)))) == XIANTAO
    assert the_one(ask("429004", XIANTAO, published=item(levels=("county",)))) == XIANTAO


@pytest.mark.spec("CT-6")
def test_a_zone_that_was_named_comes_before_the_region() -> None:
    assert the_one(ask("420106", WUCHANG, OPTICS, zone="东湖高新")) == OPTICS
    assert the_one(ask("420100", WUHAN, OPTICS, zone="东湖高新")) == OPTICS
    assert the_one(ask("420106", WUCHANG, OPTICS)) == WUCHANG
    assert the_one(ask("420100", WUHAN, OPTICS)) == WUHAN


@pytest.mark.spec("CT-6")
def test_where_the_zone_does_not_do_it_the_region_does() -> None:
    assert the_one(ask("420100", WUHAN, zone="东湖高新")) == WUHAN


@pytest.mark.spec("CT-6")
def test_a_zone_nobody_knows_is_not_taken_for_the_region() -> None:
    found = missing(ask("420100", WUHAN, OPTICS, zone="东湖高薪"))
    assert "东湖高新" in found.chinese, "the known ones are named"
    assert [row.authority for row in found.nearest] == [WUHAN, OPTICS]


@pytest.mark.spec("CT-4", "CT-6")
def test_several_on_one_level_are_a_question() -> None:
    found = ask("420106", WUCHANG, WUCHANG_2, WUHAN)
    assert options(found) == [WUCHANG, WUCHANG_2]
    assert isinstance(found, Ambiguous)
    assert WUCHANG.name in found.chinese_question


@pytest.mark.spec("CT-6")
def test_too_wide_a_region_is_a_question_for_what_lies_below() -> None:
    county = item(levels=("county",))
    found = ask("420100", WUCHANG, WUCHANG_2, OPTICS, FANCHENG, published=county)
    assert options(found) == [OPTICS, WUCHANG, WUCHANG_2]
    assert options(ask("420600", FANCHENG, published=county)) == [FANCHENG], "never guessed"


@pytest.mark.spec("CT-6")
def test_another_basis_is_answered_with_the_items_question() -> None:
    bases = (basis("household"), basis("residence"), basis("insurance", "joint"))
    published = item(bases=bases)
    for kind in ("business", "insurance"):
        found = ask("420606", FANCHENG, kind=kind, published=published)
        assert isinstance(found, Ambiguous)
        kinds = [row.kind for row in found.options if isinstance(row, BasisOption)]
        assert kinds == ["household", "residence"], "whoever co-handles is not asked to lead"
        assert bases[0].chinese_question in found.chinese_question
    for kind in ("household", "residence"):
        assert the_one(ask("420606", FANCHENG, kind=kind, published=published)) == FANCHENG


@pytest.mark.spec("CT-6")
def test_nobody_is_a_clear_no_with_the_nearest() -> None:
    found = missing(ask("421100", CHANGSHA, FANCHENG, XIANTAO))
    assert found.reason is Reason.ITEM_NOT_SERVED
    assert "地区421100" in found.chinese
    assert [row.authority for row in found.nearest] == [FANCHENG, XIANTAO, CHANGSHA]
    assert missing(ask("420606", CHANGSHA, WUCHANG)).nearest[0].authority == WUCHANG


def test_offers_are_few() -> None:
    everybody = [*HUBEI_AUTHORITIES[:-1], CHANGSHA]
    assert len(missing(ask("440100", *everybody)).nearest) == MAX_NEAREST
    assert len(missing(ask("421100", *everybody)).nearest) == MAX_NEAREST


def test_an_unknown_item_or_region_is_named() -> None:
    found = missing(ask("420606", FANCHENG, code="000720009000"))
    assert found.reason is Reason.ITEM_UNKNOWN
    assert found.nearest == ()
    found = missing(ask("420699", WUCHANG, FANCHENG))
    assert found.chinese == "行政区划 420699 未接入"
    assert [row.authority for row in found.nearest] == [FANCHENG, WUCHANG]
    assert "44" in missing(ask("440100", FANCHENG)).chinese


def test_what_one_province_does_not_publish_is_offered_elsewhere() -> None:
    held = catalogue(VIEW, [items_of("42", item())], [(FANCHENG, implementation(FANCHENG))])
    found = missing(responsible(held, VIEW, ITEM, "household", "430100", now_ms=NOW_MS))
    assert found.reason is Reason.ITEM_NOT_SERVED
    assert "省43" in found.chinese
    assert [row.authority for row in found.nearest] == [FANCHENG]


@pytest.mark.spec("CT-6")
def test_what_any_authority_may_do_is_offered_everywhere() -> None:
    anywhere = item(competence="nationwide", levels=("county", "city"))
    found = ask("421100", CHANGSHA, FANCHENG, WUCHANG, published=anywhere)
    assert options(found) == [WUCHANG, FANCHENG, CHANGSHA]
    assert the_one(ask("420606", CHANGSHA, FANCHENG, published=anywhere)) == FANCHENG
    assert isinstance(ask("421100", published=anywhere), NotFound)


@pytest.mark.spec("CT-6", "CT-10")
def test_what_is_not_in_force_yet_does_not_count() -> None:
    assert isinstance(ask("420606", FANCHENG, now_ms=0), NotFound)


@pytest.mark.spec("CT-3")
@pytest.mark.parametrize(
    ("region", "who", "leads"),
    [
        ("420606", (FANCHENG,), True),
        ("420606", (FANCHENG, XIANGYANG), True),
        ("420606", (XIANGYANG,), False),
        ("420600", (FANCHENG,), True),
        ("421100", (FANCHENG,), False),
    ],
    ids=["the one", "the lower", "another", "an option", "only nearby"],
)
def test_a_jurisdiction_leads_to_the_one_or_to_an_option(
    region: str, who: tuple[AuthorityEntry, ...], *, leads: bool
) -> None:
    found = ask(region, *who, published=item(levels=("county", "city")))
    assert leads_to(found, FANCHENG.uscc, "42") is leads
    assert not leads_to(found, CHANGSHA.uscc, "43")


def test_a_question_about_the_basis_leads_to_nobody() -> None:
    assert not leads_to(ask("420606", FANCHENG, kind="business"), FANCHENG.uscc, "42")
