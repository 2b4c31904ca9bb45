from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket

import pytest
import structlog

from node.tls import TlsIdentity, client_context
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import MEDIA_TYPE
from protocol.limits import MAX_POST_OCTETS
from protocol.reasons import Reason
from tests.integration.https_carrier.kit import (
    DEADLINE_S,
    WUHAN,
    Engine,
    Raw,
    calling,
    connected,
    connections,
    head,
    in_loop,
    listening,
)

# --- callers that break the listener's rules


@pytest.mark.spec("HT-7", "LI-5")
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


@pytest.mark.spec("HT-9")
@in_loop
async def test_a_handshake_that_never_ends_is_cut_off(
    xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    async with listening(Engine().exchange, xiangyang, pins, handshake_ms=50) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


@pytest.mark.spec("HT-9")
@in_loop
async def test_handshakes_that_dawdle_do_not_keep_others_out(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    """Anybody on the network can open connections and say nothing; each takes a file."""
    async with (
        listening(Engine().exchange, xiangyang, pins, handshakes=3) as listener,
        calling(wuhan, xiangyang.certificate, listener.port) as post,
    ):
        silent = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(9)]
        assert await post(b"frames") == b"answer"
        for reader, _ in silent[:6]:
            assert await reader.read() == b"", "cut off long before its time was up"
        assert not silent[-1][0].at_eof()
        for _, writer in silent:
            writer.transport.abort()


@pytest.mark.spec("HT-9")
@in_loop
async def test_a_peer_cannot_take_all_files_with_connections(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, ezhou: TlsIdentity, pins: dict[str, bytes]
) -> None:
    from_wuhan = client_context(wuhan, xiangyang.certificate)
    from_ezhou = client_context(ezhou, xiangyang.certificate)
    async with (
        listening(Engine().exchange, xiangyang, pins, connections_per_peer=3) as listener,
        connected(from_ezhou, listener.port) as other,
        contextlib.AsyncExitStack() as stack,
    ):
        callers = []
        for _ in range(8):
            callers.append(await stack.enter_async_context(connected(from_wuhan, listener.port)))
            callers[-1].send(head(4) + b"post")
            assert await callers[-1].status() == 200
            assert connections(listener) <= 1 + 3 + 1
        for gone in callers[:5]:
            with contextlib.suppress(ConnectionError):
                assert await gone.reader.read() == b""
        for kept in (*callers[5:], other):
            kept.send(head(4) + b"post")
            assert await kept.status() == 200


@in_loop
async def test_without_files_to_spare_callers_wait(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    context = client_context(wuhan, xiangyang.certificate)
    async with listening(Engine().exchange, xiangyang, pins) as listener:
        plain = socket.create_connection(("127.0.0.1", listener.port))
        plain.setblocking(False)
        next_file = os.dup(0)
        os.close(next_file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_file, hard))
        try:
            with structlog.testing.capture_logs() as logs:
                for _ in range(10):  # turns of the loop, far less than the listener's pause
                    await asyncio.sleep(0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert [entry["event"] for entry in logs] == ["cannot accept connections"]
        pair = await asyncio.open_connection(sock=plain, ssl=context, server_hostname="")
        caller = Raw(*pair)
        caller.send(head(4) + b"post")
        assert await caller.status() == 200
        caller.writer.transport.abort()


@pytest.mark.spec("HT-9")
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


@pytest.mark.spec("HT-9")
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


@pytest.mark.spec("HT-9")
@pytest.mark.parametrize(
    ("posts", "size"), [(1, MAX_POST_OCTETS), (300, 60_000)], ids=["one large", "many small"]
)
@in_loop
async def test_a_caller_that_does_not_take_its_answers_is_cut_off(
    posts: int,
    size: int,
    wuhan: TlsIdentity,
    xiangyang: TlsIdentity,
    pins: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    served, began = 0, asyncio.Event()

    async def exchange(_peer: str, octets: bytes) -> bytes:
        nonlocal served
        if octets == b"next":
            return octets
        served += 1
        began.set()
        return bytes(size)

    context = client_context(wuhan, xiangyang.certificate)
    limits = {"answer_ms": 50, "posts_per_peer": 1, "linger_ms": 10 * DEADLINE_S * 1000}
    async with (
        listening(exchange, xiangyang, pins, **limits) as listener,
        connected(context, listener.port, buffer=4096) as deaf,
        connected(context, listener.port) as other,
    ):
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        deaf.send((head(4) + b"deaf") * posts)
        await began.wait()
        other.send(head(4) + b"next")
        assert await other.status() in {200, 503}
        while connections(listener) > 1:
            other.send(head(4) + b"next")
            assert await other.status() in {200, 503}
        other.send(head(4) + b"next")
        assert await other.status() == 200, "its place is free again"
    assert served == 1 or served < posts
    assert caplog.text == ""


@in_loop
async def test_a_caller_that_leaves_in_the_middle_does_no_harm(
    wuhan: TlsIdentity,
    xiangyang: TlsIdentity,
    pins: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
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
    assert caplog.text == "", "a line that breaks is no error of this node"


@pytest.mark.spec("HT-7")
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (head(0, path="/"), 404),
        (head(0, method="GET"), 405),
        (head(0).replace(MEDIA_TYPE.encode(), b"application/json"), 415),
        (head(0, "Content-Encoding: gzip\r\n"), 415),
        (head(0, f"X: {'x' * 5000}\r\n"), 400),
        (head(0, "X: y\r\n" * 40), 400),
        (head(0, "privacy\r\n"), 400),
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


@pytest.mark.spec("HT-9")
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
        first = tasks.create_task(from_wuhan(b"1"))
        await waiting.acquire()
        with pytest.raises(UnavailableError, match="HTTP 503: too many posts at once"):
            await from_wuhan(b"2")
        second = tasks.create_task(from_ezhou(b"3"))
        await waiting.acquire()
        with pytest.raises(UnavailableError, match="HTTP 503: too many posts at once"):
            await from_itself(b"4")
        go_on.set()
        assert [await first, await second, await from_wuhan(b"5")] == [b"1", b"3", b"5"]


@in_loop
async def test_a_caller_that_leaves_before_its_answer_does_no_harm(
    wuhan: TlsIdentity,
    xiangyang: TlsIdentity,
    pins: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    go_on, arrived = asyncio.Event(), asyncio.Event()

    async def exchange(_peer: str, octets: bytes) -> bytes:
        if octets == b"gone":
            arrived.set()
            await go_on.wait()
        return octets

    context = client_context(wuhan, xiangyang.certificate)
    async with (
        listening(exchange, xiangyang, pins) as listener,
        connected(context, listener.port) as other,
    ):
        async with connected(context, listener.port) as caller:
            caller.send(head(4) + b"gone")
            await arrived.wait()
        other.send(head(4) + b"next")
        assert (await other.request())[1] == b"next"
        go_on.set()
        while connections(listener) > 1:
            other.send(head(4) + b"next")
            assert (await other.request())[1] == b"next"
    assert caplog.text == ""


# --- an engine that fails


@pytest.mark.spec("HT-7")
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
