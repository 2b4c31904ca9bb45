"""A province's offline ceremony by command line: who keeps which key, and what they do with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.command_line import done

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command_line import Ending

ROLES = {"root": 3, "directory": 3, "freshness": 1}


@dataclass(frozen=True)
class Office:
    """A publisher's folder, and beside it a folder for each keeper's key.

    Attributes:
        folder: Holds `publisher/` and one folder per keeper: root-1, directory-2, freshness-1.
        prefix: The province.
        suite: What everybody signs with.
    """

    folder: Path
    prefix: str = "42"
    suite: str = "ed25519"

    @property
    def publisher(self) -> Path:
        return self.folder / "publisher"

    @property
    def published(self) -> Path:
        """What nodes install."""
        return self.publisher / "published"

    @property
    def anchor(self) -> Path:
        return self.publisher / "anchor.json"

    def keeper(self, role: str, number: int = 1) -> Path:
        return self.folder / f"{role}-{number}"

    def make_key(self, role: str, number: int) -> Path:
        """A keeper's key; the file to be handed over."""
        folder = self.keeper(role, number)
        words = ("--role", role, "--prefix", self.prefix, "--holder", f"保管人{number}")
        done("directory", "key", folder, *words, "--suite", self.suite)
        return folder / "public.json"

    def found(self) -> None:
        """Keys for every keeper, and the first root, published."""
        publics = [
            self.make_key(role, number + 1)
            for role, count in ROLES.items()
            for number in range(count)
        ]
        keys = [word for public in publics for word in ("--key", public)]
        words = ("--prefix", self.prefix, "--name", "湖北省")
        done("directory", "root", "init", self.publisher, *words, *keys)
        self.sign("root")
        self.publish()

    def pending(self, kind: str) -> Path:
        """The one proposal of a kind."""
        (path,) = (self.publisher / "pending").glob(f"{kind}-*.json")
        return path

    def sign(self, kind: str, *numbers: int, role: str | None = None) -> list[str]:
        """Let these keepers sign the proposal of a kind; what each was told."""
        held = role or ("root" if kind == "root" else "directory")
        return [
            done("directory", "sign", self.pending(kind), "--key", self.keeper(held, row), "--yes")
            for row in numbers or (1, 2)
        ]

    def publish(self) -> str:
        return done("directory", "publish", "-p", self.publisher)

    def refresh(self) -> str:
        key = self.keeper("freshness")
        return done("directory", "freshness", "sign", "-p", self.publisher, "--key", key)

    def issue(self) -> None:
        """The draft as the next directory: proposed, signed by two, published, in force."""
        done("directory", "draft", "-p", self.publisher)
        self.sign("directory")
        self.publish()
        self.refresh()

    def publish_items(self, payload: dict[str, Any]) -> None:
        """A province's items, signed by two; not yet in force."""
        text = self.folder / "items.txt"
        text.write_text(json.dumps(payload), encoding="utf-8")
        done("catalogue", "propose", text, "-p", self.publisher)
        self.sign("items")
        self.publish()


def refused(ending: Ending, *words: str) -> str:
    """What a refused command told; these words are in it."""
    assert ending.code == 1, (ending.out, ending.err)
    for word in words:
        assert word in ending.err, ending.err
    return ending.err
