"""A vector's folder as the runner reads it; nothing here knows how the folders were made."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from protocol.instants import parse_instant
from signing.keys import KeyUse
from signing.suites import PublicKey, Suite, load_public_key
from signing.trust import KeyRecord

ROOT: Final = Path(__file__).resolve().parents[2] / "docs" / "spec" / "vectors"


@dataclass(frozen=True)
class Vector:
    """One folder."""

    folder: Path

    @property
    def name(self) -> str:
        """Group and name, as the test run shows it."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def group(self) -> str:
        return self.folder.parent.name

    @cached_property
    def case(self) -> dict[str, Any]:
        """The octets of case.json as an object."""
        told: dict[str, Any] = json.loads(self.octets("case.json"))
        return told

    def octets(self, name: str) -> bytes:
        """One file."""
        return (self.folder / name).read_bytes()

    def has(self, name: str) -> bool:
        return (self.folder / name).is_file()

    @property
    def expect(self) -> str:
        return str(self.case["expect"])

    @property
    def clauses(self) -> list[str]:
        """The rules it shows."""
        stated = self.case["clause"]
        return [stated] if isinstance(stated, str) else list(stated)

    @property
    def stage(self) -> str | None:
        return self.case.get("stage")

    def instant(self, name: str) -> int:
        """A field of case.json in milliseconds."""
        return parse_instant(self.case[name])

    @cached_property
    def records(self) -> list[KeyRecord]:
        """The registered keys."""
        return [_record(row) for row in self.case.get("keys", ())]

    @cached_property
    def signers(self) -> list[PublicKey]:
        """Who may sign a document."""
        return [public_key(row) for row in self.case.get("signers", ())]


def _record(row: dict[str, Any]) -> KeyRecord:
    key = public_key(row)
    revoked = row["revoked"]
    return KeyRecord(
        key,
        KeyUse(row["use"]),
        row["owner"],
        row["node"],
        parse_instant(row["notBefore"]),
        parse_instant(row["notAfter"]),
        None if revoked is None else parse_instant(revoked),
    )


def public_key(row: dict[str, Any]) -> PublicKey:
    """A key of case.json; its id has to be the digest it is said to be."""
    key = load_public_key(Suite(row["suite"]), base64.b64decode(row["spki"], validate=True))
    assert key.key_id == row["id"]
    return key


def vectors(*groups: str) -> list[Vector]:
    """Every folder, or every folder of these groups, in order."""
    found = sorted(path.parent for path in ROOT.glob("*/*/case.json"))
    return [Vector(path) for path in found if not groups or path.parent.name in groups]
