"""The listener for peers' posts.

Whatever a peer does, the listener goes on: a post that is too large, too slow, one too many, or
that makes the engine fail, costs that post its answer and nobody else anything.
"""

from __future__ import annotations

import asyncio
import io
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar

import structlog
from aiohttp import hdrs, web
from aiohttp.http import HttpProcessingError

from node.carriers.https.turned_away import TurnedAway
from node.carriers.https.wire import (
    DIRECTORY_PATH,
    DOCUMENTS_TYPE,
    EXCHANGE_PATH,
    MAX_HEADER_OCTETS,
    MAX_HEADERS,
    MS_PER_S,
    PREFER,
    PREFERENCE_APPLIED,
    preferred_wait_ms,
    read_bounded,
)
from node.tls import peer_of, server_context
from protocol.errors import LocalUseError, RefusedError, UnavailableError
from protocol.frames import MEDIA_TYPE
from protocol.limits import MAX_POST_OCTETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from node.tls import TlsIdentity

T = TypeVar("T")
Exchange: TypeAlias = Callable[[str, bytes], Awaitable[bytes]]
"""What is done with a post: the peer's node id and its frames; the frames to answer."""


Documents: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""What is done with a question about the directory (node/trust_sync.py)."""


class WaitingRoom(Protocol):
    """What is done with a call that asks for what waits; `node.engine.Engine` is one."""

    async def asked(self, peer: str, octets: bytes) -> bytes:
        """Take what the call brings; the frames to answer."""
        ...

    async def waits(self, peer: str, wait_ms: int) -> bool:
        """Return when something waits, or in so long; whether to hand out."""
        ...

    async def hand_out(self, peer: str, room: int) -> bytes:
        """What waits, at most so many octets."""
        ...

    def release(self) -> None:
        """Let every `waits` return now."""
        ...


_BACKLOG: Final = 256
_RETRY_AFTER_S: Final = 1
_ACCEPT_PAUSE_S: Final = 0.1

_log = structlog.get_logger("node.carriers.https")


def _without_excerpt(record: logging.LogRecord) -> bool:
    """Drop the trace of what is not HTTP: it quotes octets that may be about a person."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info = None
    return True


_http_log = logging.getLogger("node.carriers.https.http")
_http_log.addFilter(_without_excerpt)


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """Bounds of the listener; a post in work holds up to twice `MAX_POST_OCTETS` in memory.

    Attributes:
        posts: In work at once, over all peers.
        posts_per_peer: Of those, for one peer, so that none can take all.
        connections_per_peer: Open at once; beyond it the oldest is cut off. Each takes one of the
            files that the store and the other peers need; a caller of ours opens five.
        handshakes: Under way at once, over all callers; beyond it the oldest is cut off: an honest
            one is done before, and who dawdles does not keep others out.
        handshake_ms: For TLS.
        read_ms: From a post's headers to its last octet; 8 MiB over a line of 2 Mbit/s takes 34 s.
        answer_ms: Until the peer has taken the answer.
        idle_ms: Between posts, and for headers; longer than callers keep a connection, so that it
            is normally the caller that closes.
        linger_ms: For what a peer still sends after its post was turned down, so that it sees why.
        stop_ms: For posts in work when the node stops.
        hold_ms: How long a call is held until something waits for the peer; less than `idle_ms`,
            and than most proxies bear silence. A call that is held counts as no post in work.
    """

    posts: int = 32
    posts_per_peer: int = 4
    connections_per_peer: int = 16
    handshakes: int = 128
    handshake_ms: int = 10_000
    read_ms: int = 60_000
    answer_ms: int = 60_000
    idle_ms: int = 75_000
    linger_ms: int = 2_000
    stop_ms: int = 10_000
    hold_ms: int = 50_000


class PeerListener:
    """Serves `POST /tongban/1/exchange` to the pinned peers.

    Args:
        exchange: Gets each post. `UnavailableError` is answered with 503, `RefusedError` with 400.
        identity: This node's.
        peers: Node id to certificate, DER.
        limits: Bounds.
        room: Where calls that ask for what waits are held; without one they are posts like others.
        documents: Answers questions about the directory, served at `DIRECTORY_PATH`.

    Raises:
        RefusedError: KEY_MALFORMED: one of the certificates is none.
    """

    def __init__(
        self,
        exchange: Exchange,
        identity: TlsIdentity,
        peers: Mapping[str, bytes],
        limits: ListenerLimits | None = None,
        room: WaitingRoom | None = None,
        *,
        documents: Documents | None = None,
    ) -> None:
        self._exchange = exchange
        self._room = room
        self._documents = documents
        self._identity = identity
        self._limits = limits or ListenerLimits()
        self._peers = dict(peers)
        self._context = server_context(identity, peers)
        self._in_work: Counter[str] = Counter()
        self._socket: socket.socket | None = None
        self._handshakes: dict[asyncio.Task[None], None] = {}
        self._callers: dict[str, list[web.RequestHandler]] = {}
        self._turned_away = TurnedAway()
        self._http: web.Server | None = None

    @property
    def port(self) -> int:
        """The port it listens on.

        Raises:
            LocalUseError: it does not listen.
        """
        if self._socket is None:
            message = "the listener was not started"
            raise LocalUseError(message)
        port: int = self._socket.getsockname()[1]
        return port

    async def start(self, host: str, port: int) -> None:
        """Listen on this address; port 0 takes any.

        Raises:
            OSError: the address is taken or not this machine's.
        """
        limits = self._limits
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        self._socket.setblocking(False)
        self._http = web.Server(
            self._serve,
            access_log=None,
            logger=_http_log,
            keepalive_timeout=limits.idle_ms / MS_PER_S,
            lingering_time=limits.linger_ms / MS_PER_S,
            max_line_size=MAX_HEADER_OCTETS,
            max_field_size=MAX_HEADER_OCTETS,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
        )
        self._listen()

    def update_peers(self, peers: Mapping[str, bytes]) -> None:
        """Serve these peers from now on; a post in work is still answered.

        Raises:
            RefusedError: KEY_MALFORMED: one of the certificates is none; nothing has changed.
        """
        self._context = server_context(self._identity, peers)
        self._peers = dict(peers)

    async def stop(self) -> None:
        """Take no new post, finish those in work (within `stop_ms`), close all connections."""
        if self._socket is None or self._http is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        if self._room is not None:
            self._room.release()
        await asyncio.sleep(0)  # a handshake that has not begun could not close its connection
        for task in self._handshakes:
            task.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)
        self._turned_away.stop()
        self._http.pre_shutdown()
        await self._http.shutdown(self._limits.stop_ms / MS_PER_S)

    def _listen(self) -> None:
        if self._socket is not None and self._http is not None:
            loop = asyncio.get_running_loop()
            loop.add_reader(self._socket, self._accept, self._socket, self._http)

    def _accept(self, listening: socket.socket, http: web.Server) -> None:
        """Take a connection, into the context of this moment.

        An `asyncio.Server` keeps the context it began with, and replacing the server would lose the
        connections that it has just accepted.
        """
        try:
            connection, (address, *_) = listening.accept()
        except (BlockingIOError, ConnectionError):
            return  # the caller has left already
        except OSError as error:
            # Most likely no more files may be open: the callers wait in the kernel's queue.
            _log.error("cannot accept connections", error=error.strerror)
            loop = asyncio.get_running_loop()
            loop.remove_reader(listening)
            loop.call_later(_ACCEPT_PAUSE_S, self._listen)
            return
        connection.setblocking(False)
        while len(self._handshakes) >= self._limits.handshakes:
            oldest = next(iter(self._handshakes))
            del self._handshakes[oldest]
            oldest.cancel()
        task = asyncio.create_task(self._shake_hands(connection, address, http))
        self._handshakes[task] = None
        task.add_done_callback(lambda done: self._handshakes.pop(done, None))

    async def _shake_hands(self, connection: socket.socket, address: str, http: web.Server) -> None:
        try:
            _, caller = await asyncio.get_running_loop().connect_accepted_socket(
                http,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._limits.handshake_ms / MS_PER_S,
                ssl_shutdown_timeout=self._limits.linger_ms / MS_PER_S,
            )
        except OSError as error:
            # The only trace of it: the caller is cut off without an alert.
            self._turned_away.note(address, str(error))
        else:
            self._bound(caller)

    def _bound(self, caller: web.RequestHandler) -> None:
        """One connection more of a peer: its oldest go."""
        peer = peer_of(caller.transport, self._peers) or ""
        callers = [one for one in self._callers.get(peer, ()) if one.transport is not None]
        callers.append(caller)
        while len(callers) > self._limits.connections_per_peer:
            oldest = callers.pop(0).transport
            if oldest is not None:
                oldest.abort()
        self._callers[peer] = callers

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        peer = peer_of(request.transport, self._peers)
        if peer is None:
            stranger = web.HTTPForbidden(
                text="this certificate is pinned for no node, or several\n"
            )
            stranger.force_close()
            raise stranger
        if request.path == DIRECTORY_PATH and self._documents is not None:
            return await self._hand_documents(request, peer, self._documents)
        if request.path != EXCHANGE_PATH:
            raise web.HTTPNotFound(text=f"no such resource; messages go to {EXCHANGE_PATH}\n")
        if request.method != hdrs.METH_POST:
            raise web.HTTPMethodNotAllowed(request.method, [hdrs.METH_POST])
        if request.content_type != MEDIA_TYPE or hdrs.CONTENT_ENCODING in request.headers:
            text = f"only {MEDIA_TYPE} is served, without content encoding\n"
            raise web.HTTPUnsupportedMediaType(text=text)
        wait_ms = preferred_wait_ms(request.headers.getall(PREFER, ()))
        if self._room is not None and wait_ms is not None:
            return await self._call(request, peer, min(wait_ms, self._limits.hold_ms), self._room)
        with self._place(peer):
            answer = await self._work(peer, self._exchange(peer, await self._received(request)))
            return await self._respond(request, answer)

    async def _hand_documents(
        self, request: web.BaseRequest, peer: str, documents: Documents
    ) -> web.StreamResponse:
        """What a peer lacks of a province's directory (DI-18)."""
        if request.method != hdrs.METH_POST:
            raise web.HTTPMethodNotAllowed(request.method, [hdrs.METH_POST])
        with self._place(peer):
            answer = await self._work(peer, documents(await self._received(request)))
            return await self._respond(request, answer, kind=DOCUMENTS_TYPE)

    async def _call(
        self, request: web.BaseRequest, peer: str, wait_ms: int, room: WaitingRoom
    ) -> web.StreamResponse:
        """A call that asks for what waits; while it is held it takes no post's place (PU-3)."""
        with self._place(peer):
            answer = await self._work(peer, room.asked(peer, await self._received(request)))
        current = bool(answer) or await self._work(peer, room.waits(peer, wait_ms))
        with self._place(peer):
            if current and request.transport is not None:  # the caller is still there
                left = MAX_POST_OCTETS - len(answer)
                answer += await self._work(peer, room.hand_out(peer, left))
            applied = {PREFERENCE_APPLIED: f"wait={wait_ms // MS_PER_S}"}
            return await self._respond(request, answer, applied)

    @contextmanager
    def _place(self, peer: str) -> Iterator[None]:
        """One of the posts in work at once."""
        too_many = self._in_work[peer] >= self._limits.posts_per_peer
        if too_many or self._in_work.total() >= self._limits.posts:
            raise _busy("too many posts at once")
        self._in_work[peer] += 1
        try:
            yield
        finally:
            self._in_work[peer] -= 1

    async def _received(self, request: web.BaseRequest) -> bytes:
        announced = request.content_length or 0
        octets = None
        if announced <= MAX_POST_OCTETS:
            try:
                async with asyncio.timeout(self._limits.read_ms / MS_PER_S):
                    octets = await read_bounded(request.content, MAX_POST_OCTETS)
            except TimeoutError as error:
                text = f"the post did not arrive within {self._limits.read_ms} ms\n"
                raise web.HTTPRequestTimeout(text=text) from error
            except (OSError, web.RequestPayloadError) as error:
                raise web.HTTPBadRequest(text="the post was cut short\n") from error
        if octets is None:
            text = f"a post may have {MAX_POST_OCTETS} octets\n"
            raise web.HTTPRequestEntityTooLarge(MAX_POST_OCTETS, announced, text=text)
        return octets

    async def _work(self, peer: str, work: Awaitable[T]) -> T:
        """The engine's part; what goes wrong in it is an answer, too."""
        try:
            return await work
        except UnavailableError as error:
            raise _busy(str(error)) from error
        except RefusedError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        except Exception as error:
            # The boundary of the process: one post must not stop the node. What it was stays here.
            _log.exception("post failed", peer=peer)
            text = "this node failed on the post; its operator finds why in the log\n"
            raise web.HTTPInternalServerError(text=text) from error

    async def _respond(
        self,
        request: web.BaseRequest,
        answer: bytes,
        headers: Mapping[str, str] | None = None,
        kind: str = MEDIA_TYPE,
    ) -> web.StreamResponse:
        # As a file, because it is then written piece by piece: asyncio's TLS takes any amount
        # at once and would hold all answers of a peer that does not read.
        response = web.Response(body=io.BytesIO(answer), content_type=kind, headers=headers)
        await self._hand_over(request, response)
        return response

    async def _hand_over(self, request: web.BaseRequest, response: web.Response) -> None:
        """Write the answer while the post still counts; cut off a peer that does not take it.

        It will send the post again, and get the same answer.
        """
        try:
            async with asyncio.timeout(self._limits.answer_ms / MS_PER_S):
                await response.prepare(request)
                await response.write_eof()
                await request.writer.drain()
        except (TimeoutError, ConnectionError):
            response.force_close()  # nothing that it sent ahead is served any more
            if request.transport is not None:
                request.transport.abort()


def _busy(what: str) -> web.HTTPServiceUnavailable:
    headers = {hdrs.RETRY_AFTER: str(_RETRY_AFTER_S)}
    return web.HTTPServiceUnavailable(headers=headers, text=f"{what}\n")
