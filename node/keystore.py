"""The key store on disk: a directory with one PKCS#8 PEM file per key and an index.

    keys/                           mode 0700
      index.json                    {"version": 1, "keys": [one object per `KeyEntry`]}
      <use>-<owner>-<key id>.pem    mode 0600, encrypted when the store has a passphrase

The index is rewritten after the key file is durable, so a crash leaves at worst a key file that
nothing refers to. Everything is read and checked when the store is opened: a damaged key stops the
start, not the first message that needs it. Messages say which file and what to do; no secret ever
gets into one, into a repr or into a log.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from node.keyfile import (
    check_private,
    decode_key,
    encode_key,
    read_private_file,
    sync_directory,
    write_private_file,
)
from protocol.errors import LocalUseError, RefusedError
from signing.keys import KeyStoreError, KeyUse, SigningRequest
from signing.suites import PrivateKey, PublicKey, Suite, load_private_key, private_key_from_entropy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

INDEX_NAME: Final = "index.json"
INDEX_VERSION: Final = 1
_OWNER: Final = re.compile(r"\A[0-9A-Z]{1,32}\Z")


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One row of the index.

    Attributes:
        key_id: The key, 43 characters.
        use: What it may sign.
        owner: USCC of an authority, or node id for receipt and ping keys.
        suite: The suite it is good for.
        file: Name of its file in the store's directory.
        created_ms: When it was made, milliseconds since 1970 UTC.
    """

    key_id: str
    use: KeyUse
    owner: str
    suite: Suite
    file: str
    created_ms: int


class FileKeyStore:
    """A `KeyStore` over a directory; may be used from several threads and processes.

    A process sees the keys that were there when it opened the store, and those it makes itself.
    """

    def __init__(self, directory: Path, passphrase: bytes | None = None) -> None:
        """Open an existing store; `FileKeyStore.create` makes a new one.

        Args:
            directory: Where the keys are.
            passphrase: Opens encrypted keys and encrypts new ones; None for keys in the clear.

        Raises:
            KeyStoreError: something is missing, damaged, open to others, or does not fit its id.
            UnavailableError: SUITE_UNAVAILABLE: SM2 keys, and no SM2 on this machine.
        """
        self._directory: Final = directory
        self._passphrase: Final = passphrase
        check_private(directory, "700")
        self._entries = {entry.key_id: entry for entry in _read_index(directory / INDEX_NAME)}
        self._keys = {entry.key_id: self._load(entry) for entry in self._entries.values()}
        self._newest = self._find_newest()

    @classmethod
    def create(cls, directory: Path, passphrase: bytes | None = None) -> FileKeyStore:
        """Make an empty store and open it.

        Raises:
            KeyStoreError: there is one already, or the disk refused.
        """
        if (directory / INDEX_NAME).exists():
            message = f"{directory}: already a key store. Open it, or choose another directory."
            raise KeyStoreError(message)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_directory(directory.parent)
        except OSError as error:
            message = f"{directory}: cannot be made ({error.strerror}). Mend the path above it."
            raise KeyStoreError(message) from error
        check_private(directory, "700")
        _write_index(directory / INDEX_NAME, [])
        return cls(directory, passphrase)

    def __repr__(self) -> str:
        return f"FileKeyStore({str(self._directory)!r}, {len(self._keys)} keys)"

    def create_key(
        self, use: KeyUse, owner: str, suite: Suite, entropy: bytes, now_ms: int
    ) -> PublicKey:
        """Make a key and store it; when this returns, it is on disk.

        Args:
            use: What it will sign.
            owner: USCC of an authority, or node id for receipt and ping keys.
            suite: Its suite.
            entropy: At least 48 octets from the system's source, used for nothing else.
            now_ms: Milliseconds since 1970 UTC.

        Raises:
            KeyStoreError: the key is there already (entropy used twice), or the disk refused.
            LocalUseError: too little entropy, or an owner that is no code.
        """
        if not _OWNER.match(owner):
            message = f"a key's owner is a USCC or a node id, not {owner!r}"
            raise LocalUseError(message)
        key = private_key_from_entropy(suite, entropy)
        name = f"{use}-{owner}-{key.public.key_id}.pem"
        entry = KeyEntry(key.public.key_id, use, owner, suite, name, now_ms)
        with _locked(self._directory):
            index = self._directory / INDEX_NAME
            entries = _read_index(index)
            if any(known.key_id == entry.key_id for known in entries):
                message = f"{self._directory / name}: already there. Never use entropy twice."
                raise KeyStoreError(message)
            write_private_file(self._directory / name, encode_key(key.pkcs8(), self._passphrase))
            _write_index(index, [*entries, entry])
        # New mappings instead of changed ones: readers in other threads see one or the other.
        self._keys = {**self._keys, entry.key_id: key}
        self._entries = {**self._entries, entry.key_id: entry}
        self._newest = self._find_newest()
        return key.public

    def sign(self, requests: Sequence[SigningRequest]) -> list[bytes]:
        """One signature per request, in their order; KeyStoreError for an unknown id."""
        keys = [self._key(request.key_id) for request in requests]
        return [key.sign(request.octets) for key, request in zip(keys, requests, strict=True)]

    def public(self, key_id: str) -> PublicKey:
        """The public key of an id; KeyStoreError if it is not in the store."""
        return self._key(key_id).public

    def find(self, use: KeyUse, owner: str) -> str:
        """The id of the newest key with this use and owner; KeyStoreError if there is none."""
        found = self._newest.get((use, owner))
        if found is None:
            message = (
                f"{self._directory}: no {use} key of {owner}. Make one with: run_node.py keys, "
                "and register it in the directory."
            )
            raise KeyStoreError(message)
        return found

    def keys(self) -> list[KeyEntry]:
        """What is in the store, oldest first."""
        return sorted(self._entries.values(), key=lambda entry: entry.created_ms)

    def _find_newest(self) -> dict[tuple[KeyUse, str], str]:
        return {(entry.use, entry.owner): entry.key_id for entry in self.keys()}

    def _key(self, key_id: str) -> PrivateKey:
        try:
            return self._keys[key_id]
        except KeyError:
            message = f"{self._directory}: no key {key_id}. Look with: run_node.py keys."
            raise KeyStoreError(message) from None

    def _load(self, entry: KeyEntry) -> PrivateKey:
        path = self._directory / entry.file
        octets = read_private_file(path)
        try:
            key = load_private_key(decode_key(octets, self._passphrase))
        except ValueError as error:
            message = f"{path}: {error}."
            raise KeyStoreError(message) from None
        except RefusedError as error:
            message = f"{path}: {error.detail}. Restore the file from the backup."
            raise KeyStoreError(message) from None
        if (key.public.key_id, key.suite) != (entry.key_id, entry.suite):
            message = (
                f"{path}: holds {key.suite} key {key.public.key_id}, but the index says "
                f"{entry.suite} key {entry.key_id}. Restore both from the same backup."
            )
            raise KeyStoreError(message)
        return key


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other processes from rewriting the index meanwhile."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_index(path: Path, entries: Sequence[KeyEntry]) -> None:
    rows = [asdict(entry) for entry in entries]
    text = json.dumps({"version": INDEX_VERSION, "keys": rows}, indent=1)
    write_private_file(path, text.encode() + b"\n")


def _read_index(path: Path) -> list[KeyEntry]:
    octets = read_private_file(path)
    try:
        index = json.loads(octets)
        if index["version"] != INDEX_VERSION:
            message = f"version {index['version']!r}, this program reads {INDEX_VERSION}"
            raise ValueError(message)  # noqa: TRY301
        return [_entry(row) for row in index["keys"]]
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        message = f"{path}: not a key index ({error}). Restore it from the backup."
        raise KeyStoreError(message) from error


def _entry(row: dict[str, Any]) -> KeyEntry:
    """A row of the index; ValueError, TypeError or AttributeError if it is none."""
    if row.keys() != {field.name for field in fields(KeyEntry)}:
        message = f"a key with the fields {', '.join(sorted(row))}"
        raise ValueError(message)
    entry = KeyEntry(
        key_id=str(row["key_id"]),
        use=KeyUse(row["use"]),
        owner=str(row["owner"]),
        suite=Suite(row["suite"]),
        file=str(row["file"]),
        created_ms=int(row["created_ms"]),
    )
    if Path(entry.file).name != entry.file:
        message = f"the file name {entry.file!r} leads elsewhere"
        raise ValueError(message)
    return entry
