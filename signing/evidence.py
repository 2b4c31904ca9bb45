"""Evidence (存证): what anyone needs to check a case or a message, years later, offline.

The file's form is in `signing.evidence_file`. The verifier's steps, each named in the report; the
trust anchor always comes from outside the file:

    1. container    the records are well formed, in order, within their bounds          EV-1
    2. about        the description is canonical and complete                           EV-2
    3. directories  each is signed by the anchor's keys for its province, and is of
                    the environment the file says                                       EV-3
    4. log          its head is the exporter's, a time stamp over it holds, and every
                    message and the receipt that ended it are leaves of it              EV-19
    5. envelopes    each passes the ten steps of `signing.verify`, at the instant
                    another node first said that it had seen it                         EV-4
    6. parts        each equals its line of the manifest; an erasure is of this
                    message; what else is missing was left out                          EV-5 EV-29
    7. receipts     each verifies and is about its message; the destination's is there  EV-6
    8. subject      the messages are the subject's, each sender's numbers without gap   EV-7
    9. seal         the exporting node signed every octet before the seal               EV-8

A step that fails refuses the file and names itself; the steps after it are not run, and nothing is
proven unless all held. What this machine cannot compute (a suite without a provider) is "could not
check" and never passes.

On step 5: whoever holds a stolen key can date a message back, but not what another node signed. So
a key that is revoked counts only for what a receipt of another node, an export by another node, or
a time stamp shows to have existed before. Where only the sender's own node speaks, nothing under a
revoked key is believed; that a key merely ran out later changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from protocol.envelope import MessageReference, read_envelope
from protocol.errors import RefusedError, UnavailableError
from protocol.identifiers import province_of
from protocol.limits import MAX_CLOCK_SKEW_MS, MAX_ENVELOPE_OCTETS
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from protocol.wire import parse_canonical
from signing.batch import Checking
from signing.erasure import Erasure, read_erasure
from signing.evidence_file import (
    MAGIC,
    MEDIA_TYPE,
    SEAL_DOMAIN,
    About,
    EvidenceFile,
    InMemory,
    LeafProof,
    LogEvidence,
    MessageEvidence,
    Seal,
    Source,
    Subject,
    invalid,
    read_about,
    take_apart,
)
from signing.evidence_log import Dated, check_log
from signing.evidence_writer import MessageToShow, write_evidence
from signing.keys import KeyUse
from signing.receipts import VerifiedReceipt, concerns, verify_receipt
from signing.verify import Rules, VerifiedEnvelope, check_digest, check_size, verify_envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from protocol.envelope import Environment
    from signing.stamps import StampRoots
    from signing.trust import TrustSet

__all__ = [
    "MAGIC",
    "MEDIA_TYPE",
    "SEAL_DOMAIN",
    "About",
    "LeafProof",
    "LogEvidence",
    "MessageEvidence",
    "MessageToShow",
    "OpenTrust",
    "Outcome",
    "Proven",
    "Report",
    "Step",
    "Subject",
    "verify_evidence",
    "write_evidence",
]

T = TypeVar("T")

OpenTrust: TypeAlias = "Callable[[Sequence[bytes], Environment], TrustSet]"
"""Opens directory documents, which have to be of this environment, under a trust anchor."""


class Outcome(StrEnum):
    """What a check came to (有效、不予认可、未能核查)."""

    VALID = "valid"
    REFUSED = "refused"
    COULD_NOT_CHECK = "could-not-check"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the report; the detail is printable, whatever the file says."""

    number: int
    name: str
    chinese: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Proven:
    """One message the file proves; instants in milliseconds since 1970 UTC.

    Attributes:
        message_id: UUIDv7.
        kind: Its kind.
        sequence: The sender's number in the case, if it belongs to one.
        sender: USCC of the authority that signed it.
        recipient: USCC of the authority it was addressed to.
        outcome: What its destination said: received, or refused.
        reason: Why it was refused.
        received_ms: When the destination said so.
        custody: Forwarders that had it on disk.
        missing: Parts of its manifest that are not in the file.
        erasure: Why, if they were erased; else whoever exported it left them out.
    """

    message_id: str
    kind: str
    sequence: int | None
    sender: str
    recipient: str
    outcome: ReceiptType
    reason: Reason | None
    received_ms: int
    custody: tuple[str, ...]
    missing: tuple[str, ...]
    erasure: Erasure | None


@dataclass(frozen=True, slots=True)
class Report:
    """The steps that were run, the outcome, and what was proven if all of them held."""

    outcome: Outcome
    steps: tuple[Step, ...]
    about: About | None = None
    proven: tuple[Proven, ...] = ()
    stamped_ms: int | None = None


def verify_evidence(
    file: bytes | Source, open_trust: OpenTrust, rules: Rules, roots: StampRoots = ()
) -> Report:
    """Run the steps of the module's docstring.

    Args:
        file: Its octets, or where they are: parts are then read piece by piece.
        open_trust: Opens the file's directory documents under the trust anchor from outside it;
            raises RefusedError or UnavailableError.
        rules: What envelopes are held against; the environment is the file's own.
        roots: Certificates of time-stamping authorities, from outside; without any a stamp is left
            out of account.

    Returns:
        The report; nothing about a bad file is ever raised.

    Raises:
        OSError: what `file` raises.
    """
    source = InMemory(file) if isinstance(file, bytes) else file
    steps = _Steps()
    try:
        # 1 container
        taken = steps.run("container", "文件结构", lambda: take_apart(source))
        # 2 about
        about = steps.run("about", "文件说明", lambda: read_about(taken.about))
        # 3 directories
        trust = steps.run(
            "directories",
            "节点目录与信任锚",
            lambda: open_trust(taken.directories, about.environment),
        )
        # 4 log
        dated = steps.run(
            "log",
            "存证日志与时间戳",
            lambda: check_log(taken, about, trust, roots, rules.schemas),
        )
        # 5 envelopes
        held_to = replace(rules, environment=about.environment)
        checking = Checking()
        authentic = steps.run(
            "envelopes",
            "报文签名",
            lambda: [
                _authenticate(held, held_to, trust, (about, dated), checking)
                for held in taken.messages
            ],
        )
        # 6 parts
        shown = steps.run(
            "parts", "部件摘要", lambda: _Contents([_check_parts(one) for one in authentic])
        )
        # 7 receipts
        settled = steps.run(
            "receipts",
            "回执",
            lambda: [
                _check_receipts(one, erasure, trust, checking)
                for one, erasure in zip(authentic, shown.erasures, strict=True)
            ],
        )
        # 8 subject
        steps.run("subject", "归属与序号", lambda: _check_subject(about, authentic))
        # 9 seal
        steps.run("seal", "导出节点签封", lambda: _check_seal(taken.seal, about, trust))
    except _EndedError as end:
        return Report(end.outcome, tuple(steps.taken))
    return Report(Outcome.VALID, tuple(steps.taken), about, tuple(settled), dated.stamped_ms)


class _EndedError(Exception):
    """A step did not hold, or could not be taken."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome)


class _Steps:
    """Takes the steps one after the other and keeps their lines."""

    def __init__(self) -> None:
        self.taken: list[Step] = []

    def run(self, name: str, chinese: str, check: Callable[[], T]) -> T:
        """Take one step; its result, or the end of the check."""
        outcome = Outcome.REFUSED
        try:
            result = check()
        except RefusedError as error:
            detail = str(error)
        except UnavailableError as error:
            # A key the directories do not know is refused: the file has to bring its directories.
            if error.reason is Reason.SUITE_UNAVAILABLE:
                outcome = Outcome.COULD_NOT_CHECK
            detail = str(error)
        else:
            self._note(name, chinese, _summary(result), passed=True)
            return result
        self._note(name, chinese, detail, passed=False)
        raise _EndedError(outcome)

    def _note(self, name: str, chinese: str, detail: str, *, passed: bool) -> None:
        # Details may quote the file, and a file must not speak to a terminal.
        shown = "".join(
            char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in detail
        )
        self.taken.append(Step(len(self.taken) + 1, name, chinese, passed, shown))


def _summary(result: object) -> str:
    match result:
        case EvidenceFile():
            return f"{len(result.directories)} directories, {len(result.messages)} messages"
        case About():
            return f"{result.subject} {result.subject_id}, exported by {result.node}"
        case Dated() | _Contents():
            return result.told
        case list():
            return f"{len(result)} messages checked"
        case _:
            return ""


@dataclass(frozen=True, slots=True)
class _Authentic:
    """A message whose envelope was verified."""

    held: MessageEvidence
    verified: VerifiedEnvelope

    def fault(self, what: str) -> RefusedError:
        """The refusal of the file for something about this message."""
        header = self.verified.envelope.header
        return invalid(f"{header.kind} {header.message_id}: {what}")


def _authenticate(
    held: MessageEvidence,
    rules: Rules,
    trust: TrustSet,
    said_by_file: tuple[About, Dated],
    checking: Checking,
) -> _Authentic:
    about, dated = said_by_file
    octets = held.envelope
    claimed = read_envelope(parse_canonical(octets, MAX_ENVELOPE_OCTETS), rules.schemas).header
    said = [(about.node, about.exported_ms), *_said(held.receipts, trust, checking)]
    elsewhere = [instant_ms for node, instant_ms in said if node != claimed.sender.node]
    if dated.stamped_ms is not None:
        elsewhere.append(dated.stamped_ms)
    seen_ms = min(elsewhere or [instant_ms for _, instant_ms in said])
    verified = verify_envelope(octets, rules, trust, seen_ms, live=not elsewhere, checking=checking)
    return _Authentic(held, verified)


def _said(receipts: Sequence[bytes], trust: TrustSet, checking: Checking) -> list[tuple[str, int]]:
    """Which node says when that it had the message; step 6 refuses receipts that are no good."""
    said: list[tuple[str, int]] = []
    for octets in receipts:
        try:
            receipt = verify_receipt(octets, trust, live=False, checking=checking).receipt
        except RefusedError:
            continue
        except UnavailableError as error:
            if error.reason is Reason.SUITE_UNAVAILABLE:
                raise
            continue
        said.append((receipt.issuer, receipt.instant_ms))
    return said


@dataclass(frozen=True, slots=True)
class _Contents:
    """What step 6 found: per message the record of its erasure, and the parts there and not."""

    found: Sequence[tuple[Erasure | None, int, int]]

    @property
    def erasures(self) -> Iterator[Erasure | None]:
        return (erasure for erasure, _, _ in self.found)

    @property
    def told(self) -> str:
        there = sum(count for _, count, _ in self.found)
        erased = sum(count for erasure, _, count in self.found if erasure is not None)
        left_out = sum(count for erasure, _, count in self.found if erasure is None)
        told = f"{len(self.found)} messages checked; parts: {there} there"
        told += f", {erased} erased" if erased else ""
        return told + (f", {left_out} left out" if left_out else "")


def _check_parts(one: _Authentic) -> tuple[Erasure | None, int, int]:
    """Each of its parts equals its line; how many are there, how many are not, and if erased."""
    listed = {part.part_id: part for part in one.verified.envelope.parts}
    for name, contents in one.held.parts.items():
        part = listed.get(name)
        if part is None:
            raise one.fault(f"part {name} is not in the manifest")
        suite = one.verified.suite
        # Of the size first: what is too long is not read to its end.
        check_size(part, contents.size)
        check_digest(part, contents.digest(suite))
    erasure = None if one.held.erasure is None else read_erasure(one.held.erasure)
    if erasure is not None and erasure.message_digest != one.verified.message_digest:
        raise one.fault("the erasure of another message")
    return erasure, len(one.held.parts), len(listed) - len(one.held.parts)


def _check_receipts(
    one: _Authentic, erasure: Erasure | None, trust: TrustSet, checking: Checking
) -> Proven:
    final: VerifiedReceipt | None = None
    custody: list[str] = []
    header = one.verified.envelope.header
    destination = header.recipient.node
    for octets in one.held.receipts:
        verified = verify_receipt(octets, trust, live=False, checking=checking)
        receipt = verified.receipt
        if not concerns(verified, header.reference, one.verified.message_digest, one.held.envelope):
            raise one.fault(f"a receipt of {receipt.issuer} for something else")
        by_destination = receipt.issuer == destination
        match receipt.type:
            case ReceiptType.CUSTODY if not by_destination:
                custody.append(receipt.issuer)
            case ReceiptType.RECEIVED | ReceiptType.REFUSED if by_destination and final is None:
                final = verified
            case _:
                raise one.fault(f"{receipt.type.name.lower()} by {receipt.issuer} ends nothing")
    if final is None:
        raise one.fault(f"no receipt of its destination, {destination}")
    return Proven(
        message_id=header.message_id,
        kind=header.kind,
        sequence=None if header.case is None else header.case.sequence,
        sender=header.sender.authority,
        recipient=header.recipient.authority,
        outcome=final.receipt.type,
        reason=final.receipt.reason,
        received_ms=final.receipt.instant_ms,
        custody=tuple(custody),
        missing=tuple(
            part.part_id
            for part in one.verified.envelope.parts
            if part.part_id not in one.held.parts
        ),
        erasure=erasure,
    )


def _check_subject(about: About, messages: Sequence[_Authentic]) -> None:
    known: set[MessageReference] = set()
    numbers: dict[tuple[str, str], list[int]] = {}
    for one in messages:
        header = one.verified.envelope.header
        if header.reference in known:
            raise one.fault("is there twice")
        known.add(header.reference)
        if about.subject is Subject.MESSAGE:
            if header.message_id != about.subject_id or len(messages) > 1:
                raise one.fault("is not the subject, or not alone")
        elif header.case is None or header.case.case_id != about.subject_id:
            raise one.fault("belongs to another case")
        else:
            sender = province_of(header.sender.node), header.sender.authority
            numbers.setdefault(sender, []).append(header.case.sequence)
    for (_, authority), found in numbers.items():
        if sorted(found) != list(range(1, len(found) + 1)):
            raise invalid(f"{authority}: numbers are missing or double: {sorted(found)[:20]}")


def _check_seal(seal: Seal, about: About, trust: TrustSet) -> None:
    record = trust.key(seal.key_id, about.node)
    if record is None or record.use is not KeyUse.EVIDENCE or record.owner != about.node:
        raise invalid(f"key {seal.key_id} is no evidence key of {about.node}")
    revoked = record.revoked_ms is not None and record.revoked_ms <= about.exported_ms
    early, late = record.not_before_ms - MAX_CLOCK_SKEW_MS, record.not_after_ms
    if revoked or not early <= about.exported_ms < late:
        raise invalid(f"key {seal.key_id} was not valid when the file was exported")
    if not record.key.verify(seal.signed_octets(record.key.suite), seal.signature):
        raise invalid("the file was changed after it was sealed")
