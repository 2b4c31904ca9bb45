"""The bodies, one per kind of message, and the one table of kinds (报文种类).

Every body begins with its salt and its actor. What a body must say follows the Administrative
Licensing Law (行政许可法, cited as 许可法): dated written notices of acceptance and rejection (32),
corrections named once and completely (32), reasons and remedies with every refusal (38), delivery
(44).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

from protocol.bodies.people import (
    Actor,
    Agent,
    Basis,
    Delivery,
    DeliveryMethod,
    Document,
    Field,
    Guardian,
    Material,
    Number,
    Person,
    Problem,
    Proof,
    Remedy,
)

# The codec reads these annotations at run time.
from protocol.bodies.shapes import Code, Instant, Label, Line, Many, Name, Salt, Text
from protocol.errors import LocalUseError, RefusedError
from protocol.reasons import Reason

Mode: TypeAlias = Literal["online", "collected", "joint", "delegated"]
"""全程网办, 异地代收代办, 多地联办 (国办发〔2020〕35号); 异地授权、本地办理."""  # noqa: RUF001
RejectCause: TypeAlias = Literal["not-required", "not-competent", "not-corrected", "other"]
"""依法不需要许可 (许可法32条1项), 不属于本机关职权 (2项), 补正不来, 其他."""
Result: TypeAlias = Literal["granted", "refused", "withdrawn", "terminated"]
"""准予, 不予, 申请人撤回, 终止."""

Numbers: TypeAlias = Annotated[tuple[Number, ...], Many(0, 16)]
Materials: TypeAlias = Annotated[tuple[Material, ...], Many(0, 127)]
Form: TypeAlias = Annotated[tuple[Field, ...], Many(0, 512)]


@dataclass(frozen=True, slots=True)
class Ping:
    """Is the way open (连通测试); the actor is the operator."""

    kind: ClassVar[str] = "ping"
    salt: Salt
    actor: Actor
    note: Line | None = None


@dataclass(frozen=True, slots=True)
class CaseSubmit:
    """An application collected at a window (收件) and sent to the responsible authority.

    Collecting is not accepting (收件不是受理): nothing in here starts a legal time limit.
    """

    kind: ClassVar[str] = "case.submit"
    salt: Salt
    actor: Actor
    item: Code
    implementation: Code
    mode: Mode
    basis: Basis
    applicant: Person
    delivery: Delivery
    agent: Agent | None = None
    guardian: Guardian | None = None
    legal_representative: Person | None = None
    numbers: Numbers = ()
    materials: Materials = ()
    form: Form = ()
    note: Text | None = None


@dataclass(frozen=True, slots=True)
class CaseReceived:
    """The authority has it (属地签收): the law's clocks run from here; still not acceptance."""

    kind: ClassVar[str] = "case.received"
    salt: Salt
    actor: Actor
    received_ms: Instant
    numbers: Numbers = ()
    note: Text | None = None


@dataclass(frozen=True, slots=True)
class CaseAccept:
    """Acceptance (受理通知书, 许可法32条): dated, with the case number and the day it is due."""

    kind: ClassVar[str] = "case.accept"
    salt: Salt
    actor: Actor
    case_number: Label
    accepted_ms: Instant
    due_ms: Instant | None = None
    numbers: Numbers = ()
    note: Text | None = None


@dataclass(frozen=True, slots=True)
class CaseReject:
    """Rejection before any review of substance (不予受理通知书, 许可法32条).

    `competent` says where to apply instead; the law requires it when the authority is not
    competent.
    """

    kind: ClassVar[str] = "case.reject"
    salt: Salt
    actor: Actor
    cause: RejectCause
    rejected_ms: Instant
    ground: Line
    explanation: Text
    remedies: Annotated[tuple[Remedy, ...], Many(1, 4)]
    competent: Name | None = None
    numbers: Numbers = ()


@dataclass(frozen=True, slots=True)
class CaseCorrect:
    """What has to be corrected, all of it at once (一次性补正告知书, 许可法32条4项)."""

    kind: ClassVar[str] = "case.correct"
    salt: Salt
    actor: Actor
    problems: Annotated[tuple[Problem, ...], Many(1, 64)]
    due_ms: Instant
    numbers: Numbers = ()
    note: Text | None = None


@dataclass(frozen=True, slots=True)
class CaseSupplement:
    """The corrected materials and fields (补正材料)."""

    kind: ClassVar[str] = "case.supplement"
    salt: Salt
    actor: Actor
    materials: Materials = ()
    form: Form = ()
    note: Text | None = None


@dataclass(frozen=True, slots=True)
class CaseDecide:
    """The decision (决定, 许可法37、38条); anything but a grant says why and names the remedies."""

    kind: ClassVar[str] = "case.decide"
    salt: Salt
    actor: Actor
    result: Result
    decided_ms: Instant
    ground: Line | None = None
    explanation: Text | None = None
    remedies: Annotated[tuple[Remedy, ...], Many(0, 4)] = ()
    documents: Annotated[tuple[Document, ...], Many(0, 16)] = ()
    numbers: Numbers = ()


@dataclass(frozen=True, slots=True)
class CaseDeliver:
    """The result has reached the applicant (送达, 许可法44条), and what shows it (送达回证)."""

    kind: ClassVar[str] = "case.deliver"
    salt: Salt
    actor: Actor
    method: DeliveryMethod
    recipient: Name
    delivered_ms: Instant
    proof: Proof
    note: Text | None = None


@dataclass(frozen=True, slots=True)
class CaseVoid:
    """Fills the sequence number of a lost or refused message (空号作废), and does no more."""

    kind: ClassVar[str] = "case.void"
    salt: Salt
    actor: Actor
    cause: Line


Body: TypeAlias = (
    Ping
    | CaseSubmit
    | CaseReceived
    | CaseAccept
    | CaseReject
    | CaseCorrect
    | CaseSupplement
    | CaseDecide
    | CaseDeliver
    | CaseVoid
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of message: the class of its body and its Chinese name; the rest follows."""

    body: type[Body]
    chinese: str

    @property
    def name(self) -> str:
        """Its name in the envelope, as ``case.submit``."""
        return self.body.kind

    @property
    def schema(self) -> str:
        """The namespace of the body, which is also its part's schema in the manifest."""
        return f"urn:tongban:{self.name.replace('.', '-')}:1"

    @property
    def element(self) -> str:
        """The body's root element."""
        return self.body.__name__


KINDS: Final = (
    Kind(Ping, "连通测试"),
    Kind(CaseSubmit, "收件转送"),
    Kind(CaseReceived, "属地签收"),
    Kind(CaseAccept, "受理"),
    Kind(CaseReject, "不予受理"),
    Kind(CaseCorrect, "补正告知"),
    Kind(CaseSupplement, "补正"),
    Kind(CaseDecide, "决定"),
    Kind(CaseDeliver, "送达"),
    Kind(CaseVoid, "空号作废"),
)

_BY_NAME: Final = {kind.name: kind for kind in KINDS}
_BY_SCHEMA: Final = {kind.schema: kind for kind in KINDS}
_BY_CLASS: Final = {kind.body: kind for kind in KINDS}


def kind_of(body: Body) -> Kind:
    """The kind of message a body belongs to.

    Raises:
        LocalUseError: not a body.
    """
    kind = _BY_CLASS.get(type(body))
    if kind is None:
        message = f"{type(body).__name__} is not a body"
        raise LocalUseError(message)
    return kind


def schema_of(body: Body) -> str:
    """The namespace URN of a body, as its manifest row names it."""
    return kind_of(body).schema


def kind_named(name: str) -> Kind:
    """The kind with this name in the envelope.

    Raises:
        RefusedError: KIND_UNKNOWN.
    """
    kind = _BY_NAME.get(name)
    if kind is None:
        raise RefusedError(Reason.KIND_UNKNOWN, repr(name[:40]))
    return kind


def kind_with_schema(schema: str | None) -> Kind:
    """The kind whose body has this namespace.

    Raises:
        RefusedError: KIND_UNKNOWN.
    """
    kind = _BY_SCHEMA.get(schema or "")
    if kind is None:
        raise RefusedError(Reason.KIND_UNKNOWN, f"no kind has bodies in {(schema or '')[:40]!r}")
    return kind
