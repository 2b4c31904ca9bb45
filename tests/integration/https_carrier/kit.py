from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from typing import TYPE_CHECKING, Any

from node.carriers.https import (
    EXCHANGE_PATH,
    Endpoint,
    HttpsTransport,
    ListenerLimits,
    PeerListener,
    TransportLimits,
)
from node.tls import TlsIdentity, server_context
from protocol.frames import MEDIA_TYPE

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from node.carriers.https import Exchange, WaitingRoom

WUHAN, XIANGYANG, EZHOU = "420100", "420600", "420700"
DEADLINE_S = 60


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine as a test; a hang fails."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(DEADLINE_S):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


class Engine:
    """What stands behind the listener: notes every post, answers with `reply`."""

    def __init__(self, reply: bytes = b"answer") -> None:
        self.posts: list[tuple[str, bytes]] = []
        self.reply = reply

    async def exchange(self, peer: str, octets: bytes) -> bytes:
        self.posts.append((peer, octets))
        return self.reply


@contextlib.asynccontextmanager
async def listening(
    exchange: Exchange,
    identity: TlsIdentity,
    peers: dict[str, bytes],
    *room: WaitingRoom,
    **limits: int,
) -> AsyncIterator[PeerListener]:
    listener = PeerListener(exchange, identity, peers, ListenerLimits(**limits), *room)
    await listener.start("127.0.0.1", 0)
    try:
        yield listener
    finally:
        await listener.stop()


@contextlib.asynccontextmanager
async def calling(
    identity: TlsIdentity, certificate: bytes, port: int, **limits: int
) -> AsyncIterator[Callable[[bytes], Coroutine[Any, Any, bytes]]]:
    """Posts to one peer, called 420600 whoever it is."""
    endpoint = Endpoint(f"https://127.0.0.1:{port}", certificate)
    transport = HttpsTransport(identity, {XIANGYANG: endpoint}, TransportLimits(**limits))
    try:
        yield functools.partial(transport.post, XIANGYANG)
    finally:
        await transport.close()


def connections(listener: PeerListener) -> int:
    assert listener._http
    return len(listener._http.connections)


class Raw:
    """One connection, octet by octet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def request(self) -> tuple[bytes, bytes]:
        """Headers and body of a request, or of an answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-leng")]
        size = int(lengths[0].partition(b":")[2]) if lengths else 0
        return head, await self.reader.readexactly(size)

    async def status(self) -> int:
        head, _ = await self.request()
        return int(head.split()[1])


@contextlib.asynccontextmanager
async def connected(
    context: ssl.SSLContext, port: int, buffer: int | None = None
) -> AsyncIterator[Raw]:
    """A connection; `buffer` limits what the kernel takes for it before it is read."""
    plain = socket.socket()
    if buffer:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=plain, ssl=context, server_hostname="")
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def misbehaving(
    identity: TlsIdentity, peers: dict[str, bytes], serve: Callable[[Raw], Awaitable[None]]
) -> AsyncIterator[int]:
    """A peer written by hand: `serve` gets each connection, and it is cut when that returns."""
    running: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        running.add(task)
        try:
            await serve(Raw(reader, writer))
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass
        finally:
            writer.close()
            running.discard(task)

    server = await asyncio.start_server(
        connection, "127.0.0.1", 0, ssl=server_context(identity, peers)
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running)


def head(length: int, more: str = "", path: str = EXCHANGE_PATH, method: str = "POST") -> bytes:
    fields = f"Host: x\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {length}\r\n{more}"
    return f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode()


def answer(body: bytes, more: str = f"Content-Type: {MEDIA_TYPE}\r\n") -> bytes:
    return f"HTTP/1.1 200 OK\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
