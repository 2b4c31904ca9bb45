"""The store's database on PostgreSQL: one writing session, one to decide on, a few that read.

**One writer.** What makes a group right is that nothing changes between its decisions and its
commit. On a server that others can reach too, three things see to that:

* the writing session holds an advisory lock for as long as it lives: a second process is told so;
* whoever takes the lock raises the epoch, a row of `meta`, and every group that writes locks that
  row and finds its own epoch in it, in the same transaction. A session that lost its lock, or
  whose commit still hangs somewhere, can write before the epoch is raised or not at all;
* raising the epoch waits for the lock on the row, and its commit for the disks that every commit
  waits for. So a new writer decides on everything its predecessors could bring about, and nothing
  it sees can be lost any more.

**Durable.** `synchronous_commit` and `fsync` have to be on, or the store does not open. A commit
that is answered with a warning (somebody ended the wait for the standby) is in doubt like one that
is not answered. No wait is endless: after `patience_ms` a session is given up.

**Set-wise.** All statements of a group travel together and are answered together; many rows of one
shape are one statement over arrays, a single row is a plain statement (docs/decisions).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper
from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from node.ports import Update
from node.store.database import READERS, AwayError
from node.store.migrations import prepare
from node.store.postgres_session import Session, at_fault, check_server, said, take_lock
from node.store.query import translated
from node.store.statements import row_statement, set_statement
from protocol.errors import LocalUseError, UnavailableError
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg.errors import Diagnostic

    from node.store.address import Address
    from node.store.merge import Batch, Shape

BUSY_MS: Final = 5_000  # how long to wait for another process that writes
PATIENCE_MS: Final = 30_000  # how long to wait for any answer of the server

_TROUBLE: Final = (DBAPIError, psycopg.Error, OSError)  # with a server, or the way to it
_READ_ONLY: Final = "25006"  # SQLSTATE
_BY_KEY: Final = {
    # Every statement names its rows by primary key. A plan made while a table was small would
    # read all of it, until the server next looks how large it is.
    "jit": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_RAISE_EPOCH: Final = (
    "INSERT INTO meta (name, value) VALUES ('writer_epoch', '1') ON CONFLICT (name) "
    "DO UPDATE SET value = (meta.value::bigint + 1)::text RETURNING value"
)
_EPOCH: Final = "SELECT 1 FROM meta WHERE name = 'writer_epoch' AND value = %s"


class PostgresDatabase:
    """A `Database` of its own on a server; nothing else is in it."""

    def __init__(
        self,
        address: Address,
        *,
        busy_ms: int = BUSY_MS,
        patience_ms: int = PATIENCE_MS,
        durable: bool = True,
    ) -> None:
        """Connect, take the writer's place, and make or bring forward the tables.

        Args:
            address: Where it is.
            busy_ms: How long to wait for another process that writes, milliseconds.
            patience_ms: How long to wait for any answer of the server, milliseconds.
            durable: False for tests only: the server may lose what it acknowledged.

        Raises:
            UnavailableError: STORE_UNAVAILABLE: it cannot be reached, another process writes to it,
                or the server is not set up so that it can be relied on.
        """
        self._address = address
        self._busy_ms = busy_ms
        self._patience_ms = patience_ms
        self._durable = durable
        self._statements: dict[tuple[Shape, bool], str] = {}
        self._warnings: list[str] = []
        self._epoch = ""
        self._closed = False
        self.is_new = False
        self._writers = _source(self._connect_writer, NullPool)
        self._deciders = _source(self._connect_reader, NullPool)
        self._readers = _source(self._connect_reader, QueuePool, pool_size=READERS, max_overflow=-1)
        self._writer: Connection | None = None
        self._decider: Connection | None = None
        try:
            self._writer = self._open_writer()
        except (AwayError, *_TROUBLE) as error:
            self.close()
            text = f"{self.name}: {said(error)}"
            raise UnavailableError(Reason.STORE_UNAVAILABLE, text) from None
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """See `Database.name`."""
        return self._address.name

    # --- one transaction

    def begin(self) -> Connection:
        """See `Database.begin`. The transaction itself is opened by `write`.

        Nobody else writes, or `write` will notice: so units decide in a session that cannot write,
        each question on what is committed, and the transaction is as short as can be.
        """
        if self._closed:
            raise AwayError("closed")
        try:
            if self._writer is None or _driver(self._writer).ended:
                self._drop_writer()
                self._writer = self._open_writer()
            if self._decider is None or _lost(self._decider):
                self._drop_decider()
                self._decider = self._deciders.connect()
        except _TROUBLE as error:
            raise AwayError(said(error)) from None
        return self._decider

    def write(self, batches: Sequence[Batch]) -> None:
        """See `Database.write`."""
        writer, decider = self._writer, self._decider
        if decider is None or _lost(decider):
            self._drop_decider()
            raise LocalUseError("a unit of work ended the writer's transaction")
        if writer is None:
            raise AwayError("no transaction")
        driver = _driver(writer)
        try:
            if not batches:
                # What was read to decide nothing has to be of one moment, too.
                self._require_epoch(driver.execute(_EPOCH, [self._epoch]))
                return
            with driver.pipeline():
                driver.execute(_BEGIN)
                epoch = driver.execute(f"{_EPOCH} FOR UPDATE", [self._epoch])
                written = [self._send(driver, batch) for batch in batches]
            self._require_epoch(epoch)
        except psycopg.Error as error:
            if at_fault(error) and error.sqlstate != _READ_ONLY:
                raise translated(error, writer) from error
            if error.sqlstate == _READ_ONLY:
                self._drop_writer()  # it is a standby now; another server may be the one to write
            # Nothing was written. To try the units one by one would only wait as often.
            raise AwayError(said(error)) from None
        for batch, cursor in zip(batches, written, strict=True):
            # A primary key matches one row at most, so the sum tells whether one is missing.
            table, operation = batch.shape.table, batch.shape.operation
            if operation is Update and cursor.rowcount != len(batch.parameters):
                raise LocalUseError(f"Update of {table.name}: the row does not exist")

    def commit(self) -> None:
        """See `Database.commit`."""
        if self._writer is None:
            raise AwayError("no transaction")
        driver = _driver(self._writer)
        if driver.info.transaction_status == TransactionStatus.IDLE:
            return  # nothing was written
        self._warnings.clear()
        try:
            done = driver.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            self._drop_writer()
            raise AwayError(said(error)) from None
        if done != "COMMIT" or self._warnings:
            self._drop_writer()
            raise AwayError("; ".join(self._warnings) or f"the commit was a {done}")

    def roll_back(self) -> None:
        """See `Database.roll_back`."""
        if self._writer is None:
            return
        try:
            driver = _driver(self._writer)
            if driver.info.transaction_status != TransactionStatus.IDLE:
                driver.execute("ROLLBACK")
        except (psycopg.Error, SQLAlchemyError):
            self._drop_writer()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """See `Database.snapshot`."""
        if self._closed:
            raise AwayError("closed")
        with self._reader() as connection:
            yield connection

    def explained(self, error: DBAPIError) -> tuple[bool, str]:
        """See `Database.explained`."""
        return at_fault(error.orig), said(error)

    # --- housekeeping is the server's own

    @property
    def fold_due(self) -> bool:
        """See `Database.fold_due`."""
        return False

    def fold(self) -> None:
        """See `Database.fold`."""

    def check(self, most_s: float) -> None:
        """See `Database.check`: the server looks after its pages (`data_checksums`)."""

    def forget(self) -> None:
        """See `Database.forget`: not to be done from here (docs/decisions/erasure.md)."""

    def close(self) -> None:
        """See `Database.close`."""
        self._closed = True
        self._drop_writer()
        self._drop_decider()
        self._readers.dispose()

    # --- inside the transaction

    def _send(self, driver: Session, batch: Batch) -> psycopg.Cursor[Any]:
        several = len(batch.parameters) > 1
        statement = self._statements.get((batch.shape, several))
        if statement is None:
            write = set_statement if several else row_statement
            statement = write(batch.shape, self._writers.dialect)
            self._statements[batch.shape, several] = statement
        if not several:
            return driver.execute(statement, batch.parameters[0])
        arrays = [list(column) for column in zip(*batch.parameters, strict=True)]
        return driver.execute(statement, arrays)

    def _require_epoch(self, cursor: psycopg.Cursor[Any]) -> None:
        if cursor.rowcount != 1:
            self._drop_writer()
            raise AwayError("another process has taken over writing")

    # --- sessions

    def _open_writer(self) -> Connection:
        """The writing session: alone, on tables of this version, in an epoch of its own."""
        connection = self._writers.connect()
        try:
            driver = _driver(connection)
            check_server(driver, durable=self._durable)
            take_lock(driver)
            with driver.unhurried():  # a step may have a large table to copy
                driver.execute(_BEGIN)
                driver.execute("SET LOCAL statement_timeout = 0")
                self.is_new = prepare(connection, self.name)
                driver.execute("COMMIT")
            # One kind of integer: or each mixture of sizes would be a statement to prepare.
            driver.adapters.register_dumper(int, Int8BinaryDumper)
            (self._epoch,) = driver.execute(_RAISE_EPOCH).fetchone() or ("",)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_writer(self) -> Session:
        session = Session.open(
            self._address, "write", self._patience_ms, lock_timeout=self._busy_ms, **_BY_KEY
        )
        session.add_notice_handler(self._note)
        return session

    def _connect_reader(self) -> Session:
        only = {"default_transaction_read_only": "on"}
        return Session.open(self._address, "read", self._patience_ms, **only)

    def _reader(self) -> Connection:
        """A reading session with its snapshot open; one that the server ended meanwhile goes.

        Raises:
            DBAPIError: it cannot be read now.
        """
        connection = self._readers.connect()
        try:
            connection.exec_driver_sql(_SNAPSHOT)
        except DBAPIError as error:
            connection.close()
            if not error.connection_invalidated:
                raise
            connection = self._readers.connect()
            connection.exec_driver_sql(_SNAPSHOT)
        return connection

    def _drop_writer(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with contextlib.suppress(psycopg.Error, SQLAlchemyError):
                _driver(writer).close()
                writer.close()

    def _drop_decider(self) -> None:
        if self._decider is not None:
            decider, self._decider = self._decider, None
            with contextlib.suppress(psycopg.Error, SQLAlchemyError):
                decider.close()

    def _note(self, notice: Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._warnings.append(notice.message_primary or "a warning")


def _source(connect: Callable[[], Session], pool: type, **sizes: int) -> Engine:
    return create_engine(
        "postgresql+psycopg://",
        creator=connect,
        poolclass=pool,
        paramstyle="format",
        use_native_hstore=False,
        hide_parameters=True,
        **sizes,
    )


def _driver(connection: Connection) -> Session:
    return cast("Session", connection.connection.dbapi_connection)


def _lost(connection: Connection) -> bool:
    return connection.closed or connection.invalidated or _driver(connection).ended
