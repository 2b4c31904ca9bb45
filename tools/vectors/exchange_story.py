"""How a case of the group exchange is told: what lies at the node, what comes, what it answers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from protocol.frames import write_frames
from protocol.instants import format_instant
from protocol.receipt import UNKNOWN_DIGEST
from signing.keys import KeyUse
from signing.receipts import draft_receipt, sign_receipt
from tests.sim.craft import Message, Signed, sign, sign_together
from tests.sim.loop import START_MS
from tools.vectors.cases import Case
from tools.vectors.exchange_federation import FOLDER, keyrings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocol.envelope import MessageReference
    from protocol.errors import RefusedError
    from protocol.frames import Frame
    from protocol.reasons import Reason
    from protocol.receipt import ReceiptType
    from tools.vectors.cases import Json


def signed(message: Message) -> Signed:
    """The message, signed by its origin's own key."""
    return sign(message, keyrings()[message.origin])


def signed_as_one(messages: Sequence[Message]) -> list[Signed]:
    """Messages of one origin under one signature."""
    return sign_together(messages, keyrings()[messages[0].origin])


def receipt_octets(
    kind: ReceiptType,
    issuer: str,
    message: Signed,
    *,
    nameless: bool = False,
    refusal: RefusedError | None = None,
    envelope: bytes | None = None,
    signer: str | None = None,
) -> bytes:
    """A receipt by a node about a message; `signer` signs in its place."""
    ring = keyrings()[signer or issuer]
    key = ring.public(ring.find(KeyUse.RECEIPT, signer or issuer))
    octets = message.octets if envelope is None else envelope
    draft = draft_receipt(
        kind,
        issuer,
        key,
        octets,
        START_MS,
        reference=None if nameless else message.reference,
        message_digest=UNKNOWN_DIGEST if nameless else content_digest(octets),
        refusal=refusal,
    )
    return sign_receipt(draft, ring)


def content_digest(envelope: bytes) -> bytes:
    """The message digest of these octets; every key here is of a suite with SHA-256."""
    begin, end = envelope.index(b"<ds:Signature "), envelope.index(b"</ds:Signature>")
    return hashlib.sha256(envelope[:begin] + envelope[end + len(b"</ds:Signature>") :]).digest()


def told(reference: MessageReference | None) -> Json:
    """A reference as case.json writes it."""
    if reference is None:
        return None
    return {"authority": reference.authority, "messageId": reference.message_id}


def receipt(
    kind: str,
    issuer: str,
    message: Signed | None,
    reason: Reason | None = None,
    *,
    same: int | None = None,
) -> Json:
    """An expected receipt; `same` names the step whose answer has these very octets."""
    row: dict[str, Json] = {
        "frame": "receipt",
        "type": kind,
        "issuer": issuer,
        "message": None if message is None else told(message.reference),
        "reason": None if reason is None else reason.code,
    }
    return row if same is None else row | {"same": same}


def busy(message: Signed | None, reason: Reason) -> Json:
    """An expected `busy`."""
    reference = None if message is None else told(message.reference)
    return {"frame": "busy", "message": reference, "reason": reason.code}


def not_here(message: Signed, reason: Reason) -> Json:
    """An expected `not-here`."""
    return {"frame": "not-here", "message": told(message.reference), "reason": reason.code}


def wanted(message: Signed, part_id: str, offset: int = 0) -> Json:
    """An expected `wanted`."""
    reference = told(message.reference)
    return {"frame": "wanted", "message": reference, "partId": part_id, "offset": offset}


def waiting(message: Signed, sequence: int) -> Json:
    """An expected `waiting`."""
    return {"frame": "waiting", "message": told(message.reference), "sequence": sequence}


def row(role: str, message: Signed, state: str, reason: Reason | None = None) -> Json:
    """A row of what the node holds in the end."""
    code = None if reason is None else reason.code
    return {"role": role, "message": told(message.reference), "state": state, "reason": code}


@dataclass
class Story:
    """One case in the making.

    Attributes:
        node: The node under test.
    """

    node: str
    _steps: list[Json] = field(default_factory=list)
    _files: dict[str, bytes] = field(default_factory=dict)
    _waiting: list[Json] = field(default_factory=list)

    def holds(self, message: Signed, peer: str, state: str = "queued") -> Story:
        """A message of its own that waits for this peer when the story begins."""
        name = f"waiting-{len(self._waiting) + 1}"
        parts: dict[str, Json] = {}
        for part_id, octets in message.parts.items():
            parts[part_id] = f"{name}-{part_id}"
            self._files[f"{name}-{part_id}"] = octets
        self._files[f"{name}.xml"] = message.octets
        self._waiting.append(
            {"envelope": f"{name}.xml", "parts": parts, "peer": peer, "state": state}
        )
        return self

    def post(
        self, peer: str, given: bytes | Sequence[Frame], *answer: Json, after_s: int = 0
    ) -> Story:
        """What a peer hands over so long after the beginning, and what it is answered."""
        number = len(self._steps) + 1
        name = f"{number:02}.frames"
        self._files[name] = given if isinstance(given, bytes) else write_frames(given)
        at = format_instant(START_MS + after_s * 1000)
        self._steps.append({"at": at, "peer": peer, "given": name, "answer": list(answer)})
        return self

    def case(
        self,
        name: str,
        what: str,
        what_zh: str,
        why: str,
        clause: str,
        *after: Json,
        reason: Reason | None = None,
    ) -> Case:
        """The case; `after` are the rows the node holds in the end, all of them."""
        inputs: dict[str, Json] = {
            "federation": f"../{FOLDER}",
            "node": self.node,
            "environment": "trial",
            "waiting": self._waiting,
            "steps": self._steps,
            "after": list(after),
        }
        return Case(
            "exchange",
            name,
            what,
            what_zh,
            why,
            clause,
            self._files,
            expect=reason,
            inputs=inputs,
        )
