from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from node.carriers.https import (
    EXCHANGE_PATH,
    Endpoint,
    HttpsTransport,
    ListenerLimits,
    PeerListener,
    TransportLimits,
)
from node.clock import SystemClock
from node.tls import TlsIdentity, client_context, create_identity, server_context
from protocol.errors import LocalUseError, RefusedError, UnavailableError
from protocol.frames import MEDIA_TYPE
from protocol.limits import MAX_POST_OCTETS
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from pathlib import Path

    from node.carriers.https import Exchange

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


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TlsIdentity]:
    def identity(node: str) -> TlsIdentity:
        now_ms = SystemClock().now_ms()
        return create_identity(tmp_path_factory.mktemp(node), node, ["127.0.0.1"], now_ms)

    return identity


@pytest.fixture(scope="module")
def wuhan(make: Callable[[str], TlsIdentity]) -> TlsIdentity:
    return make(WUHAN)


@pytest.fixture(scope="module")
def xiangyang(make: Callable[[str], TlsIdentity]) -> TlsIdentity:
    return make(XIANGYANG)


@pytest.fixture(scope="module")
def ezhou(make: Callable[[str], TlsIdentity]) -> TlsIdentity:
    return make(EZHOU)


@pytest.fixture(scope="module")
def pins(wuhan: TlsIdentity, xiangyang: TlsIdentity, ezhou: TlsIdentity) -> dict[str, bytes]:
    return {identity.node: identity.certificate for identity in (wuhan, xiangyang, ezhou)}


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
    exchange: Exchange, identity: TlsIdentity, peers: dict[str, bytes], **limits: int
) -> AsyncIterator[PeerListener]:
    listener = PeerListener(exchange, identity, peers, ListenerLimits(**limits))
    await listener.start("127.0.0.1", 0)
    try:
        yield listener
    finally:
        await listener.stop()


@contextlib.asynccontextmanager
async def calling(
    identity: TlsIdentity, certificate: bytes, port: int, **limits: int
) -> AsyncIterator[Callable[[bytes], Awaitable[bytes]]]:
    """Posts to one peer, called 420600 whoever it is."""
    endpoint = Endpoint(f"https://127.0.0.1:{port}", certificate)
    transport = HttpsTransport(identity, {XIANGYANG: endpoint}, TransportLimits(**limits))
    try:
        yield functools.partial(transport.post, XIANGYANG)
    finally:
        await transport.close()


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
async def connected(context: ssl.SSLContext, port: int) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
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


# --- between the right peers


@in_loop
async def test_pinned_peers_exchange_frames(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    engine = Engine()
    async with (
        listening(engine.exchange, xiangyang, pins) as listener,
        calling(wuhan, xiangyang.certificate, listener.port) as post,
    ):
        assert await post(b"frames") == b"answer"
        assert await post(b"") == b"answer"
    assert engine.posts == [(WUHAN, b"frames"), (WUHAN, b"")]


@in_loop
async def test_the_largest_post_and_the_largest_answer_pass(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    largest = bytes(range(256)) * (MAX_POST_OCTETS // 256)
    engine = Engine(largest)
    async with (
        listening(engine.exchange, xiangyang, pins) as listener,
        calling(wuhan, xiangyang.certificate, listener.port) as post,
    ):
        assert await post(largest) == largest
        with pytest.raises(LocalUseError):
            await post(largest + b"x")
    assert engine.posts == [(WUHAN, largest)]


@in_loop
async def test_a_proxy_in_the_environment_is_not_used(
    wuhan: TlsIdentity,
    xiangyang: TlsIdentity,
    pins: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    async with (
        listening(Engine().exchange, xiangyang, pins) as listener,
        calling(wuhan, xiangyang.certificate, listener.port) as post,
    ):
        assert await post(b"frames") == b"answer"


# --- who is who


async def turned_away(context: ssl.SSLContext, port: int) -> str:
    """Why a caller that says nothing is cut off in the handshake, as the listener notes it."""
    with structlog.testing.capture_logs() as logs:
        with contextlib.suppress(ConnectionError):
            async with connected(context, port) as caller:
                assert await caller.reader.read() == b""
        await asyncio.sleep(0)
    assert [entry["event"] for entry in logs] == ["caller turned away in the handshake"]
    assert logs[0]["address"] == "127.0.0.1"
    return str(logs[0]["error"])


@in_loop
async def test_an_unknown_certificate_is_refused_in_the_handshake(
    make: Callable[[str], TlsIdentity], xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    stranger = make(WUHAN)  # says it is Wuhan; another key
    engine = Engine()
    async with listening(engine.exchange, xiangyang, pins) as listener:
        context = client_context(stranger, xiangyang.certificate)
        assert "CERTIFICATE_VERIFY_FAILED" in await turned_away(context, listener.port)
        async with calling(stranger, xiangyang.certificate, listener.port) as post:
            with pytest.raises(UnavailableError, match="connection was lost before an answer"):
                await post(b"frames")
    assert engine.posts == []


@in_loop
async def test_no_certificate_is_refused_in_the_handshake(
    xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname = False
    nobody.load_verify_locations(cadata=xiangyang.certificate)
    async with listening(Engine().exchange, xiangyang, pins) as listener:
        why = await turned_away(nobody, listener.port)
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in why


@in_loop
async def test_older_tls_is_refused(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    old = client_context(wuhan, xiangyang.certificate)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with listening(Engine().exchange, xiangyang, pins) as listener:
        assert "UNSUPPORTED_PROTOCOL" in await turned_away(old, listener.port)


@in_loop
async def test_another_pinned_node_in_the_peers_place_gets_no_frame(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, ezhou: TlsIdentity, pins: dict[str, bytes]
) -> None:
    received: list[bytes] = []

    async def serve(caller: Raw) -> None:
        received.append(await caller.reader.read())

    async with (
        misbehaving(ezhou, pins, serve) as port,
        calling(wuhan, xiangyang.certificate, port) as post,
    ):
        with pytest.raises(UnavailableError, match="TLS: it does not show the certificate") as told:
            await post(b"frames")
    assert told.value.reason is Reason.PEER_UNREACHABLE
    assert b"".join(received) == b""


def certified(
    key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, folder: Path
) -> TlsIdentity:
    """A certificate for 420600 on the key; one that may issue others if it is self-signed."""
    own = key is by
    key_file, certificate_file = folder / f"{own}.key", folder / f"{own}.crt"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, XIANGYANG)])
    # One certificate with the name of its issuer would be taken for self-signed.
    subject = name if own else x509.Name([])
    now = dt.datetime.fromtimestamp(SystemClock().now_ms() // 1000, dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1 if own else 2)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=own, path_length=None), critical=True)
        .sign(by, hashes.SHA256())
    )
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    der = certificate.public_bytes(Encoding.DER)
    return TlsIdentity(XIANGYANG, der, certificate_file, key_file)


@in_loop
async def test_what_a_pinned_certificate_vouches_for_is_not_that_peer(
    wuhan: TlsIdentity, tmp_path: Path
) -> None:
    key, other_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pinned, issued = certified(key, key, tmp_path), certified(other_key, key, tmp_path)
    received: list[bytes] = []

    async def serve(caller: Raw) -> None:
        received.append(await caller.reader.read())

    async with (
        misbehaving(issued, {WUHAN: wuhan.certificate}, serve) as port,
        calling(wuhan, pinned.certificate, port) as post,
    ):
        with pytest.raises(UnavailableError, match="TLS: it does not show the certificate"):
            await post(b"frames")
    assert b"".join(received) == b""

    engine = Engine()
    async with (
        listening(engine.exchange, wuhan, {XIANGYANG: pinned.certificate}) as listener,
        calling(issued, wuhan.certificate, listener.port) as post,
    ):
        with pytest.raises(UnavailableError, match="HTTP 403: this certificate is pinned for no"):
            await post(b"frames")
    assert engine.posts == []


@in_loop
async def test_a_peer_is_known_by_its_certificate_not_by_the_name_in_it(
    make: Callable[[str], TlsIdentity], wuhan: TlsIdentity, xiangyang: TlsIdentity
) -> None:
    namesake = make(WUHAN)
    engine = Engine()
    peers = {WUHAN: wuhan.certificate, EZHOU: namesake.certificate}
    async with listening(engine.exchange, xiangyang, peers) as listener:
        for caller in (namesake, wuhan):
            async with calling(caller, xiangyang.certificate, listener.port) as post:
                await post(b"frames")
    assert [peer for peer, _ in engine.posts] == [EZHOU, WUHAN]


@in_loop
async def test_a_certificate_pinned_for_two_nodes_is_neither(
    wuhan: TlsIdentity, xiangyang: TlsIdentity
) -> None:
    peers = {WUHAN: wuhan.certificate, EZHOU: wuhan.certificate}
    engine = Engine()
    async with (
        listening(engine.exchange, xiangyang, peers) as listener,
        calling(wuhan, xiangyang.certificate, listener.port) as post,
    ):
        with pytest.raises(UnavailableError, match="HTTP 403"):
            await post(b"frames")
    assert engine.posts == []


@in_loop
async def test_without_peers_nobody_is_served(wuhan: TlsIdentity, xiangyang: TlsIdentity) -> None:
    async with listening(Engine().exchange, xiangyang, {}) as listener:
        context = client_context(wuhan, xiangyang.certificate)
        assert "CERTIFICATE_VERIFY_FAILED" in await turned_away(context, listener.port)


@in_loop
async def test_nothing_is_posted_without_tls_or_to_a_broken_pin(wuhan: TlsIdentity) -> None:
    peers = {
        XIANGYANG: Endpoint(f"http://127.0.0.1:{unused_port()}", wuhan.certificate),
        EZHOU: Endpoint(f"https://127.0.0.1:{unused_port()}", b"not a certificate"),
    }
    transport = HttpsTransport(wuhan, peers)
    with pytest.raises(UnavailableError, match="not of the form https"):
        await transport.post(XIANGYANG, b"frames")
    with pytest.raises(UnavailableError, match=r"is not one X\.509 certificate"):
        await transport.post(EZHOU, b"frames")
    with pytest.raises(UnavailableError, match="node 430100 has no endpoint"):
        await transport.post("430100", b"frames")
    await transport.close()


# --- callers that break the listener's rules


@in_loop
async def test_a_post_that_is_too_large_is_turned_down_unread(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    engine = Engine()
    context = client_context(wuhan, xiangyang.certificate)
    async with listening(engine.exchange, xiangyang, pins) as listener:
        async with connected(context, listener.port) as announced:
            announced.send(head(MAX_POST_OCTETS + 1))
            assert await announced.status() == 413
        async with connected(context, listener.port) as streamed:
            streamed.send(head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
            for _ in range(MAX_POST_OCTETS // 2**16):
                streamed.send(b"10000\r\n" + bytes(2**16) + b"\r\n")
            streamed.send(b"1\r\n0\r\n")  # one too many, and no end
            assert await streamed.status() == 413
        assert engine.posts == []
        async with calling(wuhan, xiangyang.certificate, listener.port) as post:
            assert await post(b"frames") == b"answer"


@in_loop
async def test_a_slow_caller_is_cut_off(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    engine = Engine()
    context = client_context(wuhan, xiangyang.certificate)
    limits = {"read_ms": 50, "linger_ms": 10}
    async with (
        listening(engine.exchange, xiangyang, pins, **limits) as listener,
        connected(context, listener.port) as caller,
    ):
        caller.send(head(100) + b"half of it")
        assert await caller.status() == 408
        assert await caller.reader.read() == b""
    assert engine.posts == []


@in_loop
async def test_headers_that_never_end_are_cut_off(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    context = client_context(wuhan, xiangyang.certificate)
    async with (
        listening(Engine().exchange, xiangyang, pins, idle_ms=50) as listener,
        connected(context, listener.port) as caller,
    ):
        caller.send(b"POST / HTTP/1.1\r\nHost: x\r\n")
        assert await caller.reader.read() == b""


@in_loop
async def test_a_caller_that_does_not_take_its_answer_is_cut_off(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    context = client_context(wuhan, xiangyang.certificate)
    large, small = Engine(bytes(MAX_POST_OCTETS)), Engine()
    answers = [large, small]

    async def exchange(peer: str, octets: bytes) -> bytes:
        return await answers.pop(0).exchange(peer, octets)

    limits = {"answer_ms": 50, "posts_per_peer": 1}
    async with (
        listening(exchange, xiangyang, pins, **limits) as listener,
        connected(context, listener.port) as deaf,
    ):
        deaf.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        deaf.send(head(4) + b"post")
        async with connected(context, listener.port) as next_one:
            status = 503
            while status == 503 or small.posts == []:
                next_one.send(head(4) + b"next")
                status = await next_one.status()
            assert status == 200
    assert small.posts == [(WUHAN, b"next")]


@in_loop
async def test_a_caller_that_leaves_in_the_middle_does_no_harm(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    engine = Engine()
    context = client_context(wuhan, xiangyang.certificate)
    async with listening(engine.exchange, xiangyang, pins, posts_per_peer=1) as listener:
        async with connected(context, listener.port) as caller:
            caller.send(head(100) + b"half of it")
        async with calling(wuhan, xiangyang.certificate, listener.port) as post:
            answered = b""
            while not answered:  # until the listener has noticed
                with contextlib.suppress(UnavailableError):
                    answered = await post(b"frames")
    assert engine.posts == [(WUHAN, b"frames")]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (head(0, path="/"), 404),
        (head(0, method="GET"), 405),
        (head(0).replace(MEDIA_TYPE.encode(), b"application/json"), 415),
        (head(0, "Content-Encoding: gzip\r\n"), 415),
        (head(0, f"X: {'x' * 5000}\r\n"), 400),
        (head(0, "X: y\r\n" * 40), 400),
        (b"\x01 privacy\r\n\r\n", 400),
    ],
    ids=["path", "method", "type", "encoding", "long header", "many headers", "not HTTP"],
)
@in_loop
async def test_any_other_request_is_turned_down(
    sent: bytes,
    status: int,
    wuhan: TlsIdentity,
    xiangyang: TlsIdentity,
    pins: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Engine()
    context = client_context(wuhan, xiangyang.certificate)
    async with (
        listening(engine.exchange, xiangyang, pins) as listener,
        connected(context, listener.port) as caller,
    ):
        caller.send(sent)
        assert await caller.status() == status
    assert engine.posts == []
    assert "privacy" not in caplog.text


@in_loop
async def test_posts_at_once_are_bounded_per_peer_and_over_all(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, ezhou: TlsIdentity, pins: dict[str, bytes]
) -> None:
    go_on, waiting = asyncio.Event(), asyncio.Semaphore(0)

    async def exchange(_peer: str, octets: bytes) -> bytes:
        waiting.release()
        await go_on.wait()
        return octets

    async with (
        listening(exchange, xiangyang, pins, posts_per_peer=1, posts=2) as listener,
        calling(wuhan, xiangyang.certificate, listener.port) as from_wuhan,
        calling(ezhou, xiangyang.certificate, listener.port) as from_ezhou,
        calling(xiangyang, xiangyang.certificate, listener.port) as from_itself,
        asyncio.TaskGroup() as tasks,
    ):
        first = tasks.create_task(_posted(from_wuhan, b"1"))
        await waiting.acquire()
        with pytest.raises(UnavailableError, match="HTTP 503: too many posts at once"):
            await from_wuhan(b"2")
        second = tasks.create_task(_posted(from_ezhou, b"3"))
        await waiting.acquire()
        with pytest.raises(UnavailableError, match="HTTP 503: too many posts at once"):
            await from_itself(b"4")
        go_on.set()
        assert [await first, await second, await from_wuhan(b"5")] == [b"1", b"3", b"5"]


async def _posted(post: Callable[[bytes], Awaitable[bytes]], octets: bytes) -> bytes:
    return await post(octets)


# --- an engine that fails


@pytest.mark.parametrize(
    ("error", "status", "told", "logged"),
    [
        (UnavailableError(Reason.OVERLOADED, "queue full"), 503, b"overloaded: queue full", False),
        (RefusedError(Reason.FRAME_MALFORMED, "frame 2"), 400, b"frame-malformed: frame 2", False),
        (ValueError("a bug, with somebody's name"), 500, b"this node failed on the post", True),
    ],
    ids=["unavailable", "refused", "a bug"],
)
@in_loop
async def test_when_the_engine_fails_the_node_stays_up(
    error: Exception,
    status: int,
    told: bytes,
    *,
    logged: bool,
    wuhan: TlsIdentity,
    xiangyang: TlsIdentity,
    pins: dict[str, bytes],
) -> None:
    failures = [error]

    async def exchange(_peer: str, octets: bytes) -> bytes:
        if failures:
            raise failures.pop()
        return octets

    context = client_context(wuhan, xiangyang.certificate)
    async with (
        listening(exchange, xiangyang, pins) as listener,
        connected(context, listener.port) as caller,
    ):
        with structlog.testing.capture_logs() as logs:
            caller.send(head(4) + b"post")
            fields, body = await caller.request()
        assert fields.startswith(f"HTTP/1.1 {status} ".encode())
        assert body.startswith(told)
        assert b"somebody" not in body
        assert (b"Retry-After: 1" in fields) == (status == 503)
        assert [entry["event"] for entry in logs] == ["post failed"] * logged
        caller.send(head(4) + b"next")
        assert (await caller.request())[1] == b"next"


# --- peers that break the caller's rules


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (answer(bytes(MAX_POST_OCTETS + 1)), "larger than"),
        (
            answer(b"", f"Content-Type: {MEDIA_TYPE}\r\nTransfer-Encoding: chunked\r\n").replace(
                b"Content-Length: 0\r\n\r\n", b"\r\n800001\r\n" + bytes(MAX_POST_OCTETS + 1)
            ),
            "larger than",
        ),
        (answer(b"whole")[:-1], "the answer was cut short"),
        (answer(b"whole")[:20], "lost before an answer"),
        (b"", "lost before an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (answer(b"{}", "Content-Type: application/json\r\n"), "its answer is application/json"),
        (answer(b"x").replace(b"200 OK", b"404 Not Found"), "HTTP 404: x"),
        (answer(b"a\nb\x1b[2J").replace(b"200 OK", b"500 Oops"), "HTTP 500: ab\\[2J"),
        (
            answer(b"", "Location: https://localhost/\r\n").replace(b"200 OK", b"307 Elsewhere"),
            "HTTP 307",
        ),
    ],
    ids=[
        *("too large", "too large, chunked", "killed in the body", "killed in the headers"),
        *("killed before", "not HTTP", "other type", "not found", "terminal codes", "redirect"),
    ],
)
@in_loop
async def test_whatever_is_no_answer_is_unavailable(
    reply: bytes,
    told: str,
    wuhan: TlsIdentity,
    xiangyang: TlsIdentity,
    pins: dict[str, bytes],
) -> None:
    requests: list[bytes] = []

    async def serve(caller: Raw) -> None:
        requests.append((await caller.request())[1])
        caller.send(reply)

    async with (
        misbehaving(xiangyang, pins, serve) as port,
        calling(wuhan, xiangyang.certificate, port) as post,
    ):
        with pytest.raises(UnavailableError, match=told) as error:
            await post(b"frames")
    assert error.value.reason is Reason.PEER_UNREACHABLE
    assert requests == [b"frames"], "only a kept connection is replaced"


@in_loop
async def test_a_kept_connection_that_is_dead_is_replaced_once(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    requests: list[tuple[int, bytes]] = []
    connections = 0

    async def serve(caller: Raw) -> None:
        nonlocal connections
        connections += 1
        number = connections
        for _ in range(2):
            fields, body = await caller.request()
            assert b"cookie" not in fields.lower()
            requests.append((number, body))
            if len(requests) in {2, 5, 6}:
                return  # takes the post, and says nothing
            caller.send(answer(body, f"Content-Type: {MEDIA_TYPE}\r\nSet-Cookie: a=b\r\n"))

    async with (
        misbehaving(xiangyang, pins, serve) as port,
        calling(wuhan, xiangyang.certificate, port) as post,
    ):
        assert await post(b"1") == b"1"
        assert await post(b"2") == b"2"
        assert requests == [(1, b"1"), (1, b"2"), (2, b"2")]
        assert await post(b"3") == b"3"
        with pytest.raises(UnavailableError, match="lost before an answer"):
            await post(b"4")  # the new connection fails as well: that is the peer
        assert [body for _, body in requests[4:]] == [b"4"]


@in_loop
async def test_time_is_bounded_at_every_step(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes the call, never says hello
        port = mute.getsockname()[1]
        async with calling(wuhan, xiangyang.certificate, port, connect_ms=50) as post:
            with pytest.raises(UnavailableError, match="timed out: no connection within 50 ms"):
                await post(b"frames")

    async def serve(caller: Raw) -> None:
        await caller.request()
        await caller.reader.read()

    async with misbehaving(xiangyang, pins, serve) as port:
        async with calling(wuhan, xiangyang.certificate, port, silence_ms=50) as post:
            with pytest.raises(UnavailableError, match="timed out: silent for 50 ms"):
                await post(b"frames")
        async with calling(wuhan, xiangyang.certificate, port, total_ms=200) as post:
            with pytest.raises(UnavailableError, match="no whole answer within 200 ms"):
                await post(b"frames")


@in_loop
async def test_nobody_there_is_told_as_such(wuhan: TlsIdentity, xiangyang: TlsIdentity) -> None:
    async with calling(wuhan, xiangyang.certificate, unused_port()) as post:
        with pytest.raises(UnavailableError, match=r"node 420600 at https://127.*no connection"):
            await post(b"frames")


# --- changes while it runs


@in_loop
async def test_the_listener_follows_the_directory(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, ezhou: TlsIdentity
) -> None:
    engine = Engine()
    only_wuhan, only_ezhou = {WUHAN: wuhan.certificate}, {EZHOU: ezhou.certificate}
    async with (
        listening(engine.exchange, xiangyang, only_wuhan) as listener,
        calling(wuhan, xiangyang.certificate, listener.port) as from_wuhan,
        calling(ezhou, xiangyang.certificate, listener.port) as from_ezhou,
    ):
        assert await from_wuhan(b"1") == b"answer"
        with pytest.raises(UnavailableError):
            await from_ezhou(b"2")
        listener.update_peers(only_ezhou)
        with pytest.raises(UnavailableError, match="HTTP 403"):
            await from_wuhan(b"3")  # over the connection it still has
        with pytest.raises(UnavailableError, match="connection was lost before an answer"):
            await from_wuhan(b"4")
        assert await from_ezhou(b"5") == b"answer"
        with pytest.raises(RefusedError):
            listener.update_peers({WUHAN: b"not a certificate"})
        assert await from_ezhou(b"6") == b"answer"
    assert engine.posts == [(WUHAN, b"1"), (EZHOU, b"5"), (EZHOU, b"6")]


@in_loop
async def test_an_update_turns_no_caller_away(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    async with listening(Engine().exchange, xiangyang, pins) as listener:
        for _ in range(10):
            async with calling(wuhan, xiangyang.certificate, listener.port) as post:
                calls = [asyncio.create_task(_posted(post, b"frames")) for _ in range(3)]
                for _ in range(20):  # the calls are in every stage of theirs meanwhile
                    listener.update_peers(pins)
                    await asyncio.sleep(0)
                assert await asyncio.gather(*calls) == [b"answer"] * 3


@in_loop
async def test_the_caller_follows_the_directory(
    make: Callable[[str], TlsIdentity],
    wuhan: TlsIdentity,
    xiangyang: TlsIdentity,
    pins: dict[str, bytes],
) -> None:
    moved = make(XIANGYANG)
    go_on, arrived = asyncio.Event(), asyncio.Event()

    async def slowly(_peer: str, octets: bytes) -> bytes:
        arrived.set()
        await go_on.wait()
        return octets

    async with (
        listening(slowly, xiangyang, pins) as old,
        listening(Engine().exchange, moved, pins) as new,
    ):
        before = Endpoint(f"https://127.0.0.1:{old.port}", xiangyang.certificate)
        after = Endpoint(f"https://127.0.0.1:{new.port}", moved.certificate)
        transport = HttpsTransport(wuhan, {XIANGYANG: before})
        under_way = asyncio.create_task(transport.post(XIANGYANG, b"1"))
        await arrived.wait()
        await transport.update_peers({XIANGYANG: after})
        assert await transport.post(XIANGYANG, b"2") == b"answer"
        go_on.set()
        assert await under_way == b"1", "what was under way is finished"
        await transport.update_peers({})
        with pytest.raises(UnavailableError, match="no endpoint"):
            await transport.post(XIANGYANG, b"3")
        await transport.close()


@in_loop
async def test_stopping_finishes_what_is_in_work(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    go_on, arrived = asyncio.Event(), asyncio.Event()

    async def exchange(_peer: str, octets: bytes) -> bytes:
        arrived.set()
        await go_on.wait()
        return octets

    listener = PeerListener(exchange, xiangyang, pins)
    await listener.start("127.0.0.1", 0)
    async with calling(wuhan, xiangyang.certificate, listener.port) as post:
        under_way = asyncio.create_task(_posted(post, b"1"))
        await arrived.wait()
        stopping = asyncio.create_task(listener.stop())
        with pytest.raises(UnavailableError, match="no connection"):
            await post(b"2")
        go_on.set()
        await stopping
        assert await under_way == b"1"
    with pytest.raises(LocalUseError):
        _ = listener.port
