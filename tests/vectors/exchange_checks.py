"""Group exchange: posts handed to a production node, in virtual time, and what it answers."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import select

import schemas
from node.context import Federation, NodeContext
from node.documents import read_document
from node.engine import Engine
from node.federation import take_province
from node.store import schema
from node.store.engine import StoreEngine
from node.store.queries import Role
from node.store.rows import errand_row, message_row, part_rows
from node.store.sqlite import SqliteDatabase
from node.store.stores import InlineStore
from protocol.bodies import KINDS
from protocol.envelope import MessageReference, read_envelope
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import (
    BusyFrame,
    NotHereFrame,
    ReceiptFrame,
    WaitingFrame,
    WantedFrame,
    read_frames,
)
from protocol.instants import parse_instant
from protocol.limits import MAX_ENVELOPE_OCTETS
from protocol.reasons import Reason
from protocol.wire import parse_canonical
from routing.catalogue import SHEET_TYPE, Catalogue, open_sheet
from routing.directory import Directory
from routing.directory_roles import TrustAnchor
from signing.keys import KeyUse
from signing.profile import take_apart
from signing.receipts import verify_receipt
from signing.suites import load_private_key
from signing.verify import Rules
from tests.sim.keyring import Keyring
from tests.sim.loop import START_MS, VirtualLoop, run_virtual
from tests.sim.memory_blobs import Disk, MemoryBlobs
from tests.sim.world import SimClock, SimEntropy
from tests.store_kit import unit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from node.ports import Row
    from protocol.frames import Frame
    from tests.vectors.folders import Vector

Told = dict[str, Any]
_TOLD = (ReceiptFrame, WantedFrame, WaitingFrame, BusyFrame, NotHereFrame)
_REASONS = {reason.number: reason for reason in Reason}


def exchange(vector: Vector) -> Told:
    """Every step; the first reason that any answer gives is the outcome."""
    with tempfile.TemporaryDirectory() as folder, structlog.testing.capture_logs():
        reasons = run_virtual(_play(vector, Path(folder)))
    for reason in reasons:
        raise (RefusedError if reason.final else UnavailableError)(reason, "as answered")
    return {}


async def _play(vector: Vector, folder: Path) -> list[Reason]:
    node = _Node(vector, folder)
    try:
        for row in vector.case["waiting"]:
            await node.put(vector, row)
        for number, step in enumerate(vector.case["steps"], 1):
            await node.until(parse_instant(step["at"]))
            given = vector.octets(step["given"])
            answer = read_frames(await node.engine.exchange(step["peer"], given))
            node.compare(number, answer, step["answer"])
        rows, after = await node.rows(), _sorted(vector.case["after"])
        assert rows == after, f"{rows}, not {after}"
    finally:
        await node.store.close()
    return node.reasons


class _Node:
    """The node under test: production code, an empty store, no network."""

    def __init__(self, vector: Vector, folder: Path) -> None:
        here, shared = vector.case["node"], vector.folder / vector.case["federation"]
        federation, keys = _shared(shared.resolve(), here)
        self.store = InlineStore(
            StoreEngine(SqliteDatabase(folder / "node.db", durable=False), keys)
        )
        dice = random.Random(vector.name)
        self.context = NodeContext(
            here=here,
            rules=Rules(
                schemas.compiled(), {kind.name for kind in KINDS}, vector.case["environment"]
            ),
            keys=keys,
            store=self.store,
            blobs=MemoryBlobs(Disk(), dice),
            clock=SimClock(0),
            entropy=SimEntropy(dice),
            federation=federation,
        )
        self.engine = Engine(self.context, _Silence())
        self.reasons: list[Reason] = []
        self._answers: dict[int, list[bytes]] = {}

    async def until(self, instant_ms: int) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        await asyncio.sleep(max(0, instant_ms - loop.now_ms()) / 1000)

    async def put(self, vector: Vector, told: Told) -> None:
        """A message of the node's own, handed to a peer that has not answered yet."""
        octets = vector.octets(told["envelope"])
        root = parse_canonical(octets, MAX_ENVELOPE_OCTETS)
        header = read_envelope(root, self.context.rules.schemas).header
        digest = take_apart(octets, root).message_digest
        now_ms = self.context.clock.now_ms()
        parts = {name: vector.octets(file) for name, file in told["parts"].items()}
        errand = errand_row(header, Role.OUT, told["peer"], now_ms, len(octets))
        rows: list[Row] = [
            message_row(
                header,
                digest,
                octets,
                Role.OUT,
                (self.context.here,),
                now_ms,
                standing=told["state"],
            ),
            *part_rows(header.reference, Role.OUT, parts),
            replace(errand, values={**errand.values, "handed": 1}),
        ]
        await self.store.run(unit(*rows))

    async def rows(self) -> list[Told]:
        """Every message it holds."""
        table = schema.message

        def read(connection: Connection) -> list[Told]:
            return [
                {
                    "role": row.role,
                    "message": {"authority": row.authority, "messageId": row.message_id},
                    "state": row.standing,
                    "reason": None if row.reason is None else _REASONS[row.reason].code,
                }
                for row in connection.execute(select(table))
            ]

        return _sorted(await self.store.read(read))

    def compare(self, number: int, answer: Sequence[Frame], expected: Sequence[Told]) -> None:
        """Frame by frame, but for those that need not be there."""
        frames = [frame for frame in answer if isinstance(frame, _TOLD)]
        self._answers[number] = [
            frame.octets for frame in frames if isinstance(frame, ReceiptFrame)
        ]
        wanted = [{key: row[key] for key in row if key != "same"} for row in expected]
        told = [self._told(frame) for frame in frames]
        assert told == wanted, f"step {number}: {told}, not {wanted}"
        for row in expected:
            if "same" in row:
                assert self._answers[number] == self._answers[row["same"]], f"step {number}"
        self.reasons += [
            next(one for one in Reason if one.code == row["reason"])
            for row in expected
            if row.get("reason")
        ]

    def _told(self, frame: Frame) -> Told:
        match frame:
            case ReceiptFrame(octets):
                held = verify_receipt(octets, self.context.trust()).receipt
                return {
                    "frame": "receipt",
                    "type": held.type.name.lower(),
                    "issuer": held.issuer,
                    "message": _reference(held.reference),
                    "reason": held.reason and held.reason.code,
                }
            case WantedFrame(reference, part_id, offset):
                message = _reference(reference)
                return {"frame": "wanted", "message": message, "partId": part_id, "offset": offset}
            case WaitingFrame(reference, sequence):
                message = _reference(reference)
                return {"frame": "waiting", "message": message, "sequence": sequence}
            case BusyFrame(reference=reference, reason=reason):
                return {"frame": "busy", "message": _reference(reference), "reason": reason.code}
            case NotHereFrame(reference=reference, reason=reason):
                message = _reference(reference)
                return {"frame": "not-here", "message": message, "reason": reason.code}
            case _:
                raise AssertionError(frame)


class _Silence:
    """Nobody can be reached."""

    async def post(
        self,
        peer: str,
        octets: bytes,
        *,
        wait_ms: int | None = None,
        sent: Callable[[], None] | None = None,
    ) -> bytes:
        del octets, wait_ms, sent
        raise UnavailableError(Reason.PEER_UNREACHABLE, peer)


def _reference(reference: MessageReference | None) -> Told | None:
    if reference is None:
        return None
    return {"authority": reference.authority, "messageId": reference.message_id}


def _sorted(rows: Sequence[Told]) -> list[Told]:
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


@cache
def _shared(folder: Path, here: str) -> tuple[Federation, Keyring]:
    """The documents in force and the node's keys."""
    anchor = TrustAnchor.read((folder / "anchor.json").read_bytes())
    files = [
        read_document(path, path.read_bytes()) for path in sorted((folder / "documents").iterdir())
    ]
    rows = json.loads((folder / "keys.json").read_bytes())
    held = [take_province(pin, files, None, START_MS) for pin in anchor.anchors]
    directory = Directory.merge(row.province for row in held)
    sheets = [open_sheet(row.octets, directory) for row in files if row.kind == SHEET_TYPE]
    items = [row.items for row in held if row.items is not None]
    keys = Keyring()
    for row in rows:
        if row["node"] == here:
            key = load_private_key(base64.b64decode(row["pkcs8"], validate=True))
            keys.put(KeyUse(row["use"]), row["owner"], key)
    return Federation(directory, Catalogue.merge(items, sheets, directory)), keys
