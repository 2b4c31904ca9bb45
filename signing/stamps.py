"""Time stamps (时间戳) over log heads: what an authority outside says was there, and when.

A stamp is the DER response of a time-stamping authority (RFC 3161) whose message imprint is the
SHA-256 digest of a signed head's octets. It dates the head, the head dates every leaf its log had
by then, and a leaf names a message or receipt by digest: whoever stole a key later cannot make
something old with it (TS-1 to TS-3).

Checked against certificates from outside, which count at the instant of the stamp, not today:
an authority's certificate may well have run out when a stamp is needed. SM3 imprints are not made
yet: the library knows the SHA-2 family only.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

from cryptography import x509
from rfc3161_client import (
    PKIStatus,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from protocol.errors import RefusedError
from protocol.limits import MAX_STAMP_OCTETS
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

StampRoots: TypeAlias = "Sequence[x509.Certificate]"
"""The certificates a time-stamping authority is believed under."""

_SHA_256: Final = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")
_MOST_ROOTS: Final = 16
_MS: Final = timedelta(milliseconds=1)


def imprint(head: bytes) -> bytes:
    """What is stamped: the SHA-256 digest of a signed head's octets."""
    return hashlib.sha256(head).digest()


def read_roots(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file, at least one and at most sixteen.

    Raises:
        RefusedError: STAMP_INVALID: it holds none, or something else.
    """
    try:
        roots = tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise _invalid("no certificate in PEM form") from error
    if len(roots) > _MOST_ROOTS:
        raise _invalid(f"{len(roots)} certificates, at most {_MOST_ROOTS}")
    return roots


def verify_stamp(stamp: bytes, head: bytes, roots: StampRoots, nonce: int | None = None) -> int:
    """The latest instant at which the head can have been made, by what the stamp says (TS-2).

    Args:
        stamp: The authority's response, DER.
        head: The octets of the signed head it is over.
        roots: Believed, from outside.
        nonce: Of the request, while it is known.

    Returns:
        Milliseconds since 1970 UTC: the time of the stamp and its stated accuracy.

    Raises:
        RefusedError: STAMP_INVALID, naming what does not hold.
    """
    if len(stamp) > MAX_STAMP_OCTETS:
        raise _invalid(f"{len(stamp)} octets, at most {MAX_STAMP_OCTETS}")
    try:
        response = decode_timestamp_response(stamp)
        if PKIStatus(response.status) is not PKIStatus.GRANTED:
            raise _invalid(f"not granted: status {response.status}")
        said = response.tst_info.message_imprint
    except ValueError as error:
        raise _invalid("not a time stamp response (RFC 3161)") from error
    if said.hash_algorithm != _SHA_256:
        raise _invalid("its imprint is no SHA-256 digest")
    builder = VerifierBuilder(roots=list(roots), nonce=nonce)
    try:
        builder.build().verify(response, imprint(head))
    except (VerificationError, ValueError) as error:
        raise _invalid(str(error)) from error
    return _latest_ms(response)


def _latest_ms(response: TimeStampResponse) -> int:
    told = response.tst_info.accuracy
    accuracy = timedelta()
    if told is not None:
        # Each of the three may be left out (RFC 3161 §2.4.2), and be as large as its author likes.
        try:
            accuracy = timedelta(
                seconds=told.seconds or 0,
                milliseconds=told.millis or 0,
                microseconds=told.micros or 0,
            )
        except OverflowError as error:
            raise _invalid("its accuracy is longer than any time") from error
    instant = response.tst_info.gen_time.timestamp()
    return int(instant * 1000) + -(-accuracy // _MS)


def _invalid(what: str) -> RefusedError:
    return RefusedError(Reason.STAMP_INVALID, what)
