"""The one octet form of every key and signature: fixed templates, no ASN.1 parser.

A SubjectPublicKeyInfo of ours is a constant prefix and a point; a PKCS#8 key is a constant prefix,
32 secret octets and, for curves, the point again. Whatever differs from the template in a single
octet (other curve, explicit parameters, compressed point, trailing octets) is not a key of ours.

Sources: RFC 5280 §4.1 and RFC 5480 (SPKI), RFC 5958 and RFC 5915 (PKCS#8 with ECPrivateKey),
RFC 8410 (Ed25519), GB/T 32918.5 (the SM2 curve; its object identifier is 1.2.156.10197.1.301).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

SIGNATURE_OCTETS: Final = 64
SECRET_OCTETS: Final = 32
P256_ORDER: Final = 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551
SM2_ORDER: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_7203DF6B_21C6052B_53BBF409_39D54123


@dataclass(frozen=True, slots=True)
class KeyForm:
    """The constant octets around the variable ones.

    Attributes:
        spki_prefix: What stands before the public value in a SubjectPublicKeyInfo.
        public_octets: Size of the public value without the prefix.
        pkcs8_prefix: What stands before the 32 secret octets in a PrivateKeyInfo.
        pkcs8_middle: What stands between secret and point; None when the form ends with the secret.
    """

    spki_prefix: bytes
    public_octets: int
    pkcs8_prefix: bytes
    pkcs8_middle: bytes | None

    def is_spki(self, spki: bytes) -> bool:
        """Whether the octets follow the template; the point itself is not examined."""
        size = len(self.spki_prefix) + self.public_octets
        return len(spki) == size and spki.startswith(self.spki_prefix)

    def pkcs8(self, secret: bytes, spki: bytes) -> bytes:
        """The PrivateKeyInfo (DER) of a secret and its public key."""
        if self.pkcs8_middle is None:
            return self.pkcs8_prefix + secret
        return self.pkcs8_prefix + secret + self.pkcs8_middle + spki[len(self.spki_prefix) :]

    def secret(self, pkcs8: bytes) -> bytes | None:
        """The 32 octets where the secret stands, or None when another form begins or it is cut."""
        start = len(self.pkcs8_prefix)
        end = start + SECRET_OCTETS
        if len(pkcs8) < end or not pkcs8.startswith(self.pkcs8_prefix):
            return None
        return pkcs8[start:end]


def _curve_form(curve: str) -> KeyForm:
    algorithm = "301306072a8648ce3d0201" + curve
    return KeyForm(
        spki_prefix=bytes.fromhex("3059" + algorithm + "03420004"),
        public_octets=64,
        pkcs8_prefix=bytes.fromhex("308187020100" + algorithm + "046d306b0201010420"),
        pkcs8_middle=bytes.fromhex("a14403420004"),
    )


P256_FORM: Final = _curve_form("06082a8648ce3d030107")
SM2_FORM: Final = _curve_form("06082a811ccf5501822d")
ED25519_FORM: Final = KeyForm(
    spki_prefix=bytes.fromhex("302a300506032b6570032100"),
    public_octets=32,
    pkcs8_prefix=bytes.fromhex("302e020100300506032b657004220420"),
    pkcs8_middle=None,
)


def der_from_raw(signature: bytes) -> bytes | None:
    """Strict DER ``SEQUENCE {r, s}`` of r‖s, or None unless these are 64 octets.

    Whether r and s lie in 1..n-1 is for the verifying library to say: each of ours does.
    """
    if len(signature) != SIGNATURE_OCTETS:
        return None
    return encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))


def raw_from_der(der: bytes) -> bytes:
    """The 64 octets r‖s of a strict DER ``SEQUENCE {r, s}``.

    Raises:
        ValueError: not strict DER.
        OverflowError: r or s does not fit 32 octets, or is negative.
    """
    r, s = decode_dss_signature(der)
    return r.to_bytes(32) + s.to_bytes(32)


def sm2_scalar(octets: bytes) -> int:
    """An SM2 private key as a number (GB/T 32918.1: 1..n-2, since n-1 cannot sign).

    Raises:
        ValueError: not 32 octets, or outside that range.
    """
    scalar = int.from_bytes(octets)
    if len(octets) != SECRET_OCTETS or not 0 < scalar < SM2_ORDER - 1:
        message = "not an SM2 private key: need 32 octets in 1..n-2"
        raise ValueError(message)
    return scalar
