"""Group evidence: files whose parts, receipts, story or seal do not hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from protocol.reasons import Reason
from signing.keys import KeyUse
from tests.evidence_files import (
    PARTS,
    Piece,
    directories,
    evidence,
    joined,
    message,
    pieces,
    sealed_anew,
    story,
)
from tests.messages import HUB, NOW_MS, WUHAN, XIANGYANG, Keys, message_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Case


from tools.vectors.evidence import (
    ERASURE,
    FILE,
    KEYS,
    LONE,
    ONE,
    PART,
    SEAL,
    WHOLE,
    edited,
    erased,
    refused,
    registered,
)

SETTLED: Final = "Only its destination says what became of a message."
COMPLETE: Final = "A story with a page left out is another story."


def cases() -> Iterator[Case]:
    """The files that fail at the last four steps."""
    yield from _parts_and_receipts()
    yield from _subject_and_seal()


def _parts_and_receipts() -> Iterator[Case]:
    damaged = message(KEYS, parts={**PARTS, "m1": PARTS["m1"][::-1]})
    yield refused(
        5,
        "parts-damaged",
        evidence(KEYS, [damaged], **LONE),
        "A part differs from its line of the manifest.",
        "部件与清单不符。",
        WHOLE,
        reason=Reason.PART_MISMATCH,
    )
    yield refused(
        5,
        "parts-erasure-of-another",
        erased(message_digest=bytes(32)),
        "The record of another message's erasure.",
        "另一报文的删除记录。",
        WHOLE,
    )
    kept = pieces(erased())
    place = next(place for place, record in enumerate(kept) if record.kind == ERASURE)
    broken = Piece(ERASURE, kept[place].octets[:4] + b"\6" + kept[place].octets[5:])
    yield refused(
        5,
        "parts-erasure-without-ground",
        sealed_anew([*kept[:place], broken, *kept[place + 1 :]], KEYS),
        "The record of an erasure on a ground that is not in the law.",
        "删除记录所载情形不在法定之列。",
        WHOLE,
    )
    yield refused(
        1,
        "container-erasure-beside-part",
        sealed_anew([*kept[:place], Piece(PART, b"\2m1" + PARTS["m1"]), *kept[place:]], KEYS),
        "A part, and the record that all were erased.",
        "既有部件，又有全部删除的记录。",
        WHOLE,
    )
    unlisted = message(KEYS, parts={**PARTS, "m2": b"x"})
    yield refused(
        5,
        "parts-unlisted",
        evidence(KEYS, [unlisted], **LONE),
        "A part the manifest does not list.",
        "清单之外的部件。",
        WHOLE,
    )
    one, other = message(KEYS, custody=[HUB]), message(KEYS, number=2)
    forged = one.receipts[1][:-1] + bytes([one.receipts[1][-1] ^ 1])
    rows: list[tuple[str, list[bytes], Reason, str, str]] = [
        (
            "custody-only",
            [one.receipts[0]],
            Reason.EVIDENCE_INVALID,
            "Only a hub's custody.",
            "只有枢纽托管。",
        ),
        (
            "of-another",
            [*other.receipts],
            Reason.EVIDENCE_INVALID,
            "Another message's receipt.",
            "另一报文的回执。",
        ),
        (
            "twice",
            [one.receipts[1], one.receipts[1]],
            Reason.EVIDENCE_INVALID,
            "The destination's receipt twice.",
            "目的地回执出现两次。",
        ),
        (
            "forged",
            [one.receipts[0], forged],
            Reason.RECEIPT_INVALID,
            "A receipt with a bit flipped.",
            "回执有一比特翻转。",
        ),
    ]
    for name, receipts, reason, what, what_zh in rows:
        octets = evidence(KEYS, [replace(one, receipts=receipts)], **LONE)
        yield refused(6, f"receipts-{name}", octets, what, what_zh, SETTLED, reason=reason)


def _subject_and_seal() -> Iterator[Case]:
    whole = story(KEYS)
    gap = [message(KEYS, number=number, sequence=number) for number in (1, 3)]
    rows: list[tuple[str, bytes, str, str]] = [
        (
            "other-case",
            evidence(KEYS, whole, subject_id=message_id(77)),
            "The messages are of another case.",
            "报文属于另一办件。",
        ),
        (
            "message-twice",
            evidence(KEYS, [*whole, whole[0]]),
            "A message twice.",
            "同一报文出现两次。",
        ),
        (
            "number-missing",
            evidence(KEYS, gap),
            "Number 2 of a sender is missing.",
            "缺某发送方的第 2 号。",
        ),
        (
            "number-twice",
            evidence(KEYS, [*whole, message(KEYS, number=8, sequence=1)]),
            "Two messages with one number.",
            "两份报文同号。",
        ),
        (
            "more-than-it",
            evidence(KEYS, [message(KEYS), message(KEYS, number=2)], **LONE),
            "A message beside the one the file is about.",
            "所述报文之外另有报文。",
        ),
    ]
    for name, octets, what, what_zh in rows:
        yield refused(7, f"subject-{name}", octets, what, what_zh, COMPLETE)
    kept = [record for record in pieces(ONE) if record.kind != PART]
    receipt_key = KEYS.find(KeyUse.RECEIPT, WUHAN)
    as_evidence = [
        replace(row, use=KeyUse.EVIDENCE) for row in KEYS.records if row.key.key_id == receipt_key
    ]
    late = registered(KeyUse.EVIDENCE, WUHAN, revoked_ms=NOW_MS)
    sealed: list[tuple[str, bytes, str, str]] = [
        (
            "part-taken-out",
            joined(kept),
            "A part was taken out after the file was sealed.",
            "签封之后抽走部件。",
        ),
        (
            "of-another-node",
            sealed_anew(pieces(FILE), KEYS, XIANGYANG),
            "Sealed by another node than the exporting one.",
            "由导出节点之外的节点签封。",
        ),
        (
            "by-receipt-key",
            sealed_anew(pieces(FILE), Keys(as_evidence, KEYS.secrets)),
            "Sealed with the node's key for receipts.",
            "用节点的回执密钥签封。",
        ),
        (
            "key-revoked",
            evidence(KEYS, whole, documents=directories(late)),
            "The sealing key was revoked before the export.",
            "签封密钥在导出之前吊销。",
        ),
        (
            "zero",
            joined(edited(SEAL, pieces(FILE)[-1].octets[:32] + bytes(64))),
            "A seal of zeros.",
            "签封全为零。",
        ),
    ]
    for name, octets, what, what_zh in sealed:
        yield refused(8, f"seal-{name}", octets, what, what_zh, WHOLE)
