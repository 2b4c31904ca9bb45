from __future__ import annotations

import pytest

from protocol.envelope import MessageReference
from protocol.errors import RefusedError
from protocol.frames import (
    AskFrame,
    BusyFrame,
    EnvelopeFrame,
    Frame,
    HeadFrame,
    HeldFrame,
    KeptFrame,
    NotHereFrame,
    PageFrame,
    PartFrame,
    Piece,
    RecalledFrame,
    RecallFrame,
    ReceiptFrame,
    WaitingFrame,
    WantedFrame,
    frame_size,
    read_frames,
    write_frames,
)
from protocol.limits import (
    HEAD_OCTETS,
    MAX_ENVELOPE_OCTETS,
    MAX_PIECE_OCTETS,
    MAX_POST_FRAMES,
    MAX_POST_OCTETS,
)
from protocol.reasons import Reason
from tests.messages import HUB, WUHAN, authority_of, message_id

REFERENCE = MessageReference(authority_of(WUHAN), message_id(1))
NAMED = authority_of(WUHAN).encode() + bytes.fromhex(message_id(1).replace("-", ""))
HEAD = b"TBH1".ljust(HEAD_OCTETS, b".")
FRAMES: dict[str, tuple[Frame, bytes]] = {
    "envelope": (EnvelopeFrame((WUHAN, HUB), b"<E>"), b"\1" + b"\x02420100420000<E>"),
    "part": (
        PartFrame(REFERENCE, "m1", 7, b"octets"),
        b"\2" + NAMED + b"\x02m1" + b"\0\0\0\0\0\0\0\7octets",
    ),
    "empty part": (PartFrame(REFERENCE, "m1", 0, b""), b"\2" + NAMED + b"\x02m1" + bytes(8)),
    "receipt": (ReceiptFrame(b"TBR1"), b"\3TBR1"),
    "ask": (AskFrame((WUHAN,), b"<E>"), b"\4" + b"\x01420100<E>"),
    "wanted": (WantedFrame(REFERENCE, "body", 9), b"\5" + NAMED + b"\x04body" + bytes(7) + b"\x09"),
    "waiting": (WaitingFrame(REFERENCE, 2), b"\6" + NAMED + b"\0\0\0\2"),
    "busy": (
        BusyFrame(REFERENCE, Reason.OVERLOADED, 1000),
        b"\7\1" + NAMED + b"\0\x66" + b"\0\0\3\xe8",
    ),
    "busy with the post": (
        BusyFrame(None, Reason.STORE_UNAVAILABLE, 0),
        b"\7\0" + b"\0\x67" + bytes(4),
    ),
    "not here": (NotHereFrame(REFERENCE, Reason.LOOP), b"\x08" + NAMED + b"\0\x41"),
    "kept": (KeptFrame(REFERENCE), b"\x0e" + NAMED),
    "head": (
        HeadFrame(HEAD, b"view", 5, (bytes(32), b"h" * 32)),
        b"\x09" + HEAD + b"\0\4view" + b"\0\0\0\0\0\0\0\5" + b"\2" + bytes(32) + b"h" * 32,
    ),
    "first head": (HeadFrame(HEAD, b"", 0, ()), b"\x09" + HEAD + bytes(2 + 8 + 1)),
    "held": (HeldFrame(HEAD), b"\x0a" + HEAD),
    "recall": (
        RecallFrame(2, 400, 7, b"there"),
        b"\x0c" + b"\0\0\0\2" + b"\0\0\0\0\0\0\1\x90" + b"\0\0\0\0\0\0\0\7" + b"\5there",
    ),
    "recalled": (
        RecalledFrame(b"<e/>", (b"one", b"more"), (Piece("m1", 9, b"scan"),), last=True),
        b"\x0d\1\2\0\3one\0\4more" + b"\0\0\0\4<e/>\2m1" + b"\0\0\0\0\0\0\0\x09" + b"\0\0\0\4scan",
    ),
    "page": (
        PageFrame(7, b"there", b"further"),
        b"\x0f" + b"\0\0\0\0\0\0\0\7" + b"\5there" + b"\7further",
    ),
}


def framed(body: bytes, length: int | None = None) -> bytes:
    """A frame of a type octet and its octets."""
    size = len(body) - 1 if length is None else length
    return body[:1] + size.to_bytes(4) + body[1:]


def refusal(octets: bytes) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        read_frames(octets)
    return caught.value


@pytest.mark.spec("FR-1")
@pytest.mark.parametrize(("frame", "body"), FRAMES.values(), ids=FRAMES)
def test_every_frame_octet_for_octet(frame: Frame, body: bytes) -> None:
    assert write_frames([frame]) == framed(body)
    assert read_frames(framed(body)) == [frame]
    assert frame_size(frame) == len(framed(body))


@pytest.mark.spec("FR-1")
def test_a_post_holds_its_frames_in_their_order() -> None:
    frames = [frame for frame, _ in FRAMES.values()]
    assert read_frames(write_frames(frames)) == frames
    assert read_frames(b"") == []


@pytest.mark.spec("EX-1")
@pytest.mark.parametrize(("frame", "body"), FRAMES.values(), ids=FRAMES)
def test_a_frame_cut_anywhere_is_refused(frame: Frame, body: bytes) -> None:
    octets = write_frames([frame])
    for length in range(1, len(octets)):
        assert refusal(octets[:length]).reason is Reason.FRAME_MALFORMED
    # Cut inside, with a length that fits: only those that end in octets or pieces may be shorter.
    opaque = {"envelope", "part", "receipt", "ask", "recalled"}
    fixed = len(body) if frame not in [FRAMES[name][0] for name in opaque] else 0
    for length in range(1, fixed):
        assert refusal(framed(body[:length])).reason is Reason.FRAME_MALFORMED


@pytest.mark.spec("EX-1")
@pytest.mark.parametrize(
    "name", ["wanted", "waiting", "busy", "busy with the post", "not here", "head", "held"]
)
def test_no_octet_may_follow_in_a_frame(name: str) -> None:
    caught = refusal(framed(FRAMES[name][1] + b"\0"))
    assert caught.reason is Reason.FRAME_MALFORMED
    assert "trailing" in caught.detail


@pytest.mark.spec("EX-1", "FR-1", "TR-9", "TR-10", "VR-2")
@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"\0", "type 0"),
        (b"\x0b", "type 11"),
        (b"\xff", "type 255"),
        (b"\1\0<E>", "path of 0"),
        (b"\1\5" + b"420100" * 5, "path of 5"),
        (b"\1\1" + b"02010x<E>", "not a node"),
        (b"\1\1" + b"\xff20100<E>", "ascii"),
        (b"\4\1" + b"42010", "cut short"),
        (b"\7\2" + NAMED + b"\0\x66" + bytes(4), "flag"),
        (b"\7\0" + b"\0\0" + bytes(4), "reason"),
        (b"\7\0" + b"\xff\xff" + bytes(4), "reason"),
        # A final reason travels in a signed refusal or not at all.
        (b"\7\0" + b"\0\x10" + bytes(4), "reason"),
        (b"\x08" + NAMED + b"\0\x10", "reason"),
        (b"\6" + b"I" * 18 + NAMED[18:] + bytes(4), "reference"),
        (b"\6" + b"\xff" * 18 + NAMED[18:] + bytes(4), "ascii"),
        (b"\6" + NAMED[:18] + bytes(16) + bytes(4), "reference"),
        (b"\5" + NAMED + b"\xffbody" + bytes(8), "cut short"),
        (b"\5" + NAMED + b"\4b\xffdy" + bytes(8), "ascii"),
        (b"\x09" + HEAD + b"\x40\1" + bytes(0x4001 + 9), "a view of 16385 octets"),
        (b"\x09" + HEAD + bytes(2 + 8) + b"\x32" + bytes(50 * 32), "50 hashes"),
        (b"\x0a" + HEAD[:-1], "cut short"),
        (b"\5" + NAMED + b"\0" + bytes(8), "part id"),
        (b"\2" + NAMED + b"\5../m1" + bytes(8), "part id"),
        (b"\2" + NAMED + b"\x21" + b"m" * 33 + bytes(8), "part id"),
    ],
)
def test_a_malformed_frame_is_refused_by_its_place_and_fault(body: bytes, named: str) -> None:
    caught = refusal(framed(FRAMES["waiting"][1]) + framed(body))
    assert caught.reason is Reason.FRAME_MALFORMED
    assert "frame 1" in caught.detail
    assert named in caught.detail


@pytest.mark.spec("EX-1")
def test_a_length_is_not_believed() -> None:
    caught = refusal(framed(b"\3TBR1", length=0xFFFFFFFF))
    assert caught.reason is Reason.FRAME_MALFORMED


@pytest.mark.spec("LI-5")
def test_a_post_has_its_bounds() -> None:
    most = write_frames([WaitingFrame(REFERENCE, 1)] * MAX_POST_FRAMES)
    assert len(read_frames(most)) == MAX_POST_FRAMES
    assert refusal(most + framed(FRAMES["waiting"][1])).reason is Reason.TOO_LARGE
    # Two frames that fill a post to the last octet, and one octet more.
    filler = framed(b"\1\x01420100" + bytes(MAX_POST_OCTETS - 17))
    assert len(read_frames(filler + framed(b"\3"))) == 2
    assert refusal(filler + framed(b"\3x")).reason is Reason.TOO_LARGE


@pytest.mark.spec("LI-7")
@pytest.mark.parametrize(
    ("frame", "limit"),
    [
        (PartFrame(REFERENCE, "m1", 0, b"x" * (MAX_PIECE_OCTETS + 1)), "1048576"),
        (AskFrame((WUHAN,), b"x" * (MAX_ENVELOPE_OCTETS + 1)), "65536"),
        (ReceiptFrame(b"x" * (MAX_ENVELOPE_OCTETS + 1)), "65536"),
    ],
)
def test_a_frame_has_its_bound(frame: Frame, limit: str) -> None:
    caught = refusal(write_frames([frame]))
    assert caught.reason is Reason.FRAME_MALFORMED
    assert limit in caught.detail


def test_a_frame_may_be_as_large_as_its_bound() -> None:
    full: list[Frame] = [
        PartFrame(REFERENCE, "m1", 0, bytes(MAX_PIECE_OCTETS)),
        AskFrame((WUHAN,), bytes(MAX_ENVELOPE_OCTETS)),
    ]
    assert read_frames(write_frames(full)) == full


def test_an_envelope_over_its_bound_is_read_so_that_it_can_be_refused_by_a_receipt() -> None:
    large = EnvelopeFrame((WUHAN,), b"x" * (MAX_ENVELOPE_OCTETS + 1))
    assert read_frames(write_frames([large])) == [large]
