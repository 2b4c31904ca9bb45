"""What the provinces of the demo sign: roots, directories, items and freshness, two of three keys.

Each province has three keepers of its root, three of its directory, and one machine that says every
day what is in force; each holds one key in a folder of its own under ``publishers/``. What they
sign here in one go, people sign on separate machines: docs/operations.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from examples.federation import directory_payload, items_payload
from node.cli.documents import Signer, sign_payload
from node.clock import SystemEntropy
from node.keystore import FileKeyStore
from routing.directory_province import open_province
from routing.directory_roles import (
    AnchorEntry,
    FreshnessPayload,
    Role,
    RoleKey,
    RootPayload,
    TrustAnchor,
)
from routing.payload import Named, digest_of
from signing.keys import KeyUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from examples.federation import FederationPlan, NodeFacts
    from routing.directory_province import Province
    from signing.suites import Suite

_DAY_MS: Final = 24 * 3_600_000
_YEAR_MS: Final = 365 * _DAY_MS
_ENTROPY_OCTETS: Final = 48
_KEEPERS: Final = 3
_THRESHOLD: Final = 2
_HOLDERS: Final = {KeyUse.ROOT: "根", KeyUse.DIRECTORY: "目录", KeyUse.FRESHNESS: "时效"}


@dataclass(frozen=True, slots=True)
class Office:
    """One province's keepers.

    Attributes:
        prefix: Its region prefix.
        name: Its name.
        keepers: By role.
        keys: What a root lists, by role.
    """

    prefix: str
    name: str
    keepers: Mapping[KeyUse, Sequence[Signer]]
    keys: Mapping[KeyUse, Sequence[RoleKey]]

    def role(self, use: KeyUse) -> Role:
        """A role as the root has it."""
        keys = tuple(row.id for row in self.keys[use])
        return Role(threshold=min(_THRESHOLD, len(keys)), keys=keys)

    def signers(self, use: KeyUse) -> Sequence[Signer]:
        """As many keepers as it takes."""
        return self.keepers[use][: self.role(use).threshold]


def open_offices(
    folder: Path, plan: FederationPlan, prefixes: Iterable[str], suite: Suite, now_ms: int
) -> list[Office]:
    """Make the keepers' keys, for each of these provinces."""
    return [
        _open_office(folder / prefix, prefix, plan.province(prefix).name, suite, now_ms)
        for prefix in prefixes
    ]


def _open_office(folder: Path, prefix: str, name: str, suite: Suite, now_ms: int) -> Office:
    keepers: dict[KeyUse, list[Signer]] = {}
    keys: dict[KeyUse, list[RoleKey]] = {}
    for use, role in _HOLDERS.items():
        for number in range(1 if use is KeyUse.FRESHNESS else _KEEPERS):
            store = FileKeyStore.create(folder / f"{use}-{number + 1}" / "keys")
            entropy = SystemEntropy().octets(_ENTROPY_OCTETS)
            key = store.create_key(use, prefix, suite, entropy, now_ms)
            holder = f"{name}{role}保管人{number + 1}"
            row = RoleKey(id=key.key_id, suite=key.suite, spki=key.spki, holder=holder)
            keepers.setdefault(use, []).append(Signer(store, key.key_id))
            keys.setdefault(use, []).append(row)
    return Office(prefix, name, keepers, keys)


def publish(
    folder: Path,
    plan: FederationPlan,
    offices: Sequence[Office],
    facts: Mapping[str, NodeFacts],
    now_ms: int,
) -> list[Province]:
    """Sign everything, and lay it down: ``anchor.json``, ``directories/``, ``catalogue/``."""
    anchors: list[AnchorEntry] = []
    provinces: list[Province] = []
    for name in ("directories", "catalogue"):
        (folder / name).mkdir()
    for office in offices:
        items = items_payload(plan, office.prefix, version=1, issued_ms=now_ms)
        signed_items = sign_payload(items, *office.signers(KeyUse.DIRECTORY))
        (folder / "catalogue" / f"items-{office.prefix}-1.json").write_bytes(signed_items)
        documents = _documents(plan, office, facts, signed_items, now_ms)
        for kind, octets in documents.items():
            (folder / "directories" / f"{kind}-{office.prefix}.json").write_bytes(octets)
        named = _first(documents["root"])
        anchors.append(AnchorEntry(prefix=office.prefix, name=office.name, root=named))
        provinces.append(open_province(documents.values(), anchors[-1], now_ms))
    anchor = TrustAnchor(anchors=tuple(anchors))
    (folder / "anchor.json").write_text(anchor.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return provinces


def _documents(
    plan: FederationPlan,
    office: Office,
    facts: Mapping[str, NodeFacts],
    items: bytes,
    now_ms: int,
) -> dict[str, bytes]:
    """A province's set, by kind."""
    root = RootPayload(
        version=1,
        environment="trial",
        prefix=office.prefix,
        name=office.name,
        issued_ms=now_ms,
        expires_ms=now_ms + 3 * _YEAR_MS,
        keys=tuple(row for use in _HOLDERS for row in office.keys[use]),
        root=office.role(KeyUse.ROOT),
        directory=office.role(KeyUse.DIRECTORY),
        freshness=office.role(KeyUse.FRESHNESS),
        revoking=1,
    )
    signed_root = sign_payload(root, *office.signers(KeyUse.ROOT))
    directory = directory_payload(
        plan, office.prefix, facts, version=1, issued_ms=now_ms, expires_ms=now_ms + _YEAR_MS
    )
    signed_directory = sign_payload(directory, *office.signers(KeyUse.DIRECTORY))
    freshness = FreshnessPayload(
        environment="trial",
        prefix=office.prefix,
        issued_ms=now_ms,
        expires_ms=now_ms + _DAY_MS,
        root=_first(signed_root),
        directory=_first(signed_directory),
        items=_first(items),
        revocations=(),
    )
    signed_freshness = sign_payload(freshness, *office.signers(KeyUse.FRESHNESS))
    return {"root": signed_root, "directory": signed_directory, "freshness": signed_freshness}


def _first(octets: bytes) -> Named:
    return Named(version=1, digest=digest_of(octets))
