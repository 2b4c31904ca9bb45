"""Signed documents in files, sorted by what they claim to be; nothing is verified here.

A path names a file or a folder; of a folder, every ``*.json`` in it counts. What a file is its
signed type says, not its name or place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from protocol.errors import RefusedError
from protocol.reasons import Reason
from routing.catalogue import ITEMS_TYPE, SHEET_TYPE
from routing.directory_province import NAMES as SET_NAMES
from routing.directory_province import claimed_prefix
from routing.payload import digest_of
from signing.document import read_claims

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

NAMES = {**SET_NAMES, ITEMS_TYPE: "items", SHEET_TYPE: "sheet"}
"""Every kind of signed document, and what it is called."""


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
