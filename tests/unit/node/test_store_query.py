"""What a named query does with its statement; that its answers are right, the contract shows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Connection, bindparam, create_engine, select
from sqlalchemy.exc import DBAPIError

from node.cases import CaseView
from node.store import schema
from node.store.queries import MessageRow
from node.store.query import Query, columns, given

if TYPE_CHECKING:
    from collections.abc import Iterator

PEER = schema.peer.c


@pytest.fixture
def connection() -> Iterator[Connection]:
    with create_engine("sqlite://").connect() as connection:
        schema.metadata.create_all(connection)
        for number in range(4):
            values = {"node": f"42010{number}", "failures": number, "retry_ms": 0}
            connection.execute(schema.peer.insert().values(values))
        yield connection


@dataclass(frozen=True)
class Backwards:
    """Fields in another order than the table's columns."""

    failures: int
    node: str


def test_values_arrive_at_the_fields_of_their_names(connection: Connection) -> None:
    query = Query(select(*columns(schema.peer, Backwards)).order_by(PEER.node), Backwards)
    assert query.all(connection) == [Backwards(number, f"42010{number}") for number in range(4)]


def test_parameters_go_by_name_whatever_their_places(connection: Connection) -> None:
    statement = (
        select(PEER.node)
        .where(PEER.retry_ms == 0, PEER.failures < bindparam("below"))
        .where(PEER.failures > bindparam("above"), PEER.failures != bindparam("below"))
        .limit(bindparam("most"))
    )
    query = Query(statement, str)
    assert query.all(connection, most=9, above=0, below=3) == ["420101", "420102"]
    assert query.all(connection, above=-1, below=9, most=1) == ["420100"]
    assert query.first(connection, most=9, above=0, below=3) == "420101"
    assert query.first(connection, most=9, above=3, below=3) is None


def test_a_parameter_that_is_not_given_is_not_taken_for_null(connection: Connection) -> None:
    with pytest.raises(KeyError, match="node"):
        Query(select(PEER.failures).where(given(schema.peer, "node")), int).first(connection)


def test_the_drivers_errors_are_the_databases(connection: Connection) -> None:
    query = Query(select(PEER.failures).where(given(schema.peer, "node")), int)
    with pytest.raises(DBAPIError):
        query.first(connection, node=object())
    schema.peer.drop(connection)
    with pytest.raises(DBAPIError, match="no such table: peer"):
        query.first(connection, node="420100")


@pytest.mark.parametrize(("row", "table"), [(MessageRow, schema.message), (CaseView, schema.case)])
def test_whole_rows_are_whole(row: type[object], table: object) -> None:
    """A column that is stored and never read would be forgotten by whoever writes the row anew."""
    assert {field.name for field in fields(row)} == set(table.c.keys())  # type: ignore[arg-type,attr-defined]
