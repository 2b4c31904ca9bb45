"""The client of a node's local API: what a local system or a clerk's program would write.

One method per resource; answers are the API's JSON as it came. Nothing is retried here: whoever
calls knows whether it may be (a submission may, under the same idempotency key).
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self, TypeAlias

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

Json: TypeAlias = dict[str, Any]

_PROBLEM_TYPE: Final = "application/problem+json"
_UPLOADING: Final = aiohttp.ClientTimeout(total=None, connect=5, sock_read=120)
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, connect=5)


class ProblemError(Exception):
    """The node answered with a problem document (RFC 9457).

    Attributes:
        status: HTTP status.
        document: The problem document; made up from the status if the answer was none.
    """

    def __init__(self, status: int, document: Json) -> None:
        self.status: Final = status
        self.document: Final = document
        super().__init__(f"{status} {document.get('title', '')}: {document.get('detail', '')}")

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered otherwise later: not a refusal."""
        return self.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class NodeUnreachableError(Exception):
    """No answer from the local listener: the node does not run, or stopped meanwhile.

    Attributes:
        url: Where it was looked for.
    """

    def __init__(self, url: str, why: str) -> None:
        self.url: Final = url
        super().__init__(f"{url}: {why}")


class LocalNode:
    """One node's local API. An asynchronous context manager.

    Args:
        url: `http://host:port` of the local listener.
        token: What `[local] token_file` of the node holds.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url: Final = url
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the client."""
        self._session = aiohttp.ClientSession(
            base_url=self.url,
            timeout=_TIMEOUT,
            headers={"Authorization": f"Bearer {self._token}"},
        )
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()

    async def health(self) -> Json:
        """How the node does: directory, peers and what waits for them."""
        return await self._json("GET", "/v1/health")

    async def items(self, query: str = "") -> list[Json]:
        """Service items whose code or name matches."""
        return _list(await self._json("GET", "/v1/items", params={"q": query}), "items")

    async def authority(self, item: str, basis: str, region: str, zone: str | None = None) -> Json:
        """Who is responsible; `outcome` says whether somebody is."""
        params = {"basis": basis, "region": region}
        if zone is not None:
            params["zone"] = zone
        return await self._json("GET", f"/v1/items/{item}/authority", params=params)

    async def submit(
        self, authority: str, document: Mapping[str, object], files: Mapping[str, object], key: str
    ) -> Json:
        """File a case for one of the node's authorities, under an idempotency key."""
        body = {"authority": authority, "submit": document, "files": files}
        return await self._json("POST", "/v1/cases", body=body, key=key)

    async def upload(self, path: Path, size: int) -> str:
        """Bring a file of this size (tus 1.0.0); the upload's id, to be named in `files`."""
        created = await self._tus("POST", "/v1/uploads", {"Upload-Length": str(size)})
        place, offset = created["Location"], 0
        while offset < size:
            offset = await self._append(place, path, offset)
        return place.rpartition("/")[2]

    async def _append(self, place: str, path: Path, offset: int) -> int:
        """Send the file from here on; where to go on: at its end, or where the connection broke."""
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        try:
            with path.open("rb") as octets:
                octets.seek(offset)
                told = await self._tus("PATCH", place, headers, octets)
        except NodeUnreachableError:
            told = await self._tus("HEAD", place)
            if int(told["Upload-Offset"]) == offset:
                raise
        return int(told["Upload-Offset"])

    async def _tus(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        octets: BinaryIO | None = None,
    ) -> Mapping[str, str]:
        """The headers of an answer."""
        sent = {"Tus-Resumable": "1.0.0", **(headers or {})}
        try:
            async with self._opened().request(
                method, path, headers=sent, data=octets, timeout=_UPLOADING
            ) as response:
                if response.status >= HTTPStatus.BAD_REQUEST:
                    raise ProblemError(response.status, _problem(response, await response.read()))
                return response.headers
        except (aiohttp.ClientError, OSError) as error:
            raise NodeUnreachableError(self.url, _why(error)) from error

    async def cases(self, **filters: str) -> Json:
        """A page of cases; filters: side, state, limit, after."""
        return await self._json("GET", "/v1/cases", params=filters)

    async def case(self, case_id: str) -> Json:
        """One case with its messages and receipts."""
        return await self._json("GET", f"/v1/cases/{case_id}")

    async def act(
        self,
        case_id: str,
        authority: str,
        kind: str,
        document: Mapping[str, object],
        files: Mapping[str, object],
        key: str,
    ) -> Json:
        """Send the next message of a case, under an idempotency key."""
        body = {"authority": authority, "kind": kind, "body": document, "files": files}
        return await self._json("POST", f"/v1/cases/{case_id}/acts", body=body, key=key)

    async def lease(
        self, authority: str | None = None, most: int = 20, seconds: int = 60
    ) -> list[Json]:
        """Take what waits in the inbox, for this long."""
        body: Json = {"max": most, "seconds": seconds}
        if authority is not None:
            body["authority"] = authority
        return _list(await self._json("POST", "/v1/inbox/lease", body=body), "entries")

    async def done(self, message_id: str, authority: str, lease: str) -> None:
        """An inbox entry is dealt with; `authority` is the one it is from."""
        body = {"authority": authority, "lease": lease}
        await self._call("POST", f"/v1/inbox/{message_id}/done", body=body)

    async def ping(self, node: str) -> Json:
        """Queue a ping to a node."""
        return await self._json("POST", "/v1/pings", body={"node": node})

    async def message(self, message_id: str) -> Json:
        """One message: where it stands, and its receipts."""
        return await self._json("GET", f"/v1/messages/{message_id}")

    async def evidence(
        self, what: str, identifier: str, file: BinaryIO, *, contents: bool = True
    ) -> int:
        """Write the evidence file of one of the `cases` or `messages`; its octets."""
        path = f"/v1/evidence/{what}/{identifier}"
        params = {} if contents else {"contents": "omitted"}
        try:
            async with self._opened().get(path, params=params, timeout=_UPLOADING) as response:
                if response.status >= HTTPStatus.BAD_REQUEST:
                    raise ProblemError(response.status, _problem(response, await response.read()))
                size = 0
                async for octets in response.content.iter_any():
                    size += file.write(octets)
                return size
        except aiohttp.ClientError as error:
            raise NodeUnreachableError(self.url, _why(error)) from error

    async def erase(self, what: str, identifier: str, order: Mapping[str, object]) -> list[Json]:
        """Erase the contents of one of the `cases` or `messages`; the erasures on record."""
        path = f"/v1/{what}/{identifier}/erasure"
        return _list(await self._json("POST", path, body=dict(order)), "erased")

    async def log_head(self) -> Json:
        """The newest head of the node's evidence log."""
        return await self._json("GET", "/v1/log/head")

    async def log_proof(self, digest: str) -> Json:
        """What was logged under a digest (64 hex digits), proven by the newest head."""
        return await self._json("GET", "/v1/log/proof", params={"digest": digest})

    async def _json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
        key: str | None = None,
    ) -> Json:
        octets = await self._call(method, path, params=params, body=body, key=key)
        try:
            document = json.loads(octets)
        except ValueError as error:
            raise NodeUnreachableError(self.url, "something else answers there") from error
        return document if isinstance(document, dict) else {}

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
        key: str | None = None,
    ) -> bytes:
        headers = {} if key is None else {"Idempotency-Key": key}
        try:
            async with self._opened().request(
                method, path, params=params, json=body, headers=headers
            ) as response:
                octets = await response.read()
                if response.status >= HTTPStatus.BAD_REQUEST:
                    raise ProblemError(response.status, _problem(response, octets))
                return octets
        except (aiohttp.ClientError, OSError) as error:
            raise NodeUnreachableError(self.url, _why(error)) from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            message = "use the client as a context manager"
            raise RuntimeError(message)
        return self._session


def _problem(response: aiohttp.ClientResponse, octets: bytes) -> Json:
    if response.content_type == _PROBLEM_TYPE:
        document = json.loads(octets)
        if isinstance(document, dict):
            return document
    return {"title": response.reason or "", "detail": octets[:200].decode(errors="replace")}


def _why(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ClientConnectorError():
            return error.os_error.strerror or str(error.os_error)
        case _:
            return str(error) or type(error).__name__


def _list(document: Json, name: str) -> list[Json]:
    rows = document.get(name)
    return rows if isinstance(rows, list) else []
