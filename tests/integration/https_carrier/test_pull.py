"""Calls that ask for what waits (`Prefer: wait`, RFC 7240), over real TLS."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from node.carriers.https import Endpoint, HttpsTransport, TransportLimits
from node.carriers.https.wire import preferred_wait_ms
from node.tls import TlsIdentity, client_context
from protocol.errors import UnavailableError
from protocol.limits import MAX_POST_OCTETS, MIB
from tests.integration.https_carrier.kit import (
    WUHAN,
    XIANGYANG,
    Engine,
    Raw,
    answer,
    calling,
    connected,
    connections,
    head,
    in_loop,
    listening,
    misbehaving,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Room:
    """What stands behind the listener for calls: hands out when it is told that there is work."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []
        self.held = asyncio.Semaphore(0)
        self.work = asyncio.Event()
        self.answer = b""
        self.waiting = b"frames"
        self.current = True
        self.handed_out = 0

    async def asked(self, peer: str, octets: bytes) -> bytes:
        self.calls.append((peer, len(octets), 0))
        return self.answer

    async def waits(self, peer: str, wait_ms: int) -> bool:
        size = self.calls.pop()[1]
        self.calls.append((peer, size, wait_ms))
        self.held.release()
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self.work.wait()
        except TimeoutError:
            self.waiting = b""
        return self.current

    async def hand_out(self, peer: str, room: int) -> bytes:
        assert (peer, room) == (WUHAN, MAX_POST_OCTETS - len(self.answer))
        self.handed_out += 1
        return self.waiting

    def release(self) -> None:
        self.waiting = b""
        self.work.set()


def asking(wait: str, length: int = 0) -> bytes:
    return head(length, more=f"Prefer: {wait}\r\n")


@pytest.mark.parametrize(
    ("fields", "wait_ms"),
    [
        ([], None),
        (["wait=10"], 10_000),
        (["WAIT = 7"], 7_000),
        (["respond-async, wait=3;x=1", "wait=9"], 3_000),
        (['handling=lenient; foo="a", wait="4"'], 4_000),
        (["wait=0"], 0),
        (["wait"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=99999999999999999999"], None),
        (["await=5"], None),
    ],
)
def test_the_preference_is_read_as_rfc_7240_has_it(fields: list[str], wait_ms: int | None) -> None:
    assert preferred_wait_ms(fields) == wait_ms


@pytest.mark.spec("PU-1", "PU-3")
@in_loop
async def test_a_call_is_held_until_something_waits(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    room, context = Room(), client_context(wuhan, xiangyang.certificate)
    async with (
        listening(Engine().exchange, xiangyang, pins, room) as listener,
        connected(context, listener.port) as caller,
    ):
        caller.send(asking("wait=25", 2) + b"ok")
        await room.held.acquire()
        assert room.calls == [(WUHAN, 2, 25_000)]
        room.work.set()
        fields, body = await caller.request()
        assert body == b"frames"
        assert b"preference-applied: wait=25" in fields.lower()
        # What there is to answer is answered at once.
        room.answer, room.work = b"kept", asyncio.Event()
        caller.send(asking("wait=25"))
        assert (await caller.request())[1] == b"keptframes"
        # And without the preference it is a post like any other.
        caller.send(head(3) + b"abc")
        fields, body = await caller.request()
        assert body == b"answer"
        assert b"preference-applied" not in fields.lower()


@pytest.mark.spec("PU-3")
@in_loop
async def test_nobody_is_held_for_longer_than_the_listener_bears(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    room, context = Room(), client_context(wuhan, xiangyang.certificate)
    async with (
        listening(Engine().exchange, xiangyang, pins, room, hold_ms=1_000) as listener,
        connected(context, listener.port) as caller,
    ):
        caller.send(asking("wait=999999999"))
        fields, body = await caller.request()
        assert body == b""
        assert b"preference-applied: wait=1\r\n" in fields.lower()
        assert room.calls == [(WUHAN, 0, 1_000)]


@pytest.mark.spec("PU-3")
@in_loop
async def test_a_held_call_takes_no_place_of_a_post(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    room, context = Room(), client_context(wuhan, xiangyang.certificate)
    limits = {"posts": 1, "posts_per_peer": 1}
    async with (
        listening(Engine().exchange, xiangyang, pins, room, **limits) as listener,
        connected(context, listener.port) as one,
        connected(context, listener.port) as other,
        calling(wuhan, xiangyang.certificate, listener.port) as post,
    ):
        for caller in (one, other):
            caller.send(asking("wait=25"))
            await room.held.acquire()
        assert await post(b"1") == b"answer"
        room.work.set()
        bodies = [(await caller.request())[1] for caller in (one, other)]
        assert b"frames" in bodies


@pytest.mark.spec("PU-3")
@in_loop
async def test_a_held_call_does_not_keep_what_it_brought(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    room, context = Room(), client_context(wuhan, xiangyang.certificate)
    async with (
        listening(Engine().exchange, xiangyang, pins, room) as listener,
        connected(context, listener.port) as caller,
    ):
        caller.send(asking("wait=25"))
        await room.held.acquire()
        room.work.set()
        await caller.request()
        room.work = asyncio.Event()
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            caller.send(asking("wait=25", 4 * MIB))
            for _ in range(4):
                caller.send(bytes(MIB))
                await caller.writer.drain()
            await room.held.acquire()
            gc.collect()
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert room.calls[-1][1] == 4 * MIB
        assert held < MIB
        room.work.set()
        await caller.request()


@pytest.mark.spec("PU-3")
@in_loop
async def test_a_node_that_stops_answers_its_held_calls_at_once(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    room, context = Room(), client_context(wuhan, xiangyang.certificate)
    async with (
        listening(Engine().exchange, xiangyang, pins, room) as listener,
        connected(context, listener.port) as caller,
    ):
        caller.send(asking("wait=50"))
        await room.held.acquire()
        async with asyncio.timeout(2):
            await listener.stop()
        assert (await caller.request())[1] == b""


@in_loop
async def test_nothing_is_handed_out_to_who_has_left_or_called_again(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    room, context = Room(), client_context(wuhan, xiangyang.certificate)
    async with listening(Engine().exchange, xiangyang, pins, room) as listener:
        async with connected(context, listener.port) as caller:
            caller.send(asking("wait=25"))
            await room.held.acquire()
        for _ in range(1000):
            if not connections(listener):
                break
            await asyncio.sleep(0.001)
        room.work.set()
        async with connected(context, listener.port) as caller:
            room.current = False
            caller.send(asking("wait=25"))
            assert (await caller.request())[1] == b""
    assert room.handed_out == 0


@asynccontextmanager
async def transport(
    caller: TlsIdentity, peer: TlsIdentity, port: int, silence_ms: int
) -> AsyncIterator[HttpsTransport]:
    endpoint = Endpoint(f"https://127.0.0.1:{port}", peer.certificate)
    made = HttpsTransport(caller, {XIANGYANG: endpoint}, TransportLimits(silence_ms=silence_ms))
    try:
        yield made
    finally:
        await made.close()


@pytest.mark.parametrize("silence_ms", [100, 30_000], ids=["short of patience", "patient"])
@in_loop
async def test_who_asks_to_be_held_bears_the_silence(
    silence_ms: int, wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    """The wait comes on top of what a caller bears otherwise."""
    requests: list[bytes] = []

    async def serve(caller: Raw) -> None:
        while True:
            fields, _ = await caller.request()
            requests.append(fields.lower())
            await asyncio.sleep(0.4)
            caller.send(answer(b"late"))

    async with (
        misbehaving(xiangyang, pins, serve) as port,
        transport(wuhan, xiangyang, port, silence_ms) as calls,
    ):
        assert await calls.post(XIANGYANG, b"", wait_ms=1_000) == b"late"
        assert b"prefer: wait=1\r\n" in requests[0]
        if silence_ms < 400:
            with pytest.raises(UnavailableError, match="silent for 100 ms"):
                await calls.post(XIANGYANG, b"")
        else:
            assert await calls.post(XIANGYANG, b"") == b"late"
        assert b"prefer" not in requests[1]


@in_loop
async def test_a_wait_is_bounded_for_the_caller_too(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    async def serve(caller: Raw) -> None:
        await caller.request()
        await caller.reader.read()

    async with (
        misbehaving(xiangyang, pins, serve) as port,
        transport(wuhan, xiangyang, port, 100) as calls,
    ):
        with pytest.raises(UnavailableError, match="silent for 300 ms"):
            await calls.post(XIANGYANG, b"", wait_ms=200)
