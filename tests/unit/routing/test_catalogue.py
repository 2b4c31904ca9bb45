from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from protocol.errors import RefusedError, UnavailableError
from protocol.lifecycle import Power
from protocol.reasons import Reason
from routing.catalogue import (
    ITEMS_TYPE,
    SHEET_TYPE,
    Catalogue,
    accept_newer,
    open_items,
    open_sheet,
)
from routing.catalogue_document import Powers, Term
from routing.payload import write_payload
from signing.document import sign_document
from signing.keys import KeyUse
from tests.unit.routing.provinces import (
    END_MS,
    ISSUED_MS,
    authority,
    directory_keys,
    hub,
    key_entry,
    make_key,
    merged,
    node,
    opened,
    province,
    uscc,
)
from tests.unit.routing.services import (
    ITEM,
    NOW_MS,
    basis,
    catalogue,
    implementation,
    item,
    items_of,
    items_payload,
    material,
    naming,
    sheet,
    sheet_key,
    sheet_payload,
    sign_items,
    sign_sheet,
)

if TYPE_CHECKING:
    from routing.catalogue import SheetPayload

POLICE = authority("420606", 1, node_id="420600")
CITY = authority("420600", 1)
ZONE = authority("420100", 1, zone="东湖高新")
XIANTAO = authority("429004", 1, node_id="420000")
DIRECT = authority("420000", 1, zone="省直单位")
PROVINCIAL = authority("420000", 2)
HUNAN_POLICE = authority("430100", 1)
NODES = [
    hub("420000", "42", "43", serves=("420000", "429004")),
    node("420100"),
    node("420600", serves=("420600", "420606")),
]
AUTHORITIES = [POLICE, CITY, ZONE, XIANTAO, DIRECT, PROVINCIAL]
HUBEI = province(
    "42", NODES, more_authorities=AUTHORITIES, keys=[sheet_key(row) for row in AUTHORITIES]
)
HUNAN = province(
    "43", [node("430100")], more_authorities=[HUNAN_POLICE], keys=[sheet_key(HUNAN_POLICE)]
)
VIEW = merged(HUBEI, HUNAN)


# --- items


def test_items_come_out_as_they_were_signed() -> None:
    payload = items_payload("42", item())
    octets = sign_items(payload)
    assert open_items(octets, naming(octets, "42")).payload == payload


@pytest.mark.spec("CT-5")
def test_a_province_publishes_items_for_itself_only() -> None:
    stolen = sign_items(items_payload("42", item()), "43")
    with pytest.raises(RefusedError, match="for 43"):
        open_items(stolen, naming(stolen, "43"))
    with pytest.raises(RefusedError) as caught:
        open_items(stolen, naming(stolen, "42"))
    assert caught.value.reason is Reason.DOCUMENT_SIGNATURE
    production = sign_items(items_payload("42", item(), environment="production"))
    with pytest.raises(RefusedError) as caught:
        open_items(production, naming(production, "42"))
    assert caught.value.reason is Reason.ENVIRONMENT_MISMATCH


@pytest.mark.spec("DI-7")
def test_items_count_only_if_the_freshness_statement_names_them() -> None:
    octets, other = (sign_items(items_payload("42", item(), version=row)) for row in (1, 2))
    with pytest.raises(RefusedError, match="does not go with"):
        open_items(other, naming(octets, "42"))
    with pytest.raises(RefusedError, match="names none"):
        open_items(octets, opened(province("42")))


WRONG: list[tuple[tuple[str | int, ...], object, str]] = [
    (("version",), True, "version"),
    (("items", 0, "code"), "0007200010001", "items[0].code"),
    (("items", 0, "mode"), "代办", "items[0].mode"),
    (("items", 0, "marks", "limit"), "X", "items[0].marks.limit"),
    (("items", 0, "bases", 0, "kind"), "户籍地", "items[0].bases[0].kind"),
    (("items", 0, "bases", 0, "role"), "joint", "items[0]: "),
    (("items", 0, "bases"), [], "items[0]: "),
    (("items", 0, "levels"), [], "items[0]: "),
    (("items", 0, "levels"), ["city", "city"], "items[0]: "),
    (("items", 0, "materials", 0, "required"), "if", "items[0].materials[0]: "),
    (("items", 0, "materials", 0, "condition"), "未成年人", "items[0].materials[0]: "),
    (("items", 0, "limit", "legal", "days"), 0, "items[0].limit.legal: "),
    (("items", 0, "limit", "legal", "unit"), "at-once", "items[0].limit.legal: "),
    (("items", 0, "limit", "legal", "unit"), "weeks", "items[0].limit.legal.unit"),
    (("items", 0, "fields", 0, "choices"), ["是"], "items[0].fields[0]: "),
    (("items", 0, "fields", 0, "type"), "choice", "items[0].fields[0]: "),
    (("items", 0, "fee"), {"fen": 0, "note": None}, "items[0].fee.fen"),
]


@pytest.mark.spec("SD-8")
@pytest.mark.parametrize(("steps", "value", "place"), WRONG, ids=[ascii(row) for row in WRONG])
def test_a_wrong_value_is_refused_with_its_place(
    steps: tuple[str | int, ...], value: object, place: str
) -> None:
    tree = json.loads(write_payload(items_payload("42", item())))
    tree["items"][0]["fields"] = [
        {"name": "a", "label": "甲", "type": "text", "required": True, "choices": []}
    ]
    *above, last = steps
    row = tree
    for step in above:
        row = row[step]
    row[last] = value
    octets = json.dumps(tree, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    signed = sign_document(ITEMS_TYPE, octets, directory_keys("42"))
    with pytest.raises(RefusedError) as caught:
        open_items(signed, naming(signed, "42"))
    assert caught.value.reason is Reason.DOCUMENT_INVALID
    assert caught.value.detail.startswith(place)


def test_nothing_stands_there_twice() -> None:
    with pytest.raises(ValueError, match="2 times"):
        items_payload("42", item(), item())
    with pytest.raises(ValueError, match="2 times"):
        item(bases=(basis(), basis()))
    with pytest.raises(ValueError, match="2 times"):
        item(materials=(material(), material()))
    with pytest.raises(ValueError, match="2 times"):
        implementation(POLICE, materials=(material(), material()))


# --- sheets


def test_a_sheet_comes_out_as_its_authority_signed_it() -> None:
    payload = sheet_payload(POLICE, implementation(POLICE))
    assert open_sheet(sign_sheet(payload), VIEW).payload == payload


def refusal(payload: SheetPayload, signer: str | None = None) -> str:
    with pytest.raises(RefusedError) as caught:
        open_sheet(sign_sheet(payload, signer), VIEW)
    assert caught.value.reason is Reason.DOCUMENT_INVALID
    return caught.value.detail


@pytest.mark.spec("CT-7")
def test_only_the_authoritys_own_catalogue_key_signs_its_sheet() -> None:
    payload = sheet_payload(POLICE, implementation(POLICE))
    assert "no catalogue key" in refusal(payload, CITY.uscc)
    envelope = key_entry("e", KeyUse.ENVELOPE, POLICE.uscc, "420600")
    view = merged(HUBEI.model_copy(update={"keys": (envelope,)}))
    octets = sign_document(SHEET_TYPE, write_payload(payload), [make_key("e")])
    with pytest.raises(RefusedError, match="no catalogue key"):
        open_sheet(octets, view)


@pytest.mark.spec("CT-8")
def test_an_unknown_signer_may_be_known_tomorrow() -> None:
    with pytest.raises(UnavailableError) as caught:
        open_sheet(sign_sheet(sheet_payload(POLICE), "nobody"), VIEW)
    assert caught.value.reason is Reason.KEY_UNKNOWN


def test_a_sheet_is_signed_as_a_sheet() -> None:
    octets = write_payload(sheet_payload(POLICE))
    with pytest.raises(RefusedError) as caught:
        open_sheet(sign_document(ITEMS_TYPE, octets, [make_key(f"sheet {POLICE.uscc}")]), VIEW)
    assert caught.value.reason is Reason.DOCUMENT_SIGNATURE


@pytest.mark.spec("CT-7")
def test_a_sheet_signed_outside_the_keys_time_is_refused() -> None:
    assert "issued_ms" in refusal(sheet_payload(POLICE, issued_ms=ISSUED_MS - 1))
    assert "issued_ms" in refusal(sheet_payload(POLICE, issued_ms=END_MS))


@pytest.mark.spec("CT-7")
def test_a_revoked_key_publishes_nothing_whatever_date_it_claims() -> None:
    revoked = HUBEI.model_copy(update={"keys": (sheet_key(POLICE, revoked_ms=END_MS),)})
    with pytest.raises(RefusedError, match="revoked"):
        open_sheet(sign_sheet(sheet_payload(POLICE)), merged(revoked))


def test_trial_and_production_do_not_mix() -> None:
    payload = sheet_payload(POLICE, environment="production")
    with pytest.raises(RefusedError) as caught:
        open_sheet(sign_sheet(payload), VIEW)
    assert caught.value.reason is Reason.ENVIRONMENT_MISMATCH
    with pytest.raises(RefusedError) as caught:
        Catalogue.merge([items_of("42", item(), environment="production")], [], VIEW)
    assert caught.value.reason is Reason.ENVIRONMENT_MISMATCH


OUT_OF_PLACE: dict[str, tuple[dict[str, Any], str]] = {
    "the prefecture above it": ({"region": "420600"}, "region"),
    "its neighbour": ({"region": "420100"}, "region"),
    "another province": ({"region": "430100"}, "region"),
    "a region nobody lists": ({"region": "420607"}, "region"),
    "a zone nobody knows": ({"zone": "樊城新区"}, "zone"),
    "another one's code": ({"code": f"{CITY.uscc}4{ITEM}"}, "code"),
    "a short code": ({"code": f"{POLICE.uscc}{ITEM}"}, "code"),
    "a long code": ({"code": f"{POLICE.uscc}40{ITEM}"}, "code"),
    "the code of another item": ({"code": f"{POLICE.uscc}4000000000000"}, "code"),
}


@pytest.mark.spec("CT-7")
@pytest.mark.parametrize("name", OUT_OF_PLACE)
def test_an_authority_speaks_for_its_own_place_and_code(name: str) -> None:
    changes, place = OUT_OF_PLACE[name]
    detail = refusal(sheet_payload(POLICE, implementation(POLICE, **changes)))
    assert detail.startswith(f"implementations[0].{place}: ")


@pytest.mark.spec("CT-7")
def test_a_zone_speaks_for_itself_and_not_for_the_city_around_it() -> None:
    assert sheet(VIEW, ZONE, implementation(ZONE)).payload.implementations
    assert "zone" in refusal(sheet_payload(ZONE, implementation(ZONE, zone=None)))


def test_a_prefecture_may_do_it_for_its_counties() -> None:
    entry = implementation(CITY, region="420606")
    assert sheet(VIEW, CITY, entry).payload.implementations == (entry,)


@pytest.mark.spec("CT-7")
def test_a_code_of_another_form_has_to_be_marked() -> None:
    entry = implementation(POLICE, code=POLICE.uscc + "ABC123")
    assert "marked `standard`" in refusal(sheet_payload(POLICE, entry))
    marked = entry.model_copy(update={"code_form": "local"})
    assert sheet(VIEW, POLICE, marked).payload.implementations == (marked,)


@pytest.mark.spec("CT-7")
def test_powers_go_to_listed_authorities_only() -> None:
    other = uscc("420606", 77)
    holders = dict.fromkeys(("accept", "review", "decide", "issue", "deliver"), POLICE.uscc)
    for changes in [{power: other} for power in holders] + [{"collect": (POLICE.uscc, other)}]:
        powers = Powers.model_validate({"collect": "any", **holders, **changes})
        assert other in refusal(sheet_payload(POLICE, implementation(POLICE, powers=powers)))


@pytest.mark.spec("CT-7")
def test_a_code_stands_in_a_sheet_once() -> None:
    assert "2 times" in refusal(sheet_payload(POLICE, *[implementation(POLICE)] * 2))


@pytest.mark.spec("CT-7")
def test_what_is_withdrawn_was_in_force_before() -> None:
    with pytest.raises(ValueError, match="before it takes effect"):
        implementation(POLICE, withdrawn_ms=ISSUED_MS)


@pytest.mark.spec("SD-9")
def test_only_a_newer_sheet_takes_the_place_of_one() -> None:
    old = sheet(VIEW, POLICE, implementation(POLICE), version=2)
    new = sheet(VIEW, POLICE, version=3)
    assert accept_newer(old, new) is new
    with pytest.raises(RefusedError, match="older"):
        accept_newer(new, old)


# --- the merged view


@pytest.mark.spec("CT-10")
def test_an_authority_serves_an_item_while_its_sheet_says_so() -> None:
    until_ms = NOW_MS + 1000
    entry = implementation(POLICE, effective_from_ms=NOW_MS, withdrawn_ms=until_ms)
    view = catalogue(VIEW, [items_of("42", item())], [(POLICE, entry)])
    served = view.served(ITEM, POLICE.uscc, NOW_MS)
    assert served is not None
    assert (served.authority, served.code, served.version) == (POLICE.uscc, entry.code, 1)
    assert served.item == item()
    assert view.served(ITEM, POLICE.uscc, NOW_MS - 1) is None
    assert view.served(ITEM, POLICE.uscc, until_ms) is None
    assert view.served(ITEM, CITY.uscc, NOW_MS) is None
    assert view.served("000720009000", POLICE.uscc, NOW_MS) is None
    assert view.implementation(entry.code, "42") == served, "cases in flight still find it"
    assert view.implementation("nothing", "42") is None
    assert view.at(ITEM, "420606", NOW_MS) == (served,)
    assert view.at(ITEM, "420600", NOW_MS) == ()
    assert view.implementations(ITEM, NOW_MS) == (served,)


def test_an_authoritys_own_list_takes_the_place_of_the_items() -> None:
    own = implementation(
        POLICE, materials=(material("m9"),), promised=Term(days=5, unit="working-days")
    )
    view = catalogue(VIEW, [items_of("42", item())], [(POLICE, own), (CITY, implementation(CITY))])
    special, plain = (view.served(ITEM, row.uscc, NOW_MS) for row in (POLICE, CITY))
    assert special is not None
    assert plain is not None
    assert [row.code for row in special.materials] == ["m9"]
    assert special.promised == Term(days=5, unit="working-days")
    assert [row.code for row in plain.materials] == ["m1"]
    assert plain.promised == Term(days=20, unit="working-days")


@pytest.mark.spec("CT-11")
def test_powers_are_those_of_the_implementation() -> None:
    powers = Powers(
        collect=(CITY.uscc,),
        accept=POLICE.uscc,
        review=POLICE.uscc,
        decide=CITY.uscc,
        issue=CITY.uscc,
        deliver=POLICE.uscc,
    )
    entry = implementation(POLICE, powers=powers)
    served = catalogue(VIEW, [items_of("42", item())], [(POLICE, entry)]).served(
        ITEM, POLICE.uscc, NOW_MS
    )
    assert served is not None
    assert served.powers_of(POLICE.uscc, "42") == {Power.ACCEPT, Power.REVIEW, Power.DELIVER}
    assert served.powers_of(CITY.uscc, "42") == {Power.COLLECT, Power.DECIDE, Power.ISSUE}
    assert served.powers_of(ZONE.uscc, "42") == set()


@pytest.mark.spec("DI-4")
def test_a_power_of_another_province_s_authority_is_held_by_nobody_else() -> None:
    own = POLICE.uscc
    powers = Powers(
        collect=(f"43:{HUNAN_POLICE.uscc}",),
        accept=f"43:{HUNAN_POLICE.uscc}",
        **dict.fromkeys(("review", "decide", "issue", "deliver"), own),
    )
    entry = implementation(POLICE, powers=powers)
    held = catalogue(VIEW, [items_of("42", item())], [(POLICE, entry)]).at(ITEM, "420606", NOW_MS)
    assert held[0].powers_of(HUNAN_POLICE.uscc, "430100") == {Power.COLLECT, Power.ACCEPT}
    assert held[0].powers_of(HUNAN_POLICE.uscc, "42") == set()
    assert held[0].powers_of(HUNAN_POLICE.uscc, "44") == set()
    unlisted = entry.model_copy(
        update={"powers": powers.model_copy(update={"accept": f"44:{own}"})}
    )
    with pytest.raises(RefusedError, match="44:"):
        sheet(VIEW, POLICE, unlisted)


@pytest.mark.spec("CT-11")
def test_any_window_collects_where_the_sheet_says_so() -> None:
    view = catalogue(VIEW, [items_of("42", item())], [(POLICE, implementation(POLICE))])
    served = view.served(ITEM, POLICE.uscc, NOW_MS)
    assert served is not None
    assert served.powers_of(HUNAN_POLICE.uscc, "43") == {Power.COLLECT}
    assert served.powers_of(POLICE.uscc, "42") == set(Power)


def test_each_province_says_what_an_item_is_there() -> None:
    hubei, hunan = item(), item(name="居民身份证换证")
    view = catalogue(
        VIEW,
        [items_of("43", hunan), items_of("42", hubei)],
        [(POLICE, implementation(POLICE)), (HUNAN_POLICE, implementation(HUNAN_POLICE))],
    )
    assert view.item(ITEM) == hubei
    assert view.item(ITEM, "43") == hunan
    assert view.item(ITEM, "44") is None
    assert view.item("000720009000") is None
    served = view.served(ITEM, HUNAN_POLICE.uscc, NOW_MS)
    assert served is not None
    assert served.item == hunan


@pytest.mark.spec("CT-9")
def test_one_authoritys_mistake_does_not_stop_the_catalogue() -> None:
    unknown = implementation(POLICE, "000720009000")
    view = catalogue(
        VIEW, [items_of("42", item())], [(POLICE, unknown), (CITY, implementation(CITY))]
    )
    assert view.served(ITEM, CITY.uscc, NOW_MS) is not None
    (row,) = view.set_aside
    assert (row.authority, row.code) == (POLICE.uscc, unknown.code)
    assert "not published in 42" in row.problem


@pytest.mark.spec("CT-9")
def test_an_item_is_done_on_its_own_levels_only() -> None:
    entries = [(row, implementation(row)) for row in AUTHORITIES]
    for levels, expected in {
        ("county",): {POLICE.uscc, ZONE.uscc, XIANTAO.uscc, DIRECT.uscc},
        ("city",): {CITY.uscc, XIANTAO.uscc, DIRECT.uscc},
        ("province",): {PROVINCIAL.uscc},
    }.items():
        view = catalogue(VIEW, [items_of("42", item(levels=levels))], entries)
        assert {row.authority for row in view.implementations(ITEM, NOW_MS)} == expected
        assert len(view.set_aside) == len(entries) - len(expected)


@pytest.mark.spec("CT-9")
def test_what_no_longer_fits_the_directory_is_set_aside() -> None:
    held = sheet(VIEW, POLICE, implementation(POLICE))
    items = [items_of("42", item())]

    def problem(**changes: Any) -> str:
        view = Catalogue.merge(items, [held], merged(HUBEI.model_copy(update=changes)))
        assert view.served(ITEM, POLICE.uscc, NOW_MS) is None
        return view.set_aside[0].problem

    assert "revoked" in problem(keys=(sheet_key(POLICE, revoked_ms=NOW_MS),))
    assert "unknown" in problem(keys=())
    gone = [row for row in HUBEI.authorities if row != POLICE]
    others = [row for row in HUBEI.keys if row.owner != POLICE.uscc]
    assert "not listed" in problem(authorities=tuple(gone), keys=tuple(others))
    moved = POLICE.model_copy(update={"region": "420100", "node": "420100"})
    key = sheet_key(POLICE).model_copy(update={"node": "420100"})
    assert "region" in problem(authorities=(*gone, moved), keys=(*others, key))


def test_a_publisher_speaks_once() -> None:
    with pytest.raises(RefusedError, match=r"items\.prefix"):
        Catalogue.merge([items_of("42", item()), items_of("42")], [], VIEW)
    held = sheet(VIEW, POLICE)
    with pytest.raises(RefusedError, match="authority"):
        Catalogue.merge([], [held, held], VIEW)
