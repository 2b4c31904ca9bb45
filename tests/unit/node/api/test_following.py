from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from node.api.following import case_shown
from node.cases import CaseView, Side
from node.store.queries import MessageRow, Role
from node.store.views import Followed
from protocol.envelope import MessageReference
from protocol.lifecycle import CaseState
from protocol.receipt import ReceiptType
from routing.delivery import Standing
from signing.keys import KeyUse
from signing.receipts import draft_receipt, sign_receipt
from tests.sim.federation import HUB, ITEM, WUHAN, XIANGYANG, make_sample
from tests.unit.routing.provinces import uscc

if TYPE_CHECKING:
    from tests.sim.federation import Sample

CASE_ID = "01a20404-f6fc-7212-b313-3cdfc384ec8a"
COLLECTING, HANDLING = (WUHAN, uscc(WUHAN)), (XIANGYANG, uscc(XIANGYANG))


@cache
def sample() -> Sample:
    return make_sample()


def view(state: CaseState, side: Side = Side.COLLECT) -> CaseView:
    return CaseView(
        case_id=CASE_ID,
        side=side.value,
        state=state.value,
        item=ITEM,
        implementation=sample().implementation(XIANGYANG).code,
        collecting_authority=COLLECTING[1],
        collecting_node=WUHAN,
        handling_authority=HANDLING[1],
        handling_node=XIANGYANG,
        opened_ms=0,
        changed_ms=1,
        last_message=None,
        effective=0,
    )


def message(standing: Standing, role: Role = Role.OUT, kind: str = "case.submit") -> MessageRow:
    return MessageRow(
        authority=COLLECTING[1],
        message_id=CASE_ID,
        role=role.value,
        kind=kind,
        case_id=CASE_ID,
        sequence=1,
        in_reply_to=None,
        from_node=WUHAN,
        to_node=XIANGYANG,
        to_authority=HANDLING[1],
        message_digest=bytes(32),
        envelope=b"",
        created_ms=0,
        expires_ms=1,
        recorded_ms=0,
        path=WUHAN,
        upstream=None,
        standing=standing.value,
        reason=None,
        detail=None,
        receipt=None,
        settled_ms=None,
    )


def custody(issuer: str, instant_ms: int) -> bytes:
    keys = sample().keyrings[issuer]
    key = keys.public(keys.find(KeyUse.RECEIPT, issuer))
    draft = draft_receipt(
        ReceiptType.CUSTODY,
        issuer,
        key,
        b"",
        instant_ms,
        reference=MessageReference(COLLECTING[1], CASE_ID),
        message_digest=bytes(31) + b"\x01",
    )
    return sign_receipt(draft, keys)


def shown(
    *sides: CaseView, messages: tuple[MessageRow, ...] = (), receipts: tuple[bytes, ...] = ()
) -> dict[str, Any]:
    held = {(row.authority, row.message_id, row.role): receipts for row in messages}
    return case_shown(sample().federation, WUHAN, sides, Followed(messages, held))


def holder(case: dict[str, Any]) -> object:
    found = case["holder"]
    return (found["node"], found["authority"]) if isinstance(found, dict) else found


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (CaseState.SUBMITTED, HANDLING),
        (CaseState.RECEIVED, HANDLING),
        (CaseState.CORRECTING, COLLECTING),
        (CaseState.SUPPLEMENTED, HANDLING),
        (CaseState.ACCEPTED, HANDLING),
        (CaseState.DECIDED, HANDLING),
        (CaseState.REJECTED, None),
        (CaseState.DELIVERED, None),
    ],
)
def test_whose_turn_it_is_has_the_case(state: CaseState, expected: object) -> None:
    assert holder(shown(view(state))) == expected
    unknown = replace(view(state), implementation="X")
    assert holder(shown(unknown)) == expected


def test_a_message_under_way_is_with_the_last_who_gave_a_receipt() -> None:
    queued = message(Standing.QUEUED)
    assert holder(shown(view(CaseState.NEW), messages=(queued,))) == (WUHAN, uscc(WUHAN))
    case = shown(
        view(CaseState.NEW),
        messages=(message(Standing.CUSTODY),),
        receipts=(custody("430000", 7), custody(HUB, 3)),
    )
    assert holder(case) == ("430000", uscc("430000"))
    assert [row["path"] for row in case["messages"]] == [[WUHAN, HUB, "430000"]]


@pytest.mark.parametrize(
    ("state", "standing", "outcome", "settled"),
    [
        (CaseState.NEW, Standing.QUEUED, "open", False),
        (CaseState.NEW, Standing.IN_DOUBT, "open", False),
        (CaseState.NEW, Standing.REFUSED, "refused", True),
        (CaseState.ACCEPTED, Standing.RECEIVED, "open", False),
        (CaseState.REJECTED, Standing.RECEIVED, "rejected", True),
        (CaseState.DELIVERED, Standing.RECEIVED, "delivered", True),
        (CaseState.DELIVERED, Standing.CUSTODY, "delivered", False),
    ],
)
def test_a_case_is_settled_when_it_is_over_and_every_message_holds_its_receipt(
    state: CaseState,
    standing: Standing,
    outcome: str,
    settled: bool,  # noqa: FBT001
) -> None:
    case = shown(view(state), messages=(message(standing),))
    assert (case["outcome"], case["settled"]) == (outcome, settled)


def test_what_was_refused_is_back_at_the_window() -> None:
    case = shown(view(CaseState.NEW), messages=(message(Standing.REFUSED),))
    assert holder(case) == COLLECTING


def test_the_handling_end_decides_what_the_outcome_is() -> None:
    collect, handle = view(CaseState.DECIDED), view(CaseState.DELIVERED, Side.HANDLE)
    assert shown(collect, handle)["outcome"] == "delivered"
    assert shown(replace(collect, state="delivered"), handle)["outcome"] == "delivered"
