"""Questions about large parts: transfers from peers, uploads of local callers, what to sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, func, select

from node.store import schema
from node.store.query import Query, columns, given
from protocol.envelope import MessageReference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class TransferRow:
    """One row of `schema.transfer`."""

    blob: str
    authority: str
    message_id: str
    part_id: str
    peer: str
    size: int
    touched_ms: int
    mismatches: int

    @property
    def reference(self) -> MessageReference:
        """The message it is for."""
        return MessageReference(self.authority, self.message_id)


@dataclass(frozen=True, slots=True)
class UnderWay:
    """How many parts are coming in, and their octets when they are whole."""

    count: int
    octets: int

    @classmethod
    def of(cls, count: int, octets: int | None) -> UnderWay:
        """From a count and a sum, which is null over nothing and a decimal on some engines."""
        return cls(count, int(octets or 0))


_TRANSFERS: Final = select(*columns(schema.transfer, TransferRow)).where(
    schema.transfer.c.blob.in_(bindparam("blobs", expanding=True))
)


def find_transfers(connection: Connection, blobs: Sequence[str]) -> dict[str, TransferRow]:
    """The transfers open for these blobs, by blob."""
    rows = connection.execute(_TRANSFERS, {"blobs": blobs})
    return {row.blob: TransferRow(*row) for row in rows}


_SUM: Final[Any] = select(func.count(), func.sum(schema.transfer.c.size)).select_from(
    schema.transfer
)
_OF_ALL: Final = Query(_SUM, UnderWay.of)
_OF_PEER: Final = Query(_SUM.where(given(schema.transfer, "peer")), UnderWay.of)


def transfers_under_way(connection: Connection, peer: str) -> tuple[UnderWay, UnderWay]:
    """Those of one peer, and those of all."""
    nothing = UnderWay(0, 0)
    own = _OF_PEER.first(connection, peer=peer)
    return own or nothing, _OF_ALL.first(connection) or nothing


_IDLE: Final = Query(
    select(*columns(schema.transfer, TransferRow))
    .where(schema.transfer.c.touched_ms < bindparam("before_ms"))
    .order_by(schema.transfer.c.touched_ms)
    .limit(bindparam("limit")),
    TransferRow,
)


def idle_transfers(connection: Connection, before_ms: int, limit: int) -> list[TransferRow]:
    """Transfers that have not grown since, the longest idle first."""
    return _IDLE.all(connection, before_ms=before_ms, limit=limit)


_NAMING: Final = [
    select(table.c.blob).where(table.c.blob.in_(bindparam("blobs", expanding=True)))
    for table in (schema.part, schema.transfer, schema.upload)
]


def named_blobs(connection: Connection, blobs: Sequence[str]) -> set[str]:
    """Those of these blobs that a row names."""
    named: set[str] = set()
    for query in _NAMING:
        named.update(connection.execute(query, {"blobs": blobs}).scalars())
    return named


@dataclass(frozen=True, slots=True)
class UploadRow:
    """One row of `schema.upload`."""

    upload_id: str
    client: str
    blob: str
    size: int
    held: int
    suite: str | None
    digest: bytes | None
    touched_ms: int

    @property
    def whole(self) -> bool:
        """Whether all of it is here, under its digest."""
        return self.digest is not None


_UPLOAD: Final = Query(
    select(*columns(schema.upload, UploadRow)).where(given(schema.upload, "upload_id", "client")),
    UploadRow,
)


def find_upload(connection: Connection, client: str, upload_id: str) -> UploadRow | None:
    """An upload of this caller."""
    return _UPLOAD.first(connection, upload_id=upload_id, client=client)


_OPEN: Final[Any] = select(func.count(), func.sum(schema.upload.c.size))
_OF_CLIENT: Final = Query(_OPEN.where(given(schema.upload, "client")), UnderWay.of)


def uploads_open(connection: Connection, client: str) -> UnderWay:
    """The uploads of this caller that no message has taken yet."""
    return _OF_CLIENT.first(connection, client=client) or UnderWay(0, 0)


_IDLE_UPLOADS: Final = Query(
    select(*columns(schema.upload, UploadRow))
    .where(schema.upload.c.touched_ms < bindparam("before_ms"))
    .order_by(schema.upload.c.touched_ms)
    .limit(bindparam("limit")),
    UploadRow,
)


def idle_uploads(connection: Connection, before_ms: int, limit: int) -> list[UploadRow]:
    """Uploads nobody has touched since, the longest idle first."""
    return _IDLE_UPLOADS.all(connection, before_ms=before_ms, limit=limit)
