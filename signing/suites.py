"""The three suites: digest, keys, signatures, and the one form each of them takes.

Whatever the suite, a signature is 64 octets, a public key is one canonical SubjectPublicKeyInfo, a
key id is the base64url of its suite digest, and a private key is a pure function of its entropy.
Verification answers False for whatever is malformed; it raises only when it could not check.

Sources: GB/T 32918.2 and GB/T 32905 (SM2, SM3); FIPS 186-5 and RFC 6979 (P-256, deterministic);
RFC 8032 (Ed25519).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.errors import LocalUseError, RefusedError
from protocol.reasons import Reason
from signing.encodings import (
    ED25519_FORM,
    P256_FORM,
    P256_ORDER,
    SECRET_OCTETS,
    SIGNATURE_OCTETS,
    SM2_FORM,
    SM2_ORDER,
    KeyForm,
    der_from_raw,
    raw_from_der,
)
from signing.sm2 import Sm2Provider, default_provider

if TYPE_CHECKING:
    from collections.abc import Callable

ENTROPY_OCTETS: Final = 48
_P256_ALGORITHM: Final = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_ED25519_PRIME: Final = 2**255 - 19
_ED25519_D: Final = -121665 * pow(121666, -1, _ED25519_PRIME) % _ED25519_PRIME


class Suite(StrEnum):
    """The registered suites (算法套件); the values stand in directories and key indexes."""

    SM2_SM3 = "sm2-sm3"
    P256 = "ecdsa-p256-sha256"
    ED25519 = "ed25519"


_FORMS: Final[dict[Suite, KeyForm]] = {
    Suite.SM2_SM3: SM2_FORM,
    Suite.P256: P256_FORM,
    Suite.ED25519: ED25519_FORM,
}


class _Signer(Protocol):
    spki: bytes

    def sign(self, octets: bytes) -> bytes: ...


class _Verifier(Protocol):
    def verify(self, octets: bytes, signature: bytes) -> bool: ...


def digest(suite: Suite, octets: bytes) -> bytes:
    """The suite's digest of the octets, 32 octets: SM3 for sm2-sm3, else SHA-256.

    Raises:
        UnavailableError: SUITE_UNAVAILABLE: nothing on this machine computes SM3.
    """
    return _DIGESTS[suite](octets)


def _sha256(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def _sm3() -> Callable[[bytes], bytes]:
    """SM3 by the quickest library that knows it; all of them were built with or without it."""
    try:
        blank = hashlib.new("sm3")
    except ValueError:
        return lambda octets: default_provider().sm3(octets)

    def sm3(octets: bytes) -> bytes:
        running = blank.copy()  # saves looking the algorithm up each time
        running.update(octets)
        return running.digest()

    return sm3


_DIGESTS: Final = {Suite.SM2_SM3: _sm3(), Suite.P256: _sha256, Suite.ED25519: _sha256}


def key_id(suite: Suite, spki: bytes) -> str:
    """The name of a public key: base64url, not padded, of its SPKI's digest: 43 characters."""
    return base64.urlsafe_b64encode(digest(suite, spki)).rstrip(b"=").decode("ascii")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key whose octets were checked; made by `load_public_key` only.

    Attributes:
        suite: The one suite it is good for.
        spki: Its canonical SubjectPublicKeyInfo, DER.
        key_id: `key_id(suite, spki)`.
    """

    suite: Suite
    spki: bytes
    key_id: str
    _verifier: _Verifier = field(repr=False, compare=False)

    def verify(self, octets: bytes, signature: bytes) -> bool:
        """Whether the signature (r‖s or Ed25519) is this key's over the octets.

        Returns:
            False for a wrong signature and for anything that is not 64 octets or out of range.

        Raises:
            UnavailableError: SUITE_UNAVAILABLE: the library failed, so nothing was checked.
        """
        return len(signature) == SIGNATURE_OCTETS and self._verifier.verify(octets, signature)


class PrivateKey:
    """A private key. Its secret is in no text form of it; ask `pkcs8` for the octets."""

    __slots__ = ("_secret", "_signer", "public", "suite")

    def __init__(self, suite: Suite, secret: bytes, sm2: Sm2Provider | None) -> None:
        """Use `private_key_from_entropy` or `load_private_key`."""
        self.suite: Final = suite
        self._secret: Final = secret
        self._signer: Final = _load_signer(suite, secret, sm2)
        self.public: Final = load_public_key(suite, self._signer.spki, sm2=sm2)

    def __repr__(self) -> str:
        return f"PrivateKey({self.suite}, {self.public.key_id})"

    def sign(self, octets: bytes) -> bytes:
        """A signature over the octets, 64 octets.

        P-256 (RFC 6979) and Ed25519 give the same signature each time, SM2 a fresh one.

        Raises:
            UnavailableError: SUITE_UNAVAILABLE: the SM2 library failed.
        """
        return self._signer.sign(octets)

    def pkcs8(self) -> bytes:
        """The PrivateKeyInfo, DER, not encrypted: as `openssl pkcs8 -topk8 -nocrypt` writes it."""
        return _FORMS[self.suite].pkcs8(self._secret, self.public.spki)


def load_public_key(suite: Suite, spki: bytes, *, sm2: Sm2Provider | None = None) -> PublicKey:
    """Check a public key and make it usable.

    Args:
        suite: The suite it is registered for.
        spki: SubjectPublicKeyInfo, DER.
        sm2: The SM2 provider; the machine's default if None.

    Raises:
        RefusedError: KEY_MALFORMED: not the one canonical encoding, another kind of key, or a
            point that is not on the curve (Ed25519: or of small order).
        UnavailableError: SUITE_UNAVAILABLE: an SM2 key and no provider.
    """
    form = _FORMS[suite]
    if not form.is_spki(spki):
        size = len(form.spki_prefix) + form.public_octets
        detail = f"{suite}: need the canonical SubjectPublicKeyInfo, {size} octets"
        raise RefusedError(Reason.KEY_MALFORMED, detail)
    try:
        verifier = _load_verifier(suite, spki, sm2)
    except ValueError as error:
        raise RefusedError(Reason.KEY_MALFORMED, f"{suite}: no valid point: {error}") from error
    return PublicKey(suite, spki, key_id(suite, spki), verifier)


def private_key_from_entropy(
    suite: Suite, entropy: bytes, *, sm2: Sm2Provider | None = None
) -> PrivateKey:
    """The private key of these random octets: same entropy, same key.

    A curve's scalar is the whole entropy reduced to the range of its keys (FIPS 186-5 A.2.1: 128
    bits more than the order leave no bias); an Ed25519 seed is its SHA-256.

    Args:
        suite: The suite to make a key for.
        entropy: At least 48 octets from a good source, used for nothing else.
        sm2: The SM2 provider; the machine's default if None.

    Raises:
        LocalUseError: less than 48 octets.
        UnavailableError: SUITE_UNAVAILABLE: an SM2 key and no provider.
    """
    if len(entropy) < ENTROPY_OCTETS:
        message = f"a key needs {ENTROPY_OCTETS} octets of entropy, got {len(entropy)}"
        raise LocalUseError(message)
    number = int.from_bytes(entropy)
    match suite:
        case Suite.SM2_SM3:
            secret = (1 + number % (SM2_ORDER - 2)).to_bytes(SECRET_OCTETS)
        case Suite.P256:
            secret = (1 + number % (P256_ORDER - 1)).to_bytes(SECRET_OCTETS)
        case Suite.ED25519:
            secret = hashlib.sha256(entropy).digest()
        case _:
            assert_never(suite)
    return PrivateKey(suite, secret, sm2)


def load_private_key(pkcs8: bytes, *, sm2: Sm2Provider | None = None) -> PrivateKey:
    """Read a private key in the form that `PrivateKey.pkcs8` writes; the suite follows from it.

    Args:
        pkcs8: PrivateKeyInfo, DER, not encrypted.
        sm2: The SM2 provider; the machine's default if None.

    Raises:
        RefusedError: KEY_MALFORMED: another form or kind of key, a secret out of range, or a public
            key inside that is not its own.
        UnavailableError: SUITE_UNAVAILABLE: an SM2 key and no provider.
    """
    for suite, form in _FORMS.items():
        secret = form.secret(pkcs8)
        if secret is None:
            continue
        try:
            key = PrivateKey(suite, secret, sm2)
        except ValueError:
            # Not chained: the message of a library may quote what it was given.
            raise RefusedError(Reason.KEY_MALFORMED, f"{suite}: secret out of range") from None
        if key.pkcs8() == pkcs8:
            return key
    detail = (
        "not a PKCS#8 key of a registered suite in its canonical form; "
        "write it with: openssl pkcs8 -topk8 -nocrypt"
    )
    raise RefusedError(Reason.KEY_MALFORMED, detail)


def _load_signer(suite: Suite, secret: bytes, sm2: Sm2Provider | None) -> _Signer:
    match suite:
        case Suite.SM2_SM3:
            return (sm2 or default_provider()).private_key(secret)
        case Suite.P256:
            return _P256Signer(ec.derive_private_key(int.from_bytes(secret), ec.SECP256R1()))
        case Suite.ED25519:
            return _Ed25519Signer(ed25519.Ed25519PrivateKey.from_private_bytes(secret))
        case _:
            assert_never(suite)


def _load_verifier(suite: Suite, spki: bytes, sm2: Sm2Provider | None) -> _Verifier:
    """The verifier of an SPKI that follows its template; ValueError if its point is no good."""
    form = _FORMS[suite]
    match suite:
        case Suite.SM2_SM3:
            return (sm2 or default_provider()).public_key(spki)
        case Suite.P256:
            point = spki[-form.public_octets - 1 :]
            return _P256Verifier(
                ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            )
        case Suite.ED25519:
            point = spki[-form.public_octets :]
            _check_ed25519_point(point)
            return _Ed25519Verifier(ed25519.Ed25519PublicKey.from_public_bytes(point))
        case _:
            assert_never(suite)


def _spki(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class _P256Signer:
    __slots__ = ("_key", "spki")

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.spki = _spki(key.public_key())

    def sign(self, octets: bytes) -> bytes:
        return raw_from_der(self._key.sign(octets, _P256_ALGORITHM))


class _P256Verifier:
    __slots__ = ("_key",)

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key

    def verify(self, octets: bytes, signature: bytes) -> bool:
        der = der_from_raw(signature)
        if der is None:
            return False
        try:
            self._key.verify(der, octets, _P256_ALGORITHM)
        except InvalidSignature:
            return False
        return True


class _Ed25519Signer:
    __slots__ = ("_key", "sign", "spki")

    def __init__(self, key: ed25519.Ed25519PrivateKey) -> None:
        self._key = key
        self.sign = key.sign
        self.spki = _spki(key.public_key())


class _Ed25519Verifier:
    __slots__ = ("_key",)

    def __init__(self, key: ed25519.Ed25519PublicKey) -> None:
        self._key = key

    def verify(self, octets: bytes, signature: bytes) -> bool:
        try:
            self._key.verify(signature, octets)
        except InvalidSignature:
            return False
        return True


def _check_ed25519_point(encoded: bytes) -> None:
    """Refuse what the library lets pass: no canonical point, or one of small order.

    Under a key of small order one signature fits many messages: its owner could deny any of them.
    Three doublings take exactly the eight points of small order to the neutral element, y = 1.

    Raises:
        ValueError: such a point.
    """
    p, d = _ED25519_PRIME, _ED25519_D
    y = int.from_bytes(encoded, "little") & (1 << 255) - 1
    x_squared = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
    if y >= p or pow(x_squared, (p - 1) // 2, p) == p - 1:
        message = "not the canonical encoding of a point"
        raise ValueError(message)
    for _ in range(3):
        y = (y * y + x_squared) * pow(2 + x_squared - y * y, -1, p) % p
        x_squared = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
    if y == 1:
        message = "a point of small order"
        raise ValueError(message)
