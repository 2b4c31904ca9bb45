from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.ports import Delete, Insert, Row, Update, Upsert
from node.store import schema
from node.store.merge import first_group, merge
from protocol.errors import LocalUseError
from tests.store_kit import answer, peer

if TYPE_CHECKING:
    from collections.abc import Sequence


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


def test_rows_of_one_key_never_share_a_statement() -> None:
    """PostgreSQL would refuse to upsert a row twice at once, and update it once at random."""
    key = {"node": "a"}
    rows: list[Row] = [Upsert(schema.peer, {**key, "failures": n, "retry_ms": 0}) for n in range(3)]
    rows += [peer("b"), *(Update(schema.peer, key, {"failures": n}) for n in range(3))]
    batches = merge(rows)
    assert [len(batch.parameters) for batch in batches] == [1] * 7
    assert [batch.parameters[0][1] for batch in batches[:3]] == [0, 1, 2]
