"""Frames: how messages, parts, receipts and questions are packed into one post or its answer.

A post is a sequence of frames: ``u8 type | u32 length | octets``, integers big-endian. Strings
inside a frame are ``u8 length | ASCII``; node ids are 6, authorities 18, message ids 16 octets.

    ====  =========  ========================================================================
    type  name       octets
    ====  =========  ========================================================================
    1     envelope   u8 n | n node ids (the path so far, origin first) | envelope octets
    2     part       reference | part id | u64 offset | octets
    3     receipt    receipt octets
    4     ask        like envelope: "what became of this?", without its parts
    5     wanted     reference | part id | u64 offset       send this part from here
    6     waiting    reference | u32 expected sequence      a gap: send the earlier one first
    7     busy       u8 has reference | reference? | u16 reason | u32 after (ms)
    8     not-here   reference | u16 reason                 this way does not lead there
    9     head       head (193) | u16 n | view of the directories (n) |
                     u64 first | u8 k | k hashes (32 each)         this is my log (LG-7)
    10    held       head (193)                     the last head of yours that I hold (LG-11)
    12    recall     u32 incarnation | u64 size | u64 since | u8 n | cursor (n)
                                                    hand me again what concerns me (RV-6)
    13    recalled   u8 last | u8 k | k times (u16 length | receipt) | u32 length | envelope |
                     pieces: (part id | u64 offset | u32 length | octets) …      one message of it
    14    kept       reference                      the receipt you passed on is on disk here
    15    page       u64 since | u8 n | cursor (n) | u8 m | next cursor (m)     end of one answer
    ====  =========  ========================================================================

The first four and `receipt` present something; the others answer what was presented. Both may stand
in a post and in its answer: a post may also answer what the last answer handed out, and an answer
may also hand out what waits for the caller, if the caller asked for it (EX-20, PU-1). A `head` is
shown with the growth since a head the peer holds: the log had `first` leaves then, and the hashes
are the proof that it grew into this one (RFC 9162 §2.1.4); `first` is 0 if the peer holds none.
Type 11 is reserved for asking for such a proof.

A node that has lost what it knew recalls it, page by page (RV-6). A cursor is whatever the
answering node makes of it; the first is empty, and an empty next one says that this was all.

An `ask` carries the signed envelope itself rather than an id and a digest: only then can the
destination see for itself that the message has expired before it stores a tombstone
(docs/decisions).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from protocol.envelope import MessageReference
from protocol.errors import RefusedError
from protocol.identifiers import is_part_id, is_region, is_uscc, is_uuid7, uuid_octets, uuid_text
from protocol.limits import (
    HEAD_OCTETS,
    MAX_ENVELOPE_OCTETS,
    MAX_HOPS,
    MAX_PARTS,
    MAX_PIECE_OCTETS,
    MAX_POST_FRAMES,
    MAX_POST_OCTETS,
    MAX_PROOF_HASHES,
    MAX_RECALLED_RECEIPTS,
    MAX_VIEW_OCTETS,
)
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MEDIA_TYPE: Final = "application/vnd.tongban.frames"

_HEAD: Final = struct.Struct(">BI")
_U64: Final = struct.Struct(">Q")
_U32: Final = struct.Struct(">I")
_U16: Final = struct.Struct(">H")
_REFERENCE: Final = struct.Struct("18s16s")
_NODE_OCTETS: Final = 6
_HASH_OCTETS: Final = 32


@dataclass(frozen=True, slots=True)
class EnvelopeFrame:
    """A signed envelope and the nodes it has passed, origin first."""

    path: tuple[str, ...]
    octets: bytes


@dataclass(frozen=True, slots=True)
class PartFrame:
    """Octets of one part of a message from an offset on: a small part whole, a large in pieces."""

    reference: MessageReference
    part_id: str
    offset: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class ReceiptFrame:
    """A receipt in its fixed layout."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class AskFrame:
    """What became of this message? Path as in `EnvelopeFrame`."""

    path: tuple[str, ...]
    octets: bytes


@dataclass(frozen=True, slots=True)
class WantedFrame:
    """Send this part from this offset."""

    reference: MessageReference
    part_id: str
    offset: int


@dataclass(frozen=True, slots=True)
class WaitingFrame:
    """An earlier sequence number is missing: this one is expected first."""

    reference: MessageReference
    expected: int


@dataclass(frozen=True, slots=True)
class BusyFrame:
    """Not now, for a transient reason; about one message, or about the whole post."""

    reference: MessageReference | None
    reason: Reason
    after_ms: int


@dataclass(frozen=True, slots=True)
class NotHereFrame:
    """This node neither serves nor reaches the destination on this path: a path failure."""

    reference: MessageReference
    reason: Reason


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """The receipt about this message that the peer passed on is on disk here (EX-21)."""

    reference: MessageReference


@dataclass(frozen=True, slots=True)
class HeadFrame:
    """The head of the sender's evidence log, and how it grew.

    Attributes:
        octets: The head, 193 octets (`signing.log`).
        view: What its node holds of the directories (DI-13), at most 16 KiB; the head signs its
            digest.
        first: Leaves in the tree it is shown to have grown from.
        path: The proof of that; empty if `first` is 0.
    """

    octets: bytes
    view: bytes
    first: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class HeldFrame:
    """The last head of the peer's log that the sender holds."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class RecallFrame:
    """Hand me again what concerns me (RV-6).

    Attributes:
        incarnation, size: The asker's log as it is now.
        since_ms: Of what was recorded or settled from this instant on, milliseconds since 1970 UTC.
        cursor: Where the last page ended, as its end said; empty at first.
    """

    incarnation: int
    size: int
    since_ms: int
    cursor: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """Octets of a part from an offset on."""

    part_id: str
    offset: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class RecalledFrame:
    """One recalled message, or more of its parts.

    Attributes:
        octets: The envelope.
        receipts: About it: the destination's, and those of the node that recalls.
        pieces: Of its parts.
        last: There is no more of this message.
    """

    octets: bytes
    receipts: tuple[bytes, ...]
    pieces: tuple[Piece, ...]
    last: bool


@dataclass(frozen=True, slots=True)
class PageFrame:
    """The end of one answer to a recall.

    Attributes:
        since_ms, cursor: What was asked.
        following: The cursor of the next page; empty if this was all.
    """

    since_ms: int
    cursor: bytes
    following: bytes


Frame: TypeAlias = (
    EnvelopeFrame
    | PartFrame
    | ReceiptFrame
    | AskFrame
    | WantedFrame
    | WaitingFrame
    | BusyFrame
    | NotHereFrame
    | KeptFrame
    | HeadFrame
    | HeldFrame
    | RecallFrame
    | RecalledFrame
    | PageFrame
)


def write_frames(frames: Iterable[Frame]) -> bytes:
    """The octets of a post or an answer."""
    pieces: list[bytes] = []
    for frame in frames:
        number, fields, octets = _write(frame)
        pieces += (_HEAD.pack(number, len(fields) + len(octets)), fields, octets)
    return b"".join(pieces)


def frame_size(frame: Frame) -> int:
    """Octets this frame takes in a post."""
    _, fields, octets = _write(frame)
    return _HEAD.size + len(fields) + len(octets)


def _write(frame: Frame) -> tuple[int, bytes, bytes]:  # noqa: C901, PLR0912 - one case for each type
    """Its type, its fields, and the octets it carries, which may be many: not copied here."""
    octets = b""
    match frame:
        case EnvelopeFrame(path, octets):
            number, fields = 1, _write_path(path)
        case PartFrame(reference, part_id, offset, octets):
            place = _write_text(part_id) + _U64.pack(offset)
            number, fields = 2, _write_reference(reference) + place
        case ReceiptFrame(octets):
            number, fields = 3, b""
        case AskFrame(path, octets):
            number, fields = 4, _write_path(path)
        case WantedFrame(reference, part_id, offset):
            place = _write_text(part_id) + _U64.pack(offset)
            number, fields = 5, _write_reference(reference) + place
        case WaitingFrame(reference, expected):
            number, fields = 6, _write_reference(reference) + _U32.pack(expected)
        case BusyFrame(reference, reason, after_ms):
            about = b"\x00" if reference is None else b"\x01" + _write_reference(reference)
            number, fields = 7, about + _U16.pack(reason.number) + _U32.pack(after_ms)
        case NotHereFrame(reference, reason):
            number, fields = 8, _write_reference(reference) + _U16.pack(reason.number)
        case KeptFrame(reference):
            number, fields = 14, _write_reference(reference)
        case HeadFrame(octets, view, first, path):
            growth = _U64.pack(first) + bytes([len(path)]) + b"".join(path)
            number, fields = 9, octets + _U16.pack(len(view)) + view + growth
            octets = b""
        case HeldFrame(octets):
            number, fields = 10, b""
        case RecallFrame(incarnation, size, since_ms, cursor):
            log = _U32.pack(incarnation) + _U64.pack(size)
            number, fields = 12, log + _U64.pack(since_ms) + _write_cursor(cursor)
        case RecalledFrame():
            number, fields = 13, _write_recalled(frame)
        case PageFrame(since_ms, cursor, following):
            cursors = _write_cursor(cursor) + _write_cursor(following)
            number, fields = 15, _U64.pack(since_ms) + cursors
        case _:  # pragma: no cover
            assert_never(frame)
    return number, fields, octets


def _write_cursor(cursor: bytes) -> bytes:
    return bytes([len(cursor)]) + cursor


def _write_recalled(frame: RecalledFrame) -> bytes:
    written = [bytes([frame.last, len(frame.receipts)])]
    for receipt in frame.receipts:
        written += (_U16.pack(len(receipt)), receipt)
    written += (_U32.pack(len(frame.octets)), frame.octets)
    for piece in frame.pieces:
        length = _U32.pack(len(piece.octets))
        written += (_write_text(piece.part_id), _U64.pack(piece.offset), length, piece.octets)
    return b"".join(written)


def _write_path(path: tuple[str, ...]) -> bytes:
    return bytes([len(path)]) + "".join(path).encode("ascii")


def _write_reference(reference: MessageReference) -> bytes:
    return _REFERENCE.pack(reference.authority.encode("ascii"), uuid_octets(reference.message_id))


def _write_text(text: str) -> bytes:
    octets = text.encode("ascii")
    return bytes([len(octets)]) + octets


def read_frames(octets: bytes) -> list[Frame]:
    """Read a whole post or answer.

    Raises:
        RefusedError: FRAME_MALFORMED or TOO_LARGE, naming the frame by its place.
    """
    if len(octets) > MAX_POST_OCTETS:
        raise RefusedError(Reason.TOO_LARGE, f"post of {len(octets)} octets")
    frames: list[Frame] = []
    for index, (number, body) in enumerate(_split(octets)):
        if index >= MAX_POST_FRAMES:
            raise RefusedError(Reason.TOO_LARGE, f"more than {MAX_POST_FRAMES} frames")
        try:
            frames.append(_read(number, _Cursor(body)))
        except (ValueError, struct.error) as error:
            raise RefusedError(Reason.FRAME_MALFORMED, f"frame {index}: {error}") from error
    return frames


def _split(octets: bytes) -> Iterator[tuple[int, memoryview]]:
    view, place = memoryview(octets), 0
    while place < len(octets):
        if place + _HEAD.size > len(octets):
            raise RefusedError(Reason.FRAME_MALFORMED, f"cut short at octet {place}")
        number, length = _HEAD.unpack_from(octets, place)
        place += _HEAD.size
        if place + length > len(octets):
            raise RefusedError(Reason.FRAME_MALFORMED, f"cut short in the frame at octet {place}")
        yield number, view[place : place + length]
        place += length


class _Cursor:
    """Reads one frame's octets from front to back; every reader raises ValueError."""

    def __init__(self, octets: memoryview) -> None:
        self._octets = octets
        self._place = 0

    def take(self, length: int) -> bytes:
        piece = self._octets[self._place : self._place + length]
        if len(piece) != length:
            message = "cut short"
            raise ValueError(message)
        self._place += length
        return bytes(piece)

    def number(self, form: struct.Struct) -> int:
        return int(form.unpack(self.take(form.size))[0])

    def rest(self, limit: int) -> bytes:
        piece = self._octets[self._place :]
        if len(piece) > limit:
            message = f"{len(piece)} octets, at most {limit}"
            raise ValueError(message)
        self._place = len(self._octets)
        return bytes(piece)

    def end(self) -> None:
        if self._place != len(self._octets):
            message = "trailing octets"
            raise ValueError(message)

    def reference(self) -> MessageReference:
        authority_octets, id_octets = _REFERENCE.unpack(self.take(_REFERENCE.size))
        authority, message_id = authority_octets.decode("ascii"), uuid_text(id_octets)
        if not (is_uscc(authority) and is_uuid7(message_id)):
            message = "not a message reference"
            raise ValueError(message)
        return MessageReference(authority, message_id)

    def flag(self) -> bool:
        octet = self.take(1)[0]
        if octet > 1:
            message = "flag is neither 0 nor 1"
            raise ValueError(message)
        return octet == 1

    def part_id(self) -> str:
        text = self.take(self.take(1)[0]).decode("ascii")
        if not is_part_id(text):
            message = "not a part id"
            raise ValueError(message)
        return text

    def path(self) -> tuple[str, ...]:
        count = self.take(1)[0]
        if not 1 <= count <= MAX_HOPS:
            message = f"path of {count} nodes"
            raise ValueError(message)
        path = tuple(self.take(_NODE_OCTETS).decode("ascii") for _ in range(count))
        if not all(is_region(node) for node in path):
            message = "path names something that is not a node"
            raise ValueError(message)
        return path

    def view(self) -> bytes:
        length = self.number(_U16)
        if length > MAX_VIEW_OCTETS:
            message = f"a view of {length} octets, at most {MAX_VIEW_OCTETS}"
            raise ValueError(message)
        return self.take(length)

    def hashes(self) -> tuple[bytes, ...]:
        count = self.take(1)[0]
        if count > MAX_PROOF_HASHES:
            message = f"{count} hashes, at most {MAX_PROOF_HASHES}"
            raise ValueError(message)
        return tuple(self.take(_HASH_OCTETS) for _ in range(count))

    def cursor(self) -> bytes:
        return self.take(self.take(1)[0])

    def recalled(self) -> RecalledFrame:
        last, count = self.flag(), self.take(1)[0]
        if count > MAX_RECALLED_RECEIPTS:
            message = f"{count} receipts, at most {MAX_RECALLED_RECEIPTS}"
            raise ValueError(message)
        receipts = tuple(self.take(self.number(_U16)) for _ in range(count))
        octets = self.take(self.limited(MAX_ENVELOPE_OCTETS))
        pieces: list[Piece] = []
        while self._place < len(self._octets):
            if len(pieces) == MAX_PARTS:
                message = f"more than {MAX_PARTS} pieces"
                raise ValueError(message)
            part_id, offset = self.part_id(), self.number(_U64)
            pieces.append(Piece(part_id, offset, self.take(self.limited(MAX_PIECE_OCTETS))))
        return RecalledFrame(octets, receipts, tuple(pieces), last)

    def limited(self, limit: int) -> int:
        length = self.number(_U32)
        if length > limit:
            message = f"{length} octets, at most {limit}"
            raise ValueError(message)
        return length

    def reason(self) -> Reason:
        reason = Reason.from_number(self.number(_U16))
        if reason is None or reason.final:
            message = "not a transient reason on the list"
            raise ValueError(message)
        return reason


def _read(number: int, cursor: _Cursor) -> Frame:  # noqa: C901, PLR0912 - one case for each type
    frame: Frame
    match number:
        case 1:
            frame = EnvelopeFrame(cursor.path(), cursor.rest(MAX_POST_OCTETS))
        case 2:
            frame = PartFrame(
                cursor.reference(),
                cursor.part_id(),
                cursor.number(_U64),
                cursor.rest(MAX_PIECE_OCTETS),
            )
        case 3:
            frame = ReceiptFrame(cursor.rest(MAX_ENVELOPE_OCTETS))
        case 4:
            frame = AskFrame(cursor.path(), cursor.rest(MAX_ENVELOPE_OCTETS))
        case 5:
            frame = WantedFrame(cursor.reference(), cursor.part_id(), cursor.number(_U64))
        case 6:
            frame = WaitingFrame(cursor.reference(), cursor.number(_U32))
        case 7:
            reference = cursor.reference() if cursor.flag() else None
            frame = BusyFrame(reference, cursor.reason(), cursor.number(_U32))
        case 8:
            frame = NotHereFrame(cursor.reference(), cursor.reason())
        case 9:
            frame = HeadFrame(
                cursor.take(HEAD_OCTETS), cursor.view(), cursor.number(_U64), cursor.hashes()
            )
        case 10:
            frame = HeldFrame(cursor.take(HEAD_OCTETS))
        case 12:
            log = cursor.number(_U32), cursor.number(_U64)
            frame = RecallFrame(*log, cursor.number(_U64), cursor.cursor())
        case 13:
            frame = cursor.recalled()
        case 15:
            frame = PageFrame(cursor.number(_U64), cursor.cursor(), cursor.cursor())
        case 14:
            frame = KeptFrame(cursor.reference())
        case _:
            message = f"type {number} is unknown"
            raise ValueError(message)
    cursor.end()
    return frame
