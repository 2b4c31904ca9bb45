"""Two nodes as they run in production: TLS, SQLite and signatures are real; people are not."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

import schemas
from node.evidence import verify_file
from node.service import running
from protocol import bodies
from signing.evidence import Outcome
from signing.suites import Suite
from tests.desk import OFFICER, SCAN, Desk, eventually
from tests.homes import HUB, ITEM, WUHAN, XIANGYANG, Homes, bureau, make_homes, window
from tests.loops import in_loop
from tests.samples import WIDOW
from tests.unit.routing.provinces import anchor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.desk import Json

KINDS = frozenset(kind.name for kind in bodies.KINDS)
NOW = "2026-11-22T04:00:00.000Z"
REMEDIES = [{"kind": "review", "body": "襄阳市人民政府", "within": "60日"}]


@asynccontextmanager
async def desks(homes: Homes, *nodes: str) -> AsyncIterator[list[Desk]]:
    """These nodes run, each with a desk at its local API."""
    async with AsyncExitStack() as stack:
        found = []
        for node in nodes:
            service = await stack.enter_async_context(running(homes.config(node)))
            found.append(await stack.enter_async_context(Desk(service.url, service.token)))
        yield found


def application(region: str = XIANGYANG) -> Json:
    return {
        "actor": {"name": "汪小满", "staffNumber": "0417", "window": "综窗3号"},
        "item": ITEM,
        "mode": "collected",
        "basis": {"kind": "residence", "region": region},
        "applicant": {
            "kind": "natural",
            "name": WIDOW.name,
            "certificate": {"type": "111", "number": WIDOW.certificate.number},
        },
        "delivery": {"method": "window"},
        "materials": [
            {"code": "m1", "name": "身份证", "form": "electronic", "trust": "B", "count": 1,
             "part": "m1"}
        ],
    }  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    return make_homes(tmp_path_factory.mktemp("homes"))


@pytest.fixture
def homes(made: Homes, tmp_path: Path) -> Homes:
    return made.copy(tmp_path / "homes")


@pytest.mark.parametrize("suite", list(Suite))
@in_loop
async def test_a_case_goes_from_the_window_to_its_delivery(tmp_path: Path, suite: Suite) -> None:
    async with desks(make_homes(tmp_path, suite=suite), WUHAN, XIANGYANG) as (wuhan, xiangyang):
        filed = await wuhan.submit(window(WUHAN), application())
        assert filed["authority"]["uscc"] == bureau(XIANGYANG)
        assert filed["route"] == [WUHAN, XIANGYANG]
        case_id = filed["caseId"]

        entry = await xiangyang.take("case.submit")
        assert entry["caseId"] == case_id
        assert entry["body"]["applicant"]["name"] == WIDOW.name
        part = await xiangyang.get(f"/v1/messages/{entry['messageId']}/parts/m1")
        assert part.octets == SCAN

        handling = bureau(XIANGYANG)
        await xiangyang.act(case_id, handling, "case.received", received=NOW)
        await xiangyang.act(case_id, handling, "case.accept", caseNumber="BJ-1", accepted=NOW)
        await xiangyang.act(case_id, handling, "case.decide", result="granted", decided=NOW)
        await xiangyang.act(
            case_id,
            handling,
            "case.deliver",
            method="window",
            recipient="覃䶮兰",
            delivered=NOW,
            proof={"kind": "signature", "value": "SD-1"},
        )
        for kind in ("case.received", "case.accept", "case.decide", "case.deliver"):
            await wuhan.take(kind)

        for desk in (wuhan, xiangyang):
            case = await desk.until(case_id, "delivered")
            assert case["holder"] is None
            assert [side["state"] for side in case["sides"]] == ["delivered"]
            kinds = [message["kind"] for message in case["messages"]]
            assert kinds[0] == "case.submit"
            assert sorted(kinds[1:]) == [
                "case.accept",
                "case.decide",
                "case.deliver",
                "case.received",
            ]
            for message in case["messages"]:
                assert [receipt["type"] for receipt in message["receipts"]] == ["received"]
                assert message["path"] == [message["from"]["node"], message["to"]["node"]]
            exported = await desk.get(f"/v1/evidence/cases/{case_id}")
            report = verify_file(exported.octets, anchor("42"), schemas.compiled(), KINDS)
            assert report.outcome is Outcome.VALID
            assert len(report.proven) == 5


@in_loop
async def test_a_correction_goes_round_once(homes: Homes) -> None:
    async with desks(homes, WUHAN, XIANGYANG) as (wuhan, xiangyang):
        case_id = (await wuhan.submit(window(WUHAN), application()))["caseId"]
        await xiangyang.take("case.submit")
        handling = bureau(XIANGYANG)
        await xiangyang.act(case_id, handling, "case.received", received=NOW)
        problem = {"subject": "material", "code": "m1", "problem": "不清晰", "remedy": "重拍"}
        await xiangyang.act(case_id, handling, "case.correct", problems=[problem], due=NOW)
        await wuhan.take("case.received")
        await wuhan.take("case.correct")
        holder = (await wuhan.case(case_id))["holder"]
        assert (holder["node"], holder["authority"]) == (WUHAN, window(WUHAN))

        form = [{"name": "note", "value": "已重拍"}]
        await wuhan.act(case_id, window(WUHAN), "case.supplement", form=form)
        entry = await xiangyang.take("case.supplement")
        assert entry["sequence"] == 2
        holder = (await xiangyang.case(case_id))["holder"]
        assert (holder["node"], holder["authority"]) == (XIANGYANG, handling)

        again = await xiangyang.post(
            f"/v1/cases/{case_id}/acts",
            {
                "authority": handling,
                "kind": "case.correct",
                "body": {"actor": OFFICER, "problems": [problem], "due": NOW},
            },
            "second-correction",
        )
        assert (again.status, again.problem) == (409, "wrong-state")
        await xiangyang.act(case_id, handling, "case.accept", caseNumber="BJ-1", accepted=NOW)
        await wuhan.take("case.accept")


@in_loop
async def test_the_authority_rejects(homes: Homes) -> None:
    async with desks(homes, WUHAN, XIANGYANG) as (wuhan, xiangyang):
        case_id = (await wuhan.submit(window(WUHAN), application()))["caseId"]
        await xiangyang.take("case.submit")
        handling = bureau(XIANGYANG)
        await xiangyang.act(case_id, handling, "case.received", received=NOW)
        await xiangyang.act(
            case_id,
            handling,
            "case.reject",
            cause="not-required",
            rejected=NOW,
            ground="许可法第三十二条",
            explanation="该事项不需要许可。",
            remedies=REMEDIES,
        )
        case = await wuhan.until(case_id, "rejected")
        assert [message["kindName"] for message in case["messages"]][-1] == "不予受理"
        assert case["holder"] is None


@in_loop
async def test_the_other_node_refuses_and_the_window_sees_why(homes: Homes) -> None:
    async with desks(homes, WUHAN) as (wuhan,):
        case_id = (await wuhan.submit(window(WUHAN), application()))["caseId"]
        # Before it arrives, the bureau gives the item up; only its own node knows so far.
        homes.publish_catalogue(version=2, withdrawn=(XIANGYANG,))
        async with desks(homes, XIANGYANG) as (xiangyang,):
            case = await wuhan.until(case_id, "refused")
            assert (await xiangyang.get(f"/v1/cases/{case_id}")).problem == "case-unknown"
        (message,) = case["messages"]
        assert (message["standing"], message["reason"]) == ("refused", "item-not-served")
        assert [receipt["type"] for receipt in message["receipts"]] == ["refused"]
        assert case["sides"][0]["state"] == "new"
        assert case["holder"]["authority"] == window(WUHAN)


@in_loop
async def test_a_repeated_request_files_nothing_twice(homes: Homes) -> None:
    async with desks(homes, WUHAN, XIANGYANG) as (wuhan, xiangyang):
        first = await wuhan.submit(window(WUHAN), application(), key="one")
        assert await wuhan.submit(window(WUHAN), application(), key="one") == first
        at_once = [wuhan.submit(window(WUHAN), application(), key="two") for _ in range(8)]
        answers = await asyncio.gather(*at_once)
        assert answers == [answers[0]] * 8
        other = application() | {"note": "another"}
        clash = await wuhan.post(
            "/v1/cases", {"authority": window(WUHAN), "submit": other}, key="one"
        )
        assert (clash.status, clash.problem) == (409, "idempotency-key-reused")
        await xiangyang.take("case.submit")
        await xiangyang.take("case.submit")
        assert (await xiangyang.post("/v1/inbox/lease", {})).json["entries"] == []
        assert len((await wuhan.get("/v1/cases")).json["cases"]) == 2


@in_loop
async def test_what_waits_for_a_node_that_is_away_is_delivered_when_it_is_back(
    homes: Homes,
) -> None:
    async with desks(homes, WUHAN) as (wuhan,):
        async with desks(homes, XIANGYANG) as (xiangyang,):
            started = (await wuhan.submit(window(WUHAN), application()))["caseId"]
            await xiangyang.take("case.submit")
        waiting = [(await wuhan.submit(window(WUHAN), application()))["caseId"] for _ in range(3)]

        async def noticed() -> Json | None:
            (peer,) = (await wuhan.get("/v1/health")).json["peers"]
            found: Json | None = peer if peer["failures"] and peer["queue"] == 3 else None
            return found

        peer = await eventually(noticed)
        assert (peer["node"], peer["trouble"] is None) == (XIANGYANG, False)
        case = await wuhan.case(waiting[0])
        assert case["messages"][0]["standing"] == "queued"
        assert (case["holder"]["node"], case["outcome"], case["settled"]) == (WUHAN, "open", False)

        async with desks(homes, XIANGYANG) as (xiangyang,):
            # Whoever is back and speaks is heard at once.
            await xiangyang.post("/v1/pings", {"node": WUHAN})
            taken = [(await xiangyang.take("case.submit"))["caseId"] for _ in waiting]
            assert sorted(taken) == sorted(waiting)
            await xiangyang.act(started, bureau(XIANGYANG), "case.received", received=NOW)
            await wuhan.take("case.received")


@in_loop
async def test_the_sender_goes_on_after_a_restart(homes: Homes) -> None:
    async with desks(homes, WUHAN) as (wuhan,):
        filed = await wuhan.submit(window(WUHAN), application(), key="before")
    async with desks(homes, WUHAN, XIANGYANG) as (wuhan, xiangyang):
        assert await wuhan.submit(window(WUHAN), application(), key="before") == filed
        entry = await xiangyang.take("case.submit")
        assert entry["caseId"] == filed["caseId"]
        assert (await xiangyang.post("/v1/inbox/lease", {})).json["entries"] == []


@in_loop
async def test_a_case_passes_a_hub_that_cannot_read_it(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, (HUB, WUHAN, XIANGYANG))
    async with desks(homes, HUB, WUHAN) as (hub, wuhan):
        filed = await wuhan.submit(window(WUHAN), application())
        assert filed["route"] == [WUHAN, HUB, XIANGYANG]
        case_id, path = filed["caseId"], f"/v1/messages/{filed['messageId']}"

        async def handed_over() -> Json | None:
            case = await wuhan.case(case_id)
            return case if case["messages"][0]["standing"] == "custody" else None

        case = await eventually(handed_over)
        assert case["holder"]["node"] == HUB
        assert case["messages"][0]["path"] == [WUHAN, HUB]
        passing = (await hub.get(path)).json
        assert (passing["role"], passing["body"]) == ("transit", None)
        assert (await hub.get(f"{path}/parts/m1")).status == 404
        assert (await hub.get(f"{path}/parts/body")).status == 404
        async with desks(homes, XIANGYANG) as (xiangyang,):
            await xiangyang.post("/v1/pings", {"node": HUB})
            entry = await xiangyang.take("case.submit")
            received = (await xiangyang.get(f"/v1/messages/{entry['messageId']}")).json
            assert received["path"] == [WUHAN, HUB, XIANGYANG]

            async def settled() -> Json | None:
                message = (await wuhan.get(path)).json
                return message if message["standing"] == "received" else None

            message = await eventually(settled)
            assert [row["issuer"] for row in message["receipts"]] == [HUB, XIANGYANG]
