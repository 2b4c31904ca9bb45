"""What may be done together: units of work in one group, rows in one statement. Pure.

Rows of many units are written set-wise: one statement per shape (operation, table, columns),
executed once with all its rows. Merging changes the order of rows, except for rows of one primary
key: those are written in the order they were given, each by a statement of its own. The leaves of
all units become one row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar, assert_never

from node.ports import Delete, Insert, Leaves, Row, Update, Upsert
from node.store import schema
from protocol.errors import LocalUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Table

Pick: TypeAlias = "Callable[[Mapping[str, object]], tuple[object, ...]]"


class Keyed(Protocol):
    """Whatever carries the keys of a unit of work."""

    @property
    def keys(self) -> frozenset[str]:
        """What the unit depends on or changes."""
        ...


K = TypeVar("K", bound=Keyed)


def first_group(waiting: Sequence[K], largest: int) -> tuple[list[K], list[K]]:
    """The units to run next in one transaction, and the rest, both in the order they came.

    No two units of the group share a key, and none overtakes an earlier unit it shares a key with.

    Args:
        waiting: Units in the order they came.
        largest: How many a group may hold; at least one.
    """
    group: list[K] = []
    rest: list[K] = []
    seen: set[str] = set()
    for position, unit in enumerate(waiting):
        if len(group) == largest:
            rest.extend(waiting[position:])
            break
        (group if seen.isdisjoint(unit.keys) else rest).append(unit)
        seen |= unit.keys
    return group, rest


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What rows need to have in common to be written by one statement; one object per shape.

    Attributes:
        operation: Insert, Upsert, Update or Delete.
        table: The table.
        columns: The columns given values, in the table's order; none for a Delete.
        key: The primary key's columns, in the table's order.
    """

    operation: type[object]
    table: Table
    columns: tuple[str, ...]
    key: tuple[str, ...]
    pick_values: Pick = field(repr=False)
    pick_key: Pick = field(repr=False)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one shape and different primary keys, to be written by one statement.

    Attributes:
        shape: The shape.
        parameters: Per row: the values of `shape.columns`; for Update and Delete, then the key's.
    """

    shape: Shape
    parameters: list[tuple[object, ...]]


def merge(rows: Iterable[Row]) -> list[Batch]:
    """The fewest batches, greedily, that write these rows; to be executed in order.

    Raises:
        LocalUseError: a row names columns its table does not have, or not its whole primary key.
    """
    batches: list[Batch] = []
    newest: dict[Shape, int] = {}
    # Where a row of this primary key was last put: the next one has to come after it.
    last_put: dict[tuple[Table, tuple[object, ...]], int] = {}
    leaves: list[bytes] = []
    for row in rows:
        if isinstance(row, Leaves):
            leaves.append(row.octets)
            continue
        shape, key, parameters = _taken_apart(row)
        place = newest.get(shape, -1)
        if place <= last_put.get((row.table, key), -1):
            place = newest[shape] = len(batches)
            batches.append(Batch(shape, []))
        batches[place].parameters.append(parameters)
        last_put[row.table, key] = place
    if leaves:
        batches.append(Batch(_LEAVES, [(b"".join(leaves),)]))
    return batches


def _taken_apart(
    row: Insert | Upsert | Update | Delete,
) -> tuple[Shape, tuple[object, ...], tuple[object, ...]]:
    """The row's shape, the values of its primary key, and the parameters of its statement."""
    match row:
        case Insert(table, values) | Upsert(table, values):
            shape = _shape(type(row), table, tuple(values), ())
            return shape, shape.pick_key(values), shape.pick_values(values)
        case Update(table, key, values):
            shape = _shape(Update, table, tuple(values), tuple(key))
            found = shape.pick_key(key)
            return shape, found, shape.pick_values(values) + found
        case Delete(table, key):
            shape = _shape(Delete, table, (), tuple(key))
            found = shape.pick_key(key)
            return shape, found, found
        case _:
            assert_never(row)


# Bounded: every combination is written out somewhere in this program.
_SHAPES: Final[dict[tuple[type[Row], Table, tuple[str, ...], tuple[str, ...]], Shape]] = {}


def _shape(
    operation: type[Row], table: Table, given: tuple[str, ...], key: tuple[str, ...]
) -> Shape:
    """The shape of a row with values for these columns and, apart from them, this key."""
    shape = _SHAPES.get((operation, table, given, key))
    if shape is None:
        columns, primary = _checked(operation, table, given, key)
        shape = Shape(operation, table, columns, primary, _picker(columns), _picker(primary))
        # The same columns in another order are the same shape.
        ordered = tuple(name for name in primary if name in key)
        shape = _SHAPES.setdefault((operation, table, columns, ordered), shape)
        _SHAPES[operation, table, given, key] = shape
    return shape


def _checked(
    operation: type[Row], table: Table, given: tuple[str, ...], key: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns given and the primary key, both in the table's order."""
    where = f"{operation.__name__} of {table.name}"
    columns = tuple(column.name for column in table.columns if column.name in given)
    primary = tuple(column.name for column in table.primary_key.columns)
    if len(columns) != len(given):
        unknown = ", ".join(sorted(set(given) - set(columns)))
        raise LocalUseError(f"{where}: the table has no column {unknown}")
    alone = operation in (Update, Delete)
    if not set(primary) <= set(key if alone else given) or (alone and len(key) != len(primary)):
        raise LocalUseError(f"{where}: the primary key is {', '.join(primary)}")
    if operation is Update and (not given or set(given) & set(primary)):
        raise LocalUseError(f"{where}: it changes nothing, or the primary key itself")
    return columns, primary


def _picker(names: tuple[str, ...]) -> Pick:
    """A function that takes these values out of a mapping, as a tuple also if it is only one."""
    match names:
        case ():
            return lambda _: ()
        case (name,):
            return lambda values: (values[name],)
        case _:
            return itemgetter(*names)


_LEAVES: Final = Shape(
    Insert, schema.log_wait, ("leaves",), ("id",), _picker(("leaves",)), _picker(("id",))
)
