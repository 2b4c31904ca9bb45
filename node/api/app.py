"""The local listener: routes, the token, and what every answer has in common.

In this order, for every request:

    1. it is for a known address, or it shows the token (only ``openapi.json`` is open to all)
    2. its handler reads it, within bounds, and answers
    3. whatever was raised becomes a problem document; what nobody expected is logged by its place
       in the program and answered 500, without a word of what the request held
    4. nothing is cached, and no browser guesses what an answer is
"""

from __future__ import annotations

import hashlib
import hmac
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import hdrs, web

from node.api.cases import CasesApi
from node.api.erasure import ErasureApi
from node.api.evidence import EvidenceApi
from node.api.health import HealthApi
from node.api.inbox import InboxApi
from node.api.log import LogApi
from node.api.lookup import LookupApi
from node.api.messages import MessagesApi
from node.api.openapi import openapi_document
from node.api.problems import Fault, ProblemError, problem_of
from node.api.reading import MAX_REQUEST_OCTETS
from node.api.uploads import UploadsApi
from node.api.writing import respond
from protocol.errors import RefusedError, TongbanError, UnavailableError
from protocol.reasons import Reason

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from node.engine import Engine

OPENAPI_PATH: Final = "/v1/openapi.json"
HEALTH_PATH: Final = "/v1/health"
_SHUTDOWN_S: Final = 5.0
_MAX_HEADER_OCTETS: Final = 8192
_log = structlog.get_logger()


def make_app(engine: Engine, token: str) -> web.Application:
    """The application of one node.

    Args:
        engine: Of this node, running.
        token: What callers have to show.
    """
    middlewares = [_answering, _guarded_by(token), _working(engine)]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_REQUEST_OCTETS)
    cases, inbox = CasesApi(engine), InboxApi(engine.context)
    messages, lookup = MessagesApi(engine), LookupApi(engine.context)
    evidence, log = EvidenceApi(engine), LogApi(engine)
    erasure = ErasureApi(engine)
    uploads = UploadsApi(engine.context, engine.uploads)
    app.on_response_prepare.append(_mark)
    app.add_routes(
        [
            _get(HEALTH_PATH, HealthApi(engine).show),
            _get(OPENAPI_PATH, _openapi),
            _get("/v1/items", lookup.items),
            _get("/v1/items/{code}/authority", lookup.authority),
            web.post("/v1/cases", cases.submit),
            _get("/v1/cases", cases.list),
            _get("/v1/cases/{caseId}", cases.show),
            web.post("/v1/cases/{caseId}/acts", cases.act),
            web.post("/v1/cases/{caseId}/erasure", erasure.case),
            web.post("/v1/messages/{messageId}/erasure", erasure.message),
            web.post("/v1/inbox/lease", inbox.lease),
            web.post("/v1/inbox/{messageId}/done", inbox.done),
            _get("/v1/messages/{messageId}", messages.show),
            _get("/v1/messages/{messageId}/parts/{partId}", messages.part),
            web.post("/v1/pings", messages.ping),
            _get("/v1/evidence/cases/{caseId}", evidence.case),
            _get("/v1/evidence/messages/{messageId}", evidence.message),
            _get("/v1/log/head", log.head),
            _get("/v1/log/proof", log.proof),
            _get("/v1/log/growth", log.growth),
            _get("/v1/log/tiles/{level}/{number}", log.tile),
            _get("/v1/log/entries/{number}", log.entries),
            web.options("/v1/uploads", uploads.options),
            web.post("/v1/uploads", uploads.create),
            web.head("/v1/uploads/{uploadId}", uploads.show),
            web.patch("/v1/uploads/{uploadId}", uploads.append),
            web.delete("/v1/uploads/{uploadId}", uploads.drop),
        ]
    )
    return app


class LocalListener:
    """Serves the local API on one address."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=_SHUTDOWN_S,
            max_line_size=_MAX_HEADER_OCTETS,
            max_field_size=_MAX_HEADER_OCTETS,
        )

    async def start(self, host: str, port: int) -> None:
        """Listen on this address.

        Raises:
            OSError: the address is taken or not this machine's.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def stop(self) -> None:
        """Take no new request, finish those in work, close all connections."""
        await self._runner.cleanup()


def _guarded_by(token: str) -> Middleware:
    """Nobody gets in without the token; how long the comparison takes says nothing about it."""
    expected = hashlib.sha256(token.encode()).digest()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, shown = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        given = hashlib.sha256(shown.encode(errors="surrogateescape")).digest()
        known = scheme.lower() == "bearer" and hmac.compare_digest(given, expected)
        if not known and request.path != OPENAPI_PATH:
            raise ProblemError(Fault.UNAUTHORIZED, headers={hdrs.WWW_AUTHENTICATE: "Bearer"})
        return await handler(request)

    return guard


def _working(engine: Engine) -> Middleware:
    """While the node recovers, nothing is asked of it but how it does (RV-4)."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in (HEALTH_PATH, OPENAPI_PATH):
            engine.recovery.require_working()
        return await handler(request)

    return check


@web.middleware
async def _answering(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Step 3 of the module's docstring; `_mark` is step 4."""
    try:
        response = await handler(request)
    except (ProblemError, RefusedError, UnavailableError) as error:
        response = problem_of(error, request.path)
    except web.HTTPException as error:
        response = problem_of(_translated(error), request.path)
    except Exception as error:  # noqa: BLE001 - one request must not stop the node
        # No trace: it may quote what was sent. Our own errors say nothing personal.
        _log.error(
            "request failed",
            method=request.method,
            resource=_resource(request),
            error=str(error) if isinstance(error, TongbanError) else type(error).__name__,
            where=_where(error),
        )
        response = problem_of(ProblemError(Fault.FAILED), request.path)
    return response


async def _mark(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"


def _translated(error: web.HTTPException) -> ProblemError | RefusedError:
    match error:
        case web.HTTPRequestEntityTooLarge():
            return RefusedError(Reason.TOO_LARGE, f"a request has {MAX_REQUEST_OCTETS} octets")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return ProblemError(Fault.METHOD_NOT_ALLOWED, headers={hdrs.ALLOW: allowed})
        case web.HTTPNotFound():
            return ProblemError(Fault.NOT_FOUND)
        case _:
            return ProblemError(Fault.MALFORMED, error.reason)


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))


def _resource(request: web.Request) -> str | None:
    """The route, not the path: what was asked for stays out of the log."""
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical


def _get(path: str, handler: Handler) -> web.RouteDef:
    return web.get(path, handler, allow_head=False)


async def _openapi(_request: web.Request) -> web.Response:
    return respond(openapi_document())
