"""The path of a message into this node, top to bottom: receive, verify, admit, record, route.

What a peer hands over is read into messages and questions, each answered by a frame, and what it
says about earlier hand-overs of ours (`node.errands`). Nothing is answered before the unit of work
that carries it is committed, and nothing is believed before it is verified:

1. **receive**: split the post into frames; bind parts to their envelopes (EX-1)
2. **verify**: the envelope's ten steps (`signing.verify`)
3. **admit**: the peer may present it; it is for us, or we forward for it (RT-1 to RT-4). Only then
   every part is held against the manifest (PA-2), and the body of what is for us is opened
4. **record**: in one transaction (`node.recording`): duplicate? expired? its turn? does the case
   allow it? The receipt is signed and written with everything else (EX-5 to EX-9)
5. **route**: what is not for us goes to the outbox of the next hop, in our custody

Steps 2 and 3 are pure, but for large parts, and run beside the event loop, for a whole post at once
(`node.verification`).

A message that was never authenticated is refused with a receipt that names nothing but its octets,
and leaves no trace in the store: a forger must not be able to use up an id.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from node.parts.intake import Intake, Large, check_sizes, large_parts
from node.ports import Unit
from node.posts import SAID
from node.recording import RETRY_AFTER_MS, Arrival, Recorder
from node.settlement import case_lock, message_lock
from node.store.queries import Role, find_message
from node.verification import Presented, refuse_octets, verify_all
from protocol.bodies import check_references, decode_body
from protocol.envelope import BODY_ID
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import (
    AskFrame,
    BusyFrame,
    EnvelopeFrame,
    NotHereFrame,
    PartFrame,
    WantedFrame,
    read_frames,
    write_frames,
)
from protocol.limits import (
    MAX_HOPS,
    MAX_POST_FRAMES,
    MAX_POST_MESSAGES,
)
from protocol.reasons import Reason
from signing.verify import VerifiedEnvelope, check_part

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from node.context import NodeContext
    from node.parts.limits import PartLimits
    from node.questions import Questions
    from protocol.bodies import Body
    from protocol.envelope import Part
    from protocol.frames import Frame, ReceiptFrame

    Parts: TypeAlias = Mapping[str, Sequence[PartFrame]]
    Path: TypeAlias = tuple[str, ...]
    Opened: TypeAlias = Arrival | ReceiptFrame | BusyFrame | NotHereFrame

_log = structlog.get_logger()


class Pipeline:
    """The inbound path of one node. Holds no state: everything is in the store."""

    def __init__(
        self,
        context: NodeContext,
        questions: Questions,
        hear: Callable[[str, Sequence[Frame], bool], Awaitable[Sequence[Frame]]],
        wake: Callable[[str], None],
        replay: Callable[[], None],
    ) -> None:
        """Bind the path to its node.

        Args:
            context: The node.
            questions: Where those go that only another node can answer.
            hear: Gets what a peer says about earlier hand-overs and the receipts it passes on, and
                whether it asks for what waits; returns what to answer.
            wake: Called with each peer for which new work was committed.
            replay: Called when a case has to be replayed.
        """
        self._context = context
        self._replay = replay
        self._questions = questions
        self._hear = hear
        self._wake = wake
        self.intake: Final = Intake(context)
        self._recorder = Recorder(context)

    # 1 receive

    async def receive(self, peer: str, octets: bytes, *, asking: bool = False) -> bytes:
        """Take what a peer handed over: a post, the answer to our call, a file (EX-20, PU-1).

        Args:
            peer: Node id, as authenticated by the carrier.
            octets: The frames.
            asking: It calls for what waits for it.

        Returns:
            The frames to answer.
        """
        try:
            frames = read_frames(octets)
            messages = _bind_parts(frames)
        except RefusedError as refusal:
            _log.warning(
                "post refused", peer=peer, reason=refusal.reason.code, detail=refusal.detail
            )
            now_ms = self._context.clock.now_ms()
            return write_frames(refuse_octets(self._context, [(octets, refusal)], now_ms))
        # The same question twice in one post is one question.
        asks = list(dict.fromkeys(frame for frame in frames if isinstance(frame, AskFrame)))
        presented: list[Presented[Opened]] = [
            (frame.octets, partial(self._open, peer, frame.path, parts))
            for frame, parts in messages
        ]
        presented += [(frame.octets, partial(self._open_ask, peer, frame.path)) for frame in asks]
        opened = await verify_all(self._context, peer, presented)
        # Each answer is one frame, but for the parts of a message that are wanted: bounded so that
        # all answers fit.
        most = (MAX_POST_FRAMES - len(frames)) // max(1, len(messages)) + 1
        outcomes: Counter[str] = Counter()
        work: list[Awaitable[Sequence[Frame]]] = [
            self._take_message(one, parts, most, outcomes)
            for one, (_, parts) in zip(opened, messages, strict=False)
        ]
        work += [self._take_ask(one, outcomes) for one in opened[len(messages) :]]
        said = [frame for frame in frames if isinstance(frame, SAID)]
        work.append(self._hear(peer, said, asking))
        answers = await asyncio.gather(*work)
        if outcomes:
            words = (f"{word} {count}" for word, count in outcomes.items())
            _log.info("arrived", peer=peer, outcomes=", ".join(words))
        return write_frames(frame for answer in answers for frame in answer)

    async def _take_message(
        self, opened: Opened, parts: Parts, most: int, outcomes: Counter[str]
    ) -> Sequence[Frame]:
        if not isinstance(opened, Arrival):
            return [opened]
        if not large_parts(opened.verified.envelope, self._context.parts):
            return (await self._admit(opened, outcomes))[:most]
        async with self.intake.alone(opened.reference):
            arrival = await self._with_large(opened, parts)
            return (await self._admit(arrival, outcomes))[:most]

    # 3 admit, beside the event loop

    def _open(
        self, peer: str, path: Path, frames: Parts, verified: VerifiedEnvelope
    ) -> Arrival | NotHereFrame:
        """The message as far as it is here; what has large parts is bound to the rest later."""
        failure = self._path_failure(peer, path, verified)
        if failure is not None:
            reference = verified.envelope.header.reference
            message = reference.message_id
            _log.warning("not taken", peer=peer, message=message, reason=failure.code)
            return NotHereFrame(reference, failure)
        if large_parts(verified.envelope, self._context.parts):
            return Arrival(verified, path)
        return self._bind(verified, path, frames, Large())

    def _open_ask(
        self, peer: str, path: Path, verified: VerifiedEnvelope
    ) -> Arrival | NotHereFrame:
        reference = verified.envelope.header.reference
        failure = self._path_failure(peer, path, verified)
        if failure is not None:
            return NotHereFrame(reference, failure)
        return Arrival(verified, path, incomplete=WantedFrame(reference, BODY_ID, 0), asked=True)

    def _bind(self, verified: VerifiedEnvelope, path: Path, frames: Parts, large: Large) -> Arrival:
        """Bind the small parts: what is missing of them, and what is wrong with them."""
        envelope, limits = verified.envelope, self._context.parts
        reference, arrival = envelope.header.reference, partial(Arrival, verified, path)
        small = [part for part in envelope.parts if part.size <= limits.inline]
        try:
            _check_fits(verified, frames, limits)
            parts = {
                part.part_id: _small(verified, part, frames[part.part_id])
                for part in small
                if part.part_id in frames
            }
        except RefusedError as fault:
            return arrival(large=large, fault=fault)
        except UnavailableError as trouble:
            busy = BusyFrame(reference, trouble.reason, RETRY_AFTER_MS)
            return arrival(large=large, incomplete=busy)
        absent = [part.part_id for part in small if part.part_id not in parts]
        if absent and not large.under_way:
            wanted = WantedFrame(reference, absent[0], 0)
            return arrival(large=large, incomplete=wanted)
        if absent or envelope.header.recipient.node != self._context.here:
            return arrival(parts, large=large)
        try:
            return arrival(parts, self._read_body(verified, parts[BODY_ID]), large=large)
        except RefusedError as fault:
            return arrival(parts, large=large, fault=fault)

    def _read_body(self, verified: VerifiedEnvelope, octets: bytes) -> Body:
        envelope = verified.envelope
        body = decode_body(octets, self._context.rules.schemas)
        if body.kind != envelope.header.kind:
            raise RefusedError(
                Reason.BODY_INVALID, f"body is {body.kind}, Kind {envelope.header.kind}"
            )
        check_references(body, [part.part_id for part in envelope.parts])
        return body

    async def _with_large(self, arrival: Arrival, frames: Parts) -> Arrival:
        """Put pieces of large parts on disk, and bind the rest."""
        verified, limits = arrival.verified, self._context.parts
        names = {part.part_id for part in large_parts(verified.envelope, limits)}
        try:
            _check_fits(verified, frames, limits)
            pieces = {name: frames[name] for name in frames if name in names}
            large = await self.intake.take(verified, pieces)
        except RefusedError as fault:
            return replace(arrival, fault=fault)
        except UnavailableError as trouble:
            busy = BusyFrame(arrival.reference, trouble.reason, RETRY_AFTER_MS)
            return replace(arrival, incomplete=busy)
        return self._bind(verified, arrival.path, frames, large)

    def _path_failure(
        self, peer: str, path: tuple[str, ...], verified: VerifiedEnvelope
    ) -> Reason | None:
        """Why this peer may not present this message on this path; a failure of the path only."""
        here, directory = self._context.here, self._context.federation.directory
        header = verified.envelope.header
        if path[-1] != peer or path[0] != header.sender.node:
            return Reason.PEER_NOT_FORWARDER
        if not directory.may_forward(peer, header.sender.node, here):
            return Reason.PEER_NOT_FORWARDER
        if here in path and peer != here:
            return Reason.LOOP
        if header.recipient.node == here:
            return None
        if len(path) >= MAX_HOPS:
            return Reason.PATH_TOO_LONG
        me = directory.node(here)
        return None if me is not None and me.role == "hub" else Reason.NOT_FOR_US

    async def _admit(self, arrival: Arrival, outcomes: Counter[str]) -> list[Frame]:
        """Record it (4) and route it (5); the frames to answer once that is durable."""
        header = arrival.verified.envelope.header
        for_us = header.recipient.node == self._context.here
        decide = self._recorder.decide_in if for_us else self._recorder.decide_transit
        keys = {message_lock(arrival.reference)}
        if for_us and header.case is not None:
            keys.add(case_lock(header.case.case_id))
        if arrival.large.unasked:
            keys.add("transfers")
        unit = Unit(lambda connection: decide(connection, arrival), frozenset(keys))
        try:
            admission = await self._context.store.run(unit)
        except UnavailableError as trouble:
            return [BusyFrame(arrival.reference, trouble.reason, RETRY_AFTER_MS)]
        except Exception:  # noqa: BLE001 - logged; see below
            # A fault of ours about one message must not cost its neighbours their answers.
            _log.exception("admission failed", message=header.message_id, kind=header.kind)
            return [BusyFrame(arrival.reference, Reason.STORE_UNAVAILABLE, RETRY_AFTER_MS)]
        outcomes[admission.outcome] += 1
        # A line per message is for looking closely: at the pace of an exchange it is a cost.
        _log.log(
            logging.WARNING if admission.outcome.startswith("refused") else logging.DEBUG,
            "recorded",
            outcome=admission.outcome,
            kind=header.kind,
            message=header.message_id,
            origin=header.sender.node,
            path=",".join(arrival.path),
        )
        for peer in admission.wake:
            self._wake(peer)
        if admission.replay:
            self._replay()
        await self.intake.drop(admission.dropped)
        return list(admission.answers)

    # questions

    async def _take_ask(self, opened: Opened, outcomes: Counter[str]) -> list[Frame]:
        """What became of this message? Answered by the store, a tombstone or the next hop."""
        if not isinstance(opened, Arrival):
            return [opened]
        reference = opened.reference
        if opened.verified.envelope.header.recipient.node == self._context.here:
            return await self._admit(opened, outcomes)
        try:
            known = await self._context.store.read(
                lambda connection: find_message(connection, reference, Role.TRANSIT)
            )
        except UnavailableError as trouble:
            return [BusyFrame(reference, trouble.reason, RETRY_AFTER_MS)]
        if known is not None:
            return await self._admit(opened, outcomes)
        return [await self._questions.put(opened)]


def _check_fits(verified: VerifiedEnvelope, frames: Parts, limits: PartLimits) -> None:
    """Whether its parts are within their bounds, and what came is of them.

    Raises:
        RefusedError: TOO_LARGE.
        UnavailableError: PART_UNEXPECTED: the manifest does not list it.
    """
    sizes = {part.part_id: part.size for part in verified.envelope.parts}
    check_sizes(sizes, len(verified.octets), limits)
    reference = verified.envelope.header.reference
    for name, own in frames.items():
        if name not in sizes or any(frame.reference != reference for frame in own):
            raise UnavailableError(Reason.PART_UNEXPECTED, "a part the manifest does not list")


def _small(verified: VerifiedEnvelope, part: Part, frames: Sequence[PartFrame]) -> bytes:
    """The octets of a small part, which travels whole.

    Raises:
        UnavailableError: PART_UNEXPECTED or PART_MISMATCH.
    """
    first, *more = frames
    if more or first.offset:
        raise UnavailableError(Reason.PART_UNEXPECTED, f"{part.part_id} in pieces")
    check_part(verified, part, first.octets)
    return first.octets


def _bind_parts(frames: Sequence[Frame]) -> list[tuple[EnvelopeFrame, dict[str, list[PartFrame]]]]:
    """Envelopes with the parts, or the pieces of parts, that follow them and name them.

    Raises:
        RefusedError: FRAME_MALFORMED or TOO_LARGE.
    """
    messages: list[tuple[EnvelopeFrame, dict[str, list[PartFrame]]]] = []
    asks = 0
    for index, frame in enumerate(frames):
        match frame:
            case EnvelopeFrame():
                messages.append((frame, {}))
            case PartFrame(part_id=part_id):
                if not messages:
                    detail = f"frame {index}: a part follows its envelope"
                    raise RefusedError(Reason.FRAME_MALFORMED, detail)
                messages[-1][1].setdefault(part_id, []).append(frame)
            case AskFrame():
                asks += 1
            case _:
                pass
    if len(messages) + asks > MAX_POST_MESSAGES:
        raise RefusedError(Reason.TOO_LARGE, f"more than {MAX_POST_MESSAGES} messages")
    return messages
