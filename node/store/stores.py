"""The store as the node sees it: two shells over one `StoreEngine`.

* `ThreadedStore`, for production: one thread writes. While a group is committed, units arrive;
  those that wait are the next group. Nothing is delayed to make a group larger: under little load
  a unit goes alone and at once, under much load a commit is shared by hundreds.
* `InlineStore`, for the simulation: the same groups and the same SQL on a real file, without
  threads, so that a run repeats. A crash is `close`, which strands whoever still holds the store,
  and a new engine on the same file.
"""

from __future__ import annotations

import asyncio
import queue
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, TypeVar, assert_never, cast

import structlog

from node.store.database import READERS
from node.store.engine import Done, Failed, Outcome
from node.store.merge import first_group
from protocol.errors import UnavailableError
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from node.ports import Unit
    from node.store.engine import StoreEngine

_log = structlog.get_logger()

T = TypeVar("T")

GROUP_LIMIT: Final = 256  # units; the gain is flat from here, the wait of the first one is not
QUEUE_LIMIT: Final = 4096  # units without an answer


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """A unit and where its outcome goes."""

    unit: Unit[Any]
    answer: asyncio.Future[Outcome]

    @property
    def keys(self) -> frozenset[str]:
        return self.unit.keys


class ThreadedStore:
    """A `Store`: one writing thread behind a bounded queue, a few reading ones beside it.

    Units that share a key run in the order of their `run`. A caller that is cancelled gets no
    answer; its unit runs all the same.
    """

    def __init__(
        self,
        engine: StoreEngine,
        *,
        queue_limit: int = QUEUE_LIMIT,
        group_limit: int = GROUP_LIMIT,
    ) -> None:
        """Start the writer; to be called in the event loop that the store serves.

        Args:
            engine: Opened; belongs to the store from here on, which also closes it.
            queue_limit: How many units may be without an answer.
            group_limit: How many units one commit may carry.
        """
        self._engine = engine
        self._queue_limit = queue_limit
        self._group_limit = group_limit
        self._loop = asyncio.get_running_loop()
        self._turn: list[_Job] = []
        self._queue: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._unanswered = 0
        self._trouble: str | None = None
        self._closing = False
        self._readers = ThreadPoolExecutor(READERS, "store-read")
        self._folder = ThreadPoolExecutor(1, "store-fold")
        self._folding: Future[None] | None = None
        self._writer = Thread(target=self._write, name="store-write", daemon=True)
        self._writer.start()

    async def run(self, unit: Unit[T]) -> T:
        """See `node.ports.Store.run`."""
        if self._closing:
            raise UnavailableError(Reason.STORE_UNAVAILABLE, "the node is stopping")
        if self._unanswered >= self._queue_limit:
            detail = f"{self._unanswered} units of work wait for the store"
            raise UnavailableError(Reason.OVERLOADED, detail)
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        self._unanswered += 1
        # What comes in one turn of the loop goes to the writer together: a post's messages are one
        # group, and no caller waits for another that has not come yet.
        if not self._turn:
            self._loop.call_soon(self._hand_over)
        self._turn.append(_Job(unit, answer))
        return cast("T", _result(await answer))

    def _hand_over(self) -> None:
        turn, self._turn = self._turn, []
        if turn:
            self._queue.put(turn)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """See `node.ports.Store.read`."""
        if self._closing:
            raise UnavailableError(Reason.STORE_UNAVAILABLE, "the node is stopping")
        return await self._loop.run_in_executor(self._readers, self._engine.read, query)

    async def forget(self) -> None:
        """See `node.ports.Store.forget`."""
        if self._closing:
            raise UnavailableError(Reason.STORE_UNAVAILABLE, "the node is stopping")
        await self._loop.run_in_executor(self._folder, self._engine.forget)

    async def close(self) -> None:
        """Take nothing new, finish what waits, answer it, close the database."""
        self._closing = True
        self._hand_over()
        await asyncio.to_thread(self._finish)

    def _finish(self) -> None:
        self._queue.put(None)
        self._writer.join()
        self._readers.shutdown()
        self._folder.shutdown()
        self._engine.close()

    # --- in the writer's thread

    def _write(self) -> None:
        waiting: list[_Job] = []
        open_ = True
        while open_ or waiting:
            open_ = self._collect(waiting) and open_
            group, waiting = first_group(waiting, self._group_limit)
            if group:
                self._settle(group)

    def _collect(self, waiting: list[_Job]) -> bool:
        """Add what has come; wait only if there is nothing to do. False after the last."""
        try:
            jobs = self._queue.get(block=not waiting)
            while jobs is not None:
                waiting += jobs
                jobs = self._queue.get_nowait()
        except queue.Empty:
            return True
        return False

    def _settle(self, group: list[_Job]) -> None:
        outcomes = _run(self._engine, group)
        self._loop.call_soon_threadsafe(self._answer, group, outcomes)
        if self._engine.fold_due and (self._folding is None or self._folding.done()):
            self._folding = self._folder.submit(self._engine.fold)

    # --- in the event loop again

    @property
    def trouble(self) -> str | None:
        """See `node.ports.Store.trouble`."""
        return self._trouble

    def _answer(self, group: Sequence[_Job], outcomes: Sequence[Outcome]) -> None:
        self._unanswered -= len(group)
        before, self._trouble = self._trouble, _trouble_in(outcomes, self._trouble)
        if self._trouble is not None and before is None:
            _log.error("store unavailable: nothing is acknowledged", why=self._trouble)
        elif self._trouble is None and before is not None:
            _log.warning("store available again")
        _give(group, outcomes)


class InlineStore:
    """A `Store` without threads: what arrives in one turn of the loop is committed together.

    It commits in the turn after. A caller that is cancelled gets no answer; its unit runs all the
    same, unless the store is closed first.
    """

    def __init__(self, engine: StoreEngine) -> None:
        """Use this engine, which `close` also closes."""
        self._engine = engine
        self._waiting: list[_Job] = []
        self._trouble: str | None = None

    async def run(self, unit: Unit[T]) -> T:
        """See `node.ports.Store.run`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._settle)
        self._waiting.append(_Job(unit, answer))
        return cast("T", _result(await answer))

    def _settle(self) -> None:
        while self._waiting:
            group, self._waiting = first_group(self._waiting, GROUP_LIMIT)
            outcomes = _run(self._engine, group)
            self._trouble = _trouble_in(outcomes, self._trouble)
            _give(group, outcomes)
        if self._engine.fold_due:
            self._engine.fold()

    @property
    def trouble(self) -> str | None:
        """See `node.ports.Store.trouble`."""
        return self._trouble

    async def read(self, query: Callable[[Connection], T]) -> T:
        """See `node.ports.Store.read`."""
        return self._engine.read(query)

    async def forget(self) -> None:
        """See `node.ports.Store.forget`."""
        self._engine.forget()

    async def close(self) -> None:
        """Close the database; what waits then is answered that nothing was written."""
        self._engine.close()


def _run(engine: StoreEngine, group: Sequence[_Job]) -> list[Outcome]:
    try:
        return engine.run_group([job.unit for job in group])
    except Exception as error:  # noqa: BLE001 - a bug of the engine; nobody may wait for ever
        return [Failed(error) for _ in group]


def _give(group: Sequence[_Job], outcomes: Sequence[Outcome]) -> None:
    for job, outcome in zip(group, outcomes, strict=True):
        if not job.answer.done():  # cancelled
            job.answer.set_result(outcome)


def _trouble_in(outcomes: Sequence[Outcome], before: str | None) -> str | None:
    """What a group says of the store: it failed, it wrote, or nothing new."""
    for outcome in outcomes:
        if isinstance(outcome, Done):
            return None
        error = outcome.error
        if isinstance(error, UnavailableError) and error.reason is Reason.STORE_UNAVAILABLE:
            return error.detail
    return before


def _result(outcome: Outcome) -> object:
    match outcome:
        case Done(value):
            return value
        case Failed(error):
            raise error
        case _:
            assert_never(outcome)
