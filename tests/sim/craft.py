"""Messages as a peer would make them, honest or not, without any engine of ours."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from protocol.bodies import Actor, Ping, encode_body, schema_of
from protocol.envelope import (
    Address,
    CaseReference,
    Envelope,
    Header,
    MessageReference,
    Part,
    Sender,
    write_content,
)
from protocol.frames import AskFrame, EnvelopeFrame, Frame, PartFrame, read_frames, write_frames
from protocol.identifiers import make_uuid7
from protocol.limits import DEFAULT_LIFETIME_MS
from protocol.receipt import Receipt, read_receipt
from signing.batch import sign_group
from signing.keys import KeyUse
from signing.profile import attach, envelope_request
from signing.suites import digest
from tests.sim.loop import START_MS
from tests.unit.routing.provinces import uscc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocol.bodies import Body
    from protocol.envelope import Environment
    from signing.suites import PublicKey
    from tests.sim.keyring import Keyring

PING = Ping(salt="00" * 16, actor=Actor(name="值班员", staff_number="-", window="-"))


@dataclass(frozen=True, slots=True)
class Message:
    """What to say; every field can be bent."""

    origin: str
    destination: str
    body: Body = PING
    number: int = 1
    case: CaseReference | None = None
    in_reply_to: str | None = None
    created_ms: int = START_MS
    lifetime_ms: int = DEFAULT_LIFETIME_MS
    environment: Environment = "trial"
    kind: str | None = None
    key_use: KeyUse = KeyUse.PING
    authority: str | None = None
    to_authority: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def reference(self) -> MessageReference:
        message_id = make_uuid7(self.created_ms, self.number.to_bytes(10))
        return MessageReference(self.authority or uscc(self.origin), message_id)


@dataclass(frozen=True, slots=True)
class Signed:
    """A message ready for a post."""

    reference: MessageReference
    octets: bytes
    parts: dict[str, bytes]
    path: tuple[str, ...]

    def frames(self) -> list[Frame]:
        return [
            EnvelopeFrame(self.path, self.octets),
            *(PartFrame(self.reference, name, 0, part) for name, part in self.parts.items()),
        ]

    def post(self) -> bytes:
        return write_frames(self.frames())

    def ask(self) -> bytes:
        return write_frames([AskFrame(self.path, self.octets)])

    def via(self, *nodes: str) -> Signed:
        return replace(self, path=(*self.path, *nodes))


def sign(message: Message, keyring: Keyring) -> Signed:
    """Sign with the sender's key for this use."""
    return sign_together([message], keyring)[0]


def sign_together(messages: Sequence[Message], keyring: Keyring) -> list[Signed]:
    """Sign as one group, with the sender's keys for these uses."""
    drafts = [_draft(message, keyring) for message in messages]
    requests = [
        envelope_request(draft.signer, message.key_use, draft.message_digest)
        for message, draft in zip(messages, drafts, strict=True)
    ]
    return [
        Signed(
            message.reference,
            attach(draft.content, draft.signer.suite, draft.message_digest, proof),
            draft.parts,
            (message.origin,),
        )
        for message, draft, proof in zip(
            messages, drafts, sign_group(keyring, requests), strict=True
        )
    ]


@dataclass(frozen=True, slots=True)
class _Draft:
    """A message before it is signed."""

    content: bytes
    parts: dict[str, bytes]
    signer: PublicKey

    @property
    def message_digest(self) -> bytes:
        return digest(self.signer.suite, self.content)


def _draft(message: Message, keyring: Keyring) -> _Draft:
    signer = keyring.public(keyring.find(message.key_use, uscc(message.origin)))
    parts = {"body": encode_body(message.body)} | message.files
    manifest = tuple(
        Part(
            name,
            "body" if name == "body" else "material",
            "application/xml" if name == "body" else "application/pdf",
            len(octets),
            digest(signer.suite, octets),
            schema_of(message.body) if name == "body" else None,
        )
        for name, octets in parts.items()
    )
    reference = message.reference
    header = Header(
        message_id=reference.message_id,
        kind=message.kind or message.body.kind,
        created_ms=message.created_ms,
        expires_ms=message.created_ms + message.lifetime_ms,
        sender=Sender(message.origin, reference.authority, signer.key_id),
        recipient=Address(message.destination, message.to_authority or uscc(message.destination)),
        case=message.case,
        in_reply_to=message.in_reply_to,
    )
    return _Draft(write_content(Envelope(message.environment, header, manifest)), parts, signer)


def only(answer: bytes) -> Frame:
    """The one frame of an answer."""
    (frame,) = read_frames(answer)
    return frame


def receipt_in(answer: bytes) -> Receipt:
    """The receipt that is the whole answer."""
    frame = only(answer)
    assert hasattr(frame, "octets"), frame
    return read_receipt(frame.octets).receipt
