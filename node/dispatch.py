"""One dispatcher per peer: everything that waits for a peer leaves in batches, one post in flight.

The rules, in one place:

* A dispatcher sleeps until something is due at its peer or it is woken by a commit that gave it
  work.
* One post takes what is due, up to the limits of a post, in the order of cases and their numbers.
* A message leaves the outbox only with its destination's receipt. In a forwarder's custody its bare
  envelope is presented again now and then: whoever has it answers, whoever lost it wants it. After
  `Expires` only questions (`ask`) are left, and the message is in doubt until one is answered
  (EX-9).
* Every errand has its own timetable in the store (`routing.retry`). A peer that does not answer at
  all is probed with empty posts on a short timetable, whatever waits for it, and even if nothing
  does; when it answers, or calls us itself, everything due leaves at once.
* A post that fails although the peer answers is halved, until the one errand it fails for waits
  alone.
* While a peer does not answer, what has another way takes it; both ways may deliver, since the
  destination knows a duplicate. Whenever a peer comes back, those still waiting look again.
* The octets of the answer are as hostile as any other: receipts are verified, the rest is a hint
  that may move an errand's timetable, within its bounds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from node.ports import Decision, Delete, Unit, Update, Upsert
from node.posts import build_post, goes_whole, require_looked_into, sort_answer, within_reason
from node.settlement import Effect, jitter, message_lock, settle_unit
from node.store import schema
from node.store.queries import (
    DELIVER,
    RECEIPT,
    Errand,
    PeerRow,
    due_errands,
    find_errand,
    find_parts,
    find_peer,
    next_due,
)
from protocol.errors import TongbanError, UnavailableError
from protocol.frames import (
    BusyFrame,
    NotHereFrame,
    WaitingFrame,
    WantedFrame,
    read_frames,
)
from protocol.limits import MAX_POST_MESSAGES
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from routing.delivery import Standing
from routing.planner import plan
from routing.retry import ASK, DELIVERY, LONGEST_MS, PROBE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.ports import Row, Transport
    from protocol.frames import Frame
    from signing.receipts import VerifiedReceipt

_IDLE_MS = 60_000
_TROUBLE_MS = 1_000
_PATIENCE = 6
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Later:
    """An errand that goes on waiting.

    Attributes:
        reason: Why.
        after_ms: Not before this long, whatever the timetable says.
        peer: The next hop from now on, if it changes.
        standing: The message's standing from now on, if it changes.
        at_once: Due now: the peer asked for it.
    """

    reason: Reason | None
    after_ms: int = 0
    peer: str | None = None
    standing: Standing | None = None
    at_once: bool = False


class Dispatcher:
    """Sends what waits for one peer. Its only memory is how that peer answers."""

    def __init__(
        self,
        context: NodeContext,
        transport: Transport,
        peer: str,
        wake: Callable[[str], None],
        recovered: Callable[[], None],
    ) -> None:
        """Bind a dispatcher to its peer.

        Args:
            context: The node.
            transport: One post to the peer.
            peer: Its node id.
            wake: Called with each other peer that got work.
            recovered: Called when the peer answers again after it did not.
        """
        self._context = context
        self._transport = transport
        self._peer = peer
        self._wake_other = wake
        self._recovered = recovered
        self._woken = asyncio.Event()
        self._look_again = False
        self._batch = MAX_POST_MESSAGES
        self.status = PeerRow(peer, 0, 0, None, None)

    def wake(self) -> None:
        """There is new work."""
        self._woken.set()

    def heard(self) -> None:
        """The peer has spoken to us: try it now."""
        now_ms = self._context.clock.now_ms()
        if self.status.failures:
            self.status = replace(self.status, retry_ms=now_ms)
            self._woken.set()
        self.status = replace(self.status, heard_ms=now_ms)

    def look_again(self) -> None:
        """Another peer has come back: what waits here may have a way again."""
        if self.status.failures:
            self._look_again = True
            self._woken.set()

    async def run(self) -> None:
        """Serve the peer until cancelled. Our own trouble is logged, waited out, tried again."""
        self.status = await self._read_status()
        if self.status.failures:
            self._context.failing.add(self._peer)
        while True:
            try:
                await self._wait()
                await self.round()
            except TongbanError as error:
                _log.error("dispatch trouble", peer=self._peer, why=str(error))
                await self._context.clock.sleep_ms(_TROUBLE_MS)
            except Exception:  # noqa: BLE001 - a fault of ours must not end the service of a peer
                _log.exception("dispatch failed", peer=self._peer)
                await self._context.clock.sleep_ms(_TROUBLE_MS)

    async def _read_status(self) -> PeerRow:
        try:
            return await self._context.store.read(
                lambda connection: find_peer(connection, self._peer)
            )
        except UnavailableError:
            return PeerRow(self._peer, 0, 0, None, None)

    async def _wait(self) -> None:
        """Until something is due and the peer may be tried, or a failed peer is probed."""
        while True:
            self._woken.clear()
            if self._look_again:
                self._look_again = False
                await self._reroute()
            now_ms = self._context.clock.now_ms()
            due_ms = await self._context.store.read(
                lambda connection: next_due(connection, self._peer)
            )
            due_ms = self._when(due_ms, now_ms)
            if due_ms is not None and due_ms <= now_ms:
                return
            pause_ms = _IDLE_MS if due_ms is None else min(_IDLE_MS, due_ms - now_ms)
            await self._sleep(pause_ms)

    def _when(self, due_ms: int | None, now_ms: int) -> int | None:
        """When to try next. What a wrong clock once put beyond every timetable is due now."""
        if due_ms is not None and due_ms > now_ms + LONGEST_MS:
            due_ms = now_ms
        if not self.status.failures:
            return due_ms
        if self._context.federation.directory.node(self._peer) is None:
            return None
        retry_ms = self.status.retry_ms
        return now_ms if retry_ms > now_ms + PROBE.cap_ms else retry_ms

    async def _sleep(self, duration_ms: int) -> None:
        """Sleep, or be woken."""
        sleeping = asyncio.ensure_future(self._context.clock.sleep_ms(duration_ms))
        woken = asyncio.ensure_future(self._woken.wait())
        try:
            await asyncio.wait({sleeping, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            woken.cancel()

    async def round(self) -> None:
        """One post and what its answer means."""
        if self.status.failures and not await self._probe():
            return
        errands, octets = await self._build()
        if not errands:
            if self.status.failures:
                await self._peer_answered()
            return
        began_ms = self._context.clock.now_ms()
        try:
            answer = read_frames(await self._transport.post(self._peer, octets))
            require_looked_into(answer, octets)
        except TongbanError as error:
            await self._post_failed(errands, error, began_ms)
            return
        self._batch = MAX_POST_MESSAGES
        await self._peer_answered()
        await self._apply(errands, answer)

    async def _probe(self) -> bool:
        """An empty post: does the peer answer at all? Nothing of weight is sent before it does."""
        began_ms = self._context.clock.now_ms()
        try:
            read_frames(await self._transport.post(self._peer, b""))
        except TongbanError as error:
            await self._peer_failed(error, began_ms)
            return False
        return True

    async def _post_failed(
        self, errands: Sequence[Errand], error: TongbanError, began_ms: int
    ) -> None:
        """Halve the next post; what fails alone waits alone."""
        self._batch = max(1, len(errands) // 2)
        if len(errands) == 1 and self.status.failures:
            # The peer just answered a probe, and this alone it does not take.
            await self._later(errands[0], self._elsewhere(errands[0], Reason.PEER_UNREACHABLE))
        await self._peer_failed(error, began_ms)

    # building a post

    async def _read_errands(self) -> list[Errand]:
        now_ms = self._context.clock.now_ms()
        found = await self._context.store.read(
            lambda connection: due_errands(connection, self._peer, now_ms, self._batch)
        )
        return within_reason(found)

    async def _build(self) -> tuple[list[Errand], bytes]:
        """What is due, as much of it as one post holds, and the post's octets."""
        errands, now_ms = await self._read_errands(), self._context.clock.now_ms()
        whole = [errand.message for errand in errands if goes_whole(errand, now_ms)]
        parts = await self._context.store.read(lambda connection: find_parts(connection, whole))
        return build_post(errands, parts, self._context.here, now_ms)

    # what the answer means

    async def _apply(self, errands: Sequence[Errand], answer: Sequence[Frame]) -> None:
        answered = sort_answer(answer, self._context.federation.directory.trust)
        for trouble in answered.dropped:
            _log.warning("in an answer", peer=self._peer, dropped=trouble)
        busy = sorted(
            {hint.reason.code for hint in answered.hints.values() if isinstance(hint, BusyFrame)}
        )
        self.status = replace(self.status, trouble=f"busy: {', '.join(busy)}" if busy else None)
        work = []
        for errand in errands:
            reference = errand.message.reference
            hint = answered.hints.get(reference) or answered.hints.get(None)
            if errand.purpose == RECEIPT:
                work.append(self._receipt_passed(errand, hint))
                continue
            mine = answered.receipts.get(reference) or answered.about_octets(errand.message)
            if mine:
                work.append(self._settle(errand, mine))
            else:
                work.append(self._later(errand, self._read_hint(errand, hint)))
        await asyncio.gather(*work)

    async def _settle(self, errand: Errand, receipts: Sequence[VerifiedReceipt]) -> None:
        """Let the receipts take effect; an errand none of them served waits on."""
        effects: set[Effect] = set()
        for receipt in sorted(receipts, key=lambda one: one.receipt.type is ReceiptType.CUSTODY):
            settlement = await self._context.store.run(
                settle_unit(self._context, receipt, errand.message)
            )
            effects.add(settlement.effect)
            for peer in settlement.wake:
                self._wake_other(peer)
            _log.info(
                "answered",
                message=errand.message.message_id,
                peer=self._peer,
                outcome=settlement.outcome,
            )
        if Effect.SETTLED in effects:
            return
        if Effect.CUSTODY not in effects:
            await self._later(errand, self._elsewhere(errand, Reason.NO_ROUTE))
        elif errand.attempts >= _PATIENCE:
            # This forwarder has said "in custody" long enough: ask by another way too, if there is
            # one.
            later = self._elsewhere(errand, Reason.NO_ROUTE)
            if later.peer is not None:
                await self._later(errand, later)

    def _read_hint(self, errand: Errand, hint: Frame | None) -> Later:
        match hint:
            case BusyFrame(_, reason, after_ms):
                return Later(reason, min(after_ms, DELIVERY.cap_ms))
            case WaitingFrame():
                return Later(None)
            case WantedFrame():
                # It does not have the message at all, whatever a forwarder said before.
                expired = errand.message.expires_ms <= self._context.clock.now_ms()
                standing = Standing.IN_DOUBT if expired else Standing.QUEUED
                first = errand.message.standing != standing
                return Later(Reason.PART_MISSING, standing=standing, at_once=first)
            case NotHereFrame(_, reason):
                return self._elsewhere(errand, reason)
            case _ if errand.attempts >= _PATIENCE:
                # The peer answers, and says nothing about this one again and again.
                return self._elsewhere(errand, Reason.PEER_UNREACHABLE)
            case _:
                return Later(None)

    def _elsewhere(self, errand: Errand, reason: Reason) -> Later:
        """Another first hop for this errand, if there is one."""
        row = errand.message
        if errand.purpose == RECEIPT:
            return Later(reason)
        path = tuple(node for node in row.path.split(",") if node != self._context.here)
        down = frozenset(self._context.failing | {self._peer})
        try:
            found = plan(
                self._context.federation.directory,
                self._context.here,
                row.to_node,
                down=down,
                path=path,
            )
        except UnavailableError:
            return Later(reason)
        # Moved at once while there are ways not tried yet; after that by the timetable.
        fresh = errand.attempts < len(found.alternates)
        for route in found.alternates:
            if route.next_hop not in down:
                return Later(reason, peer=route.next_hop, at_once=fresh)
        return Later(reason)

    async def _later(self, errand: Errand, later: Later) -> None:
        unit = Unit(
            lambda connection: self._decide_later(connection, errand, later),
            frozenset({message_lock(errand.message.reference)}),
        )
        moved = await self._context.store.run(unit)
        if moved is not None:
            self._wake_other(moved)

    def _decide_later(
        self, connection: Connection, errand: Errand, later: Later
    ) -> Decision[str | None]:
        waiting = find_errand(connection, errand.message.key, errand.purpose)
        if waiting is None or waiting.peer != self._peer:
            # Settled or moved meanwhile.
            return Decision(lambda _signatures: ([], None))
        now_ms = self._context.clock.now_ms()
        attempts = waiting.attempts + 1
        row = errand.message
        asking = not goes_whole(errand, now_ms) and errand.purpose == DELIVER
        timetable = ASK if asking else DELIVERY
        pause_ms = max(later.after_ms, timetable.delay_ms(attempts, jitter(self._context)))
        changes: dict[str, object] = {
            "attempts": attempts,
            "due_ms": now_ms if later.at_once else now_ms + pause_ms,
            "peer": later.peer or self._peer,
            "last_reason": None if later.reason is None else later.reason.number,
        }
        rows: list[Row] = []
        standing = later.standing
        if asking and row.expires_ms <= now_ms and row.standing != Standing.IN_DOUBT:
            standing = Standing.IN_DOUBT
            changes["attempts"] = 1
        if standing is not None and standing != row.standing:
            rows.append(Update(schema.message, row.key, {"standing": standing.value}))
        rows.append(Update(schema.outbox, errand.key, changes))
        return Decision(lambda _signatures: (rows, later.peer))

    async def _receipt_passed(self, errand: Errand, hint: Frame | None) -> None:
        """Upstream has the receipt, unless it says it is busy with it."""
        if isinstance(hint, BusyFrame):
            await self._later(errand, Later(hint.reason, min(hint.after_ms, DELIVERY.cap_ms)))
            return
        gone = Delete(schema.outbox, errand.key)
        decision: Decision[None] = Decision(lambda _signatures: ([gone], None))
        lock = frozenset({message_lock(errand.message.reference)})
        await self._context.store.run(Unit(lambda _connection: decision, lock))

    # how the peer answers

    async def _peer_failed(self, error: TongbanError, began_ms: int) -> None:
        now_ms = self._context.clock.now_ms()
        failures, heard_ms = self.status.failures + 1, self.status.heard_ms
        retry_ms = now_ms + PROBE.delay_ms(failures, jitter(self._context))
        if heard_ms is not None and heard_ms >= began_ms:
            # It spoke to us while we waited for it: it is back, whatever became of this post.
            retry_ms = now_ms + PROBE.floor_ms
        self._context.failing.add(self._peer)
        self.status = PeerRow(self._peer, failures, retry_ms, heard_ms, str(error)[:200])
        if failures & (failures - 1):
            # Written and rerouted at 1, 2, 4, 8 ...: a peer away for weeks costs no commit a probe.
            return
        _log.warning("peer does not answer", peer=self._peer, failures=failures, why=str(error))
        await self._remember(self.status)
        if failures > 1:
            await self._reroute()

    async def _reroute(self) -> None:
        """What has another way takes it."""
        for errand in await self._read_errands():
            if errand.purpose == DELIVER:
                later = self._elsewhere(errand, Reason.PEER_UNREACHABLE)
                if later.peer is not None:
                    await self._later(errand, later)

    async def _peer_answered(self) -> None:
        now_ms = self._context.clock.now_ms()
        self._context.failing.discard(self._peer)
        if self.status.failures:
            _log.info("peer answers again", peer=self._peer)
            await self._remember(PeerRow(self._peer, 0, 0, now_ms, None))
            self._recovered()
        # While all is well it is only kept in memory: a commit per post would cost more.
        self.status = replace(self.status, heard_ms=now_ms)

    async def _remember(self, status: PeerRow) -> None:
        self.status = status
        row = Upsert(
            schema.peer,
            {
                "node": status.node,
                "failures": status.failures,
                "retry_ms": status.retry_ms,
                "heard_ms": status.heard_ms,
                "trouble": status.trouble,
            },
        )
        decision: Decision[None] = Decision(lambda _signatures: ([row], None))
        await self._context.store.run(
            Unit(lambda _connection: decision, frozenset({f"peer {self._peer}"}))
        )
