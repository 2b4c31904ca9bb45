"""The caller's end: posts to peers over mutual TLS.

A post may safely arrive twice, because the protocol settles duplicates. So a kept connection that
turns out dead is replaced at once; any other failure is for the dispatcher and its timetable.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp import hdrs
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt
from yarl import URL

from node.carriers.https.wire import (
    DIRECTORY_PATH,
    DOCUMENTS_TYPE,
    EXCHANGE_PATH,
    MAX_HEADER_OCTETS,
    MAX_HEADERS,
    MS_PER_S,
    PREFER,
    read_bounded,
)
from node.tls import client_context
from protocol.errors import LocalUseError, RefusedError, UnavailableError
from protocol.frames import MEDIA_TYPE
from protocol.limits import MAX_DOCUMENT_OCTETS, MAX_POST_OCTETS
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import SimpleNamespace

    from node.tls import TlsIdentity

_MAX_PROBLEM_OCTETS: Final = 500
# Each failure takes one dead connection out of the pool; a dispatcher keeps one, seldom two.
_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a peer is, and who it has to be there.

    Attributes:
        url: `https://host:port`.
        certificate: DER.
    """

    url: str
    certificate: bytes


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """Bounds of a post.

    Attributes:
        connect_ms: For name, TCP and TLS.
        silence_ms: Without an octet from the peer, once the post is sent; a machine that lost its
            power says nothing at all.
        total_ms: For the whole, reconnects included.
        idle_ms: How long an unused connection is kept.
    """

    connect_ms: int = 10_000
    silence_ms: int = 30_000
    total_ms: int = 120_000
    idle_ms: int = 30_000


class HttpsTransport:
    """Posts to peers over mutual TLS; implements `node.ports.Transport`.

    Args:
        identity: This node's.
        peers: Node id to endpoint.
        limits: Bounds.
    """

    def __init__(
        self,
        identity: TlsIdentity,
        peers: Mapping[str, Endpoint],
        limits: TransportLimits | None = None,
    ) -> None:
        self._identity = identity
        self._peers = dict(peers)
        self._limits = limits or TransportLimits()
        self._links: dict[str, _Link] = {}

    async def post(
        self,
        peer: str,
        octets: bytes,
        *,
        wait_ms: int | None = None,
        sent: Callable[[], None] | None = None,
    ) -> bytes:
        """Deliver frames to the peer with this node id; the frames it answers.

        Args:
            peer: Its node id.
            octets: The frames.
            wait_ms: Ask for what waits there (`Prefer: wait`, RFC 7240), and bear so much more
                silence.
            sent: Called when the last of the octets was taken to be sent.

        Raises:
            UnavailableError: PEER_UNREACHABLE; the detail says what happened. Whether the peer took
                the frames is then unknown.
            LocalUseError: more than `MAX_POST_OCTETS`.
        """
        if len(octets) > MAX_POST_OCTETS:
            message = f"a post of {len(octets)} octets"
            raise LocalUseError(message)
        return await self._post(peer, octets, _EXCHANGE, wait_ms, sent)

    async def ask_documents(self, peer: str, question: bytes) -> bytes:
        """Put a question about the directory to a peer; its answer (node/trust_sync.py).

        Raises:
            UnavailableError: PEER_UNREACHABLE; the detail says what happened.
        """
        return await self._post(peer, question, _DOCUMENTS, None, None)

    async def _post(
        self,
        peer: str,
        octets: bytes,
        service: _Service,
        wait_ms: int | None,
        sent: Callable[[], None] | None,
    ) -> bytes:
        endpoint = self._peers.get(peer)
        if endpoint is None:
            raise _unreachable(f"node {peer} has no endpoint in the directory")
        try:
            link = self._links.get(peer) or _Link(self._identity, endpoint, self._limits)
        except (RefusedError, ValueError) as error:
            raise _unreachable(f"node {peer}: {error}") from error
        self._links[peer] = link
        try:
            return await link.post(octets, service, wait_ms, sent)
        except UnavailableError as error:
            raise _unreachable(f"node {peer} at {endpoint.url}: {error.detail}") from error

    async def update_peers(self, peers: Mapping[str, Endpoint]) -> None:
        """Post to these from now on; a post in work is finished, then its connection is closed."""
        self._peers = dict(peers)
        for node, link in list(self._links.items()):
            if link.endpoint != peers.get(node):
                await self._links.pop(node).retire()

    async def close(self) -> None:
        """Close all connections and post nowhere any more."""
        await self.update_peers({})


@dataclass(frozen=True, slots=True)
class _Service:
    """What a peer is asked for: where, what its answer is, and how large that may be."""

    path: str
    media_type: str
    limit: int


_EXCHANGE: Final = _Service(EXCHANGE_PATH, MEDIA_TYPE, MAX_POST_OCTETS)
# One document may be larger than a post; then it comes alone.
_DOCUMENTS: Final = _Service(DIRECTORY_PATH, DOCUMENTS_TYPE, MAX_DOCUMENT_OCTETS + MAX_POST_OCTETS)


class _DeadConnectionError(UnavailableError):
    """A kept connection failed before the peer began to answer."""


@dataclass(slots=True)
class _Attempt:
    """One request; the session tells it what it used."""

    silence_ms: int
    kept: bool = False
    answered: bool = False


class _Link:
    """The connections to one endpoint.

    Raises:
        RefusedError: KEY_MALFORMED.
        ValueError: the URL is not https.
    """

    def __init__(self, identity: TlsIdentity, endpoint: Endpoint, limits: TransportLimits) -> None:
        self.endpoint = endpoint
        self._limits = limits
        self._url = URL(endpoint.url)
        if self._url.scheme != "https" or not self._url.host:
            message = f"{endpoint.url!r} is not of the form https://host:port"
            raise ValueError(message)
        self._context = client_context(identity, endpoint.certificate)
        self._posts = 0
        self._retired = False
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_kept)
        # The context trusts what the pinned certificate vouches for, the fingerprint only itself.
        pin = aiohttp.Fingerprint(hashlib.sha256(endpoint.certificate).digest())
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=pin, limit=0, keepalive_timeout=limits.idle_ms / MS_PER_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=[hdrs.USER_AGENT, hdrs.ACCEPT_ENCODING],
            max_line_size=MAX_HEADER_OCTETS,
            max_field_size=MAX_HEADER_OCTETS,
            max_headers=MAX_HEADERS,
            trace_configs=[trace],
        )

    async def post(
        self,
        octets: bytes,
        service: _Service,
        wait_ms: int | None,
        sent: Callable[[], None] | None,
    ) -> bytes:
        """Post, at once over another connection if a kept one is dead."""
        again = AsyncRetrying(
            retry=retry_if_exception_type(_DeadConnectionError),
            stop=stop_after_attempt(_ATTEMPTS),
            reraise=True,
        )
        total_ms = self._limits.total_ms + (wait_ms or 0)
        self._posts += 1
        try:
            async with asyncio.timeout(total_ms / MS_PER_S):
                return await again(self._attempt, octets, service, wait_ms, sent)
        except TimeoutError as error:
            raise _unreachable(f"no whole answer within {total_ms} ms") from error
        finally:
            self._posts -= 1
            if self._retired:
                await self.retire()

    async def retire(self) -> None:
        """Close the connections, but let posts in work finish."""
        self._retired = True
        if self._posts == 0:
            await self._session.close()

    def _timeout(self, silence_ms: int) -> aiohttp.ClientTimeout:
        connect_s = self._limits.connect_ms / MS_PER_S
        return aiohttp.ClientTimeout(total=None, connect=connect_s, sock_read=silence_ms / MS_PER_S)

    async def _attempt(
        self,
        octets: bytes,
        service: _Service,
        wait_ms: int | None,
        sent: Callable[[], None] | None,
    ) -> bytes:
        kind = service.media_type
        headers: dict[str, str] = {hdrs.CONTENT_TYPE: kind, hdrs.ACCEPT: kind}
        if wait_ms is not None:
            headers[PREFER] = f"wait={wait_ms // MS_PER_S}"
        attempt = _Attempt(silence_ms=self._limits.silence_ms + (wait_ms or 0))
        try:
            async with self._session.post(
                self._url.with_path(service.path),
                data=io.BytesIO(octets) if sent is None else _Told(octets, sent),
                ssl=self._context,
                allow_redirects=False,
                headers=headers,
                timeout=self._timeout(attempt.silence_ms),
                trace_request_ctx=attempt,
            ) as response:
                attempt.answered = True
                return await _body(response, service)
        except (aiohttp.ClientError, OSError) as error:
            detail = self._explain(error, attempt)
            lost = isinstance(error, aiohttp.ServerDisconnectedError | OSError)
            timed_out = isinstance(error, TimeoutError)
            if attempt.kept and lost and not timed_out and not attempt.answered:
                raise _DeadConnectionError(Reason.PEER_UNREACHABLE, detail) from error
            raise _unreachable(detail) from error

    def _explain(self, error: aiohttp.ClientError | OSError, attempt: _Attempt) -> str:
        match error:
            case aiohttp.ServerFingerprintMismatch() | aiohttp.ClientConnectorCertificateError():
                what = "TLS: it does not show the certificate that the directory pins for it"
            case aiohttp.ClientConnectorDNSError():
                what = "its host name is not known"
            case aiohttp.ClientConnectorSSLError():
                what = f"TLS: {error.os_error}"
            case aiohttp.ConnectionTimeoutError():
                what = f"timed out: no connection within {self._limits.connect_ms} ms"
            case aiohttp.SocketTimeoutError():
                what = f"timed out: silent for {attempt.silence_ms} ms"
            case aiohttp.ClientConnectorError():
                what = f"no connection: {error.strerror}"
            case aiohttp.ClientResponseError():
                what = "its answer is not HTTP"
            case _ if attempt.answered:
                what = "the answer was cut short"
            case OSError(strerror=str(reason)):  # among others a TLS alert: it does not know us
                what = f"the connection was lost before an answer: {reason}"
            case _:
                what = "the connection was lost before an answer"
        return what


class _Told(io.BytesIO):
    """Octets that tell when the last of them was read."""

    def __init__(self, octets: bytes, told: Callable[[], None]) -> None:
        super().__init__(octets)
        self._octets = len(octets)
        self._told = told

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        if self.tell() == self._octets:
            self._told()
        return piece


async def _body(response: aiohttp.ClientResponse, service: _Service) -> bytes:
    """The octets of an answer, if it is one."""
    if response.status != HTTPStatus.OK:
        problem = await response.content.read(_MAX_PROBLEM_OCTETS)
        told = "".join(filter(str.isprintable, problem.decode(errors="replace")))
        raise _unreachable(f"HTTP {response.status}: {told}")
    if response.content_type != service.media_type:
        raise _unreachable(f"its answer is {response.content_type}, not {service.media_type}")
    octets = await read_bounded(response.content, service.limit)
    if octets is None:
        raise _unreachable(f"its answer is larger than {service.limit} octets")
    return octets


async def _note_kept(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    context.trace_request_ctx.kept = True


def _unreachable(detail: str) -> UnavailableError:
    return UnavailableError(Reason.PEER_UNREACHABLE, detail)
