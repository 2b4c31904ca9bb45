"""Steps 4 and 5 of the pipeline: what one arrival becomes in the store, decided in one transaction.

Everything here runs inside a unit of work: it reads, decides and returns rows, and the receipt is
signed with the rest of its group before anything is written. The order of the questions is the
order of the clauses: known already? expired? complete? its turn? does the case allow it? (EX-5 to
EX-9, PA-1, CA-1.) Large parts come last: only a message that would be taken is asked for them
(UP-2).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from node import cases
from node.cases import CaseView, Party, Side
from node.log import leaves
from node.parts.intake import Large, opening
from node.ports import Decision, Insert, Update
from node.recovery.state import replay_row
from node.settlement import stored_header, take_effect
from node.store import schema
from node.store.queries import (
    MessageRow,
    Role,
    find_case,
    find_message,
    last_sequence,
    recorded_number,
    refused_number,
)
from node.store.rows import (
    blob_rows,
    case_row,
    ended,
    errand_row,
    message_row,
    part_rows,
    sequence_row,
)
from protocol.bodies import CaseSubmit
from protocol.envelope import MessageReference
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import BusyFrame, NotHereFrame, ReceiptFrame, WaitingFrame
from protocol.reasons import Reason
from protocol.receipt import ReceiptType, read_receipt, seal_receipt
from routing.delivery import Standing, Turn, same_message, turn
from routing.planner import plan
from signing.receipts import draft_receipt, receipt_request
from signing.suites import digest
from signing.verify import PING_KIND

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.ports import Row
    from protocol.bodies import Body
    from protocol.frames import Frame
    from protocol.proof import Proof
    from protocol.receipt import Receipt
    from signing.verify import VerifiedEnvelope

RETRY_AFTER_MS = 1_000


@dataclass(frozen=True, slots=True)
class Arrival:
    """One verified message at the door.

    Attributes:
        verified: The envelope, authentic.
        path: The nodes it passed, origin first; the last is the peer that presents it.
        parts: Octets by part id, each equal to its digest.
        body: The opened body; None where it is not for us or was not sent.
        fault: Why the body is refused, if it is.
        incomplete: What to answer instead of taking it: small parts are missing or damaged.
        large: How far its large parts are, if it has any.
        asked: It came as a question of somebody by whose clock it has expired.
    """

    verified: VerifiedEnvelope
    path: tuple[str, ...]
    parts: Mapping[str, bytes] = field(default_factory=dict)
    body: Body | None = None
    fault: RefusedError | None = None
    incomplete: Frame | None = None
    large: Large = field(default_factory=Large)
    asked: bool = False

    @property
    def reference(self) -> MessageReference:
        """What names it."""
        return self.verified.envelope.header.reference

    @property
    def sender(self) -> Party:
        """Who says it."""
        sender = self.verified.envelope.header.sender
        return Party.at(sender.node, sender.authority)

    @property
    def resumed(self) -> bool:
        """Whether only pieces came; the body, judged before, is judged again with the last."""
        return self.large.under_way and self.body is None and self.fault is None


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of one arrival: the answer, the peers that now have work, a word.

    Attributes:
        answers: Frames.
        outcome: A word for the log.
        wake: Peers for which new work was written.
        inbox: Somebody finds it there.
        replay: Its case has to be replayed: it fills a gap that a recovery left.
        dropped: Blobs that are nobody's any more.
    """

    answers: Sequence[Frame]
    outcome: str
    wake: frozenset[str] = frozenset()
    inbox: bool = False
    replay: bool = False
    dropped: Sequence[str] = ()


class Recorder:
    """Decides what arrivals become. Holds nothing but the node it works for."""

    def __init__(self, context: NodeContext) -> None:
        """Decide for this node."""
        self._context = context

    def decide_in(self, connection: Connection, arrival: Arrival) -> Decision[Admission]:
        """A message for an authority of ours."""
        now_ms = self._context.clock.now_ms()
        known = find_message(connection, arrival.reference, Role.IN)
        if known is not None:
            return self._again(connection, arrival, known, now_ms)
        late = self._late(connection, arrival, now_ms)
        if late is not None:
            return late
        if arrival.incomplete is not None and arrival.fault is None:
            return _answered(arrival.incomplete, "incomplete")
        try:
            expected = self._expected(connection, arrival)
            if isinstance(expected, int):
                return _answered(WaitingFrame(arrival.reference, expected), "gap")
            fills = expected is Turn.USED
            effects: list[Row] = []
            if not arrival.resumed:
                effects = self._effects(connection, arrival, now_ms, fills=fills)
            if arrival.large.missing:
                return self._want(connection, arrival, now_ms)
        except RefusedError as refusal:
            return self._refuse(connection, arrival, refusal, now_ms)
        except UnavailableError as trouble:
            busy = BusyFrame(arrival.reference, trouble.reason, RETRY_AFTER_MS)
            return _answered(busy, trouble.reason.code)
        return self._accept(connection, arrival, effects, now_ms, fills=fills)

    def _late(
        self, connection: Connection, arrival: Arrival, now_ms: int
    ) -> Decision[Admission] | None:
        """What is answered to an expired one (EX-9)."""
        if arrival.verified.envelope.header.expires_ms > now_ms:
            return None
        if not arrival.asked:
            # By its bearer's clock it lives, by ours it does not: one of the two is wrong.
            busy = BusyFrame(arrival.reference, Reason.CLOCK_SKEW, RETRY_AFTER_MS)
            return _answered(busy, "expired by our clock only")
        refusal = RefusedError(Reason.EXPIRED, "not recorded before it expired")
        return self._refuse(connection, arrival, refusal, now_ms)

    def _again(
        self, connection: Connection, arrival: Arrival, known: MessageRow, now_ms: int
    ) -> Decision[Admission]:
        """The id is on record: the stored receipt for the same content, a refusal for another."""
        if not same_message(known.message_digest, arrival.verified.message_digest):
            refusal = RefusedError(Reason.MESSAGE_ID_REUSED, "another content under this id")
            return self._refuse(connection, arrival, refusal, now_ms, record=False)
        if known.receipt is not None:
            return self._repeat(known, known.receipt)
        # Only a message in transit is on record without its destination's receipt.
        return self._take_custody(arrival, [], frozenset(), now_ms, "duplicate")

    def _repeat(self, known: MessageRow, stored: bytes) -> Decision[Admission]:
        """The stored receipt; if its key was revoked since, the same statement under a new one."""
        receipt = read_receipt(stored).receipt
        record = self._context.federation.directory.trust.key(receipt.key_id, receipt.issuer)
        revoked = record is None or record.revoked_ms is not None
        if known.role != Role.IN or not revoked:
            return _answered(ReceiptFrame(stored), "duplicate")
        key = self._context.receipt_key()
        renewed = replace(
            receipt,
            key_id=key.key_id,
            suite=key.suite.value,
            instant_ms=self._context.clock.now_ms(),
            octets_digest=digest(key.suite, known.envelope),
        )
        request = receipt_request(renewed)

        def conclude(proofs: Sequence[Proof]) -> tuple[Sequence[Row], Admission]:
            octets = seal_receipt(request.single, proofs[0])
            row = Update(schema.message, known.key, {"receipt": octets})
            admission = Admission([ReceiptFrame(octets)], "duplicate, receipt renewed")
            return [row, leaves.issued(renewed, octets)], admission

        return Decision(conclude, [request])

    def _expected(
        self, connection: Connection, arrival: Arrival
    ) -> int | Literal[Turn.NEXT, Turn.USED]:
        """The number that has to come first, if this one is too early (EX-6).

        Otherwise whether it is its turn, or was: what a recovery could not bring back of numbers
        that were consumed may still come from its sender (RV-13).

        Raises:
            RefusedError: SEQUENCE_USED (EX-7).
        """
        header = arrival.verified.envelope.header
        if header.case is None:
            return Turn.NEXT
        case_id, number = header.case.case_id, header.case.sequence
        last = last_sequence(connection, case_id, arrival.sender, Role.IN)
        match turn(last, number):
            case Turn.NEXT:
                return Turn.NEXT
            case Turn.GAP:
                return last + 1
            case Turn.USED if not recorded_number(connection, case_id, arrival.sender, number):
                return Turn.USED
            case Turn.USED:
                raise RefusedError(Reason.SEQUENCE_USED, f"{number}, next is {last + 1}")

    def _effects(
        self, connection: Connection, arrival: Arrival, now_ms: int, *, fills: bool
    ) -> list[Row]:
        """What the message does to its case and who finds it in the inbox.

        If it fills a gap, that is found out when its case is replayed.

        Raises:
            RefusedError: the body, the catalogue or the lifecycle forbids it.
            UnavailableError: the catalogue here cannot tell.
        """
        header, body = arrival.verified.envelope.header, arrival.body
        if arrival.fault is not None:
            raise arrival.fault
        directory = self._context.federation.directory
        if header.kind == PING_KIND:
            me = directory.node(self._context.here)
            if me is None or me.operator != header.recipient.authority:
                raise RefusedError(Reason.AUTHORITY_NOT_HERE, header.recipient.authority)
            return []
        authority = directory.authority(header.recipient.authority, self._context.here)
        if authority is None or authority.node != self._context.here:
            raise RefusedError(Reason.AUTHORITY_NOT_HERE, header.recipient.authority)
        if header.case is None or body is None:
            raise RefusedError(Reason.SCHEMA_INVALID, f"{header.kind} needs Header/Case")
        # What was said before another took its place is still said by it.
        sender = header.sender
        cases.require_open(directory, sender.node, sender.authority, header.created_ms)
        if fills:
            return [replay_row(header.case.case_id)]
        if isinstance(body, CaseSubmit):
            cases.check_submission(self._context.federation, header, body, now_ms)
            if find_case(connection, header.case.case_id, Side.HANDLE) is not None:
                raise RefusedError(Reason.WRONG_STATE, "the case was submitted before")
            before, said_by = cases.open_case(header, body, Side.HANDLE, now_ms), Side.COLLECT
        else:
            before, said_by = self._find_view(connection, arrival, now_ms)
            before = self._catch_up(connection, before, arrival, now_ms)
        party = cases.heir(arrival.sender, directory, now_ms)
        powers = cases.powers_of(self._context.federation, before, party, now_ms)
        after = cases.advance(before, header.kind, powers, header, said_by, now_ms)
        addressed = header.recipient.authority
        inbox = Insert(
            schema.inbox,
            {
                "authority": header.sender.authority,
                "message_id": header.message_id,
                "to_authority": directory.heir(addressed, self._context.here, now_ms),
                "case_id": header.case.case_id,
                "recorded_ms": now_ms,
                "leased_until_ms": 0,
                "lease": None,
                "done_ms": None,
            },
        )
        return [case_row(after), inbox]

    def _find_view(
        self, connection: Connection, arrival: Arrival, now_ms: int
    ) -> tuple[CaseView, Side]:
        """Our end's view of the case, checked to be between these two, and who speaks.

        They are whoever stands in the places of its parties now (DI-17).
        """
        header, directory = arrival.verified.envelope.header, self._context.federation.directory
        case_id = "" if header.case is None else header.case.case_id
        addressed = Party.at(self._context.here, header.recipient.authority)
        sender, recipient = (
            cases.heir(party, directory, now_ms) for party in (arrival.sender, addressed)
        )
        for side in Side:
            view = find_case(connection, case_id, side)
            if view is None:
                continue
            present = cases.as_of(view, directory, now_ms)
            if present.ours[1] != recipient.authority:
                continue
            said_by = cases.speaker(header.kind, present, sender)
            between = {sender, recipient} == {present.collecting, present.handling}
            if between and said_by is cases.other(side):
                return view, said_by
        raise RefusedError(Reason.CASE_UNKNOWN, f"no case {case_id} between these authorities")

    def _catch_up(
        self, connection: Connection, view: CaseView, arrival: Arrival, now_ms: int
    ) -> CaseView:
        """Let our own message take effect that the handling authority says it has seen.

        Its `received` may still be on its way when the authority's next step arrives; InReplyTo is
        then the earlier proof of the same fact.
        """
        header = arrival.verified.envelope.header
        if view.side != Side.COLLECT or header.in_reply_to is None:
            return view
        directory = self._context.federation.directory
        present = cases.heir(view.collecting, directory, now_ms)
        for uscc in directory.lineage(present.authority, present.province, now_ms):
            named = MessageReference(uscc, header.in_reply_to)
            row = find_message(connection, named, Role.OUT)
            if row is not None and row.case_id == view.case_id:
                return take_effect(self._context, view, row, stored_header(row), now_ms)
        return view

    def _accept(
        self,
        connection: Connection,
        arrival: Arrival,
        effects: Sequence[Row],
        now_ms: int,
        *,
        fills: bool,
    ) -> Decision[Admission]:
        receipt = self._draft(ReceiptType.RECEIVED, arrival, now_ms)
        request = receipt_request(receipt)
        consumed = [] if fills else self._use_up(connection, arrival)

        def conclude(proofs: Sequence[Proof]) -> tuple[Sequence[Row], Admission]:
            octets = seal_receipt(request.single, proofs[0])
            end = ended(Standing.RECEIVED, octets, now_ms)
            rows = [
                _row(arrival, Role.IN, now_ms, **end),
                *part_rows(arrival.reference, Role.IN, arrival.parts),
                *blob_rows(arrival.reference, Role.IN, arrival.large.blobs),
                *arrival.large.settled(),
                *consumed,
                *effects,
                leaves.taken(arrival.verified.message_digest, now_ms),
                leaves.issued(receipt, octets),
            ]
            answer = [ReceiptFrame(octets)]
            return rows, Admission(answer, "received", inbox=True, replay=fills)

        return Decision(conclude, [request])

    def _refuse(
        self,
        connection: Connection,
        arrival: Arrival,
        refusal: RefusedError,
        now_ms: int,
        *,
        record: bool = True,
    ) -> Decision[Admission]:
        """A signed refusal of an authentic message: recorded, so it is said once and for ever."""
        receipt = self._draft(ReceiptType.REFUSED, arrival, now_ms, refusal)
        request = receipt_request(receipt)
        consumed = self._consume(connection, arrival) if record else []

        def conclude(proofs: Sequence[Proof]) -> tuple[Sequence[Row], Admission]:
            octets = seal_receipt(request.single, proofs[0])
            outcome = f"refused {refusal.reason.code}"
            leaf = leaves.issued(receipt, octets)
            if not record:
                return [leaf], Admission([ReceiptFrame(octets)], outcome)
            end = ended(Standing.REFUSED, octets, now_ms)
            end |= {"reason": refusal.reason.number, "detail": refusal.detail}
            rows = [
                _row(arrival, Role.IN, now_ms, **end),
                *arrival.large.settled(),
                *consumed,
                leaf,
            ]
            dropped = [blob.name for blob in arrival.large.blobs.values()]
            return rows, Admission([ReceiptFrame(octets)], outcome, dropped=dropped)

        return Decision(conclude, [request])

    def _consume(self, connection: Connection, arrival: Arrival) -> list[Row]:
        """Use up the sequence number, if it is its turn."""
        case = arrival.verified.envelope.header.case
        if case is None:
            return []
        last = last_sequence(connection, case.case_id, arrival.sender, Role.IN)
        return self._use_up(connection, arrival) if case.sequence == last + 1 else []

    def _use_up(self, connection: Connection, arrival: Arrival) -> list[Row]:
        """Use up the number whose turn it is, and those after it that were refused before."""
        case = arrival.verified.envelope.header.case
        if case is None:
            return []
        case_id, sender, last = case.case_id, arrival.sender, case.sequence
        while refused_number(connection, case_id, sender, last + 1):
            last += 1
        return [sequence_row(case_id, sender, Role.IN, last)]

    def _want(self, connection: Connection, arrival: Arrival, now_ms: int) -> Decision[Admission]:
        """It would be taken: ask for its large parts, as far as there is room for them.

        Raises:
            UnavailableError: PART_QUOTA or STORE_UNAVAILABLE.
        """
        limits, large, peer = self._context.parts, arrival.large, arrival.path[-1]
        rows = opening(connection, limits, peer, arrival.reference, large, now_ms)
        admission = Admission(large.wanted(arrival.reference), "large parts wanted")
        return Decision(lambda _: (rows, admission))

    def decide_transit(self, connection: Connection, arrival: Arrival) -> Decision[Admission]:
        """A message for somebody else: into our custody and the next hop's outbox."""
        now_ms = self._context.clock.now_ms()
        known = find_message(connection, arrival.reference, Role.TRANSIT)
        if known is not None:
            return self._again(connection, arrival, known, now_ms)
        if arrival.fault is not None:
            return self._refuse(connection, arrival, arrival.fault, now_ms, record=False)
        if arrival.incomplete is not None:
            return _answered(arrival.incomplete, "incomplete")
        header = arrival.verified.envelope.header
        try:
            peer = next_hop(self._context, header.recipient.node, arrival.path)
        except UnavailableError as trouble:
            return _answered(NotHereFrame(arrival.reference, trouble.reason), trouble.reason.code)
        try:
            if arrival.large.missing:
                return self._want(connection, arrival, now_ms)
        except UnavailableError as trouble:
            busy = BusyFrame(arrival.reference, trouble.reason, RETRY_AFTER_MS)
            return _answered(busy, trouble.reason.code)
        waiting = {"upstream": arrival.path[-1], "standing": Standing.QUEUED.value}
        size = len(arrival.verified.octets) + sum(map(len, arrival.parts.values()))
        rows: list[Row] = [
            _row(arrival, Role.TRANSIT, now_ms, **waiting),
            *part_rows(arrival.reference, Role.TRANSIT, arrival.parts),
            *blob_rows(arrival.reference, Role.TRANSIT, arrival.large.blobs),
            *arrival.large.settled(),
            errand_row(header, Role.TRANSIT, peer, now_ms, size),
            leaves.taken(arrival.verified.message_digest, now_ms),
        ]
        return self._take_custody(arrival, rows, frozenset({peer}), now_ms, f"custody for {peer}")

    def _take_custody(
        self,
        arrival: Arrival,
        rows: Sequence[Row],
        wake: frozenset[str],
        now_ms: int,
        outcome: str,
    ) -> Decision[Admission]:
        receipt = self._draft(ReceiptType.CUSTODY, arrival, now_ms)
        request = receipt_request(receipt)

        def conclude(proofs: Sequence[Proof]) -> tuple[Sequence[Row], Admission]:
            octets = seal_receipt(request.single, proofs[0])
            signed = leaves.issued(receipt, octets)
            return [*rows, signed], Admission([ReceiptFrame(octets)], outcome, wake)

        return Decision(conclude, [request])

    def _draft(
        self,
        kind: ReceiptType,
        arrival: Arrival,
        now_ms: int,
        refusal: RefusedError | None = None,
    ) -> Receipt:
        return draft_receipt(
            kind,
            self._context.here,
            self._context.receipt_key(),
            arrival.verified.octets,
            now_ms,
            reference=arrival.reference,
            message_digest=arrival.verified.message_digest,
            refusal=refusal,
        )


def next_hop(context: NodeContext, to_node: str, path: tuple[str, ...]) -> str:
    """The next node on the best route, never one the message has passed.

    Raises:
        UnavailableError: NO_ROUTE.
    """
    down = frozenset(context.failing)
    found = plan(context.federation.directory, context.here, to_node, down=down, path=path)
    return found.alternates[0].next_hop


def _answered(answer: Frame, outcome: str) -> Decision[Admission]:
    return Decision(lambda _: ([], Admission([answer], outcome)))


def _row(arrival: Arrival, role: Role, now_ms: int, **outcome: object) -> Insert:
    verified = arrival.verified
    return message_row(
        verified.envelope.header,
        verified.message_digest,
        verified.octets,
        role,
        arrival.path,
        now_ms,
        **outcome,
    )
