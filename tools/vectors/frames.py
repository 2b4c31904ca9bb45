"""Group frames: posts and answers, octet for octet; the layouts are written out here once more."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from protocol.identifiers import uuid_octets
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
HEAD: Final = bytes(range(193))
HASHES: Final = b"\1" * 32 + b"\2" * 32


def frame(number: int, octets: bytes, length: int | None = None) -> bytes:
    """One frame; its length may lie."""
    return struct.pack(">BI", number, len(octets) if length is None else length) + octets


def path(*nodes: str) -> bytes:
    """The nodes a message has passed."""
    return bytes([len(nodes)]) + "".join(nodes).encode()


def cases() -> Iterator[Case]:
    """Every frame there is."""
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
            "head",
            frame(9, HEAD + b"\0\2{}" + struct.pack(">QB", 0, 0)),
            "A head of an evidence log, shown to somebody who holds none.",
            "存证日志的树头，对方尚无任何树头。",
            [{"frame": "head", "octets": HEAD.hex(), "view": "7b7d", "first": 0, "path": []}],
        ),
        (
            "head-grown",
            frame(9, HEAD + bytes(2) + struct.pack(">QB", 7, 2) + HASHES),
            "A head with the proof that the log grew from seven leaves.",
            "树头，附日志自七叶增长而来的证明。",
            [
                {
                    "frame": "head",
                    "octets": HEAD.hex(),
                    "view": "",
                    "first": 7,
                    "path": [HASHES[:32].hex(), HASHES[32:].hex()],
                }
            ],
        ),
        (
            "held",
            frame(10, HEAD),
            "The last head of the peer's log that is held here.",
            "此处所存对方日志的最后树头。",
            [{"frame": "held", "octets": HEAD.hex()}],
        ),
        (
            "recall",
            frame(12, struct.pack(">IQQ", 2, 400, 7) + b"\5there"),
            "A node that lost something asks again for what concerns it.",
            "丢失数据的节点召回与己有关的报文。",
            [
                {
                    "frame": "recall",
                    "incarnation": 2,
                    "size": 400,
                    "sinceMs": 7,
                    "cursor": b"there".hex(),
                }
            ],
        ),
        (
            "recalled",
            frame(
                13,
                b"\1\1\0\1r"
                + struct.pack(">I", 4)
                + b"<E/>"
                + b"\2m1"
                + struct.pack(">QI", 9, 4)
                + b"scan",
            ),
            "One recalled message with a receipt and a piece of a part.",
            "所召回的一份报文，附回执与部件的一段。",
            [
                {
                    "frame": "recalled",
                    "octets": b"<E/>".hex(),
                    "receipts": [b"r".hex()],
                    "pieces": [{"partId": "m1", "offset": 9, "octets": b"scan".hex()}],
                    "last": True,
                }
            ],
        ),
        (
            "recall-heads-only",
            frame(12, struct.pack(">IQQ", 1, 0, 2**63 - 1) + b"\0"),
            "A node that starts asks what head of its log is held, and for no messages.",
            "启动的节点只问对端所存日志头，不召回报文。",
            [
                {
                    "frame": "recall",
                    "incarnation": 1,
                    "size": 0,
                    "sinceMs": 2**63 - 1,
                    "cursor": "",
                }
            ],
        ),
        (
            "recalled-more",
            frame(13, b"\0\0" + struct.pack(">I", 4) + b"<E/>"),
            "More of this message follows.",
            "此报文尚有后续。",
            [
                {
                    "frame": "recalled",
                    "octets": b"<E/>".hex(),
                    "receipts": [],
                    "pieces": [],
                    "last": False,
                }
            ],
        ),
        (
            "page",
            frame(15, struct.pack(">Q", 7) + b"\5there" + b"\0"),
            "The end of the last page of a recall.",
            "召回的最后一页完。",
            [{"frame": "page", "sinceMs": 7, "cursor": b"there".hex(), "following": ""}],
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
