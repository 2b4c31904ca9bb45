"""The files of the demo federation, read: provinces, nodes, authorities, items, people."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel

from examples.federation.people import Application
from protocol.bodies.kinds import Mode
from routing.catalogue_document import (
    Basis,
    Competence,
    Fee,
    FormField,
    Item,
    ItemCode,
    Leg,
    Level,
    Limit,
    Marks,
    Material,
    MaterialCode,
    ReviewPoint,
    Term,
    Token,
)
from routing.payload import STRICT, NodeId, Prefix, RegionCode, Text, Uscc, read_model

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA: Final = Path(__file__).parent / "data"


class Entry(BaseModel):
    """A row of a file: strict, immutable, no unknown members."""

    model_config = STRICT


class RegionPlan(Entry):
    """A region; the province itself has no parent."""

    code: RegionCode
    name: Text
    parent: RegionCode | None = None


class CirclePlan(Entry):
    """A metropolitan circle (都市圈)."""

    name: Text
    regions: tuple[RegionCode, ...]


class ProvincePlan(Entry):
    """A province: its regions, circles and links to other provinces' nodes."""

    prefix: Prefix
    name: Text
    links: tuple[tuple[NodeId, NodeId], ...]
    circles: tuple[CirclePlan, ...]
    regions: tuple[RegionPlan, ...]


class ReviewPointPlan(Entry):
    """What the deciding authority looks at."""

    material: MaterialCode | None = None
    text: Text

    def row(self) -> ReviewPoint:
        """As it stands in a sheet."""
        return ReviewPoint(material=self.material, text=self.text)


class ImplementationPlan(Entry):
    """That an authority does an item: `level` is the digit in the code (3 市, 4 县, 5 镇街)."""

    item: ItemCode
    level: Literal["2", "3", "4", "5"]
    promised: Term | None = None
    review_points: tuple[ReviewPointPlan, ...] = ()


class AuthorityPlan(Entry):
    """An authority and what it implements."""

    uscc: Uscc
    name: Text
    region: RegionCode
    zone: Text | None = None
    telephone: Text
    implements: tuple[ImplementationPlan, ...] = ()


class NodePlan(Entry):
    """A node with its authorities, the operator among them."""

    id: NodeId
    name: Text
    role: Literal["node", "hub"]
    operator: Uscc
    serves: tuple[RegionCode, ...]
    forwards_for: tuple[str, ...] = ()
    authorities: tuple[AuthorityPlan, ...]


class BasisPlan(Entry):
    """A jurisdiction basis with its question; the items name it by its kind."""

    chinese: Text
    english: Text
    chinese_question: Text
    english_question: Text


class MaterialPlan(Entry):
    """A material with its marks ◎ `licence`, ※ `tolerable`, § `commitment`."""

    code: MaterialCode
    name: Text
    condition: Text | None = None
    licence: bool = False
    tolerable: bool = False
    commitment: bool = False
    copies: int = 1

    def row(self) -> Material:
        """As it stands in the items document."""
        return Material(
            code=self.code,
            name=self.name,
            required="always" if self.condition is None else "if",
            condition=self.condition,
            licence_replaces=self.licence,
            tolerable=self.tolerable,
            commitment=self.commitment,
            copies=self.copies,
        )


class FieldPlan(Entry):
    """A field of the item's form."""

    name: Token
    label: Text
    type: Literal["text", "date", "number", "choice", "yes-no"]
    required: bool = True
    choices: tuple[Text, ...] = ()

    def row(self) -> FormField:
        """As it stands in the items document."""
        return FormField(
            name=self.name,
            label=self.label,
            type=self.type,
            required=self.required,
            choices=self.choices,
        )


class LimitPlan(Entry):
    """The limits, as far as anything is known."""

    legal: Term | None = None
    promised: Term | None = None
    legs: tuple[Leg, ...] = ()


class ItemPlan(Entry):
    """A service item, the provinces that publish it, and what every authority looks at."""

    code: ItemCode
    name: Text
    aliases: tuple[Text, ...]
    published_in: tuple[Prefix, ...]
    bases: tuple[Token, ...]
    joint_bases: tuple[Token, ...] = ()
    competence: Competence
    mode: Mode
    levels: tuple[Level, ...]
    handled_in: Literal["node", "local", "vertical"]
    fee: Fee | None = None
    materials: tuple[MaterialPlan, ...]
    fields: tuple[FieldPlan, ...]
    review_points: tuple[ReviewPointPlan, ...]
    note: Text | None = None
    limit: LimitPlan
    marks: Marks


class ItemsFile(Entry):
    """items.toml."""

    bases: dict[Token, BasisPlan]
    items: tuple[ItemPlan, ...]

    def item(self, plan: ItemPlan) -> Item:
        """The item as it is published."""
        return Item(
            code=plan.code,
            name=plan.name,
            aliases=plan.aliases,
            bases=(
                *(self._basis(kind, "lead") for kind in plan.bases),
                *(self._basis(kind, "joint") for kind in plan.joint_bases),
            ),
            competence=plan.competence,
            mode=plan.mode,
            levels=plan.levels,
            materials=tuple(material.row() for material in plan.materials),
            fields=tuple(field.row() for field in plan.fields),
            limit=Limit(legal=plan.limit.legal, promised=plan.limit.promised, legs=plan.limit.legs),
            fee=plan.fee,
            handled_in=plan.handled_in,
            note=plan.note,
            marks=plan.marks,
        )

    def _basis(self, kind: str, role: Literal["lead", "joint"]) -> Basis:
        said = self.bases[kind]
        return Basis(
            kind=kind,
            chinese=said.chinese,
            english=said.english,
            chinese_question=said.chinese_question,
            english_question=said.english_question,
            role=role,
        )


class PeopleFile(Entry):
    """people.json."""

    about: Text
    applications: tuple[Application, ...]


@dataclass(frozen=True, slots=True)
class FederationPlan:
    """Everything the files say; nothing of keys, addresses or certificates.

    Attributes:
        provinces: With their regions, circles and links.
        nodes: In the order they should be started: hubs first.
        items: The items as published, by code.
        published_in: The provinces that publish an item, by its code.
        review_points: What every authority looks at, by item code.
        applications: The invented people, each with what they come for.
    """

    provinces: tuple[ProvincePlan, ...]
    nodes: tuple[NodePlan, ...]
    items: dict[str, Item]
    published_in: dict[str, tuple[str, ...]]
    review_points: dict[str, tuple[ReviewPoint, ...]]
    applications: tuple[Application, ...]

    def province(self, prefix: str) -> ProvincePlan:
        """The province with this prefix; KeyError if there is none."""
        return {row.prefix: row for row in self.provinces}[prefix]

    def node(self, node_id: str) -> NodePlan:
        """The node with this id; KeyError if there is none."""
        return {row.id: row for row in self.nodes}[node_id]

    def authority(self, uscc: str) -> AuthorityPlan:
        """The authority with this USCC; KeyError if there is none."""
        return {row.uscc: row for _, row in self.authorities()}[uscc]

    def node_of(self, uscc: str) -> NodePlan:
        """The node that serves an authority; KeyError if there is none."""
        return {row.uscc: node for node, row in self.authorities()}[uscc]

    def authorities(self) -> Iterator[tuple[NodePlan, AuthorityPlan]]:
        """Every authority with its node."""
        return ((node, row) for node in self.nodes for row in node.authorities)


def load_federation(data: Path = DATA) -> FederationPlan:
    """Read the files.

    Raises:
        RefusedError: DOCUMENT_INVALID: a file does not follow its structure; names the place.
        OSError: a file cannot be read.
    """
    items_file = read_model(ItemsFile, _toml(data / "items.toml"))
    nodes = [read_model(NodePlan, _toml(path)) for path in sorted(data.glob("nodes/*.toml"))]
    people = read_model(PeopleFile, (data / "people.json").read_bytes())
    return FederationPlan(
        provinces=tuple(
            read_model(ProvincePlan, _toml(path)) for path in sorted(data.glob("provinces/*.toml"))
        ),
        nodes=tuple(sorted(nodes, key=lambda node: (node.role != "hub", node.id))),
        items={plan.code: items_file.item(plan) for plan in items_file.items},
        published_in={plan.code: plan.published_in for plan in items_file.items},
        review_points={
            plan.code: tuple(point.row() for point in plan.review_points)
            for plan in items_file.items
        },
        applications=people.applications,
    )


def _toml(path: Path) -> bytes:
    return json.dumps(tomllib.loads(path.read_text(encoding="utf-8"))).encode()
