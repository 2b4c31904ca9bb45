"""How 襄阳 is reached, if not as everybody else: by its own calls only, or by files through gates.

The gates (网闸) stand for a machine between two networks that nobody here controls: it takes files
out of one folder and puts them into another, under names of its own, when it gets round to it.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from node.toml_text import toml_value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from examples.demo.federation import Federation

_ROUND_TRIP_S: Final = 1
_PAUSES_S: Final = (0.1, 0.4)


class Carrier(StrEnum):
    """How the messages of one node travel (承载)."""

    PUSH = "push"
    PULL = "pull"
    FERRY = "ferry"


TOLD: Final = {
    Carrier.PUSH: "",
    Carrier.PULL: "谁也呼叫不到襄阳，由它向外呼叫取件 · nobody can dial 襄阳, it calls its peers",
    Carrier.FERRY: "襄阳在网闸之后，只有文件进出 · 襄阳 sits behind one-way gates: files only",
}


@dataclass(slots=True)
class Gates:
    """The gates around one node.

    Attributes:
        folder: Holds two folders per node and link.
        carried: Files that have passed.
    """

    folder: Path
    carried: int = 0
    _links: list[tuple[str, str]] = field(default_factory=list)

    def put_around(self, federation: Federation, node: str) -> None:
        """Configure every link of a node to go through gates, at both ends."""
        for peer in federation.sites:
            if federation.directory.linked(node, peer):
                self._links += [(node, peer), (peer, node)]
        for here, peer in self._links:
            out, into = self._folders(here, peer)
            out.mkdir(parents=True)
            into.mkdir()
            values = {"node": peer, "out": str(out.absolute()), "in": str(into.absolute())}
            lines = [f"{name} = {toml_value(value)}\n" for name, value in values.items()]
            with federation.sites[here].config.open("a", encoding="utf-8") as file:
                file.writelines(["\n[[ferry]]\n", *lines, f"round_trip_s = {_ROUND_TRIP_S}\n"])

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """They carry files while the block runs."""
        carrying = asyncio.create_task(self._carry())
        try:
            yield
        finally:
            carrying.cancel()
            await asyncio.gather(carrying, return_exceptions=True)

    async def _carry(self) -> None:
        while True:
            await asyncio.sleep(random.uniform(*_PAUSES_S))  # noqa: S311 - a gate's own time
            for path, sink in self._waiting():
                self.carried += 1
                path.rename(sink / f"{self.carried:08}")

    def _waiting(self) -> Iterator[tuple[Path, Path]]:
        """Files to carry, and the folder each goes to."""
        for here, peer in self._links:
            out, _ = self._folders(here, peer)
            _, into = self._folders(peer, here)
            for path in sorted(out.glob("[!.]*")):
                yield path, into

    def _folders(self, here: str, peer: str) -> tuple[Path, Path]:
        base = self.folder / f"{here}-{peer}"
        return base / "out", base / "in"
