from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.ports import Delete, Insert, Row, Update, Upsert
from node.store import schema
from node.store.merge import first_group, merge
from node.store.stores import InlineStore
from protocol.errors import LocalUseError
from tests.store_kit import answer, engine_at, gone, peer, unit

if TYPE_CHECKING:
    from collections.abc import Sequence

NODES = "abc"


@dataclass(frozen=True)
class Waiting:
    number: int
    keys: frozenset[str]


@given(st.lists(st.frozensets(st.sampled_from("abcdef"), max_size=3)), st.integers(1, 5))
def test_groups_keep_the_order_of_every_key(keys: Sequence[frozenset[str]], largest: int) -> None:
    units = [Waiting(number, each) for number, each in enumerate(keys)]
    rest, ran = units, list[Waiting]()
    while rest:
        group, rest = first_group(rest, largest)
        assert 1 <= len(group) <= largest
        assert len({key for unit in group for key in unit.keys}) == sum(len(u.keys) for u in group)
        assert [unit.number for unit in rest] == sorted(unit.number for unit in rest)
        ran += group
    assert sorted(unit.number for unit in ran) == list(range(len(units)))
    for key in "abcdef":
        of_key = [unit.number for unit in ran if key in unit.keys]
        assert of_key == sorted(of_key)


def test_a_group_takes_whatever_is_free() -> None:
    units = [Waiting(number, frozenset(key)) for number, key in enumerate("aabacb")]
    group, rest = first_group(units, 256)
    assert [unit.number for unit in group] == [0, 2, 4]
    assert [unit.number for unit in rest] == [1, 3, 5]


def test_rows_of_many_units_take_one_statement_per_shape() -> None:
    rows = [row for number in range(256) for row in (peer(str(number)), answer(str(number)))]
    assert [len(batch.parameters) for batch in merge(rows)] == [256, 256]


def test_columns_in_another_order_are_the_same_shape() -> None:
    values = {"node": "a", "failures": 1, "retry_ms": 2}
    turned = {"retry_ms": 4, "failures": 3, "node": "b"}
    (batch,) = merge([Insert(schema.peer, values), Insert(schema.peer, turned)])
    assert batch.parameters == [("a", 1, 2), ("b", 3, 4)]
    key = {"case_id": "c", "province": "42", "authority": "a", "role": "in"}
    turned_key = {"role": "out", "authority": "b", "province": "43", "case_id": "d"}
    batches = merge([Delete(schema.sequence, key), Delete(schema.sequence, turned_key)])
    assert [batch.parameters for batch in batches] == [
        [("c", "42", "a", "in"), ("d", "43", "b", "out")]
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Insert(schema.peer, {"node": "a", "colour": 1}), "Insert of peer: .* no column colour"),
        (Upsert(schema.peer, {"failures": 1}), "Upsert of peer: the primary key is node"),
        (Update(schema.peer, {}, {"failures": 1}), "Update of peer: the primary key is node"),
        (Update(schema.peer, {"node": "a"}, {"node": "b"}), "changes nothing, or the primary key"),
        (Update(schema.peer, {"node": "a"}, {}), "changes nothing, or the primary key"),
        (Delete(schema.peer, {"node": "a", "failures": 1}), "Delete of peer: the primary key is"),
        (Delete(schema.sequence, {"case_id": "a"}), "the primary key is case_id, province, "),
    ],
)
def test_a_row_that_does_not_fit_its_table_is_named(row: Row, message: str) -> None:
    for _ in range(2):  # and is not remembered as one that does
        with pytest.raises(LocalUseError, match=message):
            merge([row])


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


def test_merged_rows_leave_what_single_rows_leave() -> None:
    """Real SQL on both sides: all rows in one transaction, and one transaction per row."""
    with tempfile.TemporaryDirectory() as directory:
        engine = engine_at(Path(directory) / "state.sqlite", durable=False)
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
        engine.close()
