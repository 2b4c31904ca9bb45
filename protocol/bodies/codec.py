"""Bodies to octets and back, by one plan for all kinds.

The wire form is written directly: default namespace on the root, elements only, no attributes, no
white space between elements. That is its own exclusive canonical form by construction (a test shows
it), so nothing is canonicalised on the way out. On the way in a body passes the canonical gate, its
schema, the shapes of its fields and the rules between them, in this order.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast

from lxml import etree

from protocol.bodies.kinds import kind_of, kind_with_schema
from protocol.bodies.plan import plan_of, slots_by_element, values_of
from protocol.bodies.rules import check_rules
from protocol.errors import LocalUseError, RefusedError
from protocol.limits import MAX_INLINE_PART_OCTETS
from protocol.reasons import Reason
from protocol.wire import escape_text, first_fault, parse_canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocol.bodies.kinds import Body

MAX_BODY_OCTETS: Final = MAX_INLINE_PART_OCTETS
"""A body travels inline with its envelope; long documents are materials."""

_EXPECTED: Final = re.compile(r"Expected is (?:one of )?\( ([^)]*) \)")
_ATTRIBUTES: Final = etree.XPath("boolean(//@*)")
# What libxml2 found. Its own message quotes the value, which may be personal.
_FAULTS: Final = {
    "SCHEMAV_ELEMENT_CONTENT": "missing or unexpected element",
    "SCHEMAV_CVC_ENUMERATION_VALID": "not one of the listed words",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_3": "text between elements",
    "SCHEMAV_CVC_ELT_1": "not the root element of its namespace",
    "SCHEMAV_CVC_IDC": "occurs twice",
    "SCHEMAV_CVC_MAXLENGTH_VALID": "too long",
    "SCHEMAV_CVC_PATTERN_VALID": "not in the required form",
}


def encode_body(body: Body) -> bytes:
    """The wire form of a body.

    Raises:
        RefusedError: BODY_INVALID where a value does not fit its shape or a rule between fields is
            broken, TOO_LARGE over `MAX_BODY_OCTETS`.
        LocalUseError: not a body.
    """
    kind = kind_of(body)
    check_rules(body)
    pieces = [f'<{kind.element} xmlns="{kind.schema}">']
    _write(body, kind.element, pieces)
    pieces.append(f"</{kind.element}>")
    octets = "".join(pieces).encode()
    if len(octets) > MAX_BODY_OCTETS:
        detail = f"body of {len(octets)} octets, at most {MAX_BODY_OCTETS}: attach long texts"
        raise RefusedError(Reason.TOO_LARGE, detail)
    return octets


def _write(value: object, path: str, pieces: list[str]) -> None:
    for slot in plan_of(type(value)):
        if slot.least == 0 and getattr(value, slot.name) is None:
            continue  # most of what a form may say is left unsaid
        held = values_of(value, slot)
        if not slot.least <= len(held) <= slot.most:
            detail = (
                f"{path}/{slot.element}: {len(held)} given, {slot.least} to {slot.most} allowed"
            )
            raise RefusedError(Reason.BODY_INVALID, detail)
        for inner in held:
            pieces.append(f"<{slot.element}>")
            if isinstance(slot.content, type):
                _write(inner, f"{path}/{slot.element}", pieces)
            else:
                try:
                    pieces.append(escape_text(slot.content.write(inner)))
                except ValueError as error:
                    detail = f"{path}/{slot.element}: {slot.content.english}"
                    raise RefusedError(Reason.BODY_INVALID, detail) from error
            pieces.append(f"</{slot.element}>")


def decode_body(octets: bytes, schemas: Mapping[str, etree.XMLSchema]) -> Body:
    """Read a body.

    Args:
        octets: The body part as received.
        schemas: Compiled schemas by namespace (`schemas.compiled()`).

    Returns:
        The body. Whoever calls compares its `kind` with the envelope's Kind.

    Raises:
        RefusedError: TOO_LARGE, NOT_CANONICAL, NOT_WELL_FORMED from the gate; KIND_UNKNOWN for a
            namespace of no kind; BODY_INVALID naming element, line and rule, never a value.
        LocalUseError: the schema of a known kind is not among `schemas`.
    """
    root = parse_canonical(octets, MAX_BODY_OCTETS)
    kind = kind_with_schema(etree.QName(root).namespace)
    # Before the schema: xsi: attributes are legal everywhere in XML Schema, and steer a validator.
    if _ATTRIBUTES(root):
        raise RefusedError(Reason.BODY_INVALID, "a body has no attributes")
    schema = schemas.get(kind.schema)
    if schema is None:
        message = f"no compiled schema for {kind.schema}"
        raise LocalUseError(message)
    fault = first_fault(root, schema)
    if fault is not None:
        raise RefusedError(Reason.BODY_INVALID, _describe(fault, root))
    body = cast("Body", _read(root, kind.body, len(kind.schema) + 2))
    check_rules(body)
    return body


def _read(element: etree._Element, cls: type, cut: int) -> object:
    """Read an element that its schema let through; `cut` is how long a tag's namespace is."""
    slots = slots_by_element(cls)
    values: dict[str, object] = {}
    for child in element:
        slot = slots[str(child.tag)[cut:]]
        content = slot.content
        if isinstance(content, type):
            held = _read(child, content, cut)
        else:
            try:
                held = content.read(child.text or "")
            except ValueError as error:
                # In the shape's words: the standard library's quote the value.
                detail = f"{_path_of(child)}, line {child.sourceline}: {content.english}"
                raise RefusedError(Reason.BODY_INVALID, detail) from error
        if slot.repeated:
            held = (*cast("tuple[object, ...]", values.get(slot.name, ())), held)
        values[slot.name] = held
    return cls(**values)


def _describe(fault: etree._LogEntry, root: etree._Element) -> str:
    """What a schema found: element, line, and what is wrong, without the value."""
    problem = _FAULTS.get(fault.type_name, fault.type_name)
    expected = _EXPECTED.search(fault.message or "")
    if expected is not None:
        problem += ", expected " + re.sub(r"\{[^}]*\}", "", expected[1])
    # A peer may name an element anything; the receipt's detail has its bound.
    place = _path_of(_find(root, fault.path or ""))[:100]
    return f"{place}, line {fault.line}: {problem}"


def _find(root: etree._Element, path: str) -> etree._Element:
    """The element at a validator's path, as ``/*/*[3]/*``, or as far as it can be followed."""
    element = root
    for step in path.split("/")[2:]:
        name, _, index = step.partition("[")
        alike = [child for child in element if name in ("*", _written_name(child))]
        place = int(index.rstrip("]") or 1) - 1
        if place >= len(alike):
            break
        element = alike[place]
    return element


def _written_name(element: etree._Element) -> str:
    name = etree.QName(element).localname
    return name if element.prefix is None else f"{element.prefix}:{name}"


def _path_of(element: etree._Element) -> str:
    """Where an element stands: ``CaseSubmit/applicant/name``."""
    around = [etree.QName(ancestor).localname for ancestor in element.iterancestors()]
    return "/".join([*reversed(around), etree.QName(element).localname])
