"""The plan of a body's form, read once from its class by reflection.

The XML codec, the local JSON form and the rules walk the same plan, so that adding a field to a
class (and to its XSD) is all there is to adding a field.
"""

from __future__ import annotations

import dataclasses
import types
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Annotated,
    Final,
    Literal,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from protocol.bodies.shapes import Choice, Many, Shape
from protocol.errors import LocalUseError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Slot:
    """One field of a class.

    Attributes:
        name: The attribute in Python.
        key: The key in JSON: camelCase, without the unit of an instant.
        element: The element in XML: the key, or for a repeated one the name of its members' class.
        content: The shape of a single value, or the class of a nested one.
        least: How often the element has to occur.
        most: How often it may occur.
        repeated: Whether the attribute is a tuple and the JSON value a list.
    """

    name: str
    key: str
    element: str
    content: Shape | type
    least: int
    most: int
    repeated: bool


_PLANS: Final[dict[type, tuple[Slot, ...]]] = {}
_BRANCHES: Final[dict[type, tuple[Slot, ...]]] = {}
_LEADING: Final[dict[tuple[type, Callable[[type], bool]], tuple[Slot, ...]]] = {}


def plan_of(cls: type) -> tuple[Slot, ...]:
    """The slots of a dataclass, in the order of its fields; read once.

    Raises:
        LocalUseError: a field's annotation is outside what bodies may use.
    """
    plan = _PLANS.get(cls)
    if plan is None:
        hints = get_type_hints(cls, include_extras=True)
        plan = tuple(_slot(field.name, hints[field.name]) for field in dataclasses.fields(cls))
        _PLANS[cls] = plan
    return plan


def branches_of(cls: type) -> tuple[Slot, ...]:
    """The slots of a dataclass that hold other dataclasses; read once."""
    slots = _BRANCHES.get(cls)
    if slots is None:
        slots = tuple(slot for slot in plan_of(cls) if isinstance(slot.content, type))
        _BRANCHES[cls] = slots
    return slots


def _slot(name: str, hint: object) -> Slot:
    key = _camel(name.removesuffix("_ms"))
    least = 1
    if get_origin(hint) in (Union, types.UnionType):
        hint, least = get_args(hint)[0], 0
    many = next((extra for extra in get_args(hint)[1:] if isinstance(extra, Many)), None)
    if many is not None:
        member = get_args(get_args(hint)[0])[0]
        element = _lower(member.__name__)
        return Slot(name, key, element, member, many.least, many.most, repeated=True)
    return Slot(name, key, key, _content(name, hint), least, 1, repeated=False)


def _content(name: str, hint: object) -> Shape | type:
    if get_origin(hint) is Literal:
        return Choice(get_args(hint))
    if get_origin(hint) is Annotated:
        for extra in get_args(hint)[1:]:
            if isinstance(extra, Shape):
                return extra
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hint
    message = f"field {name}: {hint} is neither a shape, a choice nor a dataclass"
    raise LocalUseError(message)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _lower(class_name: str) -> str:
    return class_name[0].lower() + class_name[1:]


def values_of(value: object, slot: Slot) -> tuple[object, ...]:
    """What a dataclass holds in one slot: nothing, one thing, or several."""
    held = getattr(value, slot.name)
    if slot.repeated:
        return cast("tuple[object, ...]", held)
    return () if held is None else (held,)


def branches_to(cls: type, wanted: Callable[[type], bool]) -> tuple[Slot, ...]:
    """The slots of a dataclass that hold wanted ones, at whatever depth; read once."""
    slots = _LEADING.get((cls, wanted))
    if slots is None:
        held = ((slot, cast("type", slot.content)) for slot in branches_of(cls))
        slots = tuple(slot for slot, inner in held if wanted(inner) or branches_to(inner, wanted))
        _LEADING[cls, wanted] = slots
    return slots


def _any(_cls: type) -> bool:
    return True


def walk(value: object, wanted: Callable[[type], bool] = _any) -> list[tuple[str, object]]:
    """The wanted dataclasses in a body, and those around them, with their paths in the JSON form.

    The body itself comes first. A form of a hundred fields none of which is wanted costs nothing.
    """
    found = [("", value)]
    _descend(value, wanted, "", found)
    return found


def _descend(
    value: object, wanted: Callable[[type], bool], path: str, found: list[tuple[str, object]]
) -> None:
    for slot in branches_to(type(value), wanted):
        for index, held in enumerate(values_of(value, slot)):
            place = join(path, slot, index)
            found.append((place, held))
            _descend(held, wanted, place, found)


def join(path: str, slot: Slot, index: int) -> str:
    """The path of what a slot holds: ``materials[2].part``."""
    step = f"{slot.key}[{index}]" if slot.repeated else slot.key
    return f"{path}.{step}" if path else step
