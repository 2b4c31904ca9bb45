"""A directory that nobody renews: known keys go on, then everything waits, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
import structlog

from node.context import Federation
from node.store.queries import find_by_id
from node.trust_watch import TrustWatch
from protocol.frames import BusyFrame
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from routing.delivery import Standing as Delivery
from routing.directory import Directory
from tests.sim.craft import Message, only, receipt_in, sign
from tests.sim.federation import EZHOU, HUB, HUNAN, WUHAN
from tests.sim.gates import Gates
from tests.sim.loop import START_MS
from tests.sim.peers import SAMPLE, play
from tests.unit.routing.provinces import opened

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sim.craft import Signed
    from tests.sim.peers import Stage

LIFE_S: Final = 1800
GRACE_S: Final = 1800
END_S: Final = LIFE_S + GRACE_S


def dated(hubei_s: int = 0, hunan_s: int = 0, grace_s: int = GRACE_S) -> Federation:
    """The sample, each province's freshness signed so many seconds after the start."""
    provinces = []
    for prefix, after_s in (("42", hubei_s), ("43", hunan_s)):
        payload = SAMPLE.directory.provinces[prefix].payload
        issued_ms = START_MS + after_s * 1000
        dates = {"issued_ms": issued_ms, "expires_ms": issued_ms + LIFE_S * 1000}
        provinces.append(opened(payload, **dates))
    directory = Directory.merge(provinces, grace_s * 1000)
    return Federation(directory, SAMPLE.federation.catalogue)


def ping(number: int, created_s: int, origin: str = WUHAN) -> Signed:
    message = Message(origin, EZHOU, number=number, created_ms=START_MS + created_s * 1000)
    return sign(message, SAMPLE.keyrings[origin])


@pytest.mark.spec("DI-12")
def test_known_keys_go_on_in_grace_and_wait_after_it(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(EZHOU, federation=dated())
        await asyncio.sleep(END_S - 60)
        taken = await node.engine.exchange(WUHAN, ping(1, LIFE_S).post())
        assert receipt_in(taken).type is ReceiptType.RECEIVED
        await asyncio.sleep(120)
        late = ping(2, END_S)
        answer = only(await node.engine.exchange(WUHAN, late.post()))
        assert isinstance(answer, BusyFrame)
        assert answer.reason is Reason.STALE_DIRECTORY
        node.context.federation = dated(hubei_s=END_S)
        taken = await node.engine.exchange(WUHAN, late.post())
        assert receipt_in(taken).type is ReceiptType.RECEIVED

    play(tmp_path, scene)


@pytest.mark.spec("DI-12")
def test_another_province_too_old_to_be_believed_waits_alone(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(HUB, federation=dated(hubei_s=END_S))
        await asyncio.sleep(END_S + 60)
        theirs = Message(HUNAN, HUB, created_ms=START_MS + LIFE_S * 1000)
        answer = only(
            await node.engine.exchange(HUNAN, sign(theirs, SAMPLE.keyrings[HUNAN]).post())
        )
        assert isinstance(answer, BusyFrame)
        assert answer.reason is Reason.STALE_DIRECTORY
        ours = sign(replace(theirs, origin=WUHAN), SAMPLE.keyrings[WUHAN])
        assert receipt_in(await node.engine.exchange(WUHAN, ours.post())).type is (
            ReceiptType.RECEIVED
        )

    play(tmp_path, scene)


@pytest.mark.spec("DI-12")
@pytest.mark.parametrize("carrier", ["push", "pull", "ferry"])
def test_what_is_filed_under_a_stale_directory_leaves_when_it_is_fresh_again(
    tmp_path: Path, carrier: str
) -> None:
    async def scene(stage: Stage) -> None:
        links = [(WUHAN, EZHOU)] if carrier == "ferry" else []
        gates = Gates(tmp_path / "gates", random.Random(1), *links, round_trip_ms=100_000)
        node = stage.node(WUHAN, federation=dated(), gates=gates)
        other = stage.node(EZHOU, pull="always" if carrier == "pull" else "never", gates=gates)
        node.reaches(other)
        other.reaches(node)
        gates.open()
        await node.run()
        await other.run()
        await asyncio.sleep(END_S + 60)
        filed = await node.ping(EZHOU)
        await asyncio.sleep(600)
        assert node.posts_to(EZHOU) == []
        assert await other.read(lambda c: find_by_id(c, filed.message.message_id)) == []
        assert await node.standing(filed) == Delivery.QUEUED
        node.context.federation = dated(hubei_s=END_S)
        await asyncio.sleep(180)
        assert await node.standing(filed) == Delivery.RECEIVED
        await gates.close()

    play(tmp_path, scene)


@pytest.mark.spec("DI-12")
def test_operators_are_told_when_it_happens_and_once_a_day(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(HUB, federation=dated(hunan_s=3600, grace_s=3 * 24 * 3600))
        watch = TrustWatch(node.context, None, None)  # type: ignore[arg-type]
        with structlog.testing.capture_logs() as logged:
            for _ in range(5 * 24):
                watch.tell()
                await asyncio.sleep(3600)
            node.context.federation = dated(5 * 24 * 3600, 5 * 24 * 3600)
            watch.tell()
        told = [(row["event"].split(":")[0], row["prefix"]) for row in logged]
        assert told.count(("directory expired", "42")) == 3
        assert told.count(("directory too old", "42")) == 2
        assert told[-2:] == [("directory fresh again", "42"), ("directory fresh again", "43")]

    play(tmp_path, scene)
