"""The sending half: what a peer wants of large parts, and the pieces to hand it next.

* Pieces go only from where the peer says that it wants them; before it has said anything, and when
  it wants a small part, the message is presented whole but for its large parts (UP-8).
* The last pieces of all that is wanted go with the small parts, so that the answer is the receipt.
* Small messages come first; those with large parts share what is left, in turns, and at least one
  piece of it (UP-10). Where others wait for the line, that is as much as passes in about a second.
* Where an answer takes long and nobody waits for the line (files through a gate), pieces go ahead
  of what the peer has said, up to a bound. A peer that wants the same again has lost something:
  from there they go once more.
* What the peer says is a hint. It gets more at once only while what it was given makes it want
  less: one that wants the same again waits for its timetable.

All this is memory only: after a restart the message is presented again, and the answer says where
the peer is.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

import structlog

from node.posts import post_with_pieces
from node.store.queries import find_parts
from protocol.errors import UnavailableError
from protocol.frames import PartFrame
from protocol.limits import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from node.context import NodeContext
    from node.store.queries import Errand, StoredBlob
    from protocol.envelope import MessageReference
    from protocol.frames import WantedFrame

ENVELOPES_OCTETS: Final = 512 * KIB
"""Of a hand-over with pieces: for their envelopes and framing."""
RESERVED_OCTETS: Final = ENVELOPES_OCTETS + MIB
RESERVED_FRAMES: Final = 256
"""What small messages leave of a hand-over where pieces are wanted."""

_WISHES: Final = 4096
_QUICK_MS: Final = 500
_SLOW_MS: Final = 2_000
_LEAST_SHARE: Final = 16
_log = structlog.get_logger()


class Word(Enum):
    """What the peer's word about a message comes to."""

    MORE = "more"  # it has taken something, and may have more at once
    UNDER_WAY = "under way"  # it has taken something, and all the rest is on its way to it
    SAME = "same"  # it wants what it wanted before


@dataclass(slots=True)
class _Wish:
    """What a peer wants of one message.

    Attributes:
        blobs: The message's large parts.
        wanted: Those it wants, and where to go on, as it last said.
        small: It wants a small part: nothing but the whole message helps.
        furthest: Where it has been with each; infinite for one it wants no more.
        falls: How often it wanted again what it had.
        credit: It has moved on since it last had something again at once.
        doubt: What it said last, if that was less than it said before.
        front: Where the next piece of each begins: beyond `wanted` by what is under way.
        sent: Octets handed over since it last said anything.
        ahead: How many may be under way; 0 where each hand-over is answered before the next.
        flowing: Whether to go on at the front; else at what is wanted.
        complete: Whether the front has reached the ends of all parts.
    """

    blobs: Mapping[str, StoredBlob]
    wanted: dict[str, int] = field(default_factory=dict)
    small: bool = False
    furthest: dict[str, float] = field(default_factory=dict)
    falls: int = 0
    credit: bool = False
    doubt: dict[str, int] | None = None
    front: dict[str, int] = field(default_factory=dict)
    sent: int = 0
    ahead: int = 0
    flowing: bool = False
    complete: bool = False

    def hear(self, said: Mapping[str, int], piece: int, others: bool | None) -> Word:  # noqa: FBT001
        """What the peer's next word means. What is no octet of a part was never wanted."""
        blobs = self.blobs
        wanted = {
            name: place
            for name, place in said.items()
            if name in blobs and place < blobs[name].size
        }
        self.small = bool(said.keys() - blobs.keys())
        reached = {name: wanted.get(name, math.inf) for name in self.furthest}
        gained = sum(
            reached[name] - before
            for name, before in self.furthest.items()
            if reached[name] > before
        )
        fell = any(reached[name] < before for name, before in self.furthest.items())
        moved = not fell and 0 < gained >= min(piece, self.sent)
        if not moved and self.ahead:
            if others is None:
                # It may be older than what was said before; when nothing else comes, it counts.
                self.doubt = wanted
            if others is None or others:
                return Word.UNDER_WAY
            if self.credit:
                # What overtook something on its way was passed over: it goes again, once.
                self.credit = self.flowing = False
                return Word.MORE
        self.doubt = None
        self.falls += fell
        self.furthest = wanted | reached
        self.credit = moved
        self.flowing = moved and self.ahead > 0 and wanted.keys() <= self.front.keys()
        self.complete = self.complete and self.flowing
        self.front = {name: max(place, self.front.get(name, 0)) for name, place in wanted.items()}
        self.wanted, self.sent = wanted, 0
        if not moved:
            return Word.SAME
        return Word.UNDER_WAY if self.complete else Word.MORE

    def go_back(self) -> None:
        """What was under way is lost, or was never to come: begin where the peer says it is."""
        if self.doubt is not None:
            self.falls += 1
            self.wanted, self.doubt = self.doubt, None
            self.furthest = {name: float(place) for name, place in self.wanted.items()}
        self.front = dict(self.wanted)


@dataclass(frozen=True, slots=True)
class Pieces:
    """What goes into a hand-over after the small messages.

    Attributes:
        errands: Those it serves.
        octets: Of its frames, to be joined.
        unfinished: Those of which more may go before the peer says anything.
        stuck: Those whose parts cannot be read now.
    """

    errands: list[Errand] = field(default_factory=list)
    octets: list[bytes] = field(default_factory=list)
    unfinished: list[Errand] = field(default_factory=list)
    stuck: list[Errand] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Load:
    """What goes of one message.

    Attributes:
        pieces: In order.
        last: They are the last that are wanted.
        more: More of it may go before the peer says anything.
    """

    pieces: Sequence[PartFrame]
    last: bool
    more: bool


class Supply:
    """What one peer wants, and how much of it goes at once."""

    def __init__(self, context: NodeContext) -> None:
        """Nothing is wanted yet."""
        self._context = context
        self._limits = context.parts
        self._wishes: OrderedDict[MessageReference, _Wish] = OrderedDict()
        self._room = min(self._limits.post, self._limits.piece)
        self._handed_ms: int | None = None

    # what the peer says

    def note(
        self,
        reference: MessageReference,
        frames: Iterable[WantedFrame],
        blobs: Mapping[str, StoredBlob],
        *,
        others: bool | None = None,
    ) -> Word:
        """Remember what is wanted of a message, and what that means.

        Args:
            reference: The message.
            frames: All that the peer wants of it.
            blobs: Its large parts.
            others: Pieces are on their way to it that were handed over later than those it speaks
                of; None if that is not known.
        """
        said = {frame.part_id: frame.offset for frame in frames}
        wish = self._wishes.get(reference)
        if wish is not None:
            return wish.hear(said, self._limits.piece, others)
        wish = self._wishes[reference] = _Wish(blobs)
        while len(self._wishes) > _WISHES:
            self._wishes.popitem(last=False)
        wish.hear(said, self._limits.piece, others)
        return Word.MORE

    def wants_pieces(self, reference: MessageReference) -> bool:
        """Whether pieces of the message are wanted, and nothing else of it."""
        wish = self._wishes.get(reference)
        return wish is not None and bool(wish.wanted) and not wish.small

    def falls(self, reference: MessageReference) -> int:
        """How often the peer wanted again what it had of a message."""
        wish = self._wishes.get(reference)
        return 0 if wish is None else wish.falls

    def forget(self, reference: MessageReference) -> None:
        """The message is settled, or goes another way."""
        self._wishes.pop(reference, None)

    # how much goes at once

    def heard(self, now_ms: int) -> None:
        """The peer has spoken: its next hand-over is to take about a second."""
        if self._handed_ms is None:
            return
        elapsed_ms, self._handed_ms = now_ms - self._handed_ms, None
        if elapsed_ms < _QUICK_MS:
            self._room = min(self._room * 2, self._limits.post)
        elif elapsed_ms > _SLOW_MS:
            self.lost()

    def lost(self) -> None:
        """A hand-over came to nothing, or took long: the next one is smaller."""
        self._handed_ms = None
        self._room = max(self._room // 2, self._limits.piece // _LEAST_SHARE)

    # what is handed over

    async def hand_over(
        self,
        heavy: Sequence[Errand],
        room: int,
        now_ms: int,
        *,
        paced: bool = True,
        ahead: int = 0,
    ) -> Pieces:
        """Pieces for the first of these, in equal shares.

        Args:
            heavy: Errands of whose messages pieces are wanted.
            room: Octets of the hand-over that are left.
            now_ms: The present.
            paced: Others wait for the line behind the carrier.
            ahead: Octets of each message that may be under way; 0 where each hand-over is answered
                before the next.
        """
        pieces, room = Pieces(), room - ENVELOPES_OCTETS
        space = min(room, self._room if paced else self._limits.post)
        if not heavy or space <= 0:
            return pieces
        self._handed_ms = now_ms if paced else None
        count = max(1, min(len(heavy), space // self._limits.piece))
        loaded: list[tuple[Errand, Load]] = []
        for errand in heavy[:count]:
            reference = errand.message.reference
            try:
                load = await self._load(reference, space // count, ahead)
            except UnavailableError as trouble:
                message = reference.message_id
                _log.error("large parts cannot be read", message=message, why=trouble.detail)
                pieces.stuck.append(errand)
                continue
            loaded.append((errand, load))
            room -= sum(len(piece.octets) for piece in load.pieces)
        rows = [errand.message for errand, load in loaded if load.last]
        small = await self._context.store.read(lambda connection: find_parts(connection, rows))
        for errand, load in loaded:
            parts = small.get(errand.message.name, {}) if errand.size <= room else {}
            room -= errand.size if parts else 0
            pieces.octets.append(post_with_pieces(errand, parts, load.pieces, self._context.here))
            pieces.errands.append(errand)
            if load.more:
                pieces.unfinished.append(errand)
        return pieces

    async def _load(self, reference: MessageReference, share: int, ahead: int) -> Load:
        """So many octets of pieces of one message, with so many under way at most."""
        wish = self._wishes[reference]
        if not wish.flowing or wish.complete:
            wish.go_back()
        wanted, blobs = wish.wanted, wish.blobs
        under_way = sum(wish.front[name] - start for name, start in wanted.items())
        if ahead:
            share = min(share, max(1, ahead - under_way))
        plan: list[tuple[str, int, int]] = []
        for name in wanted:
            start = wish.front[name]
            end = wish.front[name] = min(blobs[name].size, start + share)
            share -= end - start
            step = self._limits.piece
            plan += [(name, place, min(step, end - place)) for place in range(start, end, step)]
        read = self._context.blobs.read
        found = await asyncio.gather(
            *(read(blobs[name].name, place, length) for name, place, length in plan)
        )
        going = sum(length for _, _, length in plan)
        wish.sent += going
        wish.ahead = ahead
        wish.complete = all(wish.front[name] == blobs[name].size for name in wanted)
        wish.flowing = not wish.complete and under_way + going < ahead
        pieces = [
            PartFrame(reference, name, place, octets)
            for (name, place, _), octets in zip(plan, found, strict=True)
        ]
        return Load(pieces, wish.complete, wish.flowing)
