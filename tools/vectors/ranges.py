"""Group signature, family value: per suite, what only the arithmetic can refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.proof import Single
from protocol.reasons import Reason
from signing.keys import KeyUse
from signing.profile import attach, signed_info
from signing.suites import Suite, digest
from tests.messages import WUHAN, signed_by_sender
from tools.vectors import curves
from tools.vectors.samples import (
    CONTENT,
    SENDER,
    envelope_case,
    key_for,
    keys,
    message,
    record_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Case
    from tools.vectors.samples import SteadyKey

RANGE: Final = "At the edges of the range some libraries divide by zero, or accept for any message."
ORDERS: Final = {
    Suite.SM2_SM3: curves.SM2.order,
    Suite.P256: curves.P256_ORDER,
    Suite.ED25519: curves.ED_ORDER,
}


def cases() -> Iterator[Case]:
    """Every case of the family that only arithmetic refuses."""
    for suite in Suite:
        yield from _good(suite)
        yield from _ranges(suite)
    yield from _of_sm2()
    yield from _of_ed25519()


def _good(suite: Suite) -> Iterator[Case]:
    key = key_for(KeyUse.ENVELOPE, WUHAN, suite)
    octets = signed_by_sender(message(suite), keys(suite))
    parts = _apart(octets, suite)
    yield envelope_case(
        "signature",
        f"good-{suite.value}",
        octets,
        f"A good signature of the suite {suite}, with the octets it is made of.",
        f"套件 {suite} 的正确签名，并附各步字节。",
        "Shows where a new implementation leaves the way: content, SignedInfo, value.",
        clause="SG-12 SG-13 SG-14 SU-1",
        records=[record_for(key)],
        more_files={"content.xml": parts[0], "signed-info.xml": parts[1]},
        result={"suite": suite.value, "messageDigest": digest(suite, parts[0]).hex()},
    )


def _apart(octets: bytes, suite: Suite) -> tuple[bytes, bytes]:
    start = octets.index(b"<ds:Signature ")
    content = octets[:start] + b"</Envelope>"
    return content, signed_info(suite, digest(suite, content))


def _with_value(suite: Suite, value: bytes) -> bytes:
    """The good message of this suite under this value."""
    content, _ = _apart(signed_by_sender(message(suite), keys(suite)), suite)
    return attach(content, suite, digest(suite, content), Single(value))


def _value(suite: Suite) -> tuple[SteadyKey, bytes, bytes]:
    """Key, signed octets and good value of this suite's message."""
    key = key_for(KeyUse.ENVELOPE, WUHAN, suite)
    _, info = _apart(signed_by_sender(message(suite), keys(suite)), suite)
    return key, info, key.sign(info)


def _wrong(
    suite: Suite, name: str, value: bytes, what: str, what_zh: str, why: str, rule: str = "SU-5"
) -> Case:
    return envelope_case(
        "signature",
        f"value-{suite.value}-{name}",
        _with_value(suite, value),
        what,
        what_zh,
        why,
        clause=f"SG-10 {rule}",
        stage="signature",
        reason=Reason.SIGNATURE_INVALID,
        records=[record_for(key_for(KeyUse.ENVELOPE, WUHAN, suite))],
    )


def _ranges(suite: Suite) -> Iterator[Case]:
    _, _, good = _value(suite)
    r, s = good[:32], good[32:]
    zero, ones = bytes(32), b"\xff" * 32
    order = ORDERS[suite].to_bytes(32, "little" if suite is Suite.ED25519 else "big")
    rows = [
        ("first-bit", bytes([good[0] ^ 0x80]) + good[1:], "its first bit flipped", "首比特翻转"),
        ("last-bit", good[:-1] + bytes([good[-1] ^ 1]), "its last bit flipped", "末比特翻转"),
        ("halves-swapped", s + r, "its halves swapped", "前后两半互换"),
        ("zero", zero + zero, "every octet 00", "全为 00"),
        ("first-zero", zero + s, "a first half of 00", "前半为 00"),
        ("second-zero", r + zero, "a second half of 00", "后半为 00"),
        ("second-order", r + order, "the order of the group as second half", "后半为群的阶"),
        ("ones", ones + ones, "every bit set", "各比特全为 1"),
    ]
    if suite is not Suite.ED25519:
        rows.append(
            ("first-order", order + s, "the order of the group as first half", "前半为群的阶")
        )
    for name, value, what, what_zh in rows:
        yield _wrong(
            suite, name, value, f"A signature value with {what}.", f"签名值{what_zh}。", RANGE
        )
    if suite is Suite.P256:
        mirrored = (ORDERS[suite] - int.from_bytes(s)).to_bytes(32)
        yield envelope_case(
            "signature",
            f"value-{suite.value}-other-s",
            _with_value(suite, r + mirrored),
            "The other value that fits the same message: n - s for s.",
            "同一报文的另一有效签名值：以 n - s 代 s。",
            "ECDSA has two values for each; whoever makes one from the other has made no second "
            "message, for identity is the digest of the content.",
            clause="SG-10",
            records=[record_for(SENDER)],
            result={"messageDigest": digest(suite, CONTENT.encode()).hex()},
        )


def _of_sm2() -> Iterator[Case]:
    suite = Suite.SM2_SM3
    key, info, good = _value(suite)
    secret = int.from_bytes(key.secret)
    nonce = curves.steady_nonce(curves.SM2.order, secret, info)
    z = curves.sm2_z(curves.SM2.public(secret))
    made: list[tuple[str, bytes, str, str]] = [
        (
            "identity-empty",
            curves.sm2_sign(secret, info, nonce, b""),
            "under an empty identity",
            "签名者标识为空",
        ),
        (
            "identity-other",
            curves.sm2_sign(secret, info, nonce, b"ALICE123@YAHOO.COM"),
            "under the identity of the older examples",
            "采用旧示例的签名者标识",
        ),
        (
            "identity-of-node",
            curves.sm2_sign(secret, info, nonce, WUHAN.encode()),
            "under the node's id as identity",
            "以节点号为签名者标识",
        ),
        (
            "without-z",
            curves.sm2_sign_digest(secret, digest(suite, info), nonce),
            "over the digest of the octets, without Z",
            "未计入 Z 值",
        ),
        (
            "sha-256",
            curves.sm2_sign_digest(secret, digest(Suite.P256, z + info), nonce),
            "with SHA-256 in place of SM3",
            "以 SHA-256 代替 SM3",
        ),
        (
            "sum-zero",
            good[:32] + (curves.SM2.order - int.from_bytes(good[:32])).to_bytes(32),
            "whose halves add up to the order",
            "两半之和等于阶",
        ),
    ]
    for name, value, what, what_zh in made:
        yield _wrong(
            suite,
            name,
            value,
            f"An SM2 signature {what}.",
            f"SM2 签名{what_zh}。",
            "SM2 signs over identity and key as well (GB/T 32918.2); an implementation that "
            "chooses another identity agrees with nobody.",
            "SU-6",
        )


def _of_ed25519() -> Iterator[Case]:
    suite = Suite.ED25519
    key, info, good = _value(suite)
    why = (
        "Verifiers with and without the cofactor part ways here: signed by a liar, one node would "
        "take what the next one refuses."
    )
    s = int.from_bytes(good[32:], "little")
    yield _wrong(
        suite,
        "stray-torsion",
        curves.ed_sign(key.secret, info, curves.ed_torsion()),
        "R with a point of order 8 added: only the equation with cofactor holds.",
        "R 中加入八阶点：仅乘余因子的验证方程成立。",
        why,
        "SU-7",
    )
    yield _wrong(
        suite,
        "s-plus-order",
        good[:32] + (s + curves.ED_ORDER).to_bytes(32, "little"),
        "The order of the group added to S.",
        "S 加上群的阶。",
        "A second value for the same signature that anybody can make.",
    )
    neutral = curves.ed_encode((0, 1))
    yield _wrong(
        suite,
        "r-neutral",
        neutral + good[32:],
        "R is the neutral element.",
        "R 为单位元。",
        RANGE,
    )
    yield _wrong(
        suite,
        "r-not-canonical",
        (curves.ED_PRIME + 1).to_bytes(32, "little") + good[32:],
        "R is the neutral element in a second encoding.",
        "R 为单位元的另一种编码。",
        RANGE,
    )
    yield _wrong(
        suite,
        "prehashed",
        key.sign(digest(suite, info)),
        "A signature over the digest of SignedInfo.",
        "对 SignedInfo 的摘要所作的签名。",
        "Ed25519 signs the octets themselves.",
    )
