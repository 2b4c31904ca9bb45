"""The invented people, each with a story and with what they come for, and the form they fill in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from routing.catalogue_document import ItemCode, MaterialCode, Token
from routing.payload import STRICT, NodeId, RegionCode, Text, Uscc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routing.catalogue import Item, Material


class Entry(BaseModel):
    """A row of the file: strict, immutable, no unknown members."""

    model_config = STRICT


class Window(Entry):
    """Where somebody walks in: the node, and the authority that collects there."""

    node: NodeId
    authority: Uscc


class BasisAnswer(Entry):
    """The answer to the item's jurisdiction question."""

    kind: Token
    region: RegionCode
    zone: Text | None = None


class AttachedFile(Entry):
    """A file that goes with the application, by part id; plain text will do for a demo."""

    media_type: str
    text: Text


class Application(Entry):
    """One person's errand.

    Attributes:
        id: A short name for it.
        story: What is special, for whoever looks at the demo.
        window: Where it is collected.
        item: What they come for.
        basis: Whose region counts, answered.
        leads_to: The authority that has to come out; None when the answer is a question.
        applicant: The rest in the local JSON form of `case.submit`.
        paper_only: Brings originals instead of electronic licences.
        applies: Materials whose condition holds.
        missing: Materials not brought: the authority will ask for them.
        form: The item's own form, by field name.
        files: What is referred to as a part.
    """

    id: Token
    story: Text
    window: Window
    item: ItemCode
    basis: BasisAnswer
    leads_to: Uscc | None
    applicant: dict[str, Any]
    agent: dict[str, Any] | None = None
    guardian: dict[str, Any] | None = None
    legal_representative: dict[str, Any] | None = None
    delivery: dict[str, Any]
    paper_only: bool = False
    applies: tuple[MaterialCode, ...] = ()
    missing: tuple[MaterialCode, ...] = ()
    form: dict[Token, str]
    files: dict[str, AttachedFile] = {}


def case_submit(
    application: Application, item: Item, implementation: str, actor: Mapping[str, str]
) -> dict[str, object]:
    """The body of `case.submit` in the local JSON form.

    Args:
        application: The errand.
        item: The item it is for.
        implementation: The responsible authority's code (实施编码).
        actor: The clerk: ``name``, ``staffNumber``, ``window``.
    """
    basis: dict[str, object] = {
        "kind": application.basis.kind,
        "region": application.basis.region,
    }
    if application.basis.zone is not None:
        basis["zone"] = application.basis.zone
    people = {
        "agent": application.agent,
        "guardian": application.guardian,
        "legalRepresentative": application.legal_representative,
    }
    return {
        "actor": dict(actor),
        "item": item.code,
        "implementation": implementation,
        "mode": item.mode,
        "basis": basis,
        "applicant": application.applicant,
        "delivery": application.delivery,
        **{name: person for name, person in people.items() if person is not None},
        "materials": [
            _brought(row, paper_only=application.paper_only)
            for row in item.materials
            if row.code not in application.missing
            and (row.required == "always" or row.code in application.applies)
        ],
        "form": [{"name": name, "value": value} for name, value in application.form.items()],
    }


def _brought(material: Material, *, paper_only: bool) -> dict[str, object]:
    """A licence where one will do, else paper that the clerk has compared with the original."""
    licence = material.licence_replaces and not paper_only
    return {
        "code": material.code,
        "name": material.name,
        "form": "licence" if licence else "original",
        "trust": "A" if licence else "B",
        "count": max(1, material.copies),
    }
