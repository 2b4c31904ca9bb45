"""Erasing contents (内容删除): of a case or of a message; what proves them stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from node.api.forms import ErasureForm
from node.api.reading import read_form, read_id
from node.api.writing import erasure_shown, respond
from node.erasure import Scope
from signing.erasure import Ground, Order

if TYPE_CHECKING:
    from aiohttp import web

    from node.engine import Engine

_GROUNDS: Final = {ground.code: ground for ground in Ground}


class ErasureApi:
    """Orders to erase."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def case(self, request: web.Request) -> web.Response:
        """POST /v1/cases/{caseId}/erasure: the authority's copies of all its messages."""
        form = await read_form(request, ErasureForm)
        scope = Scope(case_id=read_id(request, "caseId"), although_open=form.although_open)
        return await self._erase(form, scope)

    async def message(self, request: web.Request) -> web.Response:
        """POST /v1/messages/{messageId}/erasure: the authority's copy of it."""
        form = await read_form(request, ErasureForm)
        scope = Scope(message_id=read_id(request, "messageId"), although_open=form.although_open)
        return await self._erase(form, scope)

    async def _erase(self, form: ErasureForm, scope: Scope) -> web.Response:
        order = Order(
            form.authority, form.name, form.staff_number, _GROUNDS[form.ground], form.note
        )
        erased = await self._engine.erase(order, scope)
        return respond(
            {"erased": [{"messageId": row.message_id, **erasure_shown(row)} for row in erased]}
        )
