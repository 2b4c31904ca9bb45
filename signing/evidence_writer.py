"""Writing an evidence file front to back (存证文件的写出): octets out, in the order they go.

Whoever writes calls, in the order of the form (`signing.evidence_file`), for the octets of each
record, hands them all to one `Sealing` as they leave, and ends with its seal. So nothing is held
but the record at hand, and a part comes from wherever it lies, piece by piece.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from protocol.limits import MAX_PIECE_OCTETS
from signing.evidence_file import MAGIC, SEAL_DOMAIN, Record, write_about
from signing.keys import KeyUse, SigningRequest
from signing.running import running_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from signing.evidence_file import About, LeafProof, LogEvidence
    from signing.keys import KeyStore

_HEAD: Final = struct.Struct(">BI")
SEAL_RECORD_OCTETS: Final = _HEAD.size + Record.SEAL.largest


@dataclass(frozen=True, slots=True)
class MessageToShow:
    """One message as it goes into a file.

    Attributes:
        envelope: As signed.
        parts: Those that go along, by id, if they are held in memory.
        receipts: As signed.
        proofs: See `MessageEvidence.proofs`.
        erasure: The record that its parts were erased; there are none then.
    """

    envelope: bytes
    parts: Mapping[str, bytes]
    receipts: Sequence[bytes]
    proofs: Sequence[LeafProof] = ()
    erasure: bytes | None = None


class Sealing:
    """Sees every octet of a file on its way out, and ends it with the exporter's seal."""

    def __init__(self, keys: KeyStore, node: str) -> None:
        """Begin, with the exporting node's evidence key.

        Raises:
            KeyStoreError: the store holds none.
            UnavailableError: SUITE_UNAVAILABLE.
        """
        self._keys = keys
        self._key_id = keys.find(KeyUse.EVIDENCE, node)
        self._running = running_digest(keys.public(self._key_id).suite)

    def take(self, octets: bytes) -> bytes:
        """These octets come next; they are handed back."""
        self._running.update(octets)
        return octets

    def seal(self) -> bytes:
        """The last record.

        Raises:
            UnavailableError: SUITE_UNAVAILABLE: it cannot sign now.
        """
        request = SigningRequest(self._key_id, SEAL_DOMAIN + self._running.digest())
        (signature,) = self._keys.sign([request])
        return record(Record.SEAL, base64.urlsafe_b64decode(self._key_id + "=") + signature)


def beginning(about: About, directories: Sequence[bytes], log: LogEvidence | None) -> bytes:
    """Everything before the first message."""
    records = [record(Record.ABOUT, write_about(about))]
    records += [record(Record.DIRECTORY, octets) for octets in directories]
    if log is not None:
        records.append(record(Record.HEAD, log.head))
        records += [record(Record.STAMP, log.stamp)] if log.stamp is not None else []
    return MAGIC + b"".join(records)


def piece(part_id: str, octets: bytes) -> bytes:
    """The first octets of a part, or the next: at most `MAX_PIECE_OCTETS`."""
    name = part_id.encode("ascii")
    return record(Record.PART, bytes([len(name)]) + name + octets)


def pieces_of(size: int) -> Iterator[tuple[int, int]]:
    """Where the pieces of a part of this size begin, and how long they are."""
    for offset in range(0, max(size, 1), MAX_PIECE_OCTETS):
        yield offset, min(MAX_PIECE_OCTETS, size - offset)


def written_size(part_id: str, size: int) -> int:
    """Octets that a part of this size takes in a file."""
    return size + sum(_HEAD.size + 1 + len(part_id) for _ in pieces_of(size))


def before_parts(message: MessageToShow) -> bytes:
    """The envelope, and the erasure of the parts."""
    erasure = b"" if message.erasure is None else record(Record.ERASURE, message.erasure)
    return record(Record.ENVELOPE, message.envelope) + erasure


def after_parts(message: MessageToShow) -> bytes:
    """Receipts and proofs."""
    receipts = (record(Record.RECEIPT, octets) for octets in message.receipts)
    proofs = (record(Record.PROOF, proof.octets) for proof in message.proofs)
    return b"".join((*receipts, *proofs))


def record(kind: Record, octets: bytes) -> bytes:
    """One record."""
    return _HEAD.pack(kind.number, len(octets)) + octets


def write_evidence(
    about: About,
    directories: Sequence[bytes],
    messages: Sequence[MessageToShow],
    keys: KeyStore,
    log: LogEvidence | None = None,
) -> bytes:
    """A whole file of what is held in memory.

    Raises:
        KeyStoreError, UnavailableError: as `Sealing`.
    """
    sealing = Sealing(keys, about.node)
    written = [beginning(about, directories, log)]
    for message in messages:
        written.append(before_parts(message))
        for part_id, octets in message.parts.items():
            written += [
                piece(part_id, octets[offset : offset + length])
                for offset, length in pieces_of(len(octets))
            ]
        written.append(after_parts(message))
    content = sealing.take(b"".join(written))
    return content + sealing.seal()
