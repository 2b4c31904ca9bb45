"""Real processes, TLS, stores and folders: a node nobody can dial, and one behind gates."""

from __future__ import annotations

import asyncio
import shutil
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from node.service import running
from tests.desk import Desk, eventually
from tests.homes import HUB, WUHAN, XIANGYANG, Homes, bureau, make_homes, window
from tests.integration.test_service import application, desk_of, process, says
from tests.loops import in_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.desk import Json

NOW = "2026-11-22T04:00:00.000Z"
PROBLEM = {"subject": "field", "code": "住址", "problem": "不全", "remedy": "补全"}
FORM = [{"name": "住址", "value": "补充"}]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    return make_homes(tmp_path_factory.mktemp("homes"), (HUB, WUHAN, XIANGYANG), dark=(XIANGYANG,))


@asynccontextmanager
async def carrier(made: Homes, folder: Path, name: str) -> AsyncIterator[Homes]:
    """The homes, with the gates at work if there are any."""
    homes = made.copy(folder / "homes")
    if name == "pull":
        yield homes
        return
    homes.ferry(HUB, XIANGYANG)
    tasks = [
        asyncio.create_task(gate(homes.folder / "gates", one, other))
        for one, other in ((HUB, XIANGYANG), (XIANGYANG, HUB))
    ]
    try:
        yield homes
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def gate(gates: Path, one: str, other: str) -> None:
    """Move files across the border, twice for good measure, under other names."""
    count = 0
    while True:
        await asyncio.sleep(0.05)
        for path in sorted((gates / f"{one}-{other}" / "out").glob("[!.]*")):
            count += 1
            sink = gates / f"{other}-{one}" / "in"
            shutil.copy(path, sink / f"{count:06}.copy")
            path.rename(sink / f"{count:06}")


async def says_no_more_than_once(desk: Desk) -> None:
    assert (await desk.post("/v1/inbox/lease", {})).json["entries"] == []


async def work(wuhan: Desk, xiangyang: Desk, case_id: str) -> None:
    """A case from its arrival to its delivery, corrected once."""
    handling = bureau(XIANGYANG)

    async def act(kind: str, **body: Any) -> None:
        await xiangyang.act(case_id, handling, kind, **body)
        await wuhan.take(kind)

    await act("case.received", received=NOW)
    await act("case.correct", problems=[PROBLEM], due=NOW)
    await wuhan.act(case_id, window(WUHAN), "case.supplement", form=FORM)
    await xiangyang.take("case.supplement")
    await act("case.accept", caseNumber="BJ-1", accepted=NOW)
    await act("case.decide", result="granted", decided=NOW)
    proof = {"kind": "signature", "value": "SD-1"}
    await act("case.deliver", method="window", recipient="覃䶮兰", delivered=NOW, proof=proof)


@pytest.mark.parametrize("name", ["pull", "ferry"])
@in_loop
async def test_cases_both_ways_through_a_node_that_is_killed(
    made: Homes, tmp_path: Path, name: str
) -> None:
    async with (
        carrier(made, tmp_path, name) as homes,
        running(homes.config(WUHAN)) as near,
        running(homes.config(HUB)),
        Desk(near.url, near.token) as wuhan,
        desk_of(homes, XIANGYANG) as xiangyang,
    ):
        async with process(homes, XIANGYANG) as child:
            await says(child, "ready")
            first = await wuhan.submit(window(WUHAN), application())
            assert first["route"] == [WUHAN, HUB, XIANGYANG]
            await xiangyang.take("case.submit")
            back = await xiangyang.submit(window(XIANGYANG), application(WUHAN))
            child.send_signal(signal.SIGKILL)
            assert await child.wait() == -signal.SIGKILL
        second = await wuhan.submit(window(WUHAN), application())
        async with process(homes, XIANGYANG) as child:
            await says(child, "ready")
            await xiangyang.take("case.submit")
            assert (await wuhan.take("case.submit"))["caseId"] == back["caseId"]
            for case in (first, second):
                await work(wuhan, xiangyang, case["caseId"])
            for desk in (wuhan, xiangyang):
                for case in (first, second):
                    await desk.until(case["caseId"], "delivered")
                await says_no_more_than_once(desk)
            child.terminate()
            assert await child.wait() == 0


@pytest.mark.parametrize("name", ["pull", "ferry"])
@in_loop
async def test_a_hub_that_is_killed_goes_on_where_it_was(
    made: Homes, tmp_path: Path, name: str
) -> None:
    async with (
        carrier(made, tmp_path, name) as homes,
        running(homes.config(XIANGYANG)) as far,
        Desk(far.url, far.token) as xiangyang,
        running(homes.config(WUHAN)) as near,
        Desk(near.url, near.token) as wuhan,
    ):
        filed: list[Json] = []
        for _ in range(2):
            async with process(homes, HUB) as hub:
                await says(hub, "ready")
                filed += [await wuhan.submit(window(WUHAN), application()) for _ in range(3)]
                filed[-1] |= {"back": await xiangyang.post("/v1/pings", {"node": WUHAN})}
                hub.send_signal(signal.SIGKILL)
                await hub.wait()
        async with process(homes, HUB) as hub:
            await says(hub, "ready")
            taken = [(await xiangyang.take("case.submit"))["caseId"] for _ in filed]
            assert sorted(taken) == sorted(row["caseId"] for row in filed)
            await says_no_more_than_once(xiangyang)
            for desk, path in [
                *((wuhan, row["messageId"]) for row in filed),
                *((xiangyang, row["back"].json["messageId"]) for row in filed if "back" in row),
            ]:
                await received(desk, path)


@in_loop
async def test_a_node_without_an_address_opens_no_door(made: Homes, tmp_path: Path) -> None:
    homes = made.copy(tmp_path / "homes")
    config = homes.config(XIANGYANG)
    assert config.peers.url == ""
    async with running(config):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(config.peers.host, config.peers.port)


async def received(desk: Desk, message: str) -> None:
    async def look() -> Json | None:
        shown = (await desk.get(f"/v1/messages/{message}")).json
        return shown if shown["standing"] == "received" else None

    await eventually(look)
