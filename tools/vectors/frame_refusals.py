"""Group frames: what is no post, and no answer."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from protocol.limits import MAX_POST_FRAMES
from protocol.reasons import Reason
from tests.messages import HUB, WUHAN
from tools.vectors.cases import Case

if TYPE_CHECKING:
    from collections.abc import Iterator


from tools.vectors.frames import AUTHORITY, HASHES, HEAD, REFERENCE, frame, path

CUT: Final = "A length that reaches past the end, or not to it, lets two readers see two posts."
STRICT: Final = "A frame that may hold more than its fields may hold what another reader acts on."
FORMS: Final = "What names a node, a message or a part has one form here as everywhere."
PASSING: Final = (
    "What is final is said by a signed receipt only; an unsigned frame must not end a message."
)


def cases() -> Iterator[Case]:
    """Every case of the group that is refused."""
    yield from _cut()
    yield from _fields()
    yield from _recalls()


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
        ("held-cut", frame(10, HEAD[:-1]), "A head of 192 octets.", "树头只有 192 字节。", CUT),
        (
            "held-longer",
            frame(10, HEAD + b"\0"),
            "An octet after the head.",
            "树头之后多一字节。",
            STRICT,
        ),
        (
            "head-hashes-short",
            frame(9, HEAD + bytes(2) + struct.pack(">QB", 7, 3) + HASHES),
            "A proof with fewer hashes than it says.",
            "证明的哈希少于所称。",
            CUT,
        ),
        (
            "head-hashes-many",
            frame(9, HEAD + bytes(2) + struct.pack(">QB", 7, 50) + bytes(50 * 32)),
            "A proof of 50 hashes, longer than any log needs.",
            "证明有 50 个哈希，多于任何日志所需。",
            STRICT,
        ),
        (
            "head-view-longer",
            frame(9, HEAD + struct.pack(">H", 16385) + bytes(16385) + bytes(9)),
            "A view of the directories of more than 16 KiB.",
            "目录视图超过 16 KiB。",
            STRICT,
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


def _recalls() -> Iterator[Case]:
    recall = struct.pack(">IQQ", 2, 400, 7)
    message = struct.pack(">I", 4) + b"<E/>"
    piece = b"\2m1" + struct.pack(">QI", 9, 4) + b"scan"
    rows = [
        ("recall-cut", frame(12, recall), "A recall without a cursor.", "召回缺游标。", CUT),
        (
            "recall-cursor-short",
            frame(12, recall + b"\5her"),
            "A cursor shorter than it says.",
            "游标短于所称。",
            CUT,
        ),
        (
            "recall-longer",
            frame(12, recall + b"\0\0"),
            "An octet after the cursor.",
            "游标之后多一字节。",
            STRICT,
        ),
        (
            "recalled-flag",
            frame(13, b"\2\0" + message),
            "Neither the end of a message nor not.",
            "末帧标志既非 0 亦非 1。",
            STRICT,
        ),
        (
            "recalled-receipts-many",
            frame(13, b"\1\x09" + b"\0\1r" * 9 + message),
            "Nine receipts about one message.",
            "一份报文附九份回执。",
            STRICT,
        ),
        (
            "recalled-receipt-cut",
            frame(13, b"\1\1\0\x09r"),
            "A receipt that reaches past the frame.",
            "回执超出帧末。",
            CUT,
        ),
        (
            "recalled-envelope-long",
            frame(13, b"\1\0" + struct.pack(">I", 2**31) + b"<E/>"),
            "An envelope of 2 GiB of which four octets came.",
            "自称 2 GiB 而只有四字节的信封。",
            CUT,
        ),
        (
            "recalled-piece-cut",
            frame(13, b"\1\0" + message + piece[:-1]),
            "A piece shorter than it says.",
            "部件片段短于所称。",
            CUT,
        ),
        (
            "recalled-piece-unnamed",
            frame(13, b"\1\0" + message + b"\0" + piece[3:]),
            "A piece of a part without a name.",
            "部件片段没有名字。",
            FORMS,
        ),
        (
            "page-cut",
            frame(15, struct.pack(">Q", 7) + b"\5there"),
            "The end of a page without a next cursor, not even an empty one.",
            "页末缺下一游标，连空游标也没有。",
            CUT,
        ),
        (
            "page-longer",
            frame(15, struct.pack(">Q", 7) + b"\0\0\0"),
            "An octet after the next cursor.",
            "下一游标之后多一字节。",
            STRICT,
        ),
        ("type-11", frame(11, HEAD), "The type that is reserved.", "保留的帧类型。", STRICT),
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
