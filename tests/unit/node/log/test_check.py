from __future__ import annotations

import asyncio
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from node.log.check import CheckStep, check_log
from protocol.frames import HeldFrame, write_frames
from protocol.proof import Single
from signing.keys import KeyStoreError, KeyUse, SigningRequest
from signing.log import (
    Head,
    Leaf,
    LeafType,
    LogDigest,
    head_signed_octets,
    write_head,
)
from tests.log_kit import grow_log, leaf_of, tamper
from tests.sim.federation import HUB, WUHAN
from tests.sim.keyring import Keyring
from tests.sim.peers import SAMPLE, DrivenNode, Stage, play

if TYPE_CHECKING:
    from signing.suites import PublicKey

LEAVES = 9000


async def checked(node: DrivenNode) -> list[CheckStep]:
    return await node.read(partial(check_log, keys=SAMPLE.keyrings[node.node_id]))


async def wrong(node: DrivenNode) -> dict[str, list[str]]:
    return {step.name: step.problems for step in await checked(node) if step.count}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of 武汉 with a log of some size, and messages its hub has answered for."""
    folder = tmp_path_factory.mktemp("filled")

    async def scene(stage: Stage) -> None:
        wuhan, hub = stage.node(WUHAN), stage.node(HUB)
        wuhan.reaches(hub)
        await wuhan.run()
        for _ in range(3):
            await wuhan.ping(HUB)
            await asyncio.sleep(61)
        await grow_log(wuhan, 0, LEAVES)

    play(folder, scene)
    return folder / f"{WUHAN}.db"


@pytest.mark.spec("LG-14")
def test_an_honest_log_holds(filled: Path, tmp_path: Path) -> None:
    shutil.copy(filled, tmp_path)

    async def scene(stage: Stage) -> None:
        steps = await checked(stage.node(WUHAN))
        assert [(step.number, step.name, step.count) for step in steps] == [
            (1, "birth", 0), (2, "leaves", 0), (3, "tree", 0), (4, "heads", 0),
            (5, "places", 0), (6, "records", 0), (7, "peers", 0),
        ]  # fmt: skip
        looked = {step.name: step.looked_at for step in steps}
        assert looked["leaves"] > LEAVES
        assert looked["tree"] == LEAVES // 256 + 2
        assert looked["places"] == 2 * 16
        assert looked["records"] == 6
        assert looked["peers"] == 1
        assert looked["heads"] >= 2

    play(tmp_path, scene)


FORGED = Leaf(LeafType.RECEIPT_ISSUED, 5, bytes(range(32))).octets
DAMAGE = {
    "a leaf changed": (
        "UPDATE log_entry SET leaves = CAST(? || substr(leaves, 42) AS BLOB) WHERE number = 3",
        (FORGED,),
        {"tree", "places"},
    ),
    "a leaf of no type": (
        "UPDATE log_entry SET leaves = CAST(x'ff' || substr(leaves, 2) AS BLOB) WHERE number = 3",
        (),
        {"leaves", "tree"},
    ),
    "a leaf added": (
        "UPDATE log_entry SET leaves = CAST(leaves || ? AS BLOB) WHERE number = 35",
        (leaf_of(7).octets,),
        {"leaves", "tree"},
    ),
    "a leaf cut off": (
        "UPDATE log_entry SET leaves = substr(leaves, 1, length(leaves) - 41) WHERE number = 35",
        (),
        {"leaves", "tree"},
    ),
    "leaves gone": (
        "DELETE FROM log_entry WHERE number = 20",
        (),
        {"leaves", "tree", "places"},
    ),
    "leaves beyond the end": (
        "INSERT INTO log_entry VALUES (36, ?)",
        (leaf_of(0).octets,),
        {"leaves"},
    ),
    "an inner node changed": (
        "UPDATE log_tile SET hashes = zeroblob(length(hashes)) WHERE level = 1",
        (),
        {"tree", "heads"},
    ),
    "a tile too many": (
        "INSERT INTO log_tile VALUES (4, 0, 1, zeroblob(32))",
        (),
        {"tree"},
    ),
    "another birth": ("UPDATE log_birth SET instant_ms = 1", (), {"birth"}),
    "a head of another root": (
        "UPDATE log_head SET size = size - 1, incarnation = 1 WHERE kept = 0",
        (),
        {"heads"},
    ),
    "a run emptied": (
        "UPDATE log_run SET places = x'' WHERE tier = 1 AND bucket = 7 AND number = 1",
        (),
        {"places"},
    ),
    "a run too many": (
        "INSERT INTO log_run VALUES (2, 0, 0, x'')",
        (),
        {"places"},
    ),
    "a message nobody logged": (
        "UPDATE message SET message_digest = zeroblob(32) WHERE role = 'out'",
        (),
        {"records"},
    ),
}


@pytest.mark.spec("LG-14")
@pytest.mark.parametrize("which", DAMAGE)
def test_damage_is_found_where_it_is(filled: Path, tmp_path: Path, which: str) -> None:
    sql, values, where = DAMAGE[which]
    tamper(Path(shutil.copy(filled, tmp_path)), sql, *values)

    async def scene(stage: Stage) -> None:
        found = await wrong(stage.node(WUHAN))
        assert set(found) == where, found
        assert all(problems for problems in found.values())

    play(tmp_path, scene)


@pytest.mark.spec("LG-13")
def test_a_head_that_peers_hold_and_the_log_does_not_have_is_found(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await grow_log(node, 0, 10)
        keys = SAMPLE.keyrings[WUHAN]
        key = keys.public(keys.find(KeyUse.HEAD, WUHAN))
        head = Head(
            WUHAN, LogDigest.SHA_256, 1, 500, bytes(32), 1, bytes(32), key.suite, key.key_id
        )
        request = SigningRequest(key.key_id, head_signed_octets(head))
        octets = write_head(head, Single(keys.sign([request])[0]))
        await node.engine.exchange(HUB, write_frames([HeldFrame(octets)]))
        found = await wrong(node)
        assert found == {
            "peers": [
                f"{HUB} holds a head of 500 that is not of this log",
                f"alarm about {WUHAN}: lost",
            ]
        }

    play(tmp_path, scene)


def test_heads_of_somebody_else_s_key_are_found(tmp_path: Path) -> None:
    class Others(Keyring):
        def public(self, key_id: str) -> PublicKey:
            message = f"no key {key_id}"
            raise KeyStoreError(message)

    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await grow_log(node, 0, 10)
        steps = await node.read(partial(check_log, keys=Others()))
        assert "no key of this node" in steps[3].problems[0]

    play(tmp_path, scene)


def test_a_store_without_a_log_is_said_to_have_none(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        (step,) = await checked(stage.node(WUHAN))
        assert step.problems == ["no log has begun in this store"]

    play(tmp_path, scene)


def test_many_problems_are_counted_and_some_are_told(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await grow_log(node, 0, 200)
        tamper(tmp_path / f"{WUHAN}.db", "UPDATE log_entry SET leaves = zeroblob(length(leaves))")
        leaves = (await checked(node))[1]
        assert (leaves.count, len(leaves.problems)) == (202, 20)

    play(tmp_path, scene)
