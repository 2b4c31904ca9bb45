"""What forgers and forwarders may do to ids, numbers and papers: nothing that lasts."""

from __future__ import annotations

from asyncio import sleep
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import func, select

from node.outgoing import Draft
from node.parts.files import Material as File
from node.store import schema
from node.store.queries import Role
from protocol.bodies import Material
from protocol.envelope import CaseReference, Sender, read_validated
from protocol.frames import Frame, PartFrame, ReceiptFrame, read_frames, write_frames
from protocol.identifiers import case_id_of
from protocol.limits import MAX_ENVELOPE_OCTETS
from protocol.receipt import Receipt, ReceiptType, read_receipt
from protocol.wire import parse_canonical
from signing.keys import KeyUse
from tests.messages import make_key, sign_envelope
from tests.sim.craft import Message, Signed, receipt_in, sign
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG
from tests.sim.little import KIB, LIMITS, scan
from tests.sim.peers import SAMPLE, operator, play, submission

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from protocol.envelope import Envelope
    from signing.suites import PrivateKey
    from tests.sim.peers import DrivenNode, Stage

OPENING: Final = Message(WUHAN, XIANGYANG, submission(XIANGYANG), key_use=KeyUse.ENVELOPE)
CASE: Final = case_id_of(OPENING.reference.authority, OPENING.reference.message_id)
HONEST: Final = sign(replace(OPENING, case=CaseReference(CASE, 1)), SAMPLE.keyrings[WUHAN])


# --- forged ids


def unsigned(signed: Signed) -> Envelope:
    return read_validated(parse_canonical(signed.octets, MAX_ENVELOPE_OCTETS))


def key_of(node: str, use: KeyUse = KeyUse.ENVELOPE) -> PrivateKey:
    ring = SAMPLE.keyrings[node]
    return ring._keys[ring.find(use, operator(node).authority)]


def by_another_in_its_name() -> bytes:
    """Xiangyang's neighbour signs; the header names Wuhan and Wuhan's key."""
    return sign_envelope(unsigned(HONEST), key_of(EZHOU))


def by_another_with_its_own_key() -> bytes:
    """The neighbour's key, properly named; From is Wuhan all the same."""
    held = unsigned(HONEST)
    key = key_of(EZHOU)
    sender = Sender(WUHAN, held.header.sender.authority, key.public.key_id)
    return sign_envelope(replace(held, header=replace(held.header, sender=sender)), key)


def by_a_key_nobody_knows() -> bytes:
    """Wuhan's, for all the directory can tell: it does not know the key."""
    held = unsigned(HONEST)
    key = make_key("not yet in any directory", key_of(WUHAN).suite)
    sender = replace(held.header.sender, key=key.public.key_id)
    return sign_envelope(replace(held, header=replace(held.header, sender=sender)), key)


def by_its_ping_key() -> bytes:
    """Whoever runs Wuhan's node, without its authority."""
    held = unsigned(HONEST)
    key = key_of(WUHAN, KeyUse.PING)
    sender = replace(held.header.sender, key=key.public.key_id)
    return sign_envelope(replace(held, header=replace(held.header, sender=sender)), key)


def changed_on_the_way() -> bytes:
    """The honest message with another day to expire."""
    return HONEST.octets.replace(b"<Expires>2026-12-", b"<Expires>2026-11-")


def with_another_signature() -> bytes:
    """The honest content under the signature of another message."""
    other = sign(replace(OPENING, number=2, case=CaseReference(CASE, 2)), SAMPLE.keyrings[WUHAN])
    start = HONEST.octets.index(b"<ds:SignatureValue>")
    return HONEST.octets[:start] + other.octets[other.octets.index(b"<ds:SignatureValue>") :]


FORGERIES: Final = (
    by_another_in_its_name,
    by_another_with_its_own_key,
    by_a_key_nobody_knows,
    by_its_ping_key,
    changed_on_the_way,
    with_another_signature,
)


def rows(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(schema.message)).scalar_one())


@pytest.mark.spec("RC-4")
@pytest.mark.parametrize("asked", [False, True], ids=["presented", "asked about"])
@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forged_id_is_not_used_up(
    tmp_path: Path, forge: Callable[[], bytes], *, asked: bool
) -> None:
    """Id, number and case of a message are taken by whoever signed it, and by nobody else."""

    async def scene(stage: Stage) -> None:
        node = stage.node(XIANGYANG)
        forged = replace(HONEST, octets=forge()).via(HUB)
        assert forged.octets != HONEST.octets
        for _ in range(3):
            answer = await node.engine.exchange(HUB, forged.ask() if asked else forged.post())
            assert all(receipt.reference is None for receipt in receipts_in(answer))
        assert await node.read(rows) == 0
        honest = receipt_in(await node.engine.exchange(HUB, HONEST.via(HUB).post()))
        assert (honest.type, honest.reference) == (ReceiptType.RECEIVED, HONEST.reference)
        # And afterwards it ends nothing either, nor does it get the receipt of the honest one.
        answer = await node.engine.exchange(HUB, forged.ask() if asked else forged.post())
        assert all(receipt.reference is None for receipt in receipts_in(answer))
        assert (await node.row(HONEST.reference, Role.IN)).standing == "received"
        assert await node.read(rows) == 1

    play(tmp_path, scene)


def test_two_authorities_may_use_one_id(tmp_path: Path) -> None:
    """Whoever sees an id on its way cannot take it away by using it himself."""

    async def scene(stage: Stage) -> None:
        node = stage.node(XIANGYANG)
        ours, theirs = (
            sign(Message(origin, XIANGYANG), SAMPLE.keyrings[origin]) for origin in (WUHAN, EZHOU)
        )
        assert ours.reference.message_id == theirs.reference.message_id
        for message in (theirs, ours):
            receipt = receipt_in(await node.engine.exchange(HUB, message.via(HUB).post()))
            assert (receipt.type, receipt.reference) == (ReceiptType.RECEIVED, message.reference)

    play(tmp_path, scene)


def receipts_in(answer: bytes) -> list[Receipt]:
    frames = read_frames(answer)
    return [
        read_receipt(frame.octets).receipt for frame in frames if isinstance(frame, ReceiptFrame)
    ]


# --- papers damaged on the way


class Gate:
    """What stands between a hub and a destination, and bends the parts it lets through."""

    def __init__(self, behind: DrivenNode, bend: Callable[[list[Frame]], list[Frame]]) -> None:
        self._behind = behind
        self._bend = bend
        self.bent = 0
        self.receipts: list[Receipt] = []

    async def exchange(self, octets: bytes) -> bytes:
        frames = read_frames(octets)
        bent = write_frames(self._bend(frames))
        self.bent += bent != octets
        answer = await self._behind.engine.exchange(HUB, bent)
        self.receipts += receipts_in(answer)
        return answer


def on_parts(change: Callable[[PartFrame], list[Frame]]) -> Callable[[list[Frame]], list[Frame]]:
    def bend(frames: list[Frame]) -> list[Frame]:
        return [
            new
            for frame in frames
            for new in (change(frame) if isinstance(frame, PartFrame) else [frame])
        ]

    return bend


def flip(frame: PartFrame) -> list[Frame]:
    octets = bytes([frame.octets[0] ^ 1]) + frame.octets[1:]
    return [replace(frame, octets=octets)]


def shorten(frame: PartFrame) -> list[Frame]:
    return [replace(frame, octets=frame.octets[:-1])]


def lengthen(frame: PartFrame) -> list[Frame]:
    return [replace(frame, octets=frame.octets + b"\0")]


def empty(frame: PartFrame) -> list[Frame]:
    return [replace(frame, octets=b"")]


def drop(_frame: PartFrame) -> list[Frame]:
    return []


def rename(frame: PartFrame) -> list[Frame]:
    return [replace(frame, part_id="m9")]


def add(frame: PartFrame) -> list[Frame]:
    return [frame, replace(frame, part_id="m9")]


def misplace(frame: PartFrame) -> list[Frame]:
    other = Message(EZHOU, XIANGYANG).reference
    return [replace(frame, reference=other)]


def swap(frames: list[Frame]) -> list[Frame]:
    """The octets of every two parts that follow one another."""
    places = [place for place, frame in enumerate(frames) if isinstance(frame, PartFrame)]
    swapped = list(frames)
    for one, other in zip(places[::2], places[1::2], strict=False):
        first, second = frames[one], frames[other]
        if isinstance(first, PartFrame) and isinstance(second, PartFrame):
            swapped[one] = replace(first, octets=second.octets)
            swapped[other] = replace(second, octets=first.octets)
    return swapped


BENDS: Final = {
    "flip": on_parts(flip),
    "shorten": on_parts(shorten),
    "lengthen": on_parts(lengthen),
    "empty": on_parts(empty),
    "drop": on_parts(drop),
    "rename": on_parts(rename),
    "add": on_parts(add),
    "misplace": on_parts(misplace),
    "swap": swap,
}


def with_papers(node: DrivenNode, size: int) -> Draft:
    """A case for Xiangyang with two scans of this size."""
    papers = {f"m{number}": scan(size, number) for number in (1, 2)}
    listed = tuple(Material(name, "扫描件", "electronic", "B", 1, part=name) for name in papers)
    files = {name: File("application/pdf", octets) for name, octets in papers.items()}
    sender, recipient = operator(node.node_id).authority, operator(XIANGYANG)
    return Draft(sender, submission(XIANGYANG, listed), materials=files, recipient=recipient)


@pytest.mark.spec("PA-2")
@pytest.mark.parametrize("size", [KIB, 3 * KIB], ids=["beside the envelope", "in pieces"])
@pytest.mark.parametrize("bend", BENDS.values(), ids=BENDS)
def test_a_hub_that_damages_papers_ends_nothing(
    tmp_path: Path, bend: Callable[[list[Frame]], list[Frame]], size: int
) -> None:
    """Under an authentic envelope a bad part is never a signed refusal: it is asked for again."""

    async def scene(stage: Stage) -> None:
        node, hub, destination = (
            stage.node(name, parts=LIMITS) for name in (WUHAN, HUB, XIANGYANG)
        )
        gate = Gate(destination, bend)
        node.reaches(hub)
        hub.reaches(node)
        destination.reaches(hub)
        hub.peers[XIANGYANG] = gate.exchange
        await hub.run()
        await destination.run()
        filed = await node.file(with_papers(node, size))
        await node.run()
        await sleep(120)
        assert gate.bent > 3
        assert await node.standing(filed) == "custody"
        assert [one for one in gate.receipts if one.reference is not None] == []
        assert await destination.read(rows) == 0
        hub.reaches(destination)
        await sleep(1200)
        assert await node.standing(filed) == "received"

    play(tmp_path, scene)
