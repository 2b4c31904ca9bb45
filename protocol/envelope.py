"""The envelope: signed header and manifest of one message.

`write_content` produces the canonical octets *without* the signature: exactly the octets the one
Reference digests (the enveloped-signature transform removes the Signature element again).
`read_envelope` reads a tree that `wire.parse_canonical` has let through; it validates against the
compiled ``envelope.xsd`` it is given.

Source: design section 4; schema ``schemas/envelope.xsd``.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from lxml import etree

from protocol.errors import RefusedError
from protocol.instants import format_instant, parse_instant
from protocol.limits import MAX_LIFETIME_MS, MIN_LIFETIME_MS
from protocol.reasons import Reason
from protocol.wire import escape_attribute, escape_text, first_fault

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVELOPE_NAMESPACE: Final = "urn:tongban:envelope:1"
CLOSING_TAG: Final = b"</Envelope>"
BODY_ID: Final = "body"
_CUT: Final = len(f"{{{ENVELOPE_NAMESPACE}}}")

_INSTANCE_ATTRIBUTES: Final = etree.XPath(
    "boolean(//@xsi:*)", namespaces={"xsi": "http://www.w3.org/2001/XMLSchema-instance"}
)
_NAME: Final = r"'(?:\{[^}]*\})?([^']{1,40})"
_FAULTY_PLACE: Final = re.compile(rf"Element {_NAME}'(?:, attribute {_NAME})?")

Environment = Literal["trial", "production"]
Role = Literal["body", "material"]


@dataclass(frozen=True, slots=True)
class Sender:
    """Who speaks: node id (6 digits), authority (USCC, 18 characters), key id (43 characters)."""

    node: str
    authority: str
    key: str


@dataclass(frozen=True, slots=True)
class Address:
    """Who is spoken to: node id (6 digits) and authority (USCC, 18 characters)."""

    node: str
    authority: str


@dataclass(frozen=True, slots=True)
class CaseReference:
    """The opaque case id (UUIDv7) and the sender's sequence number in that case (from 1)."""

    case_id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class MessageReference:
    """What names a message on the wire: From.authority (USCC) and MessageId (UUIDv7)."""

    authority: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Header:
    """The signed header; instants in milliseconds since 1970 UTC."""

    message_id: str
    kind: str
    created_ms: int
    expires_ms: int
    sender: Sender
    recipient: Address
    case: CaseReference | None = None
    in_reply_to: str | None = None
    trace: str | None = None

    @property
    def reference(self) -> MessageReference:
        """What names this message."""
        return MessageReference(self.sender.authority, self.message_id)


@dataclass(frozen=True, slots=True)
class Part:
    """One row of the manifest: opaque octets by size and digest (32 octets, the suite's digest)."""

    part_id: str
    role: Role
    media_type: str
    size: int
    digest: bytes
    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """Header and manifest of one message."""

    environment: Environment
    header: Header
    parts: tuple[Part, ...]

    @property
    def body(self) -> Part:
        """The manifest's first row, which is the body."""
        return self.parts[0]


def write_content(envelope: Envelope) -> bytes:
    """The canonical octets of the envelope without its signature.

    Raises:
        LocalUseError: a value carries a character XML cannot.
    """
    header = envelope.header
    sender, recipient = header.sender, header.recipient
    pieces = [
        f'<Envelope xmlns="{ENVELOPE_NAMESPACE}" environment="{envelope.environment}"><Header>',
        f"<MessageId>{header.message_id}</MessageId><Kind>{escape_text(header.kind)}</Kind>",
        f"<Created>{format_instant(header.created_ms)}</Created>",
        f"<Expires>{format_instant(header.expires_ms)}</Expires>",
        f'<From authority="{escape_attribute(sender.authority)}"',
        f' key="{escape_attribute(sender.key)}"',
        f' node="{escape_attribute(sender.node)}"></From>',
        f'<To authority="{escape_attribute(recipient.authority)}"',
        f' node="{escape_attribute(recipient.node)}"></To>',
    ]
    if header.case is not None:
        case_id = escape_attribute(header.case.case_id)
        pieces.append(f'<Case id="{case_id}" sequence="{header.case.sequence}"></Case>')
    if header.in_reply_to is not None:
        pieces.append(f"<InReplyTo>{escape_text(header.in_reply_to)}</InReplyTo>")
    if header.trace is not None:
        pieces.append(f"<Trace>{escape_text(header.trace)}</Trace>")
    pieces.append("</Header><Parts>")
    pieces.extend(_write_part(part) for part in envelope.parts)
    pieces.append("</Parts>")
    return "".join(pieces).encode() + CLOSING_TAG


def _write_part(part: Part) -> str:
    schema = "" if part.schema is None else f' schema="{escape_attribute(part.schema)}"'
    return (
        f'<Part digest="{base64.b64encode(part.digest).decode()}"'
        f' id="{escape_attribute(part.part_id)}"'
        f' mediaType="{escape_attribute(part.media_type)}"'
        f' role="{part.role}"{schema} size="{part.size}"></Part>'
    )


def read_envelope(root: etree._Element, schemas: Mapping[str, etree.XMLSchema]) -> Envelope:
    """Read a canonical envelope.

    Args:
        root: The element that `parse_canonical` returned.
        schemas: Compiled schemas by target namespace.

    Raises:
        RefusedError: SCHEMA_INVALID with the schema's own words and line, or LIFETIME_INVALID.
    """
    # Before the schema: they are legal everywhere in XML Schema, and steer a validator.
    if _INSTANCE_ATTRIBUTES(root):
        raise RefusedError(Reason.SCHEMA_INVALID, "an xsi: attribute")
    fault = first_fault(root, schemas[ENVELOPE_NAMESPACE])
    if fault is not None:
        raise RefusedError(Reason.SCHEMA_INVALID, _describe(fault))
    return read_validated(root)


def read_validated(root: etree._Element) -> Envelope:
    """Read an envelope the schema has passed: now, or before it went into our own store.

    Raises:
        RefusedError: SCHEMA_INVALID or LIFETIME_INVALID: what a schema cannot say.
    """
    header_element, parts_element = root[0], root[1]
    try:
        header = _read_header(header_element)
        parts = tuple(_read_part(element) for element in parts_element)
    except ValueError as error:
        raise RefusedError(Reason.SCHEMA_INVALID, str(error)) from error
    _check_manifest(parts)
    lifetime = header.expires_ms - header.created_ms
    if not MIN_LIFETIME_MS <= lifetime <= MAX_LIFETIME_MS:
        raise RefusedError(Reason.LIFETIME_INVALID, f"{lifetime} ms between Created and Expires")
    environment: Environment = "production" if root.get("environment") == "production" else "trial"
    return Envelope(environment, header, parts)


def _describe(fault: etree._LogEntry) -> str:
    # Only structure is named: a value could be personal data.
    place = _FAULTY_PLACE.match(fault.message or "")
    names = "/".join(name for name in (place.groups() if place else ()) if name)
    return f"line {fault.line}: {fault.type_name} at {names or 'the envelope'}"


def _read_header(element: etree._Element) -> Header:
    elements = {str(child.tag)[_CUT:]: child for child in element}
    texts = {name: child.text or "" for name, child in elements.items()}
    # All attributes at once: each look at an element costs more than reading a dictionary.
    sender, recipient, case = (
        dict(elements[name].items()) if name in elements else {} for name in ("From", "To", "Case")
    )
    return Header(
        message_id=texts["MessageId"],
        kind=texts["Kind"],
        created_ms=parse_instant(texts["Created"]),
        expires_ms=parse_instant(texts["Expires"]),
        sender=Sender(sender["node"], sender["authority"], sender["key"]),
        recipient=Address(recipient["node"], recipient["authority"]),
        case=CaseReference(case["id"], _canonical_integer(case["sequence"])) if case else None,
        in_reply_to=texts.get("InReplyTo"),
        trace=texts.get("Trace"),
    )


def _read_part(element: etree._Element) -> Part:
    stated = dict(element.items())
    digest = base64.b64decode(stated["digest"], validate=True)
    if base64.b64encode(digest).decode() != stated["digest"]:
        message = "digest is not base64 in its one form"
        raise ValueError(message)
    return Part(
        part_id=stated["id"],
        role="body" if stated["role"] == "body" else "material",
        media_type=stated["mediaType"],
        size=_canonical_integer(stated["size"]),
        digest=digest,
        schema=stated.get("schema"),
    )


def _canonical_integer(text: str) -> int:
    number = int(text)
    if str(number) != text:
        message = f"{text[:20]!r} is not an integer in its one form"
        raise ValueError(message)
    return number


def _check_manifest(parts: tuple[Part, ...]) -> None:
    roles = [part.role for part in parts]
    if roles[0] != "body" or roles.count("body") != 1 or parts[0].part_id != BODY_ID:
        raise RefusedError(
            Reason.SCHEMA_INVALID, "the manifest begins with its one body, id 'body'"
        )
    if parts[0].schema is None:
        raise RefusedError(Reason.SCHEMA_INVALID, "the body's row names its schema")
    if len({part.part_id for part in parts}) != len(parts):
        raise RefusedError(Reason.SCHEMA_INVALID, "a part id occurs twice in the manifest")
