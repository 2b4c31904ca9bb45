"""The evidence log on every database a node may have."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from node.log.growth import LOG_LOCK, Moment, plan_step, step_unit
from node.log.reading import LogReader, newest_head, proofs_for
from node.ports import Leaves
from node.store.engine import Done, StoreEngine
from node.store.postgres import PostgresDatabase
from node.store.sqlite import SqliteDatabase
from signing.keys import KeyUse
from signing.log import Birth, LogDigest, read_head
from signing.merkle import leaf_hash, root_from_inclusion
from signing.suites import Suite
from tests.log_kit import digest_of, leaf_of, tree_of
from tests.postgres import VERSIONS
from tests.store_kit import NODE, key_store, unit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from node.ports import Unit
    from node.recovery.marker import LogMark
    from node.store.database import Database
    from tests.postgres import Servers

NEWBORN = Birth(NODE, LogDigest.SHA_256, 1, 0)


class Grown:
    """A log in a database, grown step by step as its sequencer does."""

    def __init__(self, engine: StoreEngine, keys: Any) -> None:
        self.engine = engine
        self.key = keys.public(keys.find(KeyUse.HEAD, NODE))

    def run(self, *units: Unit[Any]) -> list[Any]:
        outcomes = self.engine.run_group(units)
        assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes
        return [outcome.value for outcome in outcomes if isinstance(outcome, Done)]

    def wait_with(self, *numbers: int) -> Unit[Any]:
        return unit(Leaves(b"".join(leaf_of(number).octets for number in numbers)))

    def plan(self, now_ms: int = 1) -> Unit[LogMark | None]:
        moment = Moment(now_ms, b"", None)
        step = self.engine.read(lambda connection: plan_step(connection, NEWBORN, moment))
        assert step is not None
        return step_unit(step, moment, self.key)


@pytest.fixture(params=["sqlite", *VERSIONS])
def grown(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Iterator[Grown]:
    keys = key_store(tmp_path / "keys")
    keys.create_key(KeyUse.HEAD, NODE, Suite.ED25519, b"h" * 64, 1)
    database: Database
    if request.param == "sqlite":
        database = SqliteDatabase(tmp_path / "state.sqlite")
    else:
        database = PostgresDatabase(servers.of(request.param).emptied(), durable=False)
    with closing(StoreEngine(database, keys)) as engine:
        yield Grown(engine, keys)


@pytest.mark.spec("LG-3")
@pytest.mark.spec("LG-12")
def test_a_log_grows_and_proves(grown: Grown) -> None:
    for begin in range(0, 9000, 3000):
        grown.run(
            *(grown.wait_with(*range(at, at + 1000)) for at in range(begin, begin + 3000, 1000))
        )
        assert grown.run(grown.plan())[0] is not None
    head = grown.engine.read(newest_head)
    tree = grown.engine.read(tree_of)
    assert head is not None
    assert (head.size, read_head(head.octets).head.root) == (9001, tree.root(9001))
    for number in (0, 4094, 4095, 8999):
        (proof,) = grown.engine.read(lambda c, n=number: proofs_for(c, digest_of(n)))  # type: ignore[misc]
        assert proof.index == number + 1
        leaf = leaf_hash(Suite.P256, proof.leaf.octets)
        root = root_from_inclusion(Suite.P256, leaf, proof.index, 9001, proof.path)
        assert root == tree.root(9001)

    def growth(connection: Any) -> tuple[bytes, ...]:
        return LogReader(connection, LogDigest.SHA_256).consistency(3001, 9001)

    assert list(grown.engine.read(growth)) == tree.proof(3001, 9001)


def test_leaves_of_a_group_are_one_row_in_the_order_of_its_units(grown: Grown) -> None:
    grown.run(*(grown.wait_with(2 * number, 2 * number + 1) for number in range(20)))
    grown.run(grown.plan())
    leaves = grown.engine.read(tree_of).leaves
    assert leaves[1:] == [leaf_of(number).octets for number in range(40)]


def test_of_two_plans_of_one_step_one_is_written(grown: Grown) -> None:
    grown.run(grown.wait_with(*range(300)))
    one, other = grown.plan(), grown.plan()
    assert one.keys == {LOG_LOCK}
    assert grown.run(one) != [None]
    assert grown.run(other) == [None]
    assert len(grown.engine.read(tree_of).leaves) == 301
