"""Group batch: one signature for many messages, each still verifiable alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from protocol.envelope import write_content
from protocol.proof import Single
from protocol.reasons import Reason
from protocol.receipt import ReceiptType, receipt_signed_octets, receipt_statement
from signing.keys import KeyUse
from signing.profile import MERKLE_URI, SIGNATURE_URI, attach, signed_info
from signing.receipts import draft_receipt
from signing.suites import Suite, digest
from tests.messages import NOW_MS, WUHAN, XIANGYANG, signed_by_sender
from tools.vectors.cases import Case
from tools.vectors.samples import (
    BODY,
    base64_of,
    directory,
    edited,
    envelope_case,
    key_for,
    keys,
    message,
    record_for,
)
from tools.vectors.trees import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocol.envelope import Envelope
    from tools.vectors.samples import SteadyKey

BOUND: Final = (
    "What the signature covers has to say all that a verifier relies on, or a proof made for one "
    "thing serves for another."
)


def cases() -> Iterator[Case]:
    """Every case of the group."""
    yield from _good_envelopes()
    yield from _good_receipts()


# --- envelopes


def envelope_with(value: bytes, held: Envelope, suite: Suite, *, uri: str | None = None) -> bytes:
    """The message under a batch's SignatureMethod (or another) and any SignatureValue."""
    content = write_content(held)
    stated = digest(suite, content)
    alone = attach(content, suite, stated, Single(bytes(64))).decode()
    method = (SIGNATURE_URI[suite], uri or MERKLE_URI[suite])
    return edited(method, (base64_of(bytes(64)), base64_of(value)), text=alone).encode()


def leaf_of(held: Envelope, suite: Suite) -> bytes:
    """The octets of its leaf: SignedInfo with the batch's SignatureMethod."""
    return signed_info(suite, digest(suite, write_content(held)), batched=True)


def batched(batch: Batch, held: Envelope | None = None) -> bytes:
    """The good message, or another, as the leaf of this batch."""
    suite = batch.key.suite
    held = held or message(suite)
    return envelope_with(batch.proof(leaf_of(held, suite)), held, suite)


def sender_key(suite: Suite = Suite.P256) -> SteadyKey:
    """Who signs the good message."""
    return key_for(KeyUse.ENVELOPE, WUHAN, suite)


def _good_envelopes() -> Iterator[Case]:
    places = [(2, 0), (2, 1), (3, 2), (5, 4), (7, 3), (4095, 4094), (4096, 0), (4096, 4095)]
    for size, index in places:
        yield envelope_case(
            "batch",
            f"envelope-{index}-of-{size}",
            batched(Batch(sender_key(), index, size)),
            f"Leaf {index} of a batch of {size}.",
            f"批量共 {size} 份中的第 {index} 叶。",
            "The path has another length at the right edge; the bounds themselves are allowed.",
            clause="BP-1 BP-2 BP-3",
            result={"kind": "case.submit"},
        )
    for suite in (Suite.SM2_SM3, Suite.ED25519):
        batch = Batch(sender_key(suite), 2, 6)
        leaf = leaf_of(message(suite), suite)
        yield envelope_case(
            "batch",
            f"envelope-{suite.value}",
            batched(batch),
            f"A batch of the suite {suite}, with the octets on the way.",
            f"套件 {suite} 的批量签名，并附各步字节。",
            "The tree is hashed with the suite's digest.",
            clause="BP-1 BP-2",
            records=[record_for(batch.key)],
            more_files={"signed-info.xml": leaf, "signed.bin": batch.signed(leaf)},
            result={"suite": suite.value},
        )
    ping_key = key_for(KeyUse.PING, WUHAN)
    sender = replace(message().header.sender, key=ping_key.public.key_id)
    ping = message(kind="ping", case=None, sender=sender, parts={"body": BODY})
    yield envelope_case(
        "batch",
        "envelope-ping",
        batched(Batch(ping_key, 0, 2, purpose="ping"), ping),
        "A ping in a batch of pings.",
        "连通测试的批量签名。",
        "The purpose is the key's use.",
        clause="BP-2",
        records=[record_for(ping_key)],
        result={"kind": "ping"},
    )


# --- receipts


def _good_receipts() -> Iterator[Case]:
    key = key_for(KeyUse.RECEIPT, XIANGYANG)
    held = message()
    content = digest(Suite.P256, write_content(held))
    receipt = draft_receipt(
        ReceiptType.RECEIVED,
        XIANGYANG,
        key.public,
        signed_by_sender(held, keys()),
        NOW_MS,
        reference=held.header.reference,
        message_digest=content,
    )
    leaf = receipt_signed_octets(receipt)
    for name, purpose, reason, what, what_zh in (
        ("", "receipt", None, "A receipt in a batch of receipts.", "回执的批量签名。"),
        (
            "-purpose-envelope",
            "envelope",
            Reason.RECEIPT_INVALID,
            "A receipt in a batch of envelopes.",
            "混入报文批量的回执。",
        ),
    ):
        proof = Batch(key, 3, 5, purpose=purpose).proof(leaf)
        yield Case(
            "batch",
            f"receipt{name}",
            what,
            what_zh,
            BOUND,
            "BP-1 BP-2",
            {"receipt.tbr": receipt_statement(receipt) + proof},
            expect=reason,
            stage=None if reason is None else "signature",
            inputs=directory([record_for(key)]),
            result={} if reason else {"type": "received", "issuer": XIANGYANG},
        )
