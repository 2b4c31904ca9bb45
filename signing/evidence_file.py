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
    4     part       u8 n | part id | octets; none for a part that was erased
    5     receipt    the destination's, and the custody of forwarders
    8     proof      leaf (41 octets) | u64 index | path (k x 32): a leaf of the head's log
    9     seal       key id (32 octets, raw) | signature (64 octets), and nothing after it
    ====  =========  ==================================================================

The seal is the exporting node's signature over ``TONGBAN-EVIDENCE-1`` NUL and the digest (of its
key's suite) of every octet before the seal's record. No record points at another, so a file can be
written and read front to back. What the records have to say is checked in `signing.evidence`.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final

from protocol.errors import RefusedError
from protocol.identifiers import is_region, is_uuid7
from protocol.instants import format_instant, parse_instant
from protocol.limits import (
    HEAD_OCTETS,
    MAX_DOCUMENT_OCTETS,
    MAX_ENVELOPE_OCTETS,
    MAX_STAMP_OCTETS,
    MIB,
)
from protocol.reasons import Reason
from protocol.receipt import MAX_RECEIPT_OCTETS
from signing.keys import KeyUse, SigningRequest
from signing.log import LEAF_OCTETS
from signing.suites import Suite, digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from protocol.envelope import Environment
    from signing.keys import KeyStore

MAGIC: Final = b"TBEV1\n"
MEDIA_TYPE: Final = "application/vnd.tongban.evidence"
FORMAT: Final = "tongban-evidence-1"
SEAL_DOMAIN: Final = b"TONGBAN-EVIDENCE-1\x00"
MAX_RECORDS: Final = 100_000
"""Records in one file: a long case with every material it may have."""

_MAX_ABOUT_OCTETS: Final = 4096
_MAX_PART_OCTETS: Final = 1024 * MIB
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

    def __init__(self, number: int, largest: int) -> None:
        self.number: Final = number
        self.largest: Final = largest


_RECORDS: Final = {record.number: record for record in Record}

# After a record of this type may come one of these.
_NEXT: Final = {
    None: (Record.ABOUT,),
    Record.ABOUT: (Record.DIRECTORY,),
    Record.DIRECTORY: (Record.DIRECTORY, Record.HEAD, Record.ENVELOPE),
    Record.HEAD: (Record.STAMP, Record.ENVELOPE),
    Record.STAMP: (Record.ENVELOPE,),
    Record.ENVELOPE: (Record.PART, Record.RECEIPT),
    Record.PART: (Record.PART, Record.RECEIPT),
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


@dataclass(frozen=True, slots=True)
class MessageEvidence:
    """One message as held: its envelope, the parts not erased, the receipts given for it.

    Attributes:
        envelope: As signed.
        parts: By id.
        receipts: As signed.
        proofs: That message and receipts stand in the log of the file's head; see `LeafProof`.
    """

    envelope: bytes
    parts: Mapping[str, bytes]
    receipts: Sequence[bytes]
    proofs: Sequence[LeafProof] = ()


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
    """The last record: whose key, its signature, and the octets it has to be over."""

    key_id: str
    signature: bytes
    content: bytes

    def signed_octets(self, suite: Suite) -> bytes:
        """What the signature covers, by the suite of the key."""
        return _sealed(self.content, suite)


@dataclass(frozen=True, slots=True)
class EvidenceFile:
    """A file taken apart; nothing is verified yet."""

    about: bytes
    directories: tuple[bytes, ...]
    messages: tuple[MessageEvidence, ...]
    seal: Seal
    log: LogEvidence | None = None


def write_evidence(
    about: About,
    directories: Sequence[bytes],
    messages: Sequence[MessageEvidence],
    keys: KeyStore,
    log: LogEvidence | None = None,
) -> bytes:
    """The file's octets, sealed with the exporting node's evidence key.

    Raises:
        KeyStoreError: the store holds no evidence key of the exporting node.
        UnavailableError: SUITE_UNAVAILABLE: it cannot sign now.
    """
    records = [_record(Record.ABOUT, write_about(about))]
    records += [_record(Record.DIRECTORY, octets) for octets in directories]
    if log is not None:
        records.append(_record(Record.HEAD, log.head))
        records += [_record(Record.STAMP, log.stamp)] if log.stamp is not None else []
    for message in messages:
        records.append(_record(Record.ENVELOPE, message.envelope))
        for part_id, octets in message.parts.items():
            name = part_id.encode("ascii")
            records.append(_record(Record.PART, bytes([len(name)]) + name + octets))
        records += [_record(Record.RECEIPT, octets) for octets in message.receipts]
        records += [_record(Record.PROOF, proof.octets) for proof in message.proofs]
    content = MAGIC + b"".join(records)
    key_id = keys.find(KeyUse.EVIDENCE, about.node)
    sealed = _sealed(content, keys.public(key_id).suite)
    (signature,) = keys.sign([SigningRequest(key_id, sealed)])
    return content + _record(Record.SEAL, base64.urlsafe_b64decode(key_id + "=") + signature)


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


def _record(record: Record, octets: bytes) -> bytes:
    return _HEAD.pack(record.number, len(octets)) + octets


def _sealed(content: bytes, suite: Suite) -> bytes:
    return SEAL_DOMAIN + digest(suite, content)


def take_apart(octets: bytes) -> EvidenceFile:
    """Split a file into its records; every length is checked before it is used.

    Raises:
        RefusedError: EVIDENCE_INVALID, naming the place.
    """
    if not octets.startswith(MAGIC):
        raise invalid("does not begin like an evidence file")
    records = list(_split(octets))
    if not records or records[-1][1] is not Record.SEAL:
        raise invalid("no seal at the end")
    end, _, seal = records[-1]
    if len(seal) != _SEAL_OCTETS:
        raise invalid(f"a seal of {len(seal)} octets")
    key_id = base64.urlsafe_b64encode(seal[:_KEY_OCTETS]).decode("ascii").rstrip("=")
    head = next((body for _, record, body in records if record is Record.HEAD), None)
    stamp = next((body for _, record, body in records if record is Record.STAMP), None)
    return EvidenceFile(
        about=records[0][2],
        directories=tuple(body for _, record, body in records if record is Record.DIRECTORY),
        messages=tuple(_messages(records)),
        seal=Seal(key_id, seal[_KEY_OCTETS:], octets[:end]),
        log=None if head is None else LogEvidence(head, stamp),
    )


def _messages(records: Sequence[tuple[int, Record, bytes]]) -> Iterator[MessageEvidence]:
    """Each envelope with what follows it."""
    found: list[tuple[bytes, dict[str, bytes], list[bytes], list[LeafProof]]] = []
    for place, record, body in records:
        if record is Record.ENVELOPE:
            found.append((body, {}, [], []))
        elif record is Record.PART:
            name, part = _read_part(body, place)
            if name in found[-1][1]:
                raise invalid(f"part {name} twice, at octet {place}")
            found[-1][1][name] = part
        elif record is Record.RECEIPT:
            found[-1][2].append(body)
        elif record is Record.PROOF:
            found[-1][3].append(_read_proof(body, place))
    for message in found:
        yield MessageEvidence(*message)


def _split(octets: bytes) -> Iterator[tuple[int, Record, bytes]]:
    """Every record with its place."""
    place, before = len(MAGIC), None
    for _ in range(MAX_RECORDS):
        if place == len(octets):
            return
        if place + _HEAD.size > len(octets):
            raise invalid(f"cut short at octet {place}")
        number, length = _HEAD.unpack_from(octets, place)
        record = _RECORDS.get(number)
        if record is None or record not in _NEXT[before]:
            raise invalid(f"record type {number} does not belong at octet {place}")
        if length > record.largest or place + _HEAD.size + length > len(octets):
            raise invalid(f"length {length} of the record at octet {place}")
        yield place, record, octets[place + _HEAD.size : place + _HEAD.size + length]
        place += _HEAD.size + length
        before = record
    raise invalid(f"more than {MAX_RECORDS} records")


def _read_part(body: bytes, place: int) -> tuple[str, bytes]:
    length = body[0] if body else 0
    name = body[1 : 1 + length]
    if not length or len(name) != length or not name.isascii():
        raise invalid(f"name of the part at octet {place}")
    return name.decode("ascii"), body[1 + length :]


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
