"""The store's database on SQLite: one file, one writing connection, a few reading ones.

The write-ahead log keeps readers and the writer out of each other's way; `synchronous=FULL` makes
every commit wait for the disk; the log is folded into the database beside the writer. What is
deleted is overwritten with zeros in its page (`secure_delete`), and `forget` empties the log, which
holds pages as they were before.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from threading import Timer
from typing import TYPE_CHECKING, Final, cast

import structlog
from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    QueuePool,
    create_engine,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from node.ports import Update
from node.store.database import READERS, AwayError
from node.store.migrations import prepare
from node.store.query import translated
from node.store.statements import row_statement
from protocol.errors import LocalUseError, UnavailableError
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Dialect

    from node.store.merge import Batch, Shape

BUSY_MS: Final = 5_000  # how long to wait for another process that writes

_STATEMENTS: Final = 500  # kept ready by a connection; there are about as many questions and shapes
_FOLD_ROWS: Final = 2_000  # rows written until the log is folded into the database
_LONG_LOG_PAGES: Final = 16_384  # 64 MiB: the writer has to pause, or the log never starts anew
_FORGET_TRIES: Final = 20
_CHECK_STEPS: Final = 1_000  # of SQLite's machine, between two looks at the clock
_FOLD_BUSY_MS: Final = 100  # a slow reader may hold up a fold, a fold may not hold up the writer

_log = structlog.get_logger()

_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

# What SQLite says when the statement is wrong; everything else is the disk, or somebody else on it.
_OUR_FAULT: Final = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_READONLY,  # a unit or query that writes; a read-only disk fails at BEGIN
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_MISUSE,
    sqlite3.SQLITE_RANGE,
}


class SqliteDatabase:
    """A `Database` in one file."""

    def __init__(self, path: Path, *, busy_ms: int = BUSY_MS, durable: bool = True) -> None:
        """Open the file; make it, with its tables, if it is not there.

        Args:
            path: The database file, on a local disk.
            busy_ms: How long to wait for another process that writes, milliseconds.
            durable: False for the simulation only: faster, but a power cut loses acknowledged rows.

        Raises:
            UnavailableError: STORE_UNAVAILABLE: it cannot be opened, or another version wrote it.
        """
        self._path = path
        self._busy_ms = busy_ms
        self._synchronous = "FULL" if durable else "OFF"
        self._statements: dict[Shape, str] = {}
        self._unfolded = 0
        self._log_in_doubt = False
        self._closed = False
        self.is_new = False
        self._writers = _source(self._connect, NullPool)
        self._readers = _source(self._connect_reader, QueuePool, pool_size=READERS, max_overflow=-1)
        self._writer: Connection | None = None
        self._folder: sqlite3.Connection | None = None
        try:
            path.touch(mode=0o600)  # personal data: for the node's own user only
            self._writer = self._open_writer()
            self._prepare(self._writer)
        except (OSError, AwayError, DBAPIError) as error:
            self.close()
            cause = error.orig if isinstance(error, DBAPIError) else error
            damaged = _code(cause) in _DAMAGED
            raise (self._damaged(cause) if damaged else self._unavailable(cause)) from error
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """See `Database.name`."""
        return self._path.name

    def check(self, most_s: float) -> None:
        """See `Database.check`: its pages and trees; octets inside a row may be others unseen."""
        deadline = time.monotonic() + most_s
        try:
            with contextlib.closing(self._connect_reader()) as driver:
                driver.set_progress_handler(lambda: time.monotonic() > deadline, _CHECK_STEPS)
                ending = Timer(most_s, driver.interrupt)  # inside a tree no step is counted
                ending.start()
                try:
                    (found,) = driver.execute("PRAGMA quick_check(1)").fetchone()
                finally:
                    ending.cancel()
                    ending.join()
        except sqlite3.Error as error:
            match _code(error):
                case sqlite3.SQLITE_INTERRUPT:
                    _log.info("store looked at in part: it is large", store=self.name)
                    return
                case code if code in _DAMAGED:
                    raise self._damaged(error) from error
                case _:
                    raise self._unavailable(error) from error
        if found != "ok":
            raise self._damaged(found)

    # --- one transaction

    def begin(self) -> Connection:
        """See `Database.begin`."""
        if self._closed:
            raise AwayError("closed")
        if self._writer is not None and _driver(self._writer).in_transaction:
            self._drop_writer()  # an interrupt left it like that
        try:
            if self._writer is None:
                self._writer = self._open_writer()
            driver = _driver(self._writer)
            driver.execute("BEGIN IMMEDIATE")
            driver.execute("PRAGMA query_only=ON")
        except DBAPIError as error:
            raise AwayError from error
        except sqlite3.Error as error:
            raise AwayError(str(error)) from None
        return self._writer

    def write(self, batches: Sequence[Batch]) -> None:
        """See `Database.write`."""
        connection = self._writer
        if connection is None or not _driver(connection).in_transaction:
            raise LocalUseError("a unit of work ended the writer's transaction")
        driver = _driver(connection)
        try:
            driver.execute("PRAGMA query_only=OFF")
            for batch in batches:
                self._write_batch(driver, batch, connection.dialect)
        except sqlite3.Error as error:
            raise translated(error, connection) from error

    def commit(self) -> None:
        """See `Database.commit`."""
        if self._writer is None:
            raise AwayError("no transaction")
        try:
            _driver(self._writer).execute("COMMIT")
        except sqlite3.Error as error:
            self._drop_writer()
            self._log_in_doubt = _code(error) != sqlite3.SQLITE_FULL
            raise AwayError(str(error)) from None

    def roll_back(self) -> None:
        """See `Database.roll_back`."""
        try:
            if self._writer is not None:
                driver = _driver(self._writer)
                driver.execute("PRAGMA query_only=OFF")
                if driver.in_transaction:  # some errors roll back by themselves
                    driver.execute("ROLLBACK")
        except (sqlite3.Error, SQLAlchemyError):
            self._drop_writer()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """See `Database.snapshot`."""
        if self._closed:
            raise AwayError("closed")
        with self._readers.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection

    def explained(self, error: DBAPIError) -> tuple[bool, str]:
        """See `Database.explained`."""
        return _code(error.orig) in _OUR_FAULT, str(error.orig)

    def _write_batch(self, driver: sqlite3.Connection, batch: Batch, dialect: Dialect) -> None:
        shape = batch.shape
        statement = self._statements.get(shape)
        if statement is None:
            statement = self._statements[shape] = row_statement(shape, dialect)
        written = driver.executemany(statement, batch.parameters).rowcount
        # A primary key matches one row at most, so the sum tells whether one is missing.
        if shape.operation is Update and written != len(batch.parameters):
            raise LocalUseError(f"Update of {shape.table.name}: the row does not exist")
        self._unfolded += len(batch.parameters)

    # --- the log

    @property
    def fold_due(self) -> bool:
        """See `Database.fold_due`."""
        return self._unfolded >= _FOLD_ROWS

    def fold(self) -> None:
        """Checkpoint: copy the write-ahead log into the database, beside writer and readers."""
        self._unfolded = 0
        try:
            if self._folder is None:
                self._folder = self._connect(busy_ms=_FOLD_BUSY_MS)
            _, pages, _ = self._folder.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages > _LONG_LOG_PAGES:
                self._folder.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        except sqlite3.Error:
            # Nothing is lost, the log only grows; if the disk is at fault, the writer says so.
            return

    def forget(self) -> None:
        """See `Database.forget`: fold all of the log, and cut it to nothing."""
        try:
            with contextlib.closing(self._connect(busy_ms=_FOLD_BUSY_MS)) as driver:
                # While it waits for a reader it holds up the writer: so shortly, and several times.
                for _ in range(_FORGET_TRIES):
                    busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    if not busy:
                        return
                    time.sleep(_FOLD_BUSY_MS / 1000)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        raise self._unavailable("what was deleted is still read by somebody")

    def close(self) -> None:
        """Fold the log and close the file, for good: whatever comes later is away."""
        self._closed = True
        self._drop_writer()
        self._readers.dispose()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    # --- connections

    def _connect(self, *, busy_ms: int | None = None) -> sqlite3.Connection:
        driver = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=(self._busy_ms if busy_ms is None else busy_ms) / 1000,
            isolation_level=None,  # autocommit: transactions are ours, in SQL
            cached_statements=_STATEMENTS,
            check_same_thread=False,
        )
        try:
            driver.execute("PRAGMA journal_mode=WAL")
            driver.execute(f"PRAGMA synchronous={self._synchronous}")
            driver.execute("PRAGMA secure_delete=ON")
            driver.execute("PRAGMA wal_autocheckpoint=0")  # `fold` does it, off the writer
        except BaseException:
            driver.close()
            raise
        return driver

    def _connect_reader(self) -> sqlite3.Connection:
        driver = self._connect()
        driver.execute("PRAGMA query_only=ON")
        return driver

    def _prepare(self, connection: Connection) -> None:
        """See that the file can be written to in our way, and has our tables."""
        if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
            raise self._unavailable("this file system cannot hold a write-ahead log: move it")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        self.is_new = prepare(connection, self.name)
        connection.exec_driver_sql("COMMIT")

    def _open_writer(self) -> Connection:
        """A connection to write with, its log folded into the database.

        What a failed fsync was to write may look written without being so, and what is appended to
        such a log is lost with it. So after a failed commit it is folded before anything else: the
        database is written and synchronised anew. A disk that is full tells no such lies; there,
        and at the start, it is tried, because it makes room.
        """
        connection = self._writers.connect()
        try:
            busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            trouble = "a reader holds up the recovery of the log" if busy else None
        except DBAPIError as error:
            trouble = str(error.orig)
        if trouble and self._log_in_doubt:
            connection.close()
            raise AwayError(trouble)
        self._log_in_doubt = False
        return connection

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _damaged(self, text: object) -> UnavailableError:
        *_, what = str(text).splitlines()
        return self._unavailable(
            f"{what}: the file is damaged: keep it and its -wal as they are, put the last backup "
            "in their place (docs/operations.md), and look after the disk"
        )

    def _unavailable(self, text: object) -> UnavailableError:
        return UnavailableError(Reason.STORE_UNAVAILABLE, f"{self._path.name}: {text}")


def _source(connect: Callable[[], sqlite3.Connection], pool: type, **sizes: int) -> Engine:
    # Parameters are personal data: never in an error's text.
    return create_engine(
        "sqlite+pysqlite://", creator=connect, poolclass=pool, hide_parameters=True, **sizes
    )


def _code(error: BaseException | None) -> int:
    """SQLite's primary result code; misuse for what the driver itself did not accept."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    return code & 0xFF


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast("sqlite3.Connection", connection.connection.dbapi_connection)
