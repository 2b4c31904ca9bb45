"""The evidence file (存证文件): what anyone needs to check a case, years later, offline.

A file is the magic ``TBEV1`` LF and then records ``u8 type | u32 length | octets`` (big-endian), in
this order and no other:

    ====  =========  ==================================================================
    type  record     octets
    ====  =========  ==================================================================
    1     about      canonical JSON: format, environment, subject, exporter, instant
    2     directory  a province's signed directory document; one or more
    3     envelope   one message; then, for this message:
    4     part       u8 n | part id | octets; none for a part that was erased
    5     receipt    the destination's, and the custody of forwarders
    9     seal       key id (32 octets, raw) | signature (64 octets), and nothing after it
    ====  =========  ==================================================================

The verifier's steps, each named in the report; the trust anchor always comes from outside the file:

    1. container    the records are well formed, in order, within their bounds          EV-1
    2. about        the description is canonical and complete                           EV-2
    3. directories  each is signed by the anchor's keys for its province                EV-3
    4. envelopes    each passes the ten steps of `signing.verify`, at the instant
                    somebody else first signed that he had seen it                      EV-4
    5. parts        each equals its line of the manifest; what is missing was erased    EV-5
    6. receipts     each verifies and is about its message; the destination's is there  EV-6
    7. subject      the messages are the subject's, each sender's numbers without gap   EV-7
    8. seal         the exporting node signed the digest (of its suite) of every octet
                    before the seal, under the domain ``TONGBAN-EVIDENCE-1`` NUL        EV-8

A step that fails refuses the file and names itself; the steps after it are not run. What this
machine cannot compute (a suite without a provider) is "could not check" and never passes.
"""

from __future__ import annotations

import base64
import contextlib
import json
import struct
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from protocol.errors import RefusedError, UnavailableError
from protocol.instants import format_instant, parse_instant
from protocol.limits import MAX_ENVELOPE_OCTETS, MIB
from protocol.reasons import Reason
from protocol.receipt import MAX_RECEIPT_OCTETS, ReceiptType
from signing.keys import KeyUse, SigningRequest
from signing.receipts import VerifiedReceipt, concerns, verify_receipt
from signing.suites import Suite, digest
from signing.verify import Rules, VerifiedEnvelope, check_part, verify_envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from protocol.envelope import Envelope, Environment
    from signing.keys import KeyStore
    from signing.trust import TrustSet

T = TypeVar("T")

MAGIC: Final = b"TBEV1\n"
MEDIA_TYPE: Final = "application/vnd.tongban.evidence"
SEAL_DOMAIN: Final = b"TONGBAN-EVIDENCE-1\x00"
FORMAT: Final = "tongban-evidence-1"
MAX_RECORDS: Final = 100_000

_HEAD: Final = struct.Struct(">BI")
_KEY_OCTETS: Final = 32
_SIGNATURE_OCTETS: Final = 64
_MAX_ABOUT: Final = 4096


class Record(Enum):
    """The record types: number, and the most octets one may have."""

    ABOUT = (1, _MAX_ABOUT)
    DIRECTORY = (2, 64 * MIB)
    ENVELOPE = (3, MAX_ENVELOPE_OCTETS)
    PART = (4, 1024 * MIB)
    RECEIPT = (5, MAX_RECEIPT_OCTETS)
    SEAL = (9, _KEY_OCTETS + _SIGNATURE_OCTETS)

    def __init__(self, number: int, largest: int) -> None:
        self.number: Final = number
        self.largest: Final = largest


_RECORDS: Final = {record.number: record for record in Record}

# After a record of this type may come one of these.
_NEXT: Final = {
    None: (Record.ABOUT,),
    Record.ABOUT: (Record.DIRECTORY,),
    Record.DIRECTORY: (Record.DIRECTORY, Record.ENVELOPE),
    Record.ENVELOPE: (Record.PART, Record.RECEIPT),
    Record.PART: (Record.PART, Record.RECEIPT),
    Record.RECEIPT: (Record.RECEIPT, Record.ENVELOPE, Record.SEAL),
    Record.SEAL: (),
}


class Subject(StrEnum):
    """What a file is about."""

    CASE = "case"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class About:
    """What a file says it is: subject kind and id, exporting node, instant of export."""

    environment: Environment
    subject: Subject
    subject_id: str
    node: str
    exported_ms: int

    def write(self) -> bytes:
        """Its one form: JSON with sorted members and no white space."""
        tree = {
            "environment": self.environment,
            "exported": format_instant(self.exported_ms),
            "format": FORMAT,
            "node": self.node,
            "subject": self.subject.value,
            "subjectId": self.subject_id,
        }
        return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class MessageEvidence:
    """One message as held: its envelope, the parts not erased, the receipts given for it."""

    envelope: bytes
    parts: Mapping[str, bytes]
    receipts: Sequence[bytes]


class Outcome(StrEnum):
    """What a check came to (有效、不予认可、未能核查)."""

    VALID = "valid"
    REFUSED = "refused"
    COULD_NOT_CHECK = "could-not-check"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the report."""

    number: int
    name: str
    chinese: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Proven:
    """One message the file proves."""

    message_id: str
    kind: str
    sequence: int | None
    sender: str
    recipient: str
    outcome: ReceiptType
    reason: Reason | None
    received_ms: int
    custody: tuple[str, ...]
    erased: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The steps that were run, the outcome, and what was proven if all of them held."""

    outcome: Outcome
    steps: tuple[Step, ...]
    about: About | None = None
    proven: tuple[Proven, ...] = ()


def write_evidence(
    about: About,
    directories: Sequence[bytes],
    messages: Sequence[MessageEvidence],
    keys: KeyStore,
) -> bytes:
    """The file's octets, sealed with the exporting node's evidence key."""
    records = [_record(Record.ABOUT, about.write())]
    records += [_record(Record.DIRECTORY, octets) for octets in directories]
    for message in messages:
        records.append(_record(Record.ENVELOPE, message.envelope))
        for part_id, octets in message.parts.items():
            name = part_id.encode("ascii")
            records.append(_record(Record.PART, bytes([len(name)]) + name + octets))
        records += [_record(Record.RECEIPT, octets) for octets in message.receipts]
    content = MAGIC + b"".join(records)
    key_id = keys.find(KeyUse.EVIDENCE, about.node)
    sealed = _sealed(content, keys.public(key_id).suite)
    (signature,) = keys.sign([SigningRequest(key_id, sealed)])
    return content + _record(Record.SEAL, base64.urlsafe_b64decode(key_id + "=") + signature)


def _record(record: Record, octets: bytes) -> bytes:
    return _HEAD.pack(record.number, len(octets)) + octets


def _sealed(content: bytes, suite: Suite) -> bytes:
    return SEAL_DOMAIN + digest(suite, content)


class _FailedError(Exception):
    """A step did not hold."""


@dataclass(frozen=True, slots=True)
class _Container:
    about: bytes
    directories: tuple[bytes, ...]
    messages: tuple[MessageEvidence, ...]
    content: bytes
    seal: bytes


@dataclass(frozen=True, slots=True)
class _Checked:
    """A message with what was verified of it so far."""

    evidence: MessageEvidence
    verified: VerifiedEnvelope
    final: VerifiedReceipt | None = None
    custody: tuple[str, ...] = ()

    @property
    def envelope(self) -> Envelope:
        return self.verified.envelope


def verify_evidence(
    octets: bytes, open_trust: Callable[[Sequence[bytes]], TrustSet], rules: Rules
) -> Report:
    """Run the steps of the module's docstring.

    Args:
        octets: The file.
        open_trust: Opens directory documents under the trust anchor from outside the file; raises
            RefusedError or UnavailableError.
        rules: What envelopes are held against; the environment is the file's own.

    Returns:
        The report; nothing about a bad file is ever raised.
    """
    return _Verifier(octets, open_trust, rules).run()


class _Verifier:
    def __init__(
        self, octets: bytes, open_trust: Callable[[Sequence[bytes]], TrustSet], rules: Rules
    ) -> None:
        self._octets = octets
        self._open_trust = open_trust
        self._rules = rules
        self._steps: list[Step] = []

    def run(self) -> Report:
        try:
            # 1 container
            container = self._step("container", "文件结构", lambda: _take_apart(self._octets))
            # 2 about
            about = self._step("about", "文件说明", lambda: _read_about(container.about))
            # 3 directories
            trust = self._step(
                "directories", "节点目录与信任锚", lambda: self._open_trust(container.directories)
            )
            # 4 envelopes
            checked = self._step(
                "envelopes", "报文签名", lambda: self._envelopes(container, about, trust)
            )
            # 5 parts
            self._step("parts", "部件摘要", lambda: [_count_parts(one) for one in checked])
            # 6 receipts
            settled = self._step(
                "receipts", "回执", lambda: [_check_receipts(one, trust) for one in checked]
            )
            # 7 subject
            self._step("subject", "归属与序号", lambda: _check_subject(about, settled))
            # 8 seal
            self._step("seal", "导出节点签封", lambda: _check_seal(container, about, trust))
        except _FailedError:
            return Report(Outcome.REFUSED, tuple(self._steps))
        except UnavailableError:
            return Report(Outcome.COULD_NOT_CHECK, tuple(self._steps))
        proven = tuple(_proven(one) for one in settled)
        return Report(Outcome.VALID, tuple(self._steps), about, proven)

    def _step(self, name: str, chinese: str, check: Callable[[], T]) -> T:
        number = len(self._steps) + 1
        try:
            result = check()
        except RefusedError as error:
            detail = f"{error.reason.code}: {error.detail}"
        except UnavailableError as error:
            if error.reason is Reason.SUITE_UNAVAILABLE:
                self._steps.append(Step(number, name, chinese, passed=False, detail=str(error)))
                raise
            # The file has to bring its directories: what they do not know is not proven.
            detail = f"{error.reason.code}: {error.detail}"
        else:
            self._steps.append(Step(number, name, chinese, passed=True, detail=_summary(result)))
            return result
        self._steps.append(Step(number, name, chinese, passed=False, detail=detail))
        raise _FailedError

    def _envelopes(self, container: _Container, about: About, trust: TrustSet) -> list[_Checked]:
        rules = Rules(self._rules.schemas, self._rules.kinds, about.environment)
        return [
            _Checked(
                message,
                verify_envelope(
                    message.envelope, rules, trust, _first_seen(message, trust, about), live=False
                ),
            )
            for message in container.messages
        ]


def _summary(result: object) -> str:
    match result:
        case _Container():
            return f"{len(result.directories)} directories, {len(result.messages)} messages"
        case About():
            return f"{result.subject} {result.subject_id}, exported by {result.node}"
        case list():
            return f"{len(result)} checked"
        case _:
            return ""


def _invalid(detail: str) -> RefusedError:
    return RefusedError(Reason.EVIDENCE_INVALID, detail)


def _split(octets: bytes) -> Iterator[tuple[int, Record, bytes]]:
    """Every record with its place."""
    place, before = len(MAGIC), None
    for _ in range(MAX_RECORDS):
        if place == len(octets):
            return
        if place + _HEAD.size > len(octets):
            raise _invalid(f"cut short at octet {place}")
        number, length = _HEAD.unpack_from(octets, place)
        record = _RECORDS.get(number)
        if record is None or record not in _NEXT[before]:
            raise _invalid(f"record type {number} does not belong at octet {place}")
        if length > record.largest or place + _HEAD.size + length > len(octets):
            raise _invalid(f"length {length} of the record at octet {place}")
        yield place, record, octets[place + _HEAD.size : place + _HEAD.size + length]
        place += _HEAD.size + length
        before = record
    raise _invalid(f"more than {MAX_RECORDS} records")


def _take_apart(octets: bytes) -> _Container:
    if not octets.startswith(MAGIC):
        raise _invalid("does not begin like an evidence file")
    records = list(_split(octets))
    if not records or records[-1][1] is not Record.SEAL:
        raise _invalid("no seal at the end")
    end, _, seal = records[-1]
    if len(seal) != Record.SEAL.largest:
        raise _invalid("the seal's length")
    messages: list[tuple[bytes, dict[str, bytes], list[bytes]]] = []
    for place, record, body in records:
        if record is Record.ENVELOPE:
            messages.append((body, {}, []))
        elif record is Record.PART:
            name, part = _read_part(body, place)
            if name in messages[-1][1]:
                raise _invalid(f"part {name} twice, at octet {place}")
            messages[-1][1][name] = part
        elif record is Record.RECEIPT:
            messages[-1][2].append(body)
    return _Container(
        about=records[0][2],
        directories=tuple(body for _, record, body in records if record is Record.DIRECTORY),
        messages=tuple(MessageEvidence(*message) for message in messages),
        content=octets[:end],
        seal=seal,
    )


def _read_part(body: bytes, place: int) -> tuple[str, bytes]:
    length = body[0] if body else 0
    name = body[1 : 1 + length]
    if not length or len(name) != length or not name.isascii():
        raise _invalid(f"name of the part at octet {place}")
    return name.decode("ascii"), body[1 + length :]


def _read_about(octets: bytes) -> About:
    try:
        tree = json.loads(octets)
        about = About(
            environment="production" if tree["environment"] == "production" else "trial",
            subject=Subject(tree["subject"]),
            subject_id=tree["subjectId"],
            node=tree["node"],
            exported_ms=parse_instant(tree["exported"]),
        )
        written = about.write()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _invalid("not a description in the known form") from error
    if written != octets:
        raise _invalid("not in its one form")
    return about


def _first_seen(message: MessageEvidence, trust: TrustSet, about: About) -> int:
    """The earliest instant another node's receipt shows the message to have existed (section 7)."""
    seen = [about.exported_ms]
    for octets in message.receipts:
        # One that does not verify shows nothing here; step 6 names and refuses it.
        with contextlib.suppress(RefusedError, UnavailableError):
            seen.append(verify_receipt(octets, trust, live=False).receipt.instant_ms)
    return min(seen)


def _count_parts(checked: _Checked) -> int:
    """How many parts are there, each equal to its line of the manifest."""
    listed = {part.part_id: part for part in checked.envelope.parts}
    for name, octets in checked.evidence.parts.items():
        part = listed.get(name)
        if part is None:
            raise _invalid(f"{_name(checked)}: part {name} is not in the manifest")
        try:
            check_part(checked.verified, part, octets)
        except UnavailableError as error:
            raise _invalid(f"{_name(checked)}: {error.detail}") from error
    return len(checked.evidence.parts)


def _check_receipts(checked: _Checked, trust: TrustSet) -> _Checked:
    final: VerifiedReceipt | None = None
    custody: list[str] = []
    header = checked.envelope.header
    for octets in checked.evidence.receipts:
        verified = verify_receipt(octets, trust, live=False)
        receipt = verified.receipt
        about_it = receipt.reference is not None and concerns(
            verified, header.reference, checked.verified.message_digest, checked.verified.octets
        )
        if not about_it:
            raise _invalid(f"{_name(checked)}: a receipt of {receipt.issuer} for something else")
        if receipt.type is ReceiptType.CUSTODY:
            custody.append(receipt.issuer)
        elif receipt.issuer != header.recipient.node or final is not None:
            raise _invalid(f"{_name(checked)}: {receipt.issuer} may not end it, or not twice")
        else:
            final = verified
    if final is None:
        raise _invalid(f"{_name(checked)}: no receipt of its destination")
    return _Checked(checked.evidence, checked.verified, final, tuple(custody))


def _check_subject(about: About, messages: Sequence[_Checked]) -> None:
    numbers: dict[str, list[int]] = {}
    ids = [checked.envelope.header.message_id for checked in messages]
    if len(set(ids)) != len(ids):
        raise _invalid("a message twice")
    for checked in messages:
        header = checked.envelope.header
        if about.subject is Subject.MESSAGE:
            if header.message_id != about.subject_id or len(messages) != 1:
                raise _invalid(f"{_name(checked)} is not the subject")
            continue
        if header.case is None or header.case.case_id != about.subject_id:
            raise _invalid(f"{_name(checked)} belongs to another case")
        numbers.setdefault(header.sender.authority, []).append(header.case.sequence)
    for authority, found in numbers.items():
        if sorted(found) != list(range(1, len(found) + 1)):
            raise _invalid(f"the numbers of {authority} have a gap: {sorted(found)}")


def _check_seal(container: _Container, about: About, trust: TrustSet) -> None:
    key_id = base64.urlsafe_b64encode(container.seal[:_KEY_OCTETS]).decode().rstrip("=")
    record = trust.key(key_id)
    if record is None or record.use is not KeyUse.EVIDENCE or record.owner != about.node:
        raise _invalid(f"key {key_id} is no evidence key of {about.node}")
    late = record.revoked_ms is not None and record.revoked_ms <= about.exported_ms
    if late or not record.not_before_ms <= about.exported_ms < record.not_after_ms:
        raise _invalid(f"key {key_id} was not valid when the file was exported")
    sealed = _sealed(container.content, record.key.suite)
    if not record.key.verify(sealed, container.seal[_KEY_OCTETS:]):
        raise _invalid("the file was changed after it was sealed")


def _proven(checked: _Checked) -> Proven:
    header, final = checked.envelope.header, checked.final
    if final is None:  # pragma: no cover - step 6 saw to it
        raise _FailedError
    held = checked.evidence.parts
    return Proven(
        message_id=header.message_id,
        kind=header.kind,
        sequence=None if header.case is None else header.case.sequence,
        sender=header.sender.authority,
        recipient=header.recipient.authority,
        outcome=final.receipt.type,
        reason=final.receipt.reason,
        received_ms=final.receipt.instant_ms,
        custody=checked.custody,
        erased=tuple(part.part_id for part in checked.envelope.parts if part.part_id not in held),
    )


def _name(checked: _Checked) -> str:
    header = checked.envelope.header
    return f"{header.kind} {header.message_id}"
