"""机构改革: both authorities of a case are succeeded while it runs; it comes to its end.

武汉's window and 鄂州's bureau are replaced at the same instant, each by another authority at the
same node with keys of its own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import select

from node.cases import Side
from node.context import Federation
from node.outgoing import Draft
from node.store import schema
from node.store.queries import find_case
from protocol.bodies import (
    CaseAccept,
    CaseCorrect,
    CaseDecide,
    CaseDeliver,
    CaseReceived,
    CaseSupplement,
    Field,
    Problem,
    Proof,
)
from protocol.envelope import CaseReference
from protocol.errors import RefusedError
from protocol.frames import ReceiptFrame, read_frames
from protocol.reasons import Reason
from protocol.receipt import ReceiptType, read_receipt
from routing.directory_document import Succession
from routing.jurisdiction import Responsible, responsible
from signing.keys import KeyUse
from tests.samples import CLERK, OFFICER
from tests.sim.agents import SALT
from tests.sim.craft import Message, sign
from tests.sim.federation import EZHOU, HUB, ITEM, WUHAN
from tests.sim.keyring import Keyring
from tests.sim.loop import START_MS
from tests.sim.peers import SAMPLE, now_ms, operator, play, silence, submission
from tests.unit.routing.provinces import authority, key_entry, merged, uscc

if TYPE_CHECKING:
    from pathlib import Path

    from protocol.bodies import Body
    from protocol.envelope import MessageReference
    from protocol.receipt import Receipt
    from routing.directory_document import KeyEntry
    from tests.sim.peers import DrivenNode, Stage

SINCE_S: Final = 60
WINDOW, BUREAU = uscc(WUHAN), uscc(EZHOU)
NEW_WINDOW, NEW_BUREAU = uscc(WUHAN, 9), uscc(EZHOU, 9)
CORRECT: Final = CaseCorrect(SALT, OFFICER, (Problem("field", "住址", "不全", "补全"),), 10**12)
SUPPLEMENT: Final = CaseSupplement(SALT, CLERK, form=(Field("住址", "补充"),))
DELIVER: Final = CaseDeliver(SALT, OFFICER, "window", "覃", 1, Proof("signature", "签收单"))


def reformed() -> tuple[Federation, dict[str, Keyring]]:
    """The sample's directory with both successions, and the keyrings with the new keys."""
    payload = SAMPLE.directory.provinces["42"].payload
    since_ms = START_MS + SINCE_S * 1000
    heirs, keys, rings = [], list(payload.keys), dict(SAMPLE.keyrings)
    for node, old in ((WUHAN, WINDOW), (EZHOU, BUREAU)):
        heir = authority(node, 9).model_copy(
            update={"succeeds": (Succession(uscc=old, since_ms=since_ms),)}
        )
        heirs.append(heir)
        ring = Keyring()
        ring._keys, ring._by_use = (
            dict(SAMPLE.keyrings[node]._keys),
            dict(SAMPLE.keyrings[node]._by_use),
        )
        keys.append(_registered(ring, heir.uscc, node))
        rings[node] = ring
    changes = {"authorities": (*payload.authorities, *heirs), "keys": tuple(keys)}
    directory = merged(payload.model_copy(update=changes), SAMPLE.directory.provinces["43"].payload)
    return Federation(directory, SAMPLE.federation.catalogue), rings


def _registered(ring: Keyring, owner: str, node: str) -> KeyEntry:
    key = ring.add(KeyUse.ENVELOPE, owner)
    changes = {"id": key.key_id, "suite": key.suite, "spki": key.spki}
    return key_entry("x", KeyUse.ENVELOPE, owner, node, not_after_ms=2**50, **changes)


@dataclass
class Case:
    """A case between the two nodes, and what their people say in it."""

    wuhan: DrivenNode
    ezhou: DrivenNode
    case_id: str = ""

    async def says(self, who: str, body: Body) -> MessageReference:
        """An authority's next step, and time for it to arrive."""
        node = self.wuhan if who in (WINDOW, NEW_WINDOW) else self.ezhou
        filed = await node.file(Draft(who, body, case_id=self.case_id))
        await asyncio.sleep(5)
        assert await node.standing(filed) == "received"
        return filed.message

    async def states(self) -> tuple[str, str]:
        found = []
        for node, side in ((self.wuhan, Side.COLLECT), (self.ezhou, Side.HANDLE)):
            view = await node.read(partial(find_case, case_id=self.case_id, side=side))
            assert view is not None
            found.append(view.state)
        return found[0], found[1]


async def opened(stage: Stage) -> Case:
    """A case that was submitted and confirmed before the reform."""
    federation, rings = reformed()
    wuhan = stage.node(WUHAN, federation=federation, keys=rings[WUHAN])
    ezhou = stage.node(EZHOU, federation=federation, keys=rings[EZHOU])
    wuhan.reaches(ezhou)
    ezhou.reaches(wuhan)
    await wuhan.run()
    await ezhou.run()
    case = Case(wuhan, ezhou)
    draft = Draft(WINDOW, submission(EZHOU), recipient=operator(EZHOU))
    filed = await wuhan.file(draft)
    case.case_id = filed.case_id or ""
    await asyncio.sleep(5)
    await case.says(BUREAU, CaseReceived(SALT, OFFICER, received_ms=1))
    assert await case.states() == ("received", "received")
    return case


async def reform() -> None:
    """Wait until the new authorities are in their places."""
    await asyncio.sleep(START_MS / 1000 + SINCE_S - now_ms() / 1000 + 1)


async def inbox(node: DrivenNode) -> list[str]:
    """Whose the entries are, the oldest first."""
    query = select(schema.inbox.c.to_authority).order_by(schema.inbox.c.recorded_ms)
    return await node.read(lambda connection: list(connection.execute(query).scalars()))


@pytest.mark.spec("DI-17")
def test_a_case_in_flight_is_gone_on_with_by_the_successors(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        case = await opened(stage)
        await reform()
        corrected = await case.says(NEW_BUREAU, CORRECT)
        assert (await case.ezhou.row(corrected)).to_authority == NEW_WINDOW
        supplemented = await case.says(NEW_WINDOW, SUPPLEMENT)
        assert (await case.wuhan.row(supplemented)).to_authority == NEW_BUREAU
        assert await case.states() == ("supplemented", "supplemented")
        await case.says(NEW_BUREAU, CaseAccept(SALT, OFFICER, "2026-1", 1))
        await case.says(NEW_BUREAU, CaseDecide(SALT, OFFICER, "granted", 1))
        await case.says(NEW_BUREAU, DELIVER)
        assert await case.states() == ("delivered", "delivered")
        assert await inbox(case.ezhou) == [BUREAU, NEW_BUREAU]
        assert await inbox(case.wuhan) == [WINDOW, *[NEW_WINDOW] * 4]

    play(tmp_path, scene)


async def told_before(case: Case, created_ms: int) -> Receipt:
    """武汉's receipt for the old bureau's second message, created at this instant."""
    message = Message(
        EZHOU,
        WUHAN,
        CORRECT,
        number=90,
        case=CaseReference(case.case_id, 2),
        key_use=KeyUse.ENVELOPE,
        created_ms=created_ms,
    )
    post = sign(message, SAMPLE.keyrings[EZHOU]).post()
    answer = read_frames(await case.wuhan.engine.exchange(EZHOU, post))
    (octets,) = [frame.octets for frame in answer if isinstance(frame, ReceiptFrame)]
    return read_receipt(octets).receipt


@pytest.mark.spec("DI-16")
def test_who_was_succeeded_says_nothing_new(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        case = await opened(stage)
        await reform()
        for who, body in ((BUREAU, CORRECT), (WINDOW, SUPPLEMENT)):
            with pytest.raises(RefusedError) as caught:
                await case.says(who, body)
            assert caught.value.reason is Reason.AUTHORITY_CLOSED
        receipt = await told_before(case, now_ms())
        assert receipt.reason is Reason.AUTHORITY_CLOSED
        assert await case.states() == ("received", "received")

    play(tmp_path, scene)


@pytest.mark.spec("DI-17")
def test_what_it_said_before_still_counts_when_it_arrives_late(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        case = await opened(stage)
        await reform()
        before_ms = START_MS + SINCE_S * 1000 - 1
        assert (await told_before(case, before_ms)).type is ReceiptType.RECEIVED
        assert (await case.states())[0] == "correcting"
        assert (await inbox(case.wuhan))[-1] == NEW_WINDOW

    play(tmp_path, scene)


@pytest.mark.spec("DI-17")
def test_the_successor_waits_for_what_its_predecessor_has_on_the_way(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        case = await opened(stage)
        await case.says(BUREAU, CORRECT)
        case.wuhan.peers[EZHOU] = silence
        draft = Draft(WINDOW, SUPPLEMENT, case_id=case.case_id)
        filed = await case.wuhan.file(draft)
        await reform()
        with pytest.raises(RefusedError, match="still on its way") as caught:
            await case.wuhan.file(Draft(NEW_WINDOW, SUPPLEMENT, case_id=case.case_id))
        assert caught.value.reason is Reason.WRONG_STATE
        case.wuhan.reaches(case.ezhou)
        await asyncio.sleep(60)
        assert await case.wuhan.standing(filed) == "received"
        assert await case.states() == ("supplemented", "supplemented")
        await case.says(NEW_BUREAU, CaseAccept(SALT, OFFICER, "2026-1", 1))

    play(tmp_path, scene)


@pytest.mark.spec("DI-16")
def test_a_new_case_goes_to_the_successor_only(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        case = await opened(stage)
        await reform()
        with pytest.raises(RefusedError) as caught:
            await case.wuhan.file(Draft(NEW_WINDOW, submission(EZHOU), recipient=operator(EZHOU)))
        assert caught.value.reason is Reason.AUTHORITY_CLOSED
        # A window whose directory is older than the reform submits to it all the same.
        old = stage.node(WUHAN)
        old.reaches(case.ezhou)
        await old.run()
        filed = await old.file(Draft(WINDOW, submission(EZHOU), recipient=operator(EZHOU)))
        await asyncio.sleep(5)
        row = await old.row(filed.message)
        assert (row.standing, row.reason) == ("refused", Reason.AUTHORITY_CLOSED.number)

    play(tmp_path, scene)


@pytest.mark.spec("DI-17")
def test_nobody_else_stands_in_its_place(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        case = await opened(stage)
        await reform()
        federation = case.ezhou.context.federation
        third = uscc(EZHOU, 8)
        directory = federation.directory
        assert directory.heir(BUREAU, EZHOU, now_ms()) == NEW_BUREAU
        assert directory.heir(BUREAU, "43", now_ms()) == BUREAU
        assert directory.heir(third, EZHOU, now_ms()) == third
        assert directory.lineage(NEW_BUREAU, EZHOU, now_ms()) == (NEW_BUREAU, BUREAU)
        assert directory.lineage(NEW_BUREAU, EZHOU, START_MS) == (NEW_BUREAU,)
        for at_ms, asked in ((START_MS, BUREAU), (now_ms(), uscc(HUB))):
            found = responsible(
                federation.catalogue, directory, ITEM, "residence", EZHOU, now_ms=at_ms
            )
            assert isinstance(found, Responsible)
            assert found.authority.uscc == asked, "the province's, until the heir publishes a sheet"

    play(tmp_path, scene)
