"""The life of a case (办件) as one table: state, kind, power required, next state, legal ground.

Both ends run the same table, so both see the same case. How to read it:

* No row, no move: `step` refuses with what is allowed instead (WRONG_STATE).
* A row names the powers (权责) of which the sender has to hold one for this implementation
  (POWER_LACKING).
* Collecting (收件) is not accepting (受理): only the authority's own signature moves a case beyond
  `submitted`.
* Correction is asked once and completely (许可法32条4项), so the case remembers that it was asked:
  `supplemented` takes what `received` takes, but no second `case.correct`.
* An item decided on the spot (即办件) takes `case.accept` and `case.decide` one after the other:
  许可法34条 asks for a decision on the spot, not for one without acceptance.
* `case.void` fills a lost sequence number and never changes the state.

Grounds carry a confidence mark: L read in the law, V read in another source, I our own choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocol.errors import RefusedError
from protocol.reasons import Reason


class Power(StrEnum):
    """What an authority may do in an implementation (权责)."""

    COLLECT = "collect"
    ACCEPT = "accept"
    REVIEW = "review"
    DECIDE = "decide"
    ISSUE = "issue"
    DELIVER = "deliver"

    @property
    def chinese(self) -> str:
        """For clerks and jurists."""
        return _POWERS[self]


_POWERS: Final = {
    Power.COLLECT: "收件",
    Power.ACCEPT: "受理",
    Power.REVIEW: "审查",
    Power.DECIDE: "决定",
    Power.ISSUE: "制证",
    Power.DELIVER: "送达",
}


class CaseState(StrEnum):
    """Where a case stands (办件状态)."""

    NEW = "new"
    SUBMITTED = "submitted"
    RECEIVED = "received"
    CORRECTING = "correcting"
    SUPPLEMENTED = "supplemented"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    DECIDED = "decided"
    DELIVERED = "delivered"

    @property
    def chinese(self) -> str:
        """For clerks and jurists."""
        return _STATES[self]

    @property
    def terminal(self) -> bool:
        """Whether the case is over; only `case.void` may still come."""
        return self in (CaseState.REJECTED, CaseState.DELIVERED)


_STATES: Final = {
    CaseState.NEW: "新建",
    CaseState.SUBMITTED: "已收件转送",
    CaseState.RECEIVED: "已签收",
    CaseState.CORRECTING: "待补正",
    CaseState.SUPPLEMENTED: "已补正",
    CaseState.ACCEPTED: "已受理",
    CaseState.REJECTED: "不予受理",
    CaseState.DECIDED: "已决定",
    CaseState.DELIVERED: "已送达",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One legal move.

    Attributes:
        state: Where the case stands.
        kind: The message that moves it.
        powers: Of these the sender holds at least one.
        after: Where the case stands then.
        ground: The legal ground, with its confidence mark.
    """

    state: CaseState
    kind: str
    powers: frozenset[Power]
    after: CaseState
    ground: str


_COLLECT: Final = frozenset({Power.COLLECT})
_ACCEPT: Final = frozenset({Power.ACCEPT})
_DECIDE: Final = frozenset({Power.DECIDE})
_DELIVER: Final = frozenset({Power.DELIVER})
_ANYONE: Final = frozenset(Power)

_COLLECTED: Final = "国办发〔2020〕35号 收受分离 (V)"  # noqa: RUF001
_SIGNED_FOR: Final = "许可法32条 自收到申请材料之日; 时刻取属地签收 (I)"
_ACCEPTED: Final = "许可法32条5项 (L)"
_REJECTED: Final = "许可法32条1、2项 (L)"
_CORRECTED: Final = "许可法32条4项 一次告知 (L)"
_SUPPLEMENTED: Final = "许可法32条5项 提交全部补正材料 (L)"
_DECIDED: Final = "许可法38、42条 (L)"
_DELIVERED: Final = "许可法44条 (L)"
_VOID: Final = "报文序号规则 (I)"

_S: Final = CaseState

LIFECYCLE: Final = (
    Row(_S.NEW, "case.submit", _COLLECT, _S.SUBMITTED, _COLLECTED),
    Row(_S.SUBMITTED, "case.received", _ACCEPT, _S.RECEIVED, _SIGNED_FOR),
    Row(_S.RECEIVED, "case.accept", _ACCEPT, _S.ACCEPTED, _ACCEPTED),
    Row(_S.RECEIVED, "case.reject", _ACCEPT, _S.REJECTED, _REJECTED),
    Row(_S.RECEIVED, "case.correct", _ACCEPT, _S.CORRECTING, _CORRECTED),
    Row(_S.CORRECTING, "case.supplement", _COLLECT, _S.SUPPLEMENTED, _SUPPLEMENTED),
    Row(_S.SUPPLEMENTED, "case.accept", _ACCEPT, _S.ACCEPTED, _ACCEPTED),
    Row(_S.SUPPLEMENTED, "case.reject", _ACCEPT, _S.REJECTED, _REJECTED),
    Row(_S.ACCEPTED, "case.decide", _DECIDE, _S.DECIDED, _DECIDED),
    Row(_S.DECIDED, "case.deliver", _DELIVER, _S.DELIVERED, _DELIVERED),
    *(Row(state, "case.void", _ANYONE, state, _VOID) for state in CaseState),
)

_ROWS: Final = {(row.state, row.kind): row for row in LIFECYCLE}


def step(state: CaseState, kind: str, powers: frozenset[Power]) -> CaseState:
    """Where a case stands after a message.

    Args:
        state: Where it stands now.
        kind: The kind of the message.
        powers: What its sender holds for the implementation.

    Raises:
        RefusedError: WRONG_STATE when there is no such row, POWER_LACKING when the sender may not
            take it; the detail names the present state, the kind, and what would be allowed.
    """
    row = _ROWS.get((state, kind))
    if row is None:
        kinds = ", ".join(row.kind for row in LIFECYCLE if row.state is state)
        detail = f"{state.chinese} ({state}) does not take {kind[:40]}; it takes {kinds}"
        raise RefusedError(Reason.WRONG_STATE, detail)
    if not row.powers & powers:
        needed = " / ".join(f"{power.chinese} ({power})" for power in Power if power in row.powers)
        held = ", ".join(power for power in Power if power in powers) or "none"
        detail = f"{kind} in {state.chinese} ({state}) needs {needed}; the sender holds: {held}"
        raise RefusedError(Reason.POWER_LACKING, detail)
    return row.after


def allowed(state: CaseState, powers: frozenset[Power]) -> tuple[Row, ...]:
    """The moves open in a state to a sender with these powers, in the table's order."""
    return tuple(row for row in LIFECYCLE if row.state is state and row.powers & powers)
