"""What a receipt settles at a node that sent a message on: its own, or one in its custody.

The rules are `routing.delivery.judge_receipt`; here they become rows. A settled message leaves the
outbox; if it was in our custody, the destination's receipt goes upstream the way the message came;
if it was our own, it takes effect on the case.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

from node import cases
from node.cases import CaseView, Party, Side
from node.log import leaves
from node.ports import Decision, Delete, Row, Unit, Update, Upsert
from node.store import schema
from node.store.queries import (
    DELIVER,
    RECEIPT,
    MessageRow,
    Role,
    find_case,
    find_errand,
    find_standing,
)
from node.store.rows import case_row, ended, errand_row
from protocol.envelope import Address, CaseReference, Header, Sender
from protocol.errors import RefusedError, UnavailableError
from routing.delivery import (
    InCustody,
    Irrelevant,
    PathFailure,
    Sent,
    Settled,
    Standing,
    judge_receipt,
)
from routing.retry import ASK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext
    from protocol.envelope import MessageReference
    from signing.receipts import VerifiedReceipt

_log = structlog.get_logger()


class Effect(StrEnum):
    """What a receipt did to a message this node sent on."""

    SETTLED = "settled"
    CUSTODY = "custody"
    PATH_FAILED = "path failed"
    NOTHING = "nothing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a receipt did.

    Attributes:
        effect: The kind of it; after the last three the message still waits.
        outcome: A word for the log.
        wake: Peers for which new work was written.
    """

    effect: Effect
    outcome: str
    wake: frozenset[str] = frozenset()


def stored_header(row: MessageRow) -> Header:
    """The header of a message in our own store, which was verified before it went in.

    From the row, which was written from it: parsing the envelope again costs more than all the rest
    of a settlement. The key that signed and the trace stand in the envelope only, and are empty.
    """
    case = None if row.case_id is None else CaseReference(row.case_id, row.sequence or 0)
    return Header(
        message_id=row.message_id,
        kind=row.kind,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
        sender=Sender(row.from_node, row.authority, ""),
        recipient=Address(row.to_node, row.to_authority),
        case=case,
        in_reply_to=row.in_reply_to,
    )


def settle_unit(
    context: NodeContext, verified: VerifiedReceipt, row: MessageRow
) -> Unit[Settlement]:
    """The unit of work that lets a verified receipt settle the message of this row."""
    keys = {message_lock(row.reference)}
    if row.case_id is not None:
        keys.add(case_lock(row.case_id))
    return Unit(lambda connection: _decide(context, connection, verified, row), frozenset(keys))


def message_lock(reference: MessageReference) -> str:
    """The key under which units about one message exclude each other."""
    return f"message {reference.authority} {reference.message_id}"


def case_lock(case_id: str) -> str:
    """The key under which units about one case exclude each other."""
    return f"case {case_id}"


def _decide(
    context: NodeContext,
    connection: Connection,
    verified: VerifiedReceipt,
    row: MessageRow,
) -> Decision[Settlement]:
    found = find_standing(connection, row)
    if found is None:
        return _concluded([], Settlement(Effect.UNKNOWN, "unknown"))
    now_ms, standing = context.clock.now_ms(), Standing(found)
    sent = Sent(row.reference, row.message_digest, row.envelope, row.to_node, standing)
    verdict = judge_receipt(verified, sent)
    match verdict:
        case Settled():
            return _settle(context, connection, row, verdict, verified, now_ms)
        case InCustody(issuer):
            return _in_custody(context, connection, row, standing, issuer, verified, now_ms)
        case PathFailure(issuer, reason):
            _log.warning(
                "path failure",
                message=row.message_id,
                issuer=issuer,
                reason=None if reason is None else reason.code,
            )
            return _concluded([], Settlement(Effect.PATH_FAILED, "path failure"))
        case Irrelevant(why, alarm):
            if alarm:
                _log.error("receipt contradicts", message=row.message_id, why=why)
            return _concluded([], Settlement(Effect.NOTHING, why))


def _settle(
    context: NodeContext,
    connection: Connection,
    row: MessageRow,
    outcome: Settled,
    receipt: VerifiedReceipt,
    now_ms: int,
) -> Decision[Settlement]:
    values = ended(outcome.standing, receipt.octets, now_ms)
    if outcome.reason is not None:
        values |= {"reason": outcome.reason.number, "detail": outcome.detail}
    rows: list[Row] = [
        Update(schema.message, row.key, values),
        Delete(schema.outbox, {**row.key, "purpose": DELIVER}),
        leaves.settled(receipt.receipt, receipt.octets, now_ms),
    ]
    wake: set[str] = set()
    header = stored_header(row)
    if row.role == Role.TRANSIT and row.upstream is not None:
        size = len(receipt.octets)
        back = errand_row(header, Role.TRANSIT, row.upstream, now_ms, size, purpose=RECEIPT)
        rows.append(back)
        wake.add(row.upstream)
    if row.role == Role.OUT and outcome.standing is Standing.REFUSED:
        # Where the handling authority speaks, its end has moved on already: somebody has to look.
        _log.error("refused", message=row.message_id, kind=row.kind, detail=outcome.detail)
    if row.role == Role.OUT and outcome.standing is Standing.RECEIVED:
        rows.extend(_effect(context, connection, row, header, now_ms))
    return _concluded(rows, Settlement(Effect.SETTLED, outcome.standing.value, frozenset(wake)))


def _effect(
    context: NodeContext,
    connection: Connection,
    row: MessageRow,
    header: Header,
    now_ms: int,
) -> list[Row]:
    """What a message of the collecting side does at its own end once it was received."""
    view = None if row.case_id is None else find_case(connection, row.case_id, Side.COLLECT)
    if view is None:
        return []
    after = take_effect(context, view, row, header, now_ms)
    return [] if after == view else [case_row(after)]


def take_effect(
    context: NodeContext, view: CaseView, row: MessageRow, header: Header, now_ms: int
) -> CaseView:
    """Our own message takes effect at the collecting end, once.

    Where a successor speaks for the first time, its numbers begin anew, and every step of its
    predecessor was settled before (`outgoing`): what that one said is over.
    """
    federation = context.federation
    sender = Party.at(row.from_node, row.authority)
    present = cases.as_of(view, federation.directory, now_ms)
    party = cases.heir(sender, federation.directory, now_ms)
    if party != present.collecting or cases.speaker(row.kind, present, party) is not Side.COLLECT:
        return view
    if row.authority != view.collecting_authority:
        if party != sender:
            return view
        view = replace(view, collecting_authority=row.authority, effective=0)
    if (row.sequence or 0) <= view.effective:
        return view
    try:
        powers = cases.powers_of(federation, view, party, now_ms)
        return cases.advance(view, row.kind, powers, header, Side.COLLECT, now_ms)
    except (RefusedError, UnavailableError) as error:
        # The sequencer took it and our own table does not: the two ends differ. Shown, never
        # guessed.
        _log.error("ends disagree", case=view.case_id, message=row.message_id, why=str(error))
        return view


def _in_custody(
    context: NodeContext,
    connection: Connection,
    row: MessageRow,
    before: Standing,
    issuer: str,
    receipt: VerifiedReceipt,
    now_ms: int,
) -> Decision[Settlement]:
    values = {**row.key, "issuer": issuer, "receipt": receipt.octets}
    rows: list[Row] = [
        Upsert(schema.custody, values),
        leaves.settled(receipt.receipt, receipt.octets, now_ms),
    ]
    standing = Standing.IN_DOUBT if row.expires_ms <= now_ms else Standing.CUSTODY
    if before is not standing and not before.settled:
        rows.append(Update(schema.message, row.key, {"standing": standing.value}))
    errand = find_errand(connection, row.key, DELIVER)
    if errand is not None:
        # From here on the question is what became of it; the octets stay, custody discharges
        # nobody.
        attempts = errand.attempts + 1 if before is not Standing.QUEUED else 1
        due_ms = now_ms + ASK.delay_ms(attempts, jitter(context))
        changes = {"due_ms": due_ms, "attempts": attempts, "handed": 0, "last_reason": None}
        rows.append(Update(schema.outbox, {**row.key, "purpose": DELIVER}, changes))
    return _concluded(rows, Settlement(Effect.CUSTODY, f"custody of {issuer}"))


def jitter(context: NodeContext) -> float:
    """Uniform in [0, 1), from the node's entropy."""
    return int.from_bytes(context.entropy.octets(4)) / 2**32


def _concluded(rows: Sequence[Row], settlement: Settlement) -> Decision[Settlement]:
    return Decision(lambda _: (rows, settlement))
