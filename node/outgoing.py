"""From a local act to a signed message in the outbox, in one unit of work.

The unit checks the case, takes the sequence number, writes the envelope and queues it; the
signature is made inside the transaction, because the number is only known there. What the case
allows is asked of the same table the other end asks (`protocol.lifecycle`), so what leaves here is
not refused there for its state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from node import cases
from node.cases import CaseView, Party, Side
from node.log import leaves
from node.parts.files import File, Material, Uploaded, UploadUnfit
from node.parts.intake import check_sizes
from node.parts.uploads import upload_lock
from node.ports import Decision, Insert, Row, Unit
from node.settlement import case_lock, message_lock
from node.store import schema
from node.store.queries import Role, case_messages, find_answer, find_case, last_sequence
from node.store.rows import (
    blob_rows,
    case_row,
    errand_row,
    message_row,
    part_rows,
    sequence_row,
)
from node.store.transfers import find_upload
from protocol.bodies import CaseSubmit, CaseVoid, Ping, check_references, encode_body, schema_of
from protocol.envelope import (
    BODY_ID,
    Address,
    CaseReference,
    Envelope,
    Header,
    MessageReference,
    Part,
    Sender,
    write_content,
)
from protocol.errors import RefusedError
from protocol.identifiers import ENTROPY_OCTETS, case_id_of, make_uuid7
from protocol.limits import MAX_ENVELOPE_OCTETS, MAX_PARTS
from protocol.reasons import Reason
from routing.delivery import Standing
from routing.planner import Route, plan
from signing.keys import KeyUse
from signing.profile import MAX_SIGNATURE_ELEMENT_OCTETS, attach, envelope_request
from signing.suites import digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.store.queries import StoredBlob
    from protocol.bodies import Body
    from protocol.proof import Proof
    from signing.suites import PublicKey


@dataclass(frozen=True, slots=True)
class Token:
    """A caller's idempotency key: the same request again gets the first answer.

    Attributes:
        client: Who calls.
        key: The caller's key.
        request_digest: SHA-256 of the request, so that a key is not used for another one.
    """

    client: str
    key: str
    request_digest: bytes


@dataclass(frozen=True, slots=True)
class Filed:
    """The message is signed, durable and queued.

    Attributes:
        message: What names it.
        case_id: Its case, if it has one.
        sequence: Its number in the case.
        route: The nodes it is planned to pass, from here to the destination.
        repeated: The request had been made before; this is what came of it then.
    """

    message: MessageReference
    case_id: str | None
    sequence: int | None
    route: tuple[str, ...]
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class TokenClash:
    """The idempotency key was used before for another request."""


Outcome: TypeAlias = Filed | TokenClash | UploadUnfit


@dataclass(frozen=True, slots=True)
class Draft:
    """What a caller wants said.

    Attributes:
        authority: The authority of ours that speaks.
        body: What it says.
        materials: Files by part id, as the body names them.
        case_id: The case; for a submission None, a new one is opened.
        recipient: Whom; only for a submission or a ping, every other kind answers the case's other
            end.
        token: The caller's idempotency key.
    """

    authority: str
    body: Body
    materials: Mapping[str, Material | Uploaded] = field(default_factory=dict)
    case_id: str | None = None
    recipient: Address | None = None
    token: Token | None = None


def outgoing_unit(
    context: NodeContext, draft: Draft, files: Mapping[str, File | UploadUnfit]
) -> Unit[Outcome]:
    """The unit of work that turns a draft into a queued message.

    Args:
        context: The node.
        draft: What is to be said.
        files: Its materials, ready to go; one that is not fit ends the unit, after the token.

    Raises:
        RefusedError: TOO_LARGE or BODY_INVALID. The unit itself raises AUTHORITY_NOT_HERE,
            CASE_UNKNOWN, WRONG_STATE, POWER_LACKING, ITEM_UNKNOWN or ITEM_NOT_SERVED.
    """
    now_ms = context.clock.now_ms()
    message_id = make_uuid7(now_ms, context.entropy.octets(ENTROPY_OCTETS))
    case_id = draft.case_id
    if isinstance(draft.body, CaseSubmit):
        case_id = case_id_of(draft.authority, message_id)
    ready = {name: file for name, file in files.items() if isinstance(file, File)}
    unfit = next((file for file in files.values() if isinstance(file, UploadUnfit)), None)
    writer = _Writer(context, draft, ready, unfit, message_id, case_id, now_ms)
    keys = {message_lock(MessageReference(draft.authority, message_id))}
    if case_id is not None:
        keys.add(case_lock(case_id))
    if draft.token is not None:
        keys.add(f"token {draft.token.client} {draft.token.key}")
    keys |= {upload_lock(file.upload.upload_id) for file in ready.values() if file.upload}
    return Unit(writer.decide, frozenset(keys))


class _Writer:
    """One outgoing message; `decide` may run more than once and has no effect."""

    def __init__(
        self,
        context: NodeContext,
        draft: Draft,
        files: Mapping[str, File],
        unfit: UploadUnfit | None,
        message_id: str,
        case_id: str | None,
        now_ms: int,
    ) -> None:
        self._context = context
        self._draft = draft
        self._files = files
        self._unfit = unfit
        self._message_id = message_id
        self._case_id = case_id
        self._now_ms = now_ms
        self._speaker = Party.at(context.here, draft.authority)
        self._use = KeyUse.PING if isinstance(draft.body, Ping) else KeyUse.ENVELOPE
        body = encode_body(draft.body)
        small = {name: file.octets for name, file in files.items() if file.octets is not None}
        self._octets = {BODY_ID: body} | small
        self._check_sizes()
        check_references(draft.body, [BODY_ID, *draft.materials])

    def _check_sizes(self) -> None:
        sizes = {BODY_ID: len(self._octets[BODY_ID])}
        sizes |= {name: file.size for name, file in self._files.items()}
        if len(sizes) > MAX_PARTS:
            raise RefusedError(Reason.TOO_LARGE, f"{len(sizes)} parts, at most {MAX_PARTS}")
        check_sizes(sizes, MAX_ENVELOPE_OCTETS, self._context.parts)

    def decide(self, connection: Connection) -> Decision[Outcome]:
        token = self._draft.token
        if token is not None:
            answer = find_answer(connection, token.client, token.key)
            if answer is not None:
                same = answer.request_digest == token.request_digest
                earlier = read_answer(answer.answer) if same else TokenClash()
                return Decision(lambda _: ([], earlier))
        unfit = self._unfit or self._used(connection)
        if unfit is not None:
            return Decision(lambda _: ([], unfit))
        here, directory = self._context.here, self._context.federation.directory
        recipient, in_reply_to, changes = self._place(connection)
        reference = self._number(connection)
        down = frozenset(self._context.failing)
        route = plan(directory, here, recipient.node, down=down).alternates[0]
        key = self._key()
        envelope = self._envelope(key, recipient, reference, in_reply_to)
        content = write_content(envelope)
        message_digest = digest(key.suite, content)
        request = envelope_request(key, self._use, message_digest)

        def conclude(proofs: Sequence[Proof]) -> tuple[Sequence[Row], Outcome]:
            octets = attach(content, key.suite, message_digest, proofs[0])
            filed = self._filed(envelope.header, route)
            rows = [*self._rows(envelope.header, message_digest, octets, route), *changes]
            if token is not None:
                rows.append(_answer_row(token, filed, self._now_ms))
            return rows, filed

        if len(content) > MAX_ENVELOPE_OCTETS - MAX_SIGNATURE_ELEMENT_OCTETS:
            raise RefusedError(Reason.TOO_LARGE, f"envelope of {len(content)} octets, unsigned")
        return Decision(conclude, [request])

    def _used(self, connection: Connection) -> UploadUnfit | None:
        """An upload that another message took since it was made ready."""
        for file in self._files.values():
            row = file.upload
            if row is not None and find_upload(connection, row.client, row.upload_id) is None:
                return UploadUnfit(row.upload_id, None, None)
        return None

    def _place(self, connection: Connection) -> tuple[Address, str | None, list[Row]]:
        """Whom it goes to, what it answers, and what it does to our view of the case."""
        draft, federation = self._draft, self._context.federation
        ours = federation.directory.authority(draft.authority, self._context.here)
        if isinstance(draft.body, Ping):
            if draft.recipient is None:
                raise RefusedError(Reason.SCHEMA_INVALID, "a ping needs a recipient")
            return draft.recipient, None, []
        if ours is None or ours.node != self._context.here:
            raise RefusedError(Reason.AUTHORITY_NOT_HERE, f"{draft.authority} is not served here")
        here, directory = self._context.here, federation.directory
        cases.require_open(directory, here, draft.authority, self._now_ms)
        if isinstance(draft.body, CaseSubmit):
            if draft.recipient is None or self._case_id is None:
                raise RefusedError(Reason.SCHEMA_INVALID, "a submission needs a recipient")
            return draft.recipient, None, [self._open(draft.body, draft.recipient)]
        view = self._view(connection)
        after = self._step(view)
        node, authority = cases.as_of(view, directory, self._now_ms).counterpart
        if view.side == Side.HANDLE:
            return Address(node, authority), view.last_message, [case_row(after)]
        self._require_settled(connection, view)
        # At the collecting end it takes effect with the destination's receipt (settlement).
        return Address(node, authority), None, []

    def _open(self, body: CaseSubmit, recipient: Address) -> Row:
        header = self._header(recipient, self._case_reference(1), None, "")
        federation, now_ms = self._context.federation, self._now_ms
        cases.check_submission(federation, header, body, now_ms)
        view = cases.open_case(header, body, Side.COLLECT, now_ms)
        powers = cases.powers_of(federation, view, self._speaker, now_ms)
        cases.advance(view, body.kind, powers, header, Side.COLLECT, now_ms)
        return case_row(view)

    def _view(self, connection: Connection) -> CaseView:
        for side in Side:
            view = find_case(connection, self._case_id or "", side)
            if view is None:
                continue
            present = cases.as_of(view, self._context.federation.directory, self._now_ms)
            if present.ours[1] != self._draft.authority:
                continue
            if cases.speaker(self._draft.body.kind, present, self._speaker) is side:
                return view
        raise RefusedError(
            Reason.CASE_UNKNOWN, f"{self._draft.authority} has no case {self._case_id} here"
        )

    def _step(self, view: CaseView) -> CaseView:
        node, authority = view.counterpart
        header = self._header(Address(node, authority), self._case_reference(1), None, "")
        now_ms, side = self._now_ms, Side(view.side)
        powers = cases.powers_of(self._context.federation, view, self._speaker, now_ms)
        return cases.advance(view, self._draft.body.kind, powers, header, side, now_ms)

    def _require_settled(self, connection: Connection, view: CaseView) -> None:
        """One step at a time at the collecting end: the handling end decides in which order."""
        if isinstance(self._draft.body, CaseVoid):
            return
        directory = self._context.federation.directory
        present = cases.as_of(view, directory, self._now_ms)
        ours = directory.lineage(self._draft.authority, self._context.here, self._now_ms)
        for row in case_messages(connection, view.case_id):
            own = row.role == Role.OUT and row.authority in ours
            own = own and cases.speaker(row.kind, present, self._speaker) is Side.COLLECT
            pending = (row.sequence or 0) > view.effective
            if own and pending and not Standing(row.standing).settled:
                detail = f"{row.kind} (message {row.message_id}) is still on its way"
                raise RefusedError(Reason.WRONG_STATE, detail)

    def _number(self, connection: Connection) -> CaseReference | None:
        if self._case_id is None:
            return None
        if isinstance(self._draft.body, CaseSubmit):
            return self._case_reference(1)  # the id is fresh: nobody has said anything under it
        last = last_sequence(connection, self._case_id, self._speaker, Role.OUT)
        return self._case_reference(last + 1)

    def _case_reference(self, number: int) -> CaseReference | None:
        return None if self._case_id is None else CaseReference(self._case_id, number)

    def _key(self) -> PublicKey:
        keys = self._context.keys
        return keys.public(keys.find(self._use, self._draft.authority))

    def _header(
        self,
        recipient: Address,
        reference: CaseReference | None,
        in_reply_to: str | None,
        key_id: str,
    ) -> Header:
        return Header(
            message_id=self._message_id,
            kind=self._draft.body.kind,
            created_ms=self._now_ms,
            expires_ms=self._now_ms + self._context.lifetime_ms,
            sender=Sender(self._context.here, self._draft.authority, key_id),
            recipient=recipient,
            case=reference,
            in_reply_to=in_reply_to,
        )

    def _envelope(
        self,
        key: PublicKey,
        recipient: Address,
        reference: CaseReference | None,
        in_reply_to: str | None,
    ) -> Envelope:
        body = self._octets[BODY_ID]
        parts = [
            Part(
                BODY_ID,
                "body",
                "application/xml",
                len(body),
                digest(key.suite, body),
                schema_of(self._draft.body),
            )
        ]
        parts += [
            Part(name, "material", file.media_type, file.size, file.digest_of(key.suite))
            for name, file in self._files.items()
        ]
        header = self._header(recipient, reference, in_reply_to, key.key_id)
        return Envelope(self._context.rules.environment, header, tuple(parts))

    def _filed(self, header: Header, route: Route) -> Filed:
        number = None if header.case is None else header.case.sequence
        return Filed(header.reference, self._case_id, number, route.nodes)

    def _rows(
        self, header: Header, message_digest: bytes, octets: bytes, route: Route
    ) -> list[Row]:
        size = len(octets) + sum(map(len, self._octets.values()))
        standing = {"standing": Standing.QUEUED.value}
        path = (self._context.here,)
        rows: list[Row] = [
            message_row(header, message_digest, octets, Role.OUT, path, self._now_ms, **standing),
            *part_rows(header.reference, Role.OUT, self._octets),
            *blob_rows(header.reference, Role.OUT, self._blobs()),
            *(row for file in self._files.values() for row in file.taken()),
            errand_row(header, Role.OUT, route.next_hop, self._now_ms, size),
            leaves.sent(message_digest, self._now_ms),
        ]
        if header.case is not None:
            case_id, number = header.case.case_id, header.case.sequence
            rows.append(sequence_row(case_id, self._speaker, Role.OUT, number))
        return rows

    def _blobs(self) -> dict[str, StoredBlob]:
        held = ((name, file.blob) for name, file in self._files.items())
        return {name: blob for name, blob in held if blob is not None}


def _answer_row(token: Token, filed: Filed, now_ms: int) -> Row:
    answer = "|".join(
        (
            filed.message.authority,
            filed.message.message_id,
            filed.case_id or "",
            "" if filed.sequence is None else str(filed.sequence),
            ",".join(filed.route),
        )
    )
    return Insert(
        schema.idempotency,
        {
            "client": token.client,
            "key": token.key,
            "request_digest": token.request_digest,
            "answer": answer,
            "recorded_ms": now_ms,
        },
    )


def read_answer(text: str) -> Filed:
    """What an earlier request with this idempotency key was answered."""
    authority, message_id, case_id, number, route = text.split("|")
    return Filed(
        MessageReference(authority, message_id),
        case_id or None,
        int(number) if number else None,
        tuple(route.split(",")),
        repeated=True,
    )
