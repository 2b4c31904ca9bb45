"""The catalogue's documents: a province's service items, an authority's implementations.

事项目录 (items) say what a service is: whose region counts, who may be competent, which materials,
what limit. 实施清单 (sheets) say which authority does it where, with which powers. Every group of
facts in an item carries its confidence mark, so that nothing recalled becomes a rule unnoticed.

Sources: GB/T 39046-2020 annex A (levels), 国办发 2020 年 35 号 (modes). An implementation's code
(实施编码) is USCC (18), level (1), 基本编码 (12); provinces differ, so another form is allowed when
it is marked as one.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator

from protocol.bodies.kinds import Mode
from protocol.envelope import Environment
from protocol.identifiers import is_uscc
from routing.payload import (
    STRICT,
    Instant,
    Prefix,
    RegionCode,
    Text,
    Uscc,
    Version,
    repeated,
)

ITEMS_TYPE: Final = "application/vnd.tongban.catalogue+json"
SHEET_TYPE: Final = "application/vnd.tongban.implementations+json"

_PREFIX: Final = re.compile(r"[1-9][0-9]")

Token = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9.-]{0,39}$")]
ItemCode = Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{1,12}$")]
MaterialCode = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$")]
ImplementationCode = Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{24,36}$")]

Mark: TypeAlias = Literal["V", "L", "R", "R-high", "R-mid", "R-low", "I"]
"""V read in a source, L read in the law, R recalled (with how surely), I our assumption."""
Competence: TypeAlias = Literal["one", "any-of", "nationwide"]
"""One authority; any of those the bases lead to; any authority in the country."""
Level: TypeAlias = Literal["province", "city", "county"]
"""省级, 市级, 县级; a county directly below its province counts as both of the latter."""
Unit: TypeAlias = Literal["working-days", "calendar-days", "at-once"]
"""工作日, 自然日, 即办."""


class Entry(BaseModel):
    """A row of a document: immutable, strict, no unknown members."""

    model_config = STRICT


class Term(Entry):
    """A time limit (时限) in its unit; `at-once` has no days."""

    days: Annotated[int, Field(ge=0, le=3650)]
    unit: Unit

    @model_validator(mode="after")
    def _fits(self) -> Term:
        if (self.unit == "at-once") != (self.days == 0):
            message = "at-once has 0 days, every other unit at least 1"
            raise ValueError(message)
        return self


class Leg(Entry):
    """One leg of a limit that several authorities share (环节)."""

    name: Text
    term: Term


class Limit(Entry):
    """The law's limit and the promised one (法定时限、承诺时限); None where unknown."""

    legal: Term | None
    promised: Term | None
    legs: tuple[Leg, ...]


class Basis(Entry):
    """A jurisdiction basis (管辖依据): whose region counts, and the question to ask.

    `lead` leads to the authority that handles the case; `joint` to one that co-handles (联办).
    """

    kind: Token
    chinese: Text
    english: Text
    chinese_question: Text
    english_question: Text
    role: Literal["lead", "joint"]


class Material(Entry):
    """A material (材料): when it is needed, and what may stand in for it.

    `licence_replaces` ◎ an electronic licence does (免提交); `tolerable` ※ it may follow later
    (容缺); `commitment` § a promise does (告知承诺). `copies` counts paper; 0 is electronic only.
    """

    code: MaterialCode
    name: Text
    required: Literal["always", "if"]
    condition: Text | None
    licence_replaces: bool
    tolerable: bool
    commitment: bool
    copies: Annotated[int, Field(ge=0, le=99)]

    @model_validator(mode="after")
    def _fits(self) -> Material:
        if (self.required == "if") != (self.condition is not None):
            message = "`if` needs a condition, `always` has none"
            raise ValueError(message)
        return self


class FormField(Entry):
    """A field of the item's own form (表单项); `choices` belong to the type `choice`."""

    name: Token
    label: Text
    type: Literal["text", "date", "number", "choice", "yes-no"]
    required: bool
    choices: tuple[Text, ...]

    @model_validator(mode="after")
    def _fits(self) -> FormField:
        if (self.type == "choice") != bool(self.choices):
            message = "`choices` are for the type `choice`, which needs some"
            raise ValueError(message)
        return self


class Fee(Entry):
    """A fee (收费), in fen (0.01 yuan)."""

    fen: Annotated[int, Field(ge=1, le=10**9)]
    note: Text | None


class Marks(Entry):
    """How sure each group of facts is (可信度)."""

    code: Mark
    jurisdiction: Mark
    mode: Mark
    materials: Mark
    limit: Mark
    fee: Mark


class Item(Entry):
    """A service item (事项), handled by a node, by the window itself, or in a ministry's system."""

    code: ItemCode
    name: Text
    aliases: tuple[Text, ...]
    bases: tuple[Basis, ...]
    competence: Competence
    mode: Mode
    levels: tuple[Level, ...]
    materials: tuple[Material, ...]
    fields: tuple[FormField, ...]
    limit: Limit
    fee: Fee | None
    handled_in: Literal["node", "local", "vertical"]
    note: Text | None
    marks: Marks

    @model_validator(mode="after")
    def _fits(self) -> Item:
        problems = [
            *repeated("bases.kind", [basis.kind for basis in self.bases]),
            *repeated("levels", self.levels),
            *repeated("materials.code", [material.code for material in self.materials]),
            *repeated("fields.name", [field.name for field in self.fields]),
        ]
        if not any(basis.role == "lead" for basis in self.bases):
            problems.append("bases: none leads to an authority")
        if not self.levels:
            problems.append("levels: none, so nobody could do it")
        if problems:
            raise ValueError(problems[0])
        return self

    @property
    def lead_bases(self) -> tuple[Basis, ...]:
        """The bases that lead to the authority that handles the case."""
        return tuple(basis for basis in self.bases if basis.role == "lead")


class ItemsPayload(Entry):
    """The service items a province publishes, signed with its directory key."""

    version: Version
    environment: Environment
    prefix: Prefix
    issued_ms: Instant
    items: tuple[Item, ...]

    @model_validator(mode="after")
    def _fits(self) -> ItemsPayload:
        for problem in repeated("items.code", [item.code for item in self.items]):
            raise ValueError(problem)
        return self

    @property
    def publisher(self) -> str:
        """The region prefix it speaks for."""
        return self.prefix


def _holder(value: str) -> str:
    prefix, colon, uscc = value.rpartition(":")
    if not is_uscc(uscc) or (colon and _PREFIX.fullmatch(prefix) is None):
        message = "need a USCC, or 42:USCC for an authority of another province"
        raise ValueError(message)
    return value


Holder = Annotated[str, AfterValidator(_holder)]
"""Who holds a power: the USCC of an authority of the own province, or ``42:USCC`` of another's."""


class Powers(Entry):
    """Who holds which power in one implementation (权责): any window or these may collect."""

    collect: Literal["any"] | tuple[Holder, ...]
    accept: Holder
    review: Holder
    decide: Holder
    issue: Holder
    deliver: Holder


class ReviewPoint(Entry):
    """What the deciding authority looks at (审查要点), about one material or the whole."""

    material: MaterialCode | None
    text: Text


class ImplementationEntry(Entry):
    """One authority's version of an item, for a region or a functional zone in it (实施清单).

    `code_form`: `standard` is USCC + level + item code, 31 characters; `local` is whatever the
    province uses. Both begin with the authority's USCC: nobody can take another's code.
    """

    code: ImplementationCode
    code_form: Literal["standard", "local"]
    item: ItemCode
    region: RegionCode
    zone: Text | None
    powers: Powers
    materials: tuple[Material, ...] | None
    promised: Term | None
    effective_from_ms: Instant
    withdrawn_ms: Instant | None
    telephone: Text
    review_points: tuple[ReviewPoint, ...]

    @model_validator(mode="after")
    def _fits(self) -> ImplementationEntry:
        if self.withdrawn_ms is not None and self.withdrawn_ms <= self.effective_from_ms:
            message = "withdrawn before it takes effect"
            raise ValueError(message)
        for problem in repeated("materials.code", [row.code for row in self.materials or ()]):
            raise ValueError(problem)
        return self


class SheetPayload(Entry):
    """Everything one authority implements, signed with its catalogue key.

    `prefix` is the province whose directory lists the authority and the key.
    """

    version: Version
    environment: Environment
    prefix: Prefix
    authority: Uscc
    issued_ms: Instant
    implementations: tuple[ImplementationEntry, ...]

    @property
    def publisher(self) -> str:
        """The authority that speaks, with its province."""
        return f"{self.prefix}-{self.authority}"
