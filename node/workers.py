"""Where long pure work is done: beside the event loop, or in it.

Most of it is spent in libcrypto and libxml2, which do without the interpreter's lock: while a post
is verified the loop serves others, and on several cores several posts are verified at once.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_MOST: Final = 4  # beyond this they wait for the interpreter's lock


class InlineWorkers:
    """A `Workers` for the simulation: in the calling task, so that a run repeats."""

    async def run(self, work: Callable[[], T]) -> T:
        """See `node.ports.Workers`."""
        return work()


class ThreadWorkers:
    """A `Workers` over a few threads."""

    def __init__(self) -> None:
        """Start none before the first work."""
        self._threads = ThreadPoolExecutor(min(_MOST, os.cpu_count() or 1), "work")

    async def run(self, work: Callable[[], T]) -> T:
        """See `node.ports.Workers`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def close(self) -> None:
        """Finish what was begun."""
        await asyncio.to_thread(self._threads.shutdown)
