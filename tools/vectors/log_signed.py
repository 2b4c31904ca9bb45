"""Group log: signed heads (LG-5, LG-6)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from protocol.proof import Single
from protocol.reasons import Reason
from signing.keys import KeyUse
from signing.log import (
    Head,
    LogDigest,
    head_signed_octets,
    head_statement,
    view_digest,
    write_head,
)
from signing.suites import Suite
from tests.messages import NOW_MS, WUHAN, XIANGYANG, YEAR_MS
from tools.vectors.log import HOLDS, case, leaf_of, tree_of
from tools.vectors.samples import key_for, key_row, record_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from signing.trust import KeyRecord
    from tools.vectors.cases import Case, Json
from tools.vectors.samples import SteadyKey

LONE: Final = "A head is a statement for ever, by the one node and the one key that may make it."
HEAD_KEY: Final = key_for(KeyUse.HEAD, WUHAN)


def cases() -> Iterator[Case]:
    """Every case of the file."""
    yield from _heads()


def head(key: SteadyKey = HEAD_KEY, **changes: Any) -> Head:  # noqa: ANN401 - fields
    """A head of Wuhan's log of seven leaves."""
    held = LogDigest.of(key.suite)
    values: dict[str, Any] = {
        "node": WUHAN,
        "digest": held,
        "incarnation": 1,
        "size": 7,
        "root": tree_of([leaf_of(number) for number in range(7)], held).root,
        "instant_ms": NOW_MS,
        "view": view_digest(b""),
        "suite": key.suite,
        "key_id": key.public.key_id,
    }
    return Head(**values | changes)


def signed(unsigned: Head, key: SteadyKey = HEAD_KEY) -> bytes:
    """Its octets."""
    return write_head(unsigned, Single(key.sign(head_signed_octets(unsigned))))


def head_case(
    name: str,
    octets: bytes,
    what: str,
    what_zh: str,
    *,
    reason: Reason | None = None,
    records: Sequence[KeyRecord] = (),
    historic: bool = False,
    clause: str = "LG-6",
) -> Case:
    """A case about one head that Wuhan shows."""
    keys = [key_row(record) for record in records or [record_for(HEAD_KEY)]]
    result: dict[str, Json] = {"size": 7, "incarnation": 1}
    return case(
        f"head-{name}",
        what,
        what_zh,
        LONE if reason else HOLDS,
        clause,
        {"head.tbh": octets},
        reason=reason,
        inputs={"node": WUHAN, "keys": [*keys], **({"historic": True} if historic else {})},
        result={} if reason else result,
    )


def _heads() -> Iterator[Case]:
    for suite in Suite:
        key = key_for(KeyUse.HEAD, WUHAN, suite)
        yield head_case(
            suite.value,
            signed(head(key), key),
            f"A head in the suite {suite}.",
            f"套件 {suite} 的日志头。",
            records=[record_for(key)],
            clause="LG-5 LG-6",
        )
    good = signed(head())
    record = record_for(HEAD_KEY)
    cut_off = replace(record, revoked_ms=NOW_MS + 1)
    yield head_case(
        "before-revocation",
        good,
        "The head's key was revoked after its instant; taken historically.",
        "密钥在日志头时刻之后吊销；按历史核验。",
        records=[cut_off],
        historic=True,
    )
    yield from _bad_layouts(good)
    receipt = key_for(KeyUse.RECEIPT, WUHAN)
    other = key_for(KeyUse.HEAD, XIANGYANG)
    shown = signed(head(other), other)
    invalid = Reason.HEAD_INVALID
    rows: list[tuple[str, bytes, list[KeyRecord], Reason, str, str]] = [
        ("key-unknown", signed(head(other), other), [], Reason.KEY_UNKNOWN, "An unknown key.", ""),
        (
            "key-of-another-use",
            signed(head(receipt), receipt),
            [record_for(receipt)],
            invalid,
            "Signed with the node's key for receipts.",
            "以回执密钥签名。",
        ),
        (
            "key-of-another-node",
            shown,
            [replace(record_for(other), owner=XIANGYANG, node=WUHAN)],
            invalid,
            "Signed with another node's key.",
            "以另一节点的密钥签名。",
        ),
        (
            "of-another-node",
            signed(head(other, node=XIANGYANG), other),
            [record_for(other)],
            invalid,
            "Another node's head, shown as one's own.",
            "冒称他节点之日志头。",
        ),
        (
            "suite-of-another-key",
            signed(head(suite=Suite.ED25519)),
            [record],
            invalid,
            "It states another suite than its key is registered for.",
            "所称套件与登记不符。",
        ),
        ("revoked", good, [cut_off], invalid, "Its key is revoked by now.", "密钥现已吊销。"),
        (
            "not-valid-yet",
            good,
            [replace(record, not_before_ms=NOW_MS + YEAR_MS // 2)],
            invalid,
            "Its instant lies before its key's validity.",
            "时刻早于密钥有效期。",
        ),
        (
            "not-valid-any-more",
            good,
            [replace(record, not_after_ms=NOW_MS)],
            invalid,
            "Its instant is the first after its key's validity.",
            "时刻为密钥有效期后第一刻。",
        ),
        (
            "without-domain",
            write_head(head(), Single(HEAD_KEY.sign(head_statement(head())))),
            [record],
            invalid,
            "Signed without the domain.",
            "签名未含域标识。",
        ),
        (
            "signature-zero",
            write_head(head(), Single(bytes(64))),
            [record],
            invalid,
            "A signature of zeros.",
            "签名全为零。",
        ),
        (
            "size-changed",
            good[:23] + b"\x08" + good[24:],
            [record],
            invalid,
            "Another size than the one signed.",
            "规模在签名后被改。",
        ),
    ]
    for name, octets, records, reason, what, what_zh in rows:
        yield head_case(
            name,
            octets,
            what,
            what_zh or "密钥未登记。",
            reason=reason,
            records=records,
            clause="LG-6 TR-1" if reason is Reason.KEY_UNKNOWN else "LG-6",
        )
    yield head_case(
        "after-revocation",
        good,
        "Its key was revoked at its very instant; taken historically.",
        "密钥恰在日志头时刻吊销；按历史核验。",
        reason=invalid,
        records=[replace(record, revoked_ms=NOW_MS)],
        historic=True,
    )


def _bad_layouts(good: bytes) -> Iterator[Case]:
    rows: list[tuple[str, bytes, str, str]] = [
        ("cut", good[:-1], "An octet is missing.", "缺一字节。"),
        ("longer", good + b"\0", "An octet follows.", "多一字节。"),
        ("magic", b"TBH2" + good[4:], "Another magic.", "魔数不符。"),
        ("suite-0", good[:4] + b"\0" + good[5:], "A suite of 0.", "套件号为 0。"),
        ("digest-0", good[:5] + b"\0" + good[6:], "A digest of 0.", "摘要号为 0。"),
        ("digest-3", good[:5] + b"\3" + good[6:], "A digest after the last.", "摘要号在表外。"),
        ("node-0", good[:6] + b"042010" + good[12:], "A node id from 0.", "节点号以 0 开头。"),
        ("incarnation-0", good[:12] + bytes(4) + good[16:], "No incarnation.", "代号为 0。"),
        ("size-0", good[:16] + bytes(8) + good[24:], "No leaves.", "没有叶。"),
        (
            "size-too-large",
            good[:16] + (2**48 + 1).to_bytes(8) + good[24:],
            "More than 2⁴⁸ leaves.",
            "超过 2⁴⁸ 片叶。",
        ),
        ("proof-form-1", good[:128] + b"\1" + good[129:], "A proof of a batch.", "批量证明。"),
    ]
    for name, octets, what, what_zh in rows:
        yield head_case(name, octets, what, what_zh, reason=Reason.HEAD_INVALID, clause="LG-5 LG-6")
