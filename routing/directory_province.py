"""A province's documents as one consistent set: octets go in, a `Province` or an error comes out.

`open_province` believes nothing that is not named, from the pin down, by something it believes:

    1. root         the pinned file; then each next version, one by one, signed by a
                    threshold of the old root's keys and of its own                  DI-5 DI-6
    2. freshness    the newest one that the root's freshness keys signed and that is
                    not of the future; it names the root of step 1                   DI-7 DI-8
    3. directory    the very file the freshness names, signed by a threshold of the
                    root's directory keys; structure, name constraint, rules         DI-1 DI-2 DI-7
    4. revocations  every one that enough directory keys signed; those that the
                    freshness names have to be there                                 DI-7 DI-10

All of one environment and one prefix (DI-9). What is not there, or not yet, is "could not check"
(STALE_DIRECTORY) and never passes. Whether a set may take the place of another, and whether it is
still fresh, is asked in `routing.directory_memory`: a set of last year proves what was true then.

Source: design section 7; The Update Framework 1.0.33, section 5.3 (update the root role).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from protocol.errors import RefusedError, UnavailableError
from protocol.limits import MAX_CLOCK_SKEW_MS, MAX_HISTORY
from protocol.reasons import Reason
from routing.directory_document import DIRECTORY_TYPE, DirectoryPayload
from routing.directory_roles import (
    FRESHNESS_TYPE,
    REVOCATION_TYPE,
    ROOT_TYPE,
    AnchorEntry,
    FreshnessPayload,
    RevocationPayload,
    Role,
    RootPayload,
    TrustAnchor,
    check_freshness,
    check_revocation,
    check_root,
)
from routing.directory_rules import check_directory
from routing.payload import Verified, digest_of, read_payload, refuse_if_any, repeated
from signing.document import open_document, read_claims

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import BaseModel

    from protocol.envelope import Environment
    from routing.payload import Named, Publication
    from signing.document import Claims
    from signing.suites import PublicKey
    from signing.trust import KeyRecord

T = TypeVar("T", bound="BaseModel")

NAMES: Final[Mapping[str, str]] = {
    ROOT_TYPE: "root",
    FRESHNESS_TYPE: "freshness",
    DIRECTORY_TYPE: "directory",
    REVOCATION_TYPE: "revocation",
}
"""The documents a set consists of, and what they are called."""


@dataclass(frozen=True, slots=True)
class RootDocument(Verified[RootPayload]):
    """A verified root. Only `open_roots` makes one.

    Attributes:
        keys: Its keys by id, usable.
    """

    keys: Mapping[str, PublicKey]

    def keys_of(self, role: Role) -> list[PublicKey]:
        """The keys of one of its roles."""
        return [self.keys[key_id] for key_id in role.keys]


@dataclass(frozen=True, slots=True)
class FreshnessDocument(Verified[FreshnessPayload]):
    """A verified freshness statement."""


@dataclass(frozen=True, slots=True)
class RevocationDocument(Verified[RevocationPayload]):
    """A verified revocation."""


@dataclass(frozen=True, slots=True)
class DirectoryDocument(Verified[DirectoryPayload]):
    """A verified directory document.

    Attributes:
        keys: The registered keys, loaded; as the document says, before any revocation.
    """

    keys: tuple[KeyRecord, ...]


@dataclass(frozen=True, slots=True)
class Province:
    """One province's set of documents that belong together. Only `open_province` makes one.

    Attributes:
        roots: From the pinned root to the one in force.
        freshness: What says which of the others count.
        directory: The directory in force.
        revocations: What was taken back since.
    """

    roots: tuple[RootDocument, ...]
    freshness: FreshnessDocument
    directory: DirectoryDocument
    revocations: tuple[RevocationDocument, ...]

    @property
    def root(self) -> RootDocument:
        """The root in force."""
        return self.roots[-1]

    @property
    def prefix(self) -> str:
        """The region prefix it speaks for."""
        return self.root.payload.prefix

    @property
    def environment(self) -> Environment:
        """The one all its documents share."""
        return self.root.payload.environment

    @property
    def payload(self) -> DirectoryPayload:
        """What its directory says."""
        return self.directory.payload

    @property
    def fresh_until_ms(self) -> int:
        """The first instant at which one of its documents has expired."""
        documents = (self.root.payload, self.directory.payload, self.freshness.payload)
        return min(payload.expires_ms for payload in documents)

    def records(self) -> tuple[KeyRecord, ...]:
        """The registered keys, with everything that was taken back (DI-10)."""
        taken: dict[str, int] = {}
        for document in self.revocations:
            for row in document.payload.keys:
                taken[row.id] = min(row.revoked_ms, taken.get(row.id, row.revoked_ms))
        return tuple(
            _revoked(record, taken.get(record.key.key_id)) for record in self.directory.keys
        )

    def struck(self) -> frozenset[str]:
        """The nodes whose listed TLS certificate was taken back."""
        taken = {row for document in self.revocations for row in document.payload.certificates}
        return frozenset(
            row.id for row in self.payload.nodes if row.certificate_digest.hex() in taken
        )

    def octets(self) -> tuple[bytes, ...]:
        """Its files, to be handed on unchanged."""
        documents: tuple[Verified[Publication], ...] = (
            *self.roots,
            self.directory,
            *self.revocations,
            self.freshness,
        )
        return tuple(document.octets for document in documents)


def open_province(files: Iterable[bytes], pin: AnchorEntry, now_ms: int | None = None) -> Province:
    """Verify a province's documents by the steps of the module's docstring.

    Args:
        files: Its documents, in any order; older ones beside the newest do no harm.
        pin: From the trust anchor.
        now_ms: This node's clock; None to read a set of the past.

    Raises:
        RefusedError: DOCUMENT_SIGNATURE, DOCUMENT_INVALID, ENVIRONMENT_MISMATCH or TOO_LARGE,
            naming the document and the rule.
        UnavailableError: STALE_DIRECTORY: a document that is named is not there; CLOCK_SKEW: by our
            clock the newest is of the future; SUITE_UNAVAILABLE: it could not be checked.
    """
    by_kind: dict[str, list[bytes]] = {kind: [] for kind in NAMES}
    for octets in dict.fromkeys(files):
        by_kind.get(read_claims(octets).payload_type, []).append(octets)
    # 1 root
    roots, passed_over = _chain(by_kind[ROOT_TYPE], pin)
    root = roots[-1]
    # 2 freshness
    try:
        freshness = _newest(by_kind[FRESHNESS_TYPE], root, now_ms)
        said = freshness.payload
        require_named(said.root, root, "root")
    except RefusedError as refusal:
        # Most likely it goes with a root that was passed over: what was wrong with that one counts.
        raise passed_over or refusal from refusal
    # 3 directory
    directory = _open_directory(_find(by_kind[DIRECTORY_TYPE], said.directory, "directory"), root)
    require_named(said.directory, directory, "directory")
    # 4 revocations
    revocations = _revocations(by_kind[REVOCATION_TYPE], root, said.revocations)
    return Province(roots, freshness, directory, revocations)


def open_provinces(files: Iterable[bytes], anchor: TrustAnchor) -> list[Province]:
    """The sets of the past that these files make up, one per province; each has to hold.

    Raises:
        RefusedError: as `open_province`; DOCUMENT_INVALID too for a file that is there twice.
        UnavailableError: as `open_province`.
    """
    held = list(files)
    refuse_if_any(repeated("directories (SHA-256)", map(digest_of, held)))
    return [open_province(rows, anchor.entry(prefix)) for prefix, rows in by_province(held).items()]


def by_province(files: Iterable[bytes]) -> dict[str, list[bytes]]:
    """Files by the prefix they claim; nothing is verified.

    Raises:
        RefusedError: DOCUMENT_INVALID: one is no document of a set; TOO_LARGE.
    """
    found: dict[str, list[bytes]] = {}
    for octets in files:
        claims = read_claims(octets)
        if claims.payload_type not in NAMES:
            raise _invalid(f"{claims.payload_type[:80]!r} is no document of a directory")
        found.setdefault(claimed_prefix(claims), []).append(octets)
    return found


def claimed_prefix(claims: Claims) -> str:
    """The province a document says it speaks for; nothing is verified.

    Raises:
        RefusedError: DOCUMENT_INVALID: it says none.
    """
    try:
        return str(json.loads(claims.payload)["prefix"])
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise _invalid(f"{claims.payload_type[:80]!r}: no prefix in its payload") from error


def open_roots(files: Sequence[bytes], pin: AnchorEntry) -> tuple[RootDocument, ...]:
    """The chain of roots from the pinned one to the newest (DI-5, DI-6).

    Raises:
        RefusedError: as `open_province`; what claims to be the next root and is not, too.
        UnavailableError: STALE_DIRECTORY: the pinned root is not there; SUITE_UNAVAILABLE.
    """
    roots, passed_over = _chain(files, pin)
    if passed_over is not None:
        raise passed_over
    return roots


def _chain(
    files: Sequence[bytes], pin: AnchorEntry
) -> tuple[tuple[RootDocument, ...], RefusedError | None]:
    """The chain, and why something that claims to be its next root was passed over, if it was.

    Nobody's word neither makes a root nor takes one away (DI-21): whoever could stop a node with a
    file he made up would have the power to revoke. Where the real next root is spoilt, nothing is
    believed all the same: the freshness statement names it.
    """
    first = _open_root(_find(files, pin.root, f"pinned root of {pin.prefix}"), None)
    require_named(pin.root, first, "pinned root")
    if first.payload.prefix != pin.prefix:
        raise _invalid(f"root: speaks for {first.payload.prefix}, pinned for {pin.prefix}")
    chain, passed_over = [first], None
    claimed: list[tuple[int, bytes]] = []
    for octets in files:
        try:
            payload = read_payload(RootPayload, read_claims(octets).payload)
        except RefusedError as refusal:
            passed_over = refusal
            continue
        claimed.append((payload.version, octets))
    while len(chain) <= MAX_HISTORY:
        number = chain[-1].payload.version + 1
        opened: list[RootDocument] = []
        for octets in (octets for version, octets in claimed if version == number):
            try:
                opened.append(_open_root(octets, chain[-1]))
            except RefusedError as refusal:
                passed_over = refusal
        if not opened:
            return tuple(chain), passed_over
        if len(opened) > 1:
            raise _invalid(f"root: two roots of version {number}, both signed: a split view")
        chain.append(opened[0])
    raise _invalid(f"root: more than {MAX_HISTORY} in the chain; pin a newer one")


def _open_root(octets: bytes, before: RootDocument | None) -> RootDocument:
    """A root that its own root keys signed, and those of the root before it."""
    claims = read_claims(octets)
    payload = read_payload(RootPayload, claims.payload)
    where = f"root {payload.version}"
    keys = check_root(payload)
    roles = [(payload.root, "its own")]
    accepted = [keys[key_id] for key_id in payload.root.keys]
    if before is not None:
        roles.append((before.payload.root, f"root {before.payload.version}'s"))
        accepted += before.keys_of(before.payload.root)
        same = (before.payload.prefix, before.payload.environment)
        _require_same(where, (payload.prefix, payload.environment), same)
    open_document(octets, ROOT_TYPE, accepted)
    signed = claims.signatures.keys()
    for role, whose in roles:
        count = len(signed & set(role.keys))
        if count < role.threshold:
            detail = f"{where}: {count} signatures by {whose} root keys, {role.threshold} needed"
            raise RefusedError(Reason.DOCUMENT_SIGNATURE, detail)
    return RootDocument(payload, octets, keys)


def _newest(files: Sequence[bytes], root: RootDocument, now_ms: int | None) -> FreshnessDocument:
    opened: list[FreshnessDocument] = []
    trouble: RefusedError | None = None
    for octets in files:
        try:
            opened.append(_open_freshness(octets, root))
        except RefusedError as error:
            # One of before a change of keys may lie beside its successor.
            trouble = error
    if not opened:
        raise trouble or _missing(f"no freshness statement of {root.payload.prefix} is there")
    latest_ms = None if now_ms is None else now_ms + MAX_CLOCK_SKEW_MS
    known = [row for row in opened if latest_ms is None or row.payload.issued_ms <= latest_ms]
    if not known:
        detail = "the freshness statement is of the future: by it our clock is behind"
        raise UnavailableError(Reason.CLOCK_SKEW, detail)
    newest = max(known, key=lambda row: row.payload.issued_ms)
    if sum(row.payload.issued_ms == newest.payload.issued_ms for row in known) > 1:
        raise _invalid("freshness: two statements of one instant, both signed: a split view")
    return newest


def _open_freshness(octets: bytes, root: RootDocument) -> FreshnessDocument:
    payload = _open(octets, FRESHNESS_TYPE, FreshnessPayload, root, root.payload.freshness)
    check_freshness(payload)
    return FreshnessDocument(payload, octets)


def _open_directory(octets: bytes, root: RootDocument) -> DirectoryDocument:
    payload = _open(octets, DIRECTORY_TYPE, DirectoryPayload, root, root.payload.directory)
    return DirectoryDocument(payload, octets, check_directory(payload))


def open_revocation(octets: bytes, root: RootDocument) -> RevocationDocument:
    """Verify a revocation: signed by as many directory keys as a revocation takes (DI-10).

    Raises:
        RefusedError: as `open_province`.
        UnavailableError: SUITE_UNAVAILABLE.
    """
    role = root.payload.directory.model_copy(update={"threshold": root.payload.revoking})
    payload = _open(octets, REVOCATION_TYPE, RevocationPayload, root, role)
    check_revocation(payload)
    return RevocationDocument(payload, octets)


def _revocations(
    files: Sequence[bytes], root: RootDocument, named: Iterable[str]
) -> tuple[RevocationDocument, ...]:
    opened: dict[str, RevocationDocument] = {}
    for octets in files:
        try:
            document = open_revocation(octets, root)
        except RefusedError:
            # Nobody's word, or of before a change of keys: it takes nothing, and hinders nothing.
            continue
        opened[document.digest] = document
    for digest in named:
        if digest not in opened:
            raise _missing(f"revocation {digest[:16]}…, which the freshness statement names")
    return tuple(opened[digest] for digest in sorted(opened))


def _open(octets: bytes, kind: str, model: type[T], root: RootDocument, role: Role) -> T:
    """A payload that a threshold of a role's keys signed, of the root's prefix and environment."""
    said = root.payload
    payload = read_payload(model, open_document(octets, kind, root.keys_of(role), role.threshold))
    found = getattr(payload, "prefix", ""), getattr(payload, "environment", "")
    _require_same(NAMES.get(kind, kind), found, (said.prefix, said.environment))
    return payload


def open_as_directory_role(octets: bytes, kind: str, model: type[T], root: RootDocument) -> T:
    """The payload of another document that the directory's keys sign: a province's items.

    Raises:
        RefusedError, UnavailableError: as `open_province`.
    """
    return _open(octets, kind, model, root, root.payload.directory)


def _find(files: Iterable[bytes], named: Named, what: str) -> bytes:
    for octets in files:
        if digest_of(octets) == named.digest:
            return octets
    raise _missing(f"{what}: {named} is not there")


def require_named(named: Named, document: Verified[Publication], what: str) -> None:
    """Refuse a document that is not the one another document names.

    Raises:
        RefusedError: DOCUMENT_INVALID.
    """
    if named != document.named:
        raise _invalid(f"{what}: {document.named} does not go with {named}, which is in force")


def _require_same(where: str, found: tuple[str, str], needed: tuple[str, str]) -> None:
    if found[1] != needed[1]:
        detail = f"{where}: for {found[1]}, the root is for {needed[1]}"
        raise RefusedError(Reason.ENVIRONMENT_MISMATCH, detail)
    if found[0] != needed[0]:
        raise _invalid(f"{where}: speaks for {found[0]}, but those who signed it for {needed[0]}")


def _revoked(record: KeyRecord, taken_ms: int | None) -> KeyRecord:
    instants = [ms for ms in (record.revoked_ms, taken_ms) if ms is not None]
    return replace(record, revoked_ms=min(instants, default=None))


def _missing(detail: str) -> UnavailableError:
    return UnavailableError(Reason.STALE_DIRECTORY, detail)


def _invalid(detail: str) -> RefusedError:
    return RefusedError(Reason.DOCUMENT_INVALID, detail)
