"""Following a case (办件进度): where it stands, who has it now, and whether it is over.

Who has it is read off the message on its way, if there is one: the last node that gave a receipt
for it, or we. Otherwise it is the end whose powers allow the next step of the lifecycle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from node import cases
from node.api.writing import item_name, message_shown, party, receipt_shown
from node.cases import Side
from node.store.queries import Role
from protocol.errors import UnavailableError
from protocol.instants import format_instant
from protocol.lifecycle import CaseState, Power, allowed
from routing.delivery import Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.cases import CaseView
    from node.context import Federation
    from node.store.queries import MessageRow
    from node.store.views import Followed

Outcome: TypeAlias = Literal["open", "rejected", "delivered", "refused"]

_FILLER: Final = "case.void"
_COLLECTING: Final = frozenset({Power.COLLECT})


def summary_shown(federation: Federation, view: CaseView) -> dict[str, object]:
    """A case in a list: one end's view."""
    return {
        "caseId": view.case_id,
        "item": view.item,
        "itemName": item_name(federation.catalogue, view.item),
        "implementation": view.implementation,
        **side_shown(federation, view),
    }


def side_shown(federation: Federation, view: CaseView) -> dict[str, object]:
    """One end's view of a case."""
    state = CaseState(view.state)
    return {
        "side": view.side,
        "state": state.value,
        "stateName": state.chinese,
        "ours": party(federation.directory, *view.ours),
        "counterpart": party(federation.directory, *view.counterpart),
        "opened": format_instant(view.opened_ms),
        "changed": format_instant(view.changed_ms),
    }


def case_shown(
    federation: Federation, here: str, sides: Sequence[CaseView], followed: Followed
) -> dict[str, object]:
    """A case as a whole.

    Args:
        federation: For names and powers.
        here: This node.
        sides: Our ends, at least one.
        followed: Its messages.
    """
    view = sequencer(sides)
    reached = outcome(sides, followed.messages)
    under_way = [row for row in followed.messages if on_its_way(row)]
    directory = federation.directory
    return {
        "caseId": view.case_id,
        "item": view.item,
        "itemName": item_name(federation.catalogue, view.item),
        "implementation": view.implementation,
        "sides": [side_shown(federation, side) for side in sides],
        "holder": holder(federation, here, view, reached, under_way, followed),
        "outcome": reached,
        "settled": reached != "open" and not under_way,
        "messages": [
            message_shown(directory, here, row, followed.custody_of(row))
            for row in followed.messages
        ],
    }


def sequencer(sides: Sequence[CaseView]) -> CaseView:
    """The handling end's view, which decides the order, or the only one we have."""
    return next((side for side in sides if side.side == Side.HANDLE), sides[0])


def on_its_way(row: MessageRow) -> bool:
    """Whether a message of ours still waits for its destination's receipt."""
    return row.role == Role.OUT and not Standing(row.standing).settled


def outcome(sides: Sequence[CaseView], messages: Sequence[MessageRow]) -> Outcome:
    """How the case ended, if it did; `refused` when its submission was, by the other node."""
    match CaseState(sequencer(sides).state):
        case CaseState.REJECTED:
            return "rejected"
        case CaseState.DELIVERED:
            return "delivered"
        case CaseState.NEW:
            refused = (row.standing == Standing.REFUSED for row in messages)
            return "refused" if any(refused) else "open"
        case _:
            return "open"


def holder(
    federation: Federation,
    here: str,
    view: CaseView,
    reached: Outcome,
    under_way: Sequence[MessageRow],
    followed: Followed,
) -> dict[str, object] | None:
    """Who has the case now; None when it is over."""
    directory = federation.directory
    if under_way:
        receipts = [receipt_shown(octets) for octets in followed.custody_of(under_way[0])]
        last = max(receipts, key=lambda receipt: receipt["instant"] or "", default=None)
        node_id = here if last is None else last["issuer"] or here
        node = directory.node(node_id)
        if node is None:
            return {"node": node_id, "authority": None, "name": None}
        return {"node": node_id, "authority": node.operator, "name": node.name}
    collecting = party(directory, view.collecting_node, view.collecting_authority)
    handling = party(directory, view.handling_node, view.handling_authority)
    match reached:
        case "delivered" | "rejected":
            return None
        case "refused":
            return collecting
        case _:
            return handling if _may_act(federation, view) else collecting


def _may_act(federation: Federation, view: CaseView) -> bool:
    """Whether the handling authority takes the next step; what a window does is never its turn."""
    state = CaseState(view.state)
    try:
        powers = cases.powers_of(federation, view, view.handling, view.changed_ms)
    except UnavailableError:
        return state not in (CaseState.NEW, CaseState.CORRECTING)
    steps = (row for row in allowed(state, powers) if row.kind != _FILLER)
    return any(row.powers != _COLLECTING for row in steps)
