"""Group exchange: parts that are missing, damaged, of another message, or large (PA, UP)."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Final

from protocol.frames import EnvelopeFrame, PartFrame
from protocol.limits import MAX_INLINE_PART_OCTETS
from protocol.reasons import Reason
from tests.sim.craft import Message, Signed
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG
from tools.vectors.exchange_story import Story, busy, receipt, row, signed, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protocol.frames import Frame
    from tools.vectors.cases import Case, Json

NEVER: Final = "An authentic envelope must not be ended by whoever carried, or damaged, a part."
RESUMED: Final = "A gigabyte must not begin anew whenever a connection breaks."
SCAN: Final = b"%PDF-1.7 scan"
LARGE: Final = random.Random(1).randbytes(70_000)  # noqa: S311 - any octets
HALF: Final = 40_000


def cases() -> Iterator[Case]:
    """Every case of the file."""
    yield from _small()
    yield from _large()


def _frames(message: Signed, **parts: bytes) -> list[Frame]:
    """The envelope with these parts only."""
    return [
        EnvelopeFrame(message.path, message.octets),
        *(PartFrame(message.reference, name, 0, octets) for name, octets in parts.items()),
    ]


def _small() -> Iterator[Case]:
    one = signed(Message(WUHAN, EZHOU, files={"m1": SCAN}))
    two = signed(Message(WUHAN, EZHOU, number=2))
    body = one.parts["body"]
    got, held = receipt("received", EZHOU, one), row("in", one, "received")
    others = PartFrame(two.reference, "m1", 0, SCAN)
    mismatch, surplus = Reason.PART_MISMATCH, Reason.PART_UNEXPECTED
    rows: list[tuple[str, Sequence[Frame], Json, str, str, str, Reason | None]] = [
        (
            "body-missing",
            _frames(one, m1=SCAN),
            wanted(one, "body"),
            "PA-1 EX-39",
            "The body did not come",
            "正文未到",
            None,
        ),
        (
            "material-missing",
            _frames(one, body=body),
            wanted(one, "m1"),
            "PA-1 EX-39",
            "A material did not come",
            "材料未到",
            None,
        ),
        (
            "body-damaged",
            _frames(one, body=body[:-1] + b" ", m1=SCAN),
            busy(one, mismatch),
            "PA-2 PA-4 EX-39",
            "The body has a bit flipped on its way",
            "正文途中损坏",
            mismatch,
        ),
        (
            "material-damaged",
            _frames(one, body=body, m1=SCAN[::-1]),
            busy(one, mismatch),
            "PA-2 PA-4 EX-39",
            "A material of the right size and another digest",
            "材料大小相符而摘要不符",
            mismatch,
        ),
        (
            "material-cut",
            _frames(one, body=body, m1=SCAN[:-1]),
            busy(one, mismatch),
            "PA-2 PA-4 EX-39",
            "A material without its last octet",
            "材料缺最后一字节",
            mismatch,
        ),
        (
            "part-not-listed",
            _frames(one, body=body, m1=SCAN, m2=b"more"),
            busy(one, surplus),
            "PA-3 EX-39",
            "A part too many",
            "多出一个部件",
            surplus,
        ),
        (
            "part-of-another-message",
            [*_frames(one, body=body), others],
            busy(one, surplus),
            "PA-3 EX-39",
            "A part that names another message",
            "部件属另一报文",
            surplus,
        ),
        (
            "small-part-twice",
            [*_frames(one, body=body, m1=SCAN), PartFrame(one.reference, "m1", 0, SCAN)],
            busy(one, surplus),
            "PA-3 EX-39",
            "A small part in two frames",
            "小部件分两帧到达",
            surplus,
        ),
        (
            "small-part-from-the-middle",
            [*_frames(one, body=body), PartFrame(one.reference, "m1", 4, SCAN[4:])],
            busy(one, surplus),
            "PA-3 EX-39",
            "A small part that does not begin at its beginning",
            "小部件未从头开始",
            surplus,
        ),
    ]
    for name, given, answer, clause, what, what_zh, reason in rows:
        yield (
            Story(EZHOU)
            .post(WUHAN, given, answer)
            .post(WUHAN, one.frames(), got)
            .case(
                name,
                f"{what}: no receipt, nothing kept; then the message comes whole.",
                f"{what_zh}：不出回执，不留痕；随后完整报文照常签收。",
                NEVER,
                clause,
                held,
                reason=reason,
            )
        )
    yield from _too_large()
    there = signed(Message(WUHAN, XIANGYANG))
    yield (
        Story(HUB)
        .post(WUHAN, _frames(there, body=b"<damaged></damaged>"), busy(there, mismatch))
        .post(WUHAN, there.frames(), receipt("custody", HUB, there))
        .case(
            "damaged-at-a-hub",
            "A hub does not take a message in custody with a damaged part, nor refuse it.",
            "枢纽不托管部件损坏的报文，也不拒收。",
            NEVER,
            "PA-2 EX-41",
            row("transit", there, "queued"),
            reason=mismatch,
        )
    )


def _too_large() -> Iterator[Case]:
    why = "What one node takes and another does not would be stuck between them for ever."
    here, there = (
        signed(Message(WUHAN, to, files={"body": b" " * (MAX_INLINE_PART_OCTETS + 1)}))
        for to in (EZHOU, XIANGYANG)
    )
    large = Reason.TOO_LARGE
    yield (
        Story(EZHOU)
        .post(WUHAN, _frames(here), receipt("refused", EZHOU, here, large))
        .case(
            "body-too-large",
            "The manifest states a body of one octet more than the limit: refused and recorded,"
            " without the body.",
            "清单所列正文超过上限一字节：不待正文即拒收并记录。",
            why,
            "LI-2 EX-32 EX-33",
            row("in", here, "refused", large),
            reason=large,
        )
    )
    yield (
        Story(HUB)
        .post(WUHAN, _frames(there), receipt("refused", HUB, there, large))
        .case(
            "body-too-large-for-a-hub",
            "The same at a hub: refused, and nothing recorded.",
            "同上，在枢纽处：拒收，不记录。",
            why,
            "LI-2 RC-15",
            reason=large,
        )
    )


def _large() -> Iterator[Case]:
    one = signed(Message(WUHAN, EZHOU, files={"m1": LARGE}))
    small = dataclasses.replace(one, parts={"body": one.parts["body"]})
    bare = EnvelopeFrame(one.path, one.octets)

    def piece(begin: int, end: int | None = None, octets: bytes = LARGE) -> PartFrame:
        return PartFrame(one.reference, "m1", begin, octets[begin:end])

    got, held = receipt("received", EZHOU, one), row("in", one, "received")
    begun = Story(EZHOU).post(WUHAN, small.frames(), wanted(one, "m1"))
    yield (
        begun.post(WUHAN, [bare, piece(0, HALF)], wanted(one, "m1", HALF))
        .post(WUHAN, [bare, piece(0, HALF)], wanted(one, "m1", HALF))
        .post(WUHAN, [*small.frames(), piece(HALF)], got)
        .case(
            "large-part",
            "A large part: the envelope, then a piece, the same piece again, and the rest.",
            "大部件：先信封，再一段，同段重来，再其余。",
            RESUMED,
            "UP-1 UP-4",
            held,
        )
    )
    yield (
        Story(EZHOU)
        .post(WUHAN, [*small.frames(), piece(0, HALF)], wanted(one, "m1"))
        .post(WUHAN, [*small.frames(), piece(0)], got)
        .case(
            "large-part-unasked",
            "A piece that comes before anybody asked for it is passed over.",
            "未经索取而来的分段不予采用。",
            "Whoever may send what nobody asked for fills everybody's disk.",
            "UP-1",
            held,
        )
    )
    no = Reason.PART_UNEXPECTED
    outside = PartFrame(one.reference, "m1", HALF, bytes(HALF))
    for name, frame, what, what_zh in (
        ("outside", outside, "A piece that reaches beyond its part.", "分段超出部件之外。"),
        ("empty", piece(0, 0), "A piece without octets.", "分段为空。"),
    ):
        yield (
            Story(EZHOU)
            .post(WUHAN, small.frames(), wanted(one, "m1"))
            .post(WUHAN, [bare, frame], busy(one, no))
            .post(WUHAN, [*small.frames(), piece(0)], got)
            .case(
                f"large-part-{name}",
                what,
                what_zh,
                RESUMED,
                "UP-5",
                held,
                reason=no,
            )
        )
    damaged = LARGE[:-1] + bytes([LARGE[-1] ^ 1])
    yield (
        Story(EZHOU)
        .post(WUHAN, small.frames(), wanted(one, "m1"))
        .post(WUHAN, [*small.frames(), piece(0, None, damaged)], wanted(one, "m1"))
        .post(WUHAN, [*small.frames(), piece(0)], got)
        .case(
            "large-part-damaged",
            "A large part comes whole and is not the one listed: it is wanted anew.",
            "大部件收齐而摘要不符：重新索取。",
            NEVER,
            "UP-6 PA-2",
            held,
        )
    )
