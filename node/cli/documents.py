"""Signed documents in files, for the commands: of which kind one is, and whether a set holds."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from node.cli.ending import CommandError
from protocol.errors import RefusedError
from protocol.reasons import Reason
from routing.catalogue import (
    ITEMS_TYPE,
    SHEET_TYPE,
    Catalogue,
    ItemsDocument,
    ItemsPayload,
    SheetDocument,
    SheetPayload,
    open_items,
    open_sheet,
)
from routing.directory import (
    DIRECTORY_TYPE,
    Directory,
    DirectoryDocument,
    DirectoryPayload,
    TrustAnchor,
    open_directory,
)
from routing.payload import read_payload, write_payload
from signing.document import assemble_document, signed_octets
from signing.keys import SigningRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from signing.keys import KeyStore

Payload: TypeAlias = DirectoryPayload | ItemsPayload | SheetPayload

MODELS: Final[dict[str, type[Payload]]] = {
    DIRECTORY_TYPE: DirectoryPayload,
    ITEMS_TYPE: ItemsPayload,
    SHEET_TYPE: SheetPayload,
}
NAMES: Final = {DIRECTORY_TYPE: "directory", ITEMS_TYPE: "items", SHEET_TYPE: "sheet"}


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """A signed document in a file: what it claims to be, nothing of it checked."""

    path: Path
    octets: bytes = field(repr=False)
    kind: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class Checked:
    """What documents say that hold, alone and together."""

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


def read_file(path: Path) -> DocumentFile:
    """What a signed document in a file says of itself, unverified.

    Raises:
        CommandError: no such file.
        RefusedError: DOCUMENT_INVALID: not a signed document of a kind known here.
    """
    octets = read_octets(path)
    try:
        outer = json.loads(octets)
        kind = str(outer["payloadType"])
        inner = base64.b64decode(outer["payload"], validate=True)
        model = MODELS[kind]
    except (ValueError, TypeError, LookupError) as error:
        detail = f"{path}: not a signed directory, items or sheet document"
        raise RefusedError(Reason.DOCUMENT_INVALID, detail) from error
    with naming(path):
        return DocumentFile(path, octets, kind, read_payload(model, inner))


def check_files(paths: Iterable[Path], anchor: TrustAnchor) -> Checked:
    """Check documents against the anchor and each other.

    Raises:
        CommandError: no directory among them, which sheets are held against.
        RefusedError: the first that does not hold, named.
        UnavailableError: one could not be checked.
    """
    files = [read_file(path) for path in paths]
    directories: list[DirectoryDocument] = []
    items: list[ItemsDocument] = []
    sheets: list[SheetDocument] = []
    for file in (file for file in files if file.kind == DIRECTORY_TYPE):
        with naming(file.path):
            directories.append(open_directory(file.octets, anchor))
    if not directories:
        what = "没有节点目录文件 there is no directory among the files"
        raise CommandError(what, "一并给出 name one too: sheets are held against it")
    directory = Directory.merge(directories)
    for file in files:
        with naming(file.path):
            if file.kind == ITEMS_TYPE:
                items.append(open_items(file.octets, anchor))
            elif file.kind == SHEET_TYPE:
                sheets.append(open_sheet(file.octets, directory))
    return Checked(directory, Catalogue.merge(items, sheets, directory))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A refusal inside names the file."""
    try:
        yield
    except RefusedError as refusal:
        raise RefusedError(refusal.reason, f"{path}: {refusal.detail}") from refusal


def sign_payload(payload: Payload, keys: KeyStore, key_id: str) -> bytes:
    """The signed document for a payload, by one key of a key store."""
    kind = next(kind for kind, model in MODELS.items() if type(payload) is model)
    octets = write_payload(payload)
    (signature,) = keys.sign([SigningRequest(key_id, signed_octets(kind, octets))])
    return assemble_document(kind, octets, {key_id: signature})


def write_file(path: Path, octets: bytes) -> None:
    """Put a document where it belongs: whoever reads it meanwhile sees the old one or the new."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(octets)
    fresh.replace(path)
