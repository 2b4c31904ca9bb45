"""A federation of production engines in one process, under virtual time.

Store code, engine, signatures and schemas are those of production; clock, randomness, network and
crashes come from the seed. A crash takes everything that was not committed: the node's tasks end
wherever they wait, and a new engine is opened on the same file.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from node.context import NodeContext
from node.engine import Engine
from node.parts.limits import PartLimits
from node.store.engine import StoreEngine
from node.store.sqlite import SqliteDatabase
from node.store.stores import InlineStore
from tests.sim.memory_blobs import Disk, MemoryBlobs

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from typing import Any, TypeVar

    from sqlalchemy import Connection

    from node.context import Federation
    from node.ports import Unit
    from node.recovery.marker import LogMark
    from signing.keys import KeyStore
    from signing.verify import Rules
    from tests.sim.gates import Gates
    from tests.sim.loop import VirtualLoop

    T = TypeVar("T")

PART_LIMITS: Final = PartLimits()


class Carrier(Protocol):
    """Whatever takes posts from one node to another."""

    async def post(
        self, origin: str, peer: str, octets: bytes, wait_ms: int | None = None
    ) -> bytes: ...


class SimClock:
    """The world's clock, as one node has it set."""

    def __init__(self, skew_ms: int) -> None:
        self._skew_ms = skew_ms

    def now_ms(self) -> int:
        loop: VirtualLoop = asyncio.get_running_loop()  # type: ignore[assignment]
        return loop.now_ms() + self._skew_ms

    async def sleep_ms(self, duration_ms: int) -> None:
        await asyncio.sleep(duration_ms / 1000)

    def pass_ms(self, duration_ms: int) -> None:
        """So much later, for this node, and nothing happened meanwhile."""
        self._skew_ms += duration_ms


class SimEntropy:
    """Randomness from the seed."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def octets(self, count: int) -> bytes:
        return self._dice.randbytes(count)


class SimStore:
    """The inline store, with moments before and after the commit at which a crash may come.

    They are whole milliseconds: what arrives at the same one is committed, and signed, together.
    """

    def __init__(self, inner: InlineStore, dice: random.Random) -> None:
        self._inner = inner
        self._dice = dice

    async def run(self, unit: Unit[T]) -> T:
        await asyncio.sleep(self._dice.randrange(4) / 1000)
        result = await self._inner.run(unit)
        await asyncio.sleep(self._dice.randrange(4) / 1000)
        return result

    async def read(self, query: Callable[[Connection], T]) -> T:
        return await self._inner.read(query)

    async def forget(self) -> None:
        await self._inner.forget()

    @property
    def trouble(self) -> str | None:
        return self._inner.trouble

    async def close(self) -> None:
        await self._inner.close()


@dataclass(slots=True)
class MemoryMarker:
    """A mark that outlives the crashes of its node; implements `node.recovery.marker.Marker`."""

    mark: LogMark | None = None

    async def read(self) -> LogMark | None:
        return self.mark

    async def write(self, mark: LogMark) -> None:
        self.mark = mark


@dataclass(frozen=True, slots=True)
class Backup:
    """One node as it was: its database, its large parts, and what stood beside them."""

    file: Path
    disk: Disk
    mark: LogMark | None


class SimTransport:
    """A node's way into the network."""

    def __init__(self, here: str, network: Carrier) -> None:
        self._here = here
        self._network = network

    async def post(
        self,
        peer: str,
        octets: bytes,
        *,
        wait_ms: int | None = None,
        sent: Callable[[], None] | None = None,
    ) -> bytes:
        if sent is not None:
            sent()
        return await self._network.post(self._here, peer, octets, wait_ms)


class SimNode:
    """One node that can be crashed and started again."""

    def __init__(
        self,
        node_id: str,
        folder: Path,
        keys: KeyStore,
        rules: Rules,
        federation: Federation,
        dice: random.Random,
        skew_ms: int = 0,
        parts: PartLimits = PART_LIMITS,
        gates: Gates | None = None,
        check_ms: int = 0,
    ) -> None:
        self.node_id = node_id
        self._check_ms = check_ms
        self.marker = MemoryMarker()
        self._gates = gates
        self.engine: Engine | None = None
        self.crashes = 0
        self._file = folder / f"{node_id}.db"
        self._keys = keys
        self._rules = rules
        self._federation = federation
        self._dice = dice
        self._clock = SimClock(skew_ms)
        self._parts = parts
        self.disk = Disk()
        self.store: SimStore | None = None
        self._tasks: set[asyncio.Future[Any]] = set()

    def start(self, network: Carrier, *, recover: bool = False) -> None:
        inner = InlineStore(StoreEngine(SqliteDatabase(self._file, durable=False), self._keys))
        self.store = SimStore(inner, self._dice)
        context = NodeContext(
            here=self.node_id,
            rules=self._rules,
            keys=self._keys,
            store=self.store,
            blobs=MemoryBlobs(self.disk, self._dice),
            clock=self._clock,
            entropy=SimEntropy(self._dice),
            federation=self._federation,
            parts=self._parts,
        )
        ferries = {} if self._gates is None else self._gates.ferries(context)
        self.engine = Engine(
            context, SimTransport(self.node_id, network), ferries=ferries, marker=self.marker
        )
        self.belongs(asyncio.ensure_future(_serve(self.engine, self._check_ms, recover=recover)))

    def reload(self, federation: Federation) -> None:
        """From now on this directory and catalogue are in force here."""
        self._federation = federation
        if self.engine is not None:
            self.engine.context.federation = federation

    def belongs(self, task: asyncio.Future[Any]) -> None:
        """This task dies with the node."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def crash(self) -> None:
        """Everything that waits here is gone; the file is as the last commit left it."""
        self.engine = None
        self.crashes += 1
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.stop()

    def lose_everything(self) -> None:
        """The disk is gone; only while the node is down."""
        for file in self._file.parent.glob(f"{self._file.name}*"):
            file.unlink()
        self.disk = Disk()

    def back_up(self) -> Backup:
        """A copy of the database as it is: what its last commits left."""
        folder = Path(tempfile.mkdtemp(dir=self._file.parent))
        copy = folder / self._file.name
        with closing(sqlite3.connect(self._file)) as source, closing(sqlite3.connect(copy)) as sink:
            source.backup(sink)
        blobs = Disk(self.disk.capacity, 0, dict(self.disk.unsealed), dict(self.disk.sealed))
        return Backup(copy, blobs, self.marker.mark)

    def restore(self, backup: Backup, *, whole: bool) -> None:
        """Put the database back, or the whole home; only while the node is down."""
        assert self.engine is None
        for file in self._file.parent.glob(f"{self._file.name}*"):
            file.unlink()
        shutil.copy(backup.file, self._file)
        if whole:
            self.disk, self.marker.mark = backup.disk, backup.mark

    async def stop(self) -> None:
        if self.store is not None:
            await self.store.close()
            self.store = None

    async def read(self, query: Callable[[Connection], T]) -> T:
        assert self.store is not None
        return await self.store.read(query)


async def _serve(engine: Engine, check_ms: int, *, recover: bool) -> None:
    await engine.prepare(check_ms=check_ms, recover=recover)
    await engine.run()
