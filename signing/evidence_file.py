"""The evidence file's form (存证文件格式): octets in and out, nothing verified.

A file is the magic ``TBEV1`` LF and then records ``u8 type | u32 length | octets`` (big-endian), in
this order and no other:

    ====  =========  ==================================================================
    type  record     octets
    ====  =========  ==================================================================
    1     about      canonical JSON: format, environment, subject, exporter, instant
    2     directory  a province's signed directory document; one or more
    6     head       the exporting node's signed log head, at most one
    7     stamp      a time stamp over it (RFC 3161), at most one
    3     envelope   one message; then, for this message:
    4     part       u8 n | part id | octets; a longer part goes on in the next record
    10    erasure    in the place of parts: the record that they were erased
    5     receipt    the destination's, and the custody of forwarders
    8     proof      leaf (41 octets) | u64 index | path (k x 32): a leaf of the head's log
    9     seal       key id (32 octets, raw) | signature (64 octets), and nothing after it
    ====  =========  ==================================================================

The seal is the exporting node's signature over ``TONGBAN-EVIDENCE-1`` NUL and the digest (of its
key's suite) of every octet before the seal's record. No record points at another, so a file can be
written front to back (`signing.evidence_writer`) while parts come from a disk. A reader holds all
but the parts in memory, within a bound; parts stay where they are and are read piece by piece. What
the records have to say is checked in `signing.evidence`.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from protocol.errors import RefusedError
from protocol.identifiers import is_region, is_uuid7
from protocol.instants import format_instant, parse_instant
from protocol.limits import (
    HEAD_OCTETS,
    MAX_DOCUMENT_OCTETS,
    MAX_ENVELOPE_OCTETS,
    MAX_PIECE_OCTETS,
    MAX_STAMP_OCTETS,
    MIB,
)
from protocol.reasons import Reason
from protocol.receipt import MAX_RECEIPT_OCTETS
from signing.erasure import ERASURE_OCTETS
from signing.log import LEAF_OCTETS
from signing.running import running_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from protocol.envelope import Environment
    from signing.suites import Suite

MAGIC: Final = b"TBEV1\n"
MEDIA_TYPE: Final = "application/vnd.tongban.evidence"
FORMAT: Final = "tongban-evidence-1"
SEAL_DOMAIN: Final = b"TONGBAN-EVIDENCE-1\x00"
MAX_RECORDS: Final = 100_000
"""Records in one file: a long case with every material it may have."""
MAX_HELD_OCTETS: Final = 256 * MIB
"""Octets of all records that are no parts: what a reader holds in memory (EV-32)."""

_MAX_ABOUT_OCTETS: Final = 4096
_MAX_NAME_OCTETS: Final = 32
_MAX_PART_OCTETS: Final = 1 + _MAX_NAME_OCTETS + MAX_PIECE_OCTETS
_KEY_OCTETS: Final = 32
_SEAL_OCTETS: Final = _KEY_OCTETS + 64
_HEAD: Final = struct.Struct(">BI")
_INDEX: Final = struct.Struct(">Q")
_NODE_OCTETS: Final = 32
MAX_PATH: Final = 63
"""Hashes of one inclusion proof: a log has fewer than 2^63 leaves."""


class Record(Enum):
    """The record types: number, and the most octets one may have."""

    ABOUT = (1, _MAX_ABOUT_OCTETS)
    DIRECTORY = (2, MAX_DOCUMENT_OCTETS)
    ENVELOPE = (3, MAX_ENVELOPE_OCTETS)
    PART = (4, _MAX_PART_OCTETS)
    RECEIPT = (5, MAX_RECEIPT_OCTETS)
    HEAD = (6, HEAD_OCTETS)
    STAMP = (7, MAX_STAMP_OCTETS)
    PROOF = (8, LEAF_OCTETS + 8 + MAX_PATH * 32)
    SEAL = (9, _SEAL_OCTETS)
    ERASURE = (10, ERASURE_OCTETS)

    def __init__(self, number: int, largest: int) -> None:
        self.number: Final = number
        self.largest: Final = largest


_RECORDS: Final = {record.number: record for record in Record}

# After a record of this type may come one of these.
_NEXT: Final[Mapping[Record | None, tuple[Record, ...]]] = {
    None: (Record.ABOUT,),
    Record.ABOUT: (Record.DIRECTORY,),
    Record.DIRECTORY: (Record.DIRECTORY, Record.HEAD, Record.ENVELOPE),
    Record.HEAD: (Record.STAMP, Record.ENVELOPE),
    Record.STAMP: (Record.ENVELOPE,),
    Record.ENVELOPE: (Record.PART, Record.ERASURE, Record.RECEIPT),
    Record.PART: (Record.PART, Record.RECEIPT),
    Record.ERASURE: (Record.RECEIPT,),
    Record.RECEIPT: (Record.RECEIPT, Record.PROOF, Record.ENVELOPE, Record.SEAL),
    Record.PROOF: (Record.PROOF, Record.ENVELOPE, Record.SEAL),
    Record.SEAL: (),
}


class Subject(StrEnum):
    """What a file is about."""

    CASE = "case"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class About:
    """What a file says it is: subject kind and id (UUIDv7), exporting node, instant of export."""

    environment: Environment
    subject: Subject
    subject_id: str
    node: str
    exported_ms: int


class Source(Protocol):
    """Where a file is read from."""

    @property
    def size(self) -> int:
        """Octets."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """So many octets from there on; fewer only if it ends before."""
        ...


@dataclass(frozen=True, slots=True)
class InMemory:
    """A file that is held whole."""

    octets: bytes

    @property
    def size(self) -> int:
        """See `Source.size`."""
        return len(self.octets)

    def read(self, offset: int, length: int) -> bytes:
        """See `Source.read`."""
        return self.octets[offset : offset + length]


@dataclass(frozen=True, slots=True)
class Contents:
    """A part, where it stands in the file.

    Attributes:
        source: The file.
        pieces: Offset and length of each, in order; at most `MAX_PIECE_OCTETS`.
    """

    source: Source
    pieces: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Octets."""
        return sum(length for _, length in self.pieces)

    def digest(self, suite: Suite) -> bytes:
        """The suite's digest of it.

        Raises:
            UnavailableError: SUITE_UNAVAILABLE.
        """
        running = running_digest(suite)
        for offset, length in self.pieces:
            running.update(self.source.read(offset, length))
        return running.digest()


@dataclass(frozen=True, slots=True)
class MessageEvidence:
    """One message as a file has it.

    Attributes:
        envelope: As signed.
        parts: Those that are there, by id.
        receipts: As signed.
        proofs: That message and receipts stand in the log of the file's head; see `LeafProof`.
        erasure: The record that the parts were erased.
    """

    envelope: bytes
    parts: Mapping[str, Contents]
    receipts: Sequence[bytes]
    proofs: Sequence[LeafProof] = ()
    erasure: bytes | None = None


@dataclass(frozen=True, slots=True)
class LeafProof:
    """A leaf of a log and how it leads to the root: 41 octets, its place, the path of RFC 9162."""

    leaf: bytes
    index: int
    path: tuple[bytes, ...]

    @property
    def octets(self) -> bytes:
        """As a record holds it."""
        return self.leaf + _INDEX.pack(self.index) + b"".join(self.path)


@dataclass(frozen=True, slots=True)
class LogEvidence:
    """What dates a file: the exporting node's signed head, and a time stamp over it if any."""

    head: bytes
    stamp: bytes | None = None


@dataclass(frozen=True, slots=True)
class Seal:
    """The last record: whose key, its signature, and what it has to be over."""

    key_id: str
    signature: bytes
    content: Contents

    def signed_octets(self, suite: Suite) -> bytes:
        """What the signature covers, by the suite of the key."""
        return SEAL_DOMAIN + self.content.digest(suite)


@dataclass(frozen=True, slots=True)
class EvidenceFile:
    """A file taken apart; nothing is verified yet."""

    about: bytes
    directories: tuple[bytes, ...]
    messages: tuple[MessageEvidence, ...]
    seal: Seal
    log: LogEvidence | None = None


def write_about(about: About) -> bytes:
    """The one form of the description: JSON with sorted members and no white space."""
    tree = {
        "environment": about.environment,
        "exported": format_instant(about.exported_ms),
        "format": FORMAT,
        "node": about.node,
        "subject": about.subject.value,
        "subjectId": about.subject_id,
    }
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


def take_apart(source: Source) -> EvidenceFile:
    """Split a file into its records; every length is checked before it is used.

    Raises:
        RefusedError: EVIDENCE_INVALID, naming the place.
    """
    if source.read(0, len(MAGIC)) != MAGIC:
        raise invalid("does not begin like an evidence file")
    records = list(_split(source))
    if not records or records[-1].record is not Record.SEAL:
        raise invalid("no seal at the end")
    seal = records[-1]
    if len(seal.body) != _SEAL_OCTETS:
        raise invalid(f"a seal of {len(seal.body)} octets")
    key_id = base64.urlsafe_b64encode(seal.body[:_KEY_OCTETS]).decode("ascii").rstrip("=")
    head = next((row.body for row in records if row.record is Record.HEAD), None)
    stamp = next((row.body for row in records if row.record is Record.STAMP), None)
    steps = range(0, seal.place, MAX_PIECE_OCTETS)
    content = tuple((place, min(MAX_PIECE_OCTETS, seal.place - place)) for place in steps)
    return EvidenceFile(
        about=records[0].body,
        directories=tuple(row.body for row in records if row.record is Record.DIRECTORY),
        messages=tuple(_messages(source, records)),
        seal=Seal(key_id, seal.body[_KEY_OCTETS:], Contents(source, content)),
        log=None if head is None else LogEvidence(head, stamp),
    )


@dataclass(frozen=True, slots=True)
class _Placed:
    """A record, where it begins, and its octets: of a part only the first, and all its length."""

    place: int
    record: Record
    body: bytes
    length: int


@dataclass(slots=True)
class _Message:
    """An envelope and what has followed it so far."""

    envelope: bytes
    parts: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    receipts: list[bytes] = field(default_factory=list)
    proofs: list[LeafProof] = field(default_factory=list)
    erasure: bytes | None = None

    def add_piece(self, row: _Placed) -> None:
        """A piece of the part before, or the first of another."""
        name = _part_name(row)
        began = row.place + _HEAD.size + 1 + len(name)
        piece = began, row.length - 1 - len(name)
        if name in self.parts and name != next(reversed(self.parts)):
            raise invalid(f"part {name} twice, at octet {row.place}")
        if name in self.parts and not (piece[1] and self.parts[name][-1][1]):
            raise invalid(f"part {name} goes on with nothing, at octet {row.place}")
        self.parts.setdefault(name, []).append(piece)


def _messages(source: Source, records: Sequence[_Placed]) -> Iterator[MessageEvidence]:
    """Each envelope with what follows it."""
    found: list[_Message] = []
    for row in records:
        match row.record:
            case Record.ENVELOPE:
                found.append(_Message(row.body))
            case Record.PART:
                found[-1].add_piece(row)
            case Record.ERASURE:
                found[-1].erasure = row.body
            case Record.RECEIPT:
                found[-1].receipts.append(row.body)
            case Record.PROOF:
                found[-1].proofs.append(_read_proof(row.body, row.place))
            case _:
                pass
    for one in found:
        parts = {name: Contents(source, tuple(pieces)) for name, pieces in one.parts.items()}
        yield MessageEvidence(one.envelope, parts, one.receipts, one.proofs, one.erasure)


def _split(source: Source) -> Iterator[_Placed]:
    """Every record with its place."""
    before: Record | None = None
    place, held, size = len(MAGIC), 0, source.size
    for _ in range(MAX_RECORDS):
        if place == size:
            return
        head = source.read(place, _HEAD.size)
        if len(head) != _HEAD.size:
            raise invalid(f"cut short at octet {place}")
        number, length = _HEAD.unpack(head)
        record = _RECORDS.get(number)
        if record is None or record not in _NEXT[before]:
            raise invalid(f"record type {number} does not belong at octet {place}")
        begin, end = place + _HEAD.size, place + _HEAD.size + length
        if length > record.largest or end > size:
            raise invalid(f"length {length} of the record at octet {place}")
        wanted = min(length, 1 + _MAX_NAME_OCTETS) if record is Record.PART else length
        held += 0 if record is Record.PART else length
        if held > MAX_HELD_OCTETS:
            raise invalid(f"more than {MAX_HELD_OCTETS} octets beside parts, at octet {place}")
        body = source.read(begin, wanted)
        if len(body) != wanted:
            raise invalid(f"cut short at octet {place}")
        yield _Placed(place, record, body, length)
        place, before = end, record
    raise invalid(f"more than {MAX_RECORDS} records")


def _part_name(row: _Placed) -> str:
    length = row.body[0] if row.body else 0
    name = row.body[1 : 1 + length]
    if not length or len(name) != length or not name.isascii():
        raise invalid(f"name of the part at octet {row.place}")
    return name.decode("ascii")


def _read_proof(body: bytes, place: int) -> LeafProof:
    leaf, rest = body[:LEAF_OCTETS], body[LEAF_OCTETS:]
    index, path = rest[: _INDEX.size], rest[_INDEX.size :]
    if len(index) != _INDEX.size or len(path) % _NODE_OCTETS:
        raise invalid(f"length of the proof at octet {place}")
    nodes = tuple(path[at : at + _NODE_OCTETS] for at in range(0, len(path), _NODE_OCTETS))
    return LeafProof(leaf, _INDEX.unpack(index)[0], nodes)


def read_about(octets: bytes) -> About:
    """Read the description.

    Raises:
        RefusedError: EVIDENCE_INVALID: another structure or format, or not in its one form.
    """
    try:
        tree = json.loads(octets)
        about = About(
            environment="production" if tree["environment"] == "production" else "trial",
            subject=Subject(tree["subject"]),
            subject_id=str(tree["subjectId"]),
            node=str(tree["node"]),
            exported_ms=parse_instant(tree["exported"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise invalid("not a description in the known form") from error
    if not (is_uuid7(about.subject_id) and is_region(about.node)):
        raise invalid("its subject or its node is none")
    if write_about(about) != octets:
        raise invalid("not a description in its one form")
    return about


def invalid(detail: str) -> RefusedError:
    """The refusal of a file that does not hold together."""
    return RefusedError(Reason.EVIDENCE_INVALID, detail)
