"""Group parts: octets held against the lines of a signed manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.reasons import Reason
from signing.keys import KeyUse
from signing.suites import Suite, digest
from tests.messages import SCAN, WUHAN, part, signed_by_sender
from tools.vectors.cases import Case
from tools.vectors.samples import BODY, directory, key_for, keys, message, record_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WHY: Final = (
    "Whoever carried the part may have damaged it: the message is not refused for it, the part is "
    "asked for again."
)


def cases() -> Iterator[Case]:
    """Every case of the group."""
    for suite in Suite:
        yield _case(
            f"good-{suite.value}",
            {"body": BODY, "m1": SCAN},
            "Both parts as listed.",
            "两个部件均与清单相符。",
            suite=suite,
        )
    yield _case(
        "empty",
        {"body": BODY, "m1": b""},
        "A part of no octets, listed as such.",
        "部件为空，清单亦如此。",
        listed={"body": BODY, "m1": b""},
    )
    yield _case("some", {"m1": SCAN}, "Only one of two parts is at hand.", "两个部件只有一个在手。")
    rows: list[tuple[str, dict[str, bytes], str, str]] = [
        ("octet-missing", {"m1": SCAN[:-1]}, "The last octet is missing.", "缺最后一字节。"),
        ("octet-after", {"m1": SCAN + b"\0"}, "An octet follows.", "其后多一字节。"),
        (
            "bit-flipped",
            {"m1": bytes([SCAN[0] ^ 1]) + SCAN[1:]},
            "A bit is flipped.",
            "一比特翻转。",
        ),
        (
            "emptied",
            {"m1": b""},
            "Nothing came where eleven octets are listed.",
            "清单列有十一字节，实际为空。",
        ),
        ("swapped", {"body": SCAN, "m1": BODY}, "The two parts are swapped.", "两个部件互换。"),
        (
            "line-ends",
            {"body": BODY + b"\r\n"},
            "A line end was added on the way.",
            "途中添加了换行。",
        ),
    ]
    for name, parts, what, what_zh in rows:
        yield _case(name, parts, what, what_zh, reason=Reason.PART_MISMATCH)
    yield _case(
        "digest-of-another-suite",
        {"body": BODY, "m1": SCAN},
        "The manifest of a message of sm2-sm3 lists SHA-256 digests.",
        "sm2-sm3 报文的清单列的是 SHA-256 摘要。",
        reason=Reason.PART_MISMATCH,
        suite=Suite.SM2_SM3,
        digested=Suite.P256,
    )


def _case(
    name: str,
    parts: Mapping[str, bytes],
    what: str,
    what_zh: str,
    *,
    reason: Reason | None = None,
    suite: Suite = Suite.P256,
    digested: Suite | None = None,
    listed: Mapping[str, bytes] | None = None,
) -> Case:
    unsigned = message(suite, parts=listed or {"body": BODY, "m1": SCAN})
    if digested is not None:
        rows = tuple(
            part(row.part_id, octets, suite, digest=digest(digested, octets))
            for row, octets in zip(unsigned.parts, (BODY, SCAN), strict=True)
        )
        unsigned = type(unsigned)(unsigned.environment, unsigned.header, rows)
    files = {f"parts/{part_id}": octets for part_id, octets in parts.items()}
    return Case(
        "parts",
        name,
        what,
        what_zh,
        WHY,
        "PA-4" if reason is None else "PA-2 PA-4",
        {"envelope.xml": signed_by_sender(unsigned, keys(suite)), **files},
        expect=reason,
        inputs={
            "environment": "trial",
            **directory([record_for(key_for(KeyUse.ENVELOPE, WUHAN, suite))]),
        },
        result={} if reason else {"parts": [*sorted(parts)]},
    )
