"""What must hold inside one province's directory document.

**Name constraint:** a pinned key speaks only for its region prefix: every region, node, authority,
circle member and own end of a link lies in it, and every certificate names the node it is listed
for. So a province can damage only itself: nobody lists another's certificate for a node of his own
(DI-4). The rest asks that the parts fit together: what is named is listed, nothing stands there
twice, and every key belongs to somebody who may hold it.

Source: design section 7 (after The Update Framework's name constraints).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from protocol.errors import RefusedError
from protocol.reasons import Reason
from routing.payload import refuse_if_any, repeated
from signing.certificates import named_in
from signing.keys import KeyUse
from signing.suites import load_public_key
from signing.trust import KeyRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routing.directory_document import (
        AuthorityEntry,
        DirectoryPayload,
        KeyEntry,
        NodeEntry,
    )
    from signing.suites import PublicKey

_ENOUGH_HUBS: Final = 2
_MAX_LEVELS: Final = 4  # province, prefecture, county, and one to spare


def check_directory(payload: DirectoryPayload) -> tuple[KeyRecord, ...]:
    """Hold a payload against its own rules; for readers, and for publishers before they sign.

    Returns:
        The registered keys, loaded.

    Raises:
        RefusedError: DOCUMENT_INVALID, with the first broken rule and its place.
        UnavailableError: SUITE_UNAVAILABLE: a key could not be loaded.
    """
    refuse_if_any(_outside(payload))
    refuse_if_any(_twice(payload))
    refuse_if_any(_misfits(payload))
    return tuple(_records(payload))


def advice(payload: DirectoryPayload) -> Iterator[str]:
    """What a directory may do, but had better not: for people before they sign, and after."""
    hubs = [row.id for row in payload.nodes if row.role == "hub"]
    outward = {own for own, other in payload.links if not other.startswith(payload.prefix)}
    if len(hubs) < _ENOUGH_HUBS and not outward - set(hubs):
        yield f"{len(hubs)} hub: list two, or a link of a node to another province as a fallback"
    silent = {row.id for row in payload.nodes if row.url is None}
    for one, other in payload.links:
        if {one, other} <= silent:
            yield f"{one}, {other}: neither can be dialled; only a ferry can serve this link"
    for row in sorted(silent & set(hubs)):
        yield f"{row}: a hub that cannot be dialled reaches only nodes that can"


def _outside(payload: DirectoryPayload) -> Iterator[str]:
    """The name constraint."""
    codes = [(f"regions[{i}].code", row.code) for i, row in enumerate(payload.regions)]
    codes += [(f"nodes[{i}].id", row.id) for i, row in enumerate(payload.nodes)]
    codes += [
        (f"nodes[{i}].serves", code) for i, row in enumerate(payload.nodes) for code in row.serves
    ]
    codes += [(f"authorities[{i}].region", row.region) for i, row in enumerate(payload.authorities)]
    codes += [(f"authorities[{i}].node", row.node) for i, row in enumerate(payload.authorities)]
    codes += [
        (f"circles[{i}].regions", code)
        for i, row in enumerate(payload.circles)
        for code in row.regions
    ]
    codes += [(f"keys[{i}].node", row.node) for i, row in enumerate(payload.keys)]
    codes += [(f"links[{i}][0]", own) for i, (own, _) in enumerate(payload.links)]
    for place, code in codes:
        if not code.startswith(payload.prefix):
            yield f"{place}: {code} lies outside {payload.prefix}, for which alone it may speak"


def _twice(payload: DirectoryPayload) -> Iterator[str]:
    yield from repeated("regions.code", [row.code for row in payload.regions])
    yield from repeated("circles.name", [row.name for row in payload.circles])
    yield from repeated("authorities.uscc", [row.uscc for row in payload.authorities])
    yield from repeated("nodes.id", [row.id for row in payload.nodes])
    digests = [row.certificate_digest.hex() for row in payload.nodes]
    yield from repeated("nodes.certificate (SHA-256)", digests)
    yield from repeated("keys.id", [row.id for row in payload.keys])
    yield from repeated("links", [tuple(sorted(pair)) for pair in payload.links])


def _misfits(payload: DirectoryPayload) -> Iterator[str]:
    if payload.issued_ms >= payload.expires_ms:
        yield "expires_ms: not after issued_ms"
    nodes = {row.id: row for row in payload.nodes}
    yield from _region_misfits(payload)
    yield from _authority_misfits(payload, nodes)
    yield from _node_misfits(payload)
    for i, (own, other) in enumerate(payload.links):
        if own not in nodes or own == other:
            yield f"links[{i}]: {own}, {other}: need a listed node and another one"
        elif other.startswith(payload.prefix) and other not in nodes:
            yield f"links[{i}][1]: {other} is not listed"


def _authority_misfits(payload: DirectoryPayload, nodes: dict[str, NodeEntry]) -> Iterator[str]:
    for i, row in enumerate(payload.authorities):
        node = nodes.get(row.node)
        if node is None:
            yield f"authorities[{i}].node: {row.node} is not listed"
        elif row.region not in node.serves:
            yield f"authorities[{i}].region: node {node.id} does not serve {row.region}"
    yield from _succession_misfits(payload)


def _succession_misfits(payload: DirectoryPayload) -> Iterator[str]:
    """One heir each, at the same node, where the cases are; and nobody his own."""
    nodes = {row.uscc: row.node for row in payload.authorities}
    heirs: dict[str, str] = {}
    for i, row in enumerate(payload.authorities):
        for gone in row.succeeds:
            where = f"authorities[{i}].succeeds: {gone.uscc}"
            if nodes.get(gone.uscc) != row.node:
                yield f"{where} is not listed at {row.node}, where its cases in flight are"
            elif gone.uscc in heirs:
                yield f"{where} is succeeded by {heirs[gone.uscc]} already"
            else:
                heirs[gone.uscc] = row.uscc
    for uscc in heirs:
        seen = {uscc}
        while (heir := heirs.get(uscc)) is not None and heir not in seen:
            seen.add(heir)
            uscc = heir  # noqa: PLW2901 - walked upwards
        if heir is not None:
            yield f"authorities.succeeds: {heir} succeeds itself in the end"
            return


def _node_misfits(payload: DirectoryPayload) -> Iterator[str]:
    regions = {row.code for row in payload.regions}
    nodes_of = {row.uscc: row.node for row in payload.authorities}
    for i, row in enumerate(payload.nodes):
        if nodes_of.get(row.operator) != row.id:
            yield f"nodes[{i}].operator: {row.operator} is no listed authority of this node"
        for code in row.serves:
            if code not in regions:
                yield f"nodes[{i}].serves: {code} is not listed"
        try:
            names = named_in(row.certificate)
        except RefusedError as error:
            detail = f"nodes[{i}].certificate: {error.detail}"
            raise RefusedError(Reason.DOCUMENT_INVALID, detail) from error
        if names != (row.id,):
            yield f"nodes[{i}].certificate: does not name {row.id} as its one subject CN"
        if (row.role == "hub") != bool(row.forwards_for):
            yield f"nodes[{i}].forwards_for: a hub forwards for some prefix, a node for none"


def _region_misfits(payload: DirectoryPayload) -> Iterator[str]:
    parents = {row.code: row.parent for row in payload.regions}
    top = payload.prefix + "0000"
    for i, row in enumerate(payload.regions):
        if row.parent is None and row.code != top:
            yield f"regions[{i}].parent: none, which only {top} may have"
        elif row.parent is not None and row.parent not in parents:
            yield f"regions[{i}].parent: {row.parent} is not listed"
        elif not _reaches_the_top(row.code, parents):
            yield f"regions[{i}].parent: {row.code} stands above itself, or too deep"
    for i, circle in enumerate(payload.circles):
        for code in circle.regions:
            if code not in parents:
                yield f"circles[{i}].regions: {code} is not listed"


def _reaches_the_top(code: str | None, parents: dict[str, str | None]) -> bool:
    for _ in range(_MAX_LEVELS):
        code = parents.get(code) if code else None
    return code is None


def _records(payload: DirectoryPayload) -> Iterator[KeyRecord]:
    authorities = {row.uscc: row for row in payload.authorities}
    nodes = {row.id: row for row in payload.nodes}
    for i, row in enumerate(payload.keys):
        try:
            key = load_public_key(row.suite, row.spki)
        except RefusedError as error:
            detail = f"keys[{i}].spki: {error.detail}"
            raise RefusedError(Reason.DOCUMENT_INVALID, detail) from error
        refuse_if_any(
            f"keys[{i}]{problem}" for problem in _key_misfits(row, key, authorities, nodes)
        )
        yield KeyRecord(
            key, row.use, row.owner, row.node, row.not_before_ms, row.not_after_ms, row.revoked_ms
        )


def _key_misfits(
    row: KeyEntry,
    key: PublicKey,
    authorities: dict[str, AuthorityEntry],
    nodes: dict[str, NodeEntry],
) -> Iterator[str]:
    if row.id != key.key_id:
        yield f".id: {row.id[:43]} is not the digest of the key, {key.key_id}"
    if row.not_before_ms >= row.not_after_ms:
        yield ".not_after_ms: not after not_before_ms"
    node = nodes.get(row.node)
    authority = authorities.get(row.owner)
    if node is None:
        yield f".node: {row.node} is not listed"
        return
    match row.use:
        case KeyUse.ENVELOPE | KeyUse.CATALOGUE:
            fits = authority is not None and authority.node == row.node
            whose = "a listed authority, delegated to the node that serves it"
        case KeyUse.RECEIPT | KeyUse.EVIDENCE | KeyUse.HEAD | KeyUse.CARRIER:
            fits = row.owner == row.node
            whose = "its node"
        case KeyUse.PING:
            fits = row.owner == node.operator
            whose = "the operator of its node"
        case KeyUse.ROOT | KeyUse.DIRECTORY | KeyUse.FRESHNESS:
            fits = False
            whose = "the root and is never listed"
        case _:
            assert_never(row.use)
    if not fits:
        yield f".owner: {row.owner} at {row.node}: a {row.use} key belongs to {whose}"
