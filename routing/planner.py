"""Which way leads there: routes between nodes, best first (选路).

A pure function of the directory, of what is believed to be down, and of the nodes a message has
passed. The rules:

    * every hop is a link of the directory: circle, own hub, or listed                       RT-2
    * whoever receives may receive it: the hand-over passes the receiver's ingress filter     EX-2
    * between the ends stand hubs only, of the origin's or the destination's province: a node
      that does not link directly to the destination goes through its own hub                 RT-2
    * no node twice, none that the message has passed                                         RT-3
    * at most `MAX_HOPS` hops, those behind it counted                                        RT-4

Order: local, direct, own hub, hub to hub, then longer ones; hubs in the order their province lists
them. Routes whose next hop is down come last, and of the others those over more nodes that are:
what a node knows for certain is its own links. None vanishes, for the news may be old.

Source: design section 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.errors import UnavailableError
from protocol.limits import MAX_HOPS
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routing.directory import Directory


@dataclass(frozen=True, slots=True)
class Route:
    """One way: the node ids from here to the destination, both included; one node when local."""

    nodes: tuple[str, ...]

    @property
    def next_hop(self) -> str:
        """The node to hand the message to; this node itself when the route is local."""
        return self.nodes[min(1, len(self.nodes) - 1)]

    @property
    def hops(self) -> int:
        """How often the message changes hands from here on."""
        return len(self.nodes) - 1


@dataclass(frozen=True, slots=True)
class Plan:
    """The routes to a destination, best first; never empty."""

    alternates: tuple[Route, ...]


def plan(
    directory: Directory,
    here: str,
    to_node: str,
    down: frozenset[str] = frozenset(),
    path: tuple[str, ...] = (),
) -> Plan:
    """All permitted routes from here to a node.

    Args:
        directory: The view in force.
        here: This node.
        to_node: The destination node.
        down: Nodes believed to be out of reach.
        path: The nodes the message has passed before this one, origin first.

    Raises:
        UnavailableError: NO_ROUTE; LOOP: it has been here before; PATH_TOO_LONG: it would get there
            only with more hops than allowed. All may change with the directory or from elsewhere.
    """
    if here in path:
        raise UnavailableError(Reason.LOOP, f"{here} is on the path {' '.join(path)}")
    origin = path[0] if path else here
    found = [
        Route(nodes)
        for nodes in _ways(directory, (here,), to_node, origin)
        if not set(path).intersection(nodes)
    ]
    routes = [route for route in found if len(path) + route.hops <= MAX_HOPS]
    if not routes:
        reason = Reason.PATH_TOO_LONG if found else Reason.NO_ROUTE
        raise UnavailableError(reason, f"from {here} to {to_node} after {len(path)} hops")
    # Sorting is stable: what is equal stays in the order the province lists its hubs.
    routes.sort(
        key=lambda route: (
            route.next_hop in down,
            len(down.intersection(route.nodes[1:])),
            route.hops,
        )
    )
    return Plan(tuple(routes))


def _ways(
    directory: Directory, route: tuple[str, ...], to_node: str, origin: str
) -> Iterator[tuple[str, ...]]:
    """Every completion of a route that breaks none of the first three rules, hubs as listed."""
    last = route[-1]
    if last == to_node and directory.node(to_node) is not None:
        yield route
    if last == to_node or len(route) > MAX_HOPS:
        return
    for node in dict.fromkeys((to_node, *_forwarders(directory, route, to_node))):
        if (
            node not in route
            and directory.linked(last, node)
            and directory.may_forward(last, origin, node)
        ):
            yield from _ways(directory, (*route, node), to_node, origin)


def _forwarders(directory: Directory, route: tuple[str, ...], to_node: str) -> tuple[str, ...]:
    """The hubs that may stand behind the last node of a route."""
    here = directory.node(route[0])
    own = directory.hubs(route[0])
    if len(route) == 1 and here is not None and here.role == "node":
        return own
    return (*own, *directory.hubs(to_node))
