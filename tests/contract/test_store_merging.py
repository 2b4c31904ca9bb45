"""Rows written set-wise leave what they leave one by one: real SQL on both sides."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.ports import Row, Update, Upsert
from node.store import schema
from node.store.engine import StoreEngine
from node.store.postgres import PostgresDatabase
from node.store.sqlite import SqliteDatabase
from node.store.stores import InlineStore
from tests.messages import keys_of
from tests.store_kit import gone, peer, unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from node.store.database import Database
    from tests.postgres import Servers

NODES = "abc"


@pytest.fixture(params=["sqlite", "18"])
def engine(
    request: pytest.FixtureRequest, servers: Servers, tmp_path: Path
) -> Iterator[StoreEngine]:
    database: Database = (
        SqliteDatabase(tmp_path / "state.sqlite", durable=False)
        if request.param == "sqlite"
        else PostgresDatabase(servers.of(request.param).emptied(), durable=False)
    )
    with closing(StoreEngine(database, keys_of([]))) as engine:
        yield engine


@st.composite
def possible_rows(draw: st.DrawFn) -> list[list[Row]]:
    """Units of rows that can be written one after the other, on few keys."""
    there: set[str] = set()
    units: list[list[Row]] = []
    for _ in range(draw(st.integers(1, 4))):
        rows: list[Row] = []
        for _ in range(draw(st.integers(0, 6))):
            node, number = draw(st.sampled_from(NODES)), draw(st.integers(0, 9))
            some: list[dict[str, object]] = [{"heard_ms": number}, {"trouble": str(number)}, {}]
            values = draw(st.sampled_from(some))
            now = draw(st.sampled_from(["change", "upsert", "delete"]))
            key = {"node": node}
            if now == "delete":
                rows.append(gone(node))
                there.discard(node)
                continue
            if now == "upsert":
                rows.append(Upsert(schema.peer, dict(peer(node, failures=number, **values).values)))
            elif node in there:
                rows.append(Update(schema.peer, key, {"failures": number, **values}))
            else:
                rows.append(peer(node, failures=number, **values))
            there.add(node)
        units.append(rows)
    return units


def test_merged_rows_leave_what_single_rows_leave(engine: StoreEngine) -> None:
    store = InlineStore(engine)

    def outcome(units: Sequence[Sequence[Row]]) -> list[tuple[object, ...]]:
        async def main() -> list[tuple[object, ...]]:
            await store.run(unit(*map(gone, NODES)))
            for rows in units:
                await store.run(unit(*rows))
            query = schema.peer.select().order_by(schema.peer.c.node)
            return await store.read(lambda c: [tuple(row) for row in c.execute(query)])

        return asyncio.run(main())

    @given(possible_rows())
    def check(units: list[list[Row]]) -> None:
        rows = [row for each in units for row in each]
        assert outcome([rows]) == outcome([[row] for row in rows])

    check()
