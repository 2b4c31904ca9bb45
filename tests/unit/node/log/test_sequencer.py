from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from node.log.check import check_log
from node.log.growth import STEP_LEAVES, birth_row
from node.log.reading import find_birth, log_size, newest_head
from node.ports import Insert, Leaves, Update
from node.store import schema
from protocol.errors import RefusedError, UnavailableError
from protocol.limits import MERGE_DELAY_MS
from protocol.reasons import Reason
from routing.directory_views import write_view
from signing.keys import KeyStoreError, KeyUse
from signing.log import (
    DOMAIN,
    Birth,
    Break,
    LeafType,
    LogDigest,
    read_leaf,
    verify_head,
    view_digest,
)
from tests.log_kit import all_leaves, grow_log, leaf_of, tamper, tree_of, types_of, wait_with
from tests.sim.federation import WUHAN
from tests.sim.keyring import Keyring
from tests.sim.peers import SAMPLE, Stage, now_ms, play
from tests.store_kit import unit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from signing.keys import SigningRequest


def waiting(connection: Connection) -> int:
    return int(connection.scalar(select(func.count()).select_from(schema.log_wait)) or 0)


def heads(connection: Connection) -> int:
    return int(connection.scalar(select(func.count()).select_from(schema.log_head)) or 0)


@pytest.mark.spec("LG-3")
def test_a_log_begins_with_its_birth_and_the_start(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        assert await node.read(find_birth) is None
        assert await node.engine.log.drain()
        birth = await node.read(find_birth)
        assert birth is not None
        assert (birth.node, birth.digest, birth.incarnation) == (WUHAN, LogDigest.SHA_256, 1)
        first, second = map(read_leaf, await node.read(all_leaves))
        assert first == birth.leaf
        assert second.type is LeafType.START
        assert second.digest == view_digest(write_view(SAMPLE.directory.view()))
        assert not await node.engine.log.drain()

    play(tmp_path, scene)


@pytest.mark.spec("LG-4")
@pytest.mark.spec("LG-5")
def test_leaves_get_dense_places_in_the_order_of_commits_under_a_signed_head(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await node.engine.log.drain()
        for numbers in ((1, 2, 3), (4,), (5, 6)):
            await wait_with(node, *numbers)
        assert await node.read(waiting) == 3
        await node.engine.log.drain()
        assert await node.read(waiting) == 0
        leaves = await node.read(all_leaves)
        assert leaves[2:] == [leaf_of(number).octets for number in range(1, 7)]
        row = await node.read(newest_head)
        assert row is not None
        head = verify_head(row.octets, SAMPLE.directory.trust, WUHAN).head
        tree = await node.read(tree_of)
        assert (head.size, head.root) == (8, tree.root(8))
        assert (head.instant_ms, head.view) == (now_ms(), read_leaf(leaves[1]).digest)
        assert row.view == write_view(SAMPLE.directory.view())

    play(tmp_path, scene)


@pytest.mark.spec("LG-4")
def test_a_running_node_covers_every_leaf_within_the_merge_delay(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await node.run()
        await asyncio.sleep(3600)
        for number in range(50):
            await wait_with(node, number)
            await asyncio.sleep(0.01 * number)
        await asyncio.sleep(0.6 * MERGE_DELAY_MS / 1000)
        assert await node.read(waiting) == 0
        head = await node.read(newest_head)
        assert head is not None
        assert head.size == 52 == await node.read(log_size)

    play(tmp_path, scene)


@pytest.mark.spec("LG-4")
def test_no_head_is_signed_while_leaves_wait(tmp_path: Path) -> None:
    """A head says that nothing older waits any more."""

    class Counting(Keyring):
        heads = 0

        def sign(self, requests: Sequence[SigningRequest]) -> list[bytes]:
            self.heads += sum(request.octets.startswith(DOMAIN) for request in requests)
            return super().sign(requests)

    async def scene(stage: Stage) -> None:
        keys = Counting()
        keys.add(KeyUse.HEAD, WUHAN)
        node = stage.node(WUHAN, keys=keys)
        await grow_log(node, 0, 3 * STEP_LEAVES, commit=STEP_LEAVES)
        assert await node.read(log_size) == 2 + 3 * STEP_LEAVES
        assert keys.heads == 1

    play(tmp_path, scene)


def test_a_restart_goes_on_where_the_tiles_end(tmp_path: Path) -> None:
    """Nothing is recomputed, and nothing but the tiles is asked."""

    async def scene(stage: Stage) -> None:
        for life in range(4):
            node = stage.node(WUHAN)
            await grow_log(node, 700 * life, 700 * (life + 1))
            head = await node.read(newest_head)
            assert head is not None
            tree = await node.read(tree_of)
            assert head.signed.head.root == tree.root(head.size)
            assert head.size == 1 + 701 * (life + 1)
            await node.stop()

    play(tmp_path, scene)


def test_heads_nobody_saw_do_not_pile_up(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        for number in range(5):
            await grow_log(node, number, number + 1)
            assert await node.read(heads) == 1
        head = await node.read(newest_head)
        assert head is not None
        key = {"incarnation": 1, "size": head.size}
        await node.context.store.run(unit(Update(schema.log_head, key, {"kept": 1})))
        await grow_log(node, 5, 6)
        await grow_log(node, 6, 7)
        assert await node.read(heads) == 2

    play(tmp_path, scene)


def test_another_directory_is_logged_once(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await node.engine.log.drain()
        directory = node.context.federation.directory
        provinces = {"42": directory.provinces["42"]}
        node.context.federation = replace(
            node.context.federation, directory=replace(directory, provinces=provinces)
        )
        await node.engine.log.drain()
        await grow_log(node, 0, 1)
        assert await node.read(types_of) == [
            LeafType.BIRTH, LeafType.START, LeafType.DIRECTORY, LeafType.RECEIPT_ISSUED,
        ]  # fmt: skip

    play(tmp_path, scene)


def test_a_step_is_taken_once_whoever_else_plans_it(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        one, other = stage.node(WUHAN), stage.node(WUHAN)
        await one.engine.log.drain()
        await other.engine.log.drain()
        await wait_with(one, *range(10))
        await asyncio.gather(one.engine.log.drain(), other.engine.log.drain())
        leaves = await one.read(all_leaves)
        assert leaves[3:] == [leaf_of(number).octets for number in range(10)]

    play(tmp_path, scene)


def test_without_a_head_key_the_log_grows_and_says_what_is_missing(tmp_path: Path) -> None:
    class Headless(Keyring):
        def find(self, use: KeyUse, owner: str) -> str:
            if use is KeyUse.HEAD:
                message = "no head key"
                raise KeyStoreError(message)
            return super().find(use, owner)

    async def scene(stage: Stage) -> None:
        keys = Headless()
        keys.add(KeyUse.RECEIPT, WUHAN)
        node = stage.node(WUHAN, keys=keys)
        await grow_log(node, 0, 300)
        assert await node.read(log_size) == 302
        assert await node.read(newest_head) is None
        await node.run()
        await asyncio.sleep(2)
        assert "no head key" in (node.engine.log.trouble or "")

    play(tmp_path, scene)


@pytest.mark.spec("LG-14")
def test_a_damaged_log_does_not_grow(tmp_path: Path) -> None:
    """What is lost is said; nothing is built upon it."""

    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await grow_log(node, 0, 300)
        tamper(tmp_path / f"{WUHAN}.db", "DELETE FROM log_tile WHERE level = 1")
        await wait_with(node, 300)
        with pytest.raises(RefusedError) as caught:
            await node.engine.log.drain()
        assert caught.value.reason is Reason.LOG_BROKEN
        await node.run()
        await asyncio.sleep(60)
        assert "tile (1, 0) is gone" in (node.engine.log.trouble or "")
        assert await node.read(log_size) == 302

    play(tmp_path, scene)


def test_a_store_that_is_away_is_waited_for(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await node.engine.log.drain()
        await wait_with(node, 1)
        await node.stop()
        with pytest.raises(UnavailableError):
            await node.engine.log.drain()
        again = stage.node(WUHAN)
        await again.run()
        await asyncio.sleep(5)
        assert await again.read(log_size) == 4

    play(tmp_path, scene)


@pytest.mark.spec("LG-2")
def test_leaves_of_one_commit_are_one_row(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        peer = Insert(schema.peer, {"node": "a", "failures": 0, "retry_ms": 0})
        one, two, three = (Leaves(leaf_of(number).octets) for number in range(3))
        await node.context.store.run(unit(one, peer, two, three))
        assert await node.read(waiting) == 1

    play(tmp_path, scene)


@pytest.mark.spec("LG-17")
def test_a_log_that_goes_on_after_a_loss_says_so_in_a_leaf_and_in_every_head(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await grow_log(node, 0, 10)
        before = await node.read(newest_head)
        second = Birth(WUHAN, LogDigest.SHA_256, 2, now_ms())
        said = Break(WUHAN, 1, 2, 10, 12, bytes(32), now_ms(), ())
        values = {"node": WUHAN, "incarnation": 2, "seen_ms": 1, "fork": 10, "size": 12}
        values |= {"held": b"", "shown": b"", "record": said.octets}
        begun = said.leaf(LogDigest.SHA_256).octets + second.leaf.octets
        rows = birth_row(second), Insert(schema.log_break, values), Leaves(begun)
        await node.context.store.run(unit(*rows))
        await grow_log(node, 10, 20)
        after = await node.read(newest_head)
        assert before is not None
        assert after is not None
        assert (before.incarnation, after.incarnation) == (1, 2)
        assert after.size == before.size + 12
        assert (await node.read(types_of)).count(LeafType.RECOVERY) == 2
        keys = SAMPLE.keyrings[WUHAN]
        steps = await node.read(lambda connection: check_log(connection, keys))
        assert [step.count for step in steps] == [0] * 7
        changes = Update(schema.log_break, {"node": WUHAN, "incarnation": 2}, {"record": b"less"})
        await node.context.store.run(unit(changes))
        steps = await node.read(lambda connection: check_log(connection, keys))
        assert [step.count for step in steps] == [1, 0, 0, 0, 0, 0, 0]

    play(tmp_path, scene)
