"""Evidence files to try things on: a small province, a case in it, and the records of a file."""

from __future__ import annotations

import base64
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import schemas
from node.evidence import verify_file
from protocol.errors import RefusedError
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from routing.directory_document import KeyEntry
from signing.evidence import (
    MAGIC,
    SEAL_DOMAIN,
    About,
    MessageToShow,
    Outcome,
    Report,
    Subject,
    write_evidence,
)
from signing.keys import KeyUse, SigningRequest
from signing.suites import Suite, digest
from tests.messages import (
    BODY,
    CASE_ID,
    DAY_MS,
    HUB,
    NOW_MS,
    SCAN,
    WUHAN,
    XIANGYANG,
    Keys,
    authority_of,
    envelope,
    keys_of,
    message_id,
    receipt_for,
    rules,
    signed_by_sender,
    verified,
)
from tests.unit.routing.provinces import anchor, authority, files_of, hub, node, province

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routing.directory_roles import TrustAnchor

NODES: Final = (HUB, WUHAN, XIANGYANG)
EXPORTED_MS: Final = NOW_MS + 10 * DAY_MS
PARTS: Final = {"body": BODY, "m1": SCAN}
ANCHOR: Final = anchor("42", "43")
FOREIGN: Final = anchor("43", "44")


class Piece(NamedTuple):
    """A record: its type and octets."""

    kind: int
    octets: bytes


@cache
def keys(suite: Suite = Suite.P256) -> Keys:
    """The keys of the three nodes."""
    return keys_of(NODES, suite)


def directories(held: Keys, **changes: Any) -> list[bytes]:
    """The signed documents of 湖北 that registers these keys."""
    rows = [
        hub(node_id, operator=authority_of(node_id))
        if node_id == HUB
        else node(node_id, operator=authority_of(node_id))
        for node_id in NODES
    ]
    authorities = tuple(
        authority(node_id).model_copy(update={"uscc": authority_of(node_id)}) for node_id in NODES
    )
    entries = [
        KeyEntry(
            id=record.key.key_id,
            suite=record.key.suite,
            spki=record.key.spki,
            use=record.use,
            owner=record.owner,
            node=record.node,
            not_before_ms=record.not_before_ms,
            not_after_ms=record.not_after_ms,
            revoked_ms=record.revoked_ms,
        )
        for record in held.records
    ]
    values = {"authorities": authorities, "keys": tuple(entries)}
    return files_of(province("42", rows, **values | changes))


def message(
    held: Keys,
    *,
    number: int = 1,
    parts: Mapping[str, bytes] | None = None,
    custody: Sequence[str] = (),
    refusal: RefusedError | None = None,
    received_ms: int = NOW_MS,
    **changes: Any,
) -> MessageToShow:
    """A message with its destination's receipt and these nodes' custody."""
    suite = held.records[0].key.suite
    octets = signed_by_sender(envelope(held, suite, number=number, **changes), held)
    checked = verified(octets, held)
    destination = checked.envelope.header.recipient.node
    kind = ReceiptType.RECEIVED if refusal is None else ReceiptType.REFUSED
    receipts = [receipt_for(checked, held, issuer, ReceiptType.CUSTODY) for issuer in custody]
    receipts.append(
        receipt_for(checked, held, destination, kind, now_ms=received_ms, refusal=refusal)
    )
    return MessageToShow(octets, PARTS if parts is None else parts, receipts)


def story(held: Keys) -> list[MessageToShow]:
    """A submission by the hub, its confirmation, and a second message that is refused."""
    refusal = RefusedError(Reason.WRONG_STATE, "没有补正通知")
    return [
        message(held, number=1, custody=[HUB]),
        message(held, number=2, from_node=XIANGYANG, to_node=WUHAN, kind="case.received"),
        message(held, number=3, sequence=2, kind="case.supplement", parts={}, refusal=refusal),
    ]


def about(**changes: Any) -> About:
    """What the file of that case says about itself."""
    values: dict[str, Any] = {
        "environment": "trial",
        "subject": Subject.CASE,
        "subject_id": CASE_ID,
        "node": WUHAN,
        "exported_ms": EXPORTED_MS,
    }
    return About(**values | changes)


def evidence(
    held: Keys,
    messages: Sequence[MessageToShow] | None = None,
    *,
    documents: Sequence[bytes] | None = None,
    **changes: Any,
) -> bytes:
    """A sealed file; `changes` are fields of its description."""
    listed = directories(held) if documents is None else documents
    told = story(held) if messages is None else messages
    return write_evidence(about(**changes), listed, told, held)


@cache
def case_file(suite: Suite = Suite.P256) -> bytes:
    """The file of the case."""
    return evidence(keys(suite))


@cache
def message_file(suite: Suite = Suite.P256) -> bytes:
    """The smallest file: one message with its parts and two receipts."""
    one = message(keys(suite), custody=[HUB])
    return evidence(keys(suite), [one], subject=Subject.MESSAGE, subject_id=message_id(1))


def check(octets: bytes, trust: TrustAnchor = ANCHOR) -> Report:
    """The report on a file."""
    return verify_file(octets, trust, schemas.compiled(), rules().kinds)


def failing_step(octets: bytes, trust: TrustAnchor = ANCHOR) -> str:
    """The one step that refuses the file; those before it held and those after were not run."""
    report = check(octets, trust)
    assert report.outcome is Outcome.REFUSED, report
    assert report.proven == ()
    assert report.about is None
    *held, last = report.steps
    assert [step.number for step in report.steps] == list(range(1, len(report.steps) + 1))
    assert all(step.passed for step in held)
    assert not last.passed
    assert last.detail.isprintable()
    assert last.detail
    return last.name


def pieces(octets: bytes) -> list[Piece]:
    """The records of a file, read without asking the code under test."""
    assert octets.startswith(MAGIC)
    found, place = [], len(MAGIC)
    while place < len(octets):
        end = place + 5 + int.from_bytes(octets[place + 1 : place + 5])
        found.append(Piece(octets[place], octets[place + 5 : end]))
        place = end
    return found


def joined(records: Sequence[Piece]) -> bytes:
    """A file of these records, sealed by nobody anew."""
    return MAGIC + b"".join(
        bytes([kind]) + len(octets).to_bytes(4) + octets for kind, octets in records
    )


def sealed_anew(records: Sequence[Piece], held: Keys, node_id: str = WUHAN) -> bytes:
    """The records without their seal, sealed by this node's evidence key: a lying exporter."""
    content = joined([record for record in records if record.kind != 9])
    key_id = held.find(KeyUse.EVIDENCE, node_id)
    covered = SEAL_DOMAIN + digest(held.public(key_id).suite, content)
    (signature,) = held.sign([SigningRequest(key_id, covered)])
    seal = base64.urlsafe_b64decode(key_id + "=") + signature
    return content + joined([Piece(9, seal)])[len(MAGIC) :]
