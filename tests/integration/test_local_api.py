"""One node's local API on its real store: what callers may rely on, and what they cannot break."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from node.api.openapi import openapi_document
from node.clock import SystemClock
from node.service import running
from tests.desk import OFFICER, SCAN, TUS, Desk, eventually, scan
from tests.homes import ITEM, WUHAN, XIANGYANG, Homes, bureau, make_homes, operator, window
from tests.loops import in_loop
from tests.samples import WIDOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from node.service import Service
    from tests.desk import Json

NOW = "2026-11-22T04:00:00.000Z"
PERSONAL = "420606194803170000"  # looks like an identity number: never repeated, never logged
NOBODY = "01a20404-f6fc-7212-b313-3cdfc384ec8a"  # the id of nothing


class ShiftedClock(SystemClock):
    """The machine's clock, which a test may set ahead."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@asynccontextmanager
async def serving(homes: Homes) -> AsyncIterator[tuple[Desk, Service, ShiftedClock]]:
    """The node of Wuhan runs, and somebody with its token calls it."""
    clock = ShiftedClock()
    async with (
        running(homes.config(WUHAN), clock) as service,
        Desk(service.url, service.token) as desk,
    ):
        yield desk, service, clock


def application(region: str = WUHAN, **changes: object) -> Json:
    document: Json = {
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
    }
    return document | changes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    return make_homes(tmp_path_factory.mktemp("homes"))


@pytest.fixture
def homes(made: Homes, tmp_path: Path) -> Homes:
    return made.copy(tmp_path / "homes")


@in_loop
async def test_every_operation_answers_as_the_document_says(homes: Homes) -> None:
    async with serving(homes) as (desk, _, clock):
        (item,) = (await desk.get("/v1/items", q="身份证")).json["items"]
        assert (item["code"], item["marks"]["mode"]) == (ITEM, "V")
        filed = await desk.submit(window(WUHAN), application())
        assert filed["route"] == [WUHAN]
        entry = await desk.take("case.submit", authority=bureau(WUHAN), seconds=30)
        case_id, message = filed["caseId"], f"/v1/messages/{entry['messageId']}"
        await desk.act(case_id, bureau(WUHAN), "case.received", received=NOW)
        shown = (await desk.get(message)).json
        assert (shown["role"], shown["body"]["item"]) == ("out", ITEM)
        assert [part["id"] for part in shown["parts"]] == ["body", "m1"]
        part = await desk.get(f"{message}/parts/m1", authority=window(WUHAN))
        assert part.octets == SCAN
        assert part.headers["Content-Type"] == "application/pdf"
        assert part.headers["Content-Disposition"].startswith("attachment")
        await desk.post("/v1/pings", {"node": XIANGYANG})
        await desk.get("/v1/openapi.json")
        await desk.get(f"/v1/items/{ITEM}/authority", basis="residence", region=WUHAN)
        page = (await desk.get("/v1/cases", side="handle", state="received")).json
        assert [row["caseId"] for row in page["cases"]] == [case_id]
        await desk.case(case_id)
        for path in (
            f"/v1/evidence/cases/{case_id}",
            f"/v1/evidence/messages/{filed['messageId']}",
        ):
            exported = await desk.get(path)
            assert exported.octets.startswith(b"TBEV1")
            assert exported.headers["Content-Disposition"].startswith("attachment")
        await desk.get("/v1/log/head")
        await desk.get("/v1/log/growth", first="1")
        leaves = (await desk.get("/v1/log/entries/0")).octets
        await desk.get("/v1/log/proof", digest=leaves[9:41].hex())
        await desk.get("/v1/log/tiles/0/0")
        peers = (await desk.get("/v1/health")).json["peers"]
        assert XIANGYANG in [peer["node"] for peer in peers]
        await desk.send("OPTIONS", "/v1/uploads")
        upload = await desk.upload(SCAN)
        assert (await desk.send("HEAD", upload, headers=TUS)).headers["Upload-Length"]
        assert (await desk.send("DELETE", upload, headers=TUS)).status == 204
        await desk.post(
            f"/v1/inbox/{entry['messageId']}/done",
            {"authority": window(WUHAN), "lease": entry["lease"]},
        )
        clock.ahead_ms += 36 * 24 * 3600 * 1000
        order = erasing(bureau(WUHAN), althoughOpen=True)
        for path in (f"/v1/messages/{entry['messageId']}", f"/v1/cases/{case_id}"):
            erased = (await desk.post(f"{path}/erasure", order)).json["erased"]
            assert entry["messageId"] in {row["messageId"] for row in erased}
        operations = {
            operation["operationId"]
            for path in openapi_document()["paths"].values()
            for operation in path.values()
        }
        assert {name for name, status in desk.seen if status < 300} == operations


def erasing(authority: str, **changes: object) -> Json:
    order = {"authority": authority, "name": "李强", "staffNumber": "17", "note": "期满"}
    return {**order, "ground": "retention-over", **changes}


@pytest.mark.spec("EV-24", "EV-25", "EV-33")
@in_loop
async def test_contents_are_erased_and_the_proof_stays(homes: Homes) -> None:
    async with serving(homes) as (desk, _, clock):
        filed = await desk.submit(window(WUHAN), application())
        entry = await desk.take("case.submit", authority=bureau(WUHAN), seconds=30)
        message, case = f"/v1/messages/{filed['messageId']}", f"/v1/cases/{filed['caseId']}"
        early = await desk.post(f"{message}/erasure", erasing(window(WUHAN)))
        assert (early.status, early.problem) == (409, "still-needed")
        assert "peers may need it again" in early.json["detail"]
        clock.ahead_ms += 36 * 24 * 3600 * 1000
        still = await desk.post(f"{case}/erasure", erasing(window(WUHAN)))
        assert (still.status, still.problem) == (409, "still-needed")
        assert "is not over" in still.json["detail"]
        for broken in ({"ground": "because"}, {"name": ""}, {"althoughOpen": "yes"}):
            answer = await desk.post(f"{case}/erasure", erasing(window(WUHAN), **broken))
            assert (answer.status, answer.problem) == (400, "malformed")
        nobody = await desk.post(f"/v1/cases/{NOBODY}/erasure", erasing(window(WUHAN)))
        assert (nobody.status, nobody.problem) == (404, "case-unknown")
        order = erasing(window(WUHAN), althoughOpen=True)
        (erased,) = (await desk.post(f"{case}/erasure", order)).json["erased"]
        assert (await desk.post(f"{case}/erasure", order)).json["erased"] == [erased]
        shown = (await desk.get(message)).json
        assert shown["body"] is None
        assert shown["erased"] == {k: v for k, v in erased.items() if k != "messageId"}
        gone = await desk.get(f"{message}/parts/m1")
        assert (gone.status, gone.problem) == (410, "erased")
        # The authority that received it has its own copy, of which it decides itself.
        await desk.post(
            f"/v1/inbox/{entry['messageId']}/done",
            {"authority": window(WUHAN), "lease": entry["lease"]},
        )
        whole = (await desk.get(f"/v1/evidence{message.removeprefix('/v1')}")).octets
        assert SCAN in whole
        bare = await desk.get(f"/v1/evidence{case.removeprefix('/v1')}", contents="omitted")
        assert SCAN not in bare.octets
        await desk.post(f"{case}/erasure", erasing(bureau(WUHAN), althoughOpen=True))
        assert SCAN not in (await desk.get(f"/v1/evidence{message.removeprefix('/v1')}")).octets


@in_loop
async def test_nobody_gets_in_without_the_token(homes: Homes) -> None:
    async with serving(homes) as (desk, service, _):
        token = service.token
        paths = ["/v1/health", "/v1/cases", "/v1/nothing", f"/v1/cases/{NOBODY}"]
        shown = ["", token, f"Basic {token}", f"Bearer {token[:-1]}", f"Bearer {token}x", "Bearer "]
        async with Desk(service.url, None) as stranger:
            for path in paths:
                for authorization in shown:
                    headers = {"Authorization": authorization}
                    answer = await stranger.send("GET", path, headers=headers)
                    assert (answer.status, answer.problem) == (401, "unauthorized")
                    assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert (await stranger.get("/v1/openapi.json")).status == 200
            body = {"authority": window(WUHAN), "submit": application()}
            assert (await stranger.post("/v1/cases", body, "key")).status == 401
        assert (await desk.get("/v1/cases")).json["cases"] == []


@pytest.mark.spec("CA-4")
@in_loop
async def test_what_is_not_there_is_told_as_a_problem(homes: Homes) -> None:
    async with serving(homes) as (desk, _, _):
        for path, code in [
            ("/", "not-found"),
            ("/v1/nothing", "not-found"),
            (f"/v1/cases/{NOBODY}", "case-unknown"),
            ("/v1/cases/7", "not-found"),
            (f"/v1/messages/{NOBODY}", "message-unknown"),
            (f"/v1/messages/{NOBODY}/parts/m1", "message-unknown"),
            (f"/v1/evidence/cases/{NOBODY}", "case-unknown"),
            (f"/v1/evidence/messages/{NOBODY}", "message-unknown"),
        ]:
            answer = await desk.get(path)
            assert (answer.status, answer.problem, answer.json["instance"]) == (404, code, path)
        answer = await desk.send("DELETE", "/v1/cases")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")


DEEP = b'{"authority": ' + b"[" * 100 + b"]" * 100 + b"}"
WIDE = b'{"submit": {"a": [' + b"{}," * 5000 + b"{}]}}"
TWICE = b'{"authority": "a", "authority": "b"}'


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[]", "one JSON object"),
        (b'"text"', "one JSON object"),
        (DEEP, "deeper than 16"),
        (WIDE, "more than 4096"),
        (TWICE, "twice"),
        (b'{"max": NaN}', "NaN"),
        (b'{"max": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"submit": {"' + b"\\" * 1001 + b'": 1', "not JSON"),
    ],
)
@in_loop
async def test_octets_that_are_no_request_are_refused(
    homes: Homes, octets: bytes, words: str
) -> None:
    async with serving(homes) as (desk, _, _):
        headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
        answer = await desk.send("POST", "/v1/cases", data=octets, headers=headers)
        assert (answer.status, answer.problem) == (400, "malformed")
        assert words in answer.json["detail"]
        assert (await desk.get("/v1/health")).status == 200


@in_loop
async def test_a_request_is_bounded_and_json(homes: Homes) -> None:
    async with serving(homes) as (desk, _, _):
        huge = b'{"authority": "' + b"1" * (12 * 1024 * 1024) + b'"}'
        headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
        answer = await desk.send("POST", "/v1/cases", data=io.BytesIO(huge), headers=headers)
        assert (answer.status, answer.problem) == (413, "too-large")
        for kind in ("text/plain", "application/xml", "application/x-www-form-urlencoded"):
            headers = {"Content-Type": kind, "Idempotency-Key": "k"}
            answer = await desk.send("POST", "/v1/cases", data=b"{}", headers=headers)
            assert (answer.status, answer.problem) == (415, "media-type")
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        answer = await desk.send("POST", "/v1/pings", data=b"\x1f\x8b", headers=headers)
        assert answer.status == 415


@in_loop
async def test_every_fault_of_a_form_is_named_and_no_value_repeated(homes: Homes) -> None:
    async with serving(homes) as (desk, _, _):
        body = {
            "authority": PERSONAL,
            "sbumit": {"applicant": PERSONAL},
            "files": {
                "body": scan(),
                "M 1": scan(),
                "m2": {"mediaType": f"text/plain; name={PERSONAL}", "base64": "%%%"},
                "m3": {"mediaType": "text/plain", "base64": "", "name": PERSONAL},
            },
        }
        answer = await desk.post("/v1/cases", body, "k")
        assert (answer.status, answer.problem) == (400, "malformed")
        faults = {row["path"]: row["remedy"] for row in answer.json["errors"]}
        assert faults.keys() == {
            "authority",
            "submit",
            "sbumit",
            "files.body",
            "files.M 1",
            "files.m2.mediaType",
            "files.m2.base64",
            "files.m3.name",
        }
        assert faults["sbumit"] == "known here: authority, submit, files"
        assert faults["files.m3.name"] == "known here: mediaType, base64, upload"
        assert "application/pdf" in faults["files.m2.mediaType"]
        assert all(row["problemZh"] and row["remedyZh"] for row in answer.json["errors"])
        assert PERSONAL not in answer.octets.decode()

        without = await desk.post("/v1/cases", {"authority": window(WUHAN), "submit": {}})
        assert [row["path"] for row in without.json["errors"]] == ["Idempotency-Key"]
        for key in ("", "a b", "é", "k" * 129):
            assert (await desk.post("/v1/cases", {}, key)).status == 400
        for query in ({"limit": "0"}, {"limit": "x"}, {"side": "both"}, {"after": "x"}, {"x": "1"}):
            answer = await desk.get("/v1/cases", **query)
            assert (answer.status, answer.problem) == (400, "malformed")
        twice = await desk.send("GET", "/v1/cases?side=collect&side=handle")
        assert twice.status == 400


@in_loop
async def test_every_fault_of_what_a_message_says_is_named(homes: Homes) -> None:
    async with serving(homes) as (desk, _, _):
        document = application(applicant={"kind": "natural", "name": "\x00", "x": PERSONAL})
        body = {"authority": window(WUHAN), "submit": document, "files": {}}
        answer = await desk.post("/v1/cases", body, "k")
        assert (answer.status, answer.problem) == (422, "body-invalid")
        assert {row["path"] for row in answer.json["errors"]} == {
            "submit.applicant.name",
            "submit.applicant.certificate",
            "submit.applicant.x",
        }
        assert PERSONAL not in answer.octets.decode()
        body["submit"] = application(materials=[material("m9")])
        answer = await desk.post("/v1/cases", body, "k")
        assert (answer.status, answer.problem) == (422, "body-invalid")
        assert "m9" in answer.json["detail"]


def material(part: str) -> Json:
    return {
        "code": "m1",
        "name": "身份证",
        "form": "electronic",
        "trust": "B",
        "count": 1,
        "part": part,
    }


@pytest.mark.spec("CT-4")
@in_loop
async def test_what_a_rule_refuses_is_not_filed(homes: Homes) -> None:
    async with serving(homes) as (desk, _, _):
        foreign = bureau(XIANGYANG) + "4" + ITEM
        unknown = bureau(WUHAN) + "4" + "000000000000"
        for authority, document, code in [
            (window(XIANGYANG), application(), "authority-not-here"),
            (window(WUHAN), application(item="000000000000"), "item-unknown"),
            (window(WUHAN), application(region="429004"), "item-not-served"),
            (window(WUHAN), application(region="420000"), "route-ambiguous"),
            (window(WUHAN), application(basis={"kind": "x", "region": WUHAN}), "route-ambiguous"),
            (window(WUHAN), application(implementation=unknown), "item-not-served"),
            (window(WUHAN), application(implementation=foreign), "basis-mismatch"),
        ]:
            body = {"authority": authority, "submit": document}
            answer = await desk.post("/v1/cases", body, "the-same-key")
            assert (answer.status, answer.problem) == (422, code), answer.octets.decode()
            assert answer.json["clause"]
            assert answer.json["remedy"]
        full = {"mediaType": "application/pdf", "base64": b64(bytes(64 * 1024))}
        many = {f"m{number}": full for number in range(125)}
        body = {"authority": window(WUHAN), "submit": application(), "files": many}
        headers = {"Content-Type": "application/json", "Idempotency-Key": "the-same-key"}
        octets = io.BytesIO(json.dumps(body).encode())
        answer = await desk.send("POST", "/v1/cases", data=octets, headers=headers)
        assert (answer.status, answer.problem) == (413, "too-large")
        assert (await desk.get("/v1/cases")).json["cases"] == []
        # A request that was refused has not used up its key.
        body["files"] = {"m1": {"mediaType": "application/pdf", "base64": b64(bytes(64 * 1024))}}
        assert (await desk.post("/v1/cases", body, "the-same-key")).status == 201


def b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


@in_loop
async def test_a_repeated_request_gets_its_answer_although_the_world_has_changed(
    homes: Homes,
) -> None:
    async with serving(homes) as (desk, service, _):
        filed = await desk.submit(window(WUHAN), application(), key="before")
        homes.publish_catalogue(version=2, withdrawn=(WUHAN,))
        await service.reload()
        assert await desk.submit(window(WUHAN), application(), key="before") == filed
        body = {"authority": window(WUHAN), "submit": application()}
        assert (await desk.post("/v1/cases", body, "after")).problem == "item-not-served"


@pytest.mark.spec("CA-1")
@in_loop
async def test_a_step_the_case_does_not_allow_is_refused(homes: Homes) -> None:
    async with serving(homes) as (desk, _, _):
        case_id = (await desk.submit(window(WUHAN), application()))["caseId"]
        await desk.take("case.submit")
        received = {"actor": OFFICER, "received": NOW}
        accept = {"actor": OFFICER, "caseNumber": "BJ-1", "accepted": NOW}
        for case, authority, kind, body, status, code in [
            (NOBODY, bureau(WUHAN), "case.received", received, 404, "case-unknown"),
            (case_id, operator(WUHAN), "case.received", received, 404, "case-unknown"),
            (case_id, bureau(XIANGYANG), "case.received", received, 422, "authority-not-here"),
            (case_id, bureau(WUHAN), "case.accept", accept, 409, "wrong-state"),
            (case_id, window(WUHAN), "case.received", received, 422, "power-lacking"),
            (case_id, bureau(WUHAN), "case.nothing", received, 422, "kind-unknown"),
            (case_id, bureau(WUHAN), "ping", {"actor": OFFICER}, 400, "malformed"),
            (case_id, window(WUHAN), "case.submit", application(implementation="1"), 400,
             "malformed"),
        ]:  # fmt: skip
            form = {"authority": authority, "kind": kind, "body": body}
            answer = await desk.post(f"/v1/cases/{case}/acts", form, "one-key")
            assert (answer.status, answer.problem) == (status, code), answer.octets.decode()
        form = {"authority": bureau(WUHAN), "kind": "case.received", "body": received}
        first = await desk.post(f"/v1/cases/{case_id}/acts", form, "one-key")
        again = await desk.post(f"/v1/cases/{case_id}/acts", form, "one-key")
        assert (first.status, again.json) == (201, first.json)
        form["body"] = received | {"note": "another"}
        clash = await desk.post(f"/v1/cases/{case_id}/acts", form, "one-key")
        assert (clash.status, clash.problem) == (409, "idempotency-key-reused")
        messages = (await desk.case(case_id))["messages"]
        assert [row["kind"] for row in messages if row["role"] == "out"] == [
            "case.submit",
            "case.received",
        ]


@in_loop
async def test_a_lease_that_runs_out_offers_the_entry_again(homes: Homes) -> None:
    async with serving(homes) as (desk, _, clock):
        await desk.submit(window(WUHAN), application())

        async def leased() -> Json | None:
            answer = await desk.post("/v1/inbox/lease", {"seconds": 60})
            entries: list[Json] = answer.json["entries"]
            return entries[0] if entries else None

        first = await eventually(leased)
        done = f"/v1/inbox/{first['messageId']}/done"
        owner = first["from"]["authority"]
        assert await leased() is None
        clock.ahead_ms += 61_000
        second = await leased()
        assert second is not None
        assert second["messageId"] == first["messageId"]
        assert second["lease"] != first["lease"]
        late = await desk.post(done, {"authority": owner, "lease": first["lease"]})
        assert (late.status, late.problem) == (409, "lease-lost")
        stranger = await desk.post(done, {"authority": bureau(WUHAN), "lease": second["lease"]})
        assert stranger.status == 404
        # Nobody took it meanwhile, so work done too slowly still counts, once.
        clock.ahead_ms += 61_000
        for _ in range(2):
            answer = await desk.post(done, {"authority": owner, "lease": second["lease"]})
            assert answer.status == 204
        clock.ahead_ms += 3_600_000
        assert await leased() is None


@in_loop
async def test_leases_and_cases_outlive_the_process(homes: Homes) -> None:
    async with serving(homes) as (desk, _, _):
        for _ in range(3):
            await desk.submit(window(WUHAN), application())
        await desk.take("case.submit")

        async def leased() -> Json | None:
            answer = await desk.post("/v1/inbox/lease", {"max": 1, "seconds": 600})
            entries: list[Json] = answer.json["entries"]
            return entries[0] if entries else None

        held = await eventually(leased)
    async with serving(homes) as (desk, _, clock):
        (rest,) = (await desk.post("/v1/inbox/lease", {})).json["entries"]
        clock.ahead_ms += 601_000
        offered = (await desk.post("/v1/inbox/lease", {})).json["entries"]
        assert {entry["messageId"] for entry in offered} == {
            held["messageId"],
            rest["messageId"],
        }


@in_loop
async def test_two_programs_never_get_the_same_entry(homes: Homes) -> None:
    async with serving(homes) as (desk, _, _):
        filed = [await desk.submit(window(WUHAN), application()) for _ in range(12)]

        async def all_settled() -> Json | None:
            cases = (await desk.get("/v1/cases", side="handle")).json["cases"]
            return {"all": True} if len(cases) == len(filed) else None

        await eventually(all_settled)
        answers = await asyncio.gather(
            *(desk.post("/v1/inbox/lease", {"max": 2}) for _ in range(10))
        )
        given = [entry["caseId"] for answer in answers for entry in answer.json["entries"]]
        assert sorted(given) == sorted(row["caseId"] for row in filed)


@in_loop
async def test_an_inbox_is_leased_per_authority(homes: Homes) -> None:
    async with serving(homes) as (desk, _, _):
        case_id = (await desk.submit(window(WUHAN), application()))["caseId"]
        await desk.take("case.submit", authority=bureau(WUHAN))
        await desk.act(case_id, bureau(WUHAN), "case.received", received=NOW)
        entry = await desk.take("case.received", authority=window(WUHAN))
        assert entry["to"]["authority"] == window(WUHAN)
        answer = await desk.post("/v1/inbox/lease", {"authority": bureau(WUHAN)})
        assert answer.json["entries"] == []


@in_loop
async def test_cases_are_paged_newest_first_and_none_is_skipped(homes: Homes) -> None:
    async with serving(homes) as (desk, _, _):
        filed = [(await desk.submit(window(WUHAN), application()))["caseId"] for _ in range(5)]
        found: list[str] = []
        query = {"side": "collect", "limit": "2"}
        while True:
            page = (await desk.get("/v1/cases", **query)).json
            found += [row["caseId"] for row in page["cases"]]
            if page["next"] is None:
                break
            query["after"] = page["next"]
        assert found == sorted(filed, reverse=True)
        assert (await desk.get("/v1/cases", state="decided")).json["cases"] == []


@in_loop
async def test_what_no_destination_has_answered_for_cannot_be_proven_yet(homes: Homes) -> None:
    async with serving(homes) as (desk, _, _):
        filed = await desk.submit(window(WUHAN), application(XIANGYANG))
        for path in (f"cases/{filed['caseId']}", f"messages/{filed['messageId']}"):
            answer = await desk.get(f"/v1/evidence/{path}")
            assert (answer.status, answer.problem) == (503, "receipt-missing")


@in_loop
async def test_who_is_responsible(homes: Homes) -> None:
    async with serving(homes) as (desk, _, _):
        path = f"/v1/items/{ITEM}/authority"
        found = (await desk.get(path, basis="residence", region=XIANGYANG)).json
        assert found["authority"]["uscc"] == bureau(XIANGYANG)
        assert found["route"] == [WUHAN, XIANGYANG]
        for query in ({}, {"basis": "residence"}, {"region": WUHAN}, {"basis": "x"}):
            answer = (await desk.get(path, **query)).json
            assert [row["basis"] for row in answer["options"]] == ["residence"], query
        below = (await desk.get(path, basis="residence", region="420000")).json
        assert {row["authority"]["uscc"] for row in below["options"]} == {
            bureau(WUHAN),
            bureau(XIANGYANG),
        }
        nobody = (await desk.get(path, basis="residence", region="429004")).json
        assert nobody["reason"] == "item-not-served"
        assert {row["authority"]["node"] for row in nobody["nearest"]} == {WUHAN, XIANGYANG}
        unknown = (await desk.get("/v1/items/000/authority", basis="x", region=WUHAN)).json
        assert (unknown["outcome"], unknown["reason"]) == ("not-found", "item-unknown")
        assert (await desk.get(path, zone="东湖高新区")).status == 400
        assert (await desk.get(path, region="42")).status == 400
        assert (await desk.get("/v1/items", q="没有这个事项")).json["items"] == []
        assert (await desk.get("/v1/items", q="x" * 65)).status == 400


@in_loop
async def test_a_store_that_is_away_is_told_and_nothing_is_lost(homes: Homes) -> None:
    async with serving(homes) as (desk, service, _):
        filed = await desk.submit(window(WUHAN), application(), key="before")
        store: Any = service.engine.context.store
        limit, store._queue_limit = store._queue_limit, 0
        body = {"authority": window(WUHAN), "submit": application()}
        busy = await desk.post("/v1/cases", body, "busy")
        assert (busy.status, busy.problem, busy.headers["Retry-After"]) == (429, "overloaded", "1")
        store._queue_limit = limit
        assert (await desk.post("/v1/cases", body, "busy")).status == 201
        await store.close()
        for path in ("/v1/health", "/v1/cases", f"/v1/cases/{filed['caseId']}"):
            answer = await desk.get(path)
            assert (answer.status, answer.problem) == (503, "store-unavailable")
            assert answer.headers["Retry-After"] == "1"
        assert (await desk.post("/v1/cases", body, "away")).status == 503
    async with serving(homes) as (desk, _, _):
        assert await desk.submit(window(WUHAN), application(), key="before") == filed
        assert len((await desk.get("/v1/cases", side="collect")).json["cases"]) == 2


@in_loop
async def test_a_fault_of_ours_stays_inside_and_tells_nobody_who_it_was_about(
    homes: Homes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(homes) as (desk, service, _):

        async def fail(_draft: object) -> NoReturn:
            raise KeyError(PERSONAL)

        with monkeypatch.context() as broken:
            broken.setattr(service.engine, "file", fail)
            body = {"authority": window(WUHAN), "submit": application()}
            answer = await desk.post("/v1/cases", body, "k")
        assert (answer.status, answer.problem) == (500, "failed")
        assert (await desk.post("/v1/cases", body, "k")).status == 201
        logged = capsys.readouterr().out
        assert "KeyError" in logged
        assert "test_local_api.py" in logged
        assert PERSONAL not in logged + answer.octets.decode()


@in_loop
async def test_the_log_of_a_whole_case_names_no_person(
    homes: Homes, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(homes) as (desk, _, _):
        document = application(materials=[material("m1")], note="覃知远代办")
        case_id = (await desk.submit(window(WUHAN), document))["caseId"]
        await desk.take("case.submit")
        await desk.act(case_id, bureau(WUHAN), "case.received", received=NOW, note="覃知远")
        await desk.take("case.received")
        bad = application(applicant=json.loads(json.dumps(document["applicant"])))
        bad["applicant"]["certificate"]["number"] = PERSONAL
        answer = await desk.post("/v1/cases", {"authority": window(WUHAN), "submit": bad}, "k")
        assert answer.status == 422
    logged = capsys.readouterr().out
    assert "arrived" in logged
    for personal in (WIDOW.name, WIDOW.certificate.number, PERSONAL, "覃知远", "汪小满", "聂远舟"):
        assert personal not in logged
