"""Uploads as a caller's program sees them: tus 1.0.0 over HTTP, cut connections included."""

from __future__ import annotations

import asyncio
import base64
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from node.service import running
from tests.desk import TUS, Desk, eventually
from tests.homes import ITEM, WUHAN, Homes, make_homes, window
from tests.loops import in_loop
from tests.samples import WIDOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from node.service import Service
    from tests.desk import Answer, Json

MIB = 1 << 20
NOBODY = "01a20404-f6fc-7212-b313-3cdfc384ec8a"
OCTETS = "application/offset+octet-stream"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    return make_homes(tmp_path_factory.mktemp("homes"))


@pytest.fixture
def homes(made: Homes, tmp_path: Path) -> Homes:
    return made.copy(tmp_path / "homes")


@asynccontextmanager
async def serving(homes: Homes) -> AsyncIterator[tuple[Desk, Service]]:
    async with (
        running(homes.config(WUHAN)) as service,
        Desk(service.url, service.token) as desk,
    ):
        yield desk, service


def film(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def application() -> Json:
    return {
        "actor": {"name": "汪小满", "staffNumber": "0417", "window": "综窗3号"},
        "item": ITEM,
        "mode": "collected",
        "basis": {"kind": "residence", "region": WUHAN},
        "applicant": {
            "kind": "natural",
            "name": WIDOW.name,
            "certificate": {"type": "111", "number": WIDOW.certificate.number},
        },
        "delivery": {"method": "window"},
        "materials": [
            {"code": "m1", "name": "录像", "form": "electronic", "trust": "B", "count": 1,
             "part": "film"}
        ],
    }  # fmt: skip


async def create(desk: Desk, size: object) -> Answer:
    return await desk.send("POST", "/v1/uploads", headers=TUS | {"Upload-Length": str(size)})


async def offset(desk: Desk, place: str) -> int:
    answer = await desk.send("HEAD", place, headers=TUS)
    assert answer.status == 200
    return int(answer.headers["Upload-Offset"])


async def submit(desk: Desk, place: str, key: str) -> Answer:
    files = {"film": {"mediaType": "video/mp4", "upload": place.rpartition("/")[2]}}
    body = {"authority": window(WUHAN), "submit": application(), "files": files}
    return await desk.post("/v1/cases", body, key)


@in_loop
async def test_a_file_is_brought_in_pieces_named_in_a_case_and_streamed_out_again(
    homes: Homes,
) -> None:
    octets = film(3 * MIB)
    async with serving(homes) as (desk, _):
        place = (await create(desk, len(octets))).headers["Location"]
        assert await offset(desk, place) == 0
        for start in range(0, len(octets), MIB):
            answer = await desk.append(place, start, octets[start : start + MIB])
            assert (answer.status, answer.headers["Upload-Offset"]) == (204, str(start + MIB))
        filed = (await submit(desk, place, "one")).json
        assert (await submit(desk, place, "one")).json == filed
        assert (await submit(desk, place, "two")).problem == "upload-unfit"
        assert (await desk.send("HEAD", place, headers=TUS)).status == 404

        path = f"/v1/messages/{filed['messageId']}/parts/film"
        whole = await desk.get(path)
        assert (whole.octets, whole.headers["Accept-Ranges"]) == (octets, "bytes")
        assert whole.headers["Content-Type"] == "video/mp4"
        for said, chosen in (
            ("bytes=100-1048675", octets[100 : MIB + 100]),
            ("bytes=-5", octets[-5:]),
            (f"bytes={3 * MIB - 1}-", octets[-1:]),
        ):
            answer = await desk.send("GET", path, headers={"Range": said})
            assert (answer.status, answer.octets) == (206, chosen)
        answer = await desk.send("GET", path, headers={"Range": f"bytes={3 * MIB}-"})
        assert (answer.status, answer.problem) == (416, "range")
        body = f"/v1/messages/{filed['messageId']}/parts/body"
        first = await desk.send("GET", body, headers={"Range": "bytes=0-9"})
        assert (first.status, len(first.octets)) == (206, 10)


@in_loop
async def test_what_arrived_before_a_cut_is_kept_and_gone_on_with(homes: Homes) -> None:
    octets = film(2 * MIB)
    async with serving(homes) as (desk, service):
        place = (await create(desk, len(octets))).headers["Location"]
        local = service.config.local
        _, writer = await asyncio.open_connection(local.host, local.port)
        head = (
            f"PATCH {place} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.token}\r\n"
            f"Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: {OCTETS}\r\n"
            f"Content-Length: {len(octets)}\r\n\r\n"
        )
        writer.write(head.encode() + octets[:MIB])
        await writer.drain()
        writer.close()

        async def kept() -> Json | None:
            at = await offset(desk, place)
            return {"at": at} if at else None

        at = (await eventually(kept))["at"]
        assert 0 < at <= MIB
        assert (await desk.append(place, at, octets[at:])).status == 204
    async with serving(homes) as (desk, _):
        assert await offset(desk, place) == len(octets)
        filed = (await submit(desk, place, "one")).json
        got = await desk.get(f"/v1/messages/{filed['messageId']}/parts/film")
        assert got.octets == octets


@in_loop
async def test_what_does_not_follow_the_protocol_is_told_and_changes_nothing(
    homes: Homes,
) -> None:
    async with serving(homes) as (desk, _):
        for size, status in (("-1", 400), ("x", 400), ("", 400), ("01", 400), (2**40, 413)):
            assert (await create(desk, size)).status == status
        answer = await desk.send("POST", "/v1/uploads", headers={"Upload-Length": "5"})
        assert (answer.status, answer.problem) == (412, "tus-version")
        assert answer.headers["Tus-Version"] == "1.0.0"
        place = (await create(desk, 5)).headers["Location"]

        async def patch(octets: bytes, **changes: str | None) -> Answer:
            names = {"at": "Upload-Offset", "kind": "Content-Type", "version": "Tus-Resumable"}
            headers = TUS | {"Upload-Offset": "0", "Content-Type": OCTETS}
            headers |= {names[name]: value for name, value in changes.items() if value is not None}
            return await desk.send("PATCH", place, headers=headers, data=octets)

        assert (await patch(b"12", at="1")).problem == "upload-offset"
        assert (await patch(b"12", at="one")).problem == "malformed"
        assert (await patch(b"12", kind="text/plain")).problem == "media-type"
        assert (await patch(b"12", version="0.2.2")).problem == "tus-version"
        assert (await patch(b"123456")).problem == "too-large"
        assert await offset(desk, place) == 0
        assert (await patch(b"12345")).status == 204
        assert (await patch(b"", at="5")).status == 204
        assert (await patch(b"6", at="5")).problem == "too-large"
        for method in ("HEAD", "DELETE"):
            answer = await desk.send(method, f"/v1/uploads/{NOBODY}", headers=TUS)
            assert answer.status == 404
        assert (await submit(desk, f"/v1/uploads/{NOBODY}", "a")).problem == "upload-unfit"
        half = (await create(desk, 5)).headers["Location"]
        told = (await submit(desk, half, "b")).json["errors"]
        assert [row["path"] for row in told] == ["files.film.upload"]
        both: dict[str, Any] = {"mediaType": "a/b", "base64": "", "upload": NOBODY}
        for form in ({"mediaType": "a/b"}, both):
            body = {"authority": window(WUHAN), "submit": application(), "files": {"film": form}}
            assert (await desk.post("/v1/cases", body, "c")).status == 400


@in_loop
async def test_a_second_writer_waits_its_turn_or_is_told(
    homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.api.uploads._TURN_S", 0.2)
    async with serving(homes) as (desk, service):
        place = (await create(desk, 5)).headers["Location"]
        async with service.engine.uploads.writing("local", place.rpartition("/")[2]):
            assert (await desk.append(place, 0, b"12345")).problem == "upload-busy"
            assert (await desk.send("DELETE", place, headers=TUS)).problem == "upload-busy"
        assert (await desk.append(place, 0, b"12345")).status == 204


@in_loop
async def test_a_scan_beyond_64_kib_may_stand_in_the_request_itself(homes: Homes) -> None:
    async with serving(homes) as (desk, service):
        octets = film(300_000)
        scan = {"mediaType": "application/pdf", "base64": base64.b64encode(octets).decode()}
        body = {"authority": window(WUHAN), "submit": application(), "files": {"film": scan}}
        filed = (await desk.post("/v1/cases", body, "one")).json
        got = await desk.get(f"/v1/messages/{filed['messageId']}/parts/film")
        assert got.octets == octets
        folder = service.config.parts.folder
        assert [path.stat().st_size for path in folder.rglob("*") if path.is_file()] == [300_000]
