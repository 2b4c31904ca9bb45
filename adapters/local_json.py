"""The local JSON form: what a local system sends to and reads from its own node.

The same names as on the wire, in camelCase, with lists where the wire repeats an element; instants
as ``2026-11-22T03:00:00.000Z``. The salt is the node's affair and never appears. The models are
made from the plan of the bodies (`protocol.bodies.plan`), so that the two forms cannot drift apart;
they are strict: a number in quotes, an unknown key or a null where a value is required is an error,
and all errors come at once, each with its path, what is wrong and what to do: never with the value,
which may be personal data.
"""

from __future__ import annotations

from difflib import get_close_matches
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from adapters.local_words import label_of, words_for
from protocol.bodies import FieldError, faults_of, kind_named
from protocol.bodies.plan import plan_of, values_of
from protocol.bodies.shapes import Choice, CountShape, InstantShape, is_xml_text
from protocol.errors import RefusedError
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

    from protocol.bodies import Body
    from protocol.bodies.plan import Slot
    from protocol.bodies.shapes import Shape

_SALT: Final = "salt"
_SHOWN: Final = 40
MAX_ERRORS: Final = 50
"""Errors reported for one document: enough to mend it, not enough to flood a page."""


class DocumentRefusedError(RefusedError):
    """A document does not follow its form (BODY_INVALID); `errors` lists what to mend."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors: Final = tuple(errors[:MAX_ERRORS])
        first = self.errors[0]
        detail = f"{len(errors)} to mend; first {first.path[:60]}: {first.problem}"
        super().__init__(Reason.BODY_INVALID, detail)


def to_body(kind: str, document: Mapping[str, object], salt: str) -> Body:
    """A body from its local JSON form.

    Args:
        kind: The kind of message, as ``case.submit``.
        document: The parsed JSON object.
        salt: 32 hexadecimal digits of fresh randomness.

    Raises:
        DocumentRefusedError: BODY_INVALID, with every fault by field.
        RefusedError: KIND_UNKNOWN.
    """
    cls = kind_named(kind).body
    try:
        model = _model_of(cls).model_validate(dict(document))
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        # Without its cause: the foreign error quotes the values.
        raise DocumentRefusedError([_translate(cls, detail) for detail in details]) from None
    body = cast("Body", _build(cls, model, salt))
    faults = faults_of(body)
    if faults:
        raise DocumentRefusedError(faults)
    return body


def from_body(body: Body) -> dict[str, object]:
    """The local JSON form of a body: without its salt, and without what is absent."""
    return _document(body)


def json_schema(kind: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the local form of a kind, with Chinese and English descriptions.

    Raises:
        RefusedError: KIND_UNKNOWN.
    """
    return _model_of(kind_named(kind).body).model_json_schema()


# --- models from the plan


_MODELS: Final[dict[type, type[BaseModel]]] = {}


def _model_of(cls: type) -> type[BaseModel]:
    """The strict model of a class; made once."""
    model = _MODELS.get(cls)
    if model is None:
        model = _MODELS[cls] = _make_model(cls)
    return model


def _make_model(cls: type) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for slot in plan_of(cls):
        if slot.name == _SALT:
            continue
        description = words_for(cls.__name__, slot.key)
        content: Any = (
            _model_of(slot.content) if isinstance(slot.content, type) else _leaf(slot.content)
        )
        if slot.repeated:
            default: Any = ... if slot.least else []
            bounds = Field(
                default, description=description, min_length=slot.least, max_length=slot.most
            )
            fields[slot.key] = (list[content], bounds)
        elif slot.least:
            fields[slot.key] = (content, Field(description=description))
        else:
            fields[slot.key] = (content | None, Field(default=None, description=description))
    return create_model(
        cls.__name__, __config__=ConfigDict(strict=True, extra="forbid", frozen=True), **fields
    )


def _leaf(shape: Shape) -> Any:  # noqa: ANN401 - a type made at run time
    match shape:
        case Choice():
            return Literal[shape.words]
        case CountShape():
            return Annotated[int, Field(ge=shape.least, le=shape.most)]
        case InstantShape():
            return Annotated[
                str, Field(pattern=_anchored(shape.pattern)), AfterValidator(shape.read)
            ]
        case _:
            return Annotated[
                str,
                Field(max_length=shape.longest, pattern=_anchored(shape.pattern)),
                AfterValidator(shape.write),
            ]


def _anchored(pattern: str) -> str:
    return f"^({pattern})$"


def _build(cls: type, model: BaseModel, salt: str) -> object:
    values: dict[str, object] = {}
    for slot in plan_of(cls):
        if slot.name == _SALT:
            values[_SALT] = salt
            continue
        held = getattr(model, slot.key)
        if slot.repeated:
            values[slot.name] = tuple(_build(cast("type", slot.content), one, salt) for one in held)
        elif isinstance(held, BaseModel):
            values[slot.name] = _build(cast("type", slot.content), held, salt)
        else:
            values[slot.name] = held
    return cls(**values)


def _document(value: object) -> dict[str, object]:
    document: dict[str, object] = {}
    for slot in plan_of(type(value)):
        if slot.name == _SALT:
            continue
        held = [_plain(slot, one) for one in values_of(value, slot)]
        if slot.repeated:
            document[slot.key] = held
        elif held:
            (document[slot.key],) = held
    return document


def _plain(slot: Slot, value: object) -> object:
    if isinstance(slot.content, type):
        return _document(value)
    return slot.content.write(value) if isinstance(slot.content, InstantShape) else value


# --- what went wrong, in words for people


def _translate(cls: type, error: ErrorDetails) -> FieldError:
    path, slot, inside = _locate(cls, error["loc"])
    expected, expected_chinese = _expected(slot)
    match error["type"]:
        case "missing" if slot is not None:
            label_chinese, label = label_of(inside.__name__, slot.key)
            return FieldError(
                path,
                f"missing: {label}",
                f"add {expected}",
                f"缺少{label_chinese}",
                f"补填：{expected_chinese}",
            )
        case "extra_forbidden":
            known = [slot.key for slot in plan_of(inside) if slot.name != _SALT]
            near = get_close_matches(str(error["loc"][-1]), known, 1)
            return FieldError(
                path,
                "no such field",
                f"write {near[0]}" if near else "remove it",
                "没有此字段",
                f"应为 {near[0]}" if near else "删除",
            )
        case _:
            found, found_chinese = _seen(error["input"])
            return FieldError(
                path,
                f"found {found}",
                f"write {expected}",
                f"填写的是{found_chinese}",
                f"应为{expected_chinese}",
            )


def _locate(cls: type, location: tuple[int | str, ...]) -> tuple[str, Slot | None, type]:
    """The path of an error, its slot (None for an unknown key), and the class around it."""
    path, slot = "", None
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
            continue
        if slot is not None and isinstance(slot.content, type):
            cls = slot.content
        slot = next((slot for slot in plan_of(cls) if slot.key == step != _SALT), None)
        path += ("." if path else "") + step[:_SHOWN]
    return path, slot, cls


def _expected(slot: Slot | None) -> tuple[str, str]:
    if slot is None:
        return "an object", "一个对象"
    if slot.repeated:
        return (
            f"a list of {slot.least} to {slot.most} objects",
            f"{slot.least} 到 {slot.most} 个对象的列表",
        )
    if isinstance(slot.content, type):
        keys = ", ".join(inner.key for inner in plan_of(slot.content) if inner.least)
        return f"an object with {keys}", f"含 {keys} 的对象"
    return slot.content.english, slot.content.chinese


def _seen(value: object) -> tuple[str, str]:
    """The shape of a value, never the value."""
    if isinstance(value, str):
        if not is_xml_text(value):
            return "text with control characters", "含控制字符的文字"
        return f"text of {len(value)} characters", f" {len(value)} 字的文字"
    if isinstance(value, list):
        return f"a list of {len(value)}", f" {len(value)} 项的列表"
    return _SEEN.get(type(value), ("an object", "对象"))


_SEEN: Final[dict[type, tuple[str, str]]] = {
    NoneType: ("null", "空值"),
    bool: ("true or false", "布尔值"),
    int: ("a number", "数字"),
    float: ("a number", "数字"),
}
