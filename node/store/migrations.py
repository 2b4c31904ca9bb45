"""The schema's version, and the way from an older one: what opening a database does to its tables.

Whoever changes a table that a released version has raises `VERSION` and adds a step, here and
nowhere else. New tables and their indexes need no step: whatever is missing is made. Before its
release a version is changed as the work goes on; after it, its step stays as it is, and if a later
version changes the same table again, the step keeps a copy of what the table was.

All steps run in the one transaction of the opening: the database is of the old version or of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Table, insert, inspect, select, text, update

from node.store import schema
from protocol.errors import UnavailableError
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

VERSION: Final = 2
_NAME: Final = "schema_version"


def prepare(connection: Connection, database: str) -> bool:
    """Make the tables of an empty database, or bring those of an older version forward.

    Args:
        connection: In a transaction that the caller commits, if nothing is raised.
        database: What it is called in messages.

    Returns:
        Whether it was empty.

    Raises:
        UnavailableError: STORE_UNAVAILABLE: another program wrote it, or a later version of this.
    """
    meta = schema.meta
    if not inspect(connection).has_table(meta.name):
        schema.metadata.create_all(connection)
        connection.execute(insert(meta).values(name=_NAME, value=str(VERSION)))
        return True
    found = connection.execute(select(meta.c.value).where(meta.c.name == _NAME)).scalar()
    if found is None or not found.isdecimal() or not 1 <= int(found) <= VERSION:
        raise UnavailableError(
            Reason.STORE_UNAVAILABLE,
            f"{database} was written by another version of this program (its schema is {found}, "
            f"this one knows {VERSION}): start that version, or restore the backup made before it "
            "was installed",
        )
    if int(found) == VERSION:
        return False
    for version in range(int(found) + 1, VERSION + 1):
        _STEPS[version](connection)
    schema.metadata.create_all(connection)
    connection.execute(update(meta).where(meta.c.name == _NAME).values(value=str(VERSION)))
    return False


def _to_2(connection: Connection) -> None:
    """Large parts in files, hand-overs that wait for an answer, and whose USCC it is (DI-4)."""
    for table in (schema.message, schema.custody, schema.inbox):
        _made_anew(connection, table)  # another order of the primary key
    _made_anew(connection, schema.part, size="length(octets)")
    _made_anew(connection, schema.idempotency)  # an index by age
    _made_anew(connection, schema.outbox, handed="0")
    # The province of the node that the numbered messages came from.
    province = """coalesce((
        SELECT min(substr(from_node, 1, 2)) FROM message
        WHERE message.case_id = sequence_before.case_id
        AND message.authority = sequence_before.authority), '')"""
    _made_anew(connection, schema.sequence, province=province)


_STEPS: Final[Mapping[int, Callable[[Connection], None]]] = {2: _to_2}


def _made_anew(connection: Connection, table: Table, **filled: str) -> None:
    """Give a table its present form; columns that both forms have are kept.

    Args:
        connection: In the transaction.
        table: Its present form.
        filled: What a new column holds in the rows there are, as SQL; nothing if not said.
    """
    old = f"{table.name}_before"
    connection.execute(text(f"CREATE TABLE {old} AS SELECT * FROM {table.name}"))
    connection.execute(text(f"DROP TABLE {table.name}"))
    table.create(connection)
    there = {column["name"] for column in inspect(connection).get_columns(old)}
    values = {name: name for name in table.columns.keys() if name in there} | filled  # noqa: SIM118
    connection.execute(
        text(
            f"INSERT INTO {table.name} ({', '.join(values)}) "
            f"SELECT {', '.join(values.values())} FROM {old}"
        )
    )
    connection.execute(text(f"DROP TABLE {old}"))
