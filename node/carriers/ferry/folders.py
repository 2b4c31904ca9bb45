"""Two folders of one link: written so that a gate never sees half a file, read without trust.

Whoever runs the gate can write into both. So nothing is written through a link that lies there, or
a file of this node's own could be made to take its octets; and what is read is plain files.

Everything here is plain file work and may raise OSError; whoever calls decides what that means.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from node.keyfile import sync_directory

if TYPE_CHECKING:
    from pathlib import Path

MAX_LOOKED_AT: Final = 8192
"""Files of a folder looked at in one round; the rest when these are gone."""
ASIDE: Final = "aside"
"""The folder inside `in` for what is not taken, each with a text beside it that says why."""
_SUFFIX: Final = ".tbf"
_PART: Final = ".part"
_REASON: Final = ".reason.txt"
_MAX_NAME: Final = 60  # so that a file system takes it with what is added, in any script


@dataclass(frozen=True, slots=True)
class Found:
    """A file in the folder `in`; what changes when somebody still writes it is part of its value.

    Attributes:
        name: Whatever the gate calls it.
        size: Octets.
        changed_ns: When it was last written, by the disk's clock.
    """

    name: str
    size: int
    changed_ns: int


class Folders:
    """Both folders of one link."""

    def __init__(self, out: Path, into: Path, *, durable: bool = True) -> None:
        """Name them; they need not be there yet.

        Args:
            out: Where the gate fetches files.
            into: Where it puts them.
            durable: False in simulations: nothing is synced.
        """
        self.out = out
        self.into = into
        self._durable = durable

    # out

    def write(self, name: str, octets: bytes) -> None:
        """Put a whole file into `out`: it is there complete and on disk, or not at all (FF-5)."""
        unfinished = self.out / f".{name}{_PART}"
        unfinished.unlink(missing_ok=True)
        try:
            with unfinished.open("xb") as file:
                file.write(octets)
                file.flush()
                if self._durable:
                    os.fsync(file.fileno())
            unfinished.replace(self.out / f"{name}{_SUFFIX}")
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        if self._durable:
            sync_directory(self.out)

    def waiting(self) -> list[str]:
        """The names of what the gate has not fetched, in the order of names."""
        return sorted(path.name[: -len(_SUFFIX)] for path in self.out.glob(f"[!.]*{_SUFFIX}"))

    def withdraw(self, name: str) -> None:
        """Take a file back from the gate, if it is still there."""
        (self.out / f"{name}{_SUFFIX}").unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what a process that was killed left half written."""
        for path in self.out.glob(f".*{_PART}"):
            path.unlink(missing_ok=True)

    # in

    def look(self) -> list[Found]:
        """What is in `in`, as far as it is plain files."""
        found: list[Found] = []
        with os.scandir(self.into) as entries:
            # What is no plain file stays for ever, so it must not count.
            plain = (entry for entry in entries if entry.is_file(follow_symlinks=False))
            for entry in itertools.islice(plain, MAX_LOOKED_AT):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    found.append(Found(entry.name, status.st_size, status.st_mtime_ns))
        return found

    def read(self, name: str, start: int, length: int) -> bytes:
        """Octets of a file, from a place on; fewer if it ends before."""
        # Between the look and now it may have become a link out of here, or a pipe without end.
        descriptor = os.open(self.into / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return b""
            file.seek(start)
            return file.read(length)

    def remove(self, name: str) -> None:
        """A file whose content is no longer needed."""
        (self.into / name).unlink(missing_ok=True)

    def count_aside(self) -> int:
        """How many files were set aside and are still there; no more than is looked at."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.into / ASIDE) as entries:
            listed = itertools.islice(entries, MAX_LOOKED_AT)
            return sum(entry.name.endswith(_REASON) for entry in listed)
        return 0

    def set_aside(self, name: str, why: str) -> None:
        """Move a file that is not taken out of the way, and say why beside it (FF-7)."""
        aside = self.into / ASIDE
        aside.mkdir(exist_ok=True)
        folder = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            place = _free_place(folder, name[:_MAX_NAME])
            # Made anew or not at all: never through a link that somebody put in its way.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            reason = os.open(f"{place}{_REASON}", flags, 0o644, dir_fd=folder)
            with os.fdopen(reason, "w", encoding="utf-8") as file:
                file.write(f"{why}\n")
            os.replace(self.into / name, place, dst_dir_fd=folder)
        finally:
            os.close(folder)


def _free_place(folder: int, name: str) -> str:
    """A name that nothing has in this folder, nor the reason beside it."""
    place = name
    while _is_there(folder, place) or _is_there(folder, f"{place}{_REASON}"):
        place = f"{name}.{secrets.token_hex(4)}"
    return place


def _is_there(folder: int, name: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return True
    return False
