"""SM2 through the system's OpenSSL 3: a narrow binding of the few libcrypto functions it takes.

Loading the shared library is the one effect the core allows itself; it happens when a provider is
asked for, never on import. SM2 signing draws its nonce inside the library.

Every call runs without the interpreter lock; keys are only read after they are loaded, contexts
live within one call, and OpenSSL's error queue is per thread: so threads may share keys.

Sources: GB/T 32918.2-2016 (signature; the default distinguishing identifier is GM/T 0009's),
GB/T 32905-2016 (SM3), OpenSSL's manual pages EVP_DigestSignInit(3), d2i_PUBKEY(3) and
EVP_SIGNATURE-SM2(7).
"""

from __future__ import annotations

import ctypes
from typing import Final

from protocol.errors import UnavailableError
from protocol.reasons import Reason
from signing.encodings import SM2_FORM, der_from_raw, raw_from_der, sm2_scalar

DISTINGUISHING_ID: Final = b"1234567812345678"
# With the major version in the name: a bare `libcrypto` may be any version, or another library.
LIBRARY_NAMES: Final = (
    "libcrypto.so.3",
    "libcrypto.so.4",
    "libcrypto.3.dylib",
    "libcrypto.4.dylib",
)

_LEAST_VERSION: Final = 0x30000000
_DER_SIGNATURE_OCTETS: Final = 72
_SM3_OCTETS: Final = 32
_ERROR_TEXT_OCTETS: Final = 256
# PrivateKeyInfo with an ECPrivateKey that leaves the public key out: OpenSSL computes it.
_SCALAR_PREFIX: Final = bytes.fromhex(
    "3041020100301306072a8648ce3d020106082a811ccf5501822d042730250201010420"
)

_POINTER: Final = ctypes.c_void_p
_CURSOR: Final = ctypes.POINTER(ctypes.c_void_p)
_SIZE: Final = ctypes.POINTER(ctypes.c_size_t)
_TEXT: Final = ctypes.c_char_p
_INT: Final = ctypes.c_int
# name: (result, arguments), as in the headers.
_PROTOTYPES: Final = {
    "OpenSSL_version_num": (ctypes.c_ulong, ()),
    "ERR_get_error": (ctypes.c_ulong, ()),
    "ERR_error_string_n": (None, (ctypes.c_ulong, _TEXT, ctypes.c_size_t)),
    "EVP_MD_fetch": (_POINTER, (_POINTER, _TEXT, _TEXT)),
    "EVP_SIGNATURE_fetch": (_POINTER, (_POINTER, _TEXT, _TEXT)),
    "EVP_SIGNATURE_free": (None, (_POINTER,)),
    "EVP_Digest": (_INT, (_TEXT, ctypes.c_size_t, _TEXT, _POINTER, _POINTER, _POINTER)),
    "d2i_AutoPrivateKey": (_POINTER, (_POINTER, _CURSOR, ctypes.c_long)),
    "d2i_PUBKEY": (_POINTER, (_POINTER, _CURSOR, ctypes.c_long)),
    "i2d_PUBKEY": (_INT, (_POINTER, _CURSOR)),
    "EVP_PKEY_free": (None, (_POINTER,)),
    "EVP_MD_CTX_new": (_POINTER, ()),
    "EVP_MD_CTX_free": (None, (_POINTER,)),
    "EVP_PKEY_CTX_set1_id": (_INT, (_POINTER, _TEXT, _INT)),
    "EVP_DigestSignInit_ex": (
        _INT,
        (_POINTER, _CURSOR, _TEXT, _POINTER, _TEXT, _POINTER, _POINTER),
    ),
    "EVP_DigestVerifyInit_ex": (
        _INT,
        (_POINTER, _CURSOR, _TEXT, _POINTER, _TEXT, _POINTER, _POINTER),
    ),
    "EVP_DigestSign": (_INT, (_POINTER, _TEXT, _SIZE, _TEXT, ctypes.c_size_t)),
    "EVP_DigestVerify": (_INT, (_POINTER, _TEXT, ctypes.c_size_t, _TEXT, ctypes.c_size_t)),
}


def _unavailable(detail: str) -> UnavailableError:
    return UnavailableError(Reason.SUITE_UNAVAILABLE, f"OpenSSL: {detail}")


def load_openssl(names: tuple[str, ...] = LIBRARY_NAMES) -> OpensslSm2:
    """The provider over the first of the named libraries that the system's loader finds.

    Raises:
        UnavailableError: SUITE_UNAVAILABLE: no such library, older than 3.0, or built or configured
            without SM2 or SM3; the detail says which.
    """
    for name in names:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        return OpensslSm2(library, name)
    raise _unavailable(f"none of {', '.join(names)} found; install OpenSSL 3")


class OpensslSm2:
    """SM2 and SM3 of one loaded libcrypto (an `Sm2Provider`)."""

    name: Final = "openssl"

    def __init__(self, library: ctypes.CDLL, library_name: str) -> None:
        for function, (result, arguments) in _PROTOTYPES.items():
            try:
                bound = getattr(library, function)
            except AttributeError:
                message = f"{library_name} has no {function}: not OpenSSL 3; install OpenSSL 3"
                raise _unavailable(message) from None
            bound.restype = result
            bound.argtypes = arguments
        self._library = library
        if library.OpenSSL_version_num() < _LEAST_VERSION:
            raise _unavailable(f"{library_name} is older than 3.0; install OpenSSL 3")
        self._sm3 = library.EVP_MD_fetch(None, b"SM3", None)
        signature = library.EVP_SIGNATURE_fetch(None, b"SM2", None)
        library.EVP_SIGNATURE_free(signature)
        if not self._sm3 or not signature:
            raise self._failure(f"{library_name} was built or configured without SM2 or SM3")

    def private_key(self, scalar: bytes) -> OpensslSm2PrivateKey:
        """The key of a 32-octet scalar in 1..n-2.

        Raises:
            ValueError: outside that range.
        """
        sm2_scalar(scalar)
        key = self._decode(self._library.d2i_AutoPrivateKey, _SCALAR_PREFIX + scalar)
        return OpensslSm2PrivateKey(self, key, self._spki(key))

    def public_key(self, spki: bytes) -> OpensslSm2PublicKey:
        """The key in a SubjectPublicKeyInfo (DER).

        Raises:
            ValueError: not the canonical form, another curve, or a point that is not on the curve.
        """
        if not SM2_FORM.is_spki(spki):
            message = "not the canonical SubjectPublicKeyInfo of an SM2 key"
            raise ValueError(message)
        return OpensslSm2PublicKey(self, self._decode(self._library.d2i_PUBKEY, spki))

    def sm3(self, octets: bytes) -> bytes:
        """The SM3 digest, 32 octets."""
        out = ctypes.create_string_buffer(_SM3_OCTETS)
        done = self._library.EVP_Digest(octets, len(octets), out, None, self._sm3, None)
        self._check(done, "EVP_Digest")
        return out.raw

    def _sign(self, key: _NativeKey, octets: bytes) -> bytes:
        """A signature, r‖s."""
        out = ctypes.create_string_buffer(_DER_SIGNATURE_OCTETS)
        size = ctypes.c_size_t(_DER_SIGNATURE_OCTETS)
        context = self._context(self._library.EVP_DigestSignInit_ex, key)
        try:
            done = self._library.EVP_DigestSign(
                context, out, ctypes.byref(size), octets, len(octets)
            )
            self._check(done, "EVP_DigestSign")
        finally:
            self._library.EVP_MD_CTX_free(context)
        return raw_from_der(out.raw[: size.value])

    def _verify(self, key: _NativeKey, octets: bytes, signature: bytes) -> bool:
        der = der_from_raw(signature)
        if der is None:
            return False
        context = self._context(self._library.EVP_DigestVerifyInit_ex, key)
        try:
            verdict = self._library.EVP_DigestVerify(context, der, len(der), octets, len(octets))
        finally:
            self._library.EVP_MD_CTX_free(context)
        if verdict == 1:
            return True
        failure = self._failure("EVP_DigestVerify failed")  # drains the error queue as well
        if verdict == 0:
            return False
        raise failure

    def _context(self, initialise: ctypes._NamedFuncPointer, key: _NativeKey) -> int:
        """A digest context ready for one signature or verification; the caller frees it."""
        library = self._library
        context: int | None = library.EVP_MD_CTX_new()
        if context is None:
            raise self._failure("EVP_MD_CTX_new failed")
        try:
            key_context = _POINTER()
            done = initialise(
                context, ctypes.byref(key_context), b"SM3", None, None, key.pointer, None
            )
            self._check(done, "EVP_DigestSignInit_ex or EVP_DigestVerifyInit_ex")
            done = library.EVP_PKEY_CTX_set1_id(
                key_context, DISTINGUISHING_ID, len(DISTINGUISHING_ID)
            )
            self._check(done, "EVP_PKEY_CTX_set1_id")
        except BaseException:
            library.EVP_MD_CTX_free(context)
            raise
        return context

    def _decode(self, decode: ctypes._NamedFuncPointer, der: bytes) -> _NativeKey:
        source = ctypes.create_string_buffer(der, len(der))
        cursor = _POINTER(ctypes.addressof(source))
        pointer = decode(None, ctypes.byref(cursor), len(der))
        queued = self._drain()
        if not pointer:
            message = f"not an SM2 key: {queued}"
            raise ValueError(message)
        return _NativeKey(pointer, self._library.EVP_PKEY_free)

    def _spki(self, key: _NativeKey) -> bytes:
        size = self._library.i2d_PUBKEY(key.pointer, None)
        self._check(size, "i2d_PUBKEY")
        out = ctypes.create_string_buffer(size)
        cursor = _POINTER(ctypes.addressof(out))
        self._check(self._library.i2d_PUBKEY(key.pointer, ctypes.byref(cursor)), "i2d_PUBKEY")
        return out.raw

    def _check(self, done: int, function: str) -> None:
        if done <= 0:
            raise self._failure(f"{function} failed")

    def _failure(self, what: str) -> UnavailableError:
        queued = self._drain()
        return _unavailable(f"{what}: {queued}" if queued else what)

    def _drain(self) -> str:
        """Empty this thread's error queue; its text, oldest first."""
        texts = []
        while code := self._library.ERR_get_error():
            text = ctypes.create_string_buffer(_ERROR_TEXT_OCTETS)
            self._library.ERR_error_string_n(code, text, _ERROR_TEXT_OCTETS)
            texts.append(text.value.decode(errors="replace"))
        return "; ".join(texts)


class _NativeKey:
    """Owns one EVP_PKEY."""

    __slots__ = ("_free", "pointer")

    def __init__(self, pointer: int, free: ctypes._NamedFuncPointer) -> None:
        self.pointer = pointer
        self._free = free

    def __del__(self) -> None:
        self._free(self.pointer)


class OpensslSm2PrivateKey:
    """A signing key (an `Sm2PrivateKey`)."""

    __slots__ = ("_key", "_provider", "spki")

    def __init__(self, provider: OpensslSm2, key: _NativeKey, spki: bytes) -> None:
        self._provider = provider
        self._key = key
        self.spki = spki

    def sign(self, octets: bytes) -> bytes:
        """SM2 with SM3 over the octets: r‖s, 64 octets.

        Raises:
            UnavailableError: SUITE_UNAVAILABLE: the library failed.
        """
        return self._provider._sign(self._key, octets)  # noqa: SLF001


class OpensslSm2PublicKey:
    """A verifying key (an `Sm2PublicKey`)."""

    __slots__ = ("_key", "_provider")

    def __init__(self, provider: OpensslSm2, key: _NativeKey) -> None:
        self._provider = provider
        self._key = key

    def verify(self, octets: bytes, signature: bytes) -> bool:
        """Whether the 64 octets r‖s are this key's signature; False for anything malformed.

        Raises:
            UnavailableError: SUITE_UNAVAILABLE: the library failed, so nothing was checked.
        """
        return self._provider._verify(self._key, octets, signature)  # noqa: SLF001
