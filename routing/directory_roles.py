"""Who may speak for a province, how fresh its word is, and what it takes back (三个角色).

Three roles, after The Update Framework:

* **root** (根): offline, t of n. Names the keys and thresholds of all three roles. A new root is
  signed by a threshold of the old and of the new root keys, so a chain leads from the pinned one.
* **directory** (目录): t of n. Signs the province's directory and its items; and fewer of the same
  keys, `revoking`, take keys back.
* **freshness** (时效): online. Says every few hours which root, directory, items and revocations
  are in force; it can neither admit nor change anything.

One key has one role. Every document says its environment and its province. The trust anchor pins
one root per province by its digest; it comes from outside, never over the wire.

Source: design section 7; The Update Framework 1.0.33 (roles, root rotation, thresholds).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from protocol.envelope import Environment
from protocol.errors import RefusedError
from protocol.limits import MAX_FRESHNESS_MS, MAX_SIGNATURES
from protocol.reasons import Reason
from routing.directory_document import Entry
from routing.payload import (
    Digest,
    Instant,
    KeyId,
    Named,
    Octets,
    Prefix,
    Text,
    Version,
    read_model,
    refuse_if_any,
    repeated,
)
from signing.suites import PublicKey, Suite, load_public_key

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT_TYPE: Final = "application/vnd.tongban.root+json"
FRESHNESS_TYPE: Final = "application/vnd.tongban.freshness+json"
REVOCATION_TYPE: Final = "application/vnd.tongban.revocation+json"

# The old and the new root keys sign one file together.
_MAX_KEYS: Final = MAX_SIGNATURES // 2

Threshold = Annotated[int, Field(ge=1, le=_MAX_KEYS)]


class RoleKey(Entry):
    """A key of a role, and who keeps it; `id` is the digest of `spki`."""

    id: KeyId
    suite: Suite
    spki: Octets
    holder: Text

    def load(self) -> PublicKey:
        """The usable key; RefusedError(KEY_MALFORMED) if it is none."""
        return load_public_key(self.suite, self.spki)


class Role(Entry):
    """The keys of a role by id, and how many different ones have to sign."""

    threshold: Threshold
    keys: Annotated[tuple[KeyId, ...], Field(min_length=1, max_length=_MAX_KEYS)]


class RootPayload(Entry):
    """The root of a province's trust (根); `revoking` of the directory's keys take keys back."""

    version: Version
    environment: Environment
    prefix: Prefix
    name: Text
    issued_ms: Instant
    expires_ms: Instant
    keys: tuple[RoleKey, ...]
    root: Role
    directory: Role
    freshness: Role
    revoking: Threshold

    @property
    def publisher(self) -> str:
        """The region prefix it speaks for."""
        return self.prefix


class FreshnessPayload(Entry):
    """What is in force (时效声明): that and nothing else; every revocation by its file's digest."""

    environment: Environment
    prefix: Prefix
    issued_ms: Instant
    expires_ms: Instant
    root: Named
    directory: Named
    items: Named | None
    revocations: tuple[Digest, ...]

    @property
    def publisher(self) -> str:
        """The region prefix it speaks for."""
        return self.prefix

    @property
    def version(self) -> int:
        """The later one counts. A clock bounds it: nobody can use all versions up (DI-8)."""
        return self.issued_ms


class RevokedKey(Entry):
    """A key, and the instant from which nothing by it is believed."""

    id: KeyId
    revoked_ms: Instant


class RevocationPayload(Entry):
    """A revocation (吊销声明): it can take keys and TLS certificates away, and add nothing.

    It has no version: whatever a province has signed counts, until its directory says the same.
    """

    environment: Environment
    prefix: Prefix
    issued_ms: Instant
    ground: Text
    keys: tuple[RevokedKey, ...]
    certificates: tuple[Digest, ...]

    @property
    def publisher(self) -> str:
        """The region prefix it speaks for."""
        return self.prefix

    @property
    def version(self) -> int:
        """Any two are of equal standing; the instant tells them apart for people."""
        return self.issued_ms


def check_root(payload: RootPayload) -> dict[str, PublicKey]:
    """Hold a root against its own rules; for readers, and before anybody signs (DI-5).

    Returns:
        Its keys, usable, by id.

    Raises:
        RefusedError: DOCUMENT_INVALID, with the first broken rule and its place.
        UnavailableError: SUITE_UNAVAILABLE: a key could not be loaded.
    """
    loaded: dict[str, PublicKey] = {}
    for i, row in enumerate(payload.keys):
        try:
            loaded[row.id] = row.load()
        except RefusedError as error:
            detail = f"keys[{i}].spki: {error.detail}"
            raise RefusedError(Reason.DOCUMENT_INVALID, detail) from error
    refuse_if_any(_root_misfits(payload, loaded))
    return loaded


def _root_misfits(payload: RootPayload, loaded: dict[str, PublicKey]) -> Iterator[str]:
    if payload.issued_ms >= payload.expires_ms:
        yield "expires_ms: not after issued_ms"
    yield from repeated("keys.id", [row.id for row in payload.keys])
    for i, row in enumerate(payload.keys):
        if loaded[row.id].key_id != row.id:
            yield f"keys[{i}].id: {row.id} is not the digest of the key"
    roles = {"root": payload.root, "directory": payload.directory, "freshness": payload.freshness}
    held = [key_id for role in roles.values() for key_id in role.keys]
    yield from repeated("one key, one role", held)
    for name, role in roles.items():
        if role.threshold > len(role.keys):
            yield f"{name}.threshold: {role.threshold} of {len(role.keys)} keys"
    for key_id in sorted(set(held) ^ loaded.keys()):
        yield f"keys: {key_id} is listed, or has a role, but not both"
    directory = payload.directory.threshold
    if payload.revoking > directory or payload.revoking == directory > 1:
        yield f"revoking: {payload.revoking}, which has to be fewer than admit: {directory}"


def check_freshness(payload: FreshnessPayload) -> None:
    """Hold a freshness statement against its own rules (DI-8).

    Raises:
        RefusedError: DOCUMENT_INVALID.
    """
    life_ms = payload.expires_ms - payload.issued_ms
    if not 0 < life_ms <= MAX_FRESHNESS_MS:
        detail = f"expires_ms: {life_ms} ms after issued_ms, at most {MAX_FRESHNESS_MS}"
        raise RefusedError(Reason.DOCUMENT_INVALID, detail)
    refuse_if_any(repeated("revocations", payload.revocations))


def check_revocation(payload: RevocationPayload) -> None:
    """Hold a revocation against its own rules (DI-10).

    Raises:
        RefusedError: DOCUMENT_INVALID.
    """
    refuse_if_any(_revocation_misfits(payload))


def _revocation_misfits(payload: RevocationPayload) -> Iterator[str]:
    if not payload.keys and not payload.certificates:
        yield "keys: it takes nothing back"
    yield from repeated("keys.id", [row.id for row in payload.keys])
    yield from repeated("certificates", payload.certificates)
    for i, row in enumerate(payload.keys):
        if row.revoked_ms > payload.issued_ms:
            yield f"keys[{i}].revoked_ms: after issued_ms"


class AnchorEntry(Entry):
    """The root that is believed without proof for a region prefix: a chain starts at it."""

    prefix: Prefix
    name: Text
    root: Named


class TrustAnchor(Entry):
    """The trust anchor file (信任锚): it comes from outside, never over the wire."""

    anchors: tuple[AnchorEntry, ...]

    @classmethod
    def read(cls, octets: bytes) -> TrustAnchor:
        """Read the JSON file.

        Raises:
            RefusedError: DOCUMENT_INVALID: another structure, or a prefix twice.
        """
        anchor = read_model(cls, octets)
        refuse_if_any(repeated("anchors.prefix", [entry.prefix for entry in anchor.anchors]))
        return anchor

    def entry(self, prefix: str) -> AnchorEntry:
        """The pin of a province.

        Raises:
            RefusedError: DOCUMENT_SIGNATURE: none is pinned for it.
        """
        for entry in self.anchors:
            if entry.prefix == prefix:
                return entry
        detail = f"this trust anchor pins no root for {prefix[:2]!r}"
        raise RefusedError(Reason.DOCUMENT_SIGNATURE, detail)
