"""What the node asks often is found by an index: a store holds years of messages."""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import TYPE_CHECKING

import node
from node.store import schema
from node.store.query import Query
from node.store.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROWING = {"message", "part", "case_view", "inbox", "custody", "sequence", "idempotency"}
GROWING |= {"log_entry", "log_tile"}
"""The tables that hold a row or more for each message; all others are short."""


def questions() -> Iterator[tuple[str, Query[object]]]:
    for module in pkgutil.walk_packages(node.__path__, "node."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Query):
                yield f"{module.name}.{name}", value


def test_no_question_reads_a_whole_table_of_messages(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "node.db")
    asked, slow = 0, []
    try:
        with database.snapshot() as connection:
            for name, query in questions():
                statement = query._statement.compile(dialect=connection.dialect)
                unknown = (None,) * len(statement.positiontup or ())
                steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", unknown)
                read = {match[1] for row in steps if (match := re.match(r"SCAN (\w+)", row[3]))}
                slow += [f"{name} reads {table}" for table in read & GROWING]
                asked += 1
    finally:
        database.close()
    assert set(schema.metadata.tables) >= GROWING
    assert asked > 30
    assert not slow
