"""A node's database is replaced by an older copy, as after a disk was lost; nodes run for real."""

from __future__ import annotations

import sqlite3
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import TYPE_CHECKING

import pytest

from node.service import running
from tests.desk import Desk, eventually
from tests.homes import WUHAN, XIANGYANG, Homes, make_homes, window
from tests.integration.test_two_nodes import application
from tests.loops import in_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.desk import Json


@pytest.fixture
def homes(tmp_path: Path) -> Homes:
    return make_homes(tmp_path / "homes")


@asynccontextmanager
async def desk_of(homes: Homes, node: str, *, check_s: int = 0) -> AsyncIterator[Desk]:
    config = homes.config(node)
    peers = config.peers.model_copy(update={"check_s": check_s})
    async with (
        running(config.model_copy(update={"peers": peers})) as service,
        Desk(service.url, service.token) as desk,
    ):
        yield desk


def copied(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


def put_back(path: Path, backup: Path) -> None:
    for name in ("-wal", "-shm"):
        path.with_name(path.name + name).unlink(missing_ok=True)
    copied(backup, path)


async def seen(desk: Desk, case_id: str) -> Json | None:
    """The case, once it has come to this end."""
    answer = await desk.get(f"/v1/cases/{case_id}")
    if answer.status != 200:
        return None
    return answer.json if answer.json["sides"][0]["state"] == "submitted" else None


async def grown(desk: Desk, size: int) -> Json | None:
    health = (await desk.get("/v1/health")).json
    return health if health["log"]["size"] >= size else None


@pytest.mark.parametrize("victim", [WUHAN, XIANGYANG])
@in_loop
async def test_a_store_put_back_is_made_whole_by_its_peers(
    homes: Homes, tmp_path: Path, victim: str
) -> None:
    path, backup = homes.config(victim).store.path, tmp_path / "backup.db"
    other = XIANGYANG if victim == WUHAN else WUHAN
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(desk_of(homes, other))
        async with desk_of(homes, victim) as here:
            filing, seeing = (here, there) if victim == WUHAN else (there, here)
            first = await filing.submit(window(WUHAN), application())
            await eventually(lambda: seen(seeing, first["caseId"]))
            copied(path, backup)
            size = (await here.get("/v1/health")).json["log"]["size"]
            second = await filing.submit(window(WUHAN), application())
            await eventually(lambda: seen(seeing, second["caseId"]))
            before = await eventually(lambda: seen(here, second["caseId"]))
            # What is lost within a second of its commit nobody can notice.
            await eventually(lambda: grown(here, size + 3))
        put_back(path, backup)
        async with desk_of(homes, victim, check_s=5) as here:

            async def works() -> Json | None:
                health = (await here.get("/v1/health")).json
                return health if health["recovery"]["phase"] == "working" else None

            health = await eventually(works)
            assert [row["incarnation"] for row in health["log"]["breaks"]] == [2]
            after = await eventually(lambda: seen(here, second["caseId"]))
            assert after["sides"][0]["state"] == before["sides"][0]["state"]
            filing, seeing = (here, there) if victim == WUHAN else (there, here)
            third = await filing.submit(window(WUHAN), application())
            await eventually(lambda: seen(seeing, third["caseId"]))
