"""What goes into an evidence file, by what stands in the store."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from node.context import Federation, NodeContext
from node.evidence import export_case, export_message
from node.ports import Insert
from node.store import schema
from node.store.engine import StoreEngine
from node.store.queries import Role
from node.store.rows import ended, message_row, part_rows
from node.store.sqlite import SqliteDatabase
from node.store.stores import InlineStore
from protocol.errors import RefusedError, UnavailableError
from protocol.reasons import Reason
from protocol.receipt import ReceiptType, read_receipt
from routing.catalogue import Catalogue
from routing.delivery import Standing
from routing.directory import Directory
from routing.directory_province import open_provinces
from signing.evidence import Outcome
from tests.evidence_files import (
    ANCHOR,
    EXPORTED_MS,
    PARTS,
    check,
    directories,
    keys,
    message,
    pieces,
)
from tests.messages import CASE_ID, HUB, NOW_MS, WUHAN, XIANGYANG, message_id, rules, verified
from tests.sim.memory_blobs import Disk, MemoryBlobs
from tests.store_kit import unit
from tests.unit.routing.provinces import FOREVER_MS, files_of, province

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Mapping
    from pathlib import Path

    from node.evidence import Export
    from signing.evidence import MessageToShow, Report

KEYS = keys()
DIRECTORY = Directory.merge(
    open_provinces([*directories(KEYS), *files_of(province("43", []))], ANCHOR), FOREVER_MS
)


class StoppedClock:
    def now_ms(self) -> int:
        return EXPORTED_MS

    async def sleep_ms(self, duration_ms: int) -> None:
        raise NotImplementedError


class NoEntropy:
    def octets(self, count: int) -> bytes:
        raise NotImplementedError


@dataclass
class Node:
    """A node that holds what a test gives it."""

    context: NodeContext

    def hold(
        self,
        one: MessageToShow,
        role: Role,
        *,
        settled: bool = True,
        parts: Mapping[str, bytes] | None = None,
    ) -> None:
        checked = verified(one.envelope, KEYS)
        reference = checked.envelope.header.reference
        *custody, final = one.receipts
        refused = read_receipt(final).receipt.type is ReceiptType.REFUSED
        standing = Standing.REFUSED if refused else Standing.RECEIVED
        outcome: dict[str, object] = {"standing": Standing.QUEUED.value}
        rows = [
            message_row(
                checked.envelope.header,
                checked.message_digest,
                one.envelope,
                role,
                (WUHAN,),
                NOW_MS,
                **(ended(standing, final, NOW_MS) if settled else outcome),
            ),
            *part_rows(reference, role, one.parts if parts is None else parts),
        ]
        for octets in custody:
            values = {
                "authority": reference.authority,
                "message_id": reference.message_id,
                "role": role.value,
                "issuer": read_receipt(octets).receipt.issuer,
                "receipt": octets,
            }
            rows.append(Insert(schema.custody, values))
        asyncio.run(self.context.store.run(unit(*rows)))

    def case(self) -> bytes:
        return asyncio.run(whole(export_case(self.context, CASE_ID)))

    def message(self, number: int = 1) -> bytes:
        return asyncio.run(whole(export_message(self.context, message_id(number))))


async def whole(exporting: Awaitable[Export]) -> bytes:
    """The file, and that it is as large as was said."""
    export = await exporting
    octets = b"".join([piece async for piece in export.octets()])
    assert len(octets) == export.size
    return octets


def make_node(folder: Path, node_id: str) -> tuple[Node, InlineStore]:
    store = InlineStore(StoreEngine(SqliteDatabase(folder / "node.db", durable=False), KEYS))
    federation = Federation(DIRECTORY, Catalogue.merge([], [], DIRECTORY))
    context = NodeContext(
        here=node_id,
        rules=rules(),
        keys=KEYS,
        store=store,
        blobs=MemoryBlobs(Disk(), random.Random(1)),
        clock=StoppedClock(),
        entropy=NoEntropy(),
        federation=federation,
    )
    return Node(context), store


@pytest.fixture
def wuhan(tmp_path: Path) -> Iterator[Node]:
    node, store = make_node(tmp_path, WUHAN)
    yield node
    asyncio.run(store.close())


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Node]:
    node, store = make_node(tmp_path, HUB)
    yield node
    asyncio.run(store.close())


def valid(octets: bytes) -> Report:
    report = check(octets)
    assert report.outcome is Outcome.VALID, report
    return report


def test_a_case_with_what_was_sent_and_what_came(wuhan: Node) -> None:
    wuhan.hold(message(KEYS, number=1, custody=[HUB]), Role.OUT)
    wuhan.hold(
        message(KEYS, number=2, from_node=XIANGYANG, to_node=WUHAN, kind="case.received"), Role.IN
    )
    report = valid(wuhan.case())
    assert report.about is not None
    assert (report.about.subject_id, report.about.node) == (CASE_ID, WUHAN)
    assert report.about.exported_ms == EXPORTED_MS
    assert [one.kind for one in report.proven] == ["case.submit", "case.received"]
    assert report.proven[0].custody == (HUB,)


@pytest.mark.spec("EV-18")
def test_only_the_directories_of_the_provinces_concerned_go_along(wuhan: Node) -> None:
    wuhan.hold(message(KEYS), Role.OUT)
    documents = [record.octets for record in pieces(wuhan.case()) if record.kind == 2]
    assert documents == directories(KEYS)


def test_erased_parts_are_reported(wuhan: Node) -> None:
    wuhan.hold(message(KEYS), Role.OUT, parts={})
    assert valid(wuhan.case()).proven[0].missing == tuple(PARTS)
    assert valid(wuhan.message()).proven[0].missing == tuple(PARTS)


def test_a_message_between_two_authorities_of_one_node_goes_in_once(wuhan: Node) -> None:
    local = message(KEYS, to_node=WUHAN)
    wuhan.hold(local, Role.OUT)
    wuhan.hold(local, Role.IN)
    assert len(valid(wuhan.case()).proven) == 1
    assert len(valid(wuhan.message()).proven) == 1


def test_the_end_that_knows_the_outcome_speaks(wuhan: Node) -> None:
    # Received and committed; the sending end has not read the answer yet.
    local = message(KEYS, to_node=WUHAN)
    wuhan.hold(local, Role.OUT, settled=False)
    wuhan.hold(local, Role.IN)
    assert len(valid(wuhan.case()).proven) == 1


@pytest.mark.spec("EV-16")
def test_what_is_on_its_way_waits_and_so_does_what_follows_it(wuhan: Node) -> None:
    wuhan.hold(message(KEYS, number=1, sequence=1), Role.OUT)
    wuhan.hold(message(KEYS, number=2, sequence=2), Role.OUT, settled=False)
    wuhan.hold(message(KEYS, number=3, sequence=3), Role.OUT)
    assert [one.sequence for one in valid(wuhan.case()).proven] == [1]
    with pytest.raises(UnavailableError) as caught:
        wuhan.message(2)
    assert caught.value.reason is Reason.RECEIPT_MISSING
    assert valid(wuhan.message(3)).proven


@pytest.mark.spec("EV-16")
def test_a_number_used_again_stays_out_of_the_case_and_is_proven_alone(wuhan: Node) -> None:
    refusal = RefusedError(Reason.SEQUENCE_USED, "1, next is 2")
    wuhan.hold(message(KEYS, number=1), Role.OUT)
    wuhan.hold(message(KEYS, number=2, sequence=1, parts={}, refusal=refusal), Role.OUT)
    (one,) = valid(wuhan.case()).proven
    assert one.outcome is ReceiptType.RECEIVED
    (other,) = valid(wuhan.message(2)).proven
    assert other.reason is Reason.SEQUENCE_USED


@pytest.mark.spec("EV-17")
def test_a_forwarder_proves_the_hand_over_and_shows_no_papers(hub: Node) -> None:
    hub.hold(message(KEYS), Role.TRANSIT)
    (one,) = valid(hub.message()).proven
    assert one.missing == tuple(PARTS)
    assert one.outcome is ReceiptType.RECEIVED


@pytest.mark.spec("CA-4")
def test_nothing_here(wuhan: Node) -> None:
    with pytest.raises(RefusedError) as caught:
        wuhan.case()
    assert caught.value.reason is Reason.CASE_UNKNOWN
    with pytest.raises(RefusedError) as caught:
        wuhan.message()
    assert caught.value.reason is Reason.MESSAGE_UNKNOWN


def test_two_senders_of_one_id_are_told_apart(wuhan: Node) -> None:
    own = message(KEYS, number=1)
    other = message(KEYS, number=1, from_node=XIANGYANG, to_node=WUHAN)
    wuhan.hold(own, Role.OUT)
    wuhan.hold(other, Role.IN)
    with pytest.raises(RefusedError, match="say whose") as caught:
        wuhan.message()
    assert caught.value.reason is Reason.MESSAGE_UNKNOWN
    authority = verified(other.envelope, KEYS).envelope.header.sender.authority
    octets = asyncio.run(whole(export_message(wuhan.context, message_id(1), authority)))
    assert valid(octets).proven[0].sender == authority
    # The case holds both: neither end can spoil the other's evidence.
    assert len(valid(wuhan.case()).proven) == 2
