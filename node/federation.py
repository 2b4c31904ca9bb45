"""The signed data a node believes, read from its files: directories, items, sheets (信任数据).

A path of `[trust]` names a file or a folder; of a folder, every ``*.json`` in it counts. What is in
a catalogue file its signed type says: a province's items or an authority's sheet.

* A directory or an items document that does not hold stops the start; at a reload everything stays
  as it was. A sheet that does not hold is left out with a warning (or stays in its last version):
  one authority's mistake must not stop everybody.
* Nothing goes back to an older version, and no version gets other content (`accept_newer`).
* This node has to be in the directory with the certificate and the receipt key it really has:
  else its peers could not believe a word.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from node.config import ConfigError, Problem
from node.context import Federation
from protocol.errors import RefusedError, UnavailableError
from routing.catalogue import (
    SHEET_TYPE,
    Catalogue,
    ItemsDocument,
    SheetDocument,
    open_items,
    open_sheet,
)
from routing.directory import Directory, DirectoryDocument, TrustAnchor, open_directory
from routing.payload import accept_newer
from signing.keys import KeyStoreError, KeyUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from node.config import Config
    from node.ports import Clock
    from node.tls import TlsIdentity
    from signing.keys import KeyStore

_log = structlog.get_logger()


class Trust:
    """The files of `[trust]`, and what of them is in force."""

    def __init__(self, config: Config, identity: TlsIdentity, keys: KeyStore, clock: Clock) -> None:
        self._config = config
        self._trust = config.trust
        self._identity = identity
        self._keys = keys
        self._clock = clock
        self._directories: dict[str, DirectoryDocument] = {}
        self._items: dict[str, ItemsDocument] = {}
        self._sheets: dict[str, SheetDocument] = {}

    def load(self) -> Federation:
        """Read all files again.

        Raises:
            ConfigError: a file is missing or does not hold, or the directory knows this node
                otherwise than it is; nothing has changed.
            KeyStoreError: this node has no receipt key.
            UnavailableError: SUITE_UNAVAILABLE: it could not be checked; nothing has changed.
        """
        anchor_file = self._trust.anchor
        with _telling(anchor_file):
            anchor = TrustAnchor.read(_read(anchor_file))
        directories = dict(self._directories)
        for path in _files(self._trust.directories):
            with _telling(path):
                document = open_directory(_read(path), anchor)
                prefix = document.payload.prefix
                directories[prefix] = accept_newer(directories.get(prefix), document)
        if not directories:
            what, remedy = "no directory in it", "take it from its publisher: directory install"
            raise ConfigError([Problem(self._trust.directories[0], None, what, remedy)])
        with _telling(self._trust.directories[0]):
            directory = Directory.merge(directories.values())
        self._check_self(directory)
        items, sheets = dict(self._items), dict(self._sheets)
        for path in _files(self._trust.catalogue):
            octets = _read(path)
            if _signed_type(octets) == SHEET_TYPE:
                _take_sheet(path, octets, directory, sheets)
                continue
            with _telling(path):
                published = open_items(octets, anchor)
                prefix = published.payload.prefix
                items[prefix] = accept_newer(items.get(prefix), published)
        with _telling(self._trust.catalogue[0]):
            catalogue = Catalogue.merge(items.values(), sheets.values(), directory)
        for aside in catalogue.set_aside:
            _log.warning(
                "implementation set aside",
                authority=aside.authority,
                code=aside.code,
                why=aside.problem,
            )
        self._directories, self._items, self._sheets = directories, items, sheets
        return Federation(directory, catalogue)

    def _check_self(self, directory: Directory) -> None:
        """Whether this node is who the directory says it is; every difference at once."""
        here = self._config.node.id
        problems = [
            Problem(self._trust.directories[0], None, what, remedy)
            for what, remedy in _differences(directory, self._config, self._identity, self._keys)
        ]
        if problems:
            raise ConfigError(problems)
        for prefix in directory.stale(self._clock.now_ms()):
            _log.warning("directory expired", prefix=prefix)
        for use, owner in _signs(directory, here):
            if not _can_sign(use, owner, here, directory, self._keys):
                _log.warning("no registered key", use=use.value, owner=owner)


def _take_sheet(
    path: Path, octets: bytes, directory: Directory, sheets: dict[str, SheetDocument]
) -> None:
    try:
        sheet = open_sheet(octets, directory)
        authority = sheet.payload.authority
        sheets[authority] = accept_newer(sheets.get(authority), sheet)
    except (RefusedError, UnavailableError) as error:
        _log.warning("sheet left out", file=path.name, why=str(error))


def _differences(
    directory: Directory, config: Config, identity: TlsIdentity, keys: KeyStore
) -> Iterator[tuple[str, str]]:
    here = config.node.id
    again = "send request.json of the node's home to the publisher, and take the new directory"
    if directory.environment != config.node.environment:
        what = f"it is for {directory.environment}, but this node is in {config.node.environment}"
        yield what, "correct [node] environment, or take the other directory"
    node = directory.node(here)
    if node is None:
        yield f"node {here} is not listed", again
        return
    if node.certificate != identity.certificate:
        yield f"node {here} is listed with another TLS certificate than its own", again
    receipt_key = keys.find(KeyUse.RECEIPT, here)
    record = directory.trust.key(receipt_key, here)
    if record is None or (record.use, record.owner) != (KeyUse.RECEIPT, here):
        yield f"the receipt key of {here}, {receipt_key}, is not registered", again
    elif record.revoked_ms is not None:
        yield f"the receipt key of {here}, {receipt_key}, is revoked", "make a new one: keys"


def _signs(directory: Directory, here: str) -> Iterator[tuple[KeyUse, str]]:
    """What a node can do without, but not for long."""
    yield KeyUse.EVIDENCE, here
    yield KeyUse.HEAD, here
    operators = {node.operator for node in directory.nodes.values()}
    for authority in directory.authorities.values():
        if authority.node == here and authority.uscc not in operators:
            yield KeyUse.ENVELOPE, authority.uscc
    node = directory.node(here)
    if node is not None:
        yield KeyUse.PING, node.operator


def _can_sign(use: KeyUse, owner: str, here: str, directory: Directory, keys: KeyStore) -> bool:
    try:
        record = directory.trust.key(keys.find(use, owner), here)
    except KeyStoreError:
        return False
    return record is not None and record.revoked_ms is None


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Whoever starts the node is told which file was refused, and what to do."""
    try:
        yield
    except RefusedError as error:
        reason = error.reason
        what = f"{reason.chinese} ({reason.code}): {error.detail}"
        remedy = f"{reason.chinese_remedy} · {reason.remedy}"
        raise ConfigError([Problem(path, None, what, remedy)]) from error


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.json"))
        else:
            yield path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        remedy = "get the file from its publisher, or correct [trust]"
        raise ConfigError([Problem(path, None, what, remedy)]) from error


def _signed_type(octets: bytes) -> object:
    """What a document says it is; its signature covers that, and whoever opens it checks it."""
    try:
        tree = json.loads(octets)
    except ValueError:
        return None
    return tree.get("payloadType") if isinstance(tree, dict) else None
