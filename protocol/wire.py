"""The gate every XML octet from outside passes: the wire form is exclusive c14n, or nothing.

A document has exactly one octet form here (WF-1): exclusive XML canonicalisation without comments,
UTF-8, no declaration, no DOCTYPE, no comments, no processing instructions, no CDATA. The reader
canonicalises what it parsed and compares. Without this rule most re-encodings of a signed message
pass a textbook verifier, and two parties hold different octets under one signature.

Source: Exclusive XML Canonicalization 1.0 (W3C); design section 4.
"""

from __future__ import annotations

import re
from threading import Lock
from typing import Final

from lxml import etree

from protocol.errors import LocalUseError, RefusedError
from protocol.limits import MAX_ATTRIBUTES
from protocol.reasons import Reason

_PARSER: Final = etree.XMLParser(
    encoding="utf-8",
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    dtd_validation=False,
    attribute_defaults=False,
    huge_tree=False,
    remove_blank_text=False,
    strip_cdata=False,
)
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PLAIN: Final = re.compile("[0-9A-Za-z:;,./+=_-]*")  # the most of it: nothing to be escaped
_SHOWN: Final = 40
_VALIDATING: Final = Lock()


def parse_canonical(octets: bytes, max_octets: int) -> etree._Element:
    """Parse octets that are their own exclusive canonical form.

    Args:
        octets: The document as received.
        max_octets: The limit for this kind of document.

    Returns:
        The root element of the parsed document.

    Raises:
        RefusedError: TOO_LARGE, NOT_CANONICAL or NOT_WELL_FORMED, with the place; SCHEMA_INVALID:
            more attributes than any element has.
    """
    if len(octets) > max_octets:
        raise RefusedError(Reason.TOO_LARGE, f"{len(octets)} octets, at most {max_octets}")
    # Looked for before any parser sees the octets: in canonical XML neither can occur at all.
    for mark, name in ((b"<!", "DOCTYPE, comment or CDATA"), (b"<?", "declaration or PI")):
        place = octets.find(mark)
        if place >= 0:
            raise RefusedError(Reason.NOT_CANONICAL, f"{name} at octet {place}")
    if not octets.startswith(b"<"):
        raise RefusedError(Reason.NOT_CANONICAL, "does not begin with '<' in UTF-8")
    try:
        root = etree.fromstring(octets, _PARSER)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        raise RefusedError(Reason.NOT_WELL_FORMED, f"line {line}, column {column}") from error
    _check_attributes(root, octets)
    try:
        canonical = etree.tostring(root, method="c14n", exclusive=True, with_comments=False)
    except etree.C14NError as error:
        detail = "has no exclusive c14n: a relative namespace name"
        raise RefusedError(Reason.NOT_CANONICAL, detail) from error
    if canonical != octets:
        place = first_difference(octets, canonical)
        raise RefusedError(Reason.NOT_CANONICAL, f"differs from exclusive c14n at octet {place}")
    return root


def _check_attributes(root: etree._Element, octets: bytes) -> None:
    """Canonicalising sorts attributes by insertion: 6,500 of them in 64 KiB take 0.1 s (LI-10).

    Raises:
        RefusedError: SCHEMA_INVALID.
    """
    if octets.count(b"=") <= MAX_ATTRIBUTES:
        return
    most = max(len(element.attrib) for element in root.iter())
    if most > MAX_ATTRIBUTES:
        raise RefusedError(Reason.SCHEMA_INVALID, f"{most} attributes, at most {MAX_ATTRIBUTES}")


def first_fault(root: etree._Element, schema: etree.XMLSchema) -> etree._LogEntry | None:
    """The first thing a schema finds wrong with a document; None if it lets it through.

    May be called from several threads: they share a schema, and a schema has one log.
    """
    with _VALIDATING:
        return None if schema.validate(root) else schema.error_log[0]


def first_difference(left: bytes, right: bytes) -> int:
    """Where two different strings of octets part: an index, or the shorter one's length."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(left), len(right)))


def escape_text(text: str) -> str:
    """Text content as canonical XML writes it.

    Raises:
        LocalUseError: a character XML 1.0 cannot carry.
    """
    if _PLAIN.fullmatch(text):
        return text
    _require_xml(text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("\r", "&#xD;")


def escape_attribute(text: str) -> str:
    """An attribute value as canonical XML writes it, for use between double quotes.

    Raises:
        LocalUseError: a character XML 1.0 cannot carry.
    """
    if _PLAIN.fullmatch(text):
        return text
    _require_xml(text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("\t", "&#x9;").replace("\n", "&#xA;").replace("\r", "&#xD;")


def _require_xml(text: str) -> None:
    if text.isprintable():
        return
    match = _NOT_XML.search(text)
    if match is not None:
        message = f"character U+{ord(match[0]):04X} at {match.start()} cannot stand in XML"
        raise LocalUseError(message)
