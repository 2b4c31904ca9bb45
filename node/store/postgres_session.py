"""One session with a PostgreSQL server as the store needs it: bounded, checked, alone to write."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy.exc import DBAPIError

from node.store.database import AwayError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg.abc import PQGen

    from node.store.address import Address

RV = TypeVar("RV")

OLDEST: Final = 15  # major version

_LOCK: Final = 0x746F6E67  # of this program, among all advisory locks of the database
_PREPARED: Final = 500  # statements a session keeps ready; there are about as many shapes

# Classes of SQLSTATE that mean a statement or its values were wrong; everything else is the server.
_OUR_FAULT: Final = frozenset({"0A", "21", "22", "23", "25", "42", "54"})
_NOT_OUR_FAULT: Final = frozenset({"25P03", "25P04", "42501"})  # idle too long; no privilege
_ABOUT_NAMES: Final = frozenset({"23", "42"})  # what is said first is about tables and columns
_OUR_MISUSE: Final = (psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError)

_MUST_BE: Final[Mapping[str, tuple[str, ...]]] = {
    "synchronous_commit": ("on", "remote_apply"),
    "fsync": ("on",),
    "full_page_writes": ("on",),
}
_HOLDER: Final = """
    SELECT a.application_name, a.pid, coalesce(host(a.client_addr), 'this machine'),
           to_char(a.backend_start, 'YYYY-MM-DD HH24:MI TZ'), coalesce(a.wait_event, a.state)
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid = 0
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Session(psycopg.Connection[Any]):
    """A connection that is given up when it does not answer.

    What is executed on it directly comes in binary form: octets as they are, not in hexadecimal.
    """

    patience_s: float = 0  # without end

    @classmethod
    def open(cls, address: Address, purpose: str, patience_ms: int, **settings: object) -> Session:
        """Connect.

        Args:
            address: Where to.
            purpose: A word for operators who look at the server's list of sessions.
            patience_ms: How long to wait for any answer, milliseconds.
            settings: Of the server, for this session.

        Raises:
            psycopg.Error: it cannot be reached, or does not let us in.
            OSError: the password cannot be read.
        """
        session = cls.connect(
            address.conninfo(patience_ms),
            autocommit=True,  # transactions are ours, in SQL
            application_name=f"tongban {purpose} {socket.gethostname()}:{os.getpid()}",
            client_encoding="UTF8",
        )
        session.patience_s = patience_ms / 1000
        session.prepared_max = _PREPARED
        values = {
            "statement_timeout": patience_ms,
            "idle_in_transaction_session_timeout": 2 * patience_ms,
            # That the server too notices soon when this machine is gone.
            "tcp_keepalives_idle": 30,
            "tcp_keepalives_interval": 10,
            "tcp_keepalives_count": 3,
            **settings,
        }
        sets = ", ".join(
            f"set_config('{name}', '{value}', false)" for name, value in values.items()
        )
        session.execute(f"SELECT {sets}")
        return session

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
            return super().wait(gen, interval, timeout or self.patience_s or None)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()  # its answer may still come, and nobody would know to what
            raise

    @contextlib.contextmanager
    def unhurried(self) -> Iterator[None]:
        """Wait as long as it takes."""
        patience_s, self.patience_s = self.patience_s, 0
        try:
            yield
        finally:
            self.patience_s = patience_s

    @property
    def ended(self) -> bool:
        """Whether it is over. Unasked, a server speaks or hangs up to end a session."""
        if self.closed:
            return True
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(0))


def check_server(session: Session, *, durable: bool) -> None:
    """See that this server keeps what it acknowledges, as we wrote it.

    Raises:
        AwayError: it does not; what to set is said.
    """
    version = session.info.server_version // 10_000
    if version < OLDEST:
        raise AwayError(f"PostgreSQL {version}; it has to be {OLDEST} or newer")
    encoding, bytewise = _one(session, "SELECT current_setting('server_encoding'), 'Z' < 'a'")
    if encoding != "UTF8" or not bytewise:
        raise AwayError(
            "the database has to be in UTF-8 and sort by code points (an update of the system's "
            "collations would break its indexes): CREATE DATABASE … TEMPLATE template0 "
            "ENCODING 'UTF8' LOCALE 'C'"
        )
    if not durable:
        return
    for setting, allowed in _MUST_BE.items():
        (found,) = _one(session, "SELECT current_setting(%s)", setting)
        if found not in allowed:
            raise AwayError(
                f"{setting} is {found}: a power cut would lose what was acknowledged; set it to "
                f"{allowed[0]} (postgresql.conf, ALTER DATABASE or ALTER ROLE) and reload"
            )
        if setting == "synchronous_commit":
            session.execute(f"SET synchronous_commit = {found}")  # whatever a reload brings


def take_lock(session: Session) -> None:
    """Be the one who writes, for as long as this session lives.

    Raises:
        AwayError: somebody else is, after `lock_timeout`.
    """
    try:
        session.execute("SELECT pg_advisory_lock(%s::int, 0)", [_LOCK])
    except psycopg.errors.LockNotAvailable:
        program, pid, address, since, doing = _one(session, _HOLDER, _LOCK)
        raise AwayError(
            f"another process writes to it: {program}, session {pid} from {address} since {since} "
            f"({doing}): stop that node first; if its machine is gone, wait until the server "
            f"notices, or: SELECT pg_terminate_backend({pid})"
        ) from None


def _one(session: Session, statement: str, *parameters: object) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = session.execute(statement, parameters).fetchone()
    if row is None:
        raise AwayError("the server's answer is empty")
    return row


def at_fault(error: BaseException | None) -> bool:
    """Whether a statement or its values were wrong; otherwise the server, or the way to it."""
    if not isinstance(error, psycopg.Error):
        return True
    if error.sqlstate is None:
        return isinstance(error, _OUR_MISUSE)
    return error.sqlstate[:2] in _OUR_FAULT and error.sqlstate not in _NOT_OUR_FAULT


def said(error: BaseException | None) -> str:
    """What happened, in one line that quotes no value: of ours, the server's words might."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, psycopg.Error) or not at_fault(cause):
        return " ".join(str(cause).split())
    state = cause.sqlstate
    if state is None:
        return type(cause).__name__
    named = state[:2] in _ABOUT_NAMES and cause.diag.message_primary
    return f"SQLSTATE {state}: {named or cause.diag.column_name or 'a value'}"
