from __future__ import annotations

from itertools import product
from typing import Final

import pytest

from protocol.bodies import KINDS
from protocol.errors import RefusedError
from protocol.lifecycle import LIFECYCLE, CaseState, Power, allowed, step
from protocol.limits import MAX_DETAIL_OCTETS
from protocol.reasons import Reason

# Said a second time, by hand: the law's moves, each with the one power it takes.
MOVES: Final = {
    ("new", "case.submit"): ("collect", "submitted"),
    ("submitted", "case.received"): ("accept", "received"),
    ("received", "case.accept"): ("accept", "accepted"),
    ("received", "case.reject"): ("accept", "rejected"),
    ("received", "case.correct"): ("accept", "correcting"),
    ("correcting", "case.supplement"): ("collect", "supplemented"),
    ("supplemented", "case.accept"): ("accept", "accepted"),
    ("supplemented", "case.reject"): ("accept", "rejected"),
    ("accepted", "case.decide"): ("decide", "decided"),
    ("decided", "case.deliver"): ("deliver", "delivered"),
}
EVERYONE: Final = frozenset(Power)
NOBODY: Final = frozenset[Power]()
KIND_NAMES: Final = [kind.name for kind in KINDS]


def outcome(state: CaseState, kind: str, powers: frozenset[Power]) -> CaseState | RefusedError:
    try:
        return step(state, kind, powers)
    except RefusedError as refusal:
        return refusal


def expected(state: CaseState, kind: str, powers: frozenset[Power]) -> CaseState | Reason:
    if kind == "case.void":
        return state if powers else Reason.POWER_LACKING
    move = MOVES.get((state.value, kind))
    if move is None:
        return Reason.WRONG_STATE
    power, after = move
    return CaseState(after) if Power(power) in powers else Reason.POWER_LACKING


@pytest.mark.spec("CA-1", "CA-2", "CA-6")
@pytest.mark.parametrize("state", CaseState)
def test_the_whole_matrix_of_kind_and_power(state: CaseState) -> None:
    holders = [NOBODY, EVERYONE, *(frozenset({power}) for power in Power)]
    holders += [EVERYONE - {power} for power in Power]
    for kind, powers in product([*KIND_NAMES, "case.unheard-of"], holders):
        found = outcome(state, kind, powers)
        if isinstance(found, RefusedError):
            assert len(found.detail.encode()) <= MAX_DETAIL_OCTETS
            assert all(word in found.detail for word in (kind, state.value, state.chinese))
            assert found.reason is expected(state, kind, powers), (kind, powers)
        else:
            assert found is expected(state, kind, powers), (kind, powers)


@pytest.mark.spec("CA-6")
def test_one_row_for_a_state_and_a_kind() -> None:
    assert len({(row.state, row.kind) for row in LIFECYCLE}) == len(LIFECYCLE)


def test_every_kind_about_a_case_has_a_row_and_no_other_has() -> None:
    assert {row.kind for row in LIFECYCLE} == set(KIND_NAMES) - {"ping"}


def test_a_case_that_is_over_stays_over() -> None:
    over = {state for state in CaseState if state.terminal}
    assert over == {CaseState.REJECTED, CaseState.DELIVERED}
    for state in over:
        assert [row.kind for row in allowed(state, EVERYONE)] == ["case.void"]


def test_every_case_can_come_to_an_end() -> None:
    ends = {state for state in CaseState if state.terminal}
    for _ in CaseState:
        ends |= {row.state for row in LIFECYCLE if row.after in ends}
    assert ends == set(CaseState)


@pytest.mark.spec("CA-2", "CA-6")
def test_collecting_alone_never_accepts() -> None:
    """收件地不得受理: with 收件 only, a case gets no further than `submitted`."""
    reached = {CaseState.NEW}
    for _ in CaseState:
        reached |= {
            row.after for state in reached for row in allowed(state, frozenset({Power.COLLECT}))
        }
    assert reached == {CaseState.NEW, CaseState.SUBMITTED}


@pytest.mark.spec("CA-6")
def test_correction_is_asked_once() -> None:
    state = CaseState.RECEIVED
    for kind in ("case.correct", "case.supplement"):
        state = step(state, kind, EVERYONE)
    with pytest.raises(RefusedError) as caught:
        step(state, "case.correct", EVERYONE)
    assert caught.value.reason is Reason.WRONG_STATE
    assert caught.value.detail == (
        "已补正 (supplemented) does not take case.correct; "
        "it takes case.accept, case.reject, case.void"
    )


def test_who_lacks_the_power_is_told_which() -> None:
    with pytest.raises(RefusedError) as caught:
        step(CaseState.ACCEPTED, "case.decide", frozenset({Power.COLLECT, Power.DELIVER}))
    assert caught.value.reason is Reason.POWER_LACKING
    assert caught.value.detail == (
        "case.decide in 已受理 (accepted) needs 决定 (decide); the sender holds: collect, deliver"
    )


def test_what_is_open_to_whom() -> None:
    accept = frozenset({Power.ACCEPT})
    assert [row.kind for row in allowed(CaseState.RECEIVED, accept)] == [
        "case.accept",
        "case.reject",
        "case.correct",
        "case.void",
    ]
    assert [row.kind for row in allowed(CaseState.ACCEPTED, accept)] == ["case.void"]
    assert allowed(CaseState.RECEIVED, NOBODY) == ()


def test_every_row_names_its_ground_and_how_sure_it_is() -> None:
    for row in LIFECYCLE:
        assert row.ground.endswith(("(L)", "(V)", "(I)")), row


def test_states_and_powers_have_their_own_chinese_names() -> None:
    for names in ([state.chinese for state in CaseState], [power.chinese for power in Power]):
        assert all(names)
        assert len(set(names)) == len(names)
