from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from node.carriers.https import Endpoint, HttpsTransport, ListenerLimits, PeerListener
from node.tls import TlsIdentity, client_context
from protocol.errors import LocalUseError, RefusedError, UnavailableError
from protocol.limits import MAX_POST_OCTETS
from tests.integration.https_carrier.kit import (
    DEADLINE_S,
    EZHOU,
    WUHAN,
    XIANGYANG,
    Engine,
    calling,
    connected,
    head,
    in_loop,
    listening,
    unused_port,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# --- between the right peers


@pytest.mark.spec("HT-6")
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


@pytest.mark.spec("HT-6", "LI-5")
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


@pytest.mark.spec("HT-10")
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
                calls = [asyncio.create_task(post(b"frames")) for _ in range(3)]
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

    limits = ListenerLimits(stop_ms=10 * DEADLINE_S * 1000)
    listener = PeerListener(exchange, xiangyang, pins, limits)
    await listener.start("127.0.0.1", 0)
    context = client_context(wuhan, xiangyang.certificate)
    async with (
        calling(wuhan, xiangyang.certificate, listener.port) as post,
        connected(context, listener.port) as idle,
    ):
        idle.send(head(0, path="/"))
        assert await idle.status() == 404
        under_way = asyncio.create_task(post(b"1"))
        await arrived.wait()
        stopping = asyncio.create_task(listener.stop())
        with pytest.raises(UnavailableError, match="no connection"):
            await post(b"2")
        go_on.set()
        await stopping
        assert await under_way == b"1"
        assert await idle.reader.read() == b""
    with pytest.raises(LocalUseError):
        _ = listener.port


@in_loop
async def test_stopping_does_not_wait_for_ever(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    arrived = asyncio.Event()

    async def exchange(_peer: str, octets: bytes) -> bytes:
        arrived.set()
        await asyncio.Event().wait()
        return octets

    limits = ListenerLimits(stop_ms=50, handshake_ms=10 * DEADLINE_S * 1000)
    listener = PeerListener(exchange, xiangyang, pins, limits)
    await listener.start("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", listener.port)):  # and never says hello
        async with calling(wuhan, xiangyang.certificate, listener.port) as post:
            under_way = asyncio.create_task(post(b"1"))
            await arrived.wait()
            await listener.stop()
            with pytest.raises(UnavailableError, match="connection was lost before an answer"):
                await under_way
    await listener.stop()
