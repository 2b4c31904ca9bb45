from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from protocol.errors import LocalUseError, RefusedError
from protocol.reasons import Reason
from routing.directory import Directory
from routing.directory_document import (
    DIRECTORY_TYPE,
    AuthorityEntry,
    CircleEntry,
    DirectoryPayload,
    RegionEntry,
    Succession,
)
from routing.directory_province import DirectoryDocument, open_province
from routing.payload import write_payload
from signing.document import sign_document
from signing.keys import KeyUse
from tests.unit.routing.provinces import (
    END_MS,
    ISSUED_MS,
    authority,
    directory_keys,
    freshness_payload,
    hub,
    key_entry,
    make_key,
    merged,
    node,
    opened,
    pin,
    province,
    root,
    sign,
    sign_freshness,
    uscc,
)

if TYPE_CHECKING:
    from collections.abc import Callable

HUBEI = province(
    "42",
    [
        hub("420000", "42", "43", serves=("420000", "429004")),
        node("420100", serves=("420100", "420106")),
        node("420600", serves=("420600", "420606")),
        node("420700"),
    ],
    more_authorities=[
        authority("420606", node_id="420600"),
        authority("429004", node_id="420000"),
        authority("420100", 1, zone="东湖高新"),
    ],
    circles={"武汉都市圈": ("420100", "420700", "429004"), "襄阳都市圈": ("420600",)},
    keys=[
        key_entry("envelope", KeyUse.ENVELOPE, uscc("420606"), "420600"),
        key_entry("catalogue", KeyUse.CATALOGUE, uscc("420606"), "420600"),
        key_entry("receipt", KeyUse.RECEIPT, "420600", "420600"),
        key_entry("ping", KeyUse.PING, uscc("420600"), "420600"),
    ],
    links=[("420000", "430000"), ("420700", "430600")],
)
HUNAN = province(
    "43",
    [hub("430000", "43", "42"), node("430100"), node("430600")],
    links=[("430000", "420000")],
)


def changed(payload: DirectoryPayload, **changes: Any) -> DirectoryPayload:
    return payload.model_copy(update=changes)


def refusal(payload: DirectoryPayload) -> str:
    with pytest.raises(RefusedError) as caught:
        opened(payload)
    assert caught.value.reason is Reason.DOCUMENT_INVALID
    return caught.value.detail


# --- opening one province's document


def test_a_document_comes_out_as_it_was_signed_with_its_keys() -> None:
    octets = sign(HUBEI)
    document = opened(HUBEI).directory
    assert document.payload == HUBEI
    assert document.octets == octets
    assert document.digest == hashlib.sha256(octets).hexdigest()
    envelope = document.keys[0]
    assert (envelope.use, envelope.owner, envelope.node) == (
        KeyUse.ENVELOPE,
        uscc("420606"),
        "420600",
    )
    assert envelope.key.key_id == make_key("envelope").public.key_id
    assert (envelope.not_before_ms, envelope.not_after_ms, envelope.revoked_ms) == (
        ISSUED_MS,
        END_MS,
        None,
    )


def put(payload: bytes) -> DirectoryDocument:
    """Open a directory with these very octets as its payload."""
    octets = sign_document(DIRECTORY_TYPE, payload, directory_keys("42"))
    fresh = sign_freshness(freshness_payload(HUBEI, octets))
    return open_province([root("42"), octets, fresh], pin(root("42"))).directory


MISSING = object()
WRONG: list[tuple[tuple[str | int, ...], object]] = [
    (("extra",), 1),
    (("version",), "1"),
    (("version",), 0),
    (("version",), 1.0),
    (("version",), 2**53),
    (("environment",), "test"),
    (("prefix",), "\uff142"),
    (("links",), MISSING),
    (("nodes", 1, "url"), "http://127.0.0.1:1"),
    (("nodes", 1, "url"), "https://a@b:1"),
    (("nodes", 1, "url"), "https://b:65536"),
    (("nodes", 1, "url"), "https://b:1/x"),
    (("nodes", 1, "certificate"), "MA"),
    (("nodes", 1, "certificate"), "MB=="),
    (("nodes", 1, "certificate"), "AAAA"),
    (("nodes", 1, "role"), "root"),
    (("authorities", 2, "uscc"), uscc("420600")[:17] + "0"),
    (("authorities", 2, "name"), "甲\u202e乙"),
    (("authorities", 2, "name"), ""),
    (("keys", 0, "suite"), "rsa"),
]


@pytest.mark.spec("SD-8")
@pytest.mark.parametrize(("steps", "value"), WRONG, ids=[ascii(row) for row in WRONG])
def test_a_wrong_value_is_refused_with_its_place(
    steps: tuple[str | int, ...], value: object
) -> None:
    tree = json.loads(write_payload(HUBEI))
    *above, last = steps
    row = tree
    for step in above:
        row = row[step]
    row.pop(last, None)
    if value is not MISSING:
        row[last] = value
    octets = json.dumps(tree, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(RefusedError) as caught:
        put(octets)
    assert caught.value.reason is Reason.DOCUMENT_INVALID
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    assert caught.value.detail.startswith(place.removeprefix(".") + ": ")


TWISTS: dict[str, Callable[[bytes], bytes]] = {
    "a member twice": lambda octets: octets.replace(b'"version":1', b'"version":1,"version":1'),
    "white space": lambda octets: octets.replace(b'"version":1', b'"version": 1'),
    "escapes": lambda octets: octets.replace("武汉".encode(), b"\\u6b66\\u6c49"),
    "an end of line": lambda octets: octets + b"\n",
    "another order": lambda octets: json.dumps(
        dict(reversed(json.loads(octets).items())), ensure_ascii=False, separators=(",", ":")
    ).encode(),
}


@pytest.mark.spec("SD-7", "SD-8")
@pytest.mark.parametrize("name", TWISTS)
def test_another_form_of_the_same_payload_is_refused(name: str) -> None:
    octets = TWISTS[name](write_payload(HUBEI))
    assert octets != write_payload(HUBEI)
    with pytest.raises(RefusedError, match="one form"):
        put(octets)


OUTSIDE: dict[str, dict[str, Any]] = {
    "regions": {"regions": (*HUBEI.regions, RegionEntry(code="430100", name="长沙", parent=None))},
    "nodes": {"nodes": (*HUBEI.nodes, node("430100"))},
    "serves": {"nodes": (*HUBEI.nodes[:3], node("420700", serves=("430100",)))},
    "authorities": {"authorities": (*HUBEI.authorities, authority("430100"))},
    "circles": {"circles": (CircleEntry(name="大圈", regions=("420100", "430100")),)},
    "keys": {"keys": (key_entry("x", KeyUse.RECEIPT, "430100", "430100"),)},
    "links": {"links": (("430000", "420000"),)},
}


@pytest.mark.spec("DI-4")
@pytest.mark.parametrize("where", OUTSIDE)
def test_nothing_outside_its_own_prefix_is_believed(where: str) -> None:
    detail = refusal(changed(HUBEI, **OUTSIDE[where]))
    assert where in detail
    assert "lies outside 42" in detail


@pytest.mark.spec("DI-2")
@pytest.mark.parametrize("member", ["regions", "circles", "authorities", "nodes", "keys", "links"])
def test_nothing_stands_there_twice(member: str) -> None:
    rows = getattr(HUBEI, member)
    assert "2 times" in refusal(changed(HUBEI, **{member: (*rows, rows[0])}))


def test_a_link_turned_round_is_the_same_link() -> None:
    within = (("420100", "420600"), ("420600", "420100"))
    assert "2 times" in refusal(changed(HUBEI, links=within))


@pytest.mark.spec("DI-4")
@pytest.mark.parametrize("prefix", ["42", "43"])
def test_a_certificate_is_listed_only_for_the_node_it_names(prefix: str) -> None:
    twin = node(f"{prefix}0500", certificate=HUBEI.nodes[1].certificate)
    assert f"does not name {prefix}0500" in refusal(province(prefix, [twin]))


def test_what_is_no_certificate_is_refused() -> None:
    payload = province("42", [node("420100", certificate=b"\x30")])
    with pytest.raises(RefusedError, match=r"X\.509") as caught:
        opened(payload)
    assert caught.value.reason is Reason.DOCUMENT_INVALID


MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "it ends before it begins": ({"expires_ms": ISSUED_MS}, "expires_ms"),
    "no province at the top": ({"regions": HUBEI.regions[1:]}, "parent"),
    "two tops": (
        {"regions": (*HUBEI.regions, RegionEntry(code="420500", name="宜昌", parent=None))},
        "parent",
    ),
    "a parent that is not there": (
        {"regions": (*HUBEI.regions, RegionEntry(code="420502", name="西陵", parent="420500"))},
        "420500 is not listed",
    ),
    "a region above itself": (
        {
            "regions": (
                *HUBEI.regions,
                RegionEntry(code="420500", name="甲", parent="420502"),
                RegionEntry(code="420502", name="乙", parent="420500"),
            )
        },
        "above itself",
    ),
    "a circle of nowhere": (
        {"circles": (CircleEntry(name="圈", regions=("420900",)),)},
        "420900 is not listed",
    ),
    "an authority without its node": (
        {"authorities": (*HUBEI.authorities, authority("420100", 9, node_id="420900"))},
        "420900 is not listed",
    ),
    "an authority where its node does not serve": (
        {"authorities": (*HUBEI.authorities, authority("420600", 9, node_id="420100"))},
        "does not serve",
    ),
    "a node without its operator": (
        {"nodes": (*HUBEI.nodes[:3], node("420700", operator=uscc("420100")))},
        "operator",
    ),
    "a node that serves nowhere": (
        {"nodes": (*HUBEI.nodes[:3], node("420700", serves=("420700", "420900")))},
        "420900 is not listed",
    ),
    "a hub for nobody": (
        {"nodes": (*HUBEI.nodes[:3], node("420700", role="hub"))},
        "forwards_for",
    ),
    "a node that forwards": (
        {"nodes": (*HUBEI.nodes[:3], node("420700", forwards_for=("42",)))},
        "forwards_for",
    ),
    "a link to itself": ({"links": (("420100", "420100"),)}, "links[0]"),
    "a link from nowhere": ({"links": (("420900", "430000"),)}, "links[0]"),
    "a link to nowhere inside": ({"links": (("420100", "420900"),)}, "links[0]"),
}


@pytest.mark.spec("DI-2")
@pytest.mark.parametrize("name", MISFITS)
def test_parts_that_do_not_fit_together_are_refused(name: str) -> None:
    changes, place = MISFITS[name]
    assert place in refusal(changed(HUBEI, **changes))


def heir(region: str, number: int, *gone: str) -> AuthorityEntry:
    succeeds = tuple(Succession(uscc=row, since_ms=ISSUED_MS) for row in gone)
    return authority(region, number).model_copy(update={"succeeds": succeeds})


@pytest.mark.spec("DI-15")
@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([heir("420600", 1, uscc("429900"))], "is not listed at 420600"),
        ([heir("420600", 1, uscc("420100"))], "is not listed at 420600"),
        ([heir("420600", 1, uscc("430100"))], "is not listed at 420600"),
        ([heir("420600", 1, uscc("420600", 1))], "succeeds itself"),
        ([heir("420600", 1, uscc("420600")), heir("420600", 2, uscc("420600"))], "already"),
        ([heir("420600", 1, uscc("420600", 2)), heir("420600", 2, uscc("420600", 1))], "itself"),
    ],
)
def test_a_succession_has_one_heir_at_the_node_of_the_cases(
    rows: list[AuthorityEntry], words: str
) -> None:
    assert words in refusal(changed(HUBEI, authorities=(*HUBEI.authorities, *rows)))


@pytest.mark.spec("DI-15")
def test_an_heir_of_an_heir_stands_in_its_place_from_its_own_instant() -> None:
    second = authority("420600", 2).model_copy(
        update={"succeeds": (Succession(uscc=uscc("420600", 1), since_ms=ISSUED_MS + 10),)}
    )
    rows = (*HUBEI.authorities, heir("420600", 1, uscc("420600")), second)
    view = merged(changed(HUBEI, authorities=rows))
    for at_ms, number in ((ISSUED_MS - 1, 0), (ISSUED_MS, 1), (ISSUED_MS + 10, 2)):
        assert view.heir(uscc("420600"), "420600", at_ms) == uscc("420600", number)
    lineage = {uscc("420600", number) for number in range(3)}
    assert set(view.lineage(uscc("420600", 2), "42", ISSUED_MS + 10)) == lineage
    assert view.heir(uscc("420600"), "430000", ISSUED_MS) == uscc("420600")


KEYS: dict[str, dict[str, Any]] = {
    ".id": {"id": make_key("other").public.key_id},
    ".spki": {"spki": b"\x30\x00"},
    ".not_after_ms": {"not_after_ms": ISSUED_MS},
    ".node": {"node": "420900"},
}


@pytest.mark.spec("SG-5")
@pytest.mark.parametrize("place", KEYS)
def test_a_malformed_key_is_refused(place: str) -> None:
    key = key_entry("envelope", KeyUse.ENVELOPE, uscc("420606"), "420600", **KEYS[place])
    assert f"keys[0]{place}" in refusal(changed(HUBEI, keys=(key,)))


@pytest.mark.spec("DI-2", "SU-8")
@pytest.mark.parametrize(
    ("use", "owner", "node_id"),
    [
        (KeyUse.ENVELOPE, uscc("420800"), "420600"),
        (KeyUse.ENVELOPE, uscc("420606"), "420100"),
        (KeyUse.ENVELOPE, "420600", "420600"),
        (KeyUse.CATALOGUE, uscc("420606"), "420100"),
        (KeyUse.RECEIPT, "420100", "420600"),
        (KeyUse.RECEIPT, uscc("420600"), "420600"),
        (KeyUse.CARRIER, "420100", "420600"),
        (KeyUse.PING, uscc("420606"), "420600"),
        (KeyUse.PING, "420600", "420600"),
        (KeyUse.DIRECTORY, uscc("420600"), "420600"),
    ],
)
def test_a_key_belongs_to_whoever_may_hold_it(use: KeyUse, owner: str, node_id: str) -> None:
    key = key_entry("k", use, owner, node_id)
    assert "keys[0].owner" in refusal(changed(HUBEI, keys=(key,)))


# --- the merged view


def test_the_view_finds_what_each_province_lists() -> None:
    view = merged(HUNAN, HUBEI)
    assert list(view.provinces) == ["42", "43"]
    assert view.environment == "trial"
    assert view.node("420600") == HUBEI.nodes[2]
    assert view.node("440100") is None
    assert view.authority(uscc("420606"), "420000") == HUBEI.authorities[4]
    assert view.authority(uscc("420606"), "430000") is None
    assert view.authority(uscc("999999"), "420000") is None
    region = view.region("430600")
    assert region is not None
    assert region.name == "地区430600"
    assert view.region("440100") is None


def test_counties_of_a_province_have_no_prefecture_above_them() -> None:
    view = merged(HUBEI)
    assert view.chain("420606") == ("420606", "420600", "420000")
    assert view.chain("429004") == ("429004", "420000")
    assert view.chain("430100") == ()


def test_zones_are_known_in_their_region_and_below() -> None:
    view = merged(HUBEI)
    assert view.zones("420106") == ("东湖高新",)
    assert view.zones("420100") == ("东湖高新",)
    assert view.zones("420600") == ()


def test_nodes_of_a_circle_link_directly_and_others_through_their_hub() -> None:
    view = merged(HUBEI, HUNAN)
    assert view.circles("420700") == {("42", "武汉都市圈")}
    assert view.linked("420100", "420700")
    assert view.linked("420700", "420100")
    assert not view.linked("420100", "420600")
    assert view.linked("420600", "420000")
    assert view.linked("420000", "420600")
    assert view.hubs("420600") == ("420000",)
    assert view.hubs("420000") == ()
    assert not view.linked("420100", "420100")
    assert not view.linked("420100", "440100")


def test_a_county_of_the_circle_brings_its_node_into_the_circle() -> None:
    view = merged(changed(HUBEI, circles=(CircleEntry(name="圈", regions=("420106", "420700")),)))
    assert view.linked("420100", "420700")
    view = merged(changed(HUBEI, circles=(CircleEntry(name="圈", regions=("420000",)),)))
    assert view.linked("420100", "420600"), "a region brings those below it"


def test_equal_names_of_circles_in_two_provinces_are_two_circles() -> None:
    circle = (CircleEntry(name="圈", regions=("420100",)),)
    other = (CircleEntry(name="圈", regions=("430100",)),)
    view = merged(changed(HUBEI, circles=circle), changed(HUNAN, circles=other))
    assert not view.linked("420100", "430100")


def test_a_link_across_provinces_counts_only_if_both_list_it() -> None:
    view = merged(HUBEI, HUNAN)
    assert view.linked("420000", "430000")
    assert not view.linked("420700", "430600"), "only Hubei lists it"
    both = changed(HUNAN, links=(("430000", "420000"), ("430600", "420700")))
    assert merged(HUBEI, both).linked("430600", "420700")


@pytest.mark.spec("DI-3")
def test_nodes_that_cannot_be_dialled_are_linked_all_the_same() -> None:
    silent = [node(row, url=None) for row in ("420100", "420600")]
    view = merged(province("42", silent, links=[("420100", "420600")]))
    assert [row.url for row in view.nodes.values()] == [None, None]
    assert view.linked("420100", "420600"), "another carrier may serve the link"


def test_a_link_inside_a_province_is_listed_once() -> None:
    assert merged(changed(HUBEI, links=(("420700", "420600"),))).linked("420600", "420700")


@pytest.mark.spec("EX-2")
@pytest.mark.parametrize(
    ("peer", "from_node", "here", "allowed"),
    [
        ("420100", "420100", "420700", True),
        ("420100", "420600", "420700", False),
        ("420000", "420100", "420600", True),
        ("420000", "420100", "430000", True),
        ("420000", "430100", "420600", True),
        ("420000", "430100", "430600", False),
        ("430000", "420100", "430100", True),
        ("430000", "420100", "420600", False),
        ("430000", "430100", "420000", True),
        ("420000", "440100", "420600", False),
        ("440000", "440100", "420000", False),
        ("440000", "440000", "420000", True),
    ],
)
def test_a_peer_presents_only_what_it_forwards_for(
    peer: str, from_node: str, here: str, *, allowed: bool
) -> None:
    assert merged(HUBEI, HUNAN).may_forward(peer, from_node, here) is allowed


def test_the_trust_set_holds_every_key_and_another_set_has_another_version() -> None:
    foreign = changed(HUNAN, keys=(key_entry("r", KeyUse.RECEIPT, "430100", "430100"),))
    view = merged(HUBEI, foreign)
    record = view.trust.key(make_key("r").public.key_id, "430100")
    assert record is not None
    assert record.owner == "430100"
    assert len(view.trust.records) == len(HUBEI.keys) + 1
    assert merged(changed(HUBEI, version=2), foreign).trust.version != view.trust.version


@pytest.mark.spec("DI-4")
def test_what_two_provinces_claim_is_two_things_and_takes_nothing_from_either() -> None:
    stolen = HUBEI.authorities[1].model_copy(update={"region": "430100", "node": "430100"})
    key = key_entry("envelope", KeyUse.ENVELOPE, stolen.uscc, "430100")
    claims = changed(HUNAN, authorities=(*HUNAN.authorities, stolen), keys=(key,))
    view = merged(claims, HUBEI)
    assert view.authority(stolen.uscc, "42") == HUBEI.authorities[1]
    assert view.authority(stolen.uscc, "430600") == stolen
    ours, theirs = view.trust.key(key.id, "420600"), view.trust.key(key.id, "430100")
    assert ours is not None
    assert (ours.owner, ours.node) == (uscc("420606"), "420600")
    assert theirs is not None
    assert theirs.node == "430100"


def test_a_province_speaks_once() -> None:
    with pytest.raises(RefusedError, match="prefix"):
        merged(HUBEI, changed(HUBEI, version=2))


def test_trial_and_production_do_not_mix() -> None:
    with pytest.raises(RefusedError) as caught:
        merged(HUBEI, changed(HUNAN, environment="production"))
    assert caught.value.reason is Reason.ENVIRONMENT_MISMATCH


def test_a_directory_of_nothing_is_our_bug() -> None:
    with pytest.raises(LocalUseError):
        Directory.merge([])
