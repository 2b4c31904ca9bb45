"""Heads that are stamped: by `openssl ts` in virtual time, and over real HTTP."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from node.clock import SystemClock
from node.log.reading import newest_head, stamped_head
from node.stamps import AGAIN, HttpStamps, Stamper
from protocol.errors import RefusedError, UnavailableError
from protocol.limits import MAX_CLOCK_SKEW_MS, MAX_STAMP_OCTETS, MIB
from protocol.reasons import Reason
from signing.stamps import verify_stamp
from tests.log_kit import grow_log
from tests.sim.federation import WUHAN
from tests.sim.peers import Stage, now_ms, play
from tests.stamping import Tsa, make_tsa

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return make_tsa(tmp_path_factory.mktemp("stamper") / "tsa")


@dataclass
class Moody:
    """An authority that is away, or answers something else, as it is told."""

    tsa: Tsa
    instead: bytes | None = None
    away: bool = False
    asked: int = 0

    async def answer(self, query: bytes) -> bytes:
        self.asked += 1
        if self.away:
            raise UnavailableError(Reason.TSA_UNREACHABLE, "away")
        return self.tsa.reply(query) if self.instead is None else self.instead


@pytest.mark.spec("TS-4")
def test_the_newest_head_is_stamped_once_and_stays(tmp_path: Path, tsa: Tsa) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        authority = Moody(tsa)
        stamper = Stamper(node.context, authority, tsa.roots, 3_600_000)
        assert not await stamper.stamp()
        await grow_log(node, 0, 10)
        assert await stamper.stamp()
        stamped = await node.read(stamped_head)
        assert stamped is not None
        assert stamped == await node.read(newest_head)
        assert stamped.stamp is not None
        assert verify_stamp(stamped.stamp, stamped.octets, tsa.roots)
        assert not await stamper.stamp()
        assert authority.asked == 1
        # It does not go when the next head is signed.
        await grow_log(node, 10, 20)
        assert await node.read(stamped_head) == stamped
        assert await node.read(newest_head) != stamped

    play(tmp_path, scene)


@pytest.mark.spec("TS-4")
def test_what_is_no_stamp_of_the_head_is_not_kept(tmp_path: Path, tsa: Tsa) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await grow_log(node, 0, 10)
        for octets in (b"", b"<html>", tsa.stamp(b"another head"), bytes(MAX_STAMP_OCTETS + 1)):
            stamper = Stamper(node.context, Moody(tsa, octets), tsa.roots, 3_600_000)
            with pytest.raises(RefusedError) as refused:
                await stamper.stamp()
            assert refused.value.reason is Reason.STAMP_INVALID
        assert await node.read(stamped_head) is None

    play(tmp_path, scene)


@pytest.mark.spec("TS-4")
def test_an_old_stamp_of_the_same_head_is_no_answer(tmp_path: Path, tsa: Tsa) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await grow_log(node, 0, 10)
        head = await node.read(newest_head)
        assert head is not None
        stamper = Stamper(node.context, Moody(tsa, tsa.stamp(head.octets)), tsa.roots, 3_600_000)
        with pytest.raises(RefusedError) as refused:
            await stamper.stamp()
        assert refused.value.detail == "Nonce mismatch"

    play(tmp_path, scene)


@pytest.mark.spec("TS-4", "EV-21")
def test_a_stamp_older_than_its_head_is_not_kept(tmp_path: Path, tsa: Tsa) -> None:
    """Its authority is wrong about the time, or lies: every evidence file with it is refused."""

    async def scene(stage: Stage) -> None:
        behind_ms = now_ms() - SystemClock().now_ms()
        node = stage.node(WUHAN, skew_ms=MAX_CLOCK_SKEW_MS + 60_000 - behind_ms)
        await grow_log(node, 0, 10)
        stamper = Stamper(node.context, Moody(tsa), tsa.roots, 3_600_000)
        with pytest.raises(RefusedError) as refused:
            await stamper.stamp()
        assert "older than the head" in refused.value.detail
        assert await node.read(stamped_head) is None

    play(tmp_path, scene)


@pytest.mark.spec("TS-4")
def test_a_fault_of_ours_does_not_end_the_stamping(tmp_path: Path, tsa: Tsa) -> None:
    class Strange(Moody):
        async def answer(self, query: bytes) -> bytes:
            if not self.asked:
                self.asked += 1
                raise ZeroDivisionError
            return await super().answer(query)

    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await grow_log(node, 0, 10)
        stamper = Stamper(node.context, Strange(tsa), tsa.roots, 3_600_000)
        running = asyncio.ensure_future(stamper.run())
        await asyncio.sleep(1)
        assert stamper.trouble is not None
        await asyncio.sleep(AGAIN.cap_ms / 1000)
        assert stamper.trouble is None
        assert await node.read(stamped_head) is not None
        running.cancel()

    play(tmp_path, scene)


@pytest.mark.spec("TS-4")
def test_an_authority_that_is_away_is_asked_again_and_shown_as_trouble(
    tmp_path: Path, tsa: Tsa
) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await grow_log(node, 0, 10)
        authority = Moody(tsa, away=True)
        stamper = Stamper(node.context, authority, tsa.roots, 3_600_000)
        running = asyncio.ensure_future(stamper.run())
        await asyncio.sleep(24 * 3600)
        assert stamper.trouble is not None
        assert "tsa-unreachable" in stamper.trouble
        # Bounded: no more than its timetable says, and never a storm.
        assert 24 * 4 <= authority.asked <= 24 * 3600 * 1000 // AGAIN.floor_ms
        authority.away = False
        await asyncio.sleep(AGAIN.cap_ms / 1000)
        assert stamper.trouble is None
        assert await node.read(stamped_head) is not None
        running.cancel()

    play(tmp_path, scene)


class Served:
    """The authority behind HTTP."""

    def __init__(self, tsa: Tsa) -> None:
        self._tsa = tsa

    async def reply(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/timestamp-query"
        body = self._tsa.reply(await request.read())
        return web.Response(body=body, content_type="application/timestamp-reply")

    async def endless(self, _request: web.Request) -> web.Response:
        return web.Response(body=bytes(10 * MAX_STAMP_OCTETS))

    async def bomb(self, _request: web.Request) -> web.Response:
        headers = {"Content-Encoding": "gzip"}
        return web.Response(body=gzip.compress(bytes(64 * MIB)), headers=headers)

    async def broken(self, _request: web.Request) -> web.Response:
        return web.Response(status=500)

    async def elsewhere(self, _request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/tsa"})


async def _served(tsa: Tsa) -> AsyncIterator[str]:
    app, served = web.Application(), Served(tsa)
    app.router.add_post("/tsa", served.reply)
    app.router.add_post("/endless", served.endless)
    app.router.add_post("/bomb", served.bomb)
    app.router.add_post("/broken", served.broken)
    app.router.add_post("/elsewhere", served.elsewhere)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.spec("TS-4")
def test_the_way_there_over_http(tsa: Tsa) -> None:
    async def scene(query: bytes) -> None:
        async for url in _served(tsa):
            assert verify_stamp(await HttpStamps(f"{url}/tsa").answer(query), b"head", tsa.roots)
            endless = await HttpStamps(f"{url}/endless").answer(query)
            assert len(endless) == MAX_STAMP_OCTETS + 1
            packed = await HttpStamps(f"{url}/bomb").answer(query)
            assert packed.startswith(b"\x1f\x8b"), "nothing is unpacked"
            for path in ("broken", "elsewhere", "nothing"):
                with pytest.raises(UnavailableError) as away:
                    await HttpStamps(f"{url}/{path}").answer(query)
                assert away.value.reason is Reason.TSA_UNREACHABLE
        with pytest.raises(UnavailableError) as away:
            await HttpStamps(url).answer(query)
        assert away.value.reason is Reason.TSA_UNREACHABLE

    tsa.stamp(b"head")
    asyncio.run(scene((tsa.folder / "query.tsq").read_bytes()))
