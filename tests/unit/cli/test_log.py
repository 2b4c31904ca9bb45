from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from node.service import running
from tests.command_line import asked, done, run
from tests.homes import WUHAN, Homes, make_homes
from tests.log_kit import tamper

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def homes(tmp_path: Path) -> Homes:
    return make_homes(tmp_path, (WUHAN,))


@pytest.fixture
def config(homes: Homes) -> Path:
    """A node that has served for a moment."""

    async def serve() -> None:
        async with running(homes.config(WUHAN)) as service:
            await service.engine.log.drain()

    asyncio.run(serve())
    return homes.folder / WUHAN / "node.toml"


def test_a_log_that_holds_is_said_to_hold_step_by_step(config: Path) -> None:
    told = done("log", "check", "-c", config)
    assert [line.split(".")[0] for line in told.splitlines()] == list("1234567")
    assert "FAIL" not in told
    steps = asked("log", "check", "-c", config)["steps"]
    assert [step["wrong"] for step in steps] == [0] * 7
    assert steps[1]["lookedAt"] == 2


def test_a_log_that_was_changed_is_refused_with_what_and_where(config: Path) -> None:
    tamper(config.parent / "node.db", "UPDATE log_tile SET hashes = zeroblob(length(hashes))")
    ending = run("log", "check", "-c", config)
    assert ending.code == 1
    assert "3. 不过 FAIL" in ending.out
    assert "tile (0, 0) is not what the leaves make it" in ending.out
    assert "第 3 步 step 3" in ending.err
    assert "->" in ending.err


def test_where_there_is_no_store_nothing_is_made(homes: Homes) -> None:
    config = homes.folder / WUHAN / "node.toml"
    ending = run("log", "check", "-c", config)
    assert ending.code == 2
    assert not (config.parent / "node.db").exists()


def test_head_and_proof_need_a_node_that_runs(config: Path) -> None:
    for words in (("head",), ("proof", "00" * 32)):
        ending = run("log", *words, "-c", config)
        assert ending.code == 3
        assert "run_node.py serve" in ending.err
