"""The directory document: what one province says about itself (节点目录文件).

One signed document per province, and the trust anchor that says whose signature counts. The anchor
comes from outside (installed, carried by hand), never over the wire. Here is the structure; what
must hold between its parts is in `routing.directory_rules`, opening one in `routing.directory`.

Source: design section 7; GB/T 2260 (regions), GB 32100 (unified social credit codes).
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, StringConstraints

from protocol.envelope import Environment
from protocol.errors import RefusedError
from protocol.reasons import Reason
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
    read_model,
    refuse_if_any,
    repeated,
)
from signing.keys import KeyUse
from signing.suites import PublicKey, Suite, load_public_key

if TYPE_CHECKING:
    from collections.abc import Iterable

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


class AuthorityEntry(Entry):
    """An authority (实施主体) and its node; `zone` names a functional zone, which has no code."""

    uscc: Uscc
    name: Text
    region: RegionCode
    zone: Text | None
    node: NodeId
    telephone: Text


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


class PinnedKey(Entry):
    """A key of an anchor: its suite and SubjectPublicKeyInfo (DER)."""

    suite: Suite
    spki: Octets

    def load(self) -> PublicKey:
        """The usable key; RefusedError(KEY_MALFORMED) if it is none."""
        return load_public_key(self.suite, self.spki)


class AnchorEntry(Entry):
    """Which keys speak for a region prefix."""

    prefix: Prefix
    name: Text
    keys: tuple[PinnedKey, ...]

    def public_keys(self) -> tuple[PublicKey, ...]:
        """The pinned keys, usable; RefusedError(KEY_MALFORMED) if one is none."""
        return tuple(key.load() for key in self.keys)


class TrustAnchor(Entry):
    """The trust anchor file (信任锚): it comes from outside, never over the wire."""

    anchors: tuple[AnchorEntry, ...]

    @classmethod
    def read(cls, octets: bytes) -> TrustAnchor:
        """Read the JSON file.

        Raises:
            RefusedError: DOCUMENT_INVALID: another structure, a prefix twice, or one key pinned for
                two prefixes; KEY_MALFORMED.
        """
        anchor = read_model(cls, octets)
        ids = [key.key_id for entry in anchor.anchors for key in entry.public_keys()]
        refuse_if_any(repeated("anchors.prefix", [entry.prefix for entry in anchor.anchors]))
        refuse_if_any(repeated("anchors.keys", ids))
        return anchor

    def entry_for(self, key_ids: Iterable[str]) -> AnchorEntry:
        """The province all of these keys are pinned for.

        Raises:
            RefusedError: DOCUMENT_SIGNATURE: they are not all pinned for one province.
        """
        wanted = set(key_ids)
        for entry in self.anchors:
            if wanted <= {key.key_id for key in entry.public_keys()}:
                return entry
        detail = f"signed by {min(wanted, default='')[:43]}, which this anchor pins for no province"
        raise RefusedError(Reason.DOCUMENT_SIGNATURE, detail)
