"""The SQL of a shape: for one row, in any dialect, and for many rows at once, in PostgreSQL's.

Parameters go by position, in the order `Batch.parameters` gives them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, LargeBinary, String, and_, bindparam, delete, insert, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from node.ports import Delete, Insert, Update, Upsert
from protocol.errors import LocalUseError

if TYPE_CHECKING:
    from sqlalchemy import Dialect, Table

    from node.store.merge import Shape


def row_statement(shape: Shape, dialect: Dialect) -> str:
    """The SQL that writes one row; a driver may run it for each of many."""
    table, operation = shape.table, shape.operation
    new: dict[str, Any] = {name: bindparam(name) for name in shape.columns}
    this_row = and_(*(table.c[name] == bindparam(f"key_{name}") for name in shape.key))
    statement: Any
    if operation is Insert:
        statement = insert(table).inline().values(new)
    elif operation is Upsert:
        upsert: Any = postgres_insert if dialect.name == "postgresql" else sqlite_insert
        statement = upsert(table).values(new)
        whole = {name: statement.excluded[name] for name in _beside_the_key(table)}
        statement = (
            statement.on_conflict_do_update(index_elements=shape.key, set_=whole)
            if whole
            else statement.on_conflict_do_nothing(index_elements=shape.key)
        )
    elif operation is Update:
        statement = update(table).where(this_row).values(new)
    elif operation is Delete:
        statement = delete(table).where(this_row)
    else:
        raise LocalUseError(f"{operation.__name__} is not a row")
    compiled = statement.compile(dialect=dialect)
    expected = list(shape.columns)
    if operation in (Update, Delete):
        expected += [f"key_{name}" for name in shape.key]
    if compiled.positiontup != expected:
        raise LocalUseError(f"{compiled}: takes {compiled.positiontup}, not {expected}")
    return str(compiled)


def set_statement(shape: Shape, dialect: Dialect) -> str:
    """The SQL that writes many rows of different keys at once; takes an array for each parameter.

    One statement is planned and executed once, whatever the number of rows.
    """
    quote = dialect.identifier_preparer.quote
    table, into = shape.table, quote(shape.table.name)
    names = [quote(name) for name in shape.columns]
    keys = [quote(name) for name in shape.key]

    def rows(*columns: str) -> str:
        arrays = ", ".join(f"%b::{_array_type(table, name)}" for name in columns)
        return f"unnest({arrays})"

    same = " AND ".join(f"{into}.{key} = given.key_{index}" for index, key in enumerate(keys))
    aliases = ", ".join(f"key_{index}" for index in range(len(keys)))
    if shape.operation is Insert or shape.operation is Upsert:
        sql = f"INSERT INTO {into} ({', '.join(names)}) SELECT * FROM {rows(*shape.columns)}"
        if shape.operation is Insert:
            return sql
        whole = ", ".join(f"{quote(n)} = excluded.{quote(n)}" for n in _beside_the_key(table))
        then = f"DO UPDATE SET {whole}" if whole else "DO NOTHING"
        return f"{sql} ON CONFLICT ({', '.join(keys)}) {then}"
    if shape.operation is Update:
        values = ", ".join(f"new_{index}" for index in range(len(names)))
        changes = ", ".join(f"{name} = given.new_{index}" for index, name in enumerate(names))
        given = f"{rows(*shape.columns, *shape.key)} AS given({values}, {aliases})"
        return f"UPDATE {into} SET {changes} FROM {given} WHERE {same}"
    if shape.operation is Delete:
        return f"DELETE FROM {into} USING {rows(*shape.key)} AS given({aliases}) WHERE {same}"
    raise LocalUseError(f"{shape.operation.__name__} is not a row")


def _beside_the_key(table: Table) -> list[str]:
    return [column.name for column in table.columns if not column.primary_key]


def _array_type(table: Table, name: str) -> str:
    kind = table.c[name].type
    for known, array in ((String, "text[]"), (Integer, "bigint[]"), (LargeBinary, "bytea[]")):
        if isinstance(kind, known):
            return array
    raise LocalUseError(f"{table.name}.{name}: a column of {kind!r} cannot be written set-wise")
