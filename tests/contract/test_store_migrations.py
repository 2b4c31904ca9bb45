"""An older store, opened: everything that was in it is there, in tables like those of a new one."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from sqlalchemy import inspect

from node.cases import Party
from node.store import migrations
from node.store.engine import StoreEngine
from node.store.migrations import VERSION
from node.store.postgres import PostgresDatabase
from node.store.queries import Role, find_message, find_parts, last_sequence, queue_lengths
from node.store.sqlite import SqliteDatabase
from protocol.envelope import MessageReference
from protocol.errors import UnavailableError
from tests.messages import keys_of
from tests.store_kit import AUTHORITY

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from node.store.database import Database
    from tests.postgres import Servers

FOLDER = Path(__file__).parent / "store_versions"
OLDER = tuple(range(1, VERSION))
KEYS = keys_of([])
REFERENCE = MessageReference(AUTHORITY, "0198c0de-0000-7000-8000-000000000000")
NUMBERS = count()
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """A database that may be opened as a store, and changed behind its back.

    Attributes:
        open: Opens it, and makes the tables if there are none.
        run: Executes a script in it.
    """

    open: Callable[[], Database]
    run: Callable[[str], object]

    def hold(self, version: int) -> None:
        """What the program of an older version left behind."""
        self.run((FOLDER / f"{version}.sql").read_text())

    def read(self, query: Callable[[Connection], T]) -> T:
        """Open the store and ask it."""
        with closing(StoreEngine(self.open(), KEYS)) as engine:
            return engine.read(query)


@pytest.fixture(params=["sqlite", "debian"])
def fresh(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Callable[[], Place]:
    """Makes an empty place."""

    def on_sqlite() -> Place:
        path = tmp_path / f"{next(NUMBERS)}.sqlite"

        def run(script: str) -> None:
            with closing(sqlite3.connect(path)) as connection:
                connection.executescript(script)

        return Place(partial(SqliteDatabase, path), run)

    def on_postgres() -> Place:
        server = servers.of(request.param)
        address = server.database()

        def run(script: str) -> None:
            for ours, theirs in ((r"VARCHAR\(\d+\)", "TEXT"), ("INTEGER", "BIGINT")):
                script = re.sub(ours, theirs, script)
            server.ask(address, script.replace("BLOB", "BYTEA").replace("x'", "'\\x"))

        return Place(partial(PostgresDatabase, address, durable=False), run)

    return on_sqlite if request.param == "sqlite" else on_postgres


def shape(connection: Connection) -> dict[str, Any]:
    """Everything about the tables that makes a difference."""
    inspector = inspect(connection)
    return {
        table: (
            {
                column["name"]: (str(column["type"]), column["nullable"], column["default"])
                for column in inspector.get_columns(table)
            },
            inspector.get_pk_constraint(table)["constrained_columns"],
            sorted(
                (str(index["name"]), index["column_names"], index["unique"])
                for index in inspector.get_indexes(table)
            ),
        )
        for table in inspector.get_table_names()
    }


@pytest.mark.parametrize("version", OLDER)
def test_an_older_store_becomes_like_a_new_one(fresh: Callable[[], Place], version: int) -> None:
    """If this fails after a change to schema.py: the step belongs into node/store/migrations.py."""
    old = fresh()
    old.hold(version)
    expected = fresh().read(shape)
    assert old.read(shape) == expected
    assert old.read(shape) == expected  # the second time there is nothing to do


@pytest.mark.parametrize("version", OLDER)
def test_what_was_in_an_older_store_is_still_there(
    fresh: Callable[[], Place], version: int
) -> None:
    old = fresh()
    old.hold(version)
    row = old.read(lambda connection: find_message(connection, REFERENCE, Role.OUT))
    assert row is not None
    assert (row.envelope, row.standing) == (b"<Envelope/>", "queued")
    parts = old.read(lambda connection: find_parts(connection, [row]))
    assert parts == {(AUTHORITY, REFERENCE.message_id, "out"): {"body": b"<Body/>"}}
    party = Party.at("420100", AUTHORITY)
    assert row.case_id is not None
    number = old.read(lambda c: last_sequence(c, row.case_id or "", party, Role.OUT))
    assert number == 7
    assert old.read(queue_lengths) == {"420600": 1}


@pytest.mark.parametrize("found", [str(VERSION + 1), "0", "one"])
def test_a_store_of_another_program_is_refused_and_left_alone(
    fresh: Callable[[], Place], found: str
) -> None:
    place = fresh()
    before = place.read(shape)
    change = "UPDATE meta SET value = '{}' WHERE name = 'schema_version'"
    place.run(change.format(found))
    for _ in range(2):
        with pytest.raises(UnavailableError, match=rf"its schema is {found}, .* knows {VERSION}\)"):
            place.open()
    place.run(change.format(VERSION))
    assert place.read(shape) == before


def test_a_step_that_fails_leaves_the_old_version_whole(fresh: Callable[[], Place]) -> None:
    old = fresh()
    old.hold(1)
    old.run("CREATE TABLE part_before (something TEXT)")
    for _ in range(2):
        with pytest.raises(UnavailableError, match="part_before"):
            old.open()
    old.run("DROP TABLE part_before")
    assert old.read(lambda connection: find_message(connection, REFERENCE, Role.OUT)) is not None


def test_a_step_may_take_longer_than_a_node_waits_otherwise(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copying the messages of years takes minutes: a node that gave up would never start again."""
    server = servers.of("debian")
    address = server.database()
    PostgresDatabase(address, durable=False).close()
    server.ask(address, "UPDATE meta SET value = '1' WHERE name = 'schema_version'")

    def slow(connection: Connection) -> None:
        connection.exec_driver_sql("SELECT pg_sleep(0.4)")

    monkeypatch.setattr(migrations, "_STEPS", dict.fromkeys(migrations._STEPS, slow))
    PostgresDatabase(address, durable=False, patience_ms=200).close()
    query = "SELECT value FROM meta WHERE name = 'schema_version'"
    assert server.ask(address, query) == [(str(VERSION),)]
