"""Where a database on a server is, and how a session gets in: what libpq is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from pathlib import Path

_HERE: Final = ("localhost", "127.0.0.1", "::1")
_SCHEMES: Final = ("postgresql://", "postgres://")
_CONNECT_S: Final = 5
# What holds unless the URL says otherwise.
_USUAL: Final[dict[str, Any]] = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    # Of several hosts the one that can write; a standby is no store.
    "target_session_attrs": "read-write",
}


@dataclass(frozen=True, slots=True)
class Address:
    """A database on a server.

    Attributes:
        url: As libpq takes it, `postgresql://role@host:port/database?…`, without a password.
        password_file: Holds the password and nothing else; without it libpq's own ways remain
            (peer, certificates, `~/.pgpass`).
    """

    url: str
    password_file: Path | None = None

    def __post_init__(self) -> None:
        """See that libpq understands the URL.

        Raises:
            ValueError: it does not, or a password is in it.
        """
        try:
            said = conninfo_to_dict(self.url)
        except psycopg.ProgrammingError as error:
            raise ValueError(str(error).strip()) from None
        if "password" in said:
            raise ValueError("a password does not belong here; put it into a file of its own")
        if not self.url.startswith(_SCHEMES) or not said.get("dbname"):
            raise ValueError("not of the form postgresql://role@host:port/database")

    @property
    def name(self) -> str:
        """What operators call it: database and host."""
        said = conninfo_to_dict(self.url)
        return f"{said['dbname']} at {said.get('host') or 'this machine'}"

    def conninfo(self, patience_ms: int) -> str:
        """The connection string; the password is read anew each time, because it may change.

        Over a network the server's certificate is checked, unless the URL says otherwise.

        Args:
            patience_ms: How long the server may take, milliseconds.

        Raises:
            OSError: the password file cannot be read, or others may read it.
        """
        said = conninfo_to_dict(self.url)
        hosts = str(said.get("host") or "/").split(",")
        usual = {"connect_timeout": str(max(1, min(_CONNECT_S, patience_ms // 1000))), **_USUAL}
        if not all(host.startswith("/") or host in _HERE for host in hosts):
            usual["sslmode"] = "verify-full"
        if self.password_file is not None:
            usual["password"] = read_password(self.password_file)
        return make_conninfo(**usual | said)


def read_password(path: Path) -> str:
    """What a password file holds, without the end of the line.

    Raises:
        OSError: it cannot be read, or others may read it.
    """
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise PermissionError(f"others may read it (mode {mode:o}): chmod 600 {path}")
    return path.read_text(encoding="utf-8").rstrip("\r\n")
