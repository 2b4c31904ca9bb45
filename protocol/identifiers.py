"""Identifiers: message and case ids, node ids, codes of authorities and of persons.

Rules: UUIDv7 is RFC 9562 §5.7; node ids and regions are GB/T 2260 codes; authorities are unified
social credit codes (GB 32100, check character as in ISO 7064 style mod 31); identity numbers are GB
11643 (ISO 7064 MOD 11-2).
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from operator import mul
from typing import Final

from protocol.errors import LocalUseError

ENTROPY_OCTETS: Final = 10
_CASE_DOMAIN: Final = b"TONGBAN-CASE-1\x00"
_UUID7: Final = re.compile(
    r"\A[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z"
)
_REGION: Final = re.compile(r"\A[1-9][0-9]{5}\Z")
_PART_ID: Final = re.compile(r"\A[a-z][a-z0-9-]{0,31}\Z")
_USCC_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_VALUES: Final = {character: value for value, character in enumerate(_USCC_ALPHABET)}
_USCC_WEIGHTS: Final = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
_IDENTITY_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_IDENTITY_OF_ZEROS: Final = ord("0") * sum(_IDENTITY_WEIGHTS)
_IDENTITY_CHECKS: Final = "10X98765432"
_USCC_LENGTH: Final = 18


def make_uuid7(now_ms: int, entropy: bytes) -> str:
    """A UUIDv7 from an instant and 10 octets of entropy (74 bits are used).

    Raises:
        LocalUseError: not exactly 10 octets, or an instant outside 48 bits.
    """
    if len(entropy) != ENTROPY_OCTETS or not 0 <= now_ms < 1 << 48:
        message = f"need {ENTROPY_OCTETS} octets of entropy and a 48-bit instant"
        raise LocalUseError(message)
    number = int.from_bytes(entropy)
    value = (
        now_ms << 80
        | 0x7 << 76
        | (number >> 62 & 0xFFF) << 64
        | 0b10 << 62
        | number & (1 << 62) - 1
    )
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def case_id_of(authority: str, message_id: str) -> str:
    """The id of the case that this message of this authority opens (CA-5).

    A UUIDv7 with the time of the message's; its other 74 bits are the head of the SHA-256 of
    ``"TONGBAN-CASE-1" 00 | authority | message id (16 octets)``. Case ids travel in the clear:
    whoever sees one cannot open a case of his own under it.
    """
    octets = uuid_octets(message_id)
    drawn = hashlib.sha256(_CASE_DOMAIN + authority.encode() + octets).digest()
    return make_uuid7(int.from_bytes(octets[:6]), (int.from_bytes(drawn[:10]) >> 6).to_bytes(10))


def is_uuid7(text: str) -> bool:
    """Whether the text is a UUIDv7 in its lower-case written form."""
    return _UUID7.match(text) is not None


def uuid_octets(text: str) -> bytes:
    """The 16 octets of a UUID in its written form."""
    return bytes.fromhex(text.replace("-", ""))


def uuid_text(octets: bytes) -> str:
    """The lower-case written form of 16 octets."""
    digits = octets.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def province_of(code: str) -> str:
    """The prefix of the province a node or region code lies in: its first two digits."""
    return code[:2]


def is_region(text: str) -> bool:
    """Whether the text has the shape of a GB/T 2260 code (six ASCII digits)."""
    return _REGION.match(text) is not None


def is_part_id(text: str) -> bool:
    """Whether the text may name a part: a lower-case letter, then up to 31 letters, digits, -."""
    return _PART_ID.match(text) is not None


def uscc_check(body: str) -> str:
    """The check character for the first 17 characters of a unified social credit code.

    Raises:
        ValueError: a character outside the alphabet, or not 17 of them.
    """
    if len(body) != _USCC_LENGTH - 1:
        message = f"need 17 characters, got {len(body)}"
        raise ValueError(message)
    try:
        total = sum(map(mul, map(_USCC_VALUES.__getitem__, body), _USCC_WEIGHTS))
    except KeyError as error:
        message = f"{error} is not in the alphabet of these codes"
        raise ValueError(message) from None
    return _USCC_ALPHABET[(31 - total % 31) % 31]


def is_uscc(text: str) -> bool:
    """Whether the text is a unified social credit code with a valid check character."""
    return len(text) == _USCC_LENGTH and _is_uscc(text)


@lru_cache(4096)  # of the same few authorities each message speaks
def _is_uscc(text: str) -> bool:
    return _USCC_VALUES.keys() >= set(text) and uscc_check(text[:17]) == text[17]


def identity_check(body: str) -> str:
    """The check character for the first 17 digits of a resident identity number.

    Raises:
        ValueError: not 17 ASCII digits.
    """
    if len(body) != _USCC_LENGTH - 1 or not (body.isascii() and body.isdigit()):
        message = "need 17 digits"
        raise ValueError(message)
    total = sum(map(mul, body.encode(), _IDENTITY_WEIGHTS)) - _IDENTITY_OF_ZEROS
    return _IDENTITY_CHECKS[total % 11]


def is_identity_number(text: str) -> bool:
    """Whether the text is an identity number of 18 with a valid check character (capital X)."""
    body = text[:17]
    if len(text) != _USCC_LENGTH or not (body.isascii() and body.isdigit()):
        return False
    return identity_check(body) == text[17]
