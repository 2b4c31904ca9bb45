"""A suite's digest over octets that come in pieces: for parts too large for memory.

`signing.suites.digest` takes what is there at once; this takes it piece by piece, and gives the
same 32 octets.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from protocol.errors import UnavailableError
from protocol.reasons import Reason
from signing.suites import Suite


class RunningDigest(Protocol):
    """A digest that has not seen everything yet. Not to be used from two threads at once."""

    def update(self, octets: bytes | memoryview, /) -> None:
        """These octets come next."""
        ...

    def digest(self) -> bytes:
        """The digest of all so far, 32 octets; more may follow."""
        ...


def running_digest(suite: Suite) -> RunningDigest:
    """The suite's digest of nothing yet: SM3 for sm2-sm3, else SHA-256.

    Large updates run without the interpreter lock.

    Raises:
        UnavailableError: SUITE_UNAVAILABLE: this Python's OpenSSL was built without SM3.
    """
    if suite is not Suite.SM2_SM3:
        return hashlib.sha256()
    try:
        return hashlib.new("sm3")
    except ValueError as error:
        detail = "this Python has no SM3: build it with an OpenSSL that does"
        raise UnavailableError(Reason.SUITE_UNAVAILABLE, detail) from error
