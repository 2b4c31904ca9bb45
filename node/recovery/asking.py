"""The asking side: what each peer is asked, and what is taken of its pages (RV-6 to RV-9).

All linked peers are recalled at once, each with one page under way. A page is taken whole or asked
for again; how far a peer is stands in the store, at the borders of messages, so that a node that is
killed goes on from there.

A peer that lies cannot keep a recall from ending by handing over more and more: its messages have
to rise by their ids, a page with a next one has to hold something, and little of what it hands over
may be something this node has nothing to do with. Whoever breaks that is asked again later, and
stands in `status` with what was wrong; going on without it is the operator's word (RV-10).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from node.ports import Decision, Unit
from node.recovery.believing import believe
from node.recovery.marker import LogMark
from node.recovery.recall import NOTHING_MS
from node.recovery.restore import Restorer
from node.recovery.state import RecallRow, recall_row
from protocol.errors import RefusedError, TongbanError
from protocol.frames import PageFrame, RecalledFrame, RecallFrame
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.recovery.believing import Believed
    from protocol.frames import Frame

LEASE_MS: Final = 15_000
LONGEST_LEASE_MS: Final = 10 * 60_000
"""When a recall that was not answered is repeated: longer and longer, for slow gates."""
AGAIN_MS: Final = 5_000
"""When a page that was not taken is asked for again."""
MOST_STRANGE: Final = 256
"""Messages of one peer that may turn out to be none of ours: an honest one has few or none."""
_TROUBLE: Final = 200
_log = structlog.get_logger()


@dataclass(slots=True)
class _Order:
    """What holds of everything one peer hands over (RV-9).

    Attributes:
        last: The message handed over last: its id and authority.
        unfinished: There is more of it to come.
        octets: Of its parts, so far.
        strange: Messages that were none of ours.
    """

    last: tuple[str, str] = ("", "")
    unfinished: bool = False
    octets: int = 0
    strange: int = 0

    def add(self, believed: Believed, frame: RecalledFrame) -> None:
        """Another frame.

        Raises:
            RefusedError: FRAME_MALFORMED: it does not follow the one before.
        """
        reference = believed.reference
        name = reference.message_id, reference.authority
        if name < self.last or (name == self.last and not self.unfinished):
            raise _broken(f"message {reference.message_id} after {self.last[0]}")
        brought = sum(len(piece.octets) for piece in frame.pieces)
        octets = brought + (self.octets if name == self.last else 0)
        if octets > believed.size or not (brought or frame.last):
            raise _broken(f"pieces of message {reference.message_id} without end")
        self.last, self.unfinished, self.octets = name, not frame.last, octets

    def skip(self) -> None:
        """A message that is none of ours.

        Raises:
            RefusedError: FRAME_MALFORMED: they are too many.
        """
        self.strange += 1
        if self.strange > MOST_STRANGE:
            raise _broken(f"more than {MOST_STRANGE} messages that are none of ours")


@dataclass(slots=True)
class _Turn:
    """How far it is with one peer.

    Attributes:
        row: As the store has it.
        cursor: Where the next page begins; ahead of the store's in the middle of a message.
        due_ms: When to ask.
        asked: How often, since the last answer.
        trouble: Why its last page was not taken.
        order: What it may hand over next.
        border: The same, at the place that the store has.
    """

    row: RecallRow
    cursor: bytes = b""
    due_ms: int = 0
    asked: int = 0
    trouble: str | None = None
    order: _Order = field(default_factory=_Order)
    border: _Order = field(default_factory=_Order)
    alone: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class RecalledPeer:
    """How far it is with one peer, for operators."""

    node: str
    messages: int
    done: bool
    excused: bool
    trouble: str | None


class Asking:
    """The recalls of one node; before `begin` they ask for no messages, only for heads."""

    def __init__(self, context: NodeContext) -> None:
        """Nobody was asked yet."""
        self._context = context
        self._restorer = Restorer(context)
        self._turns: dict[str, _Turn] = {}
        self._since_ms = NOTHING_MS
        self._mark = LogMark(1, 0)

    def begin(self, mark: LogMark, since_ms: int, rows: Iterable[RecallRow] = ()) -> None:
        """Recall everything from an instant on.

        Args:
            mark: How long the log is.
            since_ms: The instant; `NOTHING_MS`: only ask what heads are held.
            rows: How far it was with each peer.
        """
        self._mark, self._since_ms = mark, since_ms
        self._turns = {row.node: _Turn(row, row.cursor) for row in rows}

    # how far it is

    def peers(self) -> list[str]:
        """All linked ones."""
        directory, here = self._context.federation.directory, self._context.here
        return [
            node.id
            for node in directory.nodes.values()
            if node.id != here and directory.linked(here, node.id)
        ]

    def waits(self) -> bool:
        """Whether some peer has not handed over everything, and is not left out."""
        return any(self._turn(peer).row.open for peer in self.peers())

    def left_out(self) -> list[str]:
        """Peers the operator goes on without."""
        return [peer for peer in self.peers() if self._turn(peer).row.excused]

    def status(self) -> list[RecalledPeer]:
        """How far it is with each."""
        turns = [(peer, self._turn(peer)) for peer in self.peers()]
        return [
            RecalledPeer(
                peer, turn.row.messages, bool(turn.row.done), bool(turn.row.excused), turn.trouble
            )
            for peer, turn in turns
        ]

    def _turn(self, peer: str) -> _Turn:
        return self._turns.setdefault(peer, _Turn(RecallRow(peer)))

    # what is asked

    def due_ms(self, peer: str) -> int | None:
        """When this peer has to be asked; None if it has not."""
        if peer not in self.peers() or not self._turn(peer).row.open:
            return None
        return self._turn(peer).due_ms

    def frames(self, peer: str) -> list[Frame]:
        """What to ask this peer now."""
        due_ms, now_ms = self.due_ms(peer), self._context.clock.now_ms()
        if due_ms is None or due_ms > now_ms:
            return []
        turn = self._turn(peer)
        turn.due_ms = now_ms + min(LONGEST_LEASE_MS, LEASE_MS << min(turn.asked, 8))
        turn.asked += 1
        return [RecallFrame(self._mark.incarnation, self._mark.size, self._since_ms, turn.cursor)]

    def failed(self, peer: str) -> None:
        """What was asked did not reach it."""
        if peer in self._turns:
            self._turns[peer].due_ms = 0

    # what is answered

    async def take(self, peer: str, frames: Sequence[Frame]) -> bool:
        """Take the page among these frames, if it is the one that was asked for.

        Args:
            peer: Who hands it over; a linked one.
            frames: All of one post, answer or file.

        Returns:
            Whether there was one, and it was taken.
        """
        turn = self._turn(peer)
        async with turn.alone:
            page = next((frame for frame in frames if isinstance(frame, PageFrame)), None)
            asked = self._since_ms, turn.cursor
            if page is None or (page.since_ms, page.cursor) != asked or not turn.row.open:
                return False
            try:
                await self._take(turn, peer, page, frames)
            except TongbanError as error:
                _log.warning("page not taken", peer=peer, why=str(error))
                turn.trouble, turn.cursor = str(error)[:_TROUBLE], turn.row.cursor
                turn.order = replace(turn.border, strange=turn.order.strange)
                turn.due_ms = self._context.clock.now_ms() + AGAIN_MS
                return False
            return True

    async def _take(self, turn: _Turn, peer: str, page: PageFrame, frames: Iterable[Frame]) -> None:
        if self._since_ms == NOTHING_MS:
            turn.row = replace(turn.row, done=1)
            return
        recalled = [frame for frame in frames if isinstance(frame, RecalledFrame)]
        if page.following and not recalled:
            raise _broken("an empty page, and another one after it")
        fresh = 0
        for frame in recalled:
            fresh += await self._take_one(turn.order, peer, frame)
        row = replace(turn.row, messages=turn.row.messages + fresh, done=int(not page.following))
        if not turn.order.unfinished or row.done:
            # In the middle of a message its parts are not anybody's yet: it would begin again.
            row = replace(row, cursor=page.following)
            await self._context.store.run(Unit(partial(_decide_turn, row=row)))
            turn.border = replace(turn.order)
        turn.row, turn.cursor = row, page.following
        turn.due_ms, turn.asked, turn.trouble = 0, 0, None

    async def _take_one(self, order: _Order, peer: str, frame: RecalledFrame) -> bool:
        context = self._context
        try:
            believed = await context.workers.run(lambda: believe(context, peer, frame))
        except RefusedError as refusal:
            _log.error("recalled message not believed", peer=peer, why=str(refusal))
            order.skip()
            return False
        order.add(believed, frame)
        return await self._restorer.take(believed, frame)


def _broken(why: str) -> RefusedError:
    return RefusedError(Reason.FRAME_MALFORMED, why)


def _decide_turn(connection: Connection, row: RecallRow) -> Decision[None]:
    before = recall_row(connection, row.node)
    kept = replace(row, excused=before.excused)
    return Decision(lambda _proofs: ([kept.row], None))
