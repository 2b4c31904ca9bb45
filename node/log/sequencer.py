"""The log's worker: gives waiting leaves their places and signs what the log has become.

* A leaf waits for a second or so, and is under a signed head within `MERGE_DELAY_MS` (LG-4): a step
  follows a step while leaves wait, and the last one signs.
* Nothing is remembered: the size of the log is that of its last tile, the leaves that wait are
  rows. A process that is killed loses no more than a plan.
* Planning is a query beside the writer; writing is one unit of work (`node.log.growth`).
* A head that was shown to somebody stays; one that nobody saw goes when the next is signed.

Leaves of its own: how the log began, that the node started, and what it believed of the directory
then and after each change.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from node.log.growth import Moment, plan_step, step_unit
from node.recovery.marker import NoMarker
from protocol.errors import TongbanError
from protocol.limits import MERGE_DELAY_MS
from routing.directory_views import write_view
from signing.keys import KeyStoreError, KeyUse
from signing.log import Birth, LeafType, LogDigest

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.context import NodeContext
    from node.recovery.marker import Marker
    from signing.suites import PublicKey

_BUSY_MS: Final = 1_000
_IDLE_MS: Final = MERGE_DELAY_MS // 2
_log = structlog.get_logger()


class Sequencer:
    """Takes the steps of one node's log."""

    def __init__(
        self,
        context: NodeContext,
        news: Callable[[], None],
        marker: Marker | None = None,
        may: Callable[[], bool] = lambda: True,
    ) -> None:
        """Work for this node; nothing happens before `run` or `drain`.

        Args:
            context: The node.
            news: Called when a head is signed that peers should know.
            marker: Remembers beside the store how long the log is.
            may: Whether anything may be signed now; no step is taken while it may not.
        """
        self._context = context
        self._news = news
        self._marker = marker or NoMarker()
        self._may = may
        self._woken = asyncio.Event()
        self._noted: bytes | None = None
        self._turn = asyncio.Lock()
        self.trouble: str | None = None
        """Why the last step failed, for operators; None while all is well."""

    def wake(self) -> None:
        """Something was probably logged."""
        self._woken.set()

    async def run(self) -> None:
        """Take steps until cancelled: every second while leaves come, else when woken or seldom."""
        while True:
            grew, trouble = False, None
            self._woken.clear()
            try:
                grew = await self.drain()
                if self._head_key() is None:
                    trouble = "no head key: heads are not signed. Make one with: run_node.py keys"
            except TongbanError as error:
                trouble = str(error)
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the log
                trouble = type(error).__name__
                _log.exception("step of the evidence log failed")
            if trouble is not None and trouble != self.trouble:
                _log.error("the evidence log does not grow", why=trouble)
            self.trouble = trouble
            # Leaves of one second go together.
            await self._context.clock.sleep_ms(_BUSY_MS)
            if not grew:
                await self._woken_or_seldom()

    async def _woken_or_seldom(self) -> None:
        sleeping = asyncio.ensure_future(self._context.clock.sleep_ms(_IDLE_MS))
        woken = asyncio.ensure_future(self._woken.wait())
        try:
            await asyncio.wait({sleeping, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            woken.cancel()

    async def drain(self) -> bool:
        """Take steps until no leaf waits and a head covers them all; whether the log grew.

        Raises:
            UnavailableError: STORE_UNAVAILABLE or SUITE_UNAVAILABLE: leaves go on waiting.
            RefusedError: LOG_BROKEN: what is stored does not fit together.
        """
        grew = False
        async with self._turn:
            while self._may() and await self._step():
                grew = True
        return grew

    async def _step(self) -> bool:
        context, moment = self._context, self._moment()
        newborn = Birth(context.here, self._digest(), 1, moment.now_ms)
        step = await context.store.read(lambda connection: plan_step(connection, newborn, moment))
        if step is None:
            return False
        key = None if step.more else self._head_key()
        mark = await context.store.run(step_unit(step, moment, key))
        if mark is not None:
            await self._marker.write(mark)
            self._noted = moment.view
            if step.news:
                self._news()
        return True

    def _moment(self) -> Moment:
        view = write_view(self._context.federation.directory.view())
        event: LeafType | None = None
        if self._noted is None:
            event = LeafType.START
        elif self._noted != view:
            event = LeafType.DIRECTORY
        return Moment(self._context.clock.now_ms(), view, event)

    def _digest(self) -> LogDigest:
        """What a new log's tree uses: the digest this node signs with."""
        key = self._head_key() or self._context.receipt_key()
        return LogDigest.of(key.suite)

    def _head_key(self) -> PublicKey | None:
        keys = self._context.keys
        try:
            return keys.public(keys.find(KeyUse.HEAD, self._context.here))
        except KeyStoreError:
            return None
