"""What goes into a post to a peer, and what its answer is about. Pure functions.

A post is measured as it is written: the sizes in the outbox only keep what is read from the store
within reason. A receipt is looked up by the message it names; one that names nothing counts for the
message whose very octets it is about.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from node.store.queries import DELIVER, RECEIPT
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import (
    AskFrame,
    BusyFrame,
    EnvelopeFrame,
    NotHereFrame,
    PartFrame,
    ReceiptFrame,
    WaitingFrame,
    WantedFrame,
    write_frames,
)
from protocol.limits import MAX_POST_FRAMES, MAX_POST_OCTETS
from protocol.reasons import Reason
from protocol.receipt import read_receipt
from routing.delivery import Standing
from signing.receipts import concerns, verify_receipt
from signing.suites import Suite, digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from node.store.queries import Errand, MessageRow
    from protocol.envelope import MessageReference
    from protocol.frames import Frame
    from signing.receipts import VerifiedReceipt
    from signing.trust import TrustSet

Held = dict[tuple[str, str, str], dict[str, bytes]]


def goes_whole(errand: Errand, now_ms: int) -> bool:
    """Whether the message goes with its parts: not in custody, in doubt or expired."""
    row = errand.message
    queued = row.standing == Standing.QUEUED and row.expires_ms > now_ms
    return errand.purpose == DELIVER and queued


def within_reason(errands: Sequence[Errand]) -> list[Errand]:
    """The first errands whose parts fit into memory together: about one post, at least one."""
    chosen: list[Errand] = []
    octets = 0
    for errand in errands:
        octets += errand.size
        if chosen and octets > MAX_POST_OCTETS:
            break
        chosen.append(errand)
    return chosen


def build_post(
    errands: Sequence[Errand], parts: Held, here: str, now_ms: int
) -> tuple[list[Errand], bytes]:
    """As many of the errands as one post holds, and its octets.

    Args:
        errands: What is due, in order.
        parts: Held parts by (authority, message id, role) and part id.
        here: This node, which joins the path.
        now_ms: After `Expires` a message is only asked about.
    """
    taken: list[Errand] = []
    pieces: list[bytes] = []
    octets = frames = 0
    for errand in errands:
        row = errand.message
        mine = _frames(
            errand, parts.get((row.authority, row.message_id, row.role), {}), here, now_ms
        )
        piece = write_frames(mine)
        octets, frames = octets + len(piece), frames + len(mine)
        if taken and (octets > MAX_POST_OCTETS or frames > MAX_POST_FRAMES):
            break
        taken.append(errand)
        pieces.append(piece)
    return taken, b"".join(pieces)


def _frames(errand: Errand, parts: Mapping[str, bytes], here: str, now_ms: int) -> list[Frame]:
    row = errand.message
    if errand.purpose == RECEIPT:
        return [ReceiptFrame(row.receipt or b"")]
    path = tuple(row.path.split(","))
    path = path if path[-1] == here else (*path, here)
    if row.expires_ms <= now_ms:
        return [AskFrame(path, row.envelope)]
    return [
        EnvelopeFrame(path, row.envelope),
        *(PartFrame(row.reference, name, 0, octets) for name, octets in parts.items()),
    ]


def require_looked_into(answer: Sequence[Frame], post: bytes) -> None:
    """Refused whole, a post was never looked into: what the answer does not say means nothing.

    Raises:
        UnavailableError: the post was refused; the reason and detail are the peer's.
    """
    known: dict[str, bytes] = {}
    for frame in answer:
        if not isinstance(frame, ReceiptFrame):
            continue
        with contextlib.suppress(RefusedError):
            receipt = read_receipt(frame.octets).receipt
            if receipt.reference is not None or receipt.reason is None:
                continue
            if receipt.suite not in known:
                known[receipt.suite] = digest(Suite(receipt.suite), post)
            if receipt.octets_digest == known[receipt.suite]:
                detail = f"post refused: {receipt.reason.code} {receipt.detail}"
                raise UnavailableError(Reason.PEER_UNREACHABLE, detail)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer by what it is about.

    Attributes:
        receipts: Verified, by the message they name.
        nameless: Verified refusals of octets that were never authenticated.
        hints: The other frames, by the message they name; None is about the whole post.
        dropped: What was not believed, for the log.
    """

    receipts: dict[MessageReference, list[VerifiedReceipt]] = field(default_factory=dict)
    nameless: list[VerifiedReceipt] = field(default_factory=list)
    hints: dict[MessageReference | None, Frame] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    def about_octets(self, row: MessageRow) -> list[VerifiedReceipt]:
        """The nameless refusals of this message's very octets."""
        suites = {verified.receipt.suite for verified in self.nameless}
        own = {digest(Suite(suite), row.envelope) for suite in suites}
        return [
            verified
            for verified in self.nameless
            if verified.receipt.octets_digest in own
            and concerns(verified, row.reference, row.message_digest, row.envelope)
        ]


def sort_answer(frames: Sequence[Frame], trust: TrustSet) -> Answer:
    """Verify the receipts of an answer and sort it by what it is about."""
    answer = Answer()
    for frame in frames:
        match frame:
            case ReceiptFrame(octets):
                try:
                    verified = verify_receipt(octets, trust)
                except (RefusedError, UnavailableError) as error:
                    answer.dropped.append(str(error))
                    continue
                reference = verified.receipt.reference
                if reference is None:
                    answer.nameless.append(verified)
                else:
                    answer.receipts.setdefault(reference, []).append(verified)
            case BusyFrame() | WaitingFrame() | WantedFrame() | NotHereFrame():
                answer.hints[frame.reference] = frame
            case _:
                answer.dropped.append(type(frame).__name__)
    return answer
