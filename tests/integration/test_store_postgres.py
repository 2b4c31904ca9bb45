"""The store on PostgreSQL, where the contract is not enough: one writer, doubt, trouble."""

from __future__ import annotations

import asyncio
from contextlib import closing, contextmanager
from itertools import count
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest

from node.ports import Decision, Unit
from node.store.engine import Done, Failed, Outcome, StoreEngine
from node.store.merge import merge
from node.store.postgres import PostgresDatabase
from node.store.stores import ThreadedStore
from protocol.errors import UnavailableError
from protocol.reasons import Reason
from tests.messages import keys_of
from tests.postgres import Server
from tests.store_kit import answer, counted, peer, peers, unit
from tests.wire import wire_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from node.ports import Row
    from node.store.address import Address
    from tests.postgres import Servers
    from tests.wire import Cut

KEYS = keys_of([])
WAIT_S = 30


@pytest.fixture
def server(servers: Servers) -> Server:
    return servers.of("debian")


@pytest.fixture
def address(server: Server) -> Address:
    return server.emptied()


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A server to be ill-treated; it keeps what it acknowledges. Its log's segments are small."""
    server = Server("debian", "--wal-segsize=1", min_wal_size="2MB", max_wal_size="8MB")
    yield server
    server.remove()


@contextmanager
def opened(address: Address, **options: Any) -> Iterator[StoreEngine]:
    """An engine on this database."""
    options = {"durable": False, "busy_ms": 100} | options
    with closing(StoreEngine(PostgresDatabase(address, **options), KEYS)) as engine:
        yield engine


def database_of(engine: StoreEngine) -> PostgresDatabase:
    database = engine._database
    assert isinstance(database, PostgresDatabase)
    return database


def writer_pid(engine: StoreEngine) -> int:
    writer = database_of(engine)._writer
    assert writer is not None
    pid: int = writer.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
    return pid


def away(outcomes: list[Outcome], words: str) -> None:
    """All of them were answered: not now, for this reason."""
    for outcome in outcomes:
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, UnavailableError)
        assert outcome.error.reason is Reason.STORE_UNAVAILABLE
        assert words in str(outcome.error)


def until(condition: Callable[[], Any]) -> Any:
    """What a question to another process gives, once it gives something."""
    for _ in range(WAIT_S * 200):
        if found := condition():
            return found
        Event().wait(0.005)
    raise AssertionError("never")


def counting_unit(decided: list[str], row: Row) -> Unit[None]:
    """A unit that says when it decides."""

    def decide(_: Connection) -> Decision[None]:
        decided.append("once")
        return Decision(lambda _: ((row,), None))

    return Unit(decide)


# --- one writer


def test_a_second_process_is_told_who_writes(address: Address) -> None:
    with opened(address) as engine:
        words = rf"another process writes to it: tongban write .*, session {writer_pid(engine)} "
        with pytest.raises(UnavailableError, match=words):
            PostgresDatabase(address, durable=False, busy_ms=50)
        assert engine.run_group([unit(peer("a"))]) == [Done(None)]
    with opened(address) as engine:
        assert engine.read(peers) == {"a"}


def test_who_lost_the_place_writes_nothing_until_it_is_free_again(
    server: Server, address: Address
) -> None:
    with opened(address) as first:
        assert first.run_group([unit(peer("a"))]) == [Done(None)]
        server.admin("SELECT pg_terminate_backend(%s)", writer_pid(first))
        until(lambda: not _sessions(server, writer_pid(first)))
        with opened(address) as second:
            away(first.run_group([unit(peer("b")), unit(peer("c"))]), "another process writes")
            assert second.run_group([unit(peer("d"))]) == [Done(None)]
            assert first.read(peers) == {"a", "d"}
        assert first.run_group([unit(peer("e"))]) == [Done(None)]
        assert first.read(peers) == {"a", "d", "e"}


def _sessions(server: Server, pid: int) -> list[tuple[Any, ...]]:
    return list(server.admin("SELECT pid FROM pg_stat_activity WHERE pid = %s", pid))


def lose_the_lock(engine: StoreEngine) -> None:
    """As behind a pooler that gives a session to others: ours goes on, its lock does not."""
    writer = database_of(engine)._writer
    assert writer is not None
    writer.exec_driver_sql("SELECT pg_advisory_unlock_all()")


@pytest.mark.parametrize("rows", [(), (peer("b"),)], ids=["decides only", "writes"])
def test_a_stale_writer_is_fenced_off(address: Address, rows: tuple[Any, ...]) -> None:
    with opened(address) as first:
        lose_the_lock(first)
        with opened(address) as second:
            away(first.run_group([unit(*rows), unit()]), "another process has taken over writing")
            assert second.run_group([unit(peer("c"))]) == [Done(None)]
            assert second.read(peers) == {"c"}


def test_a_takeover_waits_for_a_commit_that_is_under_way(address: Address) -> None:
    with opened(address) as first:
        lose_the_lock(first)
        database = database_of(first)
        database.begin()
        database.write(merge([peer("a")]))
        with pytest.raises(UnavailableError, match="lock timeout"):
            PostgresDatabase(address, durable=False, busy_ms=50)
        database.commit()
        with opened(address) as second:
            assert second.read(peers) == {"a"}
            away(first.run_group([unit(peer("b"))]), "taken over")


# --- doubt


@pytest.mark.parametrize(("cut", "there"), [("before COMMIT", 0), ("before its answer", 1)])
def test_a_commit_without_an_answer_is_in_doubt_and_safe_to_repeat(
    address: Address, cut: Cut, there: int
) -> None:
    with wire_to(address) as wire, opened(wire.address) as engine:
        assert engine.run_group([counted("other")]) == [Done(1)]
        wire.cut = cut
        away(engine.run_group([counted("case"), unit(peer("a"))]), "server closed the connection")
        wire.cut = "never"
        # It decides on what the one before brought about, or did not.
        assert engine.run_group([counted("case")]) == [Done(there + 1)]
        assert engine.read(peers) == ({"a"} if there else set())


def test_a_commit_no_standby_has_is_in_doubt(own: Server) -> None:
    """Whoever cancels the wait for a standby, the commit is only on this one disk."""
    with opened(own.database(), durable=True) as engine:
        assert engine.run_group([unit(peer("a"))]) == [Done(None)]
        own.set("synchronous_standby_names", "nobody")
        try:
            outcomes: list[Outcome] = []

            def write() -> None:
                # The server takes a moment until all of it knows.
                while all(isinstance(outcome, Done) for outcome in outcomes):
                    outcomes.extend(engine.run_group([counted("case")]))

            writing = Thread(target=write)
            writing.start()
            waits = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            ((pid,),) = until(lambda: own.admin(waits))
            own.admin("SELECT pg_cancel_backend(%s)", pid)
            writing.join(WAIT_S)
            away(outcomes[-1:], "canceling wait for synchronous replication")
        finally:
            own.set("synchronous_standby_names", "")
        assert engine.run_group([counted("case")]) == [Done(len(outcomes) + 1)]


def test_a_commit_that_hangs_is_given_up_and_nothing_overtakes_it(own: Server) -> None:
    with opened(own.database(), durable=True, patience_ms=300) as engine:
        own.set("synchronous_standby_names", "nobody")
        try:
            last = 0
            # The server takes a moment until all of it knows.
            while isinstance(outcome := engine.run_group([counted("case")])[0], Done):
                last = outcome.value
            away([outcome], "timeout expired")
            away(engine.run_group([counted("case")]), "(SyncRep)")
        finally:
            own.set("synchronous_standby_names", "")
        until(lambda: isinstance(engine.run_group([unit()])[0], Done))
        assert engine.run_group([counted("case")]) == [Done(last + 2)]


# --- trouble


def test_a_killed_server_loses_nothing_acknowledged_and_is_forgiven(own: Server) -> None:
    """SIGKILL to every process of it, in the middle of groups."""
    address = own.database()
    acknowledged: set[str] = set()
    refused: list[UnavailableError] = []

    async def write(store: ThreadedStore, prefix: str, enough: int, started: asyncio.Event) -> None:
        for number in count():
            if len(acknowledged) >= enough:
                return
            name = f"{prefix}-{number}"
            try:
                await store.run(unit(peer(name), answer(name, 2_000)))
                acknowledged.add(name)
            except UnavailableError as error:
                refused.append(error)
                await started.wait()

    async def main() -> None:
        store = ThreadedStore(StoreEngine(PostgresDatabase(address), KEYS))
        for kill in range(2):
            refused.clear()
            started, enough = asyncio.Event(), len(acknowledged) + 400
            names = (f"{kill}-{worker}" for worker in range(8))
            working = [asyncio.create_task(write(store, n, enough, started)) for n in names]
            await write(store, f"{kill}", enough - 200, started)
            own.kill()
            for answer_ in (store.read(peers), store.run(unit())):
                with pytest.raises(UnavailableError):
                    await answer_
            assert store.trouble is not None
            own.start()
            started.set()
            await asyncio.gather(*working)
            assert refused
            assert store.trouble is None
            assert acknowledged <= await store.read(peers)
        await store.close()

    asyncio.run(asyncio.wait_for(main(), WAIT_S))
    # Units are never there in part.
    keys = {key for (key,) in own.ask(address, "SELECT key FROM idempotency")}
    assert {node for (node,) in own.ask(address, "SELECT node FROM peer")} == keys


def test_sessions_the_server_ended_are_replaced_unnoticed(server: Server, address: Address) -> None:
    with opened(address) as engine:
        for name in "ab":
            assert engine.run_group([unit(peer(name))]) == [Done(None)]
            assert name in engine.read(peers)
            mine = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tongban%%'"
            for (pid,) in server.admin(mine):
                server.admin("SELECT pg_terminate_backend(%s)", pid)
            until(lambda: not server.admin(mine))  # noqa: B023 - at once
        assert engine.run_group([unit(peer("c"))]) == [Done(None)]
        assert engine.read(peers) == {"a", "b", "c"}


def test_a_server_that_does_not_answer_is_given_up(own: Server) -> None:
    with opened(own.database(), durable=True, patience_ms=200) as engine:
        assert engine.run_group([unit(peer("a"))]) == [Done(None)]
        assert engine.read(peers) == {"a"}
        own.freeze(frozen=True)
        try:
            away(engine.run_group([unit(peer("b")), unit(peer("c"))]), "timeout expired")
            with pytest.raises(UnavailableError, match="timeout expired"):
                engine.read(peers)
        finally:
            own.freeze(frozen=False)
        until(lambda: isinstance(engine.run_group([unit()])[0], Done))
        assert engine.read(peers) == {"a"}


def test_a_full_disk_refuses_and_serves_again_when_there_is_room(own: Server) -> None:
    with opened(own.database(), durable=True) as engine:
        # Compressed they would take no room.
        change = "ALTER TABLE idempotency ALTER answer SET STORAGE EXTERNAL"
        own.ask(database_of(engine)._address, change)
        names = [str(number) for number in range(20)]
        units = {name: unit(peer(name), answer(name, 300_000)) for name in names}
        own.limit_files(3_000_000)
        done = {name for name in names if engine.run_group([units[name]]) == [Done(None)]}
        assert 0 < len(done) < len(names)
        rest = [units[name] for name in names if name not in done]
        decided: list[str] = []
        counting = [counting_unit(decided, answer(name, 300_000)) for name in ("x", "y", "z")]
        away(engine.run_group(counting), "could not extend file")
        assert len(decided) == 3  # not once more, one by one
        assert engine.read(peers) == done
        own.limit_files(None)
        assert engine.run_group(rest) == [Done(None)] * len(rest)
        assert engine.read(peers) == set(names)


def test_a_server_that_becomes_a_standby_is_left_for_one_that_writes(own: Server) -> None:
    with opened(own.database(), durable=True) as engine:
        own.set("default_transaction_read_only", "on")
        try:
            away(engine.run_group([unit(peer("a"))]), "read-only")
            away(engine.run_group([unit(peer("a"))]), "read-only")
        finally:
            own.set("default_transaction_read_only", "off")
        assert engine.run_group([unit(peer("a"))]) == [Done(None)]
