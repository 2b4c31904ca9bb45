"""Nodes whose store is on PostgreSQL, beside one on SQLite: nobody notices."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import schemas
from node.evidence import verify_file
from node.service import read_token, running
from protocol.bodies import KINDS
from signing.evidence import Outcome
from tests.desk import Desk, eventually
from tests.homes import ITEM, WUHAN, XIANGYANG, Homes, bureau, make_homes, window
from tests.loops import in_loop
from tests.postgres import Server
from tests.samples import WIDOW
from tests.unit.routing.provinces import anchor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from node.store.address import Address
    from tests.desk import Json

ROOT = Path(__file__).resolve().parents[2]
NOW = "2026-11-22T04:00:00.000Z"
LARGE = bytes(range(256)) * 1024


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    return make_homes(tmp_path_factory.mktemp("homes"))


@pytest.fixture
def homes(made: Homes, tmp_path: Path) -> Homes:
    return made.copy(tmp_path / "homes")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server("18")
    yield server
    server.remove()


def move(homes: Homes, node: str, address: Address) -> None:
    """Have a node keep its store there, as an operator would."""
    file = homes.folder / node / "node.toml"
    told = file.read_text(encoding="utf-8")
    before = 'path = "node.db"'
    assert before in told
    file.write_text(told.replace(before, f'url = "{address.url}"'), encoding="utf-8")


@asynccontextmanager
async def desks(homes: Homes, *nodes: str) -> AsyncIterator[list[Desk]]:
    """These nodes run, each with a desk at its local API."""
    async with AsyncExitStack() as stack:
        found = []
        for node in nodes:
            service = await stack.enter_async_context(running(homes.config(node)))
            found.append(await stack.enter_async_context(Desk(service.url, service.token)))
        yield found


def application(*materials: str) -> Json:
    return {
        "actor": {"name": "汪小满", "staffNumber": "0417", "window": "综窗3号"},
        "item": ITEM,
        "mode": "collected",
        "basis": {"kind": "residence", "region": XIANGYANG},
        "applicant": {
            "kind": "natural",
            "name": WIDOW.name,
            "certificate": {"type": "111", "number": WIDOW.certificate.number},
        },
        "delivery": {"method": "window"},
        "materials": [
            {"code": code, "name": "身份证", "form": "electronic", "trust": "B", "count": 1,
             "part": code}
            for code in materials
        ],
    }  # fmt: skip


@pytest.mark.parametrize("moved", [(WUHAN,), (XIANGYANG,)], ids=["collects", "handles"])
@in_loop
async def test_a_case_with_a_large_file_goes_its_way(
    homes: Homes, server: Server, moved: tuple[str, ...]
) -> None:
    for node in moved:
        move(homes, node, server.database())
    async with desks(homes, WUHAN, XIANGYANG) as (wuhan, xiangyang):
        uploaded = await wuhan.upload(LARGE)
        form = {
            "authority": window(WUHAN),
            "submit": application("m1", "m2"),
            "files": {
                "m1": {"mediaType": "application/pdf", "base64": "JVBERi0xLjcK"},
                "m2": {"mediaType": "application/pdf", "upload": uploaded.rpartition("/")[2]},
            },
        }
        answer = await wuhan.post("/v1/cases", form, "one")
        assert answer.status == 201, answer.octets.decode()
        assert (await wuhan.post("/v1/cases", form, "one")).json == answer.json
        case_id = answer.json["caseId"]
        entry = await xiangyang.take("case.submit")
        assert entry["caseId"] == case_id
        received = await xiangyang.get(f"/v1/messages/{entry['messageId']}/parts/m2")
        assert received.octets == LARGE
        handling = bureau(XIANGYANG)
        await xiangyang.act(case_id, handling, "case.received", received=NOW)
        await xiangyang.act(case_id, handling, "case.accept", caseNumber="BJ-1", accepted=NOW)
        for kind in ("case.received", "case.accept"):
            await wuhan.take(kind)
        for desk in (wuhan, xiangyang):

            async def settled(desk: Desk = desk) -> Json | None:
                case = await desk.case(case_id)
                standings = [message["standing"] for message in case["messages"]]
                return case if standings == ["received"] * 3 else None

            case = await eventually(settled)
            assert case["sides"][0]["state"] == "accepted"
            exported = await desk.get(f"/v1/evidence/cases/{case_id}")
            kinds = frozenset(kind.name for kind in KINDS)
            report = verify_file(exported.octets, anchor("42"), schemas.compiled(), kinds)
            assert report.outcome is Outcome.VALID
            assert (await desk.get("/v1/cases", state="accepted")).json["cases"]


@in_loop
async def test_a_database_that_is_away_for_a_while_is_said_and_survived(
    homes: Homes, server: Server
) -> None:
    move(homes, WUHAN, server.database())
    move(homes, XIANGYANG, server.database())
    async with desks(homes, WUHAN, XIANGYANG) as (wuhan, xiangyang):
        before = await wuhan.submit(window(WUHAN), application("m1"), key="before")
        await xiangyang.take("case.submit")
        server.stop()
        form = {"authority": window(WUHAN), "submit": application()}
        refused = await wuhan.post("/v1/cases", form, key="meanwhile")
        assert (refused.status, refused.problem) == (503, "store-unavailable")
        for path in (f"/v1/cases/{before['caseId']}", "/v1/health"):
            shown = await wuhan.get(path)
            assert (shown.status, shown.problem) == (503, "store-unavailable")
        server.start()

        async def filed() -> Json | None:
            answer = await wuhan.post("/v1/cases", form, key="meanwhile")
            found: Json | None = answer.json if answer.status == 201 else None
            return found

        after = await eventually(filed)
        assert (await xiangyang.take("case.submit"))["caseId"] == after["caseId"]
        assert (await xiangyang.post("/v1/inbox/lease", {})).json["entries"] == []
        health = (await wuhan.get("/v1/health")).json
        assert health["store"]["trouble"] is None
        assert await wuhan.submit(window(WUHAN), application("m1"), key="before") == before


@in_loop
async def test_a_node_that_is_killed_takes_its_place_again(homes: Homes, server: Server) -> None:
    address = server.database()
    move(homes, WUHAN, address)
    config, file = homes.config(WUHAN), homes.folder / WUHAN / "node.toml"
    url = f"http://{config.local.host}:{config.local.port}"
    token = read_token(config.local.token_file)
    answers = []
    for number in range(2):
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "run_node.py", "serve", "-c", str(file)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert child.stdout is not None
        said = ""
        async for line in child.stdout:
            said += line.decode()
            if "stop: Ctrl-C" in said:
                break
        assert ("new store" in said) is (number == 0)
        async with Desk(url, token) as desk:
            answers.append(await desk.submit(window(WUHAN), application("m1"), key="same"))
        child.send_signal(signal.SIGKILL)
        await child.communicate()
    assert answers[0] == answers[1]
