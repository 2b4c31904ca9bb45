"""What a peer may hand over in a recall: what was signed, once, in order; and how long it may last.

武汉 recovers. Its peers are its hub and 鄂州; each scene says what they hand over.
"""

from __future__ import annotations

from asyncio import sleep
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import pytest
from sqlalchemy import select

from node.cases import Side
from node.log.reading import all_births, breaks
from node.ports import Decision, Unit
from node.recovery.asking import MOST_STRANGE
from node.recovery.gate import Phase
from node.recovery.state import begun, recall_row
from node.store import schema
from node.store.queries import Role, find_blobs, find_case, find_message, find_parts
from protocol.bodies import CaseAccept, CaseReceived
from protocol.envelope import CaseReference
from protocol.frames import (
    BusyFrame,
    Frame,
    HeldFrame,
    PageFrame,
    Piece,
    RecalledFrame,
    RecallFrame,
    ReceiptFrame,
    read_frames,
    write_frames,
)
from protocol.identifiers import case_id_of, make_uuid7
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from signing.keys import KeyUse
from signing.log import LeafType, read_head
from signing.receipts import draft_receipt, sign_receipt
from signing.verify import verify_envelope
from tests.log_kit import types_of
from tests.samples import OFFICER
from tests.sim.agents import SALT
from tests.sim.craft import Message, Signed, receipt_in, sign
from tests.sim.federation import EZHOU, HUB, RULES, WUHAN, XIANGYANG
from tests.sim.little import KIB, LIMITS, scan
from tests.sim.loop import START_MS
from tests.sim.peers import SAMPLE, now_ms, play, submission
from tests.sim.test_attacks_on_logs import alarms_of, head_of
from tests.unit.routing.provinces import uscc

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from protocol.bodies import Body
    from tests.sim.peers import DrivenNode, Handler, Stage

MANY_S = 600
Script: TypeAlias = Callable[[RecallFrame], Sequence[Frame]]


def hands_over(script: Script, after_s: float = 0) -> Handler:
    """It answers recalls by this script, and nothing else."""

    async def answer(octets: bytes) -> bytes:
        await sleep(after_s)
        asked = [frame for frame in read_frames(octets) if isinstance(frame, RecallFrame)]
        return write_frames(script(asked[0]) if asked else ())

    return answer


def all_of(*frames: Frame, following: bytes = b"") -> Script:
    """One page; the last, if nothing follows."""
    return lambda asked: [*frames, PageFrame(asked.since_ms, asked.cursor, following)]


def said(signed: Signed, kind: ReceiptType = ReceiptType.RECEIVED, issuer: str = WUHAN) -> bytes:
    """A receipt about it."""
    keys = SAMPLE.keyrings[issuer]
    key = keys.public(keys.find(KeyUse.RECEIPT, issuer))
    draft = draft_receipt(kind, issuer, key, signed.octets, START_MS, reference=signed.reference)
    return sign_receipt(replace(draft, message_digest=digest_of(signed)), keys)


def digest_of(signed: Signed) -> bytes:
    """The DigestValue in its signature."""
    return verify_envelope(
        signed.octets, RULES, SAMPLE.directory.trust, START_MS, live=False
    ).message_digest


def told(signed: Signed, *receipts: bytes, parts: bool = True) -> RecalledFrame:
    """It, whole."""
    pieces = [Piece(name, 0, octets) for name, octets in signed.parts.items() if parts]
    return RecalledFrame(signed.octets, receipts, tuple(pieces), last=True)


def ping(origin: str = EZHOU, destination: str = WUHAN, number: int = 1) -> Signed:
    return sign(Message(origin, destination, number=number), SAMPLE.keyrings[origin])


async def recovering(stage: Stage, hub: Script, ezhou: Script | None = None) -> DrivenNode:
    """武汉, whose operator knows that it was put back."""
    node = stage.node(WUHAN, parts=LIMITS)
    node.peers[HUB], node.peers[EZHOU] = hands_over(hub), hands_over(ezhou or all_of(), 1)
    await node.engine.prepare(recover=True)
    await node.run()
    return node


async def standing(node: DrivenNode, signed: Signed, role: Role = Role.IN) -> str | None:
    row = await node.read(lambda c: find_message(c, signed.reference, role))
    return None if row is None else row.standing


# what is believed


@pytest.mark.spec("RV-8", "RV-7")
def test_what_was_signed_is_taken_whoever_hands_it_over(tmp_path: Path) -> None:
    """To us, by our receipt; ours, by our authority's signature; passed on, by our custody."""

    async def scene(stage: Stage) -> None:
        to_us, ours, passed = ping(), ping(WUHAN, EZHOU, 2), ping(EZHOU, XIANGYANG, 3)
        custody = said(passed, ReceiptType.CUSTODY)
        theirs = said(passed, issuer=XIANGYANG)
        page = all_of(told(to_us, said(to_us)), told(ours), told(passed, custody, theirs))
        node = await recovering(stage, page)
        await sleep(5)
        assert node.engine.recovery.working
        assert await standing(node, to_us) == "received"
        assert await standing(node, ours, Role.OUT) == "queued"
        assert await standing(node, passed, Role.TRANSIT) == "received"
        # The same again is answered by the receipt there was, octet by octet.
        answer = read_frames(await node.engine.exchange(EZHOU, to_us.post()))
        assert ReceiptFrame(said(to_us)) in answer

    play(tmp_path, scene)


@pytest.mark.spec("RV-8")
@pytest.mark.parametrize(
    "lie", ["no receipt", "another's receipt", "cut receipt", "bent", "foreign"]
)
def test_nothing_can_be_made_up(tmp_path: Path, lie: str) -> None:
    async def scene(stage: Stage) -> None:
        signed, ours = ping(), ping(WUHAN, EZHOU)
        frames = {
            "no receipt": told(signed),
            "another's receipt": told(signed, said(signed, issuer=EZHOU), said(ping(number=2))),
            "cut receipt": told(signed, said(signed)[:-1] + b"\0"),
            "bent": told(replace(ours, octets=ours.octets.replace(b"420700", b"420000"))),
            "foreign": told(ping(EZHOU, HUB), said(ping(EZHOU, HUB), issuer=HUB)),
        }
        node = await recovering(stage, all_of(frames[lie]))
        await sleep(5)
        assert node.engine.recovery.working
        for name in (signed, ours):
            for role in Role:
                assert await standing(node, name, role) is None

    play(tmp_path, scene)


@pytest.mark.spec("RV-8")
def test_what_one_peer_keeps_back_another_adds(tmp_path: Path) -> None:
    """The hub hands over a wrong film and no body; 鄂州 has both."""

    async def scene(stage: Stage) -> None:
        film = scan(3 * KIB)
        message = Message(EZHOU, WUHAN, files={"film": film})
        signed = sign(message, SAMPLE.keyrings[EZHOU])
        receipt = said(signed)

        def pieces(octets: bytes) -> list[RecalledFrame]:
            return [
                RecalledFrame(
                    signed.octets,
                    (receipt,),
                    (Piece("film", at, octets[at : at + KIB]),),
                    last=False,
                )
                for at in range(0, len(octets), KIB)
            ]

        body = Piece("body", 0, signed.parts["body"])
        hub = all_of(
            *pieces(bytes(3 * KIB)), RecalledFrame(signed.octets, (receipt,), (), last=True)
        )
        ezhou = all_of(*pieces(film), RecalledFrame(signed.octets, (receipt,), (body,), last=True))
        node = await recovering(stage, hub, ezhou)
        await sleep(5)
        assert node.engine.recovery.working
        row = await node.row(signed.reference, Role.IN)
        small = await node.read(lambda c: find_parts(c, [row]))
        large = await node.read(lambda c: find_blobs(c, [row]))
        assert small[row.name] == {"body": signed.parts["body"]}
        assert node.disk.sealed[large[row.name]["film"].name] == film
        assert len(node.disk.sealed) == 1
        assert node.disk.unsealed == {}

    play(tmp_path, scene)


@pytest.mark.spec("RV-12", "RV-13")
def test_what_a_lost_receipt_had_taken_is_taken_again_in_its_place(tmp_path: Path) -> None:
    """Our receipt for the second step arrived, that for the first did not: it is sent again."""

    async def scene(stage: Stage) -> None:
        case_id = case_id_of(uscc(WUHAN), make_uuid7(START_MS, (9).to_bytes(10)))
        steps: dict[int, Body] = {
            1: CaseReceived(SALT, OFFICER, received_ms=1),
            2: CaseAccept(SALT, OFFICER, "2026-1", 1),
        }
        submit = in_case(WUHAN, EZHOU, submission(EZHOU), CaseReference(case_id, 1))
        one, two = (
            in_case(EZHOU, WUHAN, body, CaseReference(case_id, number), submit)
            for number, body in steps.items()
        )
        page = all_of(told(two, said(two)), told(submit, said(submit, issuer=EZHOU)))
        node = await recovering(stage, page)
        await sleep(5)
        assert node.engine.recovery.working

        async def state() -> str:
            view = await node.read(lambda c: find_case(c, case_id, Side.COLLECT))
            assert view is not None
            return view.state

        assert await state() == "submitted"
        answer = read_frames(await node.engine.exchange(EZHOU, one.post()))
        assert receipt_in(write_frames(answer)).type is ReceiptType.RECEIVED
        await sleep(1)
        assert await state() == "accepted"
        # The number is used now, as any other.
        other = in_case(EZHOU, WUHAN, steps[1], CaseReference(case_id, 1), submit, 7)
        answer = read_frames(await node.engine.exchange(EZHOU, other.post()))
        assert receipt_in(write_frames(answer)).reason is Reason.SEQUENCE_USED
        inbox = await node.read(lambda c: c.execute(select(schema.inbox.c.message_id)).all())
        assert {row[0] for row in inbox} == {one.reference.message_id, two.reference.message_id}

    play(tmp_path, scene)


def in_case(
    origin: str,
    destination: str,
    body: Body,
    case: CaseReference,
    reply: Signed | None = None,
    number: int | None = None,
) -> Signed:
    """A step of a case."""
    message = Message(
        origin,
        destination,
        body,
        # The first page has them in ascending order of their ids.
        number or (9 if reply is None else case.sequence),
        case,
        None if reply is None else reply.reference.message_id,
        key_use=KeyUse.ENVELOPE,
    )
    return sign(message, SAMPLE.keyrings[origin])


# how long it lasts


def endless(asked: RecallFrame) -> list[Frame]:
    """Nothing, and always more of it."""
    return [PageFrame(asked.since_ms, asked.cursor, b"more" + asked.cursor[:8])]


def over_and_over(asked: RecallFrame) -> list[Frame]:
    """The same message on every page."""
    return [
        told(ping(), said(ping())),
        PageFrame(asked.since_ms, asked.cursor, asked.cursor + b"+"),
    ]


def backwards(asked: RecallFrame) -> list[Frame]:
    """Later ones first."""
    pages = [told(one, said(one)) for one in (ping(number=2), ping(number=1))]
    return [*pages, PageFrame(asked.since_ms, asked.cursor, b"")]


def strangers(asked: RecallFrame) -> list[Frame]:
    """More and more that is none of ours."""
    return [*[told(ping())] * 64, PageFrame(asked.since_ms, asked.cursor, asked.cursor[:99] + b"+")]


def more_than_there_is(asked: RecallFrame) -> list[Frame]:
    """Pieces of one message without end."""
    signed = ping()
    pieces = (Piece("body", 0, signed.parts["body"]),)
    frame = RecalledFrame(signed.octets, (said(signed),), pieces, last=False)
    return [frame, frame, PageFrame(asked.since_ms, asked.cursor, asked.cursor[:99] + b"+")]


@pytest.mark.spec("RV-9", "RV-10")
@pytest.mark.parametrize("lie", [endless, over_and_over, backwards, strangers, more_than_there_is])
def test_a_recall_without_end_is_seen_and_not_followed(tmp_path: Path, lie: Script) -> None:
    async def scene(stage: Stage) -> None:
        node = await recovering(stage, lie)
        await sleep(MANY_S)
        assert node.engine.recovery.phase is Phase.RECOVERING
        (waiting,) = [peer for peer in node.engine.recovery.status() if not peer.done]
        assert waiting.node == HUB
        assert waiting.trouble is not None
        assert waiting.messages <= 2
        # Now and then, not as fast as it answers.
        assert len(node.posts_to(HUB)) < MANY_S / 5 + MOST_STRANGE / 64 + 5

    play(tmp_path, scene)


# who is waited for


async def leave_out(node: DrivenNode, peer: str) -> None:
    """What `run_node.py recover --without` writes."""

    def decide(connection: Connection) -> Decision[None]:
        known = begun(connection, node.node_id, now_ms(), "told")
        rows = [known.row, recall_row(connection, peer).excusing.row]
        return Decision(lambda _proofs: (rows, None))

    await node.context.store.run(Unit(decide))


@pytest.mark.spec("RV-3", "RV-10", "RV-11", "LG-17")
def test_a_peer_that_stays_away_is_waited_for_until_the_operator_says_otherwise(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN, parts=LIMITS)
        node.peers[EZHOU] = hands_over(all_of())
        await node.engine.prepare(recover=True)
        await node.run()
        await sleep(MANY_S)
        assert not node.engine.recovery.working
        await leave_out(node, HUB)
        again = stage.node(WUHAN, parts=LIMITS)
        again.peers[EZHOU] = hands_over(all_of())
        await again.engine.prepare(check_ms=0)
        assert not again.engine.recovery.working
        await again.run()
        await sleep(60)
        assert again.engine.recovery.working
        (broken,) = await again.read(breaks)
        assert broken.incarnation == 2
        assert broken.record.endswith(b"\0\1" + HUB.encode())
        assert (await again.read(types_of))[:3] == [
            LeafType.RECOVERY,
            LeafType.RECOVERY,
            LeafType.START,
        ]
        assert [birth.incarnation for birth in await again.read(all_births)] == [2]

    play(tmp_path, scene)


@pytest.mark.spec("RV-2", "RV-11")
def test_a_head_that_was_declared_lost_is_not_lost_again(tmp_path: Path) -> None:
    """A peer that was left out comes back with a head from before: once more, and then peace."""

    async def scene(stage: Stage) -> None:
        before = head_of(40)
        node = await recovering(stage, all_of(HeldFrame(head_of(20))))
        await sleep(5)
        assert node.engine.recovery.working
        size = [read_head(row.held).head.size for row in await node.read(breaks)]
        assert size == [20]
        node.peers[HUB] = hands_over(all_of(HeldFrame(before)))
        for _ in range(3):
            await node.engine.exchange(HUB, write_frames([HeldFrame(before)]))
            await sleep(120)
        assert node.engine.recovery.working
        assert [row.incarnation for row in await node.read(breaks)] == [2, 3]
        assert await alarms_of(node) == [(WUHAN, "lost")]

    play(tmp_path, scene)


# meanwhile, and afterwards


@pytest.mark.spec("RV-1", "RV-4", "RV-5")
def test_a_node_that_recovers_takes_nothing_signs_nothing_and_answers_recalls(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN, parts=LIMITS)
        await node.engine.prepare()
        assert node.engine.recovery.phase is Phase.CHECKING
        await node.run()
        for phase in (Phase.CHECKING, Phase.RECOVERING):
            if phase is Phase.RECOVERING:
                await node.engine.recovery.lost(read_head(head_of(20)).head)
            assert node.engine.recovery.phase is phase
            answer = read_frames(await node.engine.exchange(EZHOU, ping().post()))
            assert [type(frame) for frame in answer] == [BusyFrame]
            assert isinstance(answer[0], BusyFrame)
            assert answer[0].reason is Reason.RECOVERING
            assert await standing(node, ping()) is None
            recall = RecallFrame(1, 0, 0, b"")
            answer = read_frames(await node.engine.exchange(EZHOU, write_frames([recall])))
            assert answer == [PageFrame(0, b"", b"")]
        assert await node.read(types_of) == []
        asked = [post.frames for post in node.posts_to(HUB)]
        assert all(isinstance(frame, RecallFrame) for frames in asked for frame in frames)

    play(tmp_path, scene)


@pytest.mark.spec("RV-6", "RV-7")
def test_nobody_is_handed_what_it_was_not_party_to(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        await node.run()
        for number in range(70):
            await node.engine.exchange(EZHOU, ping(number=number).post())
        recall = RecallFrame(1, 0, 0, b"")

        async def page(peer: str, cursor: bytes = b"") -> list[Frame]:
            asked = write_frames([replace(recall, cursor=cursor)])
            answer = read_frames(await node.engine.exchange(peer, asked))
            return [one for one in answer if isinstance(one, RecalledFrame | PageFrame)]

        assert await page(HUB) == [PageFrame(0, b"", b"")]
        *first, end = await page(EZHOU)
        assert isinstance(end, PageFrame)
        *second, done = await page(EZHOU, end.following)
        assert done == PageFrame(0, end.following, b"")
        octets = [one.octets for one in [*first, *second] if isinstance(one, RecalledFrame)]
        assert octets == [ping(number=number).octets for number in range(70)]
        # A cursor that nobody was given is answered, and not by a page.
        answer = read_frames(
            await node.engine.exchange(EZHOU, write_frames([replace(recall, cursor=b"mine")]))
        )
        assert any(isinstance(frame, BusyFrame) for frame in answer)

    play(tmp_path, scene)
