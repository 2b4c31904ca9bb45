"""Group key: public keys in their one encoding, and points nobody may rely on."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from protocol.reasons import Reason
from signing.keys import KeyUse
from signing.suites import Suite
from tests.messages import WUHAN
from tools.vectors import curves
from tools.vectors.cases import Case
from tools.vectors.samples import key_for

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE_FORM: Final = "One spelling gives a key one id; a parser that takes more gives it several."
NO_POINT: Final = "A point outside the curve leaks the secret of whoever computes with it."
SMALL: Final = "Under a key of small order one signature fits many messages; its owner denies any."

P256_P: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
PREFIXES: Final = {
    Suite.SM2_SM3: bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004"),
    Suite.P256: bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"),
    Suite.ED25519: bytes.fromhex("302a300506032b6570032100"),
}
SECP256K1: Final = bytes.fromhex("3056301006072a8648ce3d020106052b8104000a03420004")
ED448: Final = bytes.fromhex("3043300506032b6571033a00")


def cases() -> Iterator[Case]:
    """Every case of the group."""
    for suite in Suite:
        yield from _forms(suite)
    for suite, prime in ((Suite.SM2_SM3, curves.SM2.p), (Suite.P256, P256_P)):
        yield from _points(suite, prime)
    yield from _ed25519()


def _spki(suite: Suite) -> bytes:
    return key_for(KeyUse.ENVELOPE, WUHAN, suite).public.spki


def _case(
    name: str,
    suite: Suite,
    octets: bytes,
    what: str,
    what_zh: str,
    why: str,
    *,
    rule: str,
    key_id: str | None = None,
) -> Case:
    return Case(
        "key",
        f"{suite.value}-{name}",
        what,
        what_zh,
        why,
        f"SU-4 {rule}" if key_id else rule,
        {"key.spki": octets},
        expect=None if key_id else Reason.KEY_MALFORMED,
        inputs={"suite": suite.value},
        result={"id": key_id} if key_id else {},
    )


def _forms(suite: Suite) -> Iterator[Case]:
    spki = _spki(suite)
    key = key_for(KeyUse.ENVELOPE, WUHAN, suite).public
    yield _case(
        "good",
        suite,
        spki,
        f"A public key of the suite {suite}.",
        f"套件 {suite} 的公钥。",
        ONE_FORM,
        rule="SU-2",
        key_id=key.key_id,
    )
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(spki) + b"-----END PUBLIC KEY-----\n"
    other = next(one for one in Suite if one is not suite)
    for name, octets, what, what_zh in (
        ("empty", b"", "No octets.", "为空。"),
        ("cut", spki[:-1], "The last octet is missing.", "缺最后一字节。"),
        ("octet-after", spki + b"\0", "An octet follows.", "其后多一字节。"),
        ("bare", spki[len(PREFIXES[suite]) :], "The public value alone.", "只有公钥值。"),
        ("pem", pem, "The key as PEM.", "PEM 形式的公钥。"),
        ("of-another-suite", _spki(other), "A good key of another suite.", "另一套件的正确公钥。"),
        (
            "long-length",
            b"\x30\x81" + spki[1:],
            "A length in a longer form than DER has.",
            "长度使用了非 DER 的长形式。",
        ),
    ):
        yield _case(name, suite, octets, what, what_zh, ONE_FORM, rule="SU-2")


def _points(suite: Suite, prime: int) -> Iterator[Case]:
    prefix = PREFIXES[suite]
    spki = _spki(suite)
    x, y = int.from_bytes(spki[-64:-32]), int.from_bytes(spki[-32:])

    def point(x: int, y: int) -> bytes:
        return prefix + x.to_bytes(32) + y.to_bytes(32)

    compressed = bytearray(prefix[:-1] + bytes([2 + (y & 1)]) + x.to_bytes(32))
    compressed[1] -= 32
    compressed[-35] -= 32
    rows = [
        (
            "compressed",
            bytes(compressed),
            "The point in compressed form.",
            "点为压缩形式。",
            ONE_FORM,
            "SU-2",
        ),
        (
            "hybrid",
            prefix[:-1] + bytes([6 + (y & 1)]) + spki[-64:],
            "The point in hybrid form.",
            "点为混合形式。",
            ONE_FORM,
            "SU-2",
        ),
        (
            "secp256k1",
            SECP256K1 + spki[-64:],
            "Another curve's identifier.",
            "另一曲线的标识。",
            ONE_FORM,
            "SU-2",
        ),
        (
            "off-curve",
            point(x, y ^ 1),
            "A point beside the curve.",
            "不在曲线上的点。",
            NO_POINT,
            "SU-3",
        ),
        ("origin", point(0, 0), "Zero, zero.", "坐标皆为零。", NO_POINT, "SU-3"),
        (
            "x-is-prime",
            point(prime, y),
            "x is the field's prime.",
            "x 等于域的素数。",
            NO_POINT,
            "SU-3",
        ),
        (
            "y-is-prime",
            point(x, prime),
            "y is the field's prime.",
            "y 等于域的素数。",
            NO_POINT,
            "SU-3",
        ),
        ("ones", prefix + b"\xff" * 64, "Every bit set.", "各比特全为 1。", NO_POINT, "SU-3"),
    ]
    for name, octets, what, what_zh, why, rule in rows:
        yield _case(name, suite, octets, what, what_zh, why, rule=rule)


def _ed25519() -> Iterator[Case]:
    suite, prefix, prime = Suite.ED25519, PREFIXES[Suite.ED25519], curves.ED_PRIME
    torsion = curves.ed_torsion()
    for number in range(8):
        point = curves.ed_encode(curves.ed_times(number, torsion))
        yield _case(
            f"small-order-{number}",
            suite,
            prefix + point,
            f"Small order: {number} times a point of order 8.",
            f"小阶点：八阶点的 {number} 倍。",
            SMALL,
            rule="SU-3",
        )
    second = [
        (
            "neutral-again",
            (prime + 1).to_bytes(32, "little"),
            "The neutral element in a second encoding.",
            "单位元的另一种编码。",
        ),
        (
            "zero-again",
            prime.to_bytes(32, "little"),
            "y = 0 in a second encoding.",
            "y = 0 的另一种编码。",
        ),
        (
            "sign-of-zero",
            (1 | 1 << 255).to_bytes(32, "little"),
            "The sign bit set where x is 0.",
            "x 为 0 而符号位为 1。",
        ),
        ("ones", b"\xff" * 32, "Every bit set.", "各比特全为 1。"),
        ("no-point", _no_point(), "A y that no point has.", "没有点具有此 y。"),
    ]
    for name, value, what, what_zh in second:
        yield _case(name, suite, prefix + value, what, what_zh, NO_POINT, rule="SU-3")
    yield _case(
        "ed448",
        suite,
        ED448 + bytes(57),
        "A key of Ed448.",
        "Ed448 的公钥。",
        ONE_FORM,
        rule="SU-2",
    )


def _no_point() -> bytes:
    y = 2
    while True:
        octets = y.to_bytes(32, "little")
        try:
            curves.ed_decode(octets)
        except ValueError:
            return octets
        y += 1
