"""A file with large parts takes no memory, neither to write nor to check."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import schemas
from node.cli.octets import opened
from node.evidence import export_message, verify_file
from node.store.queries import Role, StoredBlob
from node.store.rows import blob_rows
from protocol.errors import UnavailableError
from protocol.limits import MIB
from signing.evidence import MessageToShow, Outcome
from signing.running import running_digest
from signing.suites import Suite
from tests.evidence_files import ANCHOR
from tests.messages import (
    BODY,
    WUHAN,
    envelope,
    message_id,
    part,
    receipt_for,
    rules,
    signed_by_sender,
    verified,
)
from tests.store_kit import unit
from tests.unit.node.test_evidence_store import KEYS, make_node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from node.ports import Blobs
    from tests.unit.node.test_evidence_store import Node

SIZE = 64 * MIB + 1
BOUND = 12 * MIB
BLOB = "ab" * 32


class Zeros:
    """A disk with one large part, of which some may be missing."""

    def __init__(self, held: int = SIZE) -> None:
        self.held = held

    async def read(self, name: str, offset: int, length: int) -> bytes:
        assert name == BLOB
        return bytes(max(0, min(length, self.held - offset)))


@contextmanager
def bounded() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < BOUND, f"{peak / MIB:.1f} MiB"


def node_with_film(folder: Path, blobs: Zeros) -> Node:
    node, _ = make_node(folder, WUHAN)
    running = running_digest(Suite.P256)
    for offset in range(0, SIZE, MIB):
        running.update(bytes(min(MIB, SIZE - offset)))
    unsigned = envelope(KEYS, parts={"body": BODY})
    film = part("film", b"", Suite.P256, size=SIZE, digest=running.digest())
    octets = signed_by_sender(replace(unsigned, parts=(*unsigned.parts, film)), KEYS)
    checked = verified(octets, KEYS)
    receipt = receipt_for(checked, KEYS, checked.envelope.header.recipient.node)
    node.hold(MessageToShow(octets, {"body": BODY}, [receipt]), Role.OUT)
    rows = blob_rows(checked.envelope.header.reference, Role.OUT, {"film": StoredBlob(BLOB, SIZE)})
    asyncio.run(node.context.store.run(unit(*rows)))
    held: Blobs = blobs  # type: ignore[assignment]  # it is only read here
    node.context.blobs = held
    return node


async def write(node: Node, path: Path) -> int:
    export = await export_message(node.context, message_id(1))
    with path.open("wb") as file:
        async for octets in export.octets():
            file.write(octets)
    return export.size


@pytest.mark.spec("EV-31")
def test_a_large_part_goes_through_in_pieces(tmp_path: Path) -> None:
    node, path = node_with_film(tmp_path, Zeros()), tmp_path / "case.tbev"
    with bounded():
        said = asyncio.run(write(node, path))
    assert path.stat().st_size == said > SIZE
    kinds = rules().kinds
    with opened(path) as octets, bounded():
        report = verify_file(octets, ANCHOR, schemas.compiled(), kinds)
    assert report.outcome is Outcome.VALID
    assert report.proven[0].missing == ()
    # Any octet of it counts.
    with path.open("r+b") as file:
        file.seek(SIZE // 2)
        file.write(b"\1")
    with opened(path) as octets:
        assert verify_file(octets, ANCHOR, schemas.compiled(), kinds).steps[-1].name == "parts"
    os.truncate(path, SIZE // 2)
    with opened(path) as octets:
        assert verify_file(octets, ANCHOR, schemas.compiled(), kinds).steps[-1].name == "container"


def test_a_part_that_went_meanwhile_ends_the_export(tmp_path: Path) -> None:
    node = node_with_film(tmp_path, Zeros(held=MIB * 3 // 2))
    with pytest.raises(UnavailableError, match=r"part film .* went meanwhile"):
        asyncio.run(write(node, tmp_path / "case.tbev"))
