"""Group frames: posts and answers, octet for octet; the layouts are written out here once more."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from protocol.identifiers import uuid_octets
from protocol.limits import MAX_POST_FRAMES
from protocol.reasons import Reason
from tests.messages import HUB, SCAN, WUHAN, authority_of, message_id
from tools.vectors.cases import Case
from tools.vectors.samples import GOOD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Json

AUTHORITY: Final = authority_of(WUHAN)
REFERENCE: Final = AUTHORITY.encode() + uuid_octets(message_id(1))
BODY_ID: Final = b"\x04body"
NAMED: Final[Json] = {"authority": AUTHORITY, "messageId": message_id(1)}

CUT: Final = "A length that reaches past the end, or not to it, lets two readers see two posts."
STRICT: Final = "A frame that may hold more than its fields may hold what another reader acts on."
FORMS: Final = "What names a node, a message or a part has one form here as everywhere."
PASSING: Final = (
    "What is final is said by a signed receipt only; an unsigned frame must not end a message."
)


def frame(number: int, octets: bytes, length: int | None = None) -> bytes:
    """One frame; its length may lie."""
    return struct.pack(">BI", number, len(octets) if length is None else length) + octets


def path(*nodes: str) -> bytes:
    """The nodes a message has passed."""
    return bytes([len(nodes)]) + "".join(nodes).encode()


def cases() -> Iterator[Case]:
    """Every case of the group."""
    yield from _good()
    yield from _cut()
    yield from _fields()


def _good() -> Iterator[Case]:
    envelope = GOOD.encode()
    clock_skew = Reason.CLOCK_SKEW.number
    rows: list[tuple[str, bytes, str, str, list[Json]]] = [
        ("empty", b"", "A post of no frames: a probe.", "没有帧的投递：探测。", []),
        (
            "envelope",
            frame(1, path(WUHAN) + envelope),
            "An envelope from its origin.",
            "始发节点送来的信封。",
            [{"frame": "envelope", "path": [WUHAN], "octets": envelope.hex()}],
        ),
        (
            "envelope-forwarded",
            frame(1, path(WUHAN, HUB, "430000", "430600") + b"<a></a>"),
            "An envelope after three hops; what is inside is not looked at here.",
            "经三次转送的信封；此处不看其内容。",
            [
                {
                    "frame": "envelope",
                    "path": [WUHAN, HUB, "430000", "430600"],
                    "octets": b"<a></a>".hex(),
                }
            ],
        ),
        (
            "part",
            frame(2, REFERENCE + b"\x02m1" + struct.pack(">Q", 0) + SCAN),
            "A part from its beginning.",
            "自起始处的部件。",
            [
                {
                    "frame": "part",
                    "reference": NAMED,
                    "partId": "m1",
                    "offset": 0,
                    "octets": SCAN.hex(),
                }
            ],
        ),
        (
            "part-later",
            frame(2, REFERENCE + b"\x02m1" + struct.pack(">Q", 2**40) + b"\0"),
            "A piece of a part from 1 TiB on.",
            "自 1 TiB 处起的部件片段。",
            [
                {
                    "frame": "part",
                    "reference": NAMED,
                    "partId": "m1",
                    "offset": 2**40,
                    "octets": "00",
                }
            ],
        ),
        (
            "receipt",
            frame(3, b"TBR1"),
            "A receipt; its layout is looked at elsewhere.",
            "回执；其版式另行检查。",
            [{"frame": "receipt", "octets": b"TBR1".hex()}],
        ),
        (
            "ask",
            frame(4, path(WUHAN, HUB) + envelope),
            "A question: what became of this message?",
            "询问：这份报文怎样了？",
            [{"frame": "ask", "path": [WUHAN, HUB], "octets": envelope.hex()}],
        ),
        (
            "wanted",
            frame(5, REFERENCE + BODY_ID + struct.pack(">Q", 7)),
            "The body is wanted from octet 7 on.",
            "需要正文，自第 7 字节起。",
            [{"frame": "wanted", "reference": NAMED, "partId": "body", "offset": 7}],
        ),
        (
            "waiting",
            frame(6, REFERENCE + struct.pack(">I", 2)),
            "Number 2 is expected first.",
            "须先送第 2 号。",
            [{"frame": "waiting", "reference": NAMED, "expected": 2}],
        ),
        (
            "busy",
            frame(7, b"\0" + struct.pack(">HI", 102, 2**32 - 1)),
            "Busy with everything, for 49 days.",
            "一概暂忙，49 天。",
            [{"frame": "busy", "reference": None, "reason": "overloaded", "afterMs": 2**32 - 1}],
        ),
        (
            "busy-about",
            frame(7, b"\1" + REFERENCE + struct.pack(">HI", clock_skew, 0)),
            "Busy with one message.",
            "对某份报文暂忙。",
            [{"frame": "busy", "reference": NAMED, "reason": "clock-skew", "afterMs": 0}],
        ),
        (
            "not-here",
            frame(8, REFERENCE + struct.pack(">H", Reason.LOOP.number)),
            "The path already contains this node.",
            "路径成环。",
            [{"frame": "not-here", "reference": NAMED, "reason": "loop"}],
        ),
        (
            "kept",
            frame(14, REFERENCE),
            "A receipt passed on is on disk.",
            "所转回执已落盘。",
            [{"frame": "kept", "reference": NAMED}],
        ),
        (
            "several",
            frame(3, b"a") + frame(6, REFERENCE + struct.pack(">I", 3)) + frame(3, b""),
            "Three frames one after the other, the last of them empty.",
            "三个帧相继，最后一个为空。",
            [
                {"frame": "receipt", "octets": "61"},
                {"frame": "waiting", "reference": NAMED, "expected": 3},
                {"frame": "receipt", "octets": ""},
            ],
        ),
    ]
    for name, octets, what, what_zh, read in rows:
        yield Case(
            "frames",
            name,
            what,
            what_zh,
            "Shows every field of the layout.",
            "FR-1",
            {"frames.bin": octets},
            result={"frames": read},
        )


def _cut() -> Iterator[Case]:
    waiting = frame(6, REFERENCE + struct.pack(">I", 2))
    rows = [
        ("cut-in-head", waiting[:4], "A head of four octets.", "帧头只有四字节。", CUT),
        ("cut-in-frame", waiting[:-1], "The last octet is missing.", "缺最后一字节。", CUT),
        (
            "length-longer",
            frame(6, waiting[5:], 39),
            "A length one octet too long.",
            "长度多一字节。",
            CUT,
        ),
        (
            "length-shorter",
            frame(6, waiting[5:], 37),
            "A length one octet too short.",
            "长度少一字节。",
            CUT,
        ),
        (
            "length-largest",
            frame(3, b"", 2**32 - 1),
            "A frame of 4 GiB of which nothing came.",
            "自称 4 GiB 而空无一物的帧。",
            CUT,
        ),
        (
            "octet-after",
            waiting + b"\0",
            "An octet after the last frame.",
            "最后一帧之后多一字节。",
            CUT,
        ),
        ("type-0", frame(0, b""), "Type 0.", "类型为 0。", STRICT),
        ("type-200", frame(200, b"x"), "A type nobody has published.", "未公布的类型。", STRICT),
        (
            "waiting-longer",
            frame(6, waiting[5:] + b"\0"),
            "An octet after the fields.",
            "字段之后多一字节。",
            STRICT,
        ),
        (
            "kept-longer",
            frame(14, REFERENCE + b"\0"),
            "An octet after the reference.",
            "标识之后多一字节。",
            STRICT,
        ),
        (
            "busy-longer",
            frame(7, b"\0" + struct.pack(">HIB", 102, 0, 0)),
            "An octet after the time.",
            "时长之后多一字节。",
            STRICT,
        ),
        (
            "reference-cut",
            frame(14, REFERENCE[:-1]),
            "A reference of 33 octets.",
            "标识只有 33 字节。",
            CUT,
        ),
        (
            "part-without-offset",
            frame(2, REFERENCE + b"\x02m1" + bytes(7)),
            "A part with an offset of seven octets.",
            "偏移只有七字节。",
            CUT,
        ),
    ]
    for name, octets, what, what_zh, why in rows:
        yield _malformed(name, octets, what, what_zh, why)
    many = frame(14, REFERENCE) * (MAX_POST_FRAMES + 1)
    yield Case(
        "frames",
        "too-many",
        f"{MAX_POST_FRAMES + 1:,} frames.",
        f"{MAX_POST_FRAMES + 1} 个帧。",
        "Work grows with frames, not only with octets.",
        "LI-5",
        {"frames.bin": many},
        expect=Reason.TOO_LARGE,
    )


def _fields() -> Iterator[Case]:
    code = AUTHORITY.encode()
    rows = [
        ("path-empty", frame(1, b"\0<a></a>"), "A path of no nodes.", "路径为空。", FORMS),
        (
            "path-of-five",
            frame(1, path(WUHAN, HUB, "430000", "430600", "430100") + b"<a></a>"),
            "A path of five nodes.",
            "路径有五个节点。",
            FORMS,
        ),
        (
            "path-shorter",
            frame(4, b"\2" + WUHAN.encode() + b"<a>"),
            "A path shorter than it says.",
            "路径比所称更短。",
            CUT,
        ),
        (
            "path-no-node",
            frame(1, path("42010x") + b"<a></a>"),
            "A path that names something else than a node.",
            "路径中不是节点号。",
            FORMS,
        ),
        (
            "path-full-width",
            frame(
                1, b"\1" + "\N{FULLWIDTH DIGIT FOUR}\N{FULLWIDTH DIGIT TWO}".encode() + b"<a></a>"
            ),
            "A path in full-width digits.",
            "路径用全角数字。",
            FORMS,
        ),
        (
            "authority-lower-case",
            frame(14, code.lower() + REFERENCE[18:]),
            "An authority in lower case.",
            "机关代码小写。",
            FORMS,
        ),
        (
            "authority-check",
            frame(14, code[:-1] + b"0" + REFERENCE[18:]),
            "An authority with a wrong check character.",
            "机关代码校验码不符。",
            FORMS,
        ),
        (
            "message-version-4",
            frame(14, REFERENCE[:24] + b"\x40" + REFERENCE[25:]),
            "A message id that is no UUIDv7.",
            "报文号不是 UUIDv7。",
            FORMS,
        ),
        (
            "part-id-longer",
            frame(5, REFERENCE + b"\xffbody" + bytes(8)),
            "A part id longer than the frame.",
            "部件号长于帧。",
            CUT,
        ),
        (
            "part-id-empty",
            frame(5, REFERENCE + b"\0" + bytes(8)),
            "An empty part id.",
            "部件号为空。",
            FORMS,
        ),
        (
            "part-id-path",
            frame(2, REFERENCE + b"\x05../m1" + bytes(8)),
            "A part id that is a path.",
            "部件号是路径。",
            FORMS,
        ),
        (
            "part-id-upper-case",
            frame(5, REFERENCE + b"\x02M1" + bytes(8)),
            "A part id in capitals.",
            "部件号大写。",
            FORMS,
        ),
        (
            "part-id-gb18030",
            frame(5, REFERENCE + b"\x02" + "件".encode("gb18030") + bytes(8)),
            "A part id that is not ASCII.",
            "部件号不是 ASCII。",
            FORMS,
        ),
        (
            "busy-flag",
            frame(7, b"\2" + struct.pack(">HI", 102, 0)),
            "A flag that is neither 0 nor 1.",
            "标志既非 0 也非 1。",
            STRICT,
        ),
        (
            "busy-final",
            frame(7, b"\0" + struct.pack(">HI", Reason.EXPIRED.number, 0)),
            "Busy, for a final reason.",
            "暂忙而附终局原因。",
            PASSING,
        ),
        (
            "busy-unknown",
            frame(7, b"\0" + struct.pack(">HI", 9999, 0)),
            "Busy, for a reason nobody has published.",
            "暂忙而原因未公布。",
            PASSING,
        ),
        (
            "not-here-final",
            frame(8, REFERENCE + struct.pack(">H", Reason.SIGNATURE_INVALID.number)),
            "Not here, for a final reason.",
            "不在此而附终局原因。",
            PASSING,
        ),
    ]
    for name, octets, what, what_zh, why in rows:
        yield _malformed(name, octets, what, what_zh, why)


def _malformed(name: str, octets: bytes, what: str, what_zh: str, why: str) -> Case:
    return Case(
        "frames",
        name,
        what,
        what_zh,
        why,
        "EX-1 FR-1",
        {"frames.bin": octets},
        expect=Reason.FRAME_MALFORMED,
    )
