"""A province that lists what is another's, and holds keys for it: it gains nothing, nobody loses.

Hunan lists the USCC of 武汉's authority as an authority of its own, at its own node, with a key of
its own for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from node.cases import Party, Side
from node.context import Federation
from node.store.queries import Role, find_case, last_sequence
from protocol.bodies import CaseVoid
from protocol.envelope import CaseReference
from protocol.reasons import Reason
from protocol.receipt import Receipt, ReceiptType
from signing.keys import KeyUse
from tests.samples import CLERK
from tests.sim.agents import SALT
from tests.sim.craft import Message, receipt_in, sign
from tests.sim.federation import EZHOU, HUB, HUNAN, WUHAN, YUEYANG
from tests.sim.peers import SAMPLE, play
from tests.unit.node.test_cases_exchange import CASE, say, submit
from tests.unit.routing.provinces import authority, merged, uscc

if TYPE_CHECKING:
    from pathlib import Path

    from protocol.bodies import Body
    from tests.sim.peers import DrivenNode, Stage

CLAIMED: Final = uscc(WUHAN)
VOID: Final = CaseVoid(SALT, CLERK, "空号")


def claiming() -> Federation:
    """The directory in which Hunan claims it; everything is signed as it has to be."""
    hubei, hunan = (SAMPLE.directory.provinces[prefix].payload for prefix in ("42", "43"))
    claim = authority(YUEYANG).model_copy(update={"uscc": CLAIMED})
    keys = tuple(
        row.model_copy(update={"owner": CLAIMED})
        if (row.use, row.node) == (KeyUse.ENVELOPE, YUEYANG)
        else row
        for row in hunan.keys
    )
    claims = {"authorities": (*hunan.authorities, claim), "keys": keys}
    directory = merged(hubei, hunan.model_copy(update=claims))
    return Federation(directory, SAMPLE.federation.catalogue)


async def impostor_says(node: DrivenNode, body: Body, sequence: int, number: int) -> Receipt:
    message = Message(
        YUEYANG,
        EZHOU,
        body,
        number=number,
        case=CaseReference(CASE, sequence),
        key_use=KeyUse.ENVELOPE,
        authority=CLAIMED,
    )
    signed = sign(message, SAMPLE.keyrings[YUEYANG]).via(HUNAN, HUB)
    return receipt_in(await node.engine.exchange(HUB, signed.post()))


@pytest.mark.spec("DI-4")
def test_a_claimed_authority_says_nothing_in_the_case_of_the_one_it_names(tmp_path: Path) -> None:
    """冒名入案 an impostor acts in another's case by its USCC → unknown case, no number used."""

    async def scene(stage: Stage) -> None:
        node = stage.node(EZHOU, federation=claiming())
        first = receipt_in(await node.engine.exchange(WUHAN, say(submit(), 1).post()))
        assert first.type is ReceiptType.RECEIVED
        refused = await impostor_says(node, VOID, 1, number=71)
        assert refused.reason is Reason.CASE_UNKNOWN
        # Nor has it used up a number: the next one is still the window's.
        honest = Party.at(WUHAN, CLAIMED)
        assert await node.read(lambda c: last_sequence(c, CASE, honest, Role.IN)) == 1
        second = receipt_in(await node.engine.exchange(WUHAN, say(VOID, 2, number=2).post()))
        assert second.type is ReceiptType.RECEIVED

    play(tmp_path, scene)


@pytest.mark.spec("DI-4")
def test_what_a_claimed_authority_does_first_hinders_nobody_later(tmp_path: Path) -> None:
    """冒名抢先 an impostor comes first, by the same USCC → the real one is heard all the same."""

    async def scene(stage: Stage) -> None:
        node = stage.node(EZHOU, federation=claiming())
        assert (await impostor_says(node, VOID, 1, number=71)).reason is Reason.CASE_UNKNOWN
        taken = await impostor_says(node, submit(), 2, number=72)
        assert taken.reason is Reason.CASE_ID_INVALID, "the id is that of the window's message"
        first = receipt_in(await node.engine.exchange(WUHAN, say(submit(), 1).post()))
        assert first.type is ReceiptType.RECEIVED
        view = await node.read(lambda c: find_case(c, CASE, Side.HANDLE))
        assert view is not None
        assert view.collecting == Party.at(WUHAN, CLAIMED)

    play(tmp_path, scene)
