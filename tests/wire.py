"""A wire between the store and its PostgreSQL server that can be cut where it matters most."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Literal, TypeAlias

from node.store.address import Address

if TYPE_CHECKING:
    from collections.abc import Iterator

Cut: TypeAlias = Literal["never", "before COMMIT", "before its answer"]
_COMMIT = b"COMMIT\0"
_SOCKET = ".s.PGSQL.5432"


class Wire:
    """Passes everything on; where `cut` says so, once, it ends the session instead.

    Attributes:
        cut: When; it is "never" again afterwards.
        address: Of the database at this end of the wire.
    """

    def __init__(self, folder: Path, address: Address) -> None:
        self.cut: Cut = "never"
        self._deaf: socket.socket | None = None
        database, _, far = address.url.partition("?host=")
        self.address = Address(f"{database}?host={folder}")
        self._far = f"{far}/{_SOCKET}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / _SOCKET))
        self._listener.listen()
        self._threads = [Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Take no more sessions; those that are open have to be ended by their ends."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._far)
                for source, sink, pump in ((near, far, self._ask), (far, near, self._answer)):
                    self._threads.append(Thread(target=pump, args=(source, sink)))
                    self._threads[-1].start()

    def _ask(self, near: socket.socket, far: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            while data := near.recv(65_536):
                if self.cut == "before COMMIT" and _COMMIT in data:
                    break
                if self.cut == "before its answer" and _COMMIT in data:
                    self._deaf = far
                far.sendall(data)
        _end(far, near)

    def _answer(self, far: socket.socket, near: socket.socket) -> None:
        with far, contextlib.suppress(OSError):
            while data := far.recv(65_536):
                if self._deaf is far:
                    break
                near.sendall(data)
        _end(far, near)


def _end(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def wire_to(address: Address) -> Iterator[Wire]:
    """A wire to a database on a Unix socket; end every session before it is closed."""
    with tempfile.TemporaryDirectory(prefix="tb-wire-") as folder:
        wire = Wire(Path(folder), address)
        try:
            yield wire
        finally:
            wire.close()
