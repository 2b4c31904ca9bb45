"""Group exchange: at a message's origin, what ends it and what does not (EX-3, RC)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.errors import RefusedError
from protocol.frames import BusyFrame, NotHereFrame, ReceiptFrame, WaitingFrame, WantedFrame
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from tests.sim.craft import Message
from tests.sim.federation import HUB, HUNAN, WUHAN, XIANGYANG
from tools.vectors.exchange_story import Story, not_here, receipt_octets, row, signed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocol.frames import Frame
    from tools.vectors.cases import Case

ENDS: Final = "Only a receipt of the node in To ends a message."
ONE: Final = signed(Message(WUHAN, XIANGYANG))
OTHER: Final = signed(Message(WUHAN, XIANGYANG, number=2))
STATE: Final = RefusedError(Reason.WRONG_STATE, "没有此步")
FORM: Final = RefusedError(Reason.NOT_CANONICAL, "octet 17")
OLD: Final = RefusedError(Reason.KEY_REVOKED, "")


def cases() -> Iterator[Case]:
    """Every case of the file."""
    yield from _ends()
    yield from _does_not_end()
    yield from _hints()


def _story() -> Story:
    return Story(WUHAN).holds(ONE, HUB)


def _ends() -> Iterator[Case]:
    received = receipt_octets(ReceiptType.RECEIVED, XIANGYANG, ONE)
    refused = receipt_octets(ReceiptType.REFUSED, XIANGYANG, ONE, refusal=STATE)
    nameless = receipt_octets(ReceiptType.REFUSED, XIANGYANG, ONE, refusal=FORM, nameless=True)
    custody = receipt_octets(ReceiptType.CUSTODY, HUB, ONE)
    rows: list[tuple[str, list[bytes], str, Reason | None, str, str, str]] = [
        (
            "received",
            [received],
            "received",
            None,
            "EX-3",
            "The destination has received it.",
            "目的地已签收。",
        ),
        (
            "refused",
            [refused],
            "refused",
            Reason.WRONG_STATE,
            "EX-3",
            "The destination has refused it.",
            "目的地已拒收。",
        ),
        (
            "custody-then-received",
            [custody, received],
            "received",
            None,
            "EX-3 EX-4",
            "A hub's custody, and later the destination's receipt.",
            "先枢纽托管，后目的地签收。",
        ),
        (
            "nameless-of-its-octets",
            [nameless],
            "refused",
            Reason.NOT_CANONICAL,
            "RC-14 RC-16",
            "A refusal that names no message, of these very octets, for what follows from them.",
            "不指名的拒收，所拒正是这些字节，原因由字节本身得出。",
        ),
        (
            "contradicted",
            [received, refused],
            "received",
            None,
            "RC-17",
            "Received, and later refused: it stays received.",
            "先签收后拒收：仍为签收。",
        ),
    ]
    for name, receipts, state, reason, clause, what, what_zh in rows:
        story = _story()
        for octets in receipts:
            story.post(HUB, [ReceiptFrame(octets)])
        yield story.case(
            f"origin-{name}", what, what_zh, ENDS, clause, row("out", ONE, state, reason)
        )


def _does_not_end() -> Iterator[Case]:
    received = receipt_octets(ReceiptType.RECEIVED, XIANGYANG, ONE)
    altered = ONE.octets.replace(b"2026-12-22", b"2026-12-23")
    rows: list[tuple[str, bytes, str, str, str]] = [
        (
            "custody",
            receipt_octets(ReceiptType.CUSTODY, HUB, ONE),
            "EX-4",
            "A hub has it in custody.",
            "枢纽已托管。",
        ),
        (
            "forged",
            received[:-1] + bytes([received[-1] ^ 1]),
            "RC-13",
            "A bit of the signature is flipped.",
            "签名有一比特翻转。",
        ),
        (
            "by-another-key",
            receipt_octets(ReceiptType.RECEIVED, XIANGYANG, ONE, signer=HUB),
            "RC-11",
            "The hub signs in the destination's name.",
            "枢纽冒目的地之名签名。",
        ),
        (
            "received-by-a-hub",
            receipt_octets(ReceiptType.RECEIVED, HUB, ONE),
            "EX-3",
            "The hub says received.",
            "枢纽称已签收。",
        ),
        (
            "refused-by-a-hub",
            receipt_octets(ReceiptType.REFUSED, HUNAN, ONE, refusal=STATE),
            "EX-3 RC-15",
            "A hub refuses it: a failure of the path.",
            "枢纽拒收：路径失败。",
        ),
        (
            "of-another-content",
            receipt_octets(ReceiptType.RECEIVED, XIANGYANG, ONE, envelope=altered),
            "RC-14",
            "It is about another content under this id.",
            "所述为同号另一内容。",
        ),
        (
            "nameless-of-other-octets",
            receipt_octets(
                ReceiptType.REFUSED, XIANGYANG, ONE, refusal=FORM, nameless=True, envelope=altered
            ),
            "RC-14",
            "A refusal of octets that a forwarder altered.",
            "所拒为转送者改动后的字节。",
        ),
        (
            "nameless-for-a-key",
            receipt_octets(ReceiptType.REFUSED, XIANGYANG, ONE, refusal=OLD, nameless=True),
            "RC-16",
            "A refusal that names no message, for what a newer directory may answer otherwise.",
            "不指名的拒收，其原因可能因目录更新而改变。",
        ),
        (
            "custody-by-the-destination",
            receipt_octets(ReceiptType.CUSTODY, XIANGYANG, ONE),
            "EX-3 EX-4",
            "The destination itself gives custody.",
            "目的地自己出托管回执。",
        ),
    ]
    for name, octets, clause, what, what_zh in rows:
        in_custody = name == "custody"
        yield (
            _story()
            .post(HUB, [ReceiptFrame(octets)])
            .case(
                f"origin-not-ended-{name}",
                f"{what} It ends nothing.",
                f"{what_zh}不足以了结报文。",
                ENDS,
                clause,
                row("out", ONE, "custody" if in_custody else "queued"),
            )
        )
    unknown = receipt_octets(ReceiptType.RECEIVED, XIANGYANG, OTHER)
    yield (
        _story()
        .post(HUB, [ReceiptFrame(unknown)], not_here(OTHER, Reason.RECEIPT_UNKNOWN))
        .case(
            "origin-receipt-unknown",
            "A receipt for a message this node never sent.",
            "本节点从未发出之报文的回执。",
            ENDS,
            "RC-2",
            row("out", ONE, "queued"),
            reason=Reason.RECEIPT_UNKNOWN,
        )
    )


def _hints() -> Iterator[Case]:
    said: list[Frame] = [
        BusyFrame(ONE.reference, Reason.OVERLOADED, 1000),
        NotHereFrame(ONE.reference, Reason.NO_ROUTE),
        WaitingFrame(ONE.reference, 1),
        WantedFrame(ONE.reference, "body", 0),
        BusyFrame(None, Reason.STALE_DIRECTORY, 2**32 - 1),
    ]
    for name, frame in zip(
        ("busy", "not-here", "waiting", "wanted", "busy-about-all"), said, strict=True
    ):
        yield (
            _story()
            .post(HUB, [frame])
            .case(
                f"origin-hint-{name}",
                f"The peer says {name.partition('-about')[0]}: that ends nothing.",
                f"对端答以 {name.partition('-about')[0]}：不足以了结报文。",
                "A lying hub could end everybody's messages by a frame nobody signed.",
                "EX-20 EX-3",
                row("out", ONE, "queued"),
            )
        )
