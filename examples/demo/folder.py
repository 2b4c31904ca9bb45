"""The demo's work folder: everything of one run, replaced whole by the next.

A marker file says that the folder is a demo's. What stands in a folder without one is somebody
else's and is never touched; the marker itself stays until the end, so that a clearing that was cut
short is finished by the next run. A running demo holds a lock on it.
"""

from __future__ import annotations

import fcntl
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from node.cli.ending import CommandError, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARKER: Final = "tongban-demo.txt"
_TEXT: Final = """\
通办演示的工作目录；下一次演示会清空它。
The work folder of the Tongban demo; the next demo empties it.
"""


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder, empty but for its marker, and nobody else's meanwhile.

    Raises:
        CommandError: it is not a demo's, or a demo runs in it now.
    """
    marker = folder / MARKER
    if folder.exists() and not marker.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = f"{folder} 不是演示目录，且非空 is not a demo's folder, and not empty"
        raise CommandError(what, "另选目录 choose another: --dir FOLDER")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with marker.open("a+", encoding="utf-8") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            what = f"{folder}: 另一演示正在运行 another demo runs in it"
            remedy = "先停止它，或另选目录 stop it first, or choose another folder: --dir FOLDER"
            raise CommandError(what, remedy, Exit.REFUSED) from error
        _clear(folder)
        held.truncate(0)
        held.write(_TEXT)
        held.flush()
        yield


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name == MARKER:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
