"""The directory document: what one province says about itself (节点目录文件).

One signed document per province. Here is the structure; what must hold between its parts is in
`routing.directory_rules`, who signs it in `routing.directory_roles`, opening one in
`routing.directory_province`.

Source: design section 7; GB/T 2260 (regions), GB 32100 (unified social credit codes).
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, StringConstraints

from protocol.envelope import Environment
from routing.payload import (
    STRICT,
    Instant,
    NodeId,
    Octets,
    Prefix,
    RegionCode,
    Text,
    Uscc,
    Version,
)
from signing.keys import KeyUse
from signing.suites import Suite

DIRECTORY_TYPE: Final = "application/vnd.tongban.directory+json"

_URL: Final = re.compile(r"https://(?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\]):([1-9][0-9]{0,4})")
_LAST_PORT: Final = 65535
_DER_SEQUENCE: Final = b"\x30"
_MAX_CERTIFICATE: Final = 16 * 1024


def _url(value: str) -> str:
    match = _URL.fullmatch(value)
    if match is None or int(match[1]) > _LAST_PORT:
        message = "need https://host:port in lower case, without path"
        raise ValueError(message)
    return value


def _certificate(value: bytes) -> bytes:
    if not value.startswith(_DER_SEQUENCE) or len(value) > _MAX_CERTIFICATE:
        message = "need one DER certificate"
        raise ValueError(message)
    return value


class Entry(BaseModel):
    """A row of the document: immutable, strict, no unknown members."""

    model_config = STRICT


class RegionEntry(Entry):
    """A region (行政区划) with a GB/T 2260 code; the province's own code has no parent."""

    code: RegionCode
    name: Text
    parent: RegionCode | None


class CircleEntry(Entry):
    """A metropolitan circle (都市圈): the nodes that serve its regions link directly."""

    name: Text
    regions: tuple[RegionCode, ...]


class Succession(Entry):
    """That an authority stands in another's place, and from when (机构改革、区划调整)."""

    uscc: Uscc
    since_ms: Instant


class AuthorityEntry(Entry):
    """An authority (实施主体) and its node; `zone` names a functional zone, which has no code.

    `succeeds` names those whose cases in flight it goes on with: listed still, at the same node,
    and closed for new cases (DI-15).
    """

    uscc: Uscc
    name: Text
    region: RegionCode
    zone: Text | None
    node: NodeId
    telephone: Text
    succeeds: tuple[Succession, ...]


class NodeEntry(Entry):
    """A node or hub: where it listens, its TLS certificate, what it serves and forwards for.

    A node without `url` cannot be dialled: it calls its peers and fetches what waits for it, or is
    reached by another carrier (DI-3).

    `forwards_for` holds region prefixes and is for hubs. Prefixes of the own province count for
    everyone; others (messages it brings in from outside) count only inside the own province.
    """

    id: NodeId
    name: Text
    role: Literal["node", "hub"]
    operator: Uscc
    url: Annotated[str, AfterValidator(_url)] | None
    certificate: Annotated[Octets, AfterValidator(_certificate)]
    serves: tuple[RegionCode, ...]
    forwards_for: tuple[Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{1,5}$")], ...]

    @property
    def certificate_digest(self) -> bytes:
        """SHA-256 of the DER certificate, 32 octets: what a TLS peer is known by."""
        return hashlib.sha256(self.certificate).digest()


class KeyEntry(Entry):
    """A registered key; `id` is the digest of `spki`, and `owner` follows from the use."""

    id: str
    suite: Suite
    spki: Octets
    use: KeyUse
    owner: Text
    node: NodeId
    not_before_ms: Instant
    not_after_ms: Instant
    revoked_ms: Instant | None


class DirectoryPayload(Entry):
    """What a province's directory says. `links` lists pairs (own node, other node)."""

    version: Version
    environment: Environment
    prefix: Prefix
    name: Text
    issued_ms: Instant
    expires_ms: Instant
    regions: tuple[RegionEntry, ...]
    circles: tuple[CircleEntry, ...]
    authorities: tuple[AuthorityEntry, ...]
    nodes: tuple[NodeEntry, ...]
    keys: tuple[KeyEntry, ...]
    links: tuple[tuple[NodeId, NodeId], ...]

    @property
    def publisher(self) -> str:
        """The region prefix it speaks for."""
        return self.prefix
