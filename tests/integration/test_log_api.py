"""What an auditor gets from a node: enough to check every proof without the node's code."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import pytest

from node.store.queries import find_by_id
from signing.log import LEAF_OCTETS, read_leaf, verify_head
from tests.homes import WUHAN, Homes, make_homes, window
from tests.integration.test_local_api import application, serving
from tests.loops import in_loop
from tests.trees import Recursive

if TYPE_CHECKING:
    from pathlib import Path

    from node.service import Service
    from tests.desk import Json


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    return make_homes(tmp_path_factory.mktemp("homes"))


@pytest.fixture
def homes(made: Homes, tmp_path: Path) -> Homes:
    return made.copy(tmp_path / "homes")


async def message_digest(service: Service, message_id: str) -> bytes:
    rows = await service.engine.context.store.read(lambda c: find_by_id(c, message_id))
    return rows[0].message_digest


def root_of(leaf: bytes, path: list[str], index: int, size: int) -> str:
    """RFC 9162 §2.1.3.2, as it is written (SHA-256)."""
    node, last = hashlib.sha256(b"\0" + leaf).digest(), size - 1
    for other in map(bytes.fromhex, path):
        if index & 1 or index == last:
            node = hashlib.sha256(b"\1" + other + node).digest()
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\1" + node + other).digest()
        index, last = index >> 1, last >> 1
    assert last == 0
    return node.hex()


@pytest.mark.spec("LG-12")
@in_loop
async def test_a_message_is_proven_at_once_and_by_arithmetic_alone(homes: Homes) -> None:
    async with serving(homes) as (desk, service, _):
        filed = await desk.submit(window(WUHAN), application())
        digest = await message_digest(service, filed["messageId"])
        proven = (await desk.get("/v1/log/proof", digest=digest.hex())).json
        # Sent by one authority of this node to another: it was sent, and perhaps taken already.
        sent = proven["leaves"][0]
        assert (sent["type"], sent["typeName"]) == ("message-sent", "报文发出")
        head: Json = proven["head"]
        for leaf in proven["leaves"]:
            octets = base64.b64decode(leaf["octets"])
            assert octets[9:] == digest
            root = root_of(octets, leaf["path"], leaf["index"], head["size"])
            assert root == head["root"]
        signed = base64.b64decode(head["octets"])
        trust = service.engine.context.federation.directory.trust
        verified = verify_head(signed, trust, WUHAN).head
        assert (verified.size, verified.root.hex()) == (head["size"], head["root"])


@pytest.mark.spec("LG-14")
@in_loop
async def test_tiles_and_leaves_are_the_whole_log(homes: Homes) -> None:
    async with serving(homes) as (desk, service, _):
        for _ in range(3):
            await desk.submit(window(WUHAN), application())
        await service.engine.log.drain()
        early = (await desk.get("/v1/log/growth", first="1")).json
        entries = (await desk.get("/v1/log/entries/0")).octets
        leaves = [entries[at : at + LEAF_OCTETS] for at in range(0, len(entries), LEAF_OCTETS)]
        assert read_leaf(leaves[0]).type.code == "birth"
        tree = Recursive(leaves)
        assert early["root"] == tree.root(early["size"]).hex()
        assert early["firstRoot"] == tree.root(1).hex()
        assert early["path"] == [node.hex() for node in tree.proof(1, early["size"])]
        tile = (await desk.get("/v1/log/tiles/0/0")).octets
        hashes = [tile[at : at + 32] for at in range(0, len(tile), 32)]
        assert hashes[: len(leaves)] == [tree.mth(at, at + 1) for at in range(len(leaves))]


@in_loop
async def test_what_is_not_in_the_log_is_said_so(homes: Homes) -> None:
    async with serving(homes) as (desk, service, _):
        await service.engine.log.drain()
        unknown = await desk.get("/v1/log/proof", digest="00" * 32)
        assert (unknown.status, unknown.problem) == (404, "leaf-unknown")
        for digest in ("", "00", "G" * 64, "AB" * 32):
            assert (await desk.get("/v1/log/proof", digest=digest)).status == 400
        for tile in ("9/0", "7/0", "0/99", "0/9999999999999", "x/0", "0/01"):
            assert (await desk.get(f"/v1/log/tiles/{tile}")).status == 404, tile
        for number in ("7", "-1", "00", "9" * 14):
            assert (await desk.get(f"/v1/log/entries/{number}")).status == 404, number
        assert (await desk.get("/v1/log/growth", first="999999")).status == 404
        assert (await desk.get("/v1/log/growth", first="2", size="1")).status == 404
        for first in ("0", "x", "1" * 16):
            assert (await desk.get("/v1/log/growth", first=first)).status == 400


@in_loop
async def test_health_shows_the_log_and_what_contradicts_itself(homes: Homes) -> None:
    async with serving(homes) as (desk, service, _):
        await desk.submit(window(WUHAN), application())
        await service.engine.log.drain()
        log = (await desk.get("/v1/health")).json["log"]
        assert log["size"] >= 3
        assert log["head"] is not None
        assert (log["trouble"], log["held"], log["alarms"]) == (None, [], [])
