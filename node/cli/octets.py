"""Files too large for memory: written whole or not at all, read piece by piece."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from node.cli.ending import CommandError
from node.keyfile import sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class FileOctets:
    """An open file; a `signing.evidence_file.Source`."""

    handle: int

    @property
    def size(self) -> int:
        """Octets."""
        return os.fstat(self.handle).st_size

    def read(self, offset: int, length: int) -> bytes:
        """So many from there on; fewer only at its end."""
        found = bytearray()
        while more := os.pread(self.handle, length - len(found), offset + len(found)):
            found += more
            if len(found) == length:
                break
        return bytes(found)


@contextmanager
def opened(path: Path) -> Iterator[FileOctets]:
    """A file, to be read while the block runs.

    Raises:
        CommandError: it cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield FileOctets(handle)
        finally:
            os.close(handle)
    except OSError as error:
        what = f"{path}: 不可读 cannot be read: {error.strerror}"
        raise CommandError(what, "核对路径 check the path") from error


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file that is there when the block has ended well, and otherwise is what it was."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_directory(path.parent)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
