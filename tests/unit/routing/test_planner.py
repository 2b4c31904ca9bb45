from __future__ import annotations

import pytest

from protocol.errors import UnavailableError
from protocol.reasons import Reason
from routing.planner import Route, plan
from tests.unit.routing.provinces import hub, merged, node, province

HUBEI_LINKS = [("420000", "430000"), ("420700", "430600")]
HUNAN_LINKS = [("430000", "420000"), ("430600", "420700")]
HUBEI = province(
    "42",
    [hub("420000", "42", "43"), *(node(code) for code in ("420100", "420600", "420700"))],
    circles={"武汉都市圈": ("420100", "420700")},
    links=HUBEI_LINKS,
)
HUNAN = province(
    "43", [hub("430000", "43", "42"), node("430100"), node("430600")], links=HUNAN_LINKS
)
VIEW = merged(HUBEI, HUNAN)

# Two hubs on each side, every hub linked to both of the other side.
PAIRS = [(a, b) for a in ("420000", "420001") for b in ("430000", "430001")]
DOUBLE = merged(
    province(
        "42", [hub("420001", "42", "43"), hub("420000", "42", "43"), node("420100")], links=PAIRS
    ),
    province(
        "43",
        [hub("430000", "43", "42"), hub("430001", "43", "42"), node("430100")],
        links=[(b, a) for a, b in PAIRS],
    ),
)


def routes(here: str, to_node: str, *down: str, path: str = "") -> list[str]:
    found = plan(VIEW, here, to_node, frozenset(down), tuple(path.split()))
    return [" ".join(route.nodes) for route in found.alternates]


def failure(here: str, to_node: str, path: str = "") -> Reason:
    with pytest.raises(UnavailableError) as caught:
        plan(VIEW, here, to_node, path=tuple(path.split()))
    return caught.value.reason


def test_the_own_node_is_no_way_at_all() -> None:
    assert routes("420100", "420100") == ["420100"]
    assert Route(("420100",)).next_hop == "420100"
    assert Route(("420100",)).hops == 0


def test_inside_the_circle_the_way_is_direct_and_the_hub_is_the_alternate() -> None:
    assert routes("420100", "420700") == ["420100 420700", "420100 420000 420700"]


def test_across_the_province_the_way_leads_through_the_hub() -> None:
    assert routes("420100", "420600") == ["420100 420000 420600"]
    assert plan(VIEW, "420100", "420600").alternates[0].next_hop == "420000"


def test_across_provinces_the_way_leads_from_hub_to_hub() -> None:
    assert routes("420100", "430100") == ["420100 420000 430000 430100"]
    assert routes("430100", "420600") == ["430100 430000 420000 420600"]
    assert routes("420100", "430000") == ["420100 420000 430000"]
    assert routes("420000", "430100") == ["420000 430000 430100"]


def test_a_bilateral_link_is_taken_first_by_its_own_ends() -> None:
    assert routes("420700", "430600") == ["420700 430600", "420700 420000 430000 430600"]
    assert routes("420100", "430600") == ["420100 420000 430000 430600"], "no one else's shortcut"


@pytest.mark.spec("RT-8")
def test_a_link_to_a_foreign_hub_is_no_way_round_the_own_hub() -> None:
    linked = province(
        "42",
        [hub("420000", "42", "43"), node("420100")],
        links=[("420000", "430000"), ("420100", "430000")],
    )
    back = province(
        "43",
        [hub("430000", "43", "42"), node("430100")],
        links=[("430000", "420000"), ("430000", "420100")],
    )
    view = merged(linked, back)
    assert plan(view, "420100", "430000").alternates[0].nodes == ("420100", "430000")
    assert [route.nodes for route in plan(view, "420100", "430100").alternates] == [
        ("420100", "420000", "430000", "430100")
    ]


@pytest.mark.spec("RT-11")
def test_a_node_that_is_down_moves_its_ways_to_the_end() -> None:
    direct, *others = routes("420700", "430600")
    assert direct == "420700 430600"
    assert routes("420700", "430600", "430600") == [*others, direct], "it may answer the others"
    assert routes("420100", "420700", "420000") == routes("420100", "420700")
    assert routes("420100", "420600", "420000") == ["420100 420000 420600"], "the news may be old"


def test_alternates_avoid_the_hub_that_is_down() -> None:
    found = plan(DOUBLE, "420100", "430100", frozenset({"420001", "430000"}))
    assert [route.nodes for route in found.alternates[:1]] == [
        ("420100", "420000", "430001", "430100")
    ]
    assert len(found.alternates) == len(plan(DOUBLE, "420100", "430100").alternates)


@pytest.mark.spec("RT-11")
def test_hubs_are_taken_in_the_order_their_province_lists_them() -> None:
    found = [route.nodes for route in plan(DOUBLE, "420100", "430100").alternates]
    assert found[:4] == [
        ("420100", "420001", "430000", "430100"),
        ("420100", "420001", "430001", "430100"),
        ("420100", "420000", "430000", "430100"),
        ("420100", "420000", "430001", "430100"),
    ]
    assert ("420100", "420001", "420000", "430000", "430100") in found[4:]


@pytest.mark.spec("RT-8")
def test_no_way_passes_a_node_twice() -> None:
    for route in plan(DOUBLE, "420100", "430000").alternates:
        assert len(set(route.nodes)) == len(route.nodes)


def test_a_hub_goes_on_from_where_the_message_is() -> None:
    assert routes("420000", "430100", path="420100") == ["420000 430000 430100"]
    assert routes("430000", "430100", path="420100 420000") == ["430000 430100"]


@pytest.mark.spec("RT-3")
def test_no_way_leads_back_through_a_node_the_message_has_passed() -> None:
    assert failure("420000", "430100", path="420100 430000") is Reason.NO_ROUTE
    assert failure("420000", "420100", path="420100") is Reason.NO_ROUTE
    assert failure("420000", "430100", path="420100 420000") is Reason.LOOP


@pytest.mark.spec("RT-4")
def test_the_hops_behind_it_count() -> None:
    assert routes("430000", "430100", path="420100 420700 420000") == ["430000 430100"]
    assert failure("430000", "430100", path="420100 420700 420600 420000") is Reason.PATH_TOO_LONG


@pytest.mark.spec("RT-1", "RT-8")
def test_a_plain_node_forwards_for_nobody() -> None:
    assert failure("420700", "420100", path="420600") is Reason.NO_ROUTE


@pytest.mark.spec("RT-7")
def test_a_hub_that_is_not_listed_to_bring_messages_in_is_no_way() -> None:
    closed = province("43", [hub("430000", "43"), node("430100")], links=HUNAN_LINKS[:1])
    view = merged(HUBEI, closed)
    assert plan(view, "420100", "430000").alternates
    with pytest.raises(UnavailableError):
        plan(view, "420100", "430100")


@pytest.mark.spec("RT-6")
def test_a_link_only_one_province_lists_is_no_way() -> None:
    view = merged(HUBEI, province("43", [hub("430000", "43", "42"), node("430100")]))
    with pytest.raises(UnavailableError, match="no-route"):
        plan(view, "420100", "430100")


@pytest.mark.spec("RT-2")
def test_where_nobody_listed_lives_no_way_leads() -> None:
    assert failure("420100", "440100") is Reason.NO_ROUTE
    assert failure("440100", "420100") is Reason.NO_ROUTE
    assert failure("440100", "440100") is Reason.NO_ROUTE
