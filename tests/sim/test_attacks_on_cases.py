"""What others may do to a case, and clocks and keys to a message: nothing that lasts."""

from __future__ import annotations

import dataclasses
from asyncio import sleep
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, event

from node.cases import Side
from node.context import Federation
from node.outgoing import Draft
from node.settlement import stored_header
from node.store.queries import Role, find_by_id, find_case
from protocol.bodies import CaseCorrect, CaseReceived, CaseSupplement, CaseVoid, Problem
from protocol.envelope import CaseReference
from protocol.errors import RefusedError
from protocol.frames import BusyFrame
from protocol.identifiers import case_id_of
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from signing.keys import KeyUse
from tests.samples import CLERK, FORM, OFFICER
from tests.sim.agents import SALT
from tests.sim.craft import PING, Message, Signed, only, receipt_in, sign
from tests.sim.federation import EZHOU, HUB, WUHAN
from tests.sim.loop import START_MS
from tests.sim.peers import SAMPLE, operator, play, silence, submission

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from node.outgoing import Filed
    from tests.sim.peers import DrivenNode, Handler, Stage

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
OPENING = Message(WUHAN, EZHOU, submission(EZHOU), number=1, key_use=KeyUse.ENVELOPE)
CASE = case_id_of(OPENING.reference.authority, OPENING.reference.message_id)


def honest() -> Signed:
    """Wuhan opens its case at Ezhou."""
    opening = dataclasses.replace(OPENING, case=CaseReference(CASE, 1))
    return sign(opening, SAMPLE.keyrings[WUHAN])


async def state(node: DrivenNode, filed: Filed, side: Side) -> str:
    view = await node.read(lambda connection: find_case(connection, filed.case_id or "", side))
    assert view is not None
    return view.state


def losing_answers(peer: Handler) -> Handler:
    """Posts arrive; what is answered does not."""

    async def answer(octets: bytes) -> bytes:
        await peer(octets)
        return await silence(octets)

    return answer


@pytest.mark.spec("CA-5")
def test_a_case_id_belongs_to_the_message_that_opens_the_case(tmp_path: Path) -> None:
    """Case ids pass hubs in the clear: whoever sees one cannot open a case under it first."""

    async def scene(stage: Stage) -> None:
        node = stage.node(EZHOU)
        theft = Message(
            HUB,
            EZHOU,
            submission(EZHOU),
            number=9,
            case=CaseReference(CASE, 1),
            key_use=KeyUse.ENVELOPE,
        )
        thief = sign(theft, SAMPLE.keyrings[HUB])
        receipt = receipt_in(await node.engine.exchange(HUB, thief.post()))
        assert (receipt.type, receipt.reason) == (ReceiptType.REFUSED, Reason.CASE_ID_INVALID)
        receipt = receipt_in(await node.engine.exchange(HUB, honest().via(HUB).post()))
        assert receipt.type is ReceiptType.RECEIVED

    play(tmp_path, scene)


def test_what_is_no_case_message_uses_up_no_number_of_a_case(tmp_path: Path) -> None:
    """The key of a node's pings signs no step of a case, and a ping has no case."""

    async def scene(stage: Stage) -> None:
        node = stage.node(EZHOU)
        ping = Message(WUHAN, EZHOU, PING, number=9, case=CaseReference(CASE, 1))
        answer = await node.engine.exchange(WUHAN, sign(ping, SAMPLE.keyrings[WUHAN]).post())
        receipt = receipt_in(answer)
        assert (receipt.reason, receipt.reference) == (Reason.SCHEMA_INVALID, None)
        receipt = receipt_in(await node.engine.exchange(WUHAN, honest().post()))
        assert receipt.type is ReceiptType.RECEIVED

    play(tmp_path, scene)


@pytest.mark.spec("CA-9", "CA-11")
def test_a_void_hides_no_step_that_is_still_on_its_way(tmp_path: Path) -> None:
    """Its receipts lost, the collecting end voids a number; both ends see the same case."""

    async def scene(stage: Stage) -> None:
        collecting, handling = stage.node(WUHAN), stage.node(EZHOU)
        collecting.reaches(handling)
        handling.reaches(collecting)
        collecting.peers[EZHOU] = losing_answers(collecting.peers[EZHOU])
        ours, theirs = operator(WUHAN).authority, operator(EZHOU)
        filed = await collecting.file(Draft(ours, submission(EZHOU), recipient=theirs))
        await collecting.file(Draft(ours, CaseVoid(SALT, CLERK, "空号"), case_id=filed.case_id))
        await collecting.run()
        await handling.run()
        await sleep(3)
        taken = CaseReceived(SALT, OFFICER, received_ms=1)
        step = await handling.file(Draft(theirs.authority, taken, case_id=filed.case_id))
        await sleep(3)
        collecting.reaches(handling)
        await sleep(600)
        assert await handling.standing(step) == "received"
        assert await state(collecting, filed, Side.COLLECT) == "received"
        assert await state(handling, filed, Side.HANDLE) == "received"

    play(tmp_path, scene)


@pytest.mark.spec("CA-10", "CA-11", "CA-12")
def test_a_step_that_overtakes_the_receipt_says_what_it_has_seen(tmp_path: Path) -> None:
    """The submission's receipt is lost on its way; the authority's own step proves the same."""

    async def scene(stage: Stage) -> None:
        collecting, handling = stage.node(WUHAN), stage.node(EZHOU)
        collecting.reaches(handling)
        handling.reaches(collecting)
        collecting.peers[EZHOU] = losing_answers(collecting.peers[EZHOU])
        ours, theirs = operator(WUHAN).authority, operator(EZHOU)
        filed = await collecting.file(Draft(ours, submission(EZHOU), recipient=theirs))
        await collecting.run()
        await handling.run()
        await sleep(3)
        assert await state(handling, filed, Side.HANDLE) == "submitted"
        assert await state(collecting, filed, Side.COLLECT) == "new"
        taken = CaseReceived(SALT, OFFICER, received_ms=1)
        step = await handling.file(Draft(theirs.authority, taken, case_id=filed.case_id))
        assert await state(handling, filed, Side.HANDLE) == "received"
        header = stored_header(await handling.row(step.message))
        assert header.in_reply_to == filed.message.message_id
        await sleep(3)
        assert await collecting.standing(filed) == "queued"
        assert await state(collecting, filed, Side.COLLECT) == "received"
        # The receipt, when it comes at last, moves nothing a second time.
        collecting.reaches(handling)
        await sleep(600)
        assert await collecting.standing(filed) == "received"
        assert await state(collecting, filed, Side.COLLECT) == "received"

    play(tmp_path, scene)


@pytest.mark.spec("CA-13")
def test_the_collecting_end_takes_one_step_at_a_time(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        collecting, handling = stage.node(WUHAN), stage.node(EZHOU)
        collecting.reaches(handling)
        handling.reaches(collecting)
        ours, theirs = operator(WUHAN).authority, operator(EZHOU)
        filed = await collecting.file(Draft(ours, submission(EZHOU), recipient=theirs))
        await collecting.run()
        await handling.run()
        await sleep(3)
        for body in (
            CaseReceived(SALT, OFFICER, received_ms=1),
            CaseCorrect(SALT, OFFICER, (Problem("material", "sfz", "模糊", "重拍"),), due_ms=1),
        ):
            await handling.file(Draft(theirs.authority, body, case_id=filed.case_id))
        await sleep(3)
        collecting.peers[EZHOU] = silence
        more = Draft(ours, CaseSupplement(SALT, CLERK, form=FORM), case_id=filed.case_id)
        await collecting.file(more)
        with pytest.raises(RefusedError, match="still on its way"):
            await collecting.file(more)
        void = Draft(ours, CaseVoid(SALT, CLERK, "空号"), case_id=filed.case_id)
        assert (await collecting.file(void)).sequence == 3

    play(tmp_path, scene)


@pytest.fixture
def statements() -> Iterator[set[str]]:
    """What is asked of a store, as SQL."""
    seen: set[str] = set()

    def listen(driver: sqlite3.Connection, _record: object) -> None:
        driver.set_trace_callback(seen.add)

    event.listen(Engine, "connect", listen)
    yield seen
    event.remove(Engine, "connect", listen)


def explain(statement: str, connection: Connection) -> list[str]:
    """How SQLite goes about it."""
    return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")]


def test_no_step_of_an_exchange_reads_all_messages(tmp_path: Path, statements: set[str]) -> None:
    """A node keeps its messages for years: what one costs may not grow with them."""

    async def scene(stage: Stage) -> None:
        collecting, handling = stage.node(WUHAN), stage.node(EZHOU)
        collecting.reaches(handling)
        handling.reaches(collecting)
        ours, theirs = operator(WUHAN).authority, operator(EZHOU)
        await collecting.run()
        await handling.run()
        filed = await collecting.file(Draft(ours, submission(EZHOU), recipient=theirs))
        await sleep(3)
        taken = CaseReceived(SALT, OFFICER, received_ms=1)
        await handling.file(Draft(theirs.authority, taken, case_id=filed.case_id))
        await sleep(3)
        assert await state(collecting, filed, Side.COLLECT) == "received"
        await collecting.read(partial(find_by_id, message_id=filed.message.message_id))
        asked = {
            text for text in list(statements) if text.startswith("SELECT") and "message" in text
        }
        assert len(asked) > 3
        for text in asked:
            plan = await collecting.read(partial(explain, text))
            assert not [step for step in plan if step.startswith(("SCAN message", "SCAN part"))]

    play(tmp_path, scene)


def valid_from_now(owner: str) -> Federation:
    """The directory, were this authority's keys registered only today."""
    directory = SAMPLE.directory
    records = {
        key_id: dataclasses.replace(record, not_before_ms=START_MS)
        if record.owner == owner
        else record
        for key_id, record in directory.trust.records.items()
    }
    trust = dataclasses.replace(directory.trust, records=MappingProxyType(records))
    return Federation(dataclasses.replace(directory, trust=trust), SAMPLE.federation.catalogue)


@pytest.mark.spec("TR-2")
def test_a_slow_clock_at_the_destination_does_not_refuse_a_new_key(tmp_path: Path) -> None:
    """Registered this minute, and already used: one of the two clocks is wrong, time will tell."""

    async def scene(stage: Stage) -> None:
        federation = valid_from_now(operator(WUHAN).authority)
        node = stage.node(WUHAN, federation=federation)
        slow = stage.node(EZHOU, federation=federation, skew_ms=-10 * MINUTE_MS)
        node.reaches(slow)
        await node.run()
        filed = await node.ping(EZHOU)
        await sleep(60)
        assert await node.standing(filed) == "queued"
        await sleep(15 * 60)
        assert await node.standing(filed) == "received"

    play(tmp_path, scene)


@pytest.mark.spec("EX-37", "TR-2")
def test_a_fast_clock_at_the_destination_does_not_end_a_fresh_message(tmp_path: Path) -> None:
    """By its bearer's clock it lives; only who asks about an expired message gets a tombstone."""

    async def scene(stage: Stage) -> None:
        fast = stage.node(EZHOU, skew_ms=31 * DAY_MS)
        message = sign(Message(WUHAN, EZHOU), SAMPLE.keyrings[WUHAN])
        answer = only(await fast.engine.exchange(WUHAN, message.post()))
        assert isinstance(answer, BusyFrame)
        assert (answer.reference, answer.reason) == (message.reference, Reason.CLOCK_SKEW)
        fast.clock._skew_ms = 0
        receipt = receipt_in(await fast.engine.exchange(WUHAN, message.post()))
        assert receipt.type is ReceiptType.RECEIVED
        assert (await fast.row(message.reference, Role.IN)).standing == "received"

    play(tmp_path, scene)
