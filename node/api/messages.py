"""One message (报文): where it stands, what it says, its parts; and pings to other nodes.

A forwarder sees where a message in its custody stands, never what is in it: bodies and parts are
for the two ends only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import structlog
from aiohttp import hdrs, web

from adapters.local_json import from_body
from node.api.forms import OwnerQuery, PingForm
from node.api.problems import Fault, ProblemError
from node.api.ranges import chosen_range
from node.api.reading import read_form, read_id, read_query
from node.api.writing import erasure_shown, message_shown, part_shown, respond
from node.outgoing import Filed
from node.store.contents import find_erasures
from node.store.queries import (
    MessageRow,
    Role,
    StoredBlob,
    custody_receipts,
    find_blobs,
    find_by_id,
    find_parts,
)
from protocol.bodies import decode_body
from protocol.envelope import BODY_ID, Envelope, read_validated
from protocol.errors import LocalUseError, RefusedError, UnavailableError
from protocol.instants import format_instant
from protocol.limits import MAX_ENVELOPE_OCTETS, MIB
from protocol.reasons import Reason
from protocol.wire import parse_canonical
from signing.erasure import read_erasure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from node.engine import Engine
    from node.store.contents import ErasureRow

    Octets: TypeAlias = Mapping[str, bytes]
    Blobs: TypeAlias = Mapping[str, StoredBlob]

_STREAM_OCTETS: Final = MIB
_log = structlog.get_logger()


class MessagesApi:
    """Messages by id."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._context = engine.context

    async def show(self, request: web.Request) -> web.Response:
        """GET /v1/messages/{messageId}: seen from the sending end, if that is ours too."""
        message_id = read_id(request, "messageId")
        owner = read_query(request, OwnerQuery).authority

        def query(
            connection: Connection,
        ) -> tuple[MessageRow, Sequence[bytes], Octets, ErasureRow | None]:
            row = _one(find_by_id(connection, message_id), owner, message_id)
            custody, erasure = custody_receipts(connection, row), _erasure(connection, row)
            return row, custody, _octets(connection, row), erasure

        row, custody, octets, erasure = await self._context.store.read(query)
        directory, here = self._context.federation.directory, self._context.here
        body = octets.get(BODY_ID)
        rules = self._context.rules
        return respond(
            {
                **message_shown(directory, here, row, custody),
                "body": None if body is None else from_body(decode_body(body, rules.schemas)),
                "parts": [part_shown(part) for part in _envelope(row).parts],
                "erased": None if erasure is None else erasure_shown(erasure),
            }
        )

    async def part(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/messages/{messageId}/parts/{partId}: its octets as signed for, or a range."""
        message_id, part_id = read_id(request, "messageId"), request.match_info["partId"]
        owner = read_query(request, OwnerQuery).authority

        def query(connection: Connection) -> tuple[MessageRow, Octets, Blobs, ErasureRow | None]:
            row = _one(find_by_id(connection, message_id), owner, message_id)
            octets, blobs = _octets(connection, row), _blobs(connection, row)
            return row, octets, blobs, _erasure(connection, row)

        row, octets, blobs, erasure = await self._context.store.read(query)
        if erasure is not None and any(part.part_id == part_id for part in _envelope(row).parts):
            erased = format_instant(read_erasure(erasure.record).erased_ms)
            raise ProblemError(Fault.ERASED, f"message {message_id}, erased {erased}")
        if part_id not in octets and part_id not in blobs:
            raise ProblemError(Fault.NOT_FOUND, f"no such part of message {message_id} here")
        listed = next(part for part in _envelope(row).parts if part.part_id == part_id)
        tag = f'"{listed.digest.hex()}"'
        chosen = chosen_range(request.headers, tag, listed.size)
        # Whatever it is, a browser shall save it and not run it.
        headers = {
            hdrs.CONTENT_TYPE: listed.media_type,
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{part_id}"',
            hdrs.ACCEPT_RANGES: "bytes",
            hdrs.ETAG: tag,
        }
        status, wanted = 200, range(listed.size)
        if chosen is not None:
            status, wanted = 206, chosen
            said = f"bytes {chosen.start}-{chosen.stop - 1}/{listed.size}"
            headers[hdrs.CONTENT_RANGE] = said
        if part_id in octets:
            body = octets[part_id][wanted.start : wanted.stop]
            return web.Response(body=body, status=status, headers=headers)
        response = web.StreamResponse(status=status, headers=headers)
        return await self._streamed(request, response, blobs[part_id], wanted)

    async def _streamed(
        self, request: web.Request, response: web.StreamResponse, blob: StoredBlob, wanted: range
    ) -> web.StreamResponse:
        """Octets of a large part, piece by piece, as fast as the caller takes them."""
        read, start = self._context.blobs.read, wanted.start
        # Before the first octet leaves, a disk in trouble can still be told.
        piece = await read(blob.name, start, min(_STREAM_OCTETS, wanted.stop - start))
        response.content_length = len(wanted)
        await response.prepare(request)
        while piece:
            await response.write(piece)
            start += len(piece)
            try:
                piece = await read(blob.name, start, min(_STREAM_OCTETS, wanted.stop - start))
            except UnavailableError as trouble:
                _log.error("part cut short", part=blob.name, why=str(trouble))
                break
        if start < wanted.stop and request.transport is not None:
            request.transport.abort()  # the caller has to see that this was not all
        return response

    async def ping(self, request: web.Request) -> web.Response:
        """POST /v1/pings: its operator's receipt will show that the way is open."""
        form = await read_form(request, PingForm)
        outcome = await self._engine.ping(form.node)
        if not isinstance(outcome, Filed):
            message = "a ping has no idempotency key"
            raise LocalUseError(message)
        return respond({"messageId": outcome.message.message_id, "route": outcome.route}, 201)


def _one(rows: Sequence[MessageRow], owner: str | None, message_id: str) -> MessageRow:
    """The message of an id: at its sending end if that is ours, else where it came in or passes."""
    found = [row for row in rows if owner in (None, row.authority)]
    if not found:
        raise RefusedError(Reason.MESSAGE_UNKNOWN, f"no message {message_id} here")
    if len({row.authority for row in found}) > 1:
        detail = "two authorities chose this message id: say whose with ?authority="
        raise ProblemError(Fault.MALFORMED, detail)
    return min(found, key=lambda row: list(Role).index(Role(row.role)))


def _octets(connection: Connection, row: MessageRow) -> Octets:
    """What this node may show of a message's parts: nothing of what only passes through."""
    if row.role == Role.TRANSIT:
        return {}
    return find_parts(connection, [row]).get((row.authority, row.message_id, row.role), {})


def _blobs(connection: Connection, row: MessageRow) -> Blobs:
    """The large ones."""
    if row.role == Role.TRANSIT:
        return {}
    return find_blobs(connection, [row]).get((row.authority, row.message_id, row.role), {})


def _erasure(connection: Connection, row: MessageRow) -> ErasureRow | None:
    return find_erasures(connection, [row]).get(row.name)


def _envelope(row: MessageRow) -> Envelope:
    """Of our own store, where only verified ones are."""
    return read_validated(parse_canonical(row.envelope, MAX_ENVELOPE_OCTETS))
