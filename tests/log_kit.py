"""Logs to test with: a node in virtual time whose log holds numbered leaves."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from sqlalchemy import select

from node.log.reading import LogReader, find_birth
from node.ports import Leaves
from node.store import schema
from signing.log import Leaf, LeafType, read_leaf, split_leaves
from tests.store_kit import unit
from tests.trees import Recursive

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from tests.sim.peers import DrivenNode


def digest_of(number: int) -> bytes:
    """The digest of a numbered leaf."""
    return hashlib.sha256(b"leaf %d" % number).digest()


def leaf_of(number: int) -> Leaf:
    """A numbered leaf."""
    return Leaf(LeafType.RECEIPT_ISSUED, number, digest_of(number))


async def wait_with(node: DrivenNode, *numbers: int) -> None:
    """Let these leaves wait, as one commit would leave them."""
    await node.context.store.run(unit(Leaves(b"".join(leaf_of(each).octets for each in numbers))))


async def grow_log(node: DrivenNode, first: int, last: int, commit: int = 1000) -> None:
    """Log the leaves numbered from `first` to before `last`."""
    for begin in range(first, last, commit):
        await wait_with(node, *range(begin, min(begin + commit, last)))
    await node.engine.log.drain()


def all_leaves(connection: Connection) -> list[bytes]:
    """The octets of every leaf that has its place, in order."""
    table = schema.log_entry
    rows = connection.execute(select(table.c.leaves).order_by(table.c.number)).scalars()
    return [leaf for row in rows for leaf in split_leaves(row)]


def tree_of(connection: Connection) -> Recursive:
    """The tree these leaves make, by the definition (SHA-256)."""
    return Recursive(all_leaves(connection))


def types_of(connection: Connection) -> list[LeafType]:
    """What the leaves are about."""
    return [read_leaf(octets).type for octets in all_leaves(connection)]


def reader_of(connection: Connection) -> LogReader:
    """A reader of the node's log."""
    birth = find_birth(connection)
    assert birth is not None
    return LogReader(connection, birth.digest)


def tamper(path: Path, sql: str, *values: object) -> None:
    """Change the store behind the node's back, as whoever holds the file could."""
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(sql, values).rowcount
