from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from node.workers import InlineWorkers, ThreadWorkers

if TYPE_CHECKING:
    from node.ports import Workers

WAIT_S = 30  # for what happens at once, or never


def failing() -> None:
    raise ValueError("its own error")


@pytest.mark.parametrize("kind", [InlineWorkers, ThreadWorkers])
def test_what_the_work_returns_or_raises_comes_out(kind: type[Workers]) -> None:
    async def scenario() -> None:
        workers = kind()
        assert await workers.run(lambda: 6 * 7) == 42
        with pytest.raises(ValueError, match="its own error"):
            await workers.run(failing)
        if isinstance(workers, ThreadWorkers):
            await workers.close()

    asyncio.run(scenario())


def test_the_loop_serves_others_while_threads_work() -> None:
    async def scenario() -> None:
        workers, others = ThreadWorkers(), threading.Event()
        working = asyncio.ensure_future(workers.run(lambda: others.wait(WAIT_S)))
        await asyncio.sleep(0)
        others.set()
        assert await working
        await workers.close()

    asyncio.run(scenario())
