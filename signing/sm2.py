"""SM2 behind a port: two providers, one behaviour, and the choice between them.

A provider turns 32-octet scalars and canonical SubjectPublicKeyInfo octets into keys that sign and
verify r‖s (64 octets) with SM3 and the distinguishing identifier 1234567812345678 (GB/T 32918.2,
GM/T 0009). The system's OpenSSL 3 comes first: it is updated with the system, runs on every
processor and encrypts as well; `tongsuopy` stands in where that lacks SM2 (docs/decisions/).

Effects: choosing a provider loads a shared library, once per process; signing draws its nonce
inside that library. Nothing else here or in the providers touches the outside, and no environment
is read: who wants a certain provider passes it along.
"""

from __future__ import annotations

import functools
from typing import Protocol

from protocol.errors import UnavailableError
from protocol.reasons import Reason
from signing.sm2_openssl import load_openssl
from signing.sm2_tongsuopy import load_tongsuopy


class Sm2PrivateKey(Protocol):
    """A key that signs; `spki` is its public key as canonical SubjectPublicKeyInfo (DER)."""

    spki: bytes

    def sign(self, octets: bytes) -> bytes:
        """A fresh signature r‖s, 64 octets; UnavailableError when the library fails."""


class Sm2PublicKey(Protocol):
    """A key that verifies."""

    def verify(self, octets: bytes, signature: bytes) -> bool:
        """Whether the signature is valid; False if malformed, UnavailableError if not checked."""


class Sm2Provider(Protocol):
    """A library that knows SM2 and SM3. May be used from several threads at once."""

    @property
    def name(self) -> str:
        """What to call it in logs: "openssl" or "tongsuopy"."""

    def private_key(self, scalar: bytes) -> Sm2PrivateKey:
        """The key of 32 octets in 1..n-2; ValueError otherwise."""

    def public_key(self, spki: bytes) -> Sm2PublicKey:
        """The key in canonical SubjectPublicKeyInfo; ValueError for anything else."""

    def sm3(self, octets: bytes) -> bytes:
        """The SM3 digest, 32 octets."""


def default_provider() -> Sm2Provider:
    """The provider of this machine: OpenSSL 3, else tongsuopy; looked for once per process.

    Raises:
        UnavailableError: SUITE_UNAVAILABLE: neither is there; the detail says why for each.
    """
    found = _find()
    if isinstance(found, str):
        raise UnavailableError(Reason.SUITE_UNAVAILABLE, found)
    return found


@functools.cache
def _find() -> Sm2Provider | str:
    missing = []
    for load in (load_openssl, load_tongsuopy):
        try:
            return load()
        except UnavailableError as error:
            missing.append(error.detail)
    return "no SM2 on this machine: " + "; ".join(missing)
