"""Erasure (删除): what is on record when a message's contents were erased and its proof stays.

The record stands in the log as a leaf, and in evidence files in the place of the contents. It says
when, on whose order and on which ground of 个人信息保护法 第四十七条; which person gave it and why
it only commits to, because that may be about people, and a file goes to strangers. Layout,
integers big-endian:

    ======  ======  =====================================================================
    offset  length  field
    ======  ======  =====================================================================
    0       4       "TBX1"
    4       1       ground, the number of the item of 第四十七条: 1 to 5
    5       18      authority that ordered it, ASCII
    23      8       instant, milliseconds since 1970 UTC
    31      32      message digest
    63      32      digest of the order (`Order.digest`)
    ======  ======  =====================================================================

The leaf's digest is SHA-256 of ``"TONGBAN-ERASURE-1" 00`` and the record (EV-25).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final

from protocol.errors import RefusedError
from protocol.identifiers import is_uscc
from protocol.reasons import Reason
from signing.log import Leaf, LeafType

ERASURE_OCTETS: Final = 95
MAX_NAME: Final = 50
"""Characters of a name or staff number in an order."""
MAX_NOTE: Final = 500
"""Characters of the words of an order."""

_MAGIC: Final = b"TBX1"
_RECORD: Final = struct.Struct(">4sB18sQ32s32s")
_DOMAIN: Final = b"TONGBAN-ERASURE-1\x00"
_ORDER_DOMAIN: Final = b"TONGBAN-ERASURE-ORDER-1\x00"


class Ground(Enum):
    """Why contents are erased: the items of 个人信息保护法 第四十七条第一款."""

    def __init__(self, number: int, code: str, chinese: str, english: str) -> None:
        self.number: Final = number
        self.code: Final = code
        self.chinese: Final = chinese
        self.english: Final = english

    PURPOSE = (1, "purpose-over", "处理目的已实现、无法实现或不再必要", "their purpose is over")
    RETENTION = (2, "retention-over", "停止提供服务或保存期限届满", "the time to keep them ended")
    CONSENT = (3, "consent-withdrawn", "个人撤回同意", "consent was withdrawn")
    UNLAWFUL = (
        4,
        "unlawful",
        "处理违反法律、法规或约定",
        "keeping them breaks law or contract",
    )
    OTHER = (5, "other-law", "法律、行政法规规定的其他情形", "another law says so")


_BY_NUMBER: Final = {ground.number: ground for ground in Ground}


@dataclass(frozen=True, slots=True)
class Order:
    """Who ordered an erasure, and why.

    Attributes:
        authority: USCC of the authority whose copy is erased, or of its heir.
        name, staff_number: Of the person who decided.
        ground: By law.
        note: In words; may be empty.
    """

    authority: str
    name: str
    staff_number: str
    ground: Ground
    note: str = ""

    def digest(self, salt: bytes) -> bytes:
        """SHA-256; the salt of 16 octets keeps names from being guessed."""
        words = (self.name.encode(), self.staff_number.encode(), self.note.encode())
        told = b"".join(len(word).to_bytes(2) + word for word in words)
        return hashlib.sha256(_ORDER_DOMAIN + salt + told).digest()


@dataclass(frozen=True, slots=True)
class Erasure:
    """The record of the module's docstring."""

    ground: Ground
    authority: str
    erased_ms: int
    message_digest: bytes
    order_digest: bytes

    @property
    def octets(self) -> bytes:
        """As it is kept and shown."""
        return _RECORD.pack(
            _MAGIC,
            self.ground.number,
            self.authority.encode("ascii"),
            self.erased_ms,
            self.message_digest,
            self.order_digest,
        )

    @property
    def leaf(self) -> Leaf:
        """What stands in the log."""
        return Leaf(LeafType.ERASURE, self.erased_ms, erasure_digest(self.octets))


def erasure_digest(octets: bytes) -> bytes:
    """What a record is logged under."""
    return hashlib.sha256(_DOMAIN + octets).digest()


def read_erasure(octets: bytes) -> Erasure:
    """Read a record.

    Raises:
        RefusedError: EVIDENCE_INVALID: not in its layout.
    """
    try:
        magic, number, authority, erased_ms, what, order = _RECORD.unpack(octets)
        ground = _BY_NUMBER[number]
        named = authority.decode("ascii")
    except (struct.error, KeyError, UnicodeDecodeError) as error:
        raise RefusedError(Reason.EVIDENCE_INVALID, "not a record of an erasure") from error
    if magic != _MAGIC or not is_uscc(named):
        raise RefusedError(Reason.EVIDENCE_INVALID, "not a record of an erasure by an authority")
    return Erasure(ground, named, erased_ms, what, order)
