"""Evidence (存证): a case or a message as one file that anyone can check offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from node.api.forms import OwnerQuery
from node.api.reading import read_id, read_query
from node.evidence import export_case, export_message
from signing.evidence import MEDIA_TYPE

if TYPE_CHECKING:
    from node.engine import Engine


class EvidenceApi:
    """Exports of what this node holds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._context = engine.context

    async def case(self, request: web.Request) -> web.Response:
        """GET /v1/evidence/cases/{caseId}."""
        case_id = read_id(request, "caseId")
        await self._engine.log.drain()  # what was settled a moment ago is proven too
        return _file(await export_case(self._context, case_id), case_id)

    async def message(self, request: web.Request) -> web.Response:
        """GET /v1/evidence/messages/{messageId}."""
        message_id = read_id(request, "messageId")
        owner = read_query(request, OwnerQuery).authority
        await self._engine.log.drain()
        return _file(await export_message(self._context, message_id, owner), message_id)


def _file(octets: bytes, name: str) -> web.Response:
    headers = {
        hdrs.CONTENT_TYPE: MEDIA_TYPE,
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}.tbev"',
    }
    return web.Response(body=octets, headers=headers)
