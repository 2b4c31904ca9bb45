"""Signed documents in files, sorted by what they claim to be; nothing is verified here.

A path names a file or a folder; of a folder, every ``*.json`` in it counts. What a file is its
signed type says, not its name or place. Whoever lays documents down names them so that no two are
in each other's way, and writes the freshness statement last: until it is there, the others are no
set, and a copy that was cut short does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from node.config import ConfigError, Problem
from node.keyfile import sync_directory
from protocol.errors import RefusedError
from protocol.reasons import Reason
from routing.catalogue import ITEMS_TYPE, SHEET_TYPE, ItemsPayload, SheetPayload
from routing.directory_document import DIRECTORY_TYPE, DirectoryPayload
from routing.directory_province import NAMES as SET_NAMES
from routing.directory_province import claimed_prefix
from routing.directory_roles import (
    FRESHNESS_TYPE,
    REVOCATION_TYPE,
    ROOT_TYPE,
    FreshnessPayload,
    RevocationPayload,
    RootPayload,
)
from routing.payload import digest_of, read_payload, write_payload
from signing.document import read_claims

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from node.config import TrustSection
    from routing.directory_province import Province

Payload: TypeAlias = (
    RootPayload
    | DirectoryPayload
    | FreshnessPayload
    | RevocationPayload
    | ItemsPayload
    | SheetPayload
)

MODELS: Final[dict[str, type[Payload]]] = {
    ROOT_TYPE: RootPayload,
    DIRECTORY_TYPE: DirectoryPayload,
    REVOCATION_TYPE: RevocationPayload,
    ITEMS_TYPE: ItemsPayload,
    FRESHNESS_TYPE: FreshnessPayload,
    SHEET_TYPE: SheetPayload,
}
"""Every kind of signed document, in the order in which they are written."""
NAMES: Final = {**SET_NAMES, ITEMS_TYPE: "items", SHEET_TYPE: "sheet"}
"""What each is called."""
_SHORT: Final = 8


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """One file: where it lies, its octets, and what it claims to be.

    Attributes:
        path: Where.
        octets: The whole.
        kind: Its signed type.
        prefix: The province it speaks for.
        signers: Key ids.
    """

    path: Path
    octets: bytes = field(repr=False)
    kind: str
    prefix: str
    signers: frozenset[str]

    @property
    def digest(self) -> str:
        """SHA-256, as other documents name it."""
        return digest_of(self.octets)

    @property
    def name(self) -> str:
        """What its kind is called."""
        return NAMES[self.kind]


def read_document(path: Path, octets: bytes) -> DocumentFile:
    """What a file claims to be.

    Raises:
        RefusedError: DOCUMENT_INVALID: no signed document of a kind known here; TOO_LARGE.
    """
    claims = read_claims(octets)
    if claims.payload_type not in NAMES:
        kinds = ", ".join(NAMES.values())
        detail = f"{claims.payload_type[:80]!r} is none of: {kinds}"
        raise RefusedError(Reason.DOCUMENT_INVALID, detail)
    signers = frozenset(claims.signatures)
    return DocumentFile(path, octets, claims.payload_type, claimed_prefix(claims), signers)


def files_in(paths: Iterable[Path]) -> Iterator[Path]:
    """The files these paths name, folders opened."""
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.json"))
        else:
            yield path


def set_of(documents: Iterable[DocumentFile], prefix: str) -> list[bytes]:
    """Of these, the files that make up a province's set."""
    return [row.octets for row in documents if row.prefix == prefix and row.kind in SET_NAMES]


def payload_of(file: DocumentFile) -> Payload:
    """What a document says, unverified.

    Raises:
        RefusedError: DOCUMENT_INVALID: it does not follow its structure.
    """
    return read_payload(MODELS[file.kind], read_claims(file.octets).payload)


def file_name(file: DocumentFile) -> str:
    """What a document's file is called wherever it is laid down; names carry no meaning.

    Raises:
        RefusedError: as `payload_of`.
    """
    payload = payload_of(file)
    name = f"{file.name}-{payload.publisher}"
    if file.kind == REVOCATION_TYPE:
        # Of its payload: signatures are still to come when it is named.
        return f"{name}-{digest_of(write_payload(payload))[:_SHORT]}.json"
    if file.kind in (FRESHNESS_TYPE, SHEET_TYPE):
        return f"{name}.json"
    return f"{name}-{payload.version}.json"


def place_of(trust: TrustSection, file: DocumentFile) -> Path:
    """Where a document goes in a node's home.

    Raises:
        ConfigError: `[trust]` names no folder for it.
    """
    catalogue = file.kind in (ITEMS_TYPE, SHEET_TYPE)
    for path in trust.catalogue if catalogue else trust.directories:
        if path.is_dir() or (not path.exists() and not path.suffix):
            return path / file_name(file)
    section = "catalogue" if catalogue else "directories"
    what = f"[trust] {section} names no folder, so {file.name} {file.prefix} has no place"
    path = (trust.catalogue if catalogue else trust.directories)[0]
    raise ConfigError([Problem(path, None, what, "name a folder there, such as directories/")])


def lay_down(trust: TrustSection, files: Iterable[DocumentFile]) -> list[Path]:
    """Write documents into a node's home, freshness statements after what they name.

    Raises:
        ConfigError: as `place_of`; nothing was written.
        OSError: the disk refused.
    """
    order = list(MODELS)
    placed = [(place_of(trust, file), file) for file in files]
    placed.sort(key=lambda row: order.index(row[1].kind))
    for path, file in placed:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, file.octets)
    return [path for path, _ in placed]


def write_file(path: Path, octets: bytes) -> None:
    """Put a document where it belongs: whoever reads it meanwhile sees the old one or the new."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(octets)
    fresh.replace(path)
    sync_directory(path.parent)


def superseded(file: DocumentFile, province: Province) -> bool:
    """Whether a file of this province is a directory or items no longer in force."""
    if file.prefix != province.prefix or file.kind not in (DIRECTORY_TYPE, ITEMS_TYPE):
        return False
    said = province.freshness.payload
    named = said.directory if file.kind == DIRECTORY_TYPE else said.items
    return named is not None and file.digest != named.digest
