"""The demo's work folder: everything of one run, replaced whole by the next.

A marker file says that the folder is a demo's. What stands in a folder without one is somebody
else's and is never touched; the marker itself stays until the end, so that a clearing that was cut
short is finished by the next run. A running demo holds a lock on it, and its nodes inherit that: so
nothing is cleared while a node of a demo that was killed still writes.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from node.cli.ending import CommandError, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARKER: Final = "tongban-demo.txt"
_ATTEMPTS, _PAUSE_S = 20, 0.1
_TEXT: Final = """\
通办演示的工作目录；下一次演示会清空它。
The work folder of the Tongban demo; the next demo empties it.
"""


@contextmanager
def claimed(folder: Path) -> Iterator[int]:
    """The folder, empty but for its marker, and nobody else's meanwhile.

    Yields:
        The descriptor that holds the lock, for the nodes to inherit.

    Raises:
        CommandError: it is not a demo's, or a demo runs in it now.
    """
    marker = folder / MARKER
    if folder.exists() and not marker.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = f"{folder} 不是演示目录，且非空 is not a demo's folder, and not empty"
        raise CommandError(what, "另选目录 choose another: --dir FOLDER")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with marker.open("a+", encoding="utf-8") as held:
        if not _locked(held.fileno()):
            what = f"{folder}: 另一演示正在运行 another demo runs in it"
            remedy = "先停止它，或另选目录 stop it first, or choose another folder: --dir FOLDER"
            raise CommandError(what, remedy, Exit.REFUSED)
        _clear(folder)
        held.truncate(0)
        held.write(_TEXT)
        held.flush()
        yield held.fileno()


def _locked(descriptor: int) -> bool:
    """Take the lock; nodes whose demo was killed let go of it within a moment."""
    for attempt in range(_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt + 1 < _ATTEMPTS:
                time.sleep(_PAUSE_S)
        else:
            return True
    return False


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name == MARKER:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
