"""What goes into a hand-over to a peer, and what the peer says about it. Pure functions.

A hand-over is measured as it is written: the sizes in the outbox only keep what is read from the
store within reason. A receipt is looked up by the message it names; one that names nothing counts
for the message whose very octets it is about.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from node.store.queries import DELIVER, RECEIPT
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import (
    AskFrame,
    BusyFrame,
    EnvelopeFrame,
    HeadFrame,
    HeldFrame,
    KeptFrame,
    NotHereFrame,
    PageFrame,
    PartFrame,
    RecalledFrame,
    RecallFrame,
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
    from collections.abc import Iterable, Mapping, Sequence

    from node.store.queries import Errand, MessageRow
    from protocol.envelope import MessageReference
    from protocol.frames import Frame
    from signing.batch import Checking
    from signing.receipts import VerifiedReceipt
    from signing.trust import TrustSet

Held = dict[tuple[str, str, str], dict[str, bytes]]
Hint: TypeAlias = WantedFrame | WaitingFrame | BusyFrame | NotHereFrame | KeptFrame
SAID = (
    ReceiptFrame,
    WantedFrame,
    WaitingFrame,
    BusyFrame,
    NotHereFrame,
    KeptFrame,
    HeadFrame,
    HeldFrame,
    RecallFrame,
    RecalledFrame,
    PageFrame,
)
"""The frames that say something about what was handed over, about logs (`node.log.heads`), or about
what was lost (`node.recovery`); the others hand something over."""


def goes_whole(errand: Errand, now_ms: int) -> bool:
    """Whether the message goes with its parts: not in custody, in doubt or expired."""
    row = errand.message
    queued = row.standing == Standing.QUEUED and row.expires_ms > now_ms
    return errand.purpose == DELIVER and queued


def within_reason(errands: Sequence[Errand], room: int = MAX_POST_OCTETS) -> list[Errand]:
    """The first errands whose parts fit into this room together, and into memory: at least one."""
    chosen: list[Errand] = []
    octets = 0
    for errand in errands:
        octets += errand.size
        if chosen and octets > room:
            break
        chosen.append(errand)
    return chosen


def build_post(
    errands: Sequence[Errand],
    parts: Held,
    here: str,
    now_ms: int,
    room: int = MAX_POST_OCTETS,
    beside: int = 0,
) -> tuple[list[Errand], bytes]:
    """As many of the errands as one hand-over holds, and its octets.

    Args:
        errands: What is due, in order.
        parts: Held parts by (authority, message id, role) and part id.
        here: This node, which joins the path.
        now_ms: After `Expires` a message is only asked about.
        room: Octets it may have; any message fits into `MAX_POST_OCTETS`.
        beside: Frames that go along with it.
    """
    taken: list[Errand] = []
    pieces: list[bytes] = []
    octets, frames = 0, beside
    for errand in errands:
        row = errand.message
        mine = _frames(
            errand, parts.get((row.authority, row.message_id, row.role), {}), here, now_ms
        )
        piece = write_frames(mine)
        octets, frames = octets + len(piece), frames + len(mine)
        if octets > room or (taken and frames > MAX_POST_FRAMES):
            break
        taken.append(errand)
        pieces.append(piece)
    return taken, b"".join(pieces)


def post_with_pieces(
    errand: Errand, parts: Mapping[str, bytes], pieces: Sequence[PartFrame], here: str
) -> bytes:
    """The octets that carry pieces of a message: its envelope, these small parts, the pieces."""
    return write_frames([*_frames(errand, parts, here, 0), *pieces])


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
class Said:
    """What a peer says about what it was handed, by what it is about.

    Attributes:
        receipts: Verified, by the message they name.
        nameless: Verified refusals of octets that were never authenticated.
        hints: The other frames, by the message they name; None is about all of it.
        wanted: All that is wanted of a message.
        unchecked: Messages whose receipt could not be checked now, and why.
        dropped: What was not believed, for the log.
    """

    receipts: dict[MessageReference, list[VerifiedReceipt]] = field(default_factory=dict)
    nameless: list[VerifiedReceipt] = field(default_factory=list)
    hints: dict[MessageReference | None, Hint] = field(default_factory=dict)
    wanted: dict[MessageReference, list[WantedFrame]] = field(default_factory=dict)
    unchecked: dict[MessageReference, Reason] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    @property
    def references(self) -> set[MessageReference]:
        """Every message it names."""
        return {*self.receipts, *(name for name in self.hints if name is not None)}

    @property
    def busy(self) -> str | None:
        """Why the peer is busy, if it is; for operators."""
        codes = {hint.reason.code for hint in self.hints.values() if isinstance(hint, BusyFrame)}
        return f"busy: {', '.join(sorted(codes))}" if codes else None

    def receipts_for(self, row: MessageRow) -> list[VerifiedReceipt]:
        """Its receipts: those that name the message, else refusals of its very octets."""
        return self.receipts.get(row.reference) or self._about_octets(row)

    def hint_for(self, row: MessageRow) -> Hint | None:
        """The hint about this message, or about everything."""
        return self.hints.get(row.reference) or self.hints.get(None)

    def _about_octets(self, row: MessageRow) -> list[VerifiedReceipt]:
        suites = {verified.receipt.suite for verified in self.nameless}
        own = {digest(Suite(suite), row.envelope) for suite in suites}
        return [
            verified
            for verified in self.nameless
            if verified.receipt.octets_digest in own
            and concerns(verified, row.reference, row.message_digest, row.envelope)
        ]


def sort_said(frames: Iterable[Frame], trust: TrustSet, checking: Checking) -> Said:
    """Verify the receipts among the frames and sort them by what they are about."""
    said = Said()
    for frame in frames:
        match frame:
            case ReceiptFrame(octets):
                _sort_receipt(octets, trust, checking, said)
            case WantedFrame():
                said.hints[frame.reference] = frame
                said.wanted.setdefault(frame.reference, []).append(frame)
            case BusyFrame() | WaitingFrame() | NotHereFrame() | KeptFrame():
                said.hints[frame.reference] = frame
            case HeadFrame() | HeldFrame() | RecallFrame() | RecalledFrame() | PageFrame():
                pass
            case _:
                said.dropped.append(type(frame).__name__)
    return said


def _sort_receipt(octets: bytes, trust: TrustSet, checking: Checking, said: Said) -> None:
    try:
        verified = verify_receipt(octets, trust, checking=checking)
    except RefusedError as refusal:
        said.dropped.append(str(refusal))
        return
    except UnavailableError as trouble:
        said.dropped.append(str(trouble))
        claimed = read_receipt(octets).receipt.reference
        if claimed is not None:
            said.unchecked[claimed] = trouble.reason
        return
    reference = verified.receipt.reference
    if reference is None:
        said.nameless.append(verified)
    else:
        said.receipts.setdefault(reference, []).append(verified)
