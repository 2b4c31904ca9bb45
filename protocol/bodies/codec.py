"""Bodies to octets and back, by one plan for all kinds.

The wire form is written directly: default namespace on the root, elements only, no attributes, no
white space between elements. That is its own exclusive canonical form by construction (a test shows
it), so nothing is canonicalised on the way out. On the way in a body passes the canonical gate, its
schema, the shapes of its fields and the rules between them, in this order.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from lxml import etree

from protocol.bodies.kinds import kind_of, kind_with_schema
from protocol.bodies.plan import plan_of
from protocol.bodies.rules import check_rules
from protocol.errors import LocalUseError, RefusedError
from protocol.limits import MAX_INLINE_PART_OCTETS
from protocol.reasons import Reason
from protocol.wire import escape_text, first_fault, parse_canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from protocol.bodies.kinds import Body, Kind
    from protocol.bodies.plan import Slot
    from protocol.bodies.shapes import Shape

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
    _writer_of(kind)(body, pieces)
    pieces.append(f"</{kind.element}>")
    octets = "".join(pieces).encode()
    if len(octets) > MAX_BODY_OCTETS:
        detail = f"body of {len(octets)} octets, at most {MAX_BODY_OCTETS}: attach long texts"
        raise RefusedError(Reason.TOO_LARGE, detail)
    return octets


_Write: TypeAlias = "Callable[[Any, list[str]], None]"
_Read: TypeAlias = "Callable[[Any], object]"
_WRITERS: Final[dict[type, _Write]] = {}
_READERS: Final[dict[type, _Read]] = {}


def _writer_of(kind: Kind) -> _Write:
    """What writes a body of this kind, between its tags; made once."""
    write = _WRITERS.get(kind.body)
    if write is None:
        write = _WRITERS[kind.body] = _make_writer(kind.body, kind.element)
    return write


def _make_writer(cls: type, path: str) -> _Write:
    """A function that appends what a value of this class says, without the tags around it."""
    slots = [(slot, _make_element_writer(slot, f"{path}/{slot.element}")) for slot in plan_of(cls)]

    def write(value: object, pieces: list[str]) -> None:
        for slot, write_element in slots:
            held = getattr(value, slot.name)
            if slot.repeated:
                if not slot.least <= len(held) <= slot.most:
                    raise _wrong_count(slot, path, len(held))
                for inner in held:
                    write_element(inner, pieces)
            elif held is not None:
                write_element(held, pieces)
            elif slot.least:
                raise _wrong_count(slot, path, 0)

    return write


def _make_element_writer(slot: Slot, path: str) -> _Write:
    content, opening, closing = slot.content, f"<{slot.element}>", f"</{slot.element}>"
    if isinstance(content, type):
        write_inner = _make_writer(content, path)

        def write_branch(value: object, pieces: list[str]) -> None:
            pieces.append(opening)
            write_inner(value, pieces)
            pieces.append(closing)

        return write_branch

    def write_leaf(value: object, pieces: list[str]) -> None:
        try:
            text = content.write(value)
        except ValueError as error:
            raise RefusedError(Reason.BODY_INVALID, f"{path}: {content.english}") from error
        pieces.append(f"{opening}{escape_text(text)}{closing}")

    return write_leaf


def _wrong_count(slot: Slot, path: str, count: int) -> RefusedError:
    detail = f"{path}/{slot.element}: {count} given, {slot.least} to {slot.most} allowed"
    return RefusedError(Reason.BODY_INVALID, detail)


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
    # Without a second mark of one there is none but the declaration of the namespace.
    if octets.count(b'="') > 1 and _ATTRIBUTES(root):
        raise RefusedError(Reason.BODY_INVALID, "a body has no attributes")
    schema = schemas.get(kind.schema)
    if schema is None:
        message = f"no compiled schema for {kind.schema}"
        raise LocalUseError(message)
    fault = first_fault(root, schema)
    if fault is not None:
        raise RefusedError(Reason.BODY_INVALID, _describe(fault, root))
    body = cast("Body", _reader_of(kind)(root))
    check_rules(body)
    return body


def _reader_of(kind: Kind) -> _Read:
    """What reads a body of this kind; made once."""
    read = _READERS.get(kind.body)
    if read is None:
        read = _READERS[kind.body] = _make_reader(kind.body, kind.schema)
    return read


def _make_reader(cls: type, namespace: str) -> _Read:
    """A function that reads an element of this class which its schema let through."""
    slots = {
        f"{{{namespace}}}{slot.element}": (
            slot.name,
            slot.repeated,
            _make_reader(slot.content, namespace)
            if isinstance(slot.content, type)
            else _make_leaf_reader(slot.content),
        )
        for slot in plan_of(cls)
    }

    def read(element: etree._Element) -> object:
        values: dict[str, Any] = {}
        for child in element:
            name, repeated, read_child = slots[child.tag]  # type: ignore[index]
            held = read_child(child)
            values[name] = (*values.get(name, ()), held) if repeated else held
        return cls(**values)

    return read


def _make_leaf_reader(shape: Shape) -> _Read:
    def read(element: etree._Element) -> object:
        try:
            return shape.read(element.text or "")
        except ValueError as error:
            # In the shape's words: the standard library's quote the value.
            detail = f"{_path_of(element)}, line {element.sourceline}: {shape.english}"
            raise RefusedError(Reason.BODY_INVALID, detail) from error

    return read


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
