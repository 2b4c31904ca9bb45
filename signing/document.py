"""Signed documents (已签名文件): directories, service items, implementation sheets.

The form is DSSE: the signature covers the pre-authentication encoding (PAE), so that a payload
signed as one type can never be read as another. The file is JSON, in exactly one encoding:

    {"payloadType":"…","payload":"base64","signatures":[{"keyid":"…","sig":"base64"}]}

no white space, members in this order, signatures ordered by key id, each key once. A reader encodes
again what it read and compares; and every signature listed has to be good. So no octet is free, and
nobody on the way can add, reorder or spoil anything unnoticed.

Source: DSSE 1.0.2 (protocol and envelope), RFC 4648 §4 (base64).
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from protocol.errors import LocalUseError, RefusedError
from protocol.limits import MAX_DOCUMENT_OCTETS, MAX_SIGNATURES
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from signing.suites import PrivateKey, PublicKey

_PAE_DOMAIN: Final = b"DSSEv1"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a file says of itself, nothing of it verified.

    Attributes:
        payload_type: What kind of document it claims to be.
        payload: Its octets.
        signatures: By key id.
    """

    payload_type: str
    payload: bytes
    signatures: Mapping[str, bytes]


def signed_octets(payload_type: str, payload: bytes) -> bytes:
    """The octets a signature covers: the PAE, with lengths in octets, decimal."""
    kind = payload_type.encode()
    return b"%s %d %s %d %s" % (_PAE_DOMAIN, len(kind), kind, len(payload), payload)


def assemble_document(payload_type: str, payload: bytes, signatures: Mapping[str, bytes]) -> bytes:
    """The file for a payload and its signatures by key id (each over `signed_octets`).

    Raises:
        LocalUseError: no signature, too many, or larger than a reader takes.
    """
    if not 1 <= len(signatures) <= MAX_SIGNATURES:
        message = f"a document carries 1 to {MAX_SIGNATURES} signatures, not {len(signatures)}"
        raise LocalUseError(message)
    octets = _write(Claims(payload_type, payload, signatures))
    if len(octets) > MAX_DOCUMENT_OCTETS:
        message = f"a document of {len(octets)} octets; readers take {MAX_DOCUMENT_OCTETS}"
        raise LocalUseError(message)
    return octets


def sign_document(payload_type: str, payload: bytes, keys: Sequence[PrivateKey]) -> bytes:
    """Sign a payload with each of the keys; the complete file.

    Raises:
        LocalUseError: no key, or larger than a reader takes.
        UnavailableError: SUITE_UNAVAILABLE: the SM2 library failed.
    """
    octets = signed_octets(payload_type, payload)
    signatures = {key.public.key_id: key.sign(octets) for key in keys}
    return assemble_document(payload_type, payload, signatures)


def open_document(
    octets: bytes, payload_type: str, keys: Sequence[PublicKey], threshold: int = 1
) -> bytes:
    """Verify a file and hand out its payload.

    Args:
        octets: The whole file.
        payload_type: The only type accepted.
        keys: Who may sign; from a trust anchor or a verified directory, never from the file.
        threshold: How many different keys have to have signed.

    Raises:
        RefusedError: TOO_LARGE; DOCUMENT_INVALID: not the one form of a document;
            DOCUMENT_SIGNATURE: another type, a signature by another key or that does not verify, or
            fewer than the threshold.
        UnavailableError: SUITE_UNAVAILABLE: a signature could not be checked.
        LocalUseError: a threshold below 1.
    """
    if threshold < 1:
        message = f"a threshold of {threshold} would accept what nobody signed"
        raise LocalUseError(message)
    file = _read(octets)
    if not file.signatures:
        raise _malformed("a proposal: nobody has signed it yet")
    if file.payload_type != payload_type:
        raise _unsigned(f"signed as {file.payload_type[:80]!r}, needed {payload_type!r}")
    if len(file.signatures) < threshold:
        raise _unsigned(f"{len(file.signatures)} signatures, {threshold} needed")
    covered = signed_octets(file.payload_type, file.payload)
    accepted = {key.key_id: key for key in keys}
    for key_id, signature in file.signatures.items():
        key = accepted.get(key_id)
        if key is None:
            raise _unsigned(f"signed by {key_id[:43]!r}, which is none of the {len(accepted)} keys")
        if not key.verify(covered, signature):
            raise _unsigned(f"the signature of {key_id} does not verify")
    return file.payload


def read_claims(octets: bytes) -> Claims:
    """What a file says of itself. Nothing is verified: good for choosing keys, and for signing.

    A proposal, which nobody has signed yet, is read too.

    Raises:
        RefusedError: DOCUMENT_INVALID: not the one form of a document; TOO_LARGE.
    """
    return _read(octets)


def signers(octets: bytes) -> frozenset[str]:
    """The key ids a file claims to be signed by; as `read_claims`."""
    return frozenset(_read(octets).signatures)


def proposed_document(payload_type: str, payload: bytes) -> bytes:
    """A document nobody has signed yet, to be handed from signer to signer; no reader takes it."""
    return _write(Claims(payload_type, payload, {}))


def countersign(octets: bytes, key_id: str, signature: bytes) -> bytes:
    """A document or proposal with one signature more (over `signed_octets`), or a renewed one.

    Raises:
        RefusedError: DOCUMENT_INVALID: neither of the two; TOO_LARGE.
        LocalUseError: too many signatures.
    """
    file = _read(octets)
    return assemble_document(
        file.payload_type, file.payload, {**file.signatures, key_id: signature}
    )


def _write(file: Claims) -> bytes:
    tree = {
        "payloadType": file.payload_type,
        "payload": _base64(file.payload),
        "signatures": [
            {"keyid": key_id, "sig": _base64(signature)}
            for key_id, signature in sorted(file.signatures.items())
        ],
    }
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()


def _read(octets: bytes) -> Claims:
    if len(octets) > MAX_DOCUMENT_OCTETS:
        detail = f"a document of {len(octets)} octets, at most {MAX_DOCUMENT_OCTETS}"
        raise RefusedError(Reason.TOO_LARGE, detail)
    try:
        tree = json.loads(octets.decode())
        file = Claims(
            _text(tree["payloadType"]), _octets(tree["payload"]), _signatures(tree["signatures"])
        )
        again = _write(file)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _malformed(f"not a document: {type(error).__name__}: {str(error)[:80]}") from error
    if again != octets:
        place = _first_difference(again, octets)
        raise _malformed(f"not in its one encoding: differs at octet {place}")
    return file


def _signatures(rows: object) -> dict[str, bytes]:
    if not isinstance(rows, list) or len(rows) > MAX_SIGNATURES:
        message = f"need at most {MAX_SIGNATURES} signatures"
        raise ValueError(message)
    return {_text(row["keyid"]): _octets(row["sig"]) for row in rows}


def _text(value: object) -> str:
    if not isinstance(value, str):
        message = f"need a string, got {type(value).__name__}"
        raise TypeError(message)
    return value


def _octets(value: object) -> bytes:
    return base64.b64decode(_text(value), validate=True)


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _first_difference(left: Iterable[int], right: Iterable[int]) -> int:
    place = 0
    for place, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return place
    return place + 1


def _malformed(detail: str) -> RefusedError:
    return RefusedError(Reason.DOCUMENT_INVALID, detail)


def _unsigned(detail: str) -> RefusedError:
    return RefusedError(Reason.DOCUMENT_SIGNATURE, detail)
