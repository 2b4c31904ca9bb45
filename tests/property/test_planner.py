from __future__ import annotations

from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import UnavailableError
from protocol.limits import MAX_HOPS
from routing.planner import Plan, plan
from tests.unit.routing.provinces import hub, merged, node, province

if TYPE_CHECKING:
    from routing.directory import Directory
    from routing.directory_document import DirectoryPayload

PREFIXES = ("42", "43", "44")
CITIES = ("0100", "0200", "0300", "0600")


@st.composite
def federations(draw: st.DrawFn) -> Directory:
    """Up to three provinces: hubs, circles, and links whose other half may be missing."""
    prefixes = draw(st.lists(st.sampled_from(PREFIXES), min_size=1, unique=True))
    cities = {
        prefix: [prefix + city for city in draw(st.lists(st.sampled_from(CITIES), unique=True))]
        for prefix in prefixes
    }
    hubs = {
        prefix: [prefix + end for end in draw(st.permutations(("0000", "0001")))][
            : draw(st.integers(0, 2))
        ]
        for prefix in prefixes
    }
    everyone = sorted(code for codes in (*cities.values(), *hubs.values()) for code in codes)
    pairs = [pair for pair in combinations(everyone, 2) if draw(st.booleans())]
    return merged(*(_province(draw, p, hubs[p], cities[p], pairs) for p in prefixes))


def _province(
    draw: st.DrawFn, prefix: str, hubs: list[str], cities: list[str], pairs: list[tuple[str, str]]
) -> DirectoryPayload:
    brings_in = st.sets(st.sampled_from((*PREFIXES, prefix + "01")), min_size=1)
    own = [pair if pair[0].startswith(prefix) else pair[::-1] for pair in pairs]
    return province(
        prefix,
        [
            *(hub(code, *sorted(draw(brings_in))) for code in hubs),
            *(node(code) for code in cities),
        ],
        circles={"圈": tuple(sorted(draw(st.sets(st.sampled_from(cities)))))} if cities else {},
        links=[
            (one, other) for one, other in own if one.startswith(prefix) and draw(st.integers(0, 4))
        ],
    )


@st.composite
def journeys(draw: st.DrawFn) -> tuple[Directory, str, str, frozenset[str], tuple[str, ...]]:
    """A directory, two nodes of it (or strangers), what is down, and where the message has been."""
    directory = draw(federations())
    nodes = st.sampled_from([*directory.nodes, "450100"])
    path = draw(st.lists(nodes, max_size=MAX_HOPS + 1, unique=True))
    return directory, draw(nodes), draw(nodes), frozenset(draw(st.sets(nodes))), tuple(path)


def planned(
    directory: Directory, here: str, to_node: str, down: frozenset[str], path: tuple[str, ...]
) -> Plan | None:
    try:
        return plan(directory, here, to_node, down, path)
    except UnavailableError:
        return None


@pytest.mark.spec("RT-4", "RT-6", "RT-7", "RT-8")
@given(journeys())
def test_every_route_keeps_every_rule(
    journey: tuple[Directory, str, str, frozenset[str], tuple[str, ...]],
) -> None:
    directory, here, to_node, _down, path = journey
    found = planned(*journey)
    for route in found.alternates if found else ():
        nodes = route.nodes
        assert (nodes[0], nodes[-1]) == (here, to_node)
        assert len({*path, *nodes}) == len(path) + len(nodes), "no node twice"
        assert len(path) + route.hops <= MAX_HOPS
        origin = path[0] if path else here
        for one, other in pairwise(nodes):
            assert directory.linked(one, other), "every hop is a listed link"
            assert directory.may_forward(one, origin, other), "the receiver lets it in"
        for between in nodes[1:-1]:
            row = directory.node(between)
            assert row is not None
            assert row.role == "hub", "only hubs stand between"
        first = directory.node(here)
        if route.hops > 1 and first is not None and first.role == "node":
            assert nodes[1] in directory.hubs(here), "nobody goes round their own hub"


@pytest.mark.spec("RT-11")
@given(journeys())
def test_the_order_is_fixed_and_what_is_down_comes_last(
    journey: tuple[Directory, str, str, frozenset[str], tuple[str, ...]],
) -> None:
    directory, here, to_node, down, path = journey
    found = planned(*journey)
    assert planned(*journey) == found
    calm = planned(directory, here, to_node, frozenset(), path)
    if found is None or calm is None:
        assert found is calm, "nothing vanishes because it is down"
        return
    assert set(found.alternates) == set(calm.alternates)
    assert len(set(found.alternates)) == len(found.alternates)
    hit = [
        (route.next_hop in down, len(down.intersection(route.nodes[1:])))
        for route in found.alternates
    ]
    assert hit == sorted(hit)
    assert [route.hops for route in calm.alternates] == sorted(r.hops for r in calm.alternates)


@given(journeys())
def test_the_own_node_and_a_direct_link_are_always_found_and_first(
    journey: tuple[Directory, str, str, frozenset[str], tuple[str, ...]],
) -> None:
    directory, here, to_node, _, _ = journey
    found = planned(directory, here, to_node, frozenset(), ())
    if here == to_node and directory.node(here) is not None:
        assert found is not None
        assert found.alternates[0].nodes == (here,)
    elif directory.linked(here, to_node):
        assert found is not None
        assert found.alternates[0].nodes == (here, to_node)


@given(federations())
def test_a_link_holds_both_ways(directory: Directory) -> None:
    for one in directory.nodes:
        for other in directory.nodes:
            assert directory.linked(one, other) is directory.linked(other, one)
