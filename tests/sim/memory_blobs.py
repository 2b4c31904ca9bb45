"""Blobs in memory, for simulated nodes: what was not synchronised when a node crashed may be gone.

A `Disk` outlives its node as a disk does. An append is two moments, written and synchronised; a
crash between them leaves as much of the new octets as the dice say, none of them promised.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from node.ports import Held
from protocol.errors import LocalUseError, UnavailableError
from protocol.reasons import Reason
from signing.suites import digest

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from signing.suites import Suite


@dataclass(slots=True)
class Disk:
    """What one node's large parts are kept on.

    Attributes:
        capacity: Octets it has room for.
        failures: So many of the next appends fail.
        undeletable: Nothing can be deleted.
    """

    capacity: int = 1 << 30
    failures: int = 0
    unsealed: dict[str, bytes] = field(default_factory=dict)
    sealed: dict[str, bytes] = field(default_factory=dict)
    undeletable: bool = False

    @property
    def octets(self) -> int:
        """How full it is."""
        return sum(map(len, [*self.unsealed.values(), *self.sealed.values()]))


class MemoryBlobs:
    """Blobs on such a disk; implements `node.ports.Blobs`."""

    def __init__(self, disk: Disk, dice: random.Random) -> None:
        self._disk = disk
        self._dice = dice

    async def held(self, name: str) -> Held:
        if name in self._disk.sealed:
            return Held(len(self._disk.sealed[name]), sealed=True)
        return Held(len(self._disk.unsealed.get(name, b"")), sealed=False)

    async def append(self, name: str, offset: int, pieces: Sequence[bytes], suite: Suite) -> int:
        del suite
        held = await self.held(name)
        if held.sealed or held.octets < offset:
            raise LocalUseError(f"append at {offset} to a blob with {held}")
        before = self._disk.unsealed.get(name, b"")[:offset]
        coming = b"".join(pieces)
        if len(coming) > await self.space():
            raise UnavailableError(Reason.STORE_UNAVAILABLE, "disk full")
        if self._disk.failures:
            self._disk.failures -= 1
            raise UnavailableError(Reason.STORE_UNAVAILABLE, "disk fault")
        # Until this has slept, a crash may leave any beginning of it.
        self._disk.unsealed[name] = before + coming[: self._dice.randrange(len(coming) + 1)]
        await asyncio.sleep(self._dice.random() * 0.004)
        self._disk.unsealed[name] = before + coming
        return offset + len(coming)

    async def digest(self, name: str, suite: Suite) -> bytes:
        octets = self._disk.sealed.get(name) or self._disk.unsealed.get(name, b"")
        return digest(suite, octets)

    async def seal(self, name: str) -> None:
        if name not in self._disk.sealed:
            await asyncio.sleep(self._dice.random() * 0.004)
            self._disk.sealed[name] = self._disk.unsealed.pop(name)

    async def read(self, name: str, offset: int, length: int) -> bytes:
        if name not in self._disk.sealed:
            raise UnavailableError(Reason.STORE_UNAVAILABLE, "no such blob")
        return self._disk.sealed[name][offset : offset + length]

    async def delete(self, name: str) -> None:
        if self._disk.undeletable:
            raise UnavailableError(Reason.STORE_UNAVAILABLE, "disk fault")
        self._disk.sealed.pop(name, None)
        self._disk.unsealed.pop(name, None)

    async def names(self) -> Sequence[str]:
        return sorted(self._disk.sealed.keys() | self._disk.unsealed.keys())

    async def space(self) -> int:
        return max(0, self._disk.capacity - self._disk.octets)
