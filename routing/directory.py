"""The directory: nodes, authorities, regions, circles, keys and links of all provinces (节点目录).

Where a province's documents come from and why they are believed stands beside this module:

    directory_document, directory_rules    what a province says, and what must hold inside it
    directory_roles                        who signs: root, directory, freshness; the trust anchor
    directory_province                     its documents as one consistent set
    directory_memory                       no way back to an older one
    directory_views                        what peers compare, to find split views

`Directory.merge` makes the view everybody else works with. What a province says counts for its own
nodes: keys are looked up by (province, key id), authorities by (province, USCC), and a certificate
names the node it is listed for. So two provinces that claim the same have said two things, and
neither takes anything from the other (DI-4). No view changes; a newer set makes a new one.

Source: design section 7.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from protocol.errors import LocalUseError, RefusedError
from protocol.identifiers import province_of
from protocol.limits import DEFAULT_GRACE_MS
from protocol.reasons import Reason
from routing.directory_views import ProvinceView
from routing.payload import refuse_if_any, repeated
from signing.trust import TrustSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from protocol.envelope import Environment
    from routing.directory_document import (
        AuthorityEntry,
        DirectoryPayload,
        NodeEntry,
        RegionEntry,
    )
    from routing.directory_province import Province
    from routing.directory_views import View

Circle: TypeAlias = tuple[str, str]
"""A circle by province prefix and name."""


class Standing(StrEnum):
    """How far a province's documents can be believed at an instant (DI-12).

    FRESH: in their time. GRACE: expired; known keys go on, with an alarm. STALE: too old to decide
    anything; whatever concerns the province waits.
    """

    FRESH = "fresh"
    GRACE = "grace"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Directory:
    """All provinces' documents as one view; made by `merge`, never changed.

    Attributes:
        environment: The one all documents share.
        provinces: Their sets of documents, by prefix.
        grace_ms: How long known keys go on after a set has expired.
        trust: Every registered key, whatever the time; for what is live use `trust_at`.
        nodes: By node id; a province's own order, provinces by prefix.
        authorities: By (province prefix, USCC).
        regions: By code.
    """

    environment: Environment
    provinces: Mapping[str, Province]
    grace_ms: int
    trust: TrustSet
    nodes: Mapping[str, NodeEntry]
    authorities: Mapping[tuple[str, str], AuthorityEntry]
    regions: Mapping[str, RegionEntry]
    _hubs: Mapping[str, tuple[str, ...]]
    _circles: Mapping[str, frozenset[Circle]]
    _links: frozenset[frozenset[str]]
    _zones: Mapping[str, frozenset[str]]
    _struck: frozenset[str]
    _heirs: Mapping[tuple[str, str], tuple[str, int]]

    @classmethod
    def merge(cls, provinces: Iterable[Province], grace_ms: int = DEFAULT_GRACE_MS) -> Directory:
        """The view of these sets, one per province.

        Args:
            provinces: At least one.
            grace_ms: How long known keys go on after a set has expired.

        Raises:
            RefusedError: DOCUMENT_INVALID: two sets of one province; ENVIRONMENT_MISMATCH.
            LocalUseError: no set at all.
        """
        held = sorted(provinces, key=lambda province: province.prefix)
        if not held:
            message = "a directory needs at least one province's documents"
            raise LocalUseError(message)
        payloads = [province.payload for province in held]
        environments = sorted({payload.environment for payload in payloads})
        if len(environments) > 1:
            raise RefusedError(Reason.ENVIRONMENT_MISMATCH, "directories of both environments")
        nodes = [row for payload in payloads for row in payload.nodes]
        authorities = [row for payload in payloads for row in payload.authorities]
        refuse_if_any(repeated("prefix", [payload.prefix for payload in payloads]))
        regions = {row.code: row for payload in payloads for row in payload.regions}
        return cls(
            environment=environments[0],
            provinces=MappingProxyType({province.prefix: province for province in held}),
            grace_ms=grace_ms,
            trust=TrustSet.of(
                (record for province in held for record in province.records()),
                version=_version(held),
            ),
            nodes=MappingProxyType({row.id: row for row in nodes}),
            authorities=MappingProxyType(
                {(province_of(row.node), row.uscc): row for row in authorities}
            ),
            regions=MappingProxyType(regions),
            _hubs={row.id: _hubs(row.id, nodes) for row in nodes},
            _circles=_circles(payloads, regions),
            _links=_links(payloads),
            _zones=_zones(authorities),
            _heirs=_heirs(authorities),
            _struck=frozenset[str]().union(*(province.struck() for province in held)),
        )

    def node(self, node_id: str) -> NodeEntry | None:
        """The node with this id, if listed."""
        return self.nodes.get(node_id)

    def authority(self, uscc: str, place: str) -> AuthorityEntry | None:
        """The authority a province lists under this USCC, if it does.

        What a province says of a USCC counts for its own nodes only; two provinces that list the
        same have listed two authorities (DI-4).

        Args:
            uscc: Unified social credit code.
            place: A node, a region or the prefix of the province that is asked.
        """
        return self.authorities.get((province_of(place), uscc))

    def heir(self, uscc: str, place: str, now_ms: int) -> str:
        """The USCC of the authority that stands in another's place now; its own if none does.

        Args:
            uscc: Of any authority, listed or not.
            place: Its node, or the prefix of its province.
            now_ms: Successions of later do not count yet (DI-15).
        """
        prefix = province_of(place)
        while (found := self._heirs.get((prefix, uscc))) is not None and found[1] <= now_ms:
            uscc = found[0]
        return uscc

    def lineage(self, uscc: str, place: str, now_ms: int) -> tuple[str, ...]:
        """An authority and those in whose place it stands now."""
        prefix = province_of(place)
        gone = (
            other
            for other_prefix, other in self._heirs
            if other_prefix == prefix and self.heir(other, place, now_ms) == uscc
        )
        return uscc, *gone

    def region(self, code: str) -> RegionEntry | None:
        """The region with this code, if listed."""
        return self.regions.get(code)

    def chain(self, code: str) -> tuple[str, ...]:
        """The region and those above it, from below: 420606, 420600, 420000; 429004, 420000.

        Empty when the region is not listed.
        """
        return _chain(code, self.regions)

    def zones(self, region: str) -> tuple[str, ...]:
        """Names of the functional zones (功能区) with an authority in the region or above it."""
        found = (self._zones.get(code, frozenset()) for code in self.chain(region))
        return tuple(sorted(frozenset[str]().union(*found)))

    def circles(self, node_id: str) -> frozenset[Circle]:
        """The circles a node belongs to: those that name a region it serves, or one above it."""
        return self._circles.get(node_id, frozenset())

    def hubs(self, node_id: str) -> tuple[str, ...]:
        """The hubs of a node's province that forward for it, in the order they are listed."""
        return self._hubs.get(node_id, ())

    def linked(self, one: str, other: str) -> bool:
        """Whether two nodes talk directly.

        They do when they serve regions of one circle, when one is the other's hub, or when the link
        is listed: inside a province by its document, across provinces by both. Never with a node
        whose certificate was taken back.
        """
        return (
            one != other
            and self._struck.isdisjoint((one, other))
            and (
                one in self.hubs(other)
                or other in self.hubs(one)
                or not self.circles(one).isdisjoint(self.circles(other))
                or frozenset((one, other)) in self._links
            )
        )

    def may_forward(self, peer: str, from_node: str, here: str) -> bool:
        """Whether a TLS peer may present messages of `from_node` to the node `here` (EX-2).

        Itself; as a hub the nodes of its own province it lists; and to nodes of its own province
        also those of other provinces it lists.
        """
        if peer == from_node:
            return True
        row = self.nodes.get(peer)
        at_home = province_of(peer) in {province_of(from_node), province_of(here)}
        return row is not None and at_home and _forwards(row, from_node)

    def standing(self, prefix: str, now_ms: int) -> Standing:
        """How far a province's documents can be believed now; one that is not here is STALE."""
        province = self.provinces.get(prefix)
        if province is None or now_ms >= province.fresh_until_ms + self.grace_ms:
            return Standing.STALE
        return Standing.GRACE if now_ms >= province.fresh_until_ms else Standing.FRESH

    def trust_at(self, now_ms: int) -> TrustSet:
        """The registered keys, those of provinces that are stale by now withheld (DI-12)."""
        stale = frozenset(
            prefix for prefix in self.provinces if self.standing(prefix, now_ms) is Standing.STALE
        )
        return replace(self.trust, withheld=stale) if stale else self.trust

    def view(self) -> View:
        """What this node holds in force, to be shown to its peers (DI-13)."""
        return tuple(
            ProvinceView(
                prefix, province.root.named, province.directory.named, province.freshness.named
            )
            for prefix, province in self.provinces.items()
        )


def _version(provinces: Iterable[Province]) -> int:
    """A number that differs whenever the keys may differ."""
    digests = hashlib.sha256()
    for province in provinces:
        for octets in province.octets():
            digests.update(hashlib.sha256(octets).digest())
    return int.from_bytes(digests.digest()[:8])


def _forwards(row: NodeEntry, node_id: str) -> bool:
    return any(node_id.startswith(prefix) for prefix in row.forwards_for)


def _chain(code: str, regions: Mapping[str, RegionEntry]) -> tuple[str, ...]:
    codes: list[str] = []
    row = regions.get(code)
    while row is not None:
        codes.append(row.code)
        row = regions.get(row.parent) if row.parent else None
    return tuple(codes)


def _hubs(node_id: str, nodes: Iterable[NodeEntry]) -> tuple[str, ...]:
    return tuple(
        row.id
        for row in nodes
        if row.id != node_id
        and province_of(row.id) == province_of(node_id)
        and _forwards(row, node_id)
    )


def _circles(
    payloads: Iterable[DirectoryPayload], regions: Mapping[str, RegionEntry]
) -> Mapping[str, frozenset[Circle]]:
    """Circles by node; the prefix keeps equal names of two provinces apart."""
    return {
        node.id: frozenset(
            (payload.prefix, circle.name)
            for circle in payload.circles
            for code in node.serves
            if not set(circle.regions).isdisjoint(_chain(code, regions))
        )
        for payload in payloads
        for node in payload.nodes
    }


def _heirs(
    authorities: Iterable[AuthorityEntry],
) -> Mapping[tuple[str, str], tuple[str, int]]:
    """Who succeeds an authority, and when, by (province, USCC) of the one that is gone."""
    return {
        (province_of(row.node), gone.uscc): (row.uscc, gone.since_ms)
        for row in authorities
        for gone in row.succeeds
    }


def _zones(authorities: Iterable[AuthorityEntry]) -> Mapping[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for row in authorities:
        if row.zone is not None:
            found[row.region] = found.get(row.region, frozenset()) | {row.zone}
    return found


def _links(payloads: Iterable[DirectoryPayload]) -> frozenset[frozenset[str]]:
    """The links that count: across provinces only what both sides list."""
    listed = Counter(frozenset(pair) for payload in payloads for pair in payload.links)
    return frozenset(
        pair
        for pair, times in listed.items()
        if times > 1 or len({province_of(end) for end in pair}) == 1
    )
