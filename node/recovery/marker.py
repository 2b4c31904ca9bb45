"""What a node remembers beside its store: how long its log was.

Written after each step of the log. If the store says less than the marker, the store was put back.
A marker that is behind its store only missed the last step; one that is gone says nothing, and the
heads that peers hold still do (RV-2).
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from pathlib import Path

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, order=True)
class LogMark:
    """How long a log was: its incarnation first, then its leaves."""

    incarnation: int
    size: int


class Marker(Protocol):
    """Where the mark is kept: anywhere but in the store."""

    async def read(self) -> LogMark | None:
        """The last mark; None if there is none that can be read."""
        ...

    async def write(self, mark: LogMark) -> None:
        """Keep this one. A mark that cannot be kept is no reason to stop."""
        ...


class NoMarker:
    """For a node that keeps none."""

    async def read(self) -> LogMark | None:
        """Nothing is known."""
        return None

    async def write(self, mark: LogMark) -> None:
        """Nothing is kept."""


class FileMarker:
    """A small file, replaced whole."""

    def __init__(self, path: Path) -> None:
        """Keep it in this file."""
        self._path = path

    async def read(self) -> LogMark | None:
        """The last mark; None if the file is not there or not whole."""
        return await asyncio.to_thread(self._read)

    async def write(self, mark: LogMark) -> None:
        """Keep this one, durably."""
        try:
            await asyncio.to_thread(self._write, mark)
        except OSError as error:
            _log.warning("mark of the log not kept", path=str(self._path), why=str(error))

    def _read(self) -> LogMark | None:
        try:
            incarnation, size = self._path.read_text(encoding="ascii").split()
            return LogMark(int(incarnation), int(size))
        except (OSError, ValueError):
            return None

    def _write(self, mark: LogMark) -> None:
        fresh = self._path.with_name(f"{self._path.name}.new")
        with fresh.open("w", encoding="ascii") as file:
            file.write(f"{mark.incarnation} {mark.size}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            with suppress(OSError):
                os.fsync(folder)
        finally:
            os.close(folder)
