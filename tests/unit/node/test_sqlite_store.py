from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from sqlalchemy import Connection

from node.config import StoreSection
from node.keystore import FileKeyStore
from node.ports import Decision, Delete, Insert, Unit, Update
from node.store import schema
from node.store import sqlite as sqlite_store
from node.store.engine import Done, Failed, Outcome, StoreEngine
from node.store.opening import open_database
from node.store.sqlite import SqliteDatabase
from node.store.stores import InlineStore, ThreadedStore
from protocol.errors import LocalUseError, RefusedError, UnavailableError
from protocol.proof import Batched, Single
from protocol.reasons import Reason
from signing.keys import KeyUse
from tests.store_kit import (
    NODE,
    answer,
    deciding,
    engine_at,
    key_store,
    on_disk,
    peer,
    peers,
    raising,
    signing,
    unit,
    writer_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
    from pathlib import Path

    from signing.keys import SigningRequest

WAIT_S = 30  # for what happens at once, or never


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


@pytest.fixture
def engine(path: Path) -> Iterator[StoreEngine]:
    with closing(engine_at(path, busy_ms=10)) as engine:
        yield engine


def statements(engine: StoreEngine, seen: Callable[[str], None]) -> None:
    """Call this with every statement the writer starts."""
    driver = writer_of(engine).connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.set_trace_callback(seen)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, WAIT_S))


class Gate:
    """A unit of work that holds the writer until it is told to go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def unit(self) -> Unit[Any]:
        def decide(_: Connection) -> Decision[str]:
            self.entered.set()
            assert self.go_on.wait(WAIT_S)
            return Decision(lambda _: ((), "gate"))

        return deciding(decide)


@asynccontextmanager
async def held(engine: StoreEngine, **limits: int) -> AsyncIterator[tuple[ThreadedStore, Gate]]:
    """A store whose writer is busy, and what it is busy with."""
    store, gate = ThreadedStore(engine, **limits), Gate()
    first = asyncio.create_task(store.run(gate.unit()))
    await asyncio.to_thread(gate.entered.wait, WAIT_S)
    try:
        yield store, gate
    finally:
        gate.go_on.set()
        assert await first == "gate"
        await store.close()


# --- the group


def test_a_group_is_one_transaction_without_savepoints(engine: StoreEngine) -> None:
    seen: list[str] = []
    statements(engine, seen.append)
    outcomes = engine.run_group([unit(peer(str(number)), result=number) for number in range(50)])
    assert outcomes == [Done(number) for number in range(50)]
    verbs = [statement.split()[0] for statement in seen]
    assert (verbs.count("BEGIN"), verbs.count("INSERT"), verbs.count("COMMIT")) == (1, 50, 1)
    assert "SAVEPOINT" not in verbs
    assert "BEGIN IMMEDIATE" in seen


@pytest.mark.spec("BP-7")
def test_what_waits_together_is_signed_once_and_what_waits_alone_at_once(path: Path) -> None:
    sizes: list[int] = []

    class Counting(FileKeyStore):
        def sign(self, requests: Sequence[SigningRequest]) -> list[bytes]:
            sizes.append(len(requests))
            return super().sign(requests)

    key_store(path.parent / "keys")
    keys = Counting(path.parent / "keys")
    key_id = keys.find(KeyUse.RECEIPT, NODE)
    with closing(StoreEngine(SqliteDatabase(path), keys)) as engine:
        group = [signing(key_id, b"1", b"2"), unit(), signing(key_id, b"3")]
        together = engine.run_group(group)
        engine.run_group([unit()])
        (alone,) = engine.run_group([signing(key_id, b"4")])
    assert sizes == [1, 1]
    found = [outcome.value for outcome in together if isinstance(outcome, Done)]
    assert [[type(proof) for proof in proofs or ()] for proofs in found] == [
        [Batched, Batched],
        [],
        [Batched],
    ]
    assert isinstance(alone, Done)
    assert [type(proof) for proof in alone.value] == [Single]


def test_a_poisoned_group_is_run_again_one_by_one(engine: StoreEngine, path: Path) -> None:
    decided: list[int] = []

    def counted(number: int) -> Unit[int]:
        def decide(_: Connection) -> Decision[int]:
            decided.append(number)
            return Decision(lambda _: ((peer(str(number)),), number))

        return Unit(decide)

    poison = unit(peer("p"), peer("p"))
    outcomes = engine.run_group([counted(0), poison, counted(1), poison, counted(2)])
    assert [outcome.value for outcome in outcomes if isinstance(outcome, Done)] == [0, 1, 2]
    errors = [outcome.error for outcome in outcomes if isinstance(outcome, Failed)]
    assert [type(error) for error in errors] == [LocalUseError] * 2
    assert errors[0] is not errors[1]
    assert decided == [0, 1, 2, 0, 1, 2]
    assert on_disk(path, "SELECT node FROM peer ORDER BY 1") == [("0",), ("1",), ("2",)]


def test_a_refused_unit_does_not_make_the_others_run_again(engine: StoreEngine) -> None:
    seen: list[str] = []
    statements(engine, seen.append)
    refused = RefusedError(Reason.WRONG_STATE)
    outcomes = engine.run_group([unit(peer("a")), raising(refused), unit(peer("b"))])
    assert outcomes == [Done(None), Failed(refused), Done(None)]
    assert seen.count("COMMIT") == 1
    assert "ROLLBACK" not in seen


def test_one_missing_row_among_many_updates_is_found(engine: StoreEngine, path: Path) -> None:
    engine.run_group([unit(peer("a"), peer("b"))])
    updates = [unit(Update(schema.peer, {"node": node}, {"failures": 1})) for node in "axb"]
    outcomes = engine.run_group(updates)
    assert [type(outcome) for outcome in outcomes] == [Done, Failed, Done]
    assert on_disk(path, "SELECT node, failures FROM peer ORDER BY 1") == [("a", 1), ("b", 1)]


def test_a_stop_in_the_middle_leaves_nothing(engine: StoreEngine, path: Path) -> None:
    def stop(_: Connection) -> Decision[None]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.run_group([unit(peer("a")), deciding(stop)])
    assert on_disk(path, "SELECT * FROM peer") == []
    on_disk(path, "BEGIN IMMEDIATE")  # nor does it keep others from writing
    assert engine.run_group([unit(peer("b"))]) == [Done(None)]
    assert on_disk(path, "SELECT node FROM peer") == [("b",)]


@pytest.mark.parametrize(
    "ending",
    [Connection.commit, Connection.rollback, Connection.close, Connection.invalidate],
    ids=lambda method: str(method.__name__),
)
def test_a_unit_cannot_end_the_transaction(
    engine: StoreEngine, path: Path, ending: Callable[[Connection], None]
) -> None:
    def end(connection: Connection) -> Decision[None]:
        connection.exec_driver_sql("SELECT 1")
        ending(connection)
        return Decision(lambda _: ((peer("of the bad one"),), None))

    outcomes = engine.run_group([unit(peer("a")), deciding(end), unit(peer("b"))])
    assert [type(outcome) for outcome in outcomes] == [Done, Failed, Done]
    assert isinstance(outcomes[1], Failed)
    assert isinstance(outcomes[1].error, LocalUseError)
    assert on_disk(path, "SELECT node FROM peer ORDER BY 1") == [("a",), ("b",)]


# --- the file


def test_another_writer_delays_and_harms_nothing(engine: StoreEngine, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        outcomes = engine.run_group([unit(peer("a")), unit(peer("b"))])
        for outcome in outcomes:
            assert isinstance(outcome, Failed)
            assert isinstance(outcome.error, UnavailableError)
            assert outcome.error.reason is Reason.STORE_UNAVAILABLE
            assert "state.sqlite: database is locked" in str(outcome.error)
        other.execute("ROLLBACK")
    assert engine.run_group([unit(peer("a"))]) == [Done(None)]


def test_after_a_commit_in_doubt_the_log_is_folded_first(engine: StoreEngine, path: Path) -> None:
    engine.run_group([unit(peer("a"))])
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM peer").fetchall()
        database = engine._database
        assert isinstance(database, SqliteDatabase)
        database._log_in_doubt = True
        database._drop_writer()
        (outcome,) = engine.run_group([unit(peer("b"))])
        assert isinstance(outcome, Failed)
        assert "a reader holds up the recovery of the log" in str(outcome.error)
        reader.execute("ROLLBACK")
        assert engine.run_group([unit(peer("b"))]) == [Done(None)]
        assert [node for (node,) in on_disk(path, "SELECT node FROM peer")] == ["a", "b"]


def test_the_file_is_for_its_owner_only(engine: StoreEngine, path: Path) -> None:
    engine.run_group([unit(peer("a"))])
    files = list(path.parent.glob("state.sqlite*"))
    assert len(files) == 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_every_commit_waits_for_the_disk(engine: StoreEngine) -> None:
    assert writer_of(engine).exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_what_cannot_be_opened_is_named(path: Path) -> None:
    engine_at(path).close()
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(UnavailableError, match=r"state\.sqlite: file is not a database"):
        engine_at(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UnavailableError, match=r"state\.sqlite: "):
        engine_at(path)


def test_an_ordinary_close_leaves_one_file(engine: StoreEngine, path: Path) -> None:
    engine.run_group([unit(peer("a"))])
    engine.close()
    assert [file.name for file in path.parent.glob("state*")] == ["state.sqlite"]


def test_the_log_does_not_grow_for_ever(engine: StoreEngine, path: Path) -> None:
    async def main() -> None:
        store = InlineStore(engine)
        log = path.with_name("state.sqlite-wal")
        sizes: list[int] = []
        for step in range(40):
            await store.run(unit(*(answer(f"{step} {number}") for number in range(500))))
            sizes.append(log.stat().st_size)
        assert max(sizes[8:]) <= 3 * max(sizes[:8])

    run(main())


# --- without threads


def test_what_arrives_in_one_turn_of_the_loop_is_one_group(engine: StoreEngine) -> None:
    async def main() -> None:
        store = InlineStore(engine)
        seen: list[str] = []
        statements(engine, seen.append)
        units = [unit(peer(str(number)), result=number) for number in range(3)]
        clash = [unit(result="a", keys=["one"]), unit(result="b", keys=["one"])]
        found = await asyncio.gather(*map(store.run, [*units, *clash]))
        assert found == [0, 1, 2, "a", "b"]
        assert seen.count("COMMIT") == 2
        assert await store.run(unit(result="alone")) == "alone"
        assert seen.count("COMMIT") == 3

    run(main())


def test_closed_before_its_turn_nothing_is_written_and_nobody_waits_for_ever(
    engine: StoreEngine, path: Path
) -> None:
    async def main() -> None:
        store = InlineStore(engine)
        waiting = asyncio.ensure_future(store.run(unit(peer("a"))))
        gone = asyncio.ensure_future(store.run(unit(peer("b"))))
        await asyncio.sleep(0)
        gone.cancel()
        await store.close()
        with pytest.raises(UnavailableError):
            await waiting

    run(main())
    assert on_disk(path, "SELECT node FROM peer") == []


# --- the thread and its queue


@pytest.mark.spec("EX-8")
def test_a_result_leaves_only_after_the_commit(engine: StoreEngine) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        order: list[str] = []

        async def several_turns() -> None:
            for _ in range(10):
                await asyncio.sleep(0)

        def seen(statement: str) -> None:
            if statement == "COMMIT":
                # Whoever was answered before has his turn before this goes on.
                asyncio.run_coroutine_threadsafe(several_turns(), loop).result(WAIT_S)
                order.append("commit")

        store = ThreadedStore(engine)
        statements(engine, seen)
        order.append(await store.run(unit(peer("a"), result="answer")))
        await store.close()
        assert order == ["commit", "answer"]

    run(main())


def test_what_waits_is_the_next_group(engine: StoreEngine) -> None:
    async def main() -> None:
        seen: list[str] = []
        statements(engine, seen.append)
        async with held(engine, group_limit=20) as (store, gate):
            tasks = [
                asyncio.create_task(store.run(unit(peer(str(n)), result=n))) for n in range(50)
            ]
            await asyncio.sleep(0)
            gate.go_on.set()
            assert await asyncio.gather(*tasks) == list(range(50))
        assert seen.count("COMMIT") == 1 + 3

    run(main())


@pytest.mark.spec("TR-3")
def test_the_queue_is_bounded_and_opens_again(engine: StoreEngine) -> None:
    async def main() -> None:
        async with held(engine, queue_limit=3) as (store, gate):
            tasks = [asyncio.create_task(store.run(unit(result=number))) for number in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(UnavailableError) as caught:
                await store.run(unit())
            assert caught.value.reason is Reason.OVERLOADED
            gate.go_on.set()
            assert await asyncio.gather(*tasks) == [0, 1]
            assert await store.run(unit(result="again")) == "again"

    run(main())


def test_a_cancelled_caller_disturbs_nobody(engine: StoreEngine) -> None:
    async def main() -> None:
        async with held(engine, queue_limit=4) as (store, gate):
            nodes = ["a", "cancelled", "b"]
            tasks = [asyncio.create_task(store.run(unit(peer(n), result=n))) for n in nodes]
            await asyncio.sleep(0)
            tasks[1].cancel()
            gate.go_on.set()
            assert [await tasks[0], await tasks[2]] == ["a", "b"]
            assert tasks[1].cancelled()
            assert await store.read(peers) == {"a", "b", "cancelled"}
            assert store._unanswered == 0

    run(main())


def test_close_finishes_what_waits_and_takes_nothing_more(engine: StoreEngine, path: Path) -> None:
    async def main() -> None:
        async with held(engine) as (store, gate):
            # They share a key, so they are nine groups.
            units = [unit(peer(str(n)), result=n, keys=["case"]) for n in range(9)]
            tasks = [asyncio.create_task(store.run(each)) for each in units]
            await asyncio.sleep(0)
            closing_ = asyncio.create_task(store.close())
            await asyncio.sleep(0)
            for late in (store.run(unit()), store.read(peers)):
                with pytest.raises(UnavailableError, match="stopping"):
                    await late
            gate.go_on.set()
            assert await asyncio.gather(*tasks) == list(range(9))
            await closing_

    run(main())
    assert len(on_disk(path, "SELECT * FROM peer")) == 9


def test_reads_go_on_while_the_writer_is_busy(engine: StoreEngine) -> None:
    async def main() -> None:
        async with held(engine) as (store, _):
            assert await store.read(peers) == set()

    run(main())


def test_even_a_broken_engine_leaves_nobody_waiting(path: Path) -> None:
    class Broken(StoreEngine):
        def run_group(self, units: Sequence[Unit[Any]]) -> list[Outcome]:
            raise RuntimeError(len(units))

    async def main() -> None:
        store = ThreadedStore(Broken(SqliteDatabase(path), key_store(path.parent / "keys")))
        for _ in range(2):
            with pytest.raises(RuntimeError):
                await store.run(unit())
        await store.close()

    run(main())


# --- a damaged file


def spoil(path: Path, page: int, octets: bytes) -> None:
    """Overwrite the beginning of a page."""
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(octets)


def filled(path: Path) -> StoreSection:
    with closing(engine_at(path)) as engine:
        engine.run_group([unit(*(peer(str(number)) for number in range(400)))])
    return StoreSection(path=path)


@pytest.mark.parametrize("page", [1, 2, 20])
def test_a_damaged_file_stops_the_start_and_says_what_to_do(path: Path, page: int) -> None:
    section = filled(path)
    open_database(section).close()
    spoil(path, page, b"\xff" * 2048)
    with pytest.raises(UnavailableError, match=r"damaged.*backup") as caught:
        open_database(section)
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert path.name in caught.value.detail


def test_a_file_cut_short_stops_the_start(path: Path) -> None:
    section = filled(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(UnavailableError, match="damaged"):
        open_database(section)


def test_a_large_file_is_looked_at_as_far_as_time_allows(path: Path) -> None:
    filled(path)
    with closing(SqliteDatabase(path)) as database:
        database.check(60)
        with structlog.testing.capture_logs() as logged:
            database.check(-1)
        assert [line["event"] for line in logged] == ["store looked at in part: it is large"]


# --- deleted octets


def test_deleted_octets_stand_neither_in_the_file_nor_in_its_log(path: Path) -> None:
    def marked(number: int) -> bytes:
        return f"<{number:06}>".encode() * (number * 37 % 9000 // 8 + 1)

    def row(number: int) -> dict[str, object]:
        return {
            "authority": "A", "message_id": f"{number * 7919 % 100_003:06}", "role": "in",
            "part_id": "body", "octets": marked(number), "blob": None, "size": 1,
        }  # fmt: skip

    key = ("authority", "message_id", "role", "part_id")
    with closing(engine_at(path)) as engine:
        for start in range(0, 800, 100):
            rows = [Insert(schema.part, row(number)) for number in range(start, start + 100)]
            (outcome,) = engine.run_group([unit(*rows)])
            assert isinstance(outcome, Done)
            engine.fold()
        gone = range(0, 800, 3)
        keys = [{name: row(number)[name] for name in key} for number in gone]
        (outcome,) = engine.run_group([unit(*(Delete(schema.part, one) for one in keys))])
        assert isinstance(outcome, Done)
        assert b"<000003>" in path.with_name(f"{path.name}-wal").read_bytes() + path.read_bytes()
        engine.forget()
        held = b"".join(one.read_bytes() for one in path.parent.glob(f"{path.name}*"))
        found = {int(mark) for mark in re.findall(rb"<(\d{6})>", held)}
        assert found == set(range(800)) - set(gone)


def test_forgetting_waits_for_who_still_reads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "_FORGET_TRIES", 1)
    with closing(engine_at(path)) as engine:
        engine.run_group([unit(peer("1"))])
        engine.read(lambda _: engine.run_group([unit(peer("2"))]))

        def forgetting(connection: Connection) -> None:
            peers(connection)
            engine.run_group([unit(peer("3"))])
            engine.forget()

        with pytest.raises(UnavailableError, match="still read"):
            engine.read(forgetting)
        engine.forget()
