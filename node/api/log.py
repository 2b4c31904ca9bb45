"""The evidence log for auditors and local systems: head, proofs, and the tree itself (存证日志).

What is served is as it is stored: whoever fetches tiles and leaves can compute every proof alone.
A tile's octets are the hashes of its lowest height, as tlog-tiles (C2SP) has them.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final

from aiohttp import web

from node.api.forms import DigestQuery, GrowthQuery
from node.api.problems import Fault, ProblemError
from node.api.reading import read_query
from node.api.writing import respond, written
from node.log.reading import (
    HeadRow,
    LogReader,
    find_birth,
    find_bundle,
    find_tile,
    newest_head,
    proofs_for,
)
from protocol.errors import RefusedError, UnavailableError
from protocol.reasons import Reason
from signing.tiles import HASH_OCTETS

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from node.engine import Engine
    from node.log.reading import Inclusion

_LEVEL: Final = re.compile(r"[0-7]")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,12}")


class LogApi:
    """The log of one node."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.context.store

    async def head(self, _request: web.Request) -> web.Response:
        """GET /v1/log/head."""
        row = await self._store.read(newest_head)
        if row is None:
            raise UnavailableError(Reason.LOG_PENDING, "no head was signed yet")
        return respond(head_shown(row))

    async def proof(self, request: web.Request) -> web.Response:
        """GET /v1/log/proof: what was logged under a digest, proven by the newest head."""
        digest = read_query(request, DigestQuery).digest
        try:
            found = await self._store.read(lambda connection: proofs_for(connection, digest))
        except UnavailableError as error:
            if error.reason is not Reason.LOG_PENDING:
                raise
            await self._engine.log.drain()
            found = await self._store.read(lambda connection: proofs_for(connection, digest))
        return respond(
            {
                "digest": digest.hex(),
                "head": head_shown(found[0].head),
                "leaves": [_leaf_shown(proof) for proof in found],
            }
        )

    async def growth(self, request: web.Request) -> web.Response:
        """GET /v1/log/growth: that the log of one size grew into that of another."""
        asked = read_query(request, GrowthQuery)
        return respond(
            await self._store.read(lambda connection: _growth(connection, asked.first, asked.size))
        )

    async def tile(self, request: web.Request) -> web.Response:
        """GET /v1/log/tiles/{level}/{number}: the hashes of its lowest height."""
        level, number = _number(request, "level", _LEVEL), _number(request, "number", _NUMBER)
        octets = await self._store.read(lambda connection: _tile(connection, level, number))
        return web.Response(body=octets, content_type="application/octet-stream")

    async def entries(self, request: web.Request) -> web.Response:
        """GET /v1/log/entries/{number}: the leaves under tile (0, number)."""
        number = _number(request, "number", _NUMBER)
        octets = await self._store.read(lambda connection: find_bundle(connection, number))
        if octets is None:
            raise ProblemError(Fault.NOT_FOUND, "the log does not reach so far")
        return web.Response(body=octets, content_type="application/octet-stream")


def head_shown(row: HeadRow) -> dict[str, object]:
    """A head, read for people and programs, with its octets."""
    head = row.signed.head
    return {
        "node": head.node,
        "incarnation": head.incarnation,
        "size": head.size,
        "root": head.root.hex(),
        "digest": head.digest.title,
        "instant": written(head.instant_ms),
        "view": head.view.hex(),
        "suite": head.suite.value,
        "keyId": head.key_id,
        "octets": base64.b64encode(row.octets).decode(),
    }


def _leaf_shown(proof: Inclusion) -> dict[str, object]:
    leaf = proof.leaf
    return {
        "index": proof.index,
        "type": leaf.type.code,
        "typeName": leaf.type.chinese,
        "instant": written(leaf.instant_ms),
        "octets": base64.b64encode(leaf.octets).decode(),
        "path": [node.hex() for node in proof.path],
    }


def _growth(connection: Connection, first: int, size: int | None) -> dict[str, object]:
    birth = find_birth(connection)
    if birth is None:
        raise UnavailableError(Reason.LOG_PENDING, "the log has not begun")
    reader = LogReader(connection, birth.digest)
    size = reader.size if size is None else size
    if not first <= size <= reader.size:
        raise ProblemError(Fault.NOT_FOUND, f"the log has {reader.size} leaves")
    return {
        "first": first,
        "firstRoot": reader.root(first).hex(),
        "size": size,
        "root": reader.root(size).hex(),
        "digest": birth.digest.title,
        "path": [node.hex() for node in reader.consistency(first, size)],
    }


def _tile(connection: Connection, level: int, number: int) -> bytes:
    try:
        tile = find_tile(connection, level, number)
    except RefusedError as error:
        raise ProblemError(Fault.NOT_FOUND, "the log does not reach so far") from error
    return tile.hashes[: HASH_OCTETS * tile.width]


def _number(request: web.Request, name: str, form: re.Pattern[str]) -> int:
    value = request.match_info[name]
    if form.fullmatch(value) is None:
        raise ProblemError(Fault.NOT_FOUND, f"{name}: a number, {form.pattern}")
    return int(value)
