"""Rules that a schema cannot say: they tie one field of a body to another, or to the law.

`faults_of` lists every breach, so that a person can mend all of them at once. The codec refuses a
body with any (BODY_INVALID); the local JSON form shows them beside the fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from protocol.bodies.kinds import CaseDecide, CaseReject, CaseSubmit, CaseSupplement
from protocol.bodies.people import Certificate, Delivery, Material
from protocol.bodies.plan import join, plan_of, walk
from protocol.bodies.shapes import TextShape
from protocol.envelope import BODY_ID
from protocol.errors import RefusedError
from protocol.identifiers import is_identity_number, is_uscc
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from protocol.bodies.kinds import Body
    from protocol.bodies.plan import Slot

_PART_SLOTS: Final[dict[type, tuple[Slot, ...]]] = {}

IDENTITY_CARD = "111"
"""居民身份证 in GA/T 2000.156."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a body, and what to do; never the value itself.

    `path` is in the words of the JSON form, such as ``applicant.certificate.number``.
    """

    path: str
    problem: str
    remedy: str
    chinese_problem: str
    chinese_remedy: str


def faults_of(body: Body) -> tuple[FieldError, ...]:
    """Every breach of a rule between fields, in the order of the body."""
    return tuple(_faults(body))


def check_rules(body: Body) -> None:
    """Refuse a body that breaks a rule between fields.

    Raises:
        RefusedError: BODY_INVALID, naming the field and the rule.
    """
    for fault in _faults(body):
        detail = f"{type(body).__name__}.{fault.path}: {fault.problem}"
        raise RefusedError(Reason.BODY_INVALID, detail)


def check_references(body: Body, part_ids: Collection[str]) -> None:
    """Refuse a body that points to a part its manifest does not list.

    Args:
        body: The body.
        part_ids: The ids in the manifest.

    Raises:
        RefusedError: BODY_INVALID, naming the field and the part.
    """
    for path, part_id in references_of(body):
        if part_id not in part_ids or part_id == BODY_ID:
            detail = f"{type(body).__name__}.{path}: {part_id} is not a material in the manifest"
            raise RefusedError(Reason.BODY_INVALID, detail)


def references_of(body: Body) -> Iterator[tuple[str, str]]:
    """Every reference to a part: its path in the JSON form, and the part's id."""
    for path, value in walk(body, _names_parts):
        for slot in _part_slots(type(value)):
            part_id = getattr(value, slot.name)
            if part_id is not None:
                yield join(path, slot, 0), part_id


def _part_slots(cls: type) -> tuple[Slot, ...]:
    """The slots of a dataclass that name a part; read once."""
    slots = _PART_SLOTS.get(cls)
    if slots is None:
        slots = _PART_SLOTS[cls] = tuple(
            slot
            for slot in plan_of(cls)
            if isinstance(slot.content, TextShape) and slot.content.name == "PartId"
        )
    return slots


def _names_parts(cls: type) -> bool:
    return bool(_part_slots(cls))


def _has_rules(cls: type) -> bool:
    """Whether there are rules for this class."""
    return cls in _RULES


def _faults(body: Body) -> Iterator[FieldError]:
    for path, value in walk(body, _has_rules):
        rules = _RULES.get(type(value))
        if rules is not None:
            yield from rules(value, path)


def _certificate(certificate: Certificate, path: str) -> Iterator[FieldError]:
    if certificate.type == IDENTITY_CARD and not is_identity_number(certificate.number):
        yield FieldError(
            f"{path}.number",
            "not an identity number: length or check character (GB 11643)",
            "read it from the card again: 17 digits and a digit or capital X",
            "居民身份证号码位数或校验码不正确（GB 11643）",
            "对照证件重新录入：17 位数字加 1 位数字或大写 X",
        )
    if certificate.type == "uscc" and not is_uscc(certificate.number):
        yield FieldError(
            f"{path}.number",
            "not a unified social credit code: length, letters or check character (GB 32100)",
            "read it from the licence again: 18 digits and capitals, without I, O, S, V, Z",
            "统一社会信用代码位数、字符或校验码不正确（GB 32100）",
            "对照证照重新录入：18 位数字或大写字母，不含 I、O、S、V、Z",
        )


def _delivery(delivery: Delivery, path: str) -> Iterator[FieldError]:
    if delivery.method != "post":
        return
    for name, chinese in (
        ("address", "地址"),
        ("recipient", "收件人"),
        ("telephone", "收件人电话"),
    ):
        if getattr(delivery, name) is None:
            yield FieldError(
                f"{path}.{name}",
                f"delivery by post needs the {name}",
                f"give the {name}, or choose another method",
                f"邮寄送达须有{chinese}",
                f"填写{chinese}，或改用其他送达方式",
            )


def _material(material: Material, path: str) -> Iterator[FieldError]:
    if material.form == "electronic" and material.part is None:
        yield FieldError(
            f"{path}.part",
            "an electronic material comes as a part of the message",
            "attach the file and name its part here",
            "电子材料须随报文附上文件",
            "上传文件，并在此填写部件号",
        )


def _form(body: CaseSubmit | CaseSupplement, _path: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, field in enumerate(body.form):
        if field.name in seen:
            yield FieldError(
                f"form[{index}].name",
                "a form field occurs twice",
                "give each field once",
                "表单项重复",
                "每个表单项只填一次",
            )
        seen.add(field.name)


def _supplement(body: CaseSupplement, path: str) -> Iterator[FieldError]:
    yield from _form(body, path)
    if not body.materials and not body.form:
        yield FieldError(
            "materials",
            "a supplement brings materials or fields",
            "add what the correction notice asked for",
            "补正须提交材料或表单项",
            "按补正告知书补充材料或填写表单项",
        )


def _reject(reject: CaseReject, _path: str) -> Iterator[FieldError]:
    if reject.cause == "not-competent" and reject.competent is None:
        yield FieldError(
            "competent",
            "who is not competent says where to apply (许可法 32)",
            "name the competent authority",
            "不属于本机关职权的，应告知向何机关申请（许可法第三十二条第二项）",
            "填写有权机关名称",
        )


def _decision(decision: CaseDecide, _path: str) -> Iterator[FieldError]:
    if decision.result == "granted":
        return
    if decision.explanation is None:
        yield FieldError(
            "explanation",
            "whatever is not granted is explained (许可法 38)",
            "give the reasons",
            "未予准许的，应当说明理由（许可法第三十八条）",
            "填写理由",
        )
    if decision.documents:
        yield FieldError(
            "documents",
            "only a grant issues documents",
            "leave the documents out, or correct the result",
            "未予准许的，不得颁发证照",
            "删除证照，或更正决定结果",
        )
    if decision.result != "refused":
        return
    if decision.ground is None:
        yield FieldError(
            "ground",
            "a refusal names its legal ground (许可法 38)",
            "name the law and article",
            "不予许可的，应当写明法律依据（许可法第三十八条）",
            "填写法律名称与条款",
        )
    if not decision.remedies:
        yield FieldError(
            "remedies",
            "a refusal names the remedies against it (许可法 38)",
            "name review (复议) or litigation (诉讼), before whom and within what time",
            "不予许可的，应当告知复议、诉讼权利（许可法第三十八条）",
            "填写行政复议或行政诉讼的受理机关与期限",
        )


_RULES: Final[Mapping[type, Callable[[Any, str], Iterator[FieldError]]]] = {
    Certificate: _certificate,
    Delivery: _delivery,
    Material: _material,
    CaseSubmit: _form,
    CaseSupplement: _supplement,
    CaseReject: _reject,
    CaseDecide: _decision,
}
"""The rules by the class they are for. What is not in it is not even walked to."""
