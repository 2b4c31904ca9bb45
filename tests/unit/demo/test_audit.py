"""The demo's audit finds what it is there to find: each test spoils one thing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from examples.demo.audit import End, Findings, Held, Stores, audit
from protocol.envelope import MessageReference
from protocol.errors import RefusedError
from protocol.reasons import Reason
from protocol.receipt import ReceiptType
from signing.keys import KeyUse
from signing.receipts import draft_receipt, sign_receipt
from signing.trust import KeyRecord, TrustSet
from tests.sim.keyring import Keyring

if TYPE_CHECKING:
    from collections.abc import Iterable

WINDOW, OFFICE = "420100", "420600"
CLERK, OFFICER = "12420100TB0100010J", "12420600TB060004X6"
CASE = "01a2042b-0ad3-713d-9f42-b91ba18567ac"
NOW_MS = 1_795_300_000_000

KEYS = Keyring()


def record(node: str) -> KeyRecord:
    key = KEYS.add(KeyUse.RECEIPT, node)
    return KeyRecord(key, KeyUse.RECEIPT, node, node, 0, 2 * NOW_MS, None)


TRUST = TrustSet.of([record(WINDOW), record(OFFICE)], version=1)


def receipt(
    held: Held, issuer: str, kind: ReceiptType = ReceiptType.RECEIVED, **changes: Any
) -> bytes:
    refusal = RefusedError(Reason.ITEM_NOT_SERVED) if kind is ReceiptType.REFUSED else None
    key = KEYS.public(KEYS.find(KeyUse.RECEIPT, issuer))
    drafted = draft_receipt(
        kind,
        issuer,
        key,
        held.envelope,
        NOW_MS,
        reference=MessageReference(held.authority, held.message_id),
        message_digest=held.message_digest,
        refusal=refusal,
    )
    return sign_receipt(replace(drafted, **changes), KEYS)


def sent(number: int, kind: str, *, back: bool = False) -> Held:
    """A message of the window, or back from the office, received."""
    here, there, author = (OFFICE, WINDOW, OFFICER) if back else (WINDOW, OFFICE, CLERK)
    held = Held(
        node=here,
        authority=author,
        message_id=f"01a2042b-0ad3-713d-9f42-{number:012}",
        role="out",
        kind=kind,
        case_id=CASE,
        sequence=number,
        to_node=there,
        message_digest=bytes([number]) * 32,
        envelope=b"envelope %d" % number,
        standing="received",
        receipt=None,
        path=here,
    )
    return replace(held, receipt=receipt(held, there))


SUBMIT = sent(1, "case.submit")
DELIVER = sent(2, "case.deliver", back=True)


def arrived(held: Held, **changes: Any) -> Held:
    return replace(held, node=held.to_node, role="in", **changes)


def ends(collect: str = "delivered", handle: str = "delivered") -> tuple[End, ...]:
    return End(WINDOW, CASE, "collect", collect), End(OFFICE, CASE, "handle", handle)


def stores(
    messages: Iterable[Held] = (SUBMIT, arrived(SUBMIT), DELIVER, arrived(DELIVER)),
    inbox: Iterable[Held] = (SUBMIT, DELIVER),
    views: tuple[End, ...] = ends(),
) -> Stores:
    entries = ((held.to_node, held.authority, held.message_id) for held in inbox)
    return Stores(tuple(messages), views, Counter(entries))


def found(held: Stores, promised: Iterable[str] = (SUBMIT.message_id,)) -> Findings:
    return audit(held, promised, TRUST)


def test_a_clean_federation_is_clean() -> None:
    findings = found(stores())
    assert findings.clean
    assert (findings.messages, findings.receipts, findings.settled) == (2, 2, 1)


def test_a_refused_submission_is_neither_lost_nor_settled() -> None:
    refused = replace(
        SUBMIT, standing="refused", receipt=receipt(SUBMIT, OFFICE, ReceiptType.REFUSED)
    )
    findings = found(
        stores([refused, arrived(refused)], [], (End(WINDOW, CASE, "collect", "new"),))
    )
    assert findings.clean
    assert findings.refused == {CASE}
    assert findings.settled == 0


@pytest.mark.parametrize(
    "spoilt",
    [
        stores([SUBMIT, DELIVER, arrived(DELIVER)]),
        stores([SUBMIT, arrived(SUBMIT, message_digest=bytes(32)), DELIVER, arrived(DELIVER)]),
        stores(inbox=[SUBMIT]),
        stores([DELIVER, arrived(DELIVER)]),
    ],
    ids=["not-at-its-destination", "other-content-there", "not-in-the-inbox", "promise-broken"],
)
def test_what_is_lost_is_found(spoilt: Stores) -> None:
    findings = found(spoilt)
    assert findings.lost
    assert not findings.clean


COPY = replace(SUBMIT, message_id=SUBMIT.message_id[:-1] + "9")


@pytest.mark.parametrize(
    "spoilt",
    [
        stores([SUBMIT, arrived(SUBMIT), arrived(SUBMIT), DELIVER, arrived(DELIVER)]),
        stores([SUBMIT, arrived(SUBMIT), arrived(COPY), DELIVER, arrived(DELIVER)]),
        stores(inbox=[SUBMIT, SUBMIT, DELIVER]),
        stores(
            [
                *(SUBMIT, arrived(SUBMIT), DELIVER, arrived(DELIVER)),
                arrived(replace(SUBMIT, message_digest=bytes(32))),
            ]
        ),
    ],
    ids=["recorded-twice", "under-another-id", "twice-in-the-inbox", "number-given-twice"],
)
def test_what_is_doubled_is_found(spoilt: Stores) -> None:
    findings = found(spoilt)
    assert findings.duplicated
    assert not findings.clean


def with_receipt(octets: bytes | None) -> Stores:
    held = replace(SUBMIT, receipt=octets)
    return stores([held, arrived(SUBMIT), DELIVER, arrived(DELIVER)])


@pytest.mark.parametrize(
    "spoilt",
    [
        with_receipt(None),
        with_receipt(DELIVER.receipt),
        with_receipt(receipt(SUBMIT, WINDOW)),
        with_receipt(receipt(SUBMIT, OFFICE, ReceiptType.CUSTODY)),
        with_receipt((SUBMIT.receipt or b"")[:-1] + b"\x00"),
        stores(views=ends("decided", "delivered")),
        stores(views=ends("decided", "decided")),
        stores(views=ends()[:1]),
    ],
    ids=[
        "no-receipt",
        "of-another-message",
        "of-another-node",
        "custody-only",
        "signature-broken",
        "ends-differ",
        "not-over",
        "one-end-only",
    ],
)
def test_what_is_not_settled_is_found(spoilt: Stores) -> None:
    findings = found(spoilt)
    assert findings.unsettled
    assert findings.settled == 0
    assert not findings.clean
