"""How messages, parts, errands and cases become rows; the inverse of `queries`."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from node.cases import CaseView
from node.ports import Insert, Upsert
from node.store import schema
from node.store.queries import DELIVER, message_key, sequence_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from node.cases import Party
    from node.store.queries import Role, StoredBlob
    from protocol.envelope import Header, MessageReference
    from routing.delivery import Standing

_FRAME_OVERHEAD = 128
_VIEW_FIELDS = tuple(field.name for field in fields(CaseView))


def message_row(
    header: Header,
    message_digest: bytes,
    envelope: bytes,
    role: Role,
    path: tuple[str, ...],
    now_ms: int,
    **outcome: object,
) -> Insert:
    """A new row of `message`; `outcome` fills the columns of its standing."""
    values: dict[str, object] = {
        **message_key(header.reference, role),
        "kind": header.kind,
        "case_id": None if header.case is None else header.case.case_id,
        "sequence": None if header.case is None else header.case.sequence,
        "in_reply_to": header.in_reply_to,
        "from_node": header.sender.node,
        "to_node": header.recipient.node,
        "to_authority": header.recipient.authority,
        "message_digest": message_digest,
        "envelope": envelope,
        "created_ms": header.created_ms,
        "expires_ms": header.expires_ms,
        "recorded_ms": now_ms,
        "path": ",".join(path),
        "upstream": None,
        "reason": None,
        "detail": None,
        "receipt": None,
        "settled_ms": None,
    }
    return Insert(schema.message, values | outcome)


def ended(standing: Standing, receipt: bytes, now_ms: int) -> dict[str, object]:
    """The columns of a message the destination has answered for."""
    return {"standing": standing.value, "receipt": receipt, "settled_ms": now_ms}


def part_rows(
    reference: MessageReference, role: Role, parts: Mapping[str, bytes]
) -> Iterable[Insert]:
    """New rows of `part`, for small ones."""
    for part_id, octets in parts.items():
        yield _part_row(reference, role, part_id, octets, None, len(octets))


def blob_rows(
    reference: MessageReference, role: Role, blobs: Mapping[str, StoredBlob]
) -> Iterable[Insert]:
    """New rows of `part`, for large ones: from here on the blobs are the message's."""
    for part_id, blob in blobs.items():
        yield _part_row(reference, role, part_id, None, blob.name, blob.size)


def _part_row(
    reference: MessageReference,
    role: Role,
    part_id: str,
    octets: bytes | None,
    blob: str | None,
    size: int,
) -> Insert:
    values = {"part_id": part_id, "octets": octets, "blob": blob, "size": size}
    return Insert(schema.part, {**message_key(reference, role), **values})


def errand_row(
    header: Header,
    role: Role,
    peer: str,
    due_ms: int,
    size: int,
    purpose: str = DELIVER,
) -> Upsert:
    """A row of `outbox`: something to do at a peer.

    Args:
        header: Of the message it is about.
        role: What this node is to the message.
        peer: The next hop, or the upstream peer that is owed a receipt.
        due_ms: Not before.
        size: Octets of the message with its small parts.
        purpose: deliver or receipt.
    """
    values = {
        **message_key(header.reference, role),
        "purpose": purpose,
        "peer": peer,
        "due_ms": due_ms,
        "attempts": 0,
        "handed": 0,
        "size": size + _FRAME_OVERHEAD,
        "case_id": None if header.case is None else header.case.case_id,
        "sequence": None if header.case is None else header.case.sequence,
        "last_reason": None,
    }
    return Upsert(schema.outbox, values)


def case_row(view: CaseView) -> Upsert:
    """A row of `case_view`."""
    return Upsert(schema.case, {name: getattr(view, name) for name in _VIEW_FIELDS})


def sequence_row(case_id: str, party: Party, role: Role, last: int) -> Upsert:
    """A row of `sequence`: the last number given or consumed."""
    return Upsert(schema.sequence, {**sequence_key(case_id, party, role), "last": last})
