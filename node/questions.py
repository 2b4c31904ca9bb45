"""Questions of others (`ask`) that this node cannot answer itself go to the next hop (EX-9).

Nothing is kept but in memory: whoever asked asks again. A next hop that can be dialled is asked at
once; to one that calls us, or is reached by files, the question goes with the next hand-over, and
what it answers later is kept until the question comes again. Only what is about the message goes
back to the asker: a receipt that verifies and concerns it, or a hint that names it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from node.recording import RETRY_AFTER_MS, next_hop
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import (
    AskFrame,
    BusyFrame,
    NotHereFrame,
    ReceiptFrame,
    WaitingFrame,
    WantedFrame,
    frame_size,
    read_frames,
    write_frames,
)
from protocol.reasons import Reason
from signing.receipts import concerns, verify_receipt

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.context import NodeContext
    from node.ports import Transport
    from node.recording import Arrival
    from protocol.envelope import MessageReference
    from protocol.frames import Frame

PASS_ON_S = 5
AT_ONCE = 8
"""Seconds a question may hold up the answer it belongs to, and how many are passed on at once."""
MAX_OPEN = 256
"""Questions under way by hand-overs; each holds an envelope until it is handed over."""
MAX_ANSWERS = 8
"""What is kept of a peer's words about one of them, until it is asked again."""
ASK_AGAIN_MS = 60_000


@dataclass(slots=True)
class _Open:
    """One question under way to a peer; the frame is there until it was handed over."""

    peer: str
    frame: AskFrame | None
    since_ms: int
    answers: list[Frame] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)


class Questions:
    """The questions that pass through this node."""

    def __init__(
        self,
        context: NodeContext,
        transport: Transport,
        dialled: Callable[[str], bool],
        wake: Callable[[str], None],
    ) -> None:
        """Nothing is asked yet.

        Args:
            context: The node.
            transport: For peers that can be dialled.
            dialled: Whether a peer can be.
            wake: Called with each other peer that has a question waiting.
        """
        self._context = context
        self._transport = transport
        self._dialled = dialled
        self._wake = wake
        self._passing = asyncio.Semaphore(AT_ONCE)
        self._open: OrderedDict[MessageReference, _Open] = OrderedDict()

    async def put(self, arrival: Arrival) -> Frame:
        """Put a question to the next hop: its answer, or busy."""
        reference = arrival.reference
        busy = BusyFrame(reference, Reason.PEER_UNREACHABLE, RETRY_AFTER_MS)
        try:
            to_node = arrival.verified.envelope.header.recipient.node
            peer = next_hop(self._context, to_node, arrival.path)
            if peer in self._context.failing:
                return busy
            frame = AskFrame((*arrival.path, self._context.here), arrival.verified.octets)
            ask = self._post if self._dialled(peer) else self._hand_over
            async with asyncio.timeout(PASS_ON_S), self._passing:
                answer = await ask(peer, reference, frame)
        except UnavailableError as trouble:
            return BusyFrame(reference, trouble.reason, RETRY_AFTER_MS)
        except (RefusedError, TimeoutError):
            return busy
        return next((found for found in answer if self._answers(peer, found, arrival)), busy)

    async def _post(self, peer: str, _about: MessageReference, frame: AskFrame) -> list[Frame]:
        return read_frames(await self._transport.post(peer, write_frames([frame])))

    async def _hand_over(self, peer: str, about: MessageReference, frame: AskFrame) -> list[Frame]:
        known, now_ms = self._open.get(about), self._context.clock.now_ms()
        fresh = known is not None and now_ms - known.since_ms < ASK_AGAIN_MS
        if known is None or not (known.heard.is_set() or (fresh and known.peer == peer)):
            known = self._open[about] = _Open(peer, frame, now_ms)
            self._open.move_to_end(about)
            while len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
            self._wake(peer)
        await known.heard.wait()
        self._open.pop(about, None)
        return known.answers

    def waiting(self, peer: str) -> bool:
        """Whether a question waits to be handed to this peer."""
        return any(known.peer == peer and known.frame for known in self._open.values())

    def take(self, peer: str, room: int) -> list[AskFrame]:
        """The questions to hand to this peer now, so many octets at most."""
        taken: list[AskFrame] = []
        for known in self._open.values():
            if known.peer == peer and known.frame is not None:
                room -= frame_size(known.frame)
                if room < 0:
                    break
                taken.append(known.frame)
                known.frame = None
        return taken

    def answered(self, peer: str, about: MessageReference, answer: Frame) -> bool:
        """A peer's word about a message: whether it had been asked about it."""
        known = self._open.get(about)
        if known is None or known.peer != peer or known.frame is not None:
            return False
        if len(known.answers) < MAX_ANSWERS:
            known.answers.append(answer)
        known.heard.set()
        if not isinstance(answer, ReceiptFrame):
            # For those who wait now; by the time somebody asks again a hint is old.
            del self._open[about]
        return True

    def _answers(self, peer: str, frame: Frame, arrival: Arrival) -> bool:
        match frame:
            case ReceiptFrame(octets):
                trust, checking = self._context.trust(), self._context.checking(peer)
                try:
                    verified = verify_receipt(octets, trust, checking=checking)
                except (RefusedError, UnavailableError):
                    return False
                sent = arrival.verified
                return concerns(verified, arrival.reference, sent.message_digest, sent.octets)
            case WantedFrame() | WaitingFrame() | NotHereFrame() | BusyFrame():
                return frame.reference == arrival.reference
            case _:
                return False
