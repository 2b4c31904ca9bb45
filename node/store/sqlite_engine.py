"""The heart of the store on SQLite: units of work, committed in groups, written set-wise.

One group is one transaction:

    1. BEGIN IMMEDIATE
    2. every unit decides, on what is committed; one that raises is out, the others go on
    3. all their octets are signed by one call of the key store
    4. every unit concludes: its rows and its result
    5. the rows of all units are merged by shape and written, one statement per shape
    6. COMMIT
    7. only now do results leave

An error in 1 or 6 is the store's: the whole group is answered "not now", because after a failed
COMMIT nobody knows what is on the disk. Any other error rolls the group back and runs its units
again one by one, so that only the unit at fault fails. There are no savepoints: with this driver
they committed rows after a rollback.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast

from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    QueuePool,
    create_engine,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from node.ports import Update
from node.store import schema
from node.store.merge import merge, statement_of
from protocol.errors import LocalUseError, TongbanError, UnavailableError
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from node.ports import Decision, Row, Unit
    from node.store.merge import Shape
    from signing.keys import KeyStore

T = TypeVar("T")

SCHEMA_VERSION: Final = 1
READERS: Final = 4
BUSY_MS: Final = 5_000  # how long to wait for another process that writes

_FOLD_ROWS: Final = 2_000  # rows written until the log is folded into the database
_LONG_LOG_PAGES: Final = 16_384  # 64 MiB: the writer has to pause, or the log never starts anew
_FOLD_BUSY_MS: Final = 100  # a slow reader may hold up a fold, a fold may not hold up the writer

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


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """It worked."""

    value: T


@dataclass(frozen=True, slots=True)
class Failed:
    """It raised this."""

    error: Exception


Outcome: TypeAlias = Done[Any] | Failed


class _AwayError(Exception):
    """The transaction could not begin, or its commit is in doubt; its cause or text says why."""


class SqliteEngine:
    """The synchronous heart. Groups from one thread, reads from any, folds from one other."""

    def __init__(
        self, path: Path, keys: KeyStore, *, busy_ms: int = BUSY_MS, durable: bool = True
    ) -> None:
        """Open the file; make it, with its tables, if it is not there.

        Args:
            path: The database file, on a local disk.
            keys: Signs what units ask for.
            busy_ms: How long to wait for another process that writes, milliseconds.
            durable: False for the simulation only: faster, but a power cut loses acknowledged rows.

        Raises:
            UnavailableError: STORE_UNAVAILABLE: it cannot be opened, or another version wrote it.
        """
        self._path = path
        self._keys = keys
        self._busy_ms = busy_ms
        self._synchronous = "FULL" if durable else "OFF"
        self._statements: dict[Shape, str] = {}
        self._unfolded = 0
        self._log_in_doubt = False
        self._closed = False
        self._writers = _source(self._connect, NullPool)
        self._readers = _source(self._connect_reader, QueuePool, pool_size=READERS, max_overflow=-1)
        self._writer: Connection | None = None
        self._folder: sqlite3.Connection | None = None
        try:
            path.touch(mode=0o600)  # personal data: for the node's own user only
            self._writer = self._open_writer()
            self._prepare(self._writer)
        except (OSError, DBAPIError) as error:
            self.close()
            raise self._unavailable(error) from error
        except BaseException:
            self.close()
            raise

    def run_group(self, units: Sequence[Unit[Any]]) -> list[Outcome]:
        """Run units that share no key in one transaction; one outcome each, in their order.

        A `Done` is on disk. A `Failed` holds what the unit raised, or UnavailableError
        (STORE_UNAVAILABLE): nothing was written or it is unknown, or LocalUseError: its rows break
        the schema.
        """
        try:
            return self._transact(units)
        except _AwayError as away:
            return [self._waits(away) for _ in units]
        except Exception as error:  # noqa: BLE001 - whatever it is, it may be one unit's
            if len(units) == 1:
                return [Failed(self._explained(error))]
        outcomes: list[Outcome] = []
        for unit in units:
            try:
                outcomes += self._transact([unit])
            except _AwayError as away:
                return outcomes + [self._waits(away) for _ in units[len(outcomes) :]]
            except Exception as error:  # noqa: BLE001 - its own now, and its caller gets it
                outcomes.append(Failed(self._explained(error)))
        return outcomes

    def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query on one snapshot of what is committed; writing fails.

        Raises:
            UnavailableError: STORE_UNAVAILABLE.
            LocalUseError: the query is wrong.
        """
        if self._closed:
            raise self._unavailable("closed")
        try:
            with self._readers.connect() as connection:
                connection.exec_driver_sql("BEGIN")
                return query(connection)
        except DBAPIError as error:
            raise self._explained(error) from error

    @property
    def fold_due(self) -> bool:
        """Whether enough was written since the last `fold`."""
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

    def close(self) -> None:
        """Fold the log and close the file, for good: whatever comes later is unavailable."""
        self._closed = True
        self._drop_writer()
        self._readers.dispose()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    # --- one transaction

    def _transact(self, units: Sequence[Unit[Any]]) -> list[Outcome]:
        connection = self._begin()
        try:
            outcomes, rows = self._decide(connection, units)
            self._write(connection, rows)
        except BaseException:
            self._roll_back(connection)
            raise
        self._commit(connection)
        self._unfolded += len(rows)
        return outcomes

    def _begin(self) -> Connection:
        if self._closed:
            raise _AwayError("closed")
        if self._writer is not None and _driver(self._writer).in_transaction:
            self._drop_writer()  # an interrupt left it like that
        try:
            if self._writer is None:
                self._writer = self._open_writer()
            self._writer.exec_driver_sql("BEGIN IMMEDIATE")
        except DBAPIError as error:
            raise _AwayError from error
        return self._writer

    def _decide(
        self, connection: Connection, units: Sequence[Unit[Any]]
    ) -> tuple[list[Outcome], list[Row]]:
        """Steps 2 to 4: the outcomes to be, and the rows to write."""
        driver = _driver(connection)
        driver.execute("PRAGMA query_only=ON")
        try:
            decisions = [_tried(unit.decide, connection) for unit in units]
        finally:
            driver.execute("PRAGMA query_only=OFF")
        if not driver.in_transaction:
            raise LocalUseError("a unit of work ended the writer's transaction")
        requests = [
            request
            for decision in decisions
            if isinstance(decision, Done)
            for request in decision.value.requests
        ]
        signatures = iter(self._keys.sign(requests) if requests else ())
        outcomes: list[Outcome] = []
        rows: list[Row] = []
        for tried in decisions:
            if isinstance(tried, Failed):
                outcomes.append(tried)
                continue
            decision: Decision[Any] = tried.value
            own = list(islice(signatures, len(decision.requests)))
            concluded = _tried(decision.conclude, own)
            if isinstance(concluded, Failed):
                outcomes.append(concluded)
                continue
            more, result = concluded.value
            rows.extend(more)
            outcomes.append(Done(result))
        return outcomes, rows

    def _write(self, connection: Connection, rows: Sequence[Row]) -> None:
        for batch in merge(rows):
            shape = batch.shape
            statement = self._statements.get(shape)
            if statement is None:
                statement = self._statements[shape] = statement_of(shape, connection.dialect)
            result = connection.exec_driver_sql(statement, batch.parameters)
            # A primary key matches one row at most, so the sum tells whether one is missing.
            if shape.operation is Update and result.rowcount != len(batch.parameters):
                raise LocalUseError(f"Update of {shape.table.name}: the row does not exist")

    def _roll_back(self, connection: Connection) -> None:
        try:
            if _driver(connection).in_transaction:  # some errors roll back by themselves
                connection.exec_driver_sql("ROLLBACK")
        except SQLAlchemyError:
            self._drop_writer()

    def _commit(self, connection: Connection) -> None:
        try:
            connection.exec_driver_sql("COMMIT")
        except DBAPIError as error:
            self._drop_writer()
            self._log_in_doubt = _code(error) != sqlite3.SQLITE_FULL
            raise _AwayError from error

    # --- connections

    def _connect(self, *, busy_ms: int | None = None) -> sqlite3.Connection:
        driver = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=(self._busy_ms if busy_ms is None else busy_ms) / 1000,
            isolation_level=None,  # autocommit: transactions are ours, in SQL
            check_same_thread=False,
        )
        try:
            driver.execute("PRAGMA journal_mode=WAL")
            driver.execute(f"PRAGMA synchronous={self._synchronous}")
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
        """Make the tables of a new file; refuse a file that another version made."""
        if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
            detail = f"{self._path.name}: this file system cannot hold a write-ahead log: move it"
            raise UnavailableError(Reason.STORE_UNAVAILABLE, detail)
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        if not inspect(connection).has_table(schema.meta.name):
            schema.metadata.create_all(connection)
            version = {"name": "schema_version", "value": str(SCHEMA_VERSION)}
            connection.execute(insert(schema.meta).values(version))
        query = select(schema.meta.c.value).where(schema.meta.c.name == "schema_version")
        found = connection.execute(query).scalar()
        connection.exec_driver_sql("COMMIT")
        if found != str(SCHEMA_VERSION):
            raise UnavailableError(
                Reason.STORE_UNAVAILABLE,
                f"{self._path.name} was written by another version of this program (its schema is "
                f"{found}, this one knows {SCHEMA_VERSION}): start that version, or restore the "
                "backup made before it was installed",
            )

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
            raise _AwayError(trouble)
        self._log_in_doubt = False
        return connection

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    # --- errors

    def _waits(self, away: _AwayError) -> Failed:
        error = self._unavailable(away.__cause__ or away)
        error.__cause__ = away.__cause__
        return Failed(error)

    def _explained(self, error: Exception) -> Exception:
        """The error as the port promises it."""
        if isinstance(error, TongbanError):
            return error
        explained: TongbanError
        if not isinstance(error, DBAPIError):
            # Its text may quote a value.
            explained = LocalUseError(f"{self._path.name}: {type(error).__name__}")
        elif _code(error) in _OUR_FAULT:
            explained = LocalUseError(f"{self._path.name}: {error.orig}")
        else:
            explained = self._unavailable(error)
        explained.__cause__ = error
        return explained

    def _unavailable(self, cause: object) -> UnavailableError:
        text = cause.orig if isinstance(cause, DBAPIError) else cause
        return UnavailableError(Reason.STORE_UNAVAILABLE, f"{self._path.name}: {text}")


def _source(connect: Callable[[], sqlite3.Connection], pool: type, **sizes: int) -> Engine:
    # Parameters are personal data: never in an error's text.
    return create_engine(
        "sqlite+pysqlite://", creator=connect, poolclass=pool, hide_parameters=True, **sizes
    )


def _code(error: DBAPIError) -> int:
    """SQLite's primary result code; misuse for what the driver itself did not accept."""
    code: int = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    return code & 0xFF


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast("sqlite3.Connection", connection.connection.dbapi_connection)


def _tried(function: Callable[..., T], argument: object) -> Done[T] | Failed:
    """What a unit's function returned or raised; the database's errors are not the unit's yet."""
    try:
        return Done(function(argument))
    except DBAPIError:
        raise
    except Exception as error:  # noqa: BLE001 - its caller gets it
        return Failed(error)
