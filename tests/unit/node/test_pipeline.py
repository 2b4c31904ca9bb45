"""What a node answers to whatever a peer may present: the bad-input half of the exchange."""

from __future__ import annotations

import asyncio
import random
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from node.store import schema
from node.store.queries import Role, find_message, queue_lengths
from protocol.bodies import CaseVoid
from protocol.envelope import CaseReference
from protocol.frames import (
    AskFrame,
    BusyFrame,
    EnvelopeFrame,
    NotHereFrame,
    PartFrame,
    ReceiptFrame,
    WantedFrame,
    write_frames,
)
from protocol.identifiers import case_id_of, make_uuid7
from protocol.limits import (
    MAX_CLOCK_SKEW_MS,
    MAX_ENVELOPE_OCTETS,
    MAX_POST_MESSAGES,
    MAX_POST_OCTETS,
)
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from signing.keys import KeyUse
from signing.receipts import concerns, verify_receipt
from signing.suites import Suite, digest
from tests.samples import CLERK
from tests.sim.agents import SALT
from tests.sim.craft import Message, Signed, only, receipt_in, sign
from tests.sim.federation import EZHOU, HUB, HUNAN, RULES, WUHAN, XIANGYANG, YUEYANG, make_sample
from tests.sim.keyring import Keyring
from tests.sim.loop import START_MS, run_virtual
from tests.sim.peers import submission
from tests.sim.weather import Network
from tests.sim.world import SimNode
from tests.unit.routing.provinces import uscc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

SAMPLE = make_sample()
MINUTE_MS = 60_000


@pytest.fixture
def at(tmp_path: Path) -> Any:
    """Run a scene at one node of the sample federation."""

    def run(node_id: str, scene: Any) -> Any:
        async def play() -> Any:
            node = SimNode(
                node_id,
                tmp_path,
                SAMPLE.keyrings[node_id],
                RULES,
                SAMPLE.federation,
                random.Random(1),
            )
            nodes = {node_id: node}
            node.start(Network(random.Random(2), nodes))
            try:
                return await scene(node)
            finally:
                await node.crash()

        return run_virtual(play())

    return run


async def present(node: SimNode, peer: str, post: bytes) -> bytes:
    assert node.engine is not None
    return await node.engine.exchange(peer, post)


def count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(schema.message)).scalar_one()


def ping(origin: str = WUHAN, destination: str = EZHOU, **changes: Any) -> Signed:
    return sign(Message(origin, destination, **changes), SAMPLE.keyrings[origin])


@pytest.mark.spec("RC-14")
def test_an_honest_ping_is_received_and_recorded(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        message = ping()
        answer = only(await present(node, WUHAN, message.post()))
        assert isinstance(answer, ReceiptFrame)
        verified = verify_receipt(answer.octets, SAMPLE.directory.trust)
        assert verified.receipt.type is ReceiptType.RECEIVED
        assert verified.receipt.issuer == EZHOU
        row = await node.read(lambda c: find_message(c, message.reference, Role.IN))
        assert row is not None
        assert concerns(verified, message.reference, row.message_digest, message.octets)
        assert row.receipt == answer.octets

    at(EZHOU, scene)


@pytest.mark.spec("EX-5", "EX-30", "RC-19")
def test_the_same_again_gets_the_very_same_receipt_and_one_delivery(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        message = ping()
        first = await present(node, WUHAN, message.post())
        assert await present(node, WUHAN, message.post()) == first
        # Once by the direct link, once by the hub: still one message.
        assert await present(node, HUB, message.via(HUB).post()) == first
        assert await node.read(count) == 1

    at(EZHOU, scene)


@pytest.mark.spec("EX-5", "EX-30", "RC-19")
def test_a_duplicate_after_a_crash_gets_the_same_receipt(tmp_path: Path) -> None:
    async def play() -> None:
        node = SimNode(
            EZHOU,
            tmp_path,
            SAMPLE.keyrings[EZHOU],
            RULES,
            SAMPLE.federation,
            random.Random(1),
        )
        network = Network(random.Random(2), {EZHOU: node})
        node.start(network)
        first = await present(node, WUHAN, ping().post())
        await node.crash()
        node.start(network)
        assert await present(node, WUHAN, ping().post()) == first
        await node.crash()

    run_virtual(play())


@pytest.mark.spec("EN-12", "EX-5", "EX-31")
def test_another_content_under_a_used_id_is_refused_and_changes_nothing(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        first = await present(node, WUHAN, ping().post())
        other = ping(lifetime_ms=MINUTE_MS * 60)
        assert other.reference == ping().reference
        receipt = receipt_in(await present(node, WUHAN, other.post()))
        assert receipt.reason is Reason.MESSAGE_ID_REUSED
        assert await present(node, WUHAN, ping().post()) == first

    at(EZHOU, scene)


def flipped(octets: bytes, before: bytes) -> bytes:
    """The octets with one bit changed just before a mark."""
    place = octets.index(before) - 3
    return octets[:place] + bytes([octets[place] ^ 1]) + octets[place + 1 :]


SPOILS: dict[str, tuple[Callable[[bytes], bytes], Reason]] = {
    "cut short": (lambda octets: octets[:-1], Reason.NOT_WELL_FORMED),
    "declaration": (lambda octets: b'<?xml version="1.0"?>' + octets, Reason.NOT_CANONICAL),
    "space in a tag": (lambda o: o.replace(b"<Header>", b"<Header >"), Reason.NOT_CANONICAL),
    "doctype": (lambda octets: b"<!DOCTYPE a>" + octets, Reason.NOT_CANONICAL),
    "utf-16": (lambda octets: octets.decode().encode("utf-16"), Reason.NOT_CANONICAL),
    "rubbish": (lambda _: b"\x00\xff rubbish", Reason.NOT_CANONICAL),
    "nothing": (lambda _: b"", Reason.NOT_CANONICAL),
    "unsigned": (lambda o: o[: o.index(b"<ds:Sig")] + b"</Envelope>", Reason.SIGNATURE_MISSING),
    "template": (lambda o: o.replace(b"Transforms>", b"transforms>"), Reason.SIGNATURE_PROFILE),
    "kind": (lambda o: o.replace(b"<Kind>ping", b"<Kind>pong"), Reason.KIND_UNKNOWN),
    "address": (lambda o: o.replace(b'"420700"', b'"420600"'), Reason.DIGEST_MISMATCH),
    "signature": (lambda o: flipped(o, b"=</ds:SignatureValue>"), Reason.SIGNATURE_INVALID),
    "too large": (lambda octets: octets + b" " * MAX_ENVELOPE_OCTETS, Reason.TOO_LARGE),
}


@pytest.mark.spec("EX-35", "RC-4")
@pytest.mark.parametrize("name", SPOILS)
def test_what_is_not_authentic_is_refused_by_its_octets_and_leaves_no_trace(
    at: Any,
    name: str,
) -> None:
    spoil, reason = SPOILS[name]

    async def scene(node: SimNode) -> None:
        message = ping()
        octets = spoil(message.octets)
        answer = only(await present(node, WUHAN, write_frames([EnvelopeFrame((WUHAN,), octets)])))
        assert isinstance(answer, ReceiptFrame)
        receipt = verify_receipt(answer.octets, SAMPLE.directory.trust).receipt
        assert (receipt.type, receipt.reason) == (ReceiptType.REFUSED, reason)
        assert receipt.reference is None
        assert await node.read(count) == 0
        # The id was not used up by the forgery: the real message still arrives.
        honest = receipt_in(await present(node, WUHAN, message.post()))
        assert honest.type is ReceiptType.RECEIVED

    at(EZHOU, scene)


@pytest.mark.spec("EX-1", "RC-4")
def test_a_post_that_is_no_frames_is_refused_whole(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        whole = ping().post()
        for octets in (whole[:-1], b"\x09\x00\x00\x00\x00", b"\x01\xff\xff\xff\xff", b"GET / HTTP"):
            receipt = receipt_in(await present(node, WUHAN, octets))
            assert receipt.reason is Reason.FRAME_MALFORMED
        receipt = receipt_in(await present(node, WUHAN, bytes(MAX_POST_OCTETS + 1)))
        assert receipt.reason is Reason.TOO_LARGE
        assert await node.read(count) == 0

    at(EZHOU, scene)


@pytest.mark.spec("LI-4")
def test_a_post_of_too_many_messages_is_refused_whole(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        crowd = [EnvelopeFrame((WUHAN,), b"<a></a>")] * MAX_POST_MESSAGES
        assert (await present(node, WUHAN, write_frames(crowd))).count(b"TBR1") == 256
        one_more = write_frames([*crowd, AskFrame((WUHAN,), b"<a></a>")])
        receipt = receipt_in(await present(node, WUHAN, one_more))
        assert receipt.reason is Reason.TOO_LARGE
        assert receipt.octets_digest == digest(Suite(receipt.suite), one_more)

    at(EZHOU, scene)


@pytest.mark.spec("TR-1")
def test_a_foreign_key_is_transient_because_our_directory_may_be_old(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        stranger = Keyring()
        stranger.add(KeyUse.RECEIPT, "990000")
        stranger._by_use[KeyUse.PING, uscc(WUHAN)] = stranger.find(KeyUse.RECEIPT, "990000")
        message = sign(Message(WUHAN, EZHOU), stranger)
        answer = only(await present(node, WUHAN, message.post()))
        assert isinstance(answer, BusyFrame)
        assert answer.reason is Reason.KEY_UNKNOWN
        assert await node.read(count) == 0

    at(EZHOU, scene)


@pytest.mark.spec("SG-6", "SU-8")
def test_one_key_one_use(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        message = ping(key_use=KeyUse.ENVELOPE)
        receipt = receipt_in(await present(node, WUHAN, message.post()))
        assert receipt.reason is Reason.KEY_USE

    at(EZHOU, scene)


@pytest.mark.spec("SG-7")
def test_nobody_signs_for_another_authority(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        message = ping(authority=uscc(XIANGYANG))
        receipt = receipt_in(await present(node, WUHAN, message.post()))
        assert receipt.reason is Reason.KEY_OWNER

    at(EZHOU, scene)


@pytest.mark.spec("EN-3")
def test_trial_and_production_do_not_mix(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        receipt = receipt_in(await present(node, WUHAN, ping(environment="production").post()))
        assert receipt.reason is Reason.ENVIRONMENT_MISMATCH

    at(EZHOU, scene)


@pytest.mark.spec("TR-2")
def test_a_message_from_the_future_waits(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        early = START_MS + MAX_CLOCK_SKEW_MS + MINUTE_MS
        message = ping(created_ms=early)
        answer = only(await present(node, WUHAN, message.post()))
        assert isinstance(answer, BusyFrame)
        assert answer.reason is Reason.CLOCK_SKEW
        await asyncio.sleep(120)
        assert receipt_in(await present(node, WUHAN, message.post())).type is ReceiptType.RECEIVED

    at(EZHOU, scene)


@pytest.mark.spec("EX-33", "EX-36", "EX-37")
def test_an_expired_message_leaves_a_tombstone_that_says_so_for_ever(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        message = ping(lifetime_ms=MINUTE_MS)
        await asyncio.sleep(61)
        # Presented as if it lived: one of the two clocks is wrong, and nothing is decided.
        early = only(await present(node, WUHAN, message.post()))
        assert isinstance(early, BusyFrame)
        assert early.reason is Reason.CLOCK_SKEW
        assert await node.read(count) == 0
        # Asked about: by its sender's clock too it is over.
        first = await present(node, WUHAN, message.ask())
        receipt = receipt_in(first)
        assert receipt.reason is Reason.EXPIRED
        assert receipt.reference == message.reference
        assert await present(node, WUHAN, message.post()) == first

    at(EZHOU, scene)


@pytest.mark.spec("EX-38", "EX-39")
def test_a_question_before_expiry_is_answered_with_send_it(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        message = ping()
        answer = only(await present(node, WUHAN, message.ask()))
        assert isinstance(answer, WantedFrame)
        assert await node.read(count) == 0
        stored = await present(node, WUHAN, message.post())
        assert await present(node, WUHAN, message.ask()) == stored

    at(EZHOU, scene)


@pytest.mark.spec("PA-1", "PA-2", "PA-3")
def test_a_missing_or_damaged_part_is_asked_for_never_refused(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        message = ping(files={"m1": b"%PDF scan"})
        frames = message.frames()
        wanted = only(await present(node, WUHAN, write_frames(frames[:-1])))
        assert isinstance(wanted, WantedFrame)
        assert (wanted.reference, wanted.part_id, wanted.offset) == (message.reference, "m1", 0)
        damaged = PartFrame(message.reference, "m1", 0, b"%PDF scam")
        busy = only(await present(node, WUHAN, write_frames([*frames[:-1], damaged])))
        assert isinstance(busy, BusyFrame)
        assert busy.reason is Reason.PART_MISMATCH
        surplus = PartFrame(message.reference, "m2", 0, b"more")
        busy = only(await present(node, WUHAN, write_frames([*frames, surplus])))
        assert isinstance(busy, BusyFrame)
        assert busy.reason is Reason.PART_UNEXPECTED
        assert await node.read(count) == 0
        assert receipt_in(await present(node, WUHAN, message.post())).type is ReceiptType.RECEIVED

    at(EZHOU, scene)


@pytest.mark.spec("EX-2", "RT-10")
def test_a_peer_presents_only_what_it_may(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        theirs = ping(XIANGYANG, EZHOU)
        for peer, message in ((WUHAN, theirs), (WUHAN, theirs.via(WUHAN)), (HUB, theirs)):
            answer = only(await present(node, peer, message.post()))
            assert isinstance(answer, NotHereFrame)
            assert answer.reason is Reason.PEER_NOT_FORWARDER
        assert await node.read(count) == 0

    at(EZHOU, scene)


@pytest.mark.spec("RT-3")
def test_a_node_that_sees_itself_on_the_path_says_so(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        message = ping(XIANGYANG, WUHAN).via(HUB, HUNAN)
        answer = only(await present(node, HUNAN, message.post()))
        assert isinstance(answer, NotHereFrame)
        assert answer.reason in (Reason.LOOP, Reason.PEER_NOT_FORWARDER)
        looped = only(await present(node, XIANGYANG, ping(XIANGYANG, YUEYANG).post()))
        assert isinstance(looped, ReceiptFrame)
        back = ping(YUEYANG, WUHAN).via(HUNAN, HUB, HUNAN)
        answer = only(await present(node, HUNAN, back.post()))
        assert isinstance(answer, NotHereFrame)
        assert answer.reason is Reason.LOOP

    at(HUB, scene)


@pytest.mark.spec("RT-1")
def test_only_a_hub_forwards(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        answer = only(await present(node, WUHAN, ping(WUHAN, XIANGYANG).post()))
        assert isinstance(answer, NotHereFrame)
        assert answer.reason is Reason.NOT_FOR_US

    at(EZHOU, scene)


@pytest.mark.spec("EX-41", "EX-42")
def test_a_hub_takes_custody_which_is_no_receipt_of_the_destination(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        message = ping(WUHAN, XIANGYANG)
        receipt = receipt_in(await present(node, WUHAN, message.post()))
        assert (receipt.type, receipt.issuer) == (ReceiptType.CUSTODY, HUB)
        assert await node.read(queue_lengths) == {XIANGYANG: 1}
        again = receipt_in(await present(node, WUHAN, message.post()))
        assert again.type is ReceiptType.CUSTODY
        assert await node.read(queue_lengths) == {XIANGYANG: 1}

    at(HUB, scene)


@pytest.mark.spec("BO-7")
def test_a_hub_looks_at_no_body(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        # A ping's body, said to be a case.void: its destination will refuse it.
        case = CaseReference(make_uuid7(START_MS, bytes(10)), 1)
        bent = Message(WUHAN, XIANGYANG, kind="case.void", case=case, key_use=KeyUse.ENVELOPE)
        message = sign(bent, SAMPLE.keyrings[WUHAN])
        receipt = receipt_in(await present(node, WUHAN, message.post()))
        assert (receipt.type, receipt.issuer) == (ReceiptType.CUSTODY, HUB)

    at(HUB, scene)


@pytest.mark.spec("RT-5")
@pytest.mark.parametrize("kind", ["ping", "case.submit", "case.void"])
def test_an_authority_that_is_not_here_is_refused_by_name(at: Any, kind: str) -> None:
    bodies = {"case.submit": submission(EZHOU), "case.void": CaseVoid(SALT, CLERK, "空号")}

    async def scene(node: SimNode) -> None:
        message = ping(to_authority=uscc(XIANGYANG))
        if kind in bodies:
            case = CaseReference(case_id_of(*astuple(message.reference)), 1)
            said: dict[str, Any] = {"body": bodies[kind], "case": case, "key_use": KeyUse.ENVELOPE}
            message = ping(to_authority=uscc(XIANGYANG), **said)
        receipt = receipt_in(await present(node, WUHAN, message.post()))
        assert receipt.reason is Reason.AUTHORITY_NOT_HERE
        assert uscc(XIANGYANG) in receipt.detail

    at(EZHOU, scene)


@pytest.mark.spec("RC-2")
def test_a_receipt_nobody_asked_for_is_not_here(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        stored = only(await present(node, WUHAN, ping().post()))
        assert isinstance(stored, ReceiptFrame)
        answer = only(await present(node, WUHAN, write_frames([stored])))
        assert isinstance(answer, NotHereFrame)
        assert answer.reason is Reason.RECEIPT_UNKNOWN

    at(EZHOU, scene)


@pytest.mark.spec("EX-40")
def test_two_hundred_bad_neighbours_do_not_disturb_a_good_message(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        bad = [EnvelopeFrame((WUHAN,), b"<a></a>")] * 200
        message = ping()
        answer = await present(node, WUHAN, write_frames([*bad, *message.frames()]))
        assert answer.count(b"TBR1") == 201
        assert await node.read(count) == 1

    at(EZHOU, scene)
