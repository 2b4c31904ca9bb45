from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from protocol.errors import UnavailableError
from protocol.frames import MEDIA_TYPE
from protocol.limits import MAX_POST_OCTETS
from protocol.reasons import Reason
from tests.integration.https_carrier.kit import (
    Raw,
    answer,
    calling,
    in_loop,
    misbehaving,
    unused_port,
)

if TYPE_CHECKING:
    from node.tls import TlsIdentity

# --- peers that break the caller's rules


@pytest.mark.spec("HT-8", "TR-7")
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


@pytest.mark.spec("TR-7")
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
