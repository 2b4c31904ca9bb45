"""What the tests of the store share: real keys, units of work, and what a file really holds."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from node.keystore import FileKeyStore
from node.ports import Decision, Delete, Insert, Row, Unit, Upsert
from node.store import schema
from node.store.engine import StoreEngine
from node.store.sqlite import SqliteDatabase
from signing.batch import ProofRequest
from signing.keys import KeyUse
from signing.suites import Suite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from protocol.proof import Proof

NODE: Final = "420100"
AUTHORITY: Final = "11420100MB1234567X"


def key_store(directory: Path) -> FileKeyStore:
    """A key store on disk with one receipt key of NODE."""
    store = FileKeyStore.create(directory)
    entropy = hashlib.sha512(b"tests of the store").digest()
    store.create_key(KeyUse.RECEIPT, NODE, Suite.ED25519, entropy, 0)
    return store


def engine_at(path: Path, **options: Any) -> StoreEngine:
    """An engine on this file; its keys stand beside it."""
    directory = path.parent / "keys"
    keys = FileKeyStore(directory) if directory.exists() else key_store(directory)
    return StoreEngine(SqliteDatabase(path, **options), keys)


def writer_of(engine: StoreEngine) -> Connection:
    """The connection that writes, of an engine on SQLite."""
    database = engine._database
    assert isinstance(database, SqliteDatabase)
    assert database._writer is not None
    return database._writer


def unit(*rows: Row, result: object = None, keys: Sequence[str] = ()) -> Unit[Any]:
    """A unit that writes these rows."""
    return deciding(lambda _: Decision(lambda _: (rows, result)), keys)


def deciding(decide: Callable[[Connection], Decision[Any]], keys: Sequence[str] = ()) -> Unit[Any]:
    """A unit that decides like this."""
    return Unit(decide, frozenset(keys))


def raising(error: Exception) -> Unit[Any]:
    """A unit that raises this."""

    def decide(_: Connection) -> Decision[Any]:
        raise error

    return deciding(decide)


def signing(key_id: str, *octets: bytes) -> Unit[list[Proof]]:
    """A unit whose result is the proofs of these octets, as of receipts."""
    requests = [ProofRequest(key_id, KeyUse.RECEIPT, each) for each in octets]
    return deciding(lambda _: Decision(lambda proofs: ((), list(proofs)), requests))


def peer(node: str, **values: object) -> Insert:
    """A small row; `failures` and `retry_ms` have to be there."""
    return Insert(schema.peer, {"node": node, "failures": 0, "retry_ms": 0, **values})


def gone(node: str) -> Delete:
    """The end of that row."""
    return Delete(schema.peer, {"node": node})


def answer(key: str, size: int = 100) -> Insert:
    """A row of about this many octets."""
    values = {"client": "test", "key": key, "request_digest": bytes(32), "recorded_ms": 0}
    return Insert(schema.idempotency, {**values, "answer": "x" * size})


def counted(case_id: str) -> Unit[int]:
    """A unit that reads a number, and writes and returns the next one."""
    key = {"case_id": case_id, "province": "42", "authority": AUTHORITY, "role": "in"}

    def decide(connection: Connection) -> Decision[int]:
        rows = schema.sequence
        last = connection.execute(rows.select().where(rows.c.case_id == case_id)).first()
        number = 1 if last is None else last.last + 1
        return Decision(lambda _: ((Upsert(rows, {**key, "last": number}),), number))

    return Unit(decide, frozenset({case_id}))


def peers(connection: Connection) -> set[str]:
    """A query: the nodes that have a row."""
    return {row.node for row in connection.execute(schema.peer.select())}


def on_disk(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """What another program sees in the file now."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as connection:
        return connection.execute(sql).fetchall()
