"""Signed documents in files, for the commands: what one says, signing one, whether a set holds."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from node import documents
from node.cli.ending import CommandError
from node.documents import MODELS, DocumentFile, Payload, files_in, read_document, set_of
from node.federation import named_items
from protocol.errors import RefusedError, UnavailableError
from routing.catalogue import (
    SHEET_TYPE,
    Catalogue,
    ItemsDocument,
    SheetDocument,
    open_sheet,
)
from routing.directory import Directory
from routing.directory_document import DIRECTORY_TYPE
from routing.directory_province import Province, open_province
from routing.directory_roles import (
    ROOT_TYPE,
    TrustAnchor,
)
from routing.payload import write_payload
from signing.document import assemble_document, signed_octets
from signing.keys import SigningRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from signing.keys import KeyStore


@dataclass(frozen=True, slots=True)
class Checked:
    """What documents say that hold, alone and together."""

    provinces: tuple[Province, ...]
    directory: Directory
    catalogue: Catalogue


def read_octets(path: Path) -> bytes:
    """A file's octets.

    Raises:
        CommandError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", "核对路径 check the path") from error


def read_anchor(path: Path) -> TrustAnchor:
    """The trust anchor in a file; RefusedError if it is none."""
    with naming(path):
        return TrustAnchor.read(read_octets(path))


def read_files(paths: Iterable[Path]) -> list[DocumentFile]:
    """The signed documents in these files and folders, unverified.

    Raises:
        CommandError: no such file.
        RefusedError: DOCUMENT_INVALID: not a signed document of a kind known here.
    """
    found: list[DocumentFile] = []
    for path in files_in(paths):
        with naming(path):
            found.append(read_document(path, read_octets(path)))
    return found


def payload_of(file: DocumentFile) -> Payload:
    """What a document says, unverified; a refusal names the file."""
    with naming(file.path):
        return documents.payload_of(file)


def check_files(files: Sequence[DocumentFile], anchor: TrustAnchor, now_ms: int) -> Checked:
    """Check documents against the anchor and each other.

    Raises:
        CommandError: no directory among them, which sheets are held against.
        RefusedError: the first that does not hold, named.
        UnavailableError: one could not be checked, or a set is not complete.
    """
    prefixes = sorted({file.prefix for file in files if file.kind in (ROOT_TYPE, DIRECTORY_TYPE)})
    if not prefixes:
        what = "没有节点目录文件 there is no directory among the files"
        raise CommandError(what, "一并给出 name one too: sheets are held against it")
    provinces: list[Province] = []
    items: list[ItemsDocument] = []
    for prefix in prefixes:
        province = open_province(set_of(files, prefix), anchor.entry(prefix), now_ms)
        published = named_items(province, files)
        provinces.append(province)
        items += [] if published is None else [published]
    directory = Directory.merge(provinces)
    sheets: list[SheetDocument] = []
    for file in files:
        if file.kind == SHEET_TYPE:
            with naming(file.path):
                sheets.append(open_sheet(file.octets, directory))
    return Checked(tuple(provinces), directory, Catalogue.merge(items, sheets, directory))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A refusal inside names the file."""
    try:
        yield
    except RefusedError as refusal:
        raise RefusedError(refusal.reason, f"{path}: {refusal.detail}") from refusal
    except UnavailableError as trouble:
        raise UnavailableError(trouble.reason, f"{path}: {trouble.detail}") from trouble


@dataclass(frozen=True, slots=True)
class Signer:
    """A key in a key store."""

    store: KeyStore = field(repr=False)
    key_id: str

    def sign(self, kind: str, payload: bytes) -> bytes:
        """Its signature for a document."""
        request = SigningRequest(self.key_id, signed_octets(kind, payload))
        return self.store.sign([request])[0]


def sign_payload(payload: Payload, *signers: Signer) -> bytes:
    """The signed document for a payload."""
    kind = kind_of(payload)
    octets = write_payload(payload)
    signatures = {signer.key_id: signer.sign(kind, octets) for signer in signers}
    return assemble_document(kind, octets, signatures)


def kind_of(payload: Payload) -> str:
    """The signed type of a payload."""
    return next(kind for kind, model in MODELS.items() if type(payload) is model)
