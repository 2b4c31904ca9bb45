"""How answers are written: JSON in UTF-8, instants in their one form, names beside codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from aiohttp import web

from protocol.bodies import kind_named
from protocol.errors import RefusedError
from protocol.instants import format_instant
from protocol.reasons import Reason
from protocol.receipt import read_receipt
from routing.delivery import Standing
from signing.erasure import read_erasure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from node.store.contents import ErasureRow
    from node.store.queries import MessageRow
    from protocol.envelope import Part
    from routing.catalogue import Catalogue, Item
    from routing.directory import Directory

JSON: Final = "application/json"


def respond(
    document: Mapping[str, object],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    media_type: str = JSON,
) -> web.Response:
    """An answer with a JSON object."""
    # A name that was sent may hold a lone surrogate, which UTF-8 cannot carry: shown as "?".
    octets = json.dumps(document, ensure_ascii=False).encode(errors="replace")
    return web.Response(
        body=octets, status=status, headers=headers, content_type=media_type, charset="utf-8"
    )


def written(instant_ms: int | None) -> str | None:
    """An instant that may be missing."""
    return None if instant_ms is None else format_instant(instant_ms)


def authority_shown(directory: Directory, uscc: str, place: str) -> dict[str, object]:
    """An authority, as whoever has to reach it needs it; nulls when the directory lost it.

    Args:
        directory: In force.
        uscc: Its code.
        place: Its node, or its province's prefix.
    """
    entry = directory.authority(uscc, place)
    return {
        "uscc": uscc,
        "name": None if entry is None else entry.name,
        "telephone": None if entry is None else entry.telephone,
        "node": None if entry is None else entry.node,
        "region": None if entry is None else entry.region,
        "zone": None if entry is None else entry.zone,
    }


def party(directory: Directory, node: str, authority: str) -> dict[str, object]:
    """One end of a message or case; the name is null when the directory does not list it."""
    entry = directory.authority(authority, node)
    return {"node": node, "authority": authority, "name": None if entry is None else entry.name}


def kind_name(kind: str) -> str:
    """The Chinese name of a kind; the kind itself if it is not published here."""
    try:
        return kind_named(kind).chinese
    except RefusedError:
        return kind


def item_name(catalogue: Catalogue, code: str) -> str | None:
    """The name of a service item, if the catalogue lists it."""
    item = catalogue.item(code)
    return None if item is None else item.name


def item_shown(item: Item) -> dict[str, object]:
    """A service item, as the window needs it to ask and to collect."""
    return {
        "code": item.code,
        "name": item.name,
        "aliases": item.aliases,
        "bases": [
            {
                "kind": basis.kind,
                "name": {"zh": basis.chinese, "en": basis.english},
                "question": {"zh": basis.chinese_question, "en": basis.english_question},
                "role": basis.role,
            }
            for basis in item.bases
        ],
        "competence": item.competence,
        "mode": item.mode,
        "levels": item.levels,
        "handledIn": item.handled_in,
        "materials": [
            {
                "code": material.code,
                "name": material.name,
                "required": material.required,
                "condition": material.condition,
                "licenceReplaces": material.licence_replaces,
                "tolerable": material.tolerable,
                "commitment": material.commitment,
                "copies": material.copies,
            }
            for material in item.materials
        ],
        "fields": [field.model_dump(mode="json") for field in item.fields],
        "limit": item.limit.model_dump(mode="json"),
        "fee": None if item.fee is None else item.fee.model_dump(mode="json"),
        "note": item.note,
        "marks": item.marks.model_dump(mode="json"),
    }


def part_shown(part: Part) -> dict[str, object]:
    """One row of a message's manifest."""
    return {"id": part.part_id, "mediaType": part.media_type, "size": part.size, "role": part.role}


def erasure_shown(row: ErasureRow) -> dict[str, object]:
    """That contents were erased: when, on whose order, why, and what to look for in the log."""
    erasure = read_erasure(row.record)
    return {
        "instant": format_instant(erasure.erased_ms),
        "authority": erasure.authority,
        "name": row.name,
        "staffNumber": row.staff_number,
        "ground": erasure.ground.code,
        "groundName": erasure.ground.chinese,
        "note": row.note,
        "leaf": erasure.leaf.digest.hex(),
    }


def message_shown(
    directory: Directory, here: str, row: MessageRow, custody: Sequence[bytes]
) -> dict[str, object]:
    """A message with its way and its receipts.

    Args:
        directory: For the names.
        here: This node.
        row: The message.
        custody: Forwarders' receipts.
    """
    receipts = sorted(map(receipt_shown, custody), key=lambda receipt: receipt["instant"] or "")
    if row.receipt is not None:
        receipts.append(receipt_shown(row.receipt))
    reason = None if row.reason is None else Reason.from_number(row.reason)
    standing = Standing(row.standing)
    return {
        "messageId": row.message_id,
        "caseId": row.case_id,
        "kind": row.kind,
        "kindName": kind_name(row.kind),
        "role": row.role,
        "from": party(directory, row.from_node, row.authority),
        "to": party(directory, row.to_node, row.to_authority),
        "sequence": row.sequence,
        "inReplyTo": row.in_reply_to,
        "standing": standing.value,
        "standingName": standing.chinese,
        "reason": None if reason is None else reason.code,
        "detail": row.detail,
        "path": _path(here, row, receipts),
        "created": format_instant(row.created_ms),
        "expires": format_instant(row.expires_ms),
        "recorded": format_instant(row.recorded_ms),
        "settled": written(row.settled_ms),
        "receipts": receipts,
    }


def receipt_shown(octets: bytes) -> dict[str, str | None]:
    """A receipt of our own store, which was verified or made here."""
    receipt = read_receipt(octets).receipt
    return {
        "type": receipt.type.name.lower(),
        "issuer": receipt.issuer,
        "instant": format_instant(receipt.instant_ms),
        "reason": None if receipt.reason is None else receipt.reason.code,
        "detail": receipt.detail or None,
    }


def _path(
    here: str, row: MessageRow, receipts: Iterable[Mapping[str, str | None]]
) -> list[str | None]:
    """The nodes known to have had it: up to us, then those whose receipt we hold."""
    passed = [*row.path.split(","), here, *(receipt["issuer"] for receipt in receipts)]
    return list(dict.fromkeys(passed))
