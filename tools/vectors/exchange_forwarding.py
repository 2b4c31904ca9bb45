"""Group exchange: at a hub, what it takes in custody and what it passes back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from protocol.envelope import CaseReference
from protocol.errors import RefusedError
from protocol.frames import ReceiptFrame
from protocol.identifiers import make_uuid7
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from signing.keys import KeyUse
from tests.sim.craft import Message, Signed
from tests.sim.federation import HUB, HUNAN, WUHAN, XIANGYANG, YUEYANG
from tests.sim.loop import START_MS
from tools.vectors.exchange_story import (
    Story,
    not_here,
    receipt,
    receipt_octets,
    row,
    signed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Case

CUSTODY: Final = "Custody discharges nobody: only the node in To ends a message."
ENDLESS: Final = "A message could go round for ever, and its sender would never know."
WAY: Final = "A hub answers for the way, not for the content."


def cases() -> Iterator[Case]:
    """Every case of the file."""
    yield from _custody()
    yield from _paths()
    yield from _upstream()


def _there(**changes: object) -> Signed:
    base = Message(WUHAN, XIANGYANG)
    return signed(dataclasses.replace(base, **changes))  # type: ignore[arg-type]


def _custody() -> Iterator[Case]:
    one = _there()
    kept = receipt("custody", HUB, one)
    held = row("transit", one, "queued")
    yield (
        Story(HUB)
        .post(WUHAN, one.frames(), kept)
        .post(WUHAN, one.frames(), kept)
        .post(WUHAN, one.ask(), kept)
        .case(
            "custody",
            "A hub takes a message in custody, has it again, and is asked about it.",
            "枢纽托管报文；报文再来、被问及时均答以托管。",
            CUSTODY,
            "EX-41 EX-42",
            held,
        )
    )
    other = _there(lifetime_ms=3_600_000)
    yield (
        Story(HUB)
        .post(WUHAN, one.frames(), kept)
        .post(WUHAN, other.frames(), receipt("refused", HUB, other, Reason.MESSAGE_ID_REUSED))
        .case(
            "custody-of-another-content",
            "A hub has a message in custody; another content comes under its id.",
            "枢纽已托管报文；同号异文到来。",
            CUSTODY,
            "EX-31",
            held,
            reason=Reason.MESSAGE_ID_REUSED,
        )
    )
    case = CaseReference(make_uuid7(START_MS, bytes(10)), 1)
    bent = _there(kind="case.void", case=case, key_use=KeyUse.ENVELOPE)
    yield (
        Story(HUB)
        .post(WUHAN, bent.frames(), receipt("custody", HUB, bent))
        .case(
            "custody-whatever-the-body-says",
            "A body that its destination will refuse: a hub does not look at it.",
            "目的地将会拒收的正文：枢纽不看。",
            WAY,
            "BO-7",
            row("transit", bent, "queued"),
        )
    )


def _paths() -> Iterator[Case]:
    back = signed(Message(YUEYANG, WUHAN))
    yield (
        Story(HUB)
        .post(HUNAN, back.via(HUNAN).frames(), receipt("custody", HUB, back))
        .case(
            "through-two-hubs",
            "A message of another province that its own hub has brought.",
            "由外省枢纽带来的外省报文。",
            WAY,
            "EX-2 EX-41 RT-8",
            row("transit", back, "queued"),
        )
    )
    rows: list[tuple[str, str, Signed, Reason, str, str, str]] = [
        (
            "path-loop",
            HUNAN,
            back.via(HUNAN, HUB, HUNAN),
            Reason.LOOP,
            "RT-3",
            "A path that holds the hub already.",
            "路径已含本枢纽。",
        ),
        (
            "path-too-long",
            HUNAN,
            dataclasses.replace(back, path=(YUEYANG, "430100", "430200", HUNAN)),
            Reason.PATH_TOO_LONG,
            "RT-4",
            "A path of four nodes, and the hub is not the destination.",
            "路径已有四个节点，而本枢纽并非目的地。",
        ),
        (
            "no-route",
            WUHAN,
            _there(destination="420900"),
            Reason.NO_ROUTE,
            "RT-2",
            "A destination that no directory lists.",
            "目的地不在任何目录中。",
        ),
    ]
    for name, peer, message, reason, clause, what, what_zh in rows:
        yield (
            Story(HUB)
            .post(peer, message.frames(), not_here(message, reason))
            .case(name, what, what_zh, ENDLESS, f"{clause} EX-39", reason=reason)
        )


def _upstream() -> Iterator[Case]:
    one = _there()
    kept = receipt("custody", HUB, one)
    received = receipt_octets(ReceiptType.RECEIVED, XIANGYANG, one)
    refusal = RefusedError(Reason.WRONG_STATE, "没有此步")
    refused = receipt_octets(ReceiptType.REFUSED, XIANGYANG, one, refusal=refusal)
    ended = receipt("received", XIANGYANG, one)
    yield (
        Story(HUB)
        .post(WUHAN, one.frames(), kept)
        .post(XIANGYANG, [ReceiptFrame(received)])
        .post(WUHAN, one.frames(), ended)
        .post(WUHAN, one.ask(), ended | {"same": 3})  # type: ignore[operator]
        .case(
            "receipt-upstream",
            "The destination's receipt reaches the hub; whoever presents the message or asks gets"
            " that very receipt.",
            "目的地回执到达枢纽；此后报文再来或被问及，均答以该回执原文。",
            CUSTODY,
            "EX-42 RC-18",
            row("transit", one, "received"),
        )
    )
    forged = received[:-1] + bytes([received[-1] ^ 1])
    by_hub = receipt_octets(ReceiptType.RECEIVED, HUNAN, one)
    stolen = receipt_octets(ReceiptType.RECEIVED, XIANGYANG, one, signer=WUHAN)
    altered = one.octets.replace(b"2026-12-22", b"2026-12-23")
    other = receipt_octets(ReceiptType.RECEIVED, XIANGYANG, one, envelope=altered)
    for name, octets, clause, what, what_zh in (
        ("forged", forged, "RC-13", "A bit of its signature is flipped.", "签名有一比特翻转。"),
        ("of-a-hub", by_hub, "EX-3 RC-15", "Another hub says received.", "他枢纽称已签收。"),
        (
            "by-another-key",
            stolen,
            "RC-11",
            "Signed with another node's key.",
            "以另一节点密钥签名。",
        ),
        (
            "of-another-content",
            other,
            "RC-14",
            "It is about another content of the same id.",
            "所述为同号另一内容。",
        ),
    ):
        yield (
            Story(HUB)
            .post(WUHAN, one.frames(), kept)
            .post(XIANGYANG, [ReceiptFrame(octets)])
            .post(WUHAN, one.frames(), kept)
            .post(XIANGYANG, [ReceiptFrame(refused)])
            .post(WUHAN, one.frames(), receipt("refused", XIANGYANG, one, Reason.WRONG_STATE))
            .case(
                f"receipt-upstream-{name}",
                f"A receipt that ends nothing. {what} The true one, a refusal, comes later.",
                f"不足以了结的回执：{what_zh}其后真回执（拒收）到达。",
                CUSTODY,
                clause,
                row("transit", one, "refused", Reason.WRONG_STATE),
                reason=Reason.WRONG_STATE,
            )
        )
