"""An inclusion proof from a log of ten million leaves: how long, and how much of the log it reads.

The log is built by the node's own steps (`node.log.growth`), then closed and opened again; each
proof is one read of the store, from the head that was signed last. The floor is those rows alone,
fetched by their keys over the bare driver from the same file. Beside it: from a digest instead of a
place, the growth between two sizes, and the first proofs after the file left the system's memory.
Every proof is held against the head's root.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sqlite3
import statistics
import struct
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final, TypeVar

from bench.result import AuditError, Measured, quantile
from bench.workplace import workplace
from node.keystore import FileKeyStore
from node.log.growth import Moment, plan_step, step_unit
from node.log.reading import LogReader, find_birth, newest_head, proofs_for
from node.ports import Decision, Leaves, Unit
from node.store.engine import Done, StoreEngine
from node.store.sqlite import SqliteDatabase
from signing.keys import KeyUse
from signing.log import Birth, Leaf, LeafType, LogDigest
from signing.merkle import leaf_hash, root_from_inclusion, verify_consistency
from signing.suites import Suite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from node.log.reading import HeadRow
    from signing.suites import PublicKey

T = TypeVar("T")

NODE: Final = "420100"
_STEP: Final = 1 << 16
_TILE: Final = "SELECT hashes FROM log_tile WHERE level = ? AND number = ?"


def digest_of(number: int) -> bytes:
    """The digest of a numbered leaf."""
    return hashlib.sha256(struct.pack(">Q", number)).digest()


def build(engine: StoreEngine, keys: FileKeyStore, count: int) -> None:
    """Grow a log of so many leaves, its birth among them, by the node's own steps."""
    key = keys.public(keys.find(KeyUse.HEAD, NODE))
    for begin in range(0, count - 1, _STEP):
        numbers = range(begin, min(begin + _STEP, count - 1))
        leaves = b"".join(
            Leaf(LeafType.RECEIPT_ISSUED, number, digest_of(number)).octets for number in numbers
        )
        _grow(engine, key, leaves, Moment(numbers[-1], b"", None))
        print(f"\r{numbers[-1] + 2:,} leaves", end="", file=sys.stderr)
    print(file=sys.stderr)


def _grow(engine: StoreEngine, key: PublicKey, leaves: bytes, moment: Moment) -> None:
    newborn = Birth(NODE, LogDigest.of(key.suite), 1, 0)
    waiting: Decision[bool] = Decision(lambda _: ([Leaves(leaves)], True))
    _run(engine, Unit(lambda _: waiting))
    step = engine.read(lambda connection: plan_step(connection, newborn, moment))
    if step is None or not _run(engine, step_unit(step, moment, key)):
        raise AuditError("the log did not grow")
    if engine.fold_due:
        engine.fold()


def _run(engine: StoreEngine, unit: Unit[T]) -> T:
    (outcome,) = engine.run_group([unit])
    if not isinstance(outcome, Done):
        raise AuditError(str(outcome.error))
    return outcome.value  # type: ignore[no-any-return]


def timed(
    work: Callable[[int], object],
    numbers: list[int],
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """How long each took, milliseconds."""
    taken = []
    for number in numbers:
        began = clock()
        work(number)
        taken.append((clock() - began) * 1000)
    return taken


class Log:
    """The built log, opened as a node opens it."""

    def __init__(self, engine: StoreEngine) -> None:
        head = engine.read(newest_head)
        if head is None:
            raise AuditError("no head")
        self._engine = engine
        self.head: HeadRow = head
        self.signed = head.signed.head
        self.rows_read = 0

    def prove(self, index: int) -> None:
        """The inclusion of a leaf whose place is known."""
        path, leaf = self._engine.read(lambda connection: self._inclusion(connection, index))
        self._check(index, leaf_hash(self.signed.digest.suite, leaf.octets), path)

    def inclusion(self, index: int) -> None:
        """The same without checking it."""
        self._engine.read(lambda connection: self._inclusion(connection, index))

    def _inclusion(self, connection: Connection, index: int) -> tuple[tuple[bytes, ...], Leaf]:
        birth, head = find_birth(connection), newest_head(connection)
        if birth is None or head is None:
            raise AuditError("no log")
        reader = LogReader(connection, birth.digest)
        found = reader.inclusion(index, head.size), reader.leaf(index)
        self.rows_read = max(self.rows_read, reader.rows_read)
        return found

    def find(self, number: int) -> None:
        """The proof of a leaf known by its digest."""
        self._engine.read(lambda connection: proofs_for(connection, digest_of(number)))

    def growth(self, first: int) -> None:
        """The proof that the log grew from this size."""
        suite, size = self.signed.digest.suite, self.head.size

        def read(connection: Connection) -> tuple[bytes, tuple[bytes, ...]]:
            reader = LogReader(connection, self.signed.digest)
            return reader.root(first), reader.consistency(first, size)

        root, path = self._engine.read(read)
        if not verify_consistency(suite, first, size, root, self.signed.root, path):
            raise AuditError(f"no growth from {first}")

    def _check(self, index: int, leaf: bytes, path: tuple[bytes, ...]) -> None:
        suite = self.signed.digest.suite
        if root_from_inclusion(suite, leaf, index, self.head.size, path) != self.signed.root:
            raise AuditError(f"leaf {index} is not proven")


def floor_ms(file: Path, indices: list[int], size: int) -> float:
    """The rows of a proof alone, over the bare driver: the median, milliseconds."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:

        def fetch(index: int) -> None:
            for level in range((size.bit_length() + 7) // 8):
                for place in {index, size - 1}:
                    key = level, place >> 8 * (level + 1)
                    connection.execute(_TILE, key).fetchone()

        return statistics.median(timed(fetch, indices))


def forget(file: Path) -> None:
    """Let the system's memory of the file go, so that the next read asks the disk."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(count: int, suite: Suite, times: int, folder: Path) -> Measured:
    """Build the log, then time what is asked of it."""
    keys = FileKeyStore.create(folder / "keys")
    keys.create_key(KeyUse.HEAD, NODE, suite, os.urandom(64), 0)
    file = folder / "log.db"
    began = time.perf_counter()
    with closing(StoreEngine(SqliteDatabase(file, durable=False), keys)) as engine:
        build(engine, keys, count)
    built_s = time.perf_counter() - began
    dice = random.Random(1)  # noqa: S311 - which leaves are asked for
    indices = [dice.randrange(count) for _ in range(times)]
    with closing(StoreEngine(SqliteDatabase(file), keys)) as engine:
        log = Log(engine)
        if log.head.size != count:
            raise AuditError(f"{log.head.size} leaves, not {count}")
        forget(file)
        cold = timed(log.inclusion, indices[:200])
        for index in indices:
            log.prove(index)
        runs = [timed(log.inclusion, indices) for _ in range(3)]
        # What it takes of a processor, whoever else is at work on this machine.
        busy = timed(log.inclusion, indices, time.thread_time)
        by_digest = timed(log.find, [max(0, index - 1) for index in indices])
        grown = timed(log.growth, [index or 1 for index in indices])
    floor = floor_ms(file, indices, count)
    medians = [statistics.median(run) for run in runs]
    value = statistics.median(medians)
    settings = {
        "leaves": count,
        "digest": LogDigest.of(suite).title,
        "proofs": times,
        "p99_ms": round(quantile(runs[1], 0.99), 3),
        "processor_p99_ms": round(quantile(busy, 0.99), 3),
        "most_rows": log.rows_read,
        "cold_p50_ms": round(quantile(cold, 0.5), 3),
        "cold_p99_ms": round(quantile(cold, 0.99), 3),
        "by_digest_p50_ms": round(quantile(by_digest, 0.5), 3),
        "by_digest_p99_ms": round(quantile(by_digest, 0.99), 3),
        "growth_p50_ms": round(quantile(grown, 0.5), 3),
        "store_octets_per_leaf": round(file.stat().st_size / count, 1),
        "build_us_per_leaf": round(built_s / count * 1e6, 1),
    }
    spread = (max(medians) - min(medians)) / value
    return Measured("proof", value, "ms", floor, floor / value, spread, settings)


def main() -> int:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m bench proof", description=__doc__)
    parser.add_argument("--leaves", type=int, default=10_000_000)
    parser.add_argument("--suite", type=Suite, choices=list(Suite), default=Suite.SM2_SM3)
    parser.add_argument("--times", type=int, default=2_000)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    arguments = parser.parse_args()
    with workplace() as folder:
        measured = measure(arguments.leaves, arguments.suite, arguments.times, folder)
    print(measured.told())
    if arguments.json:
        print(measured.line())
    return 0


if __name__ == "__main__":
    sys.exit(main())
