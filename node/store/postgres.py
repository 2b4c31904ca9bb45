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
import os
import socket
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper
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
from node.store.statements import row_statement, set_statement
from protocol.errors import LocalUseError, UnavailableError
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from psycopg.abc import PQGen
    from psycopg.errors import Diagnostic

    from node.store.address import Address
    from node.store.merge import Batch, Shape

RV = TypeVar("RV")

BUSY_MS: Final = 5_000  # how long to wait for another process that writes
PATIENCE_MS: Final = 30_000  # how long to wait for any answer of the server
OLDEST: Final = 15  # major version

_LOCK: Final = 0x746F6E67  # of this program, among all advisory locks of the database
_CONNECT_S: Final = 5
_PREPARED: Final = 500  # statements a session keeps ready; there are about as many shapes

_TROUBLE: Final = (DBAPIError, psycopg.Error, OSError)  # with a server, or the way to it
# Classes of SQLSTATE that mean a statement or its values were wrong; everything else is the server.
_OUR_FAULT: Final = frozenset({"0A", "21", "22", "23", "25", "42", "54"})
_NOT_OUR_FAULT: Final = frozenset({"25P03", "25P04", "42501"})  # idle too long; no privilege

_WRITER: Final = (
    # Every statement names its rows by primary key. A plan made while a table was small would
    # read all of it, for as long as the session keeps the plan.
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
)
_RAISE_EPOCH: Final = (
    "INSERT INTO meta (name, value) VALUES ('writer_epoch', '1') ON CONFLICT (name) "
    "DO UPDATE SET value = (meta.value::bigint + 1)::text RETURNING value"
)
_EPOCH: Final = "SELECT 1 FROM meta WHERE name = 'writer_epoch' AND value = %s"
_HOLDER: Final = """
    SELECT a.application_name, a.pid, coalesce(host(a.client_addr), 'this machine'),
           to_char(a.backend_start, 'YYYY-MM-DD HH24:MI TZ'), coalesce(a.wait_event, a.state)
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid = 0
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_MUST_BE: Final[Mapping[str, tuple[str, ...]]] = {
    "synchronous_commit": ("on", "remote_apply"),
    "fsync": ("on",),
    "full_page_writes": ("on",),
}


class _Session(psycopg.Connection[Any]):
    """A connection that is given up when it does not answer.

    What is executed on it directly comes in binary form: octets as they are, not in hexadecimal.
    """

    patience_s: float = PATIENCE_MS / 1000

    def execute(
        self,
        query: Any,  # noqa: ANN401 - as psycopg has it
        params: Any = None,  # noqa: ANN401
        *,
        prepare: bool | None = None,
        binary: bool = True,
    ) -> psycopg.Cursor[Any]:
        """See `psycopg.Connection.execute`."""
        return super().execute(query, params, prepare=prepare, binary=binary)

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """See `psycopg.Connection.wait`: what takes longer than our patience is an error."""
        try:
            return super().wait(gen, interval, self.patience_s if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()  # its answer may still come, and nobody would know to what
            raise


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
        self._prepared = False
        self._closed = False
        self._writers = _source(self._connect_writer, NullPool)
        sizes = {"pool_size": READERS + 1, "max_overflow": -1}
        self._readers = _source(self._connect_reader, QueuePool, **sizes)
        self._writer: Connection | None = None
        self._decider: Connection | None = None
        try:
            self._writer = self._open_writer()
        except (AwayError, *_TROUBLE) as error:
            self.close()
            raise UnavailableError(
                Reason.STORE_UNAVAILABLE, f"{self.name}: {_said(error)}"
            ) from error
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
            if self._writer is None or _driver(self._writer).closed:
                self._drop_writer()
                self._writer = self._open_writer()
            if self._decider is None or self._decider.closed or self._decider.invalidated:
                self._decider = self._readers.connect()
        except _TROUBLE as error:
            raise AwayError(_said(error)) from None
        return self._decider

    def write(self, batches: Sequence[Batch]) -> None:
        """See `Database.write`."""
        writer, decider = self._writer, self._decider
        if decider is None or decider.closed or decider.invalidated:
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
                driver.execute("BEGIN")
                epoch = driver.execute(f"{_EPOCH} FOR UPDATE", [self._epoch])
                written = [self._send(driver, batch) for batch in batches]
            self._require_epoch(epoch)
        except psycopg.Error as error:
            if error.sqlstate == "25006":  # the server became a standby
                self._drop_writer()
                raise AwayError(_said(error)) from None
            raise translated(error, writer) from error
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
            raise AwayError(_said(error)) from None
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
        cause = error.orig
        if not isinstance(cause, psycopg.Error):
            return True, type(cause).__name__
        state = cause.sqlstate
        if state is None:
            kinds = (psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError)
            ours = isinstance(cause, kinds)
            return ours, type(cause).__name__ if ours else _said(cause)
        ours = state[:2] in _OUR_FAULT and state not in _NOT_OUR_FAULT
        return ours, _place(state, cause.diag) if ours else _said(cause)

    # --- housekeeping is the server's own

    @property
    def fold_due(self) -> bool:
        """See `Database.fold_due`."""
        return False

    def fold(self) -> None:
        """See `Database.fold`."""

    def close(self) -> None:
        """See `Database.close`."""
        self._closed = True
        self._drop_writer()
        if self._decider is not None:
            self._decider.close()
            self._decider = None
        self._readers.dispose()

    # --- inside the transaction

    def _send(self, driver: _Session, batch: Batch) -> psycopg.Cursor[Any]:
        several = len(batch.parameters) > 1
        statement = self._statements.get((batch.shape, several))
        if statement is None:
            write = set_statement if several else row_statement
            statement = write(batch.shape, self._writers.dialect)
            self._statements[batch.shape, several] = statement
        if several:
            return driver.execute(
                statement, [list(column) for column in zip(*batch.parameters, strict=True)]
            )
        return driver.execute(statement, batch.parameters[0])

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
            self._check_server(driver)
            self._lock(driver)
            if not self._prepared:
                driver.execute("BEGIN")
                prepare(connection, self.name)
                driver.execute("COMMIT")
                self._prepared = True
            # One kind of integer: or each mixture of sizes would be a statement to prepare.
            driver.adapters.register_dumper(int, Int8BinaryDumper)
            (self._epoch,) = driver.execute(_RAISE_EPOCH).fetchone() or ("",)
        except BaseException:
            connection.close()
            raise
        return connection

    def _lock(self, driver: _Session) -> None:
        try:
            driver.execute("SELECT pg_advisory_lock(%s::int, 0)", [_LOCK])
        except psycopg.errors.LockNotAvailable:
            holder = driver.execute(_HOLDER, [_LOCK]).fetchone()
            if holder is None:
                raise
            program, pid, address, since, doing = holder
            raise AwayError(
                f"another process writes to it: {program}, session {pid} from {address} since "
                f"{since} ({doing}): stop that node first; if its machine is gone, wait until the "
                f"server notices, or: SELECT pg_terminate_backend({pid})"
            ) from None

    def _check_server(self, driver: _Session) -> None:
        version = driver.info.server_version // 10_000
        if version < OLDEST:
            raise AwayError(f"PostgreSQL {version}; it has to be {OLDEST} or newer")
        encoding, bytewise = driver.execute(
            "SELECT current_setting('server_encoding'), 'Z' < 'a'"
        ).fetchone() or ("", False)
        if encoding != "UTF8" or not bytewise:
            raise AwayError(
                "the database has to be in UTF-8 and sort by code points (an update of the "
                "system's collations would break its indexes): CREATE DATABASE … TEMPLATE "
                "template0 ENCODING 'UTF8' LOCALE 'C'"
            )
        if not self._durable:
            return
        for setting, allowed in _MUST_BE.items():
            (found,) = driver.execute("SELECT current_setting(%s)", [setting]).fetchone() or ("",)
            if found not in allowed:
                raise AwayError(
                    f"{setting} is {found}: a power cut would lose what was acknowledged; set it "
                    f"to {allowed[0]} (postgresql.conf, ALTER DATABASE or ALTER ROLE) and reload"
                )
            if setting == "synchronous_commit":
                driver.execute(f"SET synchronous_commit = {found}")  # whatever a reload brings

    def _connect_writer(self) -> _Session:
        session = self._connect("write")
        for statement in (f"SET lock_timeout = {self._busy_ms}", *_WRITER):
            session.execute(statement)
        session.add_notice_handler(self._note)
        return session

    def _connect_reader(self) -> _Session:
        session = self._connect("read")
        session.execute("SET default_transaction_read_only = on")
        return session

    def _connect(self, purpose: str) -> _Session:
        session = _Session.connect(
            self._address.conninfo(),
            autocommit=True,  # transactions are ours, in SQL
            application_name=f"tongban {purpose} {socket.gethostname()}:{os.getpid()}",
            client_encoding="UTF8",
        )
        session.patience_s = self._patience_ms / 1000
        session.prepared_max = _PREPARED
        session.execute(f"SET statement_timeout = {self._patience_ms}")
        session.execute(f"SET idle_in_transaction_session_timeout = {2 * self._patience_ms}")
        return session

    def _reader(self) -> Connection:
        """A reading session with its snapshot open; one that the server has ended meanwhile goes.

        Raises:
            DBAPIError: it cannot be read now.
        """
        connection = self._readers.connect()
        try:
            connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        except DBAPIError as error:
            connection.close()
            if not error.connection_invalidated:
                raise
            connection = self._readers.connect()
            connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return connection

    def _drop_writer(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with contextlib.suppress(psycopg.Error, SQLAlchemyError):
                _driver(writer).close()
                writer.close()

    def _note(self, notice: Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._warnings.append(notice.message_primary or "a warning")


def _source(connect: Callable[[], _Session], pool: type, **sizes: int) -> Engine:
    return create_engine(
        "postgresql+psycopg://",
        creator=connect,
        poolclass=pool,
        paramstyle="format",
        use_native_hstore=False,
        hide_parameters=True,
        **sizes,
    )


def _driver(connection: Connection) -> _Session:
    return cast("_Session", connection.connection.dbapi_connection)


def _said(error: BaseException | None) -> str:
    """What the server or the driver said, in one line."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split())


def _place(state: str, diag: Diagnostic) -> str:
    """Where a value or statement was wrong; the server's own words may quote the values."""
    parts = (diag.table_name, diag.column_name, diag.constraint_name)
    return f"SQLSTATE {state}: {', '.join(part for part in parts if part) or 'statement'}"
