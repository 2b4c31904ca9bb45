"""Where a measurement works: on a disk, since a file system in memory makes commits free."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILD = Path(__file__).resolve().parent.parent / "build"


@contextmanager
def workplace() -> Iterator[Path]:
    """An empty folder beside the checkout's other leftovers, gone afterwards."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=BUILD) as folder:
        yield Path(folder)
