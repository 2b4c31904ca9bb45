"""Evidence (存证): a case or a message as one file that anyone can check offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from aiohttp import hdrs, web

from node.api.forms import CaseEvidenceQuery, MessageEvidenceQuery
from node.api.reading import read_id, read_query
from node.evidence import export_case, export_message
from protocol.errors import UnavailableError
from signing.evidence import MEDIA_TYPE

if TYPE_CHECKING:
    from node.engine import Engine
    from node.evidence import Export

_log = structlog.get_logger()


class EvidenceApi:
    """Exports of what this node holds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._context = engine.context

    async def case(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/evidence/cases/{caseId}."""
        case_id = read_id(request, "caseId")
        query = read_query(request, CaseEvidenceQuery)
        await self._engine.log.drain()  # what was settled a moment ago is proven too
        export = await export_case(self._context, case_id, contents=query.wanted)
        return await _streamed(request, export, case_id)

    async def message(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/evidence/messages/{messageId}."""
        message_id = read_id(request, "messageId")
        query = read_query(request, MessageEvidenceQuery)
        await self._engine.log.drain()
        export = await export_message(
            self._context, message_id, query.authority, contents=query.wanted
        )
        return await _streamed(request, export, message_id)


async def _streamed(request: web.Request, export: Export, name: str) -> web.StreamResponse:
    """The file, as fast as the caller takes it."""
    headers = {
        hdrs.CONTENT_TYPE: MEDIA_TYPE,
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}.tbev"',
    }
    response = web.StreamResponse(headers=headers)
    response.content_length = export.size
    await response.prepare(request)
    try:
        async for octets in export.octets():
            await response.write(octets)
    except UnavailableError as trouble:
        # Too late for another answer: the caller has to see that this was not all.
        _log.error("evidence cut short", why=str(trouble))
        if request.transport is not None:
            request.transport.abort()
    return response
