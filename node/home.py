"""A node's home: one folder with everything that is its own, made once by `run_node.py init`.

    node.toml        configuration; written last, so a home without it was never finished
    keys/            signing keys (node/keystore.py)
    tls/             certificate and key (node/tls.py)
    local.token      what callers of the local API show; mode 0600
    request.json     the node's public facts, for the publisher of its directory (node/request.py)
    node.db          the store, made at the first start
    parts/           parts beyond 64 KiB (node/blobs.py), made at the first start
    anchor.json      the trust anchor, by hand; directories/, catalogue/: what is published
    trust-memory.json  which versions were accepted (node/trust_memory.py)

Whatever is there already is kept: a first try that was cut short is gone on with.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from node.config import ConfigError, Problem
from node.config_text import default_config_text
from node.keyfile import write_private_file
from node.keystore import INDEX_NAME, FileKeyStore
from node.request import KeyFacts, NodeFacts, write_request
from node.tls import CERTIFICATE_FILE, create_identity, load_identity
from protocol.identifiers import is_uscc
from routing.directory_document import NodeEntry
from signing.keys import KeyUse
from signing.suites import Suite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Literal

    from node.ports import Entropy
    from node.tls import TlsIdentity
    from protocol.envelope import Environment

CONFIG_FILE: Final = "node.toml"
REQUEST_FILE: Final = "request.json"
TOKEN_FILE: Final = "local.token"  # noqa: S105 - its name, not the token
KEYS_FOLDER: Final = "keys"
TLS_FOLDER: Final = "tls"
ANCHOR_FILE: Final = "anchor.json"
DIRECTORIES_FOLDER: Final = "directories"
CATALOGUE_FOLDER: Final = "catalogue"

_TOKEN_OCTETS: Final = 32
_KEY_ENTROPY_OCTETS: Final = 64
_ANY_CERTIFICATE: Final = b"\x30"


@dataclass(frozen=True, slots=True)
class NewNode:
    """What a new node is to be.

    Attributes:
        node: Node id, a region code.
        name: What people call it.
        environment: trial or production.
        operator: USCC of the authority that runs it; it signs the node's pings.
        authorities: USCCs of those the node will speak for: each gets a key for envelopes and one
            for its part of the catalogue.
        serves: Regions it serves.
        url: Where peers reach it, https://host:port; None if they cannot.
        role: node or hub.
        forwards_for: Of a hub: the region prefixes.
        suite: What all its keys sign with.
        peers_host, peers_port: Where it listens for peers.
        local_port: Where it listens for its own unit, on loopback.
        directories, catalogues: Files from the publishers; relative to the home.
    """

    node: str
    name: str
    environment: Environment
    operator: str
    authorities: tuple[str, ...]
    serves: tuple[str, ...]
    url: str | None
    role: Literal["node", "hub"] = "node"
    forwards_for: tuple[str, ...] = ()
    suite: Suite = Suite.SM2_SM3
    peers_host: str = "0.0.0.0"  # noqa: S104 - peers come from outside; mutual TLS keeps others out
    peers_port: int = 8443
    local_port: int = 8080
    anchor: str = ANCHOR_FILE
    directories: tuple[str, ...] = (DIRECTORIES_FOLDER,)
    catalogues: tuple[str, ...] = (CATALOGUE_FOLDER,)


@dataclass(frozen=True, slots=True)
class Home:
    """A home that is complete but for what its publishers send."""

    config: Path
    request: Path
    token: Path


def create_home(folder: Path, new: NewNode, entropy: Entropy, now_ms: int) -> Home:
    """Make a node's home, or go on with one that was not finished.

    Args:
        folder: The home; made if it is missing, for the node's own user only.
        new: What the node is to be.
        entropy: For keys and the token.
        now_ms: The present.

    Raises:
        ConfigError: there is a finished home already; a fact is not in its form; the TLS identity
            of an unfinished home is broken.
        KeyStoreError: its key store is broken, or the disk refused.
    """
    home = Home(folder / CONFIG_FILE, folder / REQUEST_FILE, folder / TOKEN_FILE)
    if home.config.exists():
        remedy = "keep it, or give another folder; its keys are registered in the directory"
        raise ConfigError([Problem(home.config, None, "there is a node's home already", remedy)])
    problems = [Problem(home.request, None, what, remedy) for what, remedy in _misfits(new)]
    if problems:
        raise ConfigError(problems)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = _keys(folder / KEYS_FOLDER, new, entropy, now_ms)
    identity = _identity(folder / TLS_FOLDER, new, now_ms)
    if not home.token.exists():
        token = base64.urlsafe_b64encode(entropy.octets(_TOKEN_OCTETS)).rstrip(b"=")
        write_private_file(home.token, token + b"\n")
    home.request.write_bytes(write_request(_facts(new, keys, identity), keys))
    text = default_config_text(_config(new))
    home.config.write_text(text, encoding="utf-8")
    return home


def _misfits(new: NewNode) -> Iterator[tuple[str, str]]:
    """What a directory could not list: all of it, before a key is made for it."""
    try:
        _entry(new, _ANY_CERTIFICATE)
    except ValidationError as error:
        for row in error.errors(include_url=False):
            place = ".".join(map(str, row["loc"]))
            yield f"{place}: {row['msg']}", f"correct {row['loc'][0]}"
    for uscc in new.authorities:
        if not is_uscc(uscc):
            what = f"authorities: {uscc[:18]!r} is not a unified social credit code"
            yield what, "read it from the licence again: 18 digits and capitals"


def _uses(new: NewNode) -> Iterator[tuple[KeyUse, str]]:
    """What the node signs, and whose key that is."""
    yield KeyUse.RECEIPT, new.node
    yield KeyUse.EVIDENCE, new.node
    yield KeyUse.HEAD, new.node
    yield KeyUse.CARRIER, new.node
    yield KeyUse.PING, new.operator
    for authority in new.authorities:
        yield KeyUse.ENVELOPE, authority
        yield KeyUse.CATALOGUE, authority


def _keys(folder: Path, new: NewNode, entropy: Entropy, now_ms: int) -> FileKeyStore:
    there = (folder / INDEX_NAME).exists()
    keys = FileKeyStore(folder) if there else FileKeyStore.create(folder)
    entries = keys.keys()
    held = {(entry.use, entry.owner) for entry in entries}
    for use, owner in _uses(new):
        if (use, owner) not in held:
            keys.create_key(use, owner, new.suite, entropy.octets(_KEY_ENTROPY_OCTETS), now_ms)
    return keys


def _identity(folder: Path, new: NewNode, now_ms: int) -> TlsIdentity:
    if (folder / CERTIFICATE_FILE).exists():
        return load_identity(folder, new.node)
    host = (new.url or "").removeprefix("https://").rpartition(":")[0].strip("[]")
    return create_identity(folder, new.node, [host] if host else [], now_ms)


def _facts(new: NewNode, keys: FileKeyStore, identity: TlsIdentity) -> NodeFacts:
    publics = [(use, owner, keys.public(keys.find(use, owner))) for use, owner in _uses(new)]
    return NodeFacts(
        version=1,
        environment=new.environment,
        node=_entry(new, identity.certificate),
        keys=tuple(
            KeyFacts(id=key.key_id, suite=key.suite, spki=key.spki, use=use, owner=owner)
            for use, owner, key in publics
        ),
    )


def _entry(new: NewNode, certificate: bytes) -> NodeEntry:
    return NodeEntry(
        id=new.node,
        name=new.name,
        role=new.role,
        operator=new.operator,
        url=new.url,
        certificate=certificate,
        serves=new.serves,
        forwards_for=new.forwards_for,
    )


def _config(new: NewNode) -> dict[str, dict[str, object]]:
    return {
        "node": {
            "id": new.node,
            "name": new.name,
            "environment": new.environment,
            "suite": new.suite.value,
        },
        "peers": {"host": new.peers_host, "port": new.peers_port, "url": new.url or ""},
        "local": {"port": new.local_port, "token_file": TOKEN_FILE},
        "trust": {
            "anchor": new.anchor,
            "directories": new.directories,
            "catalogue": new.catalogues,
        },
        "store": {"path": "node.db"},
        "keys": {"directory": KEYS_FOLDER},
        "tls": {"directory": TLS_FOLDER},
    }
