"""From the plan to the documents that get signed: directories, items, sheets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from protocol.identifiers import province_of
from protocol.instants import parse_instant
from routing.catalogue import ImplementationEntry, ItemsPayload, SheetPayload
from routing.catalogue_document import Powers
from routing.directory_document import (
    AuthorityEntry,
    CircleEntry,
    DirectoryPayload,
    KeyEntry,
    NodeEntry,
    RegionEntry,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from examples.federation.plan import AuthorityPlan, FederationPlan, ImplementationPlan
    from protocol.envelope import Environment

EFFECTIVE_FROM_MS: Final = parse_instant("2025-12-31T16:00:00.000Z")
"""Every implementation takes effect on 2026-01-01, Beijing time."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node has only once it exists.

    Attributes:
        url: Where it listens for peers, ``https://host:port``; None if it only calls out.
        certificate: Its TLS certificate, DER.
        keys: Its registered keys: receipt, ping, and those of its authorities.
    """

    url: str | None
    certificate: bytes
    keys: tuple[KeyEntry, ...]


def directory_payload(
    plan: FederationPlan,
    prefix: str,
    node_facts: Mapping[str, NodeFacts],
    *,
    version: int,
    issued_ms: int,
    expires_ms: int,
    environment: Environment = "trial",
) -> DirectoryPayload:
    """A province's directory: the nodes in `node_facts`, which exist, and their authorities.

    Raises:
        KeyError: the plan has no such province.
    """
    province = plan.province(prefix)
    nodes = [
        node for node in plan.nodes if province_of(node.id) == prefix and node.id in node_facts
    ]
    return DirectoryPayload(
        version=version,
        environment=environment,
        prefix=prefix,
        name=province.name,
        issued_ms=issued_ms,
        expires_ms=expires_ms,
        regions=tuple(
            RegionEntry(code=row.code, name=row.name, parent=row.parent) for row in province.regions
        ),
        circles=tuple(CircleEntry(name=row.name, regions=row.regions) for row in province.circles),
        authorities=tuple(
            AuthorityEntry(
                uscc=row.uscc,
                name=row.name,
                region=row.region,
                zone=row.zone,
                node=node.id,
                telephone=row.telephone,
                succeeds=(),
            )
            for node in nodes
            for row in node.authorities
        ),
        nodes=tuple(
            NodeEntry(
                id=node.id,
                name=node.name,
                role=node.role,
                operator=node.operator,
                url=node_facts[node.id].url,
                certificate=node_facts[node.id].certificate,
                serves=node.serves,
                forwards_for=node.forwards_for,
            )
            for node in nodes
        ),
        keys=tuple(key for node in nodes for key in node_facts[node.id].keys),
        links=tuple(link for link in province.links if link[0] in {node.id for node in nodes}),
    )


def items_payload(
    plan: FederationPlan,
    prefix: str,
    *,
    version: int,
    issued_ms: int,
    environment: Environment = "trial",
) -> ItemsPayload:
    """The items a province publishes."""
    published = (item for code, item in plan.items.items() if prefix in plan.published_in[code])
    return ItemsPayload(
        version=version,
        environment=environment,
        prefix=prefix,
        issued_ms=issued_ms,
        items=tuple(published),
    )


def sheet_payload(
    plan: FederationPlan,
    uscc: str,
    *,
    version: int,
    issued_ms: int,
    environment: Environment = "trial",
) -> SheetPayload:
    """The sheet of an authority; empty for one that only collects.

    Raises:
        KeyError: the plan has no such authority.
    """
    authority = plan.authority(uscc)
    return SheetPayload(
        version=version,
        environment=environment,
        prefix=province_of(authority.region),
        authority=uscc,
        issued_ms=issued_ms,
        implementations=tuple(_entry(plan, authority, row) for row in authority.implements),
    )


def _entry(
    plan: FederationPlan, authority: AuthorityPlan, row: ImplementationPlan
) -> ImplementationEntry:
    own = authority.uscc
    return ImplementationEntry(
        code=f"{own}{row.level}{row.item}",
        code_form="standard",
        item=row.item,
        region=authority.region,
        zone=authority.zone,
        powers=Powers(collect="any", accept=own, review=own, decide=own, issue=own, deliver=own),
        materials=None,
        promised=row.promised,
        effective_from_ms=EFFECTIVE_FROM_MS,
        withdrawn_ms=None,
        telephone=authority.telephone,
        review_points=(
            *plan.review_points[row.item],
            *(point.row() for point in row.review_points),
        ),
    )
