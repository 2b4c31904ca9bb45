"""What waits for one peer: built into hand-overs, moved on by what the peer says about them.

A hand-over is a post to the peer, an answer to its call, or a file (`node.dispatch`, `node.pull`,
`node.ferry`). Whatever carries it, the rules are these:

* It takes what is due, in the order of cases and their numbers, up to what the carrier holds.
* A message leaves the outbox only with its destination's receipt. In a forwarder's custody its bare
  envelope is presented again now and then: whoever has it answers, whoever lost it wants it. After
  `Expires` only questions (`ask`) are left, and the message is in doubt until one is answered
  (EX-9).
* Every errand has its own timetable in the store (`routing.retry`). What was handed over without an
  answer in the same breath is leased: due again when the lease ends, unless the peer has answered
  before; longer leases for who stays silent (EX-22).
* What the peer says is as hostile as anything: receipts are verified, the rest is a hint that may
  move the errands at this peer, within the bounds of their timetable (EX-20).
* An errand the peer does not take, or never answers, goes another way if there is one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from node.next_try import PATIENCE, Later, NextTry
from node.parts.flow import LEASE_MS, UNDER_WAY
from node.parts.supply import RESERVED_FRAMES, RESERVED_OCTETS, Supply, Word
from node.ports import Decision, Unit, Update
from node.posts import Said, build_post, goes_whole, sort_said, within_reason
from node.recording import RETRY_AFTER_MS
from node.settlement import Effect, jitter, message_lock, settle_unit
from node.store import schema
from node.store.queries import (
    DELIVER,
    RECEIPT,
    Errand,
    Role,
    due_errands,
    errands_about,
    find_blobs,
    find_errand,
    find_message,
    find_parts,
    handed_errands,
    next_due,
)
from protocol.errors import UnavailableError
from protocol.frames import (
    BusyFrame,
    KeptFrame,
    NotHereFrame,
    ReceiptFrame,
    WantedFrame,
    write_frames,
)
from protocol.limits import MAX_POST_MESSAGES, MAX_POST_OCTETS
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from routing.delivery import Standing
from routing.retry import DELIVERY, LONGEST_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.log.heads import HeadExchange
    from node.parts.flow import Flow
    from node.ports import Row
    from node.posts import Hint
    from node.questions import Questions
    from node.recovery.gate import Recovery
    from node.store.queries import MessageRow
    from protocol.envelope import MessageReference
    from protocol.frames import Frame
    from routing.retry import Timetable
    from signing.receipts import VerifiedReceipt

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class HandOver:
    """What goes to a peer at once.

    Attributes:
        errands: Those it serves.
        octets: Of its frames.
        unfinished: Those of which more may go before the peer says anything.
        more: Small messages wait that did not fit, so the next hand-over need not wait for the
            answer to this one.
    """

    errands: Sequence[Errand]
    octets: bytes
    unfinished: Sequence[Errand] = ()
    more: bool = False


class Errands:
    """The errands at one peer. Holds nothing but how much it dares to hand over at once.

    Attributes:
        batch: That number: halved when a hand-over came to nothing.
        flow: Where large parts go to, if the peer can be dialled; else they go with the messages.
    """

    def __init__(
        self,
        context: NodeContext,
        peer: str,
        wake: Callable[[str], None],
        questions: Questions,
        heads: HeadExchange,
        recovery: Recovery,
    ) -> None:
        """Bind them to their peer.

        Args:
            context: The node.
            peer: Its node id.
            wake: Called with each other peer that got work.
            questions: Those of others, which go along.
            heads: Of evidence logs, which go along too.
            recovery: What goes instead of all that, while the node does not work.
        """
        self._context = context
        self._peer = peer
        self._wake = wake
        self._questions = questions
        self._heads = heads
        self._recovery = recovery
        self._supply = Supply(context)
        self._next = NextTry(context, peer, self._moved)
        self.flow: Flow | None = None
        self.batch = MAX_POST_MESSAGES

    # what is handed over

    async def next_due_ms(self) -> int | None:
        """When something has to be handed over next; what is beyond every timetable, now."""
        if not self._recovery.working:
            return self._recovery.due_ms(self._peer)
        now_ms = self._context.clock.now_ms()
        if self._questions.waiting(self._peer) or self._heads.waiting(self._peer):
            return now_ms
        due_ms = await self._context.store.read(lambda c: next_due(c, self._peer))
        return now_ms if due_ms is not None and due_ms > now_ms + LONGEST_MS else due_ms

    async def build(
        self,
        room: int = MAX_POST_OCTETS,
        *,
        paced: bool = True,
        beside: Collection[Errand] = (),
    ) -> HandOver:
        """What is due, as much of it as this many octets hold.

        Args:
            room: Octets.
            paced: Others wait for the line behind the carrier, so it takes no more of large parts
                than passes in about a second.
            beside: On their way to the peer now; they stay out, and so do their cases, whose
                messages may not overtake each other.
        """
        if not self._recovery.working:
            return HandOver([], write_frames(self._recovery.frames(self._peer)))
        along: list[Frame] = list(self._questions.take(self._peer, room // 2))
        due, more = await self._due(room, beside)
        errands = [errand for errand in due if not await self._divert(errand)]
        now_ms = self._context.clock.now_ms()
        if errands or along or self._heads.waiting(self._peer):
            along += await self._heads.show(self._peer)
        others = write_frames(along)
        whole = [errand for errand in errands if goes_whole(errand, now_ms)]
        heavy = [one for one in whole if self._supply.wants_pieces(one.message.reference)]
        apart = {id(errand) for errand in heavy}
        light = [errand for errand in errands if id(errand) not in apart]
        rows = [errand.message for errand in whole if id(errand) not in apart]
        parts = await self._context.store.read(lambda connection: find_parts(connection, rows))
        room -= len(others)
        octets, frames = (RESERVED_OCTETS, RESERVED_FRAMES) if heavy else (0, 0)
        build = partial(build_post, light, parts, self._context.here, now_ms)
        taken, small = build(room - octets, len(along) + frames)
        if heavy and light and not taken:
            # Small parts may be many: then the large ones wait for once.
            taken, small = build(room, len(along))
        ahead = 0 if paced else self._context.parts.ahead
        pieces = await self._supply.hand_over(
            heavy, room - len(small), now_ms, paced=paced, ahead=ahead
        )
        await self._put_off(pieces.stuck)
        return HandOver(
            [*taken, *pieces.errands],
            b"".join((small, *pieces.octets, others)),
            pieces.unfinished,
            more=not heavy and (more or len(taken) < len(light)),
        )

    async def pieces(self, errands: Sequence[Errand]) -> HandOver:
        """Pieces of what the peer wants of the first of these, for a post of their own."""
        now_ms = self._context.clock.now_ms()
        heavy = [
            errand
            for errand in errands
            if goes_whole(errand, now_ms) and self._supply.wants_pieces(errand.message.reference)
        ]
        ahead = UNDER_WAY * self._context.parts.post
        pieces = await self._supply.hand_over(heavy, MAX_POST_OCTETS, now_ms, ahead=ahead)
        await self._put_off(pieces.stuck)
        return HandOver(pieces.errands, b"".join(pieces.octets), pieces.unfinished)

    async def _put_off(self, stuck: Iterable[Errand]) -> None:
        """What cannot be read now goes by its timetable."""
        for errand in stuck:
            await self._next.put_off(errand, Later(Reason.STORE_UNAVAILABLE))

    def lost(self, handed: HandOver) -> None:
        """A hand-over came to nothing: the next one is smaller, and nothing flows."""
        self.batch = max(1, len(handed.errands) // 2)
        self._supply.lost()
        if self.flow is not None:
            self.flow.clear()
        self._recovery.failed(self._peer)

    async def _due(
        self, room: int = MAX_POST_OCTETS, beside: Collection[Errand] = ()
    ) -> tuple[list[Errand], bool]:
        """What is due and not on its way, within reason, and whether there is more."""
        now_ms = self._context.clock.now_ms()
        limit = self.batch + len(beside)
        found = await self._context.store.read(
            lambda connection: due_errands(connection, self._peer, now_ms, limit)
        )
        if beside:
            cases = {errand.message.case_id for errand in beside} - {None}
            moving = {(errand.purpose, errand.message.reference) for errand in beside}
            found = [
                errand
                for errand in found
                if errand.message.case_id not in cases
                and (errand.purpose, errand.message.reference) not in moving
            ]
        chosen = within_reason(found[: self.batch], room)
        return chosen, len(chosen) == self.batch or len(chosen) < len(found)

    async def _divert(self, errand: Errand) -> bool:
        """What was handed over again and again without a word goes another way, if there is one."""
        return errand.handed >= PATIENCE and await self._next.divert(
            errand, Reason.PEER_UNREACHABLE
        )

    async def lease(self, handed: HandOver, timetable: Timetable) -> None:
        """Put off what is handed over until the peer answers or the lease ends (EX-22)."""
        more = {id(errand) for errand in handed.unfinished}
        errands = [errand for errand in handed.errands if id(errand) not in more]
        if not errands:
            return
        locks = frozenset(message_lock(errand.message.reference) for errand in errands)
        unit = Unit(lambda c: self._decide_lease(c, errands, timetable), locks)
        await self._context.store.run(unit)

    def _decide_lease(
        self, connection: Connection, errands: Iterable[Errand], timetable: Timetable
    ) -> Decision[None]:
        now_ms = self._context.clock.now_ms()
        rows: list[Row] = []
        for errand in errands:
            place = find_errand(connection, errand.message.key, errand.purpose)
            if place is not None and place.peer == self._peer:
                handed = place.handed + 1
                due_ms = now_ms + timetable.delay_ms(handed, jitter(self._context))
                changes = {"due_ms": due_ms, "handed": handed}
                rows.append(Update(schema.outbox, errand.key, changes))
        return Decision(lambda _signatures: (rows, None))

    # what the peer says about it

    async def answered(self, errands: Iterable[Errand], frames: Iterable[Frame]) -> Said:
        """The answer to a post: it says something about each errand, be it by silence."""
        frames = list(frames)
        await self._recovery.hear(self._peer, frames)
        if not self._recovery.working:
            # What was handed over before is due again when the node works.
            return Said()
        said = await self._sort(frames)
        await asyncio.gather(*(self._move(errand, said) for errand in errands))
        _log.info("answered", peer=self._peer, receipts=len(said.receipts))
        await self._heads.hear(self._peer, frames, replying=False)
        return said

    async def hear(self, frames: Sequence[Frame], *, asking: bool) -> tuple[Said, list[Frame]]:
        """What a call or a file says about earlier hand-overs (EX-20).

        Args:
            frames: Of the kinds `node.posts.SAID`.
            asking: The peer asks for what waits: what it was handed before and does not speak of,
                it did not get.

        Returns:
            What it said, and what to answer it.
        """
        if not self._recovery.working:
            return Said(), []
        said = await self._sort(frames)
        heads = await self._heads.hear(self._peer, frames)
        heads += await self._recovery.answers.to(self._peer, frames)
        unchecked = [
            BusyFrame(reference, reason, RETRY_AFTER_MS)
            for reference, reason in said.unchecked.items()
        ]
        handed = asking or bool(said.nameless) or None in said.hints
        try:
            errands = await self._context.store.read(lambda c: self._concerned(c, said, handed))
        except UnavailableError as trouble:
            # What was handed over goes again when its lease ends; receipts have to come again.
            busy = [BusyFrame(name, trouble.reason, RETRY_AFTER_MS) for name in said.receipts]
            return said, [*unchecked, *busy, *heads]
        with_errand = {errand.message.reference: errand for errand in errands}
        spoken_of = [
            errand
            for errand in errands
            if said.receipts_for(errand.message) or said.hint_for(errand.message)
        ]
        if asking and errands:
            self.batch = MAX_POST_MESSAGES if spoken_of else max(1, len(errands) // 2)
        moving = [
            self._move(errand, said, synchronous=False)
            for errand in (errands if asking else spoken_of)
            if errand.message.reference not in said.receipts
        ]
        taking = [
            self._take_receipts(reference, receipts, with_errand.get(reference))
            for reference, receipts in said.receipts.items()
        ]
        moved, answers = await asyncio.gather(
            asyncio.gather(*moving, return_exceptions=True), asyncio.gather(*taking)
        )
        for error in filter(None, moved):
            if not isinstance(error, UnavailableError):
                raise error
            _log.warning("not moved; its lease goes on", peer=self._peer, why=str(error))
        for reference, hint in said.hints.items():
            if reference is not None and reference not in with_errand:
                self._questions.answered(self._peer, reference, hint)
        if said.receipts:
            _log.info("answered", peer=self._peer, receipts=len(said.receipts))
        known = (answer for answer in answers if answer is not None)
        return said, [*unchecked, *known, *heads]

    def _concerned(self, connection: Connection, said: Said, handed: bool) -> list[Errand]:  # noqa: FBT001
        limit = 2 * MAX_POST_MESSAGES if handed else 0
        errands = errands_about(connection, self._peer, said.references)
        errands += handed_errands(connection, self._peer, limit) if limit else []
        return list({tuple(errand.key.values()): errand for errand in errands}.values())

    async def _sort(self, frames: Iterable[Frame]) -> Said:
        trust, checking = self._context.trust(), self._context.checking(self._peer)
        said = await self._context.workers.run(lambda: sort_said(frames, trust, checking))
        self._supply.heard(self._context.clock.now_ms())
        for trouble in said.dropped:
            _log.warning("not believed", peer=self._peer, dropped=trouble)
        return said

    async def _take_receipts(
        self,
        reference: MessageReference,
        receipts: Sequence[VerifiedReceipt],
        errand: Errand | None,
    ) -> Frame | None:
        """Receipts in a call; who passes on another's is told whether it is on disk here."""
        try:
            row = await self._context.store.read(
                lambda c: find_message(c, reference, Role.OUT, Role.TRANSIT)
            )
            if row is None:
                asked = [
                    self._questions.answered(self._peer, reference, ReceiptFrame(receipt.octets))
                    for receipt in receipts
                ]
                return None if any(asked) else NotHereFrame(reference, Reason.RECEIPT_UNKNOWN)
            if errand is not None and errand.purpose == DELIVER:
                await self._settle(errand, receipts)
            else:
                await self._take_effect(row, receipts)
        except UnavailableError as trouble:
            return BusyFrame(reference, trouble.reason, RETRY_AFTER_MS)
        passed_on = any(receipt.receipt.issuer != self._peer for receipt in receipts)
        return KeptFrame(reference) if passed_on else None

    async def _move(self, errand: Errand, said: Said, *, synchronous: bool = True) -> None:
        """Let an errand go where the peer's word, or its silence, puts it."""
        hint = said.hint_for(errand.message)
        if errand.purpose == RECEIPT:
            # A post that was looked into is on disk there, unless the answer says otherwise.
            if synchronous or hint is not None:
                await self._receipt_passed(errand, hint)
            else:
                await self._next.put_off(errand, Later(None))
            return
        receipts = said.receipts_for(errand.message)
        if self.flow is not None and errand.message.reference not in said.wanted:
            self.flow.let_go(errand.message.reference)
        if receipts:
            await self._settle(errand, receipts)
            return
        wanted = said.wanted.get(errand.message.reference)
        if wanted:
            later = await self._read_wanted(errand, wanted, self.flow if synchronous else None)
        else:
            later = self._next.after(errand, hint)
        if later is not None:
            await self._next.put_off(errand, later)

    async def _settle(self, errand: Errand, receipts: Sequence[VerifiedReceipt]) -> None:
        """Let the receipts take effect; an errand none of them served waits on."""
        effects = await self._take_effect(errand.message, receipts)
        if Effect.SETTLED in effects:
            self._supply.forget(errand.message.reference)
            return
        if Effect.CUSTODY not in effects:
            await self._next.put_off(errand, self._next.elsewhere(errand, Reason.NO_ROUTE))
        elif errand.attempts >= PATIENCE:
            # This forwarder has said "in custody" long enough: ask by another way too, if there is
            # one.
            await self._next.divert(errand, Reason.NO_ROUTE)

    async def _take_effect(
        self, row: MessageRow, receipts: Sequence[VerifiedReceipt]
    ) -> set[Effect]:
        effects: set[Effect] = set()
        for receipt in sorted(receipts, key=lambda one: one.receipt.type is ReceiptType.CUSTODY):
            settlement = await self._context.store.run(settle_unit(self._context, receipt, row))
            effects.add(settlement.effect)
            for peer in settlement.wake:
                self._wake(peer)
            _log.debug(
                "settled", message=row.message_id, peer=self._peer, outcome=settlement.outcome
            )
        return effects

    async def _read_wanted(
        self, errand: Errand, wanted: Sequence[WantedFrame], flow: Flow | None
    ) -> Later | None:
        """It has not got the message, or not all of it; None if nothing changes (UP-8)."""
        # Whatever a forwarder said before.
        row, now_ms = errand.message, self._context.clock.now_ms()
        standing = Standing.IN_DOUBT if row.expires_ms <= now_ms else Standing.QUEUED
        blobs = await self._context.store.read(lambda connection: find_blobs(connection, [row]))
        others = None if flow is None else flow.others(row.reference)
        word = self._supply.note(row.reference, wanted, blobs.get(row.name, {}), others=others)
        later = Later(Reason.PART_MISSING, standing=standing, anew=word is not Word.SAME)
        first = row.standing != standing
        if flow is not None:
            pieces = self._supply.wants_pieces(row.reference)
            if pieces and not first and word is not Word.SAME:
                leased = flow.take(errand, now_ms, more=word is Word.MORE)
                return replace(later, after_ms=LEASE_MS) if leased else None
            flow.let_go(row.reference)
        if word is Word.UNDER_WAY:
            return None
        at_once = first or word is Word.MORE
        return replace(later, at_once=at_once, falls=self._supply.falls(row.reference))

    async def _receipt_passed(self, errand: Errand, hint: Hint | None) -> None:
        """Upstream has the receipt, unless it says it is busy with it."""
        if isinstance(hint, BusyFrame):
            after_ms = min(hint.after_ms, DELIVERY.cap_ms)
            await self._next.put_off(errand, Later(hint.reason, after_ms))
        else:
            await self._next.never(errand)

    # what has to wait, or goes another way

    async def reroute(self) -> None:
        """What has another way takes it."""
        due, _ = await self._due()
        for errand in due:
            await self._next.divert(errand, Reason.PEER_UNREACHABLE)

    def _moved(self, errand: Errand, peer: str) -> None:
        """It has gone to another peer."""
        self._supply.forget(errand.message.reference)
        self._wake(peer)

    async def refused_alone(self, errand: Errand) -> None:
        """The peer answers, and this alone it does not take."""
        await self._next.put_off(errand, self._next.elsewhere(errand, Reason.PEER_UNREACHABLE))
