"""What a message does to a case, seen from one end. Pure functions over views and signed data.

The handling authority is the case's sequencer (design, section 8): what it records takes effect
there and then; what the collecting side sends takes effect at the collecting end when the
destination's `received` comes back, or when a later message of the handling authority says, by
`InReplyTo`, that it has seen it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.bodies import CaseVoid
from protocol.errors import RefusedError, UnavailableError
from protocol.identifiers import case_id_of, province_of
from protocol.lifecycle import LIFECYCLE, CaseState, Power, step
from protocol.reasons import Reason
from routing.jurisdiction import leads_to, responsible

if TYPE_CHECKING:
    from node.context import Federation
    from protocol.bodies import CaseSubmit
    from protocol.envelope import Header
    from routing.directory import Directory


class Party(NamedTuple):
    """Who speaks: a USCC as one province lists it. A USCC alone names nobody (DI-4)."""

    province: str
    authority: str

    @classmethod
    def at(cls, node: str, authority: str) -> Party:
        """The authority a node's province lists under this USCC."""
        return cls(province_of(node), authority)


class Side(StrEnum):
    """Which end of a case a view is."""

    COLLECT = "collect"
    HANDLE = "handle"


@dataclass(frozen=True, slots=True)
class CaseView:
    """One end's view of a case; a row of `case_view`."""

    case_id: str
    side: str
    state: str
    item: str
    implementation: str
    collecting_authority: str
    collecting_node: str
    handling_authority: str
    handling_node: str
    opened_ms: int
    changed_ms: int
    last_message: str | None
    effective: int

    @property
    def collecting(self) -> Party:
        """The collecting end."""
        return Party.at(self.collecting_node, self.collecting_authority)

    @property
    def handling(self) -> Party:
        """The handling end."""
        return Party.at(self.handling_node, self.handling_authority)

    @property
    def counterpart(self) -> tuple[str, str]:
        """(node, authority) of the other end."""
        if self.side == Side.COLLECT:
            return self.handling_node, self.handling_authority
        return self.collecting_node, self.collecting_authority

    @property
    def ours(self) -> tuple[str, str]:
        """(node, authority) of this end."""
        if self.side == Side.COLLECT:
            return self.collecting_node, self.collecting_authority
        return self.handling_node, self.handling_authority


_COLLECTING: Final = frozenset(
    row.kind for row in LIFECYCLE if row.powers == frozenset({Power.COLLECT})
)


def heir(party: Party, directory: Directory, now_ms: int) -> Party:
    """Who stands in a party's place now (DI-17)."""
    return party._replace(authority=directory.heir(party.authority, party.province, now_ms))


def as_of(view: CaseView, directory: Directory, now_ms: int) -> CaseView:
    """The view with whoever stands in its parties' places now: for comparing, never for keeping."""
    collecting, handling = (
        heir(party, directory, now_ms).authority for party in (view.collecting, view.handling)
    )
    if (collecting, handling) == (view.collecting_authority, view.handling_authority):
        return view
    return replace(view, collecting_authority=collecting, handling_authority=handling)


def require_open(directory: Directory, node: str, authority: str, instant_ms: int) -> None:
    """Refuse what an authority says, or is asked, after another has taken its place.

    Raises:
        RefusedError: AUTHORITY_CLOSED.
    """
    successor = directory.heir(authority, node, instant_ms)
    if successor != authority:
        raise RefusedError(Reason.AUTHORITY_CLOSED, f"{authority} is succeeded by {successor}")


def speaker(kind: str, view: CaseView, party: Party) -> Side:
    """Which end of the case a party to it speaks for in a message of this kind.

    One authority may be both ends, when its own window takes a case for it; then the kind decides.
    """
    collecting = view.collecting
    if collecting != view.handling:
        return Side.COLLECT if party == collecting else Side.HANDLE
    return Side.COLLECT if kind in _COLLECTING else Side.HANDLE


def other(side: Side) -> Side:
    """The other end."""
    return Side.HANDLE if side is Side.COLLECT else Side.COLLECT


def open_case(header: Header, body: CaseSubmit, side: Side, now_ms: int) -> CaseView:
    """A case before its first step, seen from one end.

    Raises:
        RefusedError: SCHEMA_INVALID: a submission outside a case; CASE_ID_INVALID: not its own.
    """
    if header.case is None:
        raise RefusedError(Reason.SCHEMA_INVALID, f"{header.kind} needs Header/Case")
    if header.case.case_id != case_id_of(header.sender.authority, header.message_id):
        raise RefusedError(Reason.CASE_ID_INVALID, f"case {header.case.case_id}")
    return CaseView(
        case_id=header.case.case_id,
        side=side.value,
        state=CaseState.NEW.value,
        item=body.item,
        implementation=body.implementation,
        collecting_authority=header.sender.authority,
        collecting_node=header.sender.node,
        handling_authority=header.recipient.authority,
        handling_node=header.recipient.node,
        opened_ms=now_ms,
        changed_ms=now_ms,
        last_message=None,
        effective=0,
    )


def advance(
    view: CaseView,
    kind: str,
    powers: frozenset[Power],
    header: Header,
    said_by: Side,
    now_ms: int,
) -> CaseView:
    """The view after one message of this end has taken effect.

    Raises:
        RefusedError: WRONG_STATE or POWER_LACKING, naming the row of the lifecycle table it missed.
    """
    state = step(CaseState(view.state), kind, powers)
    if kind == CaseVoid.kind:
        # It fills a number and is nobody's step: it neither answers nor hides one.
        return view
    collecting = said_by is Side.COLLECT
    if kind in _COLLECTING and not collecting:
        # Where any window may collect, the handling authority may too, but not in this case.
        raise RefusedError(Reason.POWER_LACKING, f"{kind}: 收件 (collect) is the other end's here")
    sequence = 0 if header.case is None else header.case.sequence
    return replace(
        view,
        state=state.value,
        changed_ms=now_ms,
        last_message=header.message_id if collecting else view.last_message,
        effective=max(view.effective, sequence) if collecting else view.effective,
    )


def powers_of(
    federation: Federation, view: CaseView, party: Party, now_ms: int
) -> frozenset[Power]:
    """The powers a party holds in a case, by the implementation it runs under.

    Its own, and those of the authorities in whose place it stands now (DI-17).

    Raises:
        UnavailableError: STALE_DIRECTORY: the catalogue here does not know the implementation
            (yet).
    """
    catalogue = federation.catalogue
    implementation = catalogue.implementation(view.implementation, view.handling_node)
    if implementation is None:
        raise UnavailableError(
            Reason.STALE_DIRECTORY, f"implementation {view.implementation} is not in the catalogue"
        )
    held: frozenset[Power] = frozenset()
    for uscc in federation.directory.lineage(party.authority, party.province, now_ms):
        held |= implementation.powers_of(uscc, party.province)
    return held


def check_submission(federation: Federation, header: Header, body: CaseSubmit, now_ms: int) -> None:
    """Whether the addressed authority implements this item now, and the stated basis leads to it.

    Raises:
        RefusedError: AUTHORITY_CLOSED, ITEM_UNKNOWN, ITEM_NOT_SERVED or BASIS_MISMATCH.
    """
    catalogue, directory = federation.catalogue, federation.directory
    require_open(directory, header.recipient.node, header.recipient.authority, now_ms)
    if catalogue.item(body.item) is None:
        raise RefusedError(Reason.ITEM_UNKNOWN, f"item {body.item}")
    authority, node = header.recipient.authority, header.recipient.node
    implementation = catalogue.implementation(body.implementation, node)
    if (
        implementation is None
        or implementation.authority != authority
        or implementation.item.code != body.item
        or not implementation.in_force(now_ms)
    ):
        raise RefusedError(
            Reason.ITEM_NOT_SERVED,
            f"{authority} does not implement item {body.item} as {body.implementation} now",
        )
    basis = body.basis
    found = responsible(
        catalogue, directory, body.item, basis.kind, basis.region, basis.zone, now_ms=now_ms
    )
    if not leads_to(found, authority, node):
        raise RefusedError(
            Reason.BASIS_MISMATCH, f"{basis.kind} in {basis.region} does not lead to {authority}"
        )
