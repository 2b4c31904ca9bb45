"""Group exchange: one message at its destination, again, and forged."""

from __future__ import annotations

import base64
import dataclasses
from typing import TYPE_CHECKING, Final

from protocol.frames import EnvelopeFrame
from protocol.proof import Batched, read_proof, write_proof
from protocol.reasons import Reason
from signing.keys import KeyUse
from tests.sim.craft import Message, Signed, sign
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG
from tests.unit.routing.provinces import uscc
from tools.vectors.exchange_federation import keyrings, stranger
from tools.vectors.exchange_story import (
    Story,
    busy,
    receipt,
    row,
    signed,
    signed_as_one,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Case

HOLDS: Final = "A node that refuses everything would pass the others."
ONCE: Final = "What comes again must not be delivered again, nor answered otherwise."
POISON: Final = "A forger must not be able to use up another's id, or to have it refused."
OTHER_WORD: Final = "Receipts and evidence name a message by its id: it must mean one thing."
MINUTE_MS: Final = 60_000


def ping(origin: str = WUHAN, destination: str = EZHOU, **changes: object) -> Signed:
    """A message that needs no case."""
    return signed(dataclasses.replace(Message(origin, destination), **changes))  # type: ignore[arg-type]


def cases() -> Iterator[Case]:
    """Every case of the file."""
    yield from _again()
    yield from _forged()
    yield from _batches()


def _again() -> Iterator[Case]:
    one = ping()
    got = receipt("received", EZHOU, one)
    again = receipt("received", EZHOU, one, same=1)
    held = row("in", one, "received")
    yield (
        Story(EZHOU)
        .post(WUHAN, one.frames(), got)
        .case(
            "received",
            "A message comes to its destination.",
            "报文到达目的地。",
            HOLDS,
            "EX-32 RC-14",
            held,
        )
    )
    yield (
        Story(EZHOU)
        .post(WUHAN, one.frames(), got)
        .post(WUHAN, one.frames(), again)
        .case(
            "same-frames-twice",
            "The very same frames come twice: one receipt, one delivery.",
            "相同的帧到达两次：同一回执，一次投递。",
            ONCE,
            "EX-5 EX-30",
            held,
        )
    )
    yield (
        Story(EZHOU)
        .post(WUHAN, [*one.frames(), *one.frames()], got, again)
        .case(
            "twice-in-one-post",
            "A message stands twice in one post.",
            "同一报文在一次投递中出现两次。",
            ONCE,
            "EX-5 EX-30 EX-40",
            held,
        )
    )
    yield (
        Story(EZHOU)
        .post(WUHAN, one.frames(), got)
        .post(HUB, one.via(HUB).frames(), again)
        .case(
            "by-two-ways",
            "A message comes by the direct link, and once more by the hub.",
            "报文经直连到达，又经枢纽到达。",
            ONCE,
            "EX-5 RT-12",
            held,
        )
    )
    first = Message(WUHAN, EZHOU)
    together, _ = signed_as_one([first, Message(WUHAN, EZHOU, number=2)])
    yield (
        Story(EZHOU)
        .post(WUHAN, one.frames(), got)
        .post(WUHAN, together.frames(), again)
        .case(
            "under-another-signature",
            "The same content, signed alone and then in a batch: one message.",
            "同一内容先单独签名、后批量签名：是同一报文。",
            ONCE,
            "EX-5 BP-8",
            held,
        )
    )
    other = ping(lifetime_ms=60 * MINUTE_MS)
    yield (
        Story(EZHOU)
        .post(WUHAN, one.frames(), got)
        .post(WUHAN, other.frames(), receipt("refused", EZHOU, other, Reason.MESSAGE_ID_REUSED))
        .post(WUHAN, one.frames(), again)
        .case(
            "another-content-under-the-id",
            "Another content under a used id is refused, and the first keeps its receipt.",
            "同号异文被拒，原报文的回执不变。",
            OTHER_WORD,
            "EX-31 EN-12",
            held,
            reason=Reason.MESSAGE_ID_REUSED,
        )
    )


def _forged() -> Iterator[Case]:
    one = ping()
    got, held = receipt("received", EZHOU, one), row("in", one, "received")
    strange = ping(authority=uscc(XIANGYANG))
    used = ping(key_use=KeyUse.ENVELOPE)
    unknown = sign(Message(WUHAN, EZHOU), stranger())
    begin = one.octets.index(b"<ds:SignatureValue>") + len("<ds:SignatureValue>")
    wrong = one.octets[:begin] + _turned(one.octets[begin:])
    moved = one.octets.replace(b'node="420700"', b'node="420600"')
    bare = one.octets[: one.octets.index(b"<ds:Signature ")] + b"</Envelope>"
    by_name = one.octets.replace(
        keyrings()[WUHAN].find(KeyUse.PING, uscc(WUHAN)).encode(),
        keyrings()[HUB].find(KeyUse.PING, uscc(HUB)).encode(),
    )
    rows: list[tuple[str, bytes, Reason, str, str, str]] = [
        (
            "signature",
            wrong,
            Reason.SIGNATURE_INVALID,
            "SG-10",
            "A signature with a bit flipped",
            "签名有一比特翻转",
        ),
        (
            "content",
            moved,
            Reason.DIGEST_MISMATCH,
            "SG-9",
            "Another receiver than the one signed",
            "接收方在签名后被改",
        ),
        ("unsigned", bare, Reason.SIGNATURE_MISSING, "SG-2", "No signature", "没有签名"),
        (
            "key-substituted",
            by_name,
            Reason.KEY_OWNER,
            "SG-7 SG-18",
            "The key of another authority is named",
            "所称密钥属另一机关",
        ),
    ]
    for name, octets, reason, clause, what, what_zh in rows:
        given = [EnvelopeFrame((WUHAN,), octets), *one.frames()[1:]]
        yield (
            Story(EZHOU)
            .post(WUHAN, given, receipt("refused", EZHOU, None, reason))
            .post(WUHAN, one.frames(), got)
            .case(
                f"forged-id-{name}",
                f"{what}, under the id of a message still to come: the refusal names nothing,"
                " nothing is kept, and the message itself is received.",
                f"{what_zh}，冒用尚未到达之报文的编号：拒收不指名，不留痕，真报文照常签收。",
                POISON,
                f"EX-35 RC-4 {clause}",
                held,
                reason=reason,
            )
        )
    for name, message, reason, clause, what, what_zh in (
        (
            "key-of-another-authority",
            strange,
            Reason.KEY_OWNER,
            "SG-7",
            "Wuhan's key signs for Xiangyang's authority.",
            "武汉的密钥代襄阳机关签名。",
        ),
        (
            "key-of-another-use",
            used,
            Reason.KEY_USE,
            "SG-6 SU-8",
            "A ping signed with the key for cases.",
            "以办件密钥签署连通测试。",
        ),
    ):
        yield (
            Story(EZHOU)
            .post(WUHAN, message.frames(), receipt("refused", EZHOU, None, reason))
            .case(name, what, what_zh, POISON, f"{clause} RC-4", reason=reason)
        )
    yield (
        Story(EZHOU)
        .post(WUHAN, unknown.frames(), busy(unknown, Reason.KEY_UNKNOWN))
        .case(
            "key-unknown",
            "A key no directory lists: not now, for the directory may be the old one.",
            "密钥不在目录中：暂缓，因为目录可能陈旧。",
            "What a newer directory would let in must not be refused for good.",
            "TR-1 EX-39",
            reason=Reason.KEY_UNKNOWN,
        )
    )
    production = ping(environment="production")
    yield (
        Story(EZHOU)
        .post(
            WUHAN,
            production.frames(),
            receipt("refused", EZHOU, None, Reason.ENVIRONMENT_MISMATCH),
        )
        .case(
            "environment",
            "A message of production at a node in trial.",
            "正式环境报文到达试运行节点。",
            "A rehearsal must never become a case.",
            "EN-3",
            reason=Reason.ENVIRONMENT_MISMATCH,
        )
    )


def _turned(rest: bytes) -> bytes:
    value, end, more = rest.partition(b"<")
    octets = base64.b64decode(value)
    return base64.b64encode(bytes([octets[0] ^ 1]) + octets[1:]) + end + more


def _batches() -> Iterator[Case]:
    first, second = signed_as_one([Message(WUHAN, EZHOU), Message(WUHAN, EZHOU, number=2)])
    value = second.octets.partition(b"<ds:SignatureValue>")[2].partition(b"<")[0]
    proof = read_proof(base64.b64decode(value))
    if not isinstance(proof, Batched):
        raise TypeError(proof)
    zeroed = base64.b64encode(write_proof(dataclasses.replace(proof, signature=bytes(64))))
    forged = second.octets.replace(value, zeroed)
    yield (
        Story(EZHOU)
        .post(WUHAN, first.frames(), receipt("received", EZHOU, first))
        .post(
            WUHAN,
            [EnvelopeFrame((WUHAN,), forged), *second.frames()[1:]],
            receipt("refused", EZHOU, None, Reason.SIGNATURE_INVALID),
        )
        .post(WUHAN, second.frames(), receipt("received", EZHOU, second))
        .case(
            "zeroed-root-signature",
            "A batch whose root has verified comes again under a signature of zeros; then honest.",
            "批量签名之根核验过后，签名改为全零再来；其后真报文照常签收。",
            "A memory of bare roots takes a proof that nobody signed.",
            "BP-5 SG-10",
            row("in", first, "received"),
            row("in", second, "received"),
            reason=Reason.SIGNATURE_INVALID,
        )
    )
