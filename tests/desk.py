"""A clerk's program at a node's local API; every answer is held against the OpenAPI document."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp

from node.api.openapi import openapi_document
from tests.openapi_check import problems, resolved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

Json = dict[str, Any]
DEADLINE_S: Final = 30
TUS: Final = {"Tus-Resumable": "1.0.0"}
SCAN: Final = b"%PDF-1.7 a scan \x00\xff"

_SEGMENT: Final = re.compile(r"\{(\w+)\}")


class Answer:
    """What came back: already known to be what the document promises."""

    def __init__(self, status: int, headers: Mapping[str, str], octets: bytes) -> None:
        self.status = status
        self.headers = headers
        self.octets = octets

    @property
    def json(self) -> Json:
        document: Json = json.loads(self.octets)
        return document

    @property
    def problem(self) -> str:
        """The code of the problem document, for example case-unknown."""
        return str(self.json["type"]).rpartition(":")[2]


class Desk:
    """One caller with the token; an asynchronous context manager.

    Args:
        url: Of the local API.
        token: Shown with every request, unless it is None.

    Attributes:
        seen: operationId and status of every answer so far.
    """

    def __init__(
        self, url: str, token: str | None, seen: set[tuple[str, int]] | None = None
    ) -> None:
        self.url = url
        self._token = token
        self.seen = set() if seen is None else seen
        self._session: aiohttp.ClientSession | None = None
        self._keys = 0

    async def __aenter__(self) -> Self:
        shown = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        self._session = aiohttp.ClientSession(headers=shown)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(self, path: str, **query: str) -> Answer:
        return await self.send("GET", path, params=query)

    async def post(self, path: str, body: object, key: str | None = None) -> Answer:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.send("POST", path, json=body, headers=headers)

    async def send(self, method: str, path: str, **options: Any) -> Answer:
        assert self._session is not None
        async with self._session.request(method, self.url + path, **options) as response:
            octets = await response.read()
            answer = Answer(response.status, response.headers, octets)
        self._check(method, path, answer, options.get("json"))
        return answer

    def _check(self, method: str, path: str, answer: Answer, sent: object) -> None:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        document = openapi_document()
        operation = _operation(document, method, path)
        if operation is None:
            assert answer.status in {401, 404, 405}
            assert problems(document, _problem_schema(document), answer.json) == []
            return
        self.seen.add((operation["operationId"], answer.status))
        response = resolved(document, operation["responses"][str(answer.status)])
        for name, header in response.get("headers", {}).items():
            assert not resolved(document, header)["required"] or name in answer.headers
        content = response.get("content")
        media_type = answer.headers.get("Content-Type", "").partition(";")[0]
        if content is None or method == "HEAD":
            assert answer.octets == b""
        elif media_type in ("application/json", "application/problem+json"):
            found = problems(document, content[media_type]["schema"], answer.json)
            assert found == [], f"answered, against the document: {found}"
        else:
            assert "*/*" in content or media_type in content
        accepted = operation.get("requestBody", {}).get("content", {})
        if answer.status < 300 and "application/json" in accepted:
            form = accepted["application/json"]["schema"]
            found = problems(document, form, sent)
            assert found == [], f"accepted, against the document: {found}"

    # what a window and an authority do

    async def submit(self, authority: str, document: Json, key: str | None = None) -> Json:
        body = {"authority": authority, "submit": document, "files": {"m1": scan()}}
        answer = await self.post("/v1/cases", body, key or self._fresh())
        assert answer.status == 201, answer.octets.decode()
        return answer.json

    async def upload(self, octets: bytes) -> str:
        """Bring a file; where it is."""
        length = {"Upload-Length": str(len(octets))}
        created = await self.send("POST", "/v1/uploads", headers=TUS | length)
        assert created.status == 201, created.octets.decode()
        place = created.headers["Location"]
        assert (await self.append(place, 0, octets)).status == 204
        return place

    async def append(self, place: str, offset: int, octets: bytes) -> Answer:
        """The next octets of an upload."""
        headers = TUS | {
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
        }
        return await self.send("PATCH", place, headers=headers, data=io.BytesIO(octets))

    async def act(self, case_id: str, authority: str, kind: str, **body: Any) -> Json:
        path = f"/v1/cases/{case_id}/acts"
        form = {"authority": authority, "kind": kind, "body": {"actor": OFFICER, **body}}
        answer = await self.post(path, form, self._fresh())
        assert answer.status == 201, answer.octets.decode()
        return answer.json

    async def case(self, case_id: str) -> Json:
        answer = await self.get(f"/v1/cases/{case_id}")
        assert answer.status == 200, answer.octets.decode()
        return answer.json

    async def take(self, kind: str, **form: Any) -> Json:
        """Lease until an entry of this kind comes in, and report it done."""

        async def leased() -> Json | None:
            answer = await self.post("/v1/inbox/lease", {"max": 1, **form})
            entries: list[Json] = answer.json["entries"]
            return entries[0] if entries else None

        entry = await eventually(leased)
        assert entry["kind"] == kind
        path = f"/v1/inbox/{entry['messageId']}/done"
        done = {"authority": entry["from"]["authority"], "lease": entry["lease"]}
        assert (await self.post(path, done)).status == 204
        return entry

    async def until(self, case_id: str, outcome: str) -> Json:
        """Wait until a case has ended like this and every message holds its receipt."""

        async def ended() -> Json | None:
            case = await self.case(case_id)
            return case if case["outcome"] == outcome and case["settled"] else None

        return await eventually(ended)

    def _fresh(self) -> str:
        self._keys += 1
        return f"{self.url}/{self._keys}"


async def eventually(look: Callable[[], Awaitable[Json | None]]) -> Json:
    """What a look finds in the end; a test that waits in vain fails."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.01)


OFFICER: Final = {"name": "聂远舟", "staffNumber": "0032", "window": "审批科"}


def scan() -> Json:
    """A file to go with a message."""
    return {"mediaType": "application/pdf", "base64": base64.b64encode(SCAN).decode()}


def _operation(document: Json, method: str, path: str) -> Json | None:
    for template, operations in document["paths"].items():
        pattern = _SEGMENT.sub("[^/]+", template)
        if re.fullmatch(pattern, path.partition("?")[0]) and method.lower() in operations:
            operation: Json = operations[method.lower()]
            return operation
    return None


def _problem_schema(document: Json) -> Json:
    schema: Json = document["components"]["schemas"]["ProblemDocument"]
    return schema
