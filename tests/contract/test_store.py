from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from node.ports import Decision, Insert, Row, Store, Unit, Update, Upsert
from node.store import schema
from node.store.engine import StoreEngine
from node.store.postgres import PostgresDatabase
from node.store.sqlite import SqliteDatabase
from node.store.stores import InlineStore, ThreadedStore
from protocol.errors import LocalUseError, RefusedError, UnavailableError
from protocol.reasons import Reason
from signing.batch import Checking, verify_proof
from signing.keys import KeyStoreError, KeyUse
from tests.postgres import VERSIONS
from tests.store_kit import (
    NODE,
    answer,
    counted,
    deciding,
    gone,
    key_store,
    peer,
    peers,
    raising,
    signing,
    unit,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from node.store.database import Database
    from protocol.proof import Proof
    from signing.keys import KeyStore
    from tests.postgres import Servers


class Place:
    """Where a kind of store keeps its state; opened again, it is the same state."""

    def __init__(self, kind: str, keys: KeyStore, database: Callable[[], Database]) -> None:
        self.keys = keys
        self._kind = kind
        self._database = database

    def use(self, scenario: Callable[[Store], Awaitable[None]]) -> None:
        """Open the store, run this on it, close it."""

        async def main() -> None:
            async with self._opened() as store:
                await scenario(store)

        asyncio.run(main())

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Store]:
        engine = StoreEngine(self._database(), self.keys)
        store = InlineStore(engine) if self._kind == "inline" else ThreadedStore(engine)
        try:
            yield store
        finally:
            await store.close()


@pytest.fixture(params=["sqlite", "inline", *VERSIONS])
def place(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Place:
    kind, keys = request.param, key_store(tmp_path / "keys")
    if kind not in VERSIONS:
        return Place(kind, keys, partial(SqliteDatabase, tmp_path / "state.sqlite"))
    address = servers.of(kind).emptied()
    return Place(kind, keys, partial(PostgresDatabase, address, durable=False))


async def together(store: Store, *units: Any) -> list[Any]:
    """Run units at the same time; what each returned or raised."""
    return await asyncio.gather(*map(store.run, units), return_exceptions=True)


def rows_of(node: str) -> Callable[[Connection], list[tuple[Any, ...]]]:
    """A query: the peer row of this node."""
    query = schema.peer.select().where(schema.peer.c.node == node)
    return lambda connection: [tuple(row) for row in connection.execute(query)]


def test_what_run_returned_is_there_after_reopening(place: Place) -> None:
    async def write(store: Store) -> None:
        for number in range(3):
            rows = peer(f"42010{number}"), answer(f"key {number}")
            assert await store.run(unit(*rows, result=number)) == number

    async def look(store: Store) -> None:
        assert await store.read(peers) == {"420100", "420101", "420102"}
        assert await store.read(lambda c: c.scalar(text("SELECT count(*) FROM idempotency"))) == 3

    place.use(write)
    place.use(look)


def test_a_result_comes_when_everyone_can_see_the_rows(place: Place) -> None:
    async def scenario(store: Store) -> None:
        for number in range(20):
            await store.run(unit(peer(str(number))))
            assert str(number) in await store.read(peers)

    place.use(scenario)


def test_operations(place: Place) -> None:
    old = peer("420100", heard_ms=5, trouble="away")
    key = {"node": "420100"}
    cases: list[tuple[Row, list[tuple[Any, ...]]]] = [
        (Update(schema.peer, key, {"failures": 3}), [("420100", 3, 0, 5, "away")]),
        (Update(schema.peer, key, {"trouble": None}), [("420100", 0, 0, 5, None)]),
        (Upsert(schema.peer, dict(old.values) | {"retry_ms": 9}), [("420100", 0, 9, 5, "away")]),
        # written whole: what it does not name is empty afterwards
        (
            Upsert(schema.peer, {**key, "failures": 1, "retry_ms": 2}),
            [("420100", 1, 2, None, None)],
        ),
        (gone("420100"), []),
        (gone("nobody"), [("420100", 0, 0, 5, "away")]),
    ]

    async def scenario(store: Store) -> None:
        for row, expected in cases:
            await store.run(unit(gone("420100"), old))
            await store.run(unit(row))
            assert await store.read(rows_of("420100")) == expected, row
        await store.run(unit(Upsert(schema.peer, {"node": "new", "failures": 0, "retry_ms": 0})))
        assert await store.read(rows_of("new")) == [("new", 0, 0, None, None)]

    place.use(scenario)


def test_rows_of_one_key_are_written_in_the_order_given(place: Place) -> None:
    async def scenario(store: Store) -> None:
        await store.run(
            unit(
                gone("a"),
                peer("a"),
                peer("b"),
                Update(schema.peer, {"node": "a"}, {"failures": 1}),
                gone("a"),
                gone("b"),
                peer("b", failures=2),
                peer("a", failures=3),
                Update(schema.peer, {"node": "a"}, {"retry_ms": 4}),
            )
        )
        assert await store.read(rows_of("a")) == [("a", 3, 4, None, None)]
        assert await store.read(rows_of("b")) == [("b", 2, 0, None, None)]

    place.use(scenario)


def test_octets_and_text_come_back_as_they_were(place: Place) -> None:
    values = {
        "client": "窗口", "key": "k", "request_digest": bytes(range(32)), "answer": "受理 ✓ \x01'",
        "recorded_ms": 2**53,
    }  # fmt: skip

    async def scenario(store: Store) -> None:
        await store.run(unit(Insert(schema.idempotency, values)))
        row = await store.read(lambda c: c.execute(schema.idempotency.select()).one())
        assert row._asdict() == values

    place.use(scenario)


def test_units_that_share_a_key_see_each_other_in_order(place: Place) -> None:
    async def scenario(store: Store) -> None:
        cases = [f"case {number % 7}" for number in range(210)]
        numbers = await together(store, *map(counted, cases))
        assert numbers == [1 + number // 7 for number in range(210)]

    place.use(scenario)


def bad_units() -> dict[str, tuple[Unit[Any], type[Exception]]]:
    """Units that cannot succeed, and what their callers get."""
    own = peer("of the bad one")
    return {
        "refuses": (raising(RefusedError(Reason.WRONG_STATE, "closed")), RefusedError),
        "has a bug": (raising(KeyError("a bug in the caller")), KeyError),
        "concludes badly": (deciding(lambda _: Decision(lambda _: ((), 1 / 0))), ZeroDivisionError),
        "inserts a row that is there": (unit(own, peer("there")), LocalUseError),
        "updates a row that is not": (
            unit(own, Update(schema.peer, {"node": "none"}, {"failures": 1})),
            LocalUseError,
        ),
        "leaves out a value": (unit(own, peer("odd", failures=None)), LocalUseError),
        "knows another column": (unit(own, peer("odd", colour="red")), LocalUseError),
        "has no key": (unit(own, Insert(schema.peer, {"failures": 1})), LocalUseError),
        "gives an object": (unit(own, peer("odd", trouble=object())), LocalUseError),
        "gives a huge number": (unit(own, peer("odd", retry_ms=2**70)), LocalUseError),
        "signs with a key nobody has": (signing("no such key", b"octets"), KeyStoreError),
        "asks nonsense": (deciding(lambda c: c.scalar(text("SELECT nonsense"))), LocalUseError),
        "writes": (deciding(lambda c: c.scalar(schema.peer.delete())), LocalUseError),
    }


@pytest.mark.parametrize("which", bad_units())
def test_a_bad_unit_fails_alone_and_whole(place: Place, which: str) -> None:
    bad, error = bad_units()[which]

    async def scenario(store: Store) -> None:
        await store.run(unit(peer("there", failures=7)))
        good = [unit(peer(str(number)), result=number) for number in range(20)]
        outcomes = await together(store, *good[:10], bad, *good[10:])
        assert isinstance(outcomes.pop(10), error)
        assert outcomes == list(range(20))
        assert await store.read(peers) == {"there", *map(str, range(20))}
        assert await store.read(rows_of("there")) == [("there", 7, 0, None, None)]

    place.use(scenario)


def test_errors_do_not_quote_what_was_to_be_written(place: Place) -> None:
    async def scenario(store: Store) -> None:
        await store.run(unit(peer("x", trouble="张三 420106199001011234")))
        bad = unit(peer("x", trouble="张三 420106199001011234"))
        with pytest.raises(LocalUseError, match="peer") as caught:
            await store.run(bad)
        error: BaseException | None = caught.value
        while error is not None:
            assert "张三" not in str(error)
            error = error.__cause__

    place.use(scenario)


def test_every_unit_gets_its_own_proofs_in_order(place: Place) -> None:
    key = place.keys.public(place.keys.find(KeyUse.RECEIPT, NODE))

    def proven(octets: bytes, proof: Proof) -> bool:
        return verify_proof(proof, octets, KeyUse.RECEIPT, key, 1, Checking())

    async def scenario(store: Store) -> None:
        texts = [[f"{number}.{part}".encode() for part in range(number % 3)] for number in range(9)]
        signed = await together(store, *(signing(key.key_id, *octets) for octets in texts))
        for octets, proofs in zip(texts, signed, strict=True):
            assert len(proofs) == len(octets)
            assert all(map(proven, octets, proofs))

    place.use(scenario)


def test_reads(place: Place) -> None:
    def refused(_: Connection) -> None:
        raise RefusedError(Reason.CASE_UNKNOWN)

    async def scenario(store: Store) -> None:
        await store.run(unit(peer("there")))
        with pytest.raises(RefusedError):
            await store.read(refused)
        for wrong in (text("SELECT nonsense"), schema.peer.delete()):
            with pytest.raises(LocalUseError):
                await store.read(lambda c, wrong=wrong: c.execute(wrong))  # type: ignore[misc]
        found = await asyncio.gather(*(store.read(peers) for _ in range(50)))
        assert found == [{"there"}] * 50

    place.use(scenario)


def test_a_read_is_one_moment(place: Place) -> None:
    async def scenario(store: Store) -> None:
        async def write() -> None:
            for number in range(60):
                await store.run(unit(peer(str(number)), answer(str(number))))

        def both(connection: Connection) -> tuple[int, int]:
            first = connection.scalar(text("SELECT count(*) FROM peer"))
            return int(first or 0), int(
                connection.scalar(text("SELECT count(*) FROM idempotency")) or 0
            )

        writing = asyncio.create_task(write())
        while not writing.done():
            first, second = await store.read(both)
            assert first == second
            await asyncio.sleep(0)
        await writing

    place.use(scenario)


def test_a_closed_store_takes_nothing(place: Place) -> None:
    kept: list[Store] = []

    async def scenario(store: Store) -> None:
        kept.append(store)

    async def after() -> None:
        for late in (kept[0].run(unit(peer("late"))), kept[0].read(peers)):
            with pytest.raises(UnavailableError) as caught:
                await late
            assert caught.value.reason is Reason.STORE_UNAVAILABLE

    async def look(store: Store) -> None:
        assert await store.read(peers) == set()

    place.use(scenario)
    asyncio.run(after())
    place.use(look)
