"""The directory: nodes, authorities, regions, circles, keys and links of all provinces (节点目录).

`open_directory` checks one province's document, in this order; nothing is believed before step 2:

    1. the signers are pinned for one province                                     DI-1
    2. every signature verifies                                                    DI-1
    3. structure and the one octet form                                            DI-2
    4. the name constraint; the parts fit together; the keys                       DI-2

`Directory.merge` makes the view everybody else works with. What a province says counts for its own
nodes: keys are looked up by (province, key id), authorities by (province, USCC), and a certificate
names the node it is listed for. So two provinces that claim the same have said two things, and
neither takes anything from the other (DI-4). A newer document enters by `accept_newer` and a new
merge; no view changes.

Source: design section 7.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from protocol.errors import LocalUseError, RefusedError
from protocol.identifiers import province_of
from protocol.reasons import Reason
from routing.directory_document import (
    DIRECTORY_TYPE,
    AnchorEntry,
    AuthorityEntry,
    CircleEntry,
    DirectoryPayload,
    KeyEntry,
    NodeEntry,
    PinnedKey,
    RegionEntry,
    TrustAnchor,
)
from routing.directory_rules import check_directory
from routing.payload import Verified, accept_newer, read_payload, refuse_if_any, repeated
from signing.document import open_document, signers
from signing.trust import KeyRecord, TrustSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from protocol.envelope import Environment

__all__ = [
    "DIRECTORY_TYPE",
    "AnchorEntry",
    "AuthorityEntry",
    "Circle",
    "CircleEntry",
    "Directory",
    "DirectoryDocument",
    "DirectoryPayload",
    "KeyEntry",
    "NodeEntry",
    "PinnedKey",
    "RegionEntry",
    "TrustAnchor",
    "accept_newer",
    "check_directory",
    "open_directory",
    "province_of",
]

Circle: TypeAlias = tuple[str, str]
"""A circle by province prefix and name."""


@dataclass(frozen=True, slots=True)
class DirectoryDocument(Verified[DirectoryPayload]):
    """A verified directory document. Only `open_directory` makes one.

    Attributes:
        keys: The registered keys, loaded.
    """

    keys: tuple[KeyRecord, ...]

    @property
    def digest(self) -> bytes:
        """SHA-256 of the file, 32 octets: what peers compare."""
        return hashlib.sha256(self.octets).digest()


def open_directory(octets: bytes, anchor: TrustAnchor) -> DirectoryDocument:
    """Verify a province's directory document by the steps of the module's docstring.

    Raises:
        RefusedError: DOCUMENT_SIGNATURE or DOCUMENT_INVALID, naming the place.
        UnavailableError: SUITE_UNAVAILABLE: it could not be checked.
    """
    # 1 pinned signers
    entry = anchor.entry_for(signers(octets))
    # 2 signatures
    opened = open_document(octets, DIRECTORY_TYPE, entry.public_keys())
    # 3 structure
    payload = read_payload(DirectoryPayload, opened)
    # 4 constraints
    if payload.prefix != entry.prefix:
        detail = f"prefix: {payload.prefix}, but the key that signed speaks for {entry.prefix}"
        raise RefusedError(Reason.DOCUMENT_INVALID, detail)
    return DirectoryDocument(payload, octets, check_directory(payload))


@dataclass(frozen=True, slots=True)
class Directory:
    """All provinces' documents as one view; made by `merge`, never changed.

    Attributes:
        environment: The one all documents share.
        documents: By prefix.
        trust: Every registered key. Its version rises with every accepted document.
        nodes: By node id; a province's own order, provinces by prefix.
        authorities: By (province prefix, USCC).
        regions: By code.
    """

    environment: Environment
    documents: Mapping[str, DirectoryDocument]
    trust: TrustSet
    nodes: Mapping[str, NodeEntry]
    authorities: Mapping[tuple[str, str], AuthorityEntry]
    regions: Mapping[str, RegionEntry]
    _by_certificate: Mapping[bytes, NodeEntry]
    _hubs: Mapping[str, tuple[str, ...]]
    _circles: Mapping[str, frozenset[Circle]]
    _links: frozenset[frozenset[str]]
    _zones: Mapping[str, frozenset[str]]

    @classmethod
    def merge(cls, documents: Iterable[DirectoryDocument]) -> Directory:
        """The view of these documents, one per province.

        Raises:
            RefusedError: DOCUMENT_INVALID: two documents of one province; ENVIRONMENT_MISMATCH.
            LocalUseError: no document at all.
        """
        held = sorted(documents, key=lambda document: document.payload.prefix)
        if not held:
            message = "a directory needs at least one province's document"
            raise LocalUseError(message)
        payloads = [document.payload for document in held]
        environments = sorted({payload.environment for payload in payloads})
        if len(environments) > 1:
            raise RefusedError(Reason.ENVIRONMENT_MISMATCH, "directory documents of both")
        nodes = [row for payload in payloads for row in payload.nodes]
        authorities = [row for payload in payloads for row in payload.authorities]
        refuse_if_any(repeated("prefix", [payload.prefix for payload in payloads]))
        regions = {row.code: row for payload in payloads for row in payload.regions}
        return cls(
            environment=environments[0],
            documents=MappingProxyType({held.payload.prefix: held for held in held}),
            trust=TrustSet.of(
                (record for document in held for record in document.keys),
                version=sum(payload.version for payload in payloads),
            ),
            nodes=MappingProxyType({row.id: row for row in nodes}),
            authorities=MappingProxyType(
                {(province_of(row.node), row.uscc): row for row in authorities}
            ),
            regions=MappingProxyType(regions),
            _by_certificate={row.certificate_digest: row for row in nodes},
            _hubs={row.id: _hubs(row.id, nodes) for row in nodes},
            _circles=_circles(payloads, regions),
            _links=_links(payloads),
            _zones=_zones(authorities),
        )

    def node(self, node_id: str) -> NodeEntry | None:
        """The node with this id, if listed."""
        return self.nodes.get(node_id)

    def node_by_certificate(self, digest: bytes) -> NodeEntry | None:
        """The node whose TLS certificate (DER) has this SHA-256 digest, if listed."""
        return self._by_certificate.get(digest)

    def authority(self, uscc: str, place: str) -> AuthorityEntry | None:
        """The authority a province lists under this USCC, if it does.

        What a province says of a USCC counts for its own nodes only; two provinces that list the
        same have listed two authorities (DI-4).

        Args:
            uscc: Unified social credit code.
            place: A node, a region or the prefix of the province that is asked.
        """
        return self.authorities.get((province_of(place), uscc))

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
        is listed: inside a province by its document, across provinces by both.
        """
        return one != other and (
            one in self.hubs(other)
            or other in self.hubs(one)
            or not self.circles(one).isdisjoint(self.circles(other))
            or frozenset((one, other)) in self._links
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

    def stale(self, now_ms: int) -> tuple[str, ...]:
        """Prefixes of the provinces whose document is out of its time at `now_ms`; best empty."""
        return tuple(
            prefix
            for prefix, document in self.documents.items()
            if now_ms >= document.payload.expires_ms
        )


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
