from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import structlog

from node.trust_watch import TrustWatch
from tests.homes import WUHAN, XIANGYANG, Homes, make_homes
from tests.unit.node.test_federation import trust_of

if TYPE_CHECKING:
    from pathlib import Path

    from node.federation import Trust


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    return make_homes(tmp_path_factory.mktemp("homes"))


@pytest.fixture
def homes(made: Homes, tmp_path: Path) -> Homes:
    return made.copy(tmp_path / "homes")


@dataclass
class Node:
    """What a running node does with its files: put in force what was loaded."""

    trust: Trust
    loads: int = 0
    version: int = 0

    async def reload(self) -> None:
        self.loads += 1
        self.version = self.trust.load().directory.provinces["42"].payload.version


def watching(homes: Homes) -> tuple[Node, TrustWatch]:
    node = Node(trust_of(homes, WUHAN))
    node.trust.load()
    return node, TrustWatch(None, node.trust, node.reload)  # type: ignore[arg-type]


def test_files_are_read_again_when_they_change_and_only_then(homes: Homes) -> None:
    node, watch = watching(homes)
    asyncio.run(watch.look())
    assert node.loads == 0
    homes.publish(version=2)
    asyncio.run(watch.look())
    asyncio.run(watch.look())
    assert (node.loads, node.version) == (1, 2)


def test_a_freshness_statement_alone_is_enough(homes: Homes) -> None:
    node, watch = watching(homes)
    homes.refresh()
    asyncio.run(watch.look())
    assert node.loads == 1


def test_what_is_refused_is_said_once_until_it_changes(homes: Homes) -> None:
    node, watch = watching(homes)
    homes.publish(version=2, nodes=(XIANGYANG,))
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            asyncio.run(watch.look())
    assert [row["log_level"] for row in logged] == ["error"]
    homes.publish(version=3)
    asyncio.run(watch.look())
    assert node.version == 3


def test_half_a_set_is_tried_again_until_it_is_whole(homes: Homes) -> None:
    node, watch = watching(homes)
    path = homes.folder / "directories" / "directory.json"
    old = path.read_bytes()
    homes.publish(version=2)
    new = path.read_bytes()
    path.write_bytes(old)
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            asyncio.run(watch.look())
    assert [row["log_level"] for row in logged if "not decided" in row["event"]] == ["warning"]
    assert node.loads == 3
    path.write_bytes(new)
    asyncio.run(watch.look())
    assert node.version == 2
