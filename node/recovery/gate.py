"""The phases of a node that may have lost something, and what it says and hears meanwhile.

    checking     at the start: peers are asked what head of ours they hold. One that our log does
                 not lead to, or a mark beside the store that is ahead of it: recovering (RV-2).
                 Nothing of the kind from the peers that answer, or nobody answers: working (RV-1)
    recovering   nothing is signed, numbered or taken; all linked peers are recalled, page by page.
                 When each has answered to the end, or the operator goes on without it: what was
                 recalled takes effect, the log begins a new incarnation, working (RV-4 to RV-13)
    working      as always. A peer that shows a head our log does not lead to: recovering (LG-13)

In the first two phases peers hear `busy` (recovering) about everything but heads and recalls, which
are answered: two nodes that have lost something must not wait for each other.

A recall travels like everything else: in a post, in the answer to a call, in a file. Only that a
recovery goes on and how far each peer is, is in the store; what is under way is asked for again.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from node.log.heads import beyond_reach, leads_to
from node.log.reading import incarnation_of, log_size
from node.ports import Decision, Unit
from node.recovery.answering import Answers
from node.recovery.asking import Asking
from node.recovery.ending import end_unit
from node.recovery.marker import LogMark
from node.recovery.recall import NOTHING_MS
from node.recovery.replay import replay_unit
from node.recovery.state import (
    RECOVERY_LOCK,
    begun,
    cases_to_replay,
    find_recovery,
    noted_unit,
    recall_rows,
)
from protocol.errors import RefusedError, TongbanError, UnavailableError
from protocol.frames import (
    BusyFrame,
    HeadFrame,
    HeldFrame,
    PageFrame,
    RecalledFrame,
    RecallFrame,
    read_frames,
    write_frames,
)
from protocol.limits import BACKUP_HORIZON_MS
from protocol.reasons import Reason
from signing.log import verify_head

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.log.heads import HeadExchange
    from node.recovery.asking import RecalledPeer
    from node.recovery.marker import Marker
    from node.recovery.state import RecallRow
    from protocol.frames import Frame
    from signing.log import Head

CHECK_MS: Final = 10_000
"""How long a node that starts waits for the first peer to say what it holds."""
MORE_MS: Final = 1_000
"""How long it then waits for the others."""
BUSY_MS: Final = 5_000
_log = structlog.get_logger()


class Phase(StrEnum):
    """What the node does; the values stand in `health`."""

    CHECKING = "checking"
    RECOVERING = "recovering"
    WORKING = "working"


class Recovery:
    """What one node does about what it may have lost.

    Attributes:
        answers: To the recalls of others.
        phase: What it does now.
        why: Why it recovers; None if it does not.
    """

    def __init__(
        self,
        context: NodeContext,
        heads: HeadExchange,
        marker: Marker,
        wake: Callable[[str], None],
        sweep: Callable[[], Awaitable[None]],
        resume: Callable[[], Awaitable[None]],
    ) -> None:
        """A node works unless `prepare` finds something.

        Args:
            context: The node.
            heads: Of evidence logs.
            marker: What is remembered beside the store.
            wake: Called with each peer that has to be asked.
            sweep: Clears away what nothing names; called before the node works.
            resume: Called when it works (again).
        """
        self._context = context
        self._heads = heads
        self._marker = marker
        self._wake = wake
        self._sweep = sweep
        self._resume = resume
        self._asking = Asking(context)
        self.answers = Answers(context)
        self._until_ms = 0
        self._changed = asyncio.Event()
        self._entered = False
        self._decided = asyncio.Event()
        self.phase = Phase.WORKING
        self.why: str | None = None

    @property
    def working(self) -> bool:
        """Whether the node signs, numbers and takes."""
        return self.phase is Phase.WORKING

    def require_working(self) -> None:
        """What is asked of the node here needs it to know what it said.

        Raises:
            UnavailableError: RECOVERING.
        """
        if not self.working:
            raise UnavailableError(
                Reason.RECOVERING, self.why or "looking whether anything is lost"
            )

    async def decided(self) -> None:
        """Return when the node works or recovers: when it is known which."""
        await self._decided.wait()

    def status(self) -> list[RecalledPeer]:
        """How far it is with each peer; nobody if the node works."""
        return self._asking.status() if self.phase is Phase.RECOVERING else []

    # beginning

    async def prepare(self, *, forced: bool = False, check_ms: int = CHECK_MS) -> None:
        """Look what the store and the mark beside it say; to be done before anything is served.

        Args:
            forced: The operator knows that the store went back.
            check_ms: How long to wait for a peer; 0: do not ask.

        Raises:
            UnavailableError: STORE_UNAVAILABLE.
        """
        mark, known, rows = await self._context.store.read(
            lambda c: (
                LogMark(incarnation_of(c), log_size(c)),
                find_recovery(c),
                recall_rows(c),
            )
        )
        beside = await self._marker.read()
        if known is not None:
            _log.warning("recovery goes on", since_ms=known.since_ms, why=known.why)
            self._enter(mark, known.since_ms, known.why, rows)
        elif forced:
            await self._begin("by the operator's word")
        elif beside is not None and beside > mark:
            lost = f"its log had {beside.size} leaves in incarnation {beside.incarnation}"
            await self._begin(f"{lost}, the store has {mark.size} in {mark.incarnation}")
        elif check_ms and self._asking.peers():
            self._asking.begin(mark, NOTHING_MS)
            self.phase = Phase.CHECKING
            self._until_ms = self._context.clock.now_ms() + check_ms
        if self.working:
            await self._sweep()
            self._decided.set()

    async def lost(self, head: Head) -> None:
        """A peer holds a head of ours that our log does not lead to: not another signature."""
        if self.phase is Phase.RECOVERING:
            return
        detail = f"{head.size} leaves in incarnation {head.incarnation}"
        await self._begin(f"a peer holds a head of our log with {detail}, which we do not know")

    async def _begin(self, why: str) -> None:
        self.phase, self.why, self._entered = Phase.RECOVERING, why, False
        unit = Unit(partial(self._decide_begin, why=why), frozenset({RECOVERY_LOCK}))
        mark, since_ms = await self._context.store.run(unit)
        _log.error("store is behind: recovering", why=why, since_ms=since_ms)
        age_ms = self._context.clock.now_ms() - since_ms
        if since_ms and age_ms > BACKUP_HORIZON_MS:
            _log.error("older than what peers have to keep", days=age_ms // (24 * 3600 * 1000))
        self._enter(mark, since_ms, why)

    def _decide_begin(self, connection: Connection, why: str) -> Decision[tuple[LogMark, int]]:
        here, now_ms = self._context.here, self._context.clock.now_ms()
        mark = LogMark(incarnation_of(connection), log_size(connection))
        known = begun(connection, here, now_ms, why)
        return Decision(lambda _proofs: ([known.row], (mark, known.since_ms)))

    def _enter(
        self, mark: LogMark, since_ms: int, why: str, rows: Iterable[RecallRow] = ()
    ) -> None:
        self.phase, self.why = Phase.RECOVERING, why
        self._asking.begin(mark, since_ms, rows)
        self._entered = True
        self._decided.set()
        self._stir()

    def _stir(self) -> None:
        self._changed.set()
        for peer in self._asking.peers():
            self._wake(peer)

    # what runs

    async def run(self) -> None:
        """Move from phase to phase until cancelled."""
        if not self.working:
            self._stir()
        while True:
            self._changed.clear()
            try:
                await self._step()
            except TongbanError as error:
                _log.error("recovery has to wait", why=str(error))
            except Exception:  # noqa: BLE001 - a fault of ours must not end the recovery
                _log.exception("recovery failed")
            await self._changed_or_later()

    async def _changed_or_later(self) -> None:
        if self.working:
            await self._changed.wait()
            return
        sleeping = asyncio.ensure_future(self._context.clock.sleep_ms(MORE_MS))
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({sleeping, changed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            changed.cancel()

    async def _step(self) -> None:
        match self.phase:
            case Phase.CHECKING:
                now_ms = self._context.clock.now_ms()
                if not self._asking.waits() or now_ms >= self._until_ms:
                    await self._open()
            case Phase.RECOVERING if not self._entered:
                await self._begin(self.why or "")
            case Phase.RECOVERING:
                if not self._asking.waits():
                    await self._finish()
            case Phase.WORKING:
                await self._replay(whole=True)

    async def _open(self) -> None:
        await self._sweep()
        if self.phase is Phase.CHECKING:
            await self._work()

    async def _work(self) -> None:
        self.phase, self.why, self._entered = Phase.WORKING, None, False
        self._decided.set()
        self._changed.set()
        await self._resume()

    async def _finish(self) -> None:
        """What was recalled takes effect; then the log begins a new incarnation (RV-11, RV-12)."""
        store = self._context.store
        await self._replay(whole=False)
        without = self._asking.left_out()
        ended = await store.run(end_unit(self._context, await self._marker.read(), without))
        _log.warning("recovered", incarnation=ended.incarnation, lost=ended.lost, without=without)
        await self._sweep()
        self._heads.declare(self._asking.peers())
        await self._work()

    def replay(self) -> None:
        """A message has come that fills a gap in its case: a recovery had left it."""
        self._changed.set()

    async def _replay(self, *, whole: bool) -> None:
        store = self._context.store
        while cases := await store.read(cases_to_replay):
            for case_id in cases:
                await store.run(replay_unit(self._context, case_id, whole=whole))

    # what goes along to a peer

    def due_ms(self, peer: str) -> int | None:
        """When this peer has to be asked; None if it has not."""
        asks = self.phase is Phase.CHECKING or self._entered
        return None if self.working or not asks else self._asking.due_ms(peer)

    def frames(self, peer: str) -> list[Frame]:
        """What to ask this peer now."""
        return [] if self.due_ms(peer) is None else self._asking.frames(peer)

    def failed(self, peer: str) -> None:
        """What was asked did not reach it."""
        if not self.working:
            self._asking.failed(peer)

    # what peers say

    async def receive(self, peer: str, octets: bytes, *, asking: bool) -> bytes:
        """A post of a peer while the node does not work: the octets of the answer."""
        try:
            frames = read_frames(octets)
        except RefusedError as refusal:
            _log.warning("post refused", peer=peer, reason=refusal.reason.code)
            return write_frames([BusyFrame(None, Reason.RECOVERING, BUSY_MS)])
        if not frames and not asking:
            return write_frames(await self._heads.told(peer))
        await self.hear(peer, frames)
        answer = await self.answers.to(peer, frames)
        if any(not isinstance(frame, _KNOWN) for frame in frames):
            answer.append(BusyFrame(None, Reason.RECOVERING, BUSY_MS))
        return write_frames(answer)

    async def hear(self, peer: str, frames: Sequence[Frame]) -> None:
        """What a peer says to a recall of ours; anything else is passed over."""
        if self.working or peer not in self._asking.peers():
            return
        try:
            for frame in frames:
                if isinstance(frame, HeldFrame):
                    await self._note(frame)
            taken = await self._asking.take(peer, frames)
        except TongbanError as error:
            _log.warning("answer to a recall not taken", peer=peer, why=str(error))
        else:
            if taken and self.phase is Phase.CHECKING:
                self._until_ms = min(self._until_ms, self._context.clock.now_ms() + MORE_MS)
        self._changed.set()
        self._wake(peer)

    async def _note(self, frame: HeldFrame) -> None:
        """A head of ours that the peer holds.

        Raises:
            UnavailableError: KEY_UNKNOWN or STORE_UNAVAILABLE.
        """
        context = self._context
        trust = context.federation.directory.trust
        try:
            head = verify_head(frame.octets, trust, context.here, live=False).head
        except RefusedError as refusal:
            _log.error("not a head of ours", why=str(refusal))
            return
        if await context.store.read(lambda connection: beyond_reach(connection, head)):
            _log.error("somebody else signed a head with our key", incarnation=head.incarnation)
            return
        if await context.store.read(lambda connection: leads_to(connection, head)):
            return
        if self.phase is Phase.CHECKING:
            await self.lost(head)
        if self.phase is Phase.RECOVERING:
            await context.store.run(noted_unit(head, frame.octets))


_KNOWN: Final = (HeadFrame, HeldFrame, RecallFrame, RecalledFrame, PageFrame, BusyFrame)
