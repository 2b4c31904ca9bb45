"""The phases of a node that may have lost something, and what it says and hears meanwhile.

    checking     at the start: peers are asked what head of ours they hold. One that our log does
                 not lead to, or a mark beside the store that is ahead of it: recovering (RV-2).
                 Nothing of the kind from the peers that answer, or nobody answers: working (RV-3)
    recovering   nothing is signed, numbered or taken; all linked peers are recalled, page by page.
                 When each has answered to the end, or the operator goes on without it: what was
                 recalled takes effect, the log begins a new incarnation, working (RV-4 to RV-11)
    working      as always. A peer that shows a head our log does not lead to: recovering (LG-13)

In the first two phases peers hear `busy` (recovering) about everything but heads and recalls, which
are answered: two nodes that have lost something must not wait for each other.

A recall travels like everything else: in a post, in the answer to a call, in a file. Only that a
recovery goes on and how far each peer is, is in the store; what is under way is asked for again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from node.log.heads import beyond_reach, leads_to
from node.log.reading import incarnation_of, log_size
from node.log.witness import find_held
from node.ports import Decision, Unit, Update
from node.recovery.ending import end_unit
from node.recovery.marker import LogMark
from node.recovery.recall import NOTHING_MS, answer_recall
from node.recovery.replay import replay_unit
from node.recovery.restore import Restorer
from node.recovery.state import (
    RECOVERY_LOCK,
    RecallRow,
    begun,
    cases_to_replay,
    find_recovery,
    recall_row,
    recall_rows,
)
from node.store import schema
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
from signing.log import read_head, verify_head

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.log.heads import HeadExchange
    from node.ports import Row
    from node.recovery.marker import Marker
    from protocol.frames import Frame
    from signing.log import Head

CHECK_MS: Final = 10_000
"""How long a node that starts waits for the first peer to say what it holds."""
MORE_MS: Final = 1_000
"""How long it then waits for the others."""
LEASE_MS: Final = 15_000
LONGEST_LEASE_MS: Final = 10 * 60_000
"""When a recall that was not answered is repeated: longer and longer, for slow gates."""
BUSY_MS: Final = 5_000
_PAUSE_MS: Final = 2_000
_log = structlog.get_logger()


class Phase(StrEnum):
    """What the node does; the values stand in `health`."""

    CHECKING = "checking"
    RECOVERING = "recovering"
    WORKING = "working"


@dataclass(slots=True)
class _Turn:
    """How far it is with one peer.

    Attributes:
        row: As the store has it.
        cursor: Where the next page begins; ahead of the store's in the middle of a message.
        due_ms: When to ask.
        asked: How often, since the last answer.
        trouble: Why its last page was not taken.
    """

    row: RecallRow
    cursor: bytes = b""
    due_ms: int = 0
    asked: int = 0
    trouble: str | None = None
    alone: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class RecalledPeer:
    """How far it is with one peer, for operators."""

    node: str
    messages: int
    done: bool
    excused: bool
    trouble: str | None


class Recovery:
    """What one node does about what it may have lost.

    Attributes:
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
        self._restorer = Restorer(context)
        self._turns: dict[str, _Turn] = {}
        self._since_ms = NOTHING_MS
        self._mark = LogMark(1, 0)
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
        if self.phase is not Phase.RECOVERING:
            return []
        return [
            RecalledPeer(
                peer,
                self._turn(peer).row.messages,
                bool(self._turn(peer).row.done),
                bool(self._turn(peer).row.excused),
                self._turn(peer).trouble,
            )
            for peer in self._peers()
        ]

    # beginning

    async def prepare(self, *, forced: bool = False, check_ms: int = CHECK_MS) -> None:
        """Look what the store and the mark beside it say; to be done before anything is served.

        Args:
            forced: The operator knows that the store went back.
            check_ms: How long to wait for a peer; 0: do not ask.

        Raises:
            UnavailableError: STORE_UNAVAILABLE.
        """
        self._mark, known, rows = await self._context.store.read(
            lambda c: (
                LogMark(incarnation_of(c), log_size(c)),
                find_recovery(c),
                recall_rows(c),
            )
        )
        beside = await self._marker.read()
        if known is not None:
            _log.warning("recovery goes on", since_ms=known.since_ms, why=known.why)
            self._enter(known.since_ms, known.why, rows)
        elif forced:
            await self._begin("by the operator's word")
        elif beside is not None and beside > self._mark:
            lost = f"its log had {beside.size} leaves in incarnation {beside.incarnation}"
            await self._begin(
                f"{lost}, the store has {self._mark.size} in {self._mark.incarnation}"
            )
        elif check_ms and self._peers():
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
        self._mark, since_ms = await self._context.store.run(unit)
        _log.error("store is behind: recovering", why=why, since_ms=since_ms)
        age_ms = self._context.clock.now_ms() - since_ms
        if age_ms > BACKUP_HORIZON_MS:
            _log.error("older than what peers have to keep", days=age_ms // (24 * 3600 * 1000))
        self._enter(since_ms, why, ())

    def _decide_begin(self, connection: Connection, why: str) -> Decision[tuple[LogMark, int]]:
        here, now_ms = self._context.here, self._context.clock.now_ms()
        mark = LogMark(incarnation_of(connection), log_size(connection))
        known = begun(connection, here, now_ms, why)
        return Decision(lambda _proofs: ([known.row], (mark, known.since_ms)))

    def _enter(self, since_ms: int, why: str, rows: Iterable[RecallRow]) -> None:
        self.phase, self.why, self._since_ms = Phase.RECOVERING, why, since_ms
        self._turns = {row.node: _Turn(row, row.cursor) for row in rows}
        self._entered = True
        self._decided.set()
        self._stir()

    def _stir(self) -> None:
        self._changed.set()
        for peer in self._peers():
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
                waits = any(self._turn(peer).row.open for peer in self._peers())
                if not waits or now_ms >= self._until_ms:
                    await self._open()
            case Phase.RECOVERING if not self._entered:
                await self._begin(self.why or "")
            case Phase.RECOVERING:
                if not any(self._turn(peer).row.open for peer in self._peers()):
                    await self._finish()
            case Phase.WORKING:
                pass

    async def _open(self) -> None:
        await self._sweep()
        if self.phase is Phase.CHECKING:
            await self._work()

    async def _work(self) -> None:
        self.phase, self.why, self._since_ms = Phase.WORKING, None, NOTHING_MS
        self._entered = False
        self._turns.clear()
        self._decided.set()
        self._changed.set()
        await self._resume()

    async def _finish(self) -> None:
        """What was recalled takes effect; then the log begins a new incarnation (RV-9 to RV-11)."""
        store = self._context.store
        while cases := await store.read(cases_to_replay):
            for case_id in cases:
                await store.run(replay_unit(self._context, case_id))
        without = [peer for peer in self._peers() if self._turn(peer).row.excused]
        ended = await store.run(end_unit(self._context, without))
        _log.warning("recovered", incarnation=ended.incarnation, lost=ended.lost, without=without)
        await self._sweep()
        self._heads.declare(self._peers())
        await self._work()

    # what goes along to a peer

    def _peers(self) -> list[str]:
        directory, here = self._context.federation.directory, self._context.here
        return [
            node.id
            for node in directory.nodes.values()
            if node.id != here and directory.linked(here, node.id)
        ]

    def _turn(self, peer: str) -> _Turn:
        return self._turns.setdefault(peer, _Turn(RecallRow(peer)))

    def due_ms(self, peer: str) -> int | None:
        """When this peer has to be asked; None if it has not."""
        asks = self.phase is Phase.CHECKING or self._entered
        if self.working or not asks or peer not in self._peers():
            return None
        return self._turn(peer).due_ms if self._turn(peer).row.open else None

    def frames(self, peer: str) -> list[Frame]:
        """What to ask this peer now."""
        due_ms, now_ms = self.due_ms(peer), self._context.clock.now_ms()
        if due_ms is None or due_ms > now_ms:
            return []
        turn = self._turn(peer)
        turn.due_ms = now_ms + min(LONGEST_LEASE_MS, LEASE_MS << min(turn.asked, 8))
        turn.asked += 1
        mark = self._mark
        return [RecallFrame(mark.incarnation, mark.size, self._since_ms, turn.cursor)]

    def failed(self, peer: str) -> None:
        """What was asked did not reach it."""
        if peer in self._turns:
            self._turns[peer].due_ms = 0

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
        answer = await self.answer(peer, frames)
        if any(not isinstance(frame, _KNOWN) for frame in frames):
            answer.append(BusyFrame(None, Reason.RECOVERING, BUSY_MS))
        return write_frames(answer)

    async def answer(self, peer: str, frames: Iterable[Frame]) -> list[Frame]:
        """The answer to a recall among the frames: one page, and what head of the peer is held."""
        recall = next((frame for frame in frames if isinstance(frame, RecallFrame)), None)
        if recall is None:
            return []
        try:
            held = await self._context.store.read(lambda c: find_held(c, peer))
            if recall.since_ms < NOTHING_MS and not recall.cursor:
                lost = 0 if held is None else max(0, held.head.size - recall.size)
                _log.warning("peer recalls what it lost", peer=peer, leaves_lost=lost)
            page = await answer_recall(self._context, peer, recall)
        except TongbanError as error:
            _log.warning("recall not answered", peer=peer, why=str(error))
            return [BusyFrame(None, Reason.STORE_UNAVAILABLE, BUSY_MS)]
        return [*([] if held is None else [HeldFrame(held.octets)]), *page]

    async def hear(self, peer: str, frames: Sequence[Frame]) -> None:
        """What a peer says to a recall of ours; anything else is passed over."""
        if self.working or peer not in self._peers():
            return
        turn = self._turn(peer)
        async with turn.alone:
            try:
                for frame in frames:
                    if isinstance(frame, HeldFrame):
                        await self._note(frame)
                await self._take_page(turn, peer, frames)
            except TongbanError as error:
                _log.warning("page not taken", peer=peer, why=str(error))
                turn.trouble, turn.cursor = str(error)[:200], turn.row.cursor
                turn.due_ms = self._context.clock.now_ms() + BUSY_MS
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
        if self.phase is Phase.CHECKING and not await context.store.read(
            lambda c: leads_to(c, head)
        ):
            await self.lost(head)
        if self.phase is Phase.RECOVERING:
            unit = Unit(partial(_decide_note, head=head, octets=frame.octets))
            await context.store.run(replace(unit, keys=frozenset({RECOVERY_LOCK})))

    async def _take_page(self, turn: _Turn, peer: str, frames: Sequence[Frame]) -> None:
        asked = self._since_ms, turn.cursor
        page = next((frame for frame in frames if isinstance(frame, PageFrame)), None)
        if page is None or (page.since_ms, page.cursor) != asked or not turn.row.open:
            return
        recalled = [frame for frame in frames if isinstance(frame, RecalledFrame)]
        if self.phase is Phase.CHECKING:
            turn.row = replace(turn.row, done=1)
            self._until_ms = min(self._until_ms, self._context.clock.now_ms() + MORE_MS)
            return
        fresh = 0
        for frame in recalled:
            fresh += await self._restorer.take(peer, frame)
        row = replace(turn.row, messages=turn.row.messages + fresh, done=int(not page.following))
        if not recalled or recalled[-1].last:
            # In the middle of a message its parts are not anybody's yet: it would begin again.
            row = replace(row, cursor=page.following)
            await self._context.store.run(Unit(partial(_decide_turn, row=row)))
        turn.row, turn.cursor = row, page.following
        turn.due_ms, turn.asked, turn.trouble = 0, 0, None


_KNOWN: Final = (HeadFrame, HeldFrame, RecallFrame, RecalledFrame, PageFrame, BusyFrame)


def _decide_note(connection: Connection, head: Head, octets: bytes) -> Decision[None]:
    known = find_recovery(connection)
    rows: list[Row] = []
    if known is not None:
        before = LogMark(0, 0) if known.head is None else _mark_of(read_head(known.head).head)
        if _mark_of(head) > before:
            rows.append(Update(schema.recovery, {"node": known.node}, {"head": octets}))
    return Decision(lambda _proofs: (rows, None))


def _decide_turn(connection: Connection, row: RecallRow) -> Decision[None]:
    before = recall_row(connection, row.node)
    kept = replace(row, excused=before.excused)
    return Decision(lambda _proofs: ([kept.row], None))


def _mark_of(head: Head) -> LogMark:
    return LogMark(head.incarnation, head.size)
