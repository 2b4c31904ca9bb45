"""Cases between two ends, message by message: order, law, catalogue, and what a refusal does."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from node.cases import Party, Side, advance, open_case
from node.context import Federation
from node.outgoing import Draft, Filed
from node.store.queries import Role, find_case, find_message, find_parts, last_sequence
from protocol.bodies import Basis, CaseAccept, CaseReceived, CaseSubmit, CaseVoid, Delivery
from protocol.bodies.plan import plan_of, walk
from protocol.envelope import Address, CaseReference, Header, Sender
from protocol.errors import RefusedError
from protocol.frames import BusyFrame, WaitingFrame, WantedFrame, write_frames
from protocol.identifiers import case_id_of
from protocol.lifecycle import Power
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from routing.catalogue import Catalogue
from signing.keys import KeyUse
from tests.samples import CLERK, OFFICER, WIDOW
from tests.sim.agents import SALT
from tests.sim.craft import Message, Signed, only, receipt_in, sign
from tests.sim.federation import EZHOU, HUB, ITEM, WUHAN, make_sample
from tests.sim.loop import START_MS
from tests.unit.node.test_pipeline import at, present
from tests.unit.routing.provinces import uscc

if TYPE_CHECKING:
    from node.outgoing import Outcome
    from node.store.queries import MessageRow
    from protocol.bodies import Body
    from tests.sim.world import SimNode

__all__ = ["at"]

SAMPLE = make_sample()
OPENER = Message(WUHAN, EZHOU).reference
CASE = case_id_of(OPENER.authority, OPENER.message_id)
DONE_MS = 1_000


def submit(**changes: Any) -> CaseSubmit:
    values: dict[str, Any] = {
        "salt": SALT,
        "actor": CLERK,
        "item": ITEM,
        "implementation": SAMPLE.implementation(EZHOU).code,
        "mode": "online",
        "basis": Basis(kind="residence", region=EZHOU),
        "applicant": WIDOW,
        "delivery": Delivery(method="window"),
    }
    return CaseSubmit(**values | changes)


def say(body: Body, sequence: int, number: int = 1, **changes: Any) -> Signed:
    """What Wuhan tells Ezhou in the case."""
    message = Message(
        WUHAN,
        EZHOU,
        body,
        number=number,
        case=CaseReference(CASE, sequence),
        key_use=KeyUse.ENVELOPE,
        **changes,
    )
    return sign(message, SAMPLE.keyrings[WUHAN])


async def state_of(node: SimNode) -> str | None:
    view = await node.read(lambda c: find_case(c, CASE, Side.HANDLE))
    return None if view is None else view.state


async def consumed(node: SimNode) -> int:
    return await node.read(lambda c: last_sequence(c, CASE, Party.at(WUHAN, uscc(WUHAN)), Role.IN))


async def sent(node: SimNode, outcome: Outcome) -> MessageRow:
    """What a node holds of a message it filed."""
    assert isinstance(outcome, Filed)
    row = await node.read(lambda c: find_message(c, outcome.message, Role.OUT))
    assert row is not None
    return row


@pytest.mark.spec("EX-6", "EX-39")
def test_a_gap_waits_and_holds_nothing(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        early = say(CaseVoid(SALT, CLERK, "空号"), 2, number=2)
        answer = only(await present(node, WUHAN, early.post()))
        assert isinstance(answer, WaitingFrame)
        assert answer.expected == 1
        assert await consumed(node) == 0
        first = receipt_in(await present(node, WUHAN, say(submit(), 1).post()))
        assert first.type is ReceiptType.RECEIVED
        assert receipt_in(await present(node, WUHAN, early.post())).type is ReceiptType.RECEIVED
        assert await consumed(node) == 2

    at(EZHOU, scene)


@pytest.mark.spec("EX-7")
def test_a_used_number_is_refused(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        await present(node, WUHAN, say(submit(), 1).post())
        again = say(CaseVoid(SALT, CLERK, "空号"), 1, number=2)
        receipt = receipt_in(await present(node, WUHAN, again.post()))
        assert receipt.reason is Reason.SEQUENCE_USED
        assert await consumed(node) == 1

    at(EZHOU, scene)


@pytest.mark.spec("EX-34")
def test_a_refused_number_is_consumed_and_the_next_one_is_taken(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        await present(node, WUHAN, say(submit(), 1).post())
        wrong = say(CaseAccept(SALT, CLERK, "2026-1", DONE_MS), 2, number=2)
        receipt = receipt_in(await present(node, WUHAN, wrong.post()))
        assert receipt.reason in (Reason.WRONG_STATE, Reason.POWER_LACKING)
        assert await state_of(node) == "submitted"
        void = say(CaseVoid(SALT, CLERK, "空号"), 3, number=3)
        assert receipt_in(await present(node, WUHAN, void.post())).type is ReceiptType.RECEIVED
        assert await consumed(node) == 3

    at(EZHOU, scene)


@pytest.mark.spec("CA-2")
def test_the_window_may_not_sign_for_the_authority(at: Any) -> None:
    """收件不是受理: what starts the clock is signed by the handling authority alone."""

    async def scene(node: SimNode) -> None:
        await present(node, WUHAN, say(submit(), 1).post())
        usurped = say(CaseReceived(SALT, OFFICER, DONE_MS), 2, number=2)
        receipt = receipt_in(await present(node, WUHAN, usurped.post()))
        assert receipt.reason is Reason.POWER_LACKING
        assert "受理" in receipt.detail

    at(EZHOU, scene)


@pytest.mark.spec("CA-8")
def test_the_authority_does_not_supplement_for_the_window() -> None:
    """Any window may collect this item, the authority's own too; not in a case of another's."""
    powers = SAMPLE.implementation(EZHOU).powers_of(uscc(EZHOU), EZHOU)
    assert Power.COLLECT in powers
    reference = CaseReference(CASE, 1)
    header = Header(
        "m",
        "case.submit",
        0,
        1,
        Sender(WUHAN, uscc(WUHAN), "k"),
        Address(EZHOU, uscc(EZHOU)),
        reference,
    )
    header = replace(header, message_id=OPENER.message_id)
    view = replace(open_case(header, submit(), Side.HANDLE, 0), state="correcting")
    own = replace(
        header,
        sender=Sender(EZHOU, uscc(EZHOU), "k"),
        recipient=Address(WUHAN, uscc(WUHAN)),
    )
    with pytest.raises(RefusedError) as refused:
        advance(view, "case.supplement", powers, own, Side.HANDLE, 1)
    assert refused.value.reason is Reason.POWER_LACKING


@pytest.mark.spec("CT-1", "CT-2", "CT-3", "EX-33", "EX-34")
@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("no such item", {"item": "990000000000"}, Reason.ITEM_UNKNOWN),
        ("not its own", {"implementation": "X" * 31}, Reason.ITEM_NOT_SERVED),
        ("elsewhere", {"basis": Basis("residence", WUHAN)}, Reason.BASIS_MISMATCH),
        ("basis unknown", {"basis": Basis("birthplace", EZHOU)}, Reason.BASIS_MISMATCH),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_nobody_serves_is_refused_by_name(
    at: Any, name: str, changes: dict[str, Any], reason: Reason
) -> None:
    async def scene(node: SimNode) -> None:
        receipt = receipt_in(await present(node, WUHAN, say(submit(**changes), 1).post()))
        assert receipt.reason is reason, name
        assert await state_of(node) is None
        # Said once and for ever, and the number is used up.
        again = receipt_in(await present(node, WUHAN, say(submit(**changes), 1).post()))
        assert again == receipt
        assert await consumed(node) == 1

    at(EZHOU, scene)


@pytest.mark.spec("BO-4")
def test_a_body_of_another_kind_is_refused(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        message = say(submit(), 1, kind="case.void")
        receipt = receipt_in(await present(node, WUHAN, message.post()))
        assert receipt.reason is Reason.BODY_INVALID

    at(EZHOU, scene)


@pytest.mark.spec("CA-3")
def test_a_step_in_a_case_nobody_knows_is_refused(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        message = say(CaseReceived(SALT, OFFICER, DONE_MS), 1)
        receipt = receipt_in(await present(node, WUHAN, message.post()))
        assert receipt.reason is Reason.CASE_UNKNOWN

    at(EZHOU, scene)


@pytest.mark.spec("EX-34")
def test_an_expired_number_does_not_block_those_after_it(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        late = say(submit(), 1, created_ms=START_MS - 120_000, lifetime_ms=60_000)
        assert receipt_in(await present(node, WUHAN, late.ask())).reason is Reason.EXPIRED
        assert await consumed(node) == 1

    at(EZHOU, scene)


@pytest.mark.spec("EX-34")
def test_a_later_number_that_expired_first_is_skipped_when_its_turn_comes(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        void = CaseVoid(SALT, CLERK, "空号")
        late = say(void, 2, number=2, created_ms=START_MS - 120_000, lifetime_ms=60_000)
        assert receipt_in(await present(node, WUHAN, late.ask())).reason is Reason.EXPIRED
        assert await consumed(node) == 0
        await present(node, WUHAN, say(submit(), 1).post())
        assert await consumed(node) == 2
        third = say(void, 3, number=3)
        assert receipt_in(await present(node, WUHAN, third.post())).type is ReceiptType.RECEIVED

    at(EZHOU, scene)


@pytest.mark.spec("EX-32")
def test_the_first_question_that_fails_gives_the_answer(at: Any) -> None:
    """Each message fails two neighbouring questions; the second is not asked."""

    async def scene(node: SimNode) -> None:
        accept = CaseAccept(SALT, CLERK, "2026-1", DONE_MS)
        late = say(submit(), 1, number=9, created_ms=START_MS - 120_000, lifetime_ms=60_000)
        # Expired, and no part of it here.
        assert receipt_in(await present(node, WUHAN, late.ask())).reason is Reason.EXPIRED
        # On record, and expired.
        assert receipt_in(await present(node, WUHAN, late.post())).reason is Reason.EXPIRED
        # A part is missing, and a number before it.
        early = say(accept, 5, number=2, kind="case.void")
        wanted = only(await present(node, WUHAN, write_frames(early.frames()[:1])))
        assert isinstance(wanted, WantedFrame)
        # A gap, and a body of another kind.
        assert isinstance(only(await present(node, WUHAN, early.post())), WaitingFrame)
        # A number that is used, and a body of another kind.
        used = say(accept, 1, number=3, kind="case.void")
        assert receipt_in(await present(node, WUHAN, used.post())).reason is Reason.SEQUENCE_USED
        # A body of another kind, and no such case.
        bent = say(accept, 2, number=4, kind="case.void")
        assert receipt_in(await present(node, WUHAN, bent.post())).reason is Reason.BODY_INVALID

    at(EZHOU, scene)


@pytest.mark.spec("CA-7")
def test_a_case_is_submitted_once(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        await present(node, WUHAN, say(submit(), 1).post())
        receipt = receipt_in(await present(node, WUHAN, say(submit(), 2, number=2).post()))
        assert receipt.reason is Reason.WRONG_STATE
        assert await state_of(node) == "submitted"

    at(EZHOU, scene)


@pytest.mark.spec("TR-6")
def test_a_case_the_catalogue_here_cannot_place_waits(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        await present(node, WUHAN, say(submit(), 1).post())
        assert node.engine is not None
        context, directory = node.engine.context, SAMPLE.directory
        context.federation = Federation(directory, Catalogue.merge([], [], directory))
        void = say(CaseVoid(SALT, CLERK, "空号"), 2, number=2)
        busy = only(await present(node, WUHAN, void.post()))
        assert isinstance(busy, BusyFrame)
        assert busy.reason is Reason.STALE_DIRECTORY
        assert await consumed(node) == 1

    at(EZHOU, scene)


@pytest.mark.spec("BO-8")
def test_every_body_of_a_node_has_a_salt_of_its_own(at: Any) -> None:
    async def scene(node: SimNode) -> None:
        assert node.engine is not None
        rows = [await sent(node, await node.engine.ping(EZHOU)) for _ in range(3)]
        held = await node.read(lambda c: find_parts(c, rows))
        bodies = [parts["body"].decode() for parts in held.values()]
        salts = {re.findall("<salt>([0-9a-f]{32})</salt>", body)[0] for body in bodies}
        assert len(salts) == 3

    at(WUHAN, scene)


@pytest.mark.spec("EN-13")
def test_an_envelope_says_nothing_of_what_its_body_says(at: Any) -> None:
    """Hubs read envelopes: no name, number, item or address of the body stands in one."""

    async def scene(node: SimNode) -> None:
        assert node.engine is not None
        body = submit()
        draft = Draft(uscc(WUHAN), body, recipient=Address(EZHOU, uscc(EZHOU)))
        shown = (await sent(node, await node.engine.file(draft))).envelope.decode()
        fields = [
            getattr(held, slot.name) for _, held in walk(body) for slot in plan_of(type(held))
        ]
        told = {value for value in fields if isinstance(value, str)} - {EZHOU, uscc(EZHOU)}
        assert {value for value in told if len(value) > 2 and value in shown} == set()

    at(WUHAN, scene)


@pytest.mark.spec("CA-5")
def test_nobody_opens_a_case_under_an_id_that_is_not_his(at: Any) -> None:
    """Case ids travel in the clear; whoever saw one must not be able to take it."""

    async def scene(node: SimNode) -> None:
        theft = Message(
            HUB,
            EZHOU,
            submit(),
            number=9,
            case=CaseReference(CASE, 1),
            key_use=KeyUse.ENVELOPE,
        )
        stolen = sign(theft, SAMPLE.keyrings[HUB])
        receipt = receipt_in(await present(node, HUB, stolen.post()))
        assert receipt.reason is Reason.CASE_ID_INVALID
        assert receipt_in(await present(node, WUHAN, say(submit(), 1).post())).reason is None
        assert await state_of(node) == "submitted"

    at(EZHOU, scene)
