"""What of a recalled message is true, whoever hands it over (RV-8).

What counts is what was signed. A message addressed to us is ours again because this node signed a
receipt for it: that receipt, octet by octet, stands again, and nobody is given another. A message
of an authority of ours is, because that authority signed it. A message we had in custody is noted
because we said so. Everything else is none of ours.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from node.store.queries import Role
from protocol.errors import RefusedError
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from routing.delivery import Standing
from signing.receipts import concerns, verify_receipt
from signing.verify import verify_envelope

if TYPE_CHECKING:
    from collections.abc import Iterable

    from node.context import NodeContext
    from protocol.envelope import MessageReference
    from protocol.frames import RecalledFrame
    from signing.receipts import VerifiedReceipt
    from signing.trust import TrustSet
    from signing.verify import VerifiedEnvelope

ENDS: Final = {
    ReceiptType.RECEIVED: Standing.RECEIVED,
    ReceiptType.REFUSED: Standing.REFUSED,
}
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Believed:
    """One message, verified, with what proves what became of it.

    Attributes:
        peer: Who handed it over.
        verified: The envelope.
        role: What this node was to it.
        final: Its destination's receipt, if that is there.
        custody: Our own receipts for having had it in custody.
    """

    peer: str
    verified: VerifiedEnvelope
    role: Role
    final: VerifiedReceipt | None
    custody: tuple[VerifiedReceipt, ...]

    @property
    def reference(self) -> MessageReference:
        """Its name."""
        return self.verified.envelope.header.reference

    @property
    def received(self) -> bool:
        """Whether its parts matter: not of a message to us that was refused."""
        refused = self.final is not None and self.final.receipt.type is ReceiptType.REFUSED
        return self.role is not Role.IN or not refused

    @property
    def size(self) -> int:
        """Octets of all its parts."""
        return sum(part.size for part in self.verified.envelope.parts)


def believe(context: NodeContext, peer: str, frame: RecalledFrame) -> Believed:
    """What one frame shows of its message.

    Args:
        context: The node.
        peer: Who hands it over: pays for what checking costs.
        frame: As it came.

    Raises:
        RefusedError: the envelope breaks a rule; NOT_FOR_US: nothing shows that this node
            had to do with it.
        UnavailableError: KEY_UNKNOWN, or what checking may cost: it has to come again.
    """
    receipts = list(_receipts(context, peer, frame))
    verified = _envelope(context, peer, frame, receipts)
    receipts = [one for one in receipts if _about(one, verified)]
    role = _role(context.here, verified, receipts)
    if role is None:
        raise RefusedError(Reason.NOT_FOR_US, "nothing shows that we had to do with it")
    final = next((one for one in receipts if _ends(one, verified)), None)
    custody = tuple(one for one in receipts if one.receipt.type is ReceiptType.CUSTODY)
    return Believed(peer, verified, role, final, custody)


def _receipts(context: NodeContext, peer: str, frame: RecalledFrame) -> Iterable[VerifiedReceipt]:
    trust, checking = _trust(context), context.checking(peer)
    for octets in frame.receipts:
        try:
            yield verify_receipt(octets, trust, live=False, checking=checking)
        except RefusedError as refusal:
            _log.error("recalled receipt not believed", peer=peer, why=str(refusal))


def _envelope(
    context: NodeContext, peer: str, frame: RecalledFrame, receipts: Iterable[VerifiedReceipt]
) -> VerifiedEnvelope:
    trust, checking, now_ms = _trust(context), context.checking(peer), context.clock.now_ms()
    try:
        return verify_envelope(frame.octets, context.rules, trust, now_ms, checking=checking)
    except RefusedError as refusal:
        if refusal.reason is not Reason.KEY_REVOKED:
            raise
        revoked = refusal
    # What is revoked by now was valid when it was signed for; only a receipt about it says so.
    for one in receipts:
        instant_ms = one.receipt.instant_ms
        with suppress(RefusedError):
            verified = verify_envelope(
                frame.octets, context.rules, trust, instant_ms, live=False, checking=checking
            )
            if _about(one, verified):
                return verified
    raise revoked


def _about(receipt: VerifiedReceipt, verified: VerifiedEnvelope) -> bool:
    reference = verified.envelope.header.reference
    return receipt.receipt.reference is not None and concerns(
        receipt, reference, verified.message_digest, verified.octets
    )


def _trust(context: NodeContext) -> TrustSet:
    return context.federation.directory.trust


def _role(
    here: str, verified: VerifiedEnvelope, receipts: Iterable[VerifiedReceipt]
) -> Role | None:
    """What we were to it, by what was signed."""
    header = verified.envelope.header
    said = {one.receipt.type for one in receipts if one.receipt.issuer == here}
    if header.recipient.node == header.sender.node:
        return None
    if header.recipient.node == here:
        return Role.IN if said & ENDS.keys() else None
    if header.sender.node == here:
        return Role.OUT
    return Role.TRANSIT if ReceiptType.CUSTODY in said else None


def _ends(receipt: VerifiedReceipt, verified: VerifiedEnvelope) -> bool:
    """Whether it is the destination's last word."""
    said = receipt.receipt
    return said.type in ENDS and said.issuer == verified.envelope.header.recipient.node
