from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from node.log.reading import LogReader, newest_head, proofs_for
from protocol.errors import RefusedError, UnavailableError
from protocol.reasons import Reason
from signing.log import LeafType
from signing.merkle import leaf_hash, root_from_inclusion, verify_consistency
from signing.suites import Suite
from signing.tiles import TILE_WIDTH
from tests.log_kit import digest_of, grow_log, leaf_of, reader_of, tamper, tree_of, wait_with
from tests.sim.federation import WUHAN
from tests.sim.peers import Stage, play

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from tests.trees import Recursive

SUITE = Suite.ED25519
LARGE = 100_000
OWN = 2  # birth and start come before the numbered leaves


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Any]:
    """Ask something of a log of 100,000 leaves."""
    folder = tmp_path_factory.mktemp("large")

    async def build(stage: Stage) -> None:
        await grow_log(stage.node(WUHAN), 0, LARGE - OWN, commit=4096)

    play(folder, build)

    def ask(question: Callable[[Connection], Any]) -> Any:
        answers: list[Any] = []

        async def scene(stage: Stage) -> None:
            answers.append(await stage.node(WUHAN).read(question))

        play(folder, scene)
        return answers[0]

    return ask


@pytest.fixture(scope="module")
def tree(large: Any) -> Recursive:
    return large(tree_of)  # type: ignore[no-any-return]


@pytest.mark.spec("LG-12")
def test_inclusion_proofs_are_those_of_the_definition_and_cost_a_few_rows(
    large: Any, tree: Recursive
) -> None:
    dice = random.Random(1)
    asked = [(0, 1), (0, LARGE), (LARGE - 1, LARGE), (255, 256), (256, 257), (65_535, 65_537)]
    sizes = [dice.randint(1, LARGE) for _ in range(40)]
    asked += [(dice.randrange(size), size) for size in sizes for _ in range(5)]

    def prove(connection: Connection) -> list[tuple[tuple[bytes, ...], int]]:
        found = []
        for index, size in asked:
            reader = reader_of(connection)
            found.append((reader.inclusion(index, size), reader.rows_read))
        return found

    for (index, size), (path, rows) in zip(asked, large(prove), strict=True):
        assert list(path) == tree.path(index, 0, size)
        leaf = leaf_hash(SUITE, tree.leaves[index])
        assert root_from_inclusion(SUITE, leaf, index, size, path) == tree.root(size)
        assert rows <= 5


@pytest.mark.spec("LG-12")
def test_consistency_proofs_are_those_of_the_definition_and_cost_a_few_rows(
    large: Any, tree: Recursive
) -> None:
    dice = random.Random(2)
    asked = [(1, LARGE), (LARGE, LARGE), (65_536, LARGE), (99_840, LARGE), (1, 2)]
    asked += [(low, high) for low, high in (sorted(dice.sample(range(1, LARGE), 2)) for _ in
              range(200))]  # fmt: skip

    def prove(connection: Connection) -> list[tuple[tuple[bytes, ...], int]]:
        found = []
        for first, size in asked:
            reader = reader_of(connection)
            found.append((reader.consistency(first, size), reader.rows_read))
        return found

    for (first, size), (path, rows) in zip(asked, large(prove), strict=True):
        assert list(path) == tree.proof(first, size)
        assert verify_consistency(SUITE, first, size, tree.root(first), tree.root(size), path)
        assert rows <= 8


@pytest.mark.spec("LG-12")
def test_a_digest_leads_to_its_leaf_by_a_few_rows(large: Any) -> None:
    """At the edges of runs, in both tiers, and among those that no run covers yet."""
    places = [2, 4095, 4096, 65_535, 65_536, 65_537, 69_999, 98_303, 98_304, 99_999]
    places += random.Random(3).sample(range(OWN, LARGE), 100)

    def look(connection: Connection) -> list[tuple[list[int], int]]:
        found = []
        for place in places:
            reader = reader_of(connection)
            known = [index for index, _ in reader.find(digest_of(place - OWN))]
            found.append((known, reader.rows_read))
        return found

    for place, (found, rows) in zip(places, large(look), strict=True):
        assert found == [place]
        # Bundles that no run covers, runs of the small tier, of the large one, the leaf itself.
        assert rows <= 4096 // TILE_WIDTH + 65_536 // 4096 + 1 + LARGE // 65_536


def test_what_was_never_logged_is_not_found(large: Any) -> None:
    def look(connection: Connection) -> None:
        with pytest.raises(RefusedError) as caught:
            proofs_for(connection, digest_of(-1))
        assert caught.value.reason is Reason.LEAF_UNKNOWN

    large(look)


@pytest.mark.spec("LG-12")
def test_a_proof_names_leaf_place_path_and_head(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await grow_log(node, 0, 600)
        early = await node.read(newest_head)
        await grow_log(node, 600, 900)
        (proof,) = await node.read(lambda connection: proofs_for(connection, digest_of(77)))
        assert (proof.leaf, proof.index) == (leaf_of(77), 79)
        head = proof.head.signed.head
        leaf = leaf_hash(SUITE, proof.leaf.octets)
        assert head.size == 903 - 1
        assert root_from_inclusion(SUITE, leaf, 79, head.size, proof.path) == head.root
        # Under an earlier head it is another path; what came later is not under it.
        (under,) = await node.read(lambda connection: proofs_for(connection, digest_of(77), early))
        assert early is not None
        root = early.signed.head.root
        assert root_from_inclusion(SUITE, leaf, 79, early.size, under.path) == root
        with pytest.raises(UnavailableError):
            await node.read(lambda connection: proofs_for(connection, digest_of(700), early))

    play(tmp_path, scene)


def test_one_digest_may_stand_in_several_leaves(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await grow_log(node, 0, 9000)
        await grow_log(node, 5, 6)
        proofs = await node.read(lambda connection: proofs_for(connection, digest_of(5)))
        assert [proof.index for proof in proofs] == [7, 9002]
        assert {proof.leaf.type for proof in proofs} == {LeafType.RECEIPT_ISSUED}

    play(tmp_path, scene)


@pytest.mark.spec("LG-4")
def test_what_waits_is_said_to_wait(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await wait_with(node, 1, 2, 3)
        with pytest.raises(UnavailableError) as caught:
            await node.read(lambda connection: proofs_for(connection, digest_of(2)))
        assert caught.value.reason is Reason.LOG_PENDING

    play(tmp_path, scene)


def test_a_leaf_that_only_looks_like_it_is_not_taken_for_it(tmp_path: Path) -> None:
    """The runs hold eight octets of each digest; the leaf itself decides."""

    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await grow_log(node, 0, 5000)
        alike = digest_of(7)[:8] + bytes(24)

        def look(connection: Connection) -> None:
            assert reader_of(connection).find(alike) == []

        await node.read(look)

    play(tmp_path, scene)


@pytest.mark.spec("LG-14")
def test_what_is_gone_from_the_store_is_said(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await grow_log(node, 0, 600)
        tamper(tmp_path / f"{WUHAN}.db", "DELETE FROM log_entry WHERE number = 1")

        def look(connection: Connection) -> None:
            reader: LogReader = reader_of(connection)
            assert reader.leaf(5).type is LeafType.RECEIPT_ISSUED
            with pytest.raises(RefusedError) as caught:
                reader.leaf(300)
            assert caught.value.reason is Reason.LOG_BROKEN

        await node.read(look)

    play(tmp_path, scene)
