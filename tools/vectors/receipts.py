"""Group receipt: the fixed layout, whose key it is, and what the receipt is about.

The layout is written out here once more; every bent receipt is signed as it stands.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from protocol.envelope import write_content
from protocol.identifiers import uuid_octets
from protocol.reasons import Reason
from signing.keys import KeyUse
from signing.suites import Suite, digest
from tests.messages import (
    HUB,
    NOW_MS,
    WUHAN,
    XIANGYANG,
    authority_of,
    message_id,
)
from tools.vectors.cases import Case
from tools.vectors.samples import GOOD, directory, key_for, message, record_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from signing.trust import KeyRecord
    from tools.vectors.cases import Json
    from tools.vectors.samples import SteadyKey

CUSTODY, RECEIVED, REFUSED = 1, 2, 3
KEY: Final = key_for(KeyUse.RECEIPT, XIANGYANG)
RECORD: Final = record_for(KEY)
NUMBERS: Final = {Suite.SM2_SM3: 1, Suite.P256: 2, Suite.ED25519: 3}
DOMAIN: Final = b"TONGBAN-RECEIPT-1\x00"
ABOUT: Final = message()
DIGEST: Final = digest(Suite.P256, write_content(ABOUT))

OTHER: Final = "A receipt ends exactly the message it names, or the very octets it refuses."


@dataclass(frozen=True, slots=True)
class Layout:
    """The fields of a receipt as octets or numbers; nothing is checked."""

    magic: bytes = b"TBR1"
    type: int = RECEIVED
    suite: int = 2
    reason: int = 0
    issuer: bytes = XIANGYANG.encode()
    authority: bytes = authority_of(WUHAN).encode()
    message: bytes = uuid_octets(message_id(1))
    message_digest: bytes = DIGEST
    octets_digest: bytes = digest(Suite.P256, GOOD.encode())
    instant_ms: int = NOW_MS
    key_id: str = KEY.public.key_id
    detail: bytes = b""
    length: int | None = None

    def statement(self) -> bytes:
        """The octets before the proof."""
        fixed = struct.pack(
            ">4sBBH6s18s16s32s32sQ32sB",
            self.magic,
            self.type,
            self.suite,
            self.reason,
            self.issuer,
            self.authority,
            self.message,
            self.message_digest,
            self.octets_digest,
            self.instant_ms,
            base64.urlsafe_b64decode(self.key_id + "="),
            len(self.detail) if self.length is None else self.length,
        )
        return fixed + self.detail

    def signed(self, key: SteadyKey = KEY, domain: bytes = DOMAIN) -> bytes:
        """With a single signature."""
        return self.statement() + b"\0" + key.sign(domain + self.statement())


def cases() -> Iterator[Case]:
    """Every case that is valid, or about something else."""
    yield from _good()
    yield from _about()


def _good() -> Iterator[Case]:
    custody = Layout(type=CUSTODY, issuer=HUB.encode())
    hub_key = key_for(KeyUse.RECEIPT, HUB)
    custody = replace(custody, key_id=hub_key.public.key_id)
    refused = Layout(type=REFUSED, reason=Reason.WRONG_STATE.number, detail="办件已办结".encode())
    yield _valid(
        "custody",
        custody.signed(hub_key),
        "A hub's custody.",
        "枢纽托管。",
        [record_for(hub_key)],
        type="custody",
        issuer=HUB,
    )
    yield _valid(
        "received",
        Layout().signed(),
        "The destination's receipt.",
        "目的地签收。",
        type="received",
        messageId=message_id(1),
        authority=authority_of(WUHAN),
    )
    yield _valid(
        "refused",
        refused.signed(),
        "The destination's refusal, with a detail.",
        "目的地拒收，附说明。",
        type="refused",
        reason="wrong-state",
        detail="办件已办结",
    )
    yield _valid(
        "refused-blank",
        blank().signed(),
        "A refusal of octets that were never authenticated: it names nothing.",
        "拒收从未核验过的字节：不指名。",
        type="refused",
        reason="not-canonical",
        messageId=None,
    )
    yield _valid(
        "detail-200",
        replace(refused, detail=b"x" * 200).signed(),
        "A detail of 200 octets, the most there may be.",
        "说明 200 字节，即上限。",
        detail="x" * 200,
    )
    for suite in (Suite.SM2_SM3, Suite.ED25519):
        key = key_for(KeyUse.RECEIPT, XIANGYANG, suite)
        of_suite = Layout(
            suite=NUMBERS[suite],
            key_id=key.public.key_id,
            octets_digest=digest(suite, GOOD.encode()),
        )
        yield _valid(
            f"received-{suite.value}",
            of_suite.signed(key),
            f"A receipt of the suite {suite}.",
            f"套件 {suite} 的回执。",
            [record_for(key)],
            type="received",
        )
    late = replace(RECORD, revoked_ms=NOW_MS + 1)
    yield _valid(
        "historic",
        Layout().signed(),
        "In evidence: given the instant before its key was revoked.",
        "存证核验：签发于密钥吊销前一刻。",
        [late],
        historic=True,
        type="received",
    )


def blank() -> Layout:
    """A refusal that names nothing."""
    return Layout(
        type=REFUSED,
        reason=Reason.NOT_CANONICAL.number,
        authority=bytes(18),
        message=bytes(16),
        message_digest=bytes(32),
    )


def _about() -> Iterator[Case]:
    """Good receipts held against a message: envelope.xml."""
    envelope = GOOD.encode()
    altered = envelope.replace(b'node="420600"', b'node="420601"')
    for name, layout, reason, what, what_zh in (
        ("about-it", Layout(), None, "The receipt is about this message.", "回执所指即此报文。"),
        (
            "about-it-blank",
            blank(),
            None,
            "The refusal is of these very octets.",
            "拒收的正是这些字节。",
        ),
        (
            "about-another",
            Layout(message=uuid_octets(message_id(2))),
            Reason.RECEIPT_UNKNOWN,
            "The receipt is about another message.",
            "回执所指为另一报文。",
        ),
        (
            "about-another-sender",
            Layout(authority=authority_of(HUB).encode()),
            Reason.RECEIPT_UNKNOWN,
            "The receipt is about another sender's message of that id.",
            "回执所指为另一机关的同号报文。",
        ),
        (
            "about-other-content",
            Layout(message_digest=bytes(31) + b"\1"),
            Reason.RECEIPT_UNKNOWN,
            "The receipt is about other content under this id.",
            "回执所指为同号异文。",
        ),
        (
            "about-altered-octets",
            replace(blank(), octets_digest=digest(Suite.P256, altered)),
            Reason.RECEIPT_UNKNOWN,
            "The refusal is of octets that a forwarder altered.",
            "拒收的是转送途中被改动的字节。",
        ),
    ):
        about: dict[str, Json] = {
            "authority": authority_of(WUHAN),
            "messageId": message_id(1),
            "messageDigest": DIGEST.hex(),
        }
        yield Case(
            "receipt",
            name,
            what,
            what_zh,
            OTHER,
            "RC-14",
            {"receipt.tbr": layout.signed(), "envelope.xml": envelope},
            expect=reason,
            inputs={**directory([RECORD]), "about": about},
        )


def _valid(
    name: str,
    octets: bytes,
    what: str,
    what_zh: str,
    records: Sequence[KeyRecord] = (RECORD,),
    *,
    historic: bool = False,
    **result: Json,
) -> Case:
    why = "A verifier that refuses everything would pass the others."
    given: dict[str, Json] = {**directory(records), **({"historic": True} if historic else {})}
    return Case(
        "receipt",
        name,
        what,
        what_zh,
        why,
        "RC-5 RC-10",
        {"receipt.tbr": octets},
        inputs=given,
        result=result,
    )
