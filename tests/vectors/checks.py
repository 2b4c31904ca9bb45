"""What is run for each group: octets in; it returns, or raises the refusal."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import schemas
from node.evidence import verify_file
from protocol.bodies import KINDS, check_references, decode_body
from protocol.envelope import MessageReference
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import Piece, read_frames
from protocol.reasons import Reason
from routing.directory_roles import TrustAnchor
from signing.batch import Checking
from signing.document import open_document
from signing.evidence import Outcome
from signing.receipts import concerns, verify_receipt
from signing.stamps import read_roots
from signing.suites import Suite, load_public_key
from signing.verify import Rules, check_part, verify_envelope
from tests.vectors.directory_checks import directory
from tests.vectors.exchange_checks import exchange
from tests.vectors.log_checks import log
from tests.vectors.tripwires import guarded_key, guarded_trust

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from protocol.envelope import Environment
    from protocol.frames import Frame
    from tests.vectors.folders import Vector

Result = dict[str, Any]


def rules(environment: Environment) -> Rules:
    return Rules(schemas.compiled(), {kind.name for kind in KINDS}, environment)


def envelope(vector: Vector) -> Result:
    """The ten steps, on envelope.xml; if there is a first.xml, by a verifier that has seen it."""
    held_to = rules(vector.case["environment"])
    now_ms = vector.instant("now")
    checking = Checking()
    if vector.has("first.xml"):
        trust = guarded_trust(vector.records, None)
        verify_envelope(vector.octets("first.xml"), held_to, trust, now_ms, checking=checking)
    verified = verify_envelope(
        vector.octets("envelope.xml"),
        held_to,
        guarded_trust(vector.records, vector.stage),
        now_ms,
        live=not vector.case.get("historic", False),
        checking=checking,
    )
    header = verified.envelope.header
    return {
        "kind": header.kind,
        "suite": verified.suite.value,
        "messageId": header.message_id,
        "messageDigest": verified.message_digest.hex(),
    }


def receipt(vector: Vector) -> Result:
    """A receipt's layout, key and signature; and whether it is about the message, if one is given.

    That it is not is what a node answers with receipt-unknown.
    """
    trust = guarded_trust(vector.records, vector.stage)
    live = not vector.case.get("historic", False)
    verified = verify_receipt(vector.octets("receipt.tbr"), trust, live=live)
    about = vector.case.get("about")
    if about is not None:
        message = MessageReference(about["authority"], about["messageId"])
        message_digest = bytes.fromhex(about["messageDigest"])
        if not concerns(verified, message, message_digest, vector.octets("envelope.xml")):
            raise UnavailableError(Reason.RECEIPT_UNKNOWN, "about something else")
    held = verified.receipt
    return {
        "type": held.type.name.lower(),
        "issuer": held.issuer,
        "authority": held.reference and held.reference.authority,
        "messageId": held.reference and held.reference.message_id,
        "reason": held.reason and held.reason.code,
        "detail": held.detail,
    }


def batch(vector: Vector) -> Result:
    """An envelope or a receipt in a batch."""
    return receipt(vector) if vector.has("receipt.tbr") else envelope(vector)


def frames(vector: Vector) -> Result:
    """A post taken apart; binary fields in hexadecimal."""
    return {"frames": [_told(frame) for frame in read_frames(vector.octets("frames.bin"))]}


def _told(frame: Frame) -> Result:
    kind = type(frame).__name__.removesuffix("Frame")
    named = {_camel(field.name): _plain(getattr(frame, field.name)) for field in fields(frame)}
    return {"frame": re.sub("(?<!^)([A-Z])", r"-\1", kind).lower(), **named}


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)


def _plain(value: object) -> object:
    match value:
        case bytes():
            return value.hex()
        case tuple():
            return [_plain(one) for one in value]
        case MessageReference(authority, message_id):
            return {"authority": authority, "messageId": message_id}
        case Piece(part_id, offset, octets):
            return {"partId": part_id, "offset": offset, "octets": octets.hex()}
        case Reason():
            return value.code
        case _:
            return value


def parts(vector: Vector) -> Result:
    """The parts at hand, each against its line of the manifest."""
    trust = guarded_trust(vector.records, None)
    held_to, now_ms = rules(vector.case["environment"]), vector.instant("now")
    verified = verify_envelope(vector.octets("envelope.xml"), held_to, trust, now_ms)
    listed = {part.part_id: part for part in verified.envelope.parts}
    files = sorted((vector.folder / "parts").iterdir())
    for file in files:
        check_part(verified, listed[file.name], file.read_bytes())
    return {"parts": [file.name for file in files]}


def document(vector: Vector) -> Result:
    """A signed document by these signers."""
    keys = [guarded_key(key, vector.stage) for key in vector.signers]
    kind, threshold = vector.case["payloadType"], vector.case["threshold"]
    return {
        "payload": open_document(vector.octets("document.json"), kind, keys, threshold).decode()
    }


def key(vector: Vector) -> Result:
    """A public key."""
    return {"id": load_public_key(Suite(vector.case["suite"]), vector.octets("key.spki")).key_id}


def body(vector: Vector) -> Result:
    """A body, and whether what it points to is in the manifest."""
    read = decode_body(vector.octets("body.xml"), schemas.compiled())
    check_references(read, vector.case["parts"])
    return {"kind": read.kind}


def evidence(vector: Vector) -> Result:
    """A file against an anchor from outside it; the step that refuses it is the one stated."""
    anchor = TrustAnchor.read(vector.octets("anchor.json"))
    kinds = {kind.name for kind in KINDS}
    roots = read_roots(vector.octets("stamps.pem")) if vector.has("stamps.pem") else ()
    octets = vector.octets("evidence.tbev")
    report = verify_file(octets, anchor, schemas.compiled(), kinds, roots)
    if report.outcome is Outcome.VALID:
        return {"messages": len(report.proven)}
    last = report.steps[-1]
    assert last.name == vector.case["step"], last
    reason = next(one for one in Reason if last.detail.startswith(f"{one.code}:"))
    raise (RefusedError if reason.final else UnavailableError)(reason, last.detail)


CHECKS: Final[Mapping[str, Callable[[Vector], Result]]] = {
    "wire": envelope,
    "envelope": envelope,
    "signature": envelope,
    "batch": batch,
    "receipt": receipt,
    "frames": frames,
    "parts": parts,
    "document": document,
    "key": key,
    "body": body,
    "evidence": evidence,
    "directory": directory,
    "log": log,
    "exchange": exchange,
}
"""By group."""
