"""What several kinds of body share: persons, materials, delivery, numbers, remedies.

Field order is element order on the wire, field names are element names (``staff_number`` is
``staffNumber``), and a tuple is a repeated element named after its members' class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

# The codec reads these annotations at run time.
from protocol.bodies.shapes import (  # noqa: TC001
    CertificateType,
    Code,
    Count,
    Date,
    Ethnicity,
    Label,
    Line,
    Name,
    PartId,
    Region,
    Telephone,
    Token,
    Value,
)

PersonKind: TypeAlias = Literal["natural", "legal"]
"""自然人; 法人和其他组织."""
Sex: TypeAlias = Literal["0", "1", "2", "9"]
"""GB/T 2261.1: 未知, 男, 女, 未说明."""
DeliveryMethod: TypeAlias = Literal["window", "post", "electronic"]
"""窗口领取, 邮寄, 电子送达."""
MaterialForm: TypeAlias = Literal["original", "copy", "electronic", "licence"]
"""原件, 复印件, 电子件, 电子证照."""
Trust: TypeAlias = Literal["A", "B", "C", "D"]
"""国办函〔2016〕108号: A 机关产生, B 窗口核验, C 用户上传须核原件, D 自制承诺负责."""  # noqa: RUF001
Subject: TypeAlias = Literal["material", "field"]
"""材料; 表单项."""
RemedyKind: TypeAlias = Literal["review", "litigation"]
"""行政复议; 行政诉讼."""
ProofKind: TypeAlias = Literal["signature", "waybill", "record"]
"""签收人签字（送达回证）; 运单; 系统送达记录."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted (经办人): a person of the sending authority, in every body."""

    name: Name
    staff_number: Label
    window: Label


@dataclass(frozen=True, slots=True)
class Number:
    """A number of somebody's (编号). Schemes in use: `NUMBER_SCHEMES`; local systems add theirs."""

    scheme: Token
    value: Label


NUMBER_SCHEMES: Final = {
    "collection": "收件编号",
    "case": "办件编号",
    "query": "查询码",
    "notice": "文书编号",
}
"""Number schemes every node knows, with their Chinese names."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What proves who a person is (证件): type by GA/T 2000.156 or ``uscc``, and number."""

    type: CertificateType
    number: Label


@dataclass(frozen=True, slots=True)
class Person:
    """A natural or legal person (自然人、法人)."""

    kind: PersonKind
    name: Name
    certificate: Certificate
    sex: Sex | None = None
    birth_date: Date | None = None
    ethnicity: Ethnicity | None = None
    telephone: Telephone | None = None
    address: Line | None = None


@dataclass(frozen=True, slots=True)
class Agent:
    """Who applies for the applicant (代理人), by a power of attorney (授权委托书) in a part."""

    person: Person
    power_of_attorney: PartId
    scope: Line


@dataclass(frozen=True, slots=True)
class Guardian:
    """Who stands in for a minor or an incapable person (监护人), with the proof in a part."""

    person: Person
    relation: Label
    proof: PartId | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the applicant wants the result (送达方式)."""

    method: DeliveryMethod
    address: Line | None = None
    recipient: Name | None = None
    telephone: Telephone | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """One material of the application (材料); `part` is its scan or file in the manifest."""

    code: Code
    name: Name
    form: MaterialForm
    trust: Trust
    count: Count
    part: PartId | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the item's own form (表单项)."""

    name: Label
    value: Value


@dataclass(frozen=True, slots=True)
class Basis:
    """Why this authority is responsible (管辖依据): whose region counts, and which region it is.

    The kinds of basis are the catalogue's; `zone` names a functional zone, which has no region
    code.
    """

    kind: Token
    region: Region
    zone: Label | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to be corrected (补正事项): which material or field, what is wrong, what to do."""

    subject: Subject
    code: Label
    problem: Line
    remedy: Line


@dataclass(frozen=True, slots=True)
class Remedy:
    """A right against a decision (救济途径): 复议 or 诉讼, before whom, within what time."""

    kind: RemedyKind
    body: Name
    within: Label


@dataclass(frozen=True, slots=True)
class Document:
    """A document issued (颁发的证照文书): scheme and value of its number, its file in a part."""

    scheme: Token
    value: Label
    name: Name
    part: PartId | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that something was delivered (送达凭证): its number, and a scan in a part."""

    kind: ProofKind
    value: Line
    part: PartId | None = None
