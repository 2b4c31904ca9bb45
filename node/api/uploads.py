"""Uploads (上传): files brought in pieces before the message that names them: tus 1.0.0.

Core protocol and the extensions creation, termination and expiration (https://tus.io). An upload
belongs to the token it was created with; `files: {partId: {mediaType, upload}}` of a case or an act
uses it, once. What is acknowledged is on disk.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

from aiohttp import ClientPayloadError, hdrs, web

from node.api.problems import Fault, ProblemError
from node.api.reading import CLIENT, read_id
from protocol.bodies import FieldError
from protocol.limits import MIB

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from node.context import NodeContext
    from node.parts.uploads import Uploads, Writing
    from node.store.transfers import UploadRow

VERSION: Final = "1.0.0"
MEDIA_TYPE: Final = "application/offset+octet-stream"
_EXTENSIONS: Final = "creation,termination,expiration"
_RESUMABLE: Final = "Tus-Resumable"
_OFFSET: Final = "Upload-Offset"
_LENGTH: Final = "Upload-Length"
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_SLICE_OCTETS: Final = 8 * MIB
_SILENCE_S: Final = 60
_TURN_S: Final = 5
_MS_PER_S: Final = 1000


class UploadsApi:
    """Uploads of this node's callers."""

    def __init__(self, context: NodeContext, uploads: Uploads) -> None:
        self._context = context
        self._uploads = uploads

    async def options(self, _request: web.Request) -> web.Response:
        """OPTIONS /v1/uploads: what is served."""
        headers = {
            _RESUMABLE: VERSION,
            "Tus-Version": VERSION,
            "Tus-Extension": _EXTENSIONS,
            "Tus-Max-Size": str(self._context.parts.part),
        }
        return web.Response(status=204, headers=headers)

    async def create(self, request: web.Request) -> web.Response:
        """POST /v1/uploads: begin one."""
        _check_version(request)
        if request.can_read_body:
            raise ProblemError(Fault.MALFORMED, "octets come with PATCH")
        row = await self._uploads.create(CLIENT, _number(request, _LENGTH))
        location = {hdrs.LOCATION: f"/v1/uploads/{row.upload_id}"}
        return web.Response(status=201, headers=self._headers(row) | location)

    async def show(self, request: web.Request) -> web.Response:
        """HEAD /v1/uploads/{uploadId}: where to go on."""
        _check_version(request)
        upload_id = read_id(request, "uploadId")
        row = await self._uploads.find(CLIENT, upload_id)
        if row is None:
            raise _unknown(upload_id)
        return web.Response(status=200, headers=self._headers(row) | {_LENGTH: str(row.size)})

    async def append(self, request: web.Request) -> web.Response:
        """PATCH /v1/uploads/{uploadId}: its next octets; what arrived of them is kept."""
        _check_version(request)
        upload_id = read_id(request, "uploadId")
        if request.content_type != MEDIA_TYPE or hdrs.CONTENT_ENCODING in request.headers:
            raise ProblemError(Fault.MEDIA_TYPE, f"octets come as {MEDIA_TYPE}")
        offset = _number(request, _OFFSET)
        async with AsyncExitStack() as stack:
            writing = await self._turn(stack, upload_id)
            if writing.row.held != offset:
                told = self._headers(writing.row)
                raise ProblemError(Fault.UPLOAD_OFFSET, f"it ends at {writing.row.held}", (), told)
            async for pieces in _slices(request):
                await writing.append(pieces)
            await writing.acknowledge()
            return web.Response(status=204, headers=self._headers(writing.row))

    async def drop(self, request: web.Request) -> web.Response:
        """DELETE /v1/uploads/{uploadId}: it is not needed any more."""
        _check_version(request)
        upload_id = read_id(request, "uploadId")
        try:
            async with asyncio.timeout(_TURN_S):
                known = await self._uploads.drop(CLIENT, upload_id)
        except TimeoutError as error:
            raise ProblemError(Fault.UPLOAD_BUSY) from error
        if not known:
            raise _unknown(upload_id)
        return web.Response(status=204, headers={_RESUMABLE: VERSION})

    async def _turn(self, stack: AsyncExitStack, upload_id: str) -> Writing:
        """Alone with the upload until the stack is left."""
        try:
            async with asyncio.timeout(_TURN_S):
                entering = self._uploads.writing(CLIENT, upload_id)
                writing = await stack.enter_async_context(entering)
        except TimeoutError as error:
            raise ProblemError(Fault.UPLOAD_BUSY) from error
        if writing is None:
            raise _unknown(upload_id)
        return writing

    def _headers(self, row: UploadRow) -> dict[str, str]:
        expires_s = self._uploads.expires_ms(row) // _MS_PER_S
        return {
            _RESUMABLE: VERSION,
            _OFFSET: str(row.held),
            "Upload-Expires": formatdate(expires_s, usegmt=True),
        }


async def _slices(request: web.Request) -> AsyncIterator[list[bytes]]:
    """The content as it comes in, some mebibytes at a time; a cut ends it like an end."""
    pieces: list[bytes] = []
    octets = 0
    while True:
        try:
            async with asyncio.timeout(_SILENCE_S):
                piece = await request.content.readany()
        except TimeoutError as error:
            if pieces:
                yield pieces
            raise ProblemError(Fault.TOO_SLOW, f"silent for {_SILENCE_S} s") from error
        except (ClientPayloadError, web.RequestPayloadError, OSError):
            piece = b""
        if not piece:
            if pieces:
                yield pieces
            return
        pieces.append(piece)
        octets += len(piece)
        if octets >= _SLICE_OCTETS:
            yield pieces
            pieces, octets = [], 0


def _check_version(request: web.Request) -> None:
    if request.headers.get(_RESUMABLE) != VERSION:
        raise ProblemError(Fault.TUS_VERSION, headers={"Tus-Version": VERSION})


def _number(request: web.Request, name: str) -> int:
    value = request.headers.get(name, "")
    if _NUMBER.fullmatch(value) is None:
        fault = FieldError(
            name,
            "missing" if not value else "not a number",
            "send one header with a number of octets",
            "缺少" if not value else "不是数字",
            "发送一个以字节数为值的请求头",
        )
        raise ProblemError(Fault.MALFORMED, f"header {name}", [fault])
    return int(value)


def _unknown(upload_id: str) -> ProblemError:
    return ProblemError(Fault.NOT_FOUND, f"no upload {upload_id} here")
