"""Textbook arithmetic on the curves: signatures with a stated nonce, and points made to mislead.

Slow and not constant in time: for vectors with public keys nobody uses. It shares no code with the
libraries the node signs with, so that what it signs and they verify is a check of both.

Sources: GB/T 32918.1, .2 and .5 (SM2); FIPS 186-5 and SEC 1 (P-256, ECDSA); RFC 8032 (Ed25519).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from signing.suites import Suite, digest

Point = tuple[int, int] | None
"""Affine coordinates; None is the point at infinity."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A short Weierstrass curve y² = x³ + ax + b over a prime field, with its base point."""

    p: int
    a: int
    b: int
    base: tuple[int, int]
    order: int

    def add(self, left: Point, right: Point) -> Point:
        """The sum of two points."""
        if left is None or right is None:
            return left or right
        (x1, y1), (x2, y2) = left, right
        if x1 == x2 and (y1 + y2) % self.p == 0:
            return None
        if left == right:
            slope = (3 * x1 * x1 + self.a) * pow(2 * y1, -1, self.p)
        else:
            slope = (y2 - y1) * pow(x2 - x1, -1, self.p)
        x3 = (slope * slope - x1 - x2) % self.p
        return x3, (slope * (x1 - x3) - y1) % self.p

    def times(self, number: int, point: Point) -> Point:
        """A multiple of a point."""
        result: Point = None
        while number:
            if number & 1:
                result = self.add(result, point)
            point = self.add(point, point)
            number >>= 1
        return result

    def public(self, secret: int) -> tuple[int, int]:
        """The public point of a secret in 1..n-1."""
        point = self.times(secret, self.base)
        if point is None:
            raise ValueError("a multiple of the order")
        return point


SM2: Final = Curve(
    p=0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_00000000_FFFFFFFF_FFFFFFFF,
    a=0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_00000000_FFFFFFFF_FFFFFFFC,
    b=0x28E9FA9E_9D9F5E34_4D5A9E4B_CF6509A7_F39789F5_15AB8F92_DDBCBD41_4D940E93,
    base=(
        0x32C4AE2C_1F198119_5F990446_6A39C994_8FE30BBF_F2660BE1_715A4589_334C74C7,
        0xBC3736A2_F4F6779C_59BDCEE3_6B692153_D0A9877C_C62A4740_02DF32E5_2139F0A0,
    ),
    order=0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_7203DF6B_21C6052B_53BBF409_39D54123,
)
P256_ORDER: Final = 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551
SM2_ID: Final = b"1234567812345678"


def sm2_z(public: tuple[int, int], identity: bytes = SM2_ID) -> bytes:
    """Z: the SM3 digest of identity, curve and public key (GB/T 32918.2 §5.5)."""
    numbers = (SM2.a, SM2.b, *SM2.base, *public)
    octets = (8 * len(identity)).to_bytes(2) + identity + b"".join(n.to_bytes(32) for n in numbers)
    return digest(Suite.SM2_SM3, octets)


def sm2_sign(secret: int, message: bytes, nonce: int, identity: bytes = SM2_ID) -> bytes:
    """r‖s over a message with this nonce (GB/T 32918.2 §6.1); 64 octets."""
    z = sm2_z(SM2.public(secret), identity)
    return sm2_sign_digest(secret, digest(Suite.SM2_SM3, z + message), nonce)


def sm2_sign_digest(secret: int, e: bytes, nonce: int) -> bytes:
    """r‖s over what the standard calls e, however it came about."""
    r = (int.from_bytes(e) + SM2.public(nonce)[0]) % SM2.order
    s = pow(1 + secret, -1, SM2.order) * (nonce - r * secret) % SM2.order
    return r.to_bytes(32) + s.to_bytes(32)


def steady_nonce(order: int, secret: int, message: bytes) -> int:
    """A nonce that follows from key and message, so that the same vector is written each time."""
    drawn = hashlib.sha512(b"tongban vectors\x00" + secret.to_bytes(32) + message).digest()
    return 1 + int.from_bytes(drawn) % (order - 1)


# Ed25519, in affine coordinates of the twisted Edwards curve -x² + y² = 1 + dx²y².

ED_PRIME: Final = 2**255 - 19
ED_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_ED_D: Final = -121665 * pow(121666, -1, ED_PRIME) % ED_PRIME
_ED_ROOT: Final = pow(2, (ED_PRIME - 1) // 4, ED_PRIME)
EdPoint = tuple[int, int]


def ed_add(left: EdPoint, right: EdPoint) -> EdPoint:
    """The sum of two points; the law has no exceptions on this curve."""
    (x1, y1), (x2, y2) = left, right
    cross = _ED_D * x1 * x2 * y1 * y2
    x3 = (x1 * y2 + x2 * y1) * pow(1 + cross, -1, ED_PRIME)
    y3 = (y1 * y2 + x1 * x2) * pow(1 - cross, -1, ED_PRIME)
    return x3 % ED_PRIME, y3 % ED_PRIME


def ed_times(number: int, point: EdPoint) -> EdPoint:
    """A multiple of a point."""
    result = (0, 1)
    while number:
        if number & 1:
            result = ed_add(result, point)
        point = ed_add(point, point)
        number >>= 1
    return result


def ed_encode(point: EdPoint) -> bytes:
    """The 32 octets of a point (RFC 8032 §5.1.2)."""
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def ed_decode(octets: bytes) -> EdPoint:
    """The point of 32 octets; ValueError where there is none."""
    number = int.from_bytes(octets, "little")
    y = number & (1 << 255) - 1
    square = (y * y - 1) * pow(_ED_D * y * y + 1, -1, ED_PRIME) % ED_PRIME
    x = pow(square, (ED_PRIME + 3) // 8, ED_PRIME)
    if x * x % ED_PRIME != square:
        x = x * _ED_ROOT % ED_PRIME
    if x * x % ED_PRIME != square:
        raise ValueError("no point has this y")
    return (ED_PRIME - x if x & 1 != number >> 255 else x), y


ED_BASE: Final = ed_decode(bytes([0x58]) + bytes([0x66]) * 31)


def ed_torsion() -> EdPoint:
    """A point of order 8: what is left of some point when the large order is taken out."""
    y = 2
    while True:
        try:
            point = ed_times(ED_ORDER, ed_decode(y.to_bytes(32, "little")))
        except ValueError:
            y += 1
            continue
        if ed_times(4, point) != (0, 1):
            return point
        y += 1


def ed_sign(seed: bytes, message: bytes, stray: EdPoint = (0, 1)) -> bytes:
    """RFC 8032 §5.1.6; with a stray point of small order added to R before it is hashed."""
    hashed = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(hashed[:32], "little") & (1 << 254) - 8 | 1 << 254
    nonce = int.from_bytes(hashlib.sha512(hashed[32:] + message).digest(), "little") % ED_ORDER
    public = ed_encode(ed_times(scalar, ED_BASE))
    encoded = ed_encode(ed_add(ed_times(nonce, ED_BASE), stray))
    k = int.from_bytes(hashlib.sha512(encoded + public + message).digest(), "little") % ED_ORDER
    return encoded + ((nonce + k * scalar) % ED_ORDER).to_bytes(32, "little")
