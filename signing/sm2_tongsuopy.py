"""SM2 through the Python package `tongsuopy`: for machines whose OpenSSL lacks SM2.

Its wheels carry a library of their own (Tongsuo 8.3), which nobody updates with the system; so it
comes second. It always signs with the default distinguishing identifier, 1234567812345678.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from protocol.errors import UnavailableError
from protocol.reasons import Reason
from signing.encodings import SM2_FORM, der_from_raw, raw_from_der, sm2_scalar

if TYPE_CHECKING:
    from types import ModuleType

_PARTS: Final = {
    "curves": "tongsuopy.crypto.asymciphers.ec",
    "hashes": "tongsuopy.crypto.hashes",
    "serialization": "tongsuopy.crypto.serialization",
    "exceptions": "tongsuopy.crypto.exceptions",
}


def _unavailable(detail: object) -> UnavailableError:
    return UnavailableError(Reason.SUITE_UNAVAILABLE, f"tongsuopy: {detail}")


def load_tongsuopy() -> TongsuopySm2:
    """The provider over the installed package.

    Raises:
        UnavailableError: SUITE_UNAVAILABLE: not installed, or not for this platform.
    """
    try:
        parts = {part: importlib.import_module(module) for part, module in _PARTS.items()}
    except ImportError as error:
        message = f"{error}; install tongsuopy (x86-64 Linux)"
        raise _unavailable(message) from error
    return TongsuopySm2(**parts)


class TongsuopySm2:
    """SM2 and SM3 of the package (an `Sm2Provider`). It ships no types, hence `Any` inside."""

    name: Final = "tongsuopy"

    def __init__(
        self,
        curves: ModuleType,
        hashes: ModuleType,
        serialization: ModuleType,
        exceptions: ModuleType,
    ) -> None:
        self._curves = curves
        self._hashes = hashes
        self._serialization = serialization
        self._unloadable = (ValueError, exceptions.UnsupportedAlgorithm, exceptions.InternalError)
        self._invalid: type[Exception] = exceptions.InvalidSignature
        self._failure: type[Exception] = exceptions.InternalError
        self._algorithm: Any = curves.ECDSA(hashes.SM3())

    def private_key(self, scalar: bytes) -> TongsuopySm2PrivateKey:
        """The key of a 32-octet scalar in 1..n-2.

        Raises:
            ValueError: outside that range.
        """
        key = self._curves.derive_private_key(sm2_scalar(scalar), self._curves.SM2())
        forms = self._serialization
        spki: bytes = key.public_key().public_bytes(
            forms.Encoding.DER, forms.PublicFormat.SubjectPublicKeyInfo
        )
        return TongsuopySm2PrivateKey(self, key, spki)

    def public_key(self, spki: bytes) -> TongsuopySm2PublicKey:
        """The key in a SubjectPublicKeyInfo (DER).

        Raises:
            ValueError: not the canonical form, another curve, or a point that is not on the curve.
        """
        if not SM2_FORM.is_spki(spki):
            message = "not the canonical SubjectPublicKeyInfo of an SM2 key"
            raise ValueError(message)
        try:
            key = self._serialization.load_der_public_key(spki)
        except self._unloadable as error:
            message = "not an SM2 key: the point is not on the curve"
            raise ValueError(message) from error
        return TongsuopySm2PublicKey(self, key)

    def sm3(self, octets: bytes) -> bytes:
        """The SM3 digest, 32 octets."""
        running = self._hashes.Hash(self._hashes.SM3())
        running.update(octets)
        digest: bytes = running.finalize()
        return digest

    def _sign(self, key: Any, octets: bytes) -> bytes:  # noqa: ANN401
        try:
            return raw_from_der(key.sign(octets, self._algorithm))
        except self._failure as error:
            raise _unavailable(error) from error

    def _verify(self, key: Any, octets: bytes, signature: bytes) -> bool:  # noqa: ANN401
        der = der_from_raw(signature)
        if der is None:
            return False
        try:
            key.verify(der, octets, self._algorithm)
        except self._invalid:
            return False
        except self._failure as error:
            raise _unavailable(error) from error
        return True


class TongsuopySm2PrivateKey:
    """A signing key (an `Sm2PrivateKey`)."""

    __slots__ = ("_key", "_provider", "spki")

    def __init__(self, provider: TongsuopySm2, key: Any, spki: bytes) -> None:  # noqa: ANN401
        self._provider = provider
        self._key = key
        self.spki = spki

    def sign(self, octets: bytes) -> bytes:
        """SM2 with SM3 over the octets: r‖s, 64 octets.

        Raises:
            UnavailableError: SUITE_UNAVAILABLE: the library failed.
        """
        return self._provider._sign(self._key, octets)  # noqa: SLF001


class TongsuopySm2PublicKey:
    """A verifying key (an `Sm2PublicKey`)."""

    __slots__ = ("_key", "_provider")

    def __init__(self, provider: TongsuopySm2, key: Any) -> None:  # noqa: ANN401
        self._provider = provider
        self._key = key

    def verify(self, octets: bytes, signature: bytes) -> bool:
        """Whether the 64 octets r‖s are this key's signature; False for anything malformed.

        Raises:
            UnavailableError: SUITE_UNAVAILABLE: the library failed, so nothing was checked.
        """
        return self._provider._verify(self._key, octets, signature)  # noqa: SLF001
