"""One dispatcher per peer: everything that waits for a peer leaves in batches, one post in flight.

The rules, in one place:

* A dispatcher sleeps until something is due at its peer or it is woken by a commit that gave it
  work.
* One post takes what is due, up to 256 messages or 8 MiB, in the order of cases and their numbers.
* A message leaves the outbox only with its destination's receipt. Custody turns sending into
  asking; after `Expires` asking is all that is left, and the message is in doubt until it is
  answered (EX-9).
* Every errand has its own timetable in the store (`routing.retry`). A peer that does not answer at
  all is probed with empty posts on a short timetable, whatever waits for it; when it answers, or
  calls us itself, everything due leaves at once.
* While a peer does not answer, what has another way takes it; both ways may deliver, since the
  destination knows a duplicate.
* The octets of the answer are as hostile as any other: receipts are verified, the rest is a hint.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from node.ports import Decision, Delete, Unit, Update, Upsert
from node.settlement import jitter, message_lock, settle_unit
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
from protocol.errors import RefusedError, TongbanError, UnavailableError
from protocol.frames import (
    AskFrame,
    BusyFrame,
    EnvelopeFrame,
    NotHereFrame,
    PartFrame,
    ReceiptFrame,
    WaitingFrame,
    WantedFrame,
    read_frames,
    write_frames,
)
from protocol.limits import MAX_POST_MESSAGES, MAX_POST_OCTETS
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from routing.delivery import Standing
from routing.planner import plan
from routing.retry import ASK, ASK_ATTEMPTS, DELIVERY, PROBE
from signing.receipts import VerifiedReceipt, concerns, verify_receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.ports import Row, Transport
    from protocol.frames import Frame

_IDLE_MS = 60_000
_TROUBLE_MS = 1_000
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
    ) -> None:
        """Bind a dispatcher to its peer.

        Args:
            context: The node.
            transport: One post to the peer.
            peer: Its node id.
            wake: Called with each other peer that got work.
        """
        self._context = context
        self._transport = transport
        self._peer = peer
        self._wake_other = wake
        self._woken = asyncio.Event()
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

    async def _read_status(self) -> PeerRow:
        try:
            return await self._context.store.read(
                lambda connection: find_peer(connection, self._peer)
            )
        except UnavailableError:
            return PeerRow(self._peer, 0, 0, None, None)

    async def _wait(self) -> None:
        """Until something is due here and the peer may be tried."""
        while True:
            self._woken.clear()
            now_ms = self._context.clock.now_ms()
            due_ms = await self._context.store.read(
                lambda connection: next_due(connection, self._peer)
            )
            if due_ms is not None:
                due_ms = max(due_ms, self.status.retry_ms)
                if due_ms <= now_ms:
                    return
            pause_ms = _IDLE_MS if due_ms is None else min(_IDLE_MS, due_ms - now_ms)
            await self._sleep(pause_ms)

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
        errands = await self._read_errands()
        if not errands:
            return
        octets = await self._build(errands)
        began_ms = self._context.clock.now_ms()
        try:
            answer = read_frames(await self._transport.post(self._peer, octets))
        except (UnavailableError, RefusedError) as error:
            await self._peer_failed(error, began_ms)
            return
        await self._peer_answered()
        await self._apply(errands, answer)

    async def _probe(self) -> bool:
        """An empty post: does the peer answer at all? Nothing of weight is sent before it does."""
        began_ms = self._context.clock.now_ms()
        try:
            read_frames(await self._transport.post(self._peer, b""))
        except (UnavailableError, RefusedError) as error:
            await self._peer_failed(error, began_ms)
            return False
        await self._peer_answered()
        return True

    # building a post

    async def _read_errands(self) -> list[Errand]:
        now_ms = self._context.clock.now_ms()
        found = await self._context.store.read(
            lambda connection: due_errands(connection, self._peer, now_ms, MAX_POST_MESSAGES)
        )
        chosen: list[Errand] = []
        room = MAX_POST_OCTETS
        for errand in found:
            room -= errand.size
            if room < 0 and chosen:
                break
            chosen.append(errand)
        return chosen

    async def _build(self, errands: Sequence[Errand]) -> bytes:
        whole = [errand.message for errand in errands if self._sends_whole(errand)]
        parts = await self._context.store.read(lambda connection: find_parts(connection, whole))
        frames: list[Frame] = []
        for errand in errands:
            row = errand.message
            if errand.purpose == RECEIPT:
                frames.append(ReceiptFrame(row.receipt or b""))
                continue
            path = tuple(row.path.split(","))
            path = path if path[-1] == self._context.here else (*path, self._context.here)
            if not self._sends_whole(errand):
                frames.append(AskFrame(path, row.envelope))
                continue
            frames.append(EnvelopeFrame(path, row.envelope))
            held = parts.get((row.authority, row.message_id, row.role), {})
            frames.extend(
                PartFrame(row.reference, part_id, 0, octets) for part_id, octets in held.items()
            )
        return write_frames(frames)

    def _sends_whole(self, errand: Errand) -> bool:
        row = errand.message
        expired = row.expires_ms <= self._context.clock.now_ms()
        return errand.purpose == DELIVER and row.standing == Standing.QUEUED and not expired

    # what the answer means

    async def _apply(self, errands: Sequence[Errand], answer: Sequence[Frame]) -> None:
        receipts, hints = self._sort(answer)
        work = []
        for errand in errands:
            if errand.purpose == RECEIPT:
                work.append(self._receipt_passed(errand, hints.get(errand.message.reference)))
                continue
            mine = [
                receipt
                for receipt in receipts
                if concerns(
                    receipt,
                    errand.message.reference,
                    errand.message.message_digest,
                    errand.message.envelope,
                )
            ]
            if mine:
                work.append(self._settle(errand, mine))
            else:
                hint = hints.get(errand.message.reference) or hints.get(None)
                work.append(self._later(errand, self._read_hint(errand, hint)))
        await asyncio.gather(*work)

    def _sort(self, answer: Sequence[Frame]) -> tuple[list[VerifiedReceipt], dict[object, Frame]]:
        trust = self._context.federation.directory.trust
        receipts: list[VerifiedReceipt] = []
        hints: dict[object, Frame] = {}
        for frame in answer:
            match frame:
                case ReceiptFrame(octets):
                    try:
                        receipts.append(verify_receipt(octets, trust))
                    except (RefusedError, UnavailableError) as error:
                        _log.warning("receipt dropped", peer=self._peer, why=str(error))
                case BusyFrame(reference) | WaitingFrame(reference) | WantedFrame(reference):
                    hints[reference] = frame
                case NotHereFrame(reference):
                    hints[reference] = frame
                case _:
                    _log.warning("frame ignored", peer=self._peer, frame=type(frame).__name__)
        return receipts, hints

    async def _settle(self, errand: Errand, receipts: Sequence[VerifiedReceipt]) -> None:
        for receipt in sorted(
            receipts, key=lambda found: found.receipt.type is ReceiptType.CUSTODY
        ):
            settlement = await self._context.store.run(
                settle_unit(self._context, receipt, errand.message)
            )
            for peer in settlement.wake:
                self._wake_other(peer)
            _log.info(
                "answered",
                message=errand.message.message_id,
                peer=self._peer,
                outcome=settlement.outcome,
            )
            if settlement.path_failed:
                await self._later(errand, self._elsewhere(errand, Reason.NO_ROUTE))

    def _read_hint(self, errand: Errand, hint: Frame | None) -> Later:
        match hint:
            case BusyFrame(_, reason, after_ms):
                return Later(reason, after_ms)
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
            case _:
                return Later(None)

    def _elsewhere(self, errand: Errand, reason: Reason) -> Later:
        """Another first hop for this errand, if there is one."""
        row = errand.message
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
        for route in found.alternates:
            if route.next_hop not in down:
                return Later(reason, peer=route.next_hop, at_once=True)
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
        asking = not self._sends_whole(errand) and errand.purpose == DELIVER
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
        if standing is not None and standing != row.standing:
            rows.append(Update(schema.message, row.key, {"standing": standing.value}))
        if asking and attempts > ASK_ATTEMPTS:
            rows.append(Delete(schema.outbox, errand.key))
        else:
            rows.append(Update(schema.outbox, errand.key, changes))
        return Decision(lambda _signatures: (rows, later.peer))

    async def _receipt_passed(self, errand: Errand, hint: Frame | None) -> None:
        """Upstream has the receipt, unless it says it is busy with it."""
        if isinstance(hint, BusyFrame):
            await self._later(errand, Later(hint.reason, hint.after_ms))
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
            if errand.purpose == DELIVER and errand.message.standing == Standing.QUEUED:
                later = self._elsewhere(errand, Reason.PEER_UNREACHABLE)
                if later.peer is not None:
                    await self._later(errand, later)

    async def _peer_answered(self) -> None:
        now_ms = self._context.clock.now_ms()
        self._context.failing.discard(self._peer)
        if self.status.failures:
            _log.info("peer answers again", peer=self._peer)
            await self._remember(PeerRow(self._peer, 0, 0, now_ms, None))
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
