"""A question asked often: written once in SQLAlchemy, compiled once, run on the driver itself.

Building a statement for each question costs twenty times what SQLite needs to answer it, and
executing a ready one through SQLAlchemy still three times. So a `Query` stands at the top of its
module, with its parameters named, and keeps the SQL that each dialect made of it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import starmap
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from sqlalchemy import and_, bindparam
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import ColumnElement, Connection, Dialect, Select, Table
    from sqlalchemy.engine.interfaces import DBAPIModule

R = TypeVar("R")


class Query(Generic[R]):
    """A statement with named parameters, and what its rows become."""

    def __init__(self, statement: Select[Any], row: Callable[..., R]) -> None:
        """Prepare a question.

        Args:
            statement: Every parameter is a named `bindparam`; no `IN` over a list. Columns of text,
                integers and octets only: what the driver gives is not converted.
            row: Makes an answer of the values of one row, in the order of the columns.
        """
        self._statement = statement
        self._row = row
        self._forms: dict[str, _Form] = {}

    def all(self, connection: Connection, **values: object) -> list[R]:
        """Every row."""
        return list(starmap(self._row, self._fetched(connection, values)))

    def first(self, connection: Connection, **values: object) -> R | None:
        """The first row, if there is one."""
        for row in self._fetched(connection, values):
            return self._row(*row)
        return None

    def _fetched(
        self, connection: Connection, values: dict[str, object]
    ) -> Iterable[tuple[Any, ...]]:
        dialect = connection.dialect
        form = self._forms.get(dialect.name)
        if form is None:
            form = self._forms[dialect.name] = _Form.of(self._statement, dialect)
        driver: Any = connection.connection.dbapi_connection
        parameters = form.constants | values
        try:
            rows: Iterable[tuple[Any, ...]] = driver.execute(
                form.sql, [parameters[name] for name in form.names]
            ).fetchall()
        except dialect.loaded_dbapi.Error as error:
            raise translated(error, connection) from error
        return rows


@dataclass(frozen=True, slots=True)
class _Form:
    """A statement as one dialect writes it.

    Attributes:
        sql: Its parameters by position.
        names: Of the parameters, in their order.
        constants: Those that stand in the statement itself.
    """

    sql: str
    names: tuple[str, ...]
    constants: dict[str, object]

    @classmethod
    def of(cls, statement: Select[Any], dialect: Dialect) -> _Form:
        made = statement.compile(dialect=dialect)
        names = tuple(made.positiontup or ())
        constants = {name: value for name, value in made.params.items() if value is not None}
        return cls(str(made), names, constants)


def columns(table: Table, row: type[Any]) -> Iterable[ColumnElement[Any]]:
    """The columns that a dataclass has fields for, in the order of its fields."""
    return [table.c[field.name] for field in fields(row)]


def given(table: Table, *names: str) -> ColumnElement[bool]:
    """These columns equal the parameters of their names."""
    return and_(*(table.c[name] == bindparam(name) for name in names))


def translated(error: Exception, connection: Connection) -> DBAPIError:
    """The driver's error as SQLAlchemy would raise it; a connection that is lost is let go."""
    dialect = connection.dialect
    driver = connection.connection.dbapi_connection
    lost = dialect.is_disconnect(cast("DBAPIModule.Error", error), driver, None)
    if lost:
        connection.invalidate(error)
    return DBAPIError(None, None, error, hide_parameters=True, connection_invalidated=lost)
