"""Steps 2 and 3 of the pipeline, for a whole post at once and beside the event loop.

Verifying is pure work on octets, the directory in force and the clock's reading when the post came;
a full post of messages signed alone takes a tenth of a second, during which the loop serves others.
What fails is answered here: refusals that were never authenticated are signed as one group, because
whoever can make a node refuse can do it by the hundred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

import structlog

from node.recording import RETRY_AFTER_MS
from protocol.envelope import read_envelope
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import BusyFrame, ReceiptFrame
from protocol.limits import MAX_ENVELOPE_OCTETS
from protocol.receipt import ReceiptType, seal_receipt
from protocol.wire import parse_canonical
from signing.batch import sign_group
from signing.receipts import draft_receipt, receipt_request
from signing.verify import VerifiedEnvelope, verify_envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from node.context import NodeContext
    from signing.verify import Rules

T = TypeVar("T")

Presented: TypeAlias = "tuple[bytes, Callable[[VerifiedEnvelope], T]]"
"""An envelope, and what becomes of it once it is authentic: pure work too."""

_log = structlog.get_logger()


async def verify_all(
    context: NodeContext, peer: str, presented: Sequence[Presented[T]]
) -> list[T | ReceiptFrame | BusyFrame]:
    """What becomes of each envelope that a peer presents, in their order.

    Of one that is not authentic a refusal of its octets; of one that cannot be told now, busy.
    """
    trust, now_ms = context.trust(), context.clock.now_ms()
    checking = context.checking(peer)

    def verify(
        octets: bytes, become: Callable[[VerifiedEnvelope], T]
    ) -> T | RefusedError | BusyFrame:
        try:
            verified = verify_envelope(octets, context.rules, trust, now_ms, checking=checking)
        except RefusedError as refusal:
            _log.warning("refused", peer=peer, reason=refusal.reason.code, detail=refusal.detail)
            return refusal
        except UnavailableError as trouble:
            _log.warning("not now", peer=peer, reason=trouble.reason.code, detail=trouble.detail)
            return _not_now(octets, trouble, context.rules)
        return become(verified)

    def work() -> list[T | ReceiptFrame | BusyFrame]:
        found = [verify(octets, become) for octets, become in presented]
        refused = [
            (octets, each)
            for (octets, _), each in zip(presented, found, strict=True)
            if isinstance(each, RefusedError)
        ]
        answers = iter(refuse_octets(context, refused, now_ms))
        return [next(answers) if isinstance(each, RefusedError) else each for each in found]

    return await context.workers.run(work) if presented else []


def refuse_octets(
    context: NodeContext, refused: Sequence[tuple[bytes, RefusedError]], now_ms: int
) -> list[ReceiptFrame]:
    """Signed refusals of octets that were never authenticated; nothing is recorded."""
    key = context.receipt_key()
    requests = [
        receipt_request(
            draft_receipt(ReceiptType.REFUSED, context.here, key, octets, now_ms, refusal=refusal)
        )
        for octets, refusal in refused
    ]
    return [
        ReceiptFrame(seal_receipt(request.single, proof))
        for request, proof in zip(requests, sign_group(context.keys, requests), strict=True)
    ]


def _not_now(octets: bytes, trouble: UnavailableError, rules: Rules) -> BusyFrame:
    """Busy, about the message the unverified octets claim to be."""
    root = parse_canonical(octets, MAX_ENVELOPE_OCTETS)
    claimed = read_envelope(root, rules.schemas).header.reference
    return BusyFrame(claimed, trouble.reason, RETRY_AFTER_MS)
