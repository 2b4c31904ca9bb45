"""Group directory: what is fresh, and what goes together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from protocol.instants import format_instant
from protocol.limits import DEFAULT_GRACE_MS, MAX_CLOCK_SKEW_MS
from protocol.reasons import Reason
from routing.payload import digest_of
from tests.unit.routing.provinces import (
    DAY_MS,
    ISSUED_MS,
    named,
    pin,
    revocation,
    root_payload,
    sign,
    sign_root,
)
from tools.vectors.directory_sets import (
    HOLDS,
    HOUR_MS,
    NOW_MS,
    RECEIPT_KEY,
    ROOT,
    directory_case,
    hubei,
    issue,
    key,
    rotated,
    versions,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Case, Json

FROZEN: Final = "Whoever controls the wire could hold a node at yesterday's directory for ever."
MIXED: Final = "Good documents of different days, put together, say what nobody ever published."
_LATER_MS: Final = ISSUED_MS + 2 * DAY_MS


def cases() -> Iterator[Case]:
    """Every case of this file."""
    yield from _freshness()
    yield from _mixed()
    yield from _time()


def _freshness() -> Iterator[Case]:
    day: dict[str, Any] = {"expires_ms": ISSUED_MS + DAY_MS + 1}
    ahead = issue(after_ms=1000 * DAY_MS)[-1]
    yield directory_case(
        "freshness-of-the-future-beside",
        [*issue(), ahead],
        "A statement dated three years ahead lies beside the honest one.",
        "旁有一份注明三年之后的时效声明。",
        "A stolen freshness key could use all versions up.",
        clause="DI-8",
        asks=[versions("42", 1, 1, format_instant(ISSUED_MS), 0)],
    )
    edge_ms = NOW_MS - ISSUED_MS + MAX_CLOCK_SKEW_MS
    yield directory_case(
        "freshness-as-far-ahead-as-clocks-may-be",
        issue(after_ms=edge_ms),
        "A statement of exactly 300 000 ms after the verifier's clock.",
        "时效声明恰比本机时钟早 300 000 毫秒。",
        HOLDS,
        clause="DI-8",
        asks=[versions("42", 1, 1, format_instant(ISSUED_MS + edge_ms), 0)],
    )
    moment: dict[str, Any] = {"issued_ms": ISSUED_MS, "expires_ms": ISSUED_MS + HOUR_MS}
    twice = digest_of(revocation("42", RECEIPT_KEY))
    rows: list[tuple[str, list[bytes], Reason, str, str]] = [
        (
            "freshness-of-the-future",
            issue(after_ms=edge_ms + 1),
            Reason.CLOCK_SKEW,
            "The only statement is dated one millisecond more than 300 000 ms ahead.",
            "唯一的时效声明超前 300 001 毫秒。",
        ),
        (
            "freshness-for-more-than-a-day",
            issue(**day),
            Reason.DOCUMENT_INVALID,
            "A statement that lives a millisecond longer than a day.",
            "时效声明有效期超过一日一毫秒。",
        ),
        (
            "freshness-for-no-time",
            issue(expires_ms=ISSUED_MS),
            Reason.DOCUMENT_INVALID,
            "A statement that expires at the instant it was issued.",
            "时效声明签发即失效。",
        ),
        (
            "freshness-not-there",
            issue()[:-1],
            Reason.STALE_DIRECTORY,
            "No freshness statement at all.",
            "没有时效声明。",
        ),
        (
            "freshness-two-of-one-instant",
            [*issue(), issue(**moment)[-1]],
            Reason.DOCUMENT_INVALID,
            "Two statements of one instant.",
            "同一时刻两份时效声明。",
        ),
        (
            "freshness-names-a-revocation-twice",
            issue(revocations=(twice, twice)),
            Reason.DOCUMENT_INVALID,
            "A statement that names one revocation twice.",
            "时效声明两次点名同一吊销。",
        ),
        (
            "freshness-of-production",
            issue(environment="production"),
            Reason.ENVIRONMENT_MISMATCH,
            "A statement for production under a root for trial.",
            "试运行之根下的正式环境时效声明。",
        ),
    ]
    for name, documents, reason, what, what_zh in rows:
        clause = "DI-9" if name.endswith("production") else "DI-8"
        yield directory_case(name, documents, what, what_zh, FROZEN, clause=clause, reason=reason)


def _mixed() -> Iterator[Case]:
    taken = revocation("42", RECEIPT_KEY)
    named_one = issue(revocations=(digest_of(taken),))
    rows: list[tuple[str, list[bytes], Reason, str, str]] = [
        (
            "mixed-root",
            issue(hubei(2), roots=[ROOT, rotated()], root=named(ROOT)),
            Reason.DOCUMENT_INVALID,
            "A statement of before the change of keys, under the root of after it.",
            "换钥之前的时效声明配换钥之后的根。",
        ),
        (
            "mixed-directory",
            [ROOT, sign(hubei()), issue(hubei(2))[-1]],
            Reason.STALE_DIRECTORY,
            "Yesterday's directory with today's statement.",
            "昨日目录配今日时效声明。",
        ),
        (
            "mixed-version",
            issue(directory=named(sign(hubei()), 2)),
            Reason.DOCUMENT_INVALID,
            "The file that is named states another version.",
            "所点名文件的版本与所称不符。",
        ),
        (
            "revocation-withheld",
            named_one,
            Reason.STALE_DIRECTORY,
            "A revocation that the statement names is not there.",
            "时效声明点名的吊销不在场。",
        ),
        (
            "directory-withheld",
            [ROOT, issue()[-1]],
            Reason.STALE_DIRECTORY,
            "The directory that the statement names is not there.",
            "时效声明点名的目录不在场。",
        ),
    ]
    for name, documents, reason, what, what_zh in rows:
        yield directory_case(name, documents, what, what_zh, MIXED, clause="DI-7", reason=reason)


def _time() -> Iterator[Case]:
    files = issue()
    end_ms = ISSUED_MS + DAY_MS
    grace_ms = end_ms + DEFAULT_GRACE_MS
    standings: list[tuple[list[Json], Json]] = [
        (["standing", "42", format_instant(at_ms)], told)
        for at_ms, told in (
            (end_ms - 1, "fresh"),
            (end_ms, "grace"),
            (grace_ms - 1, "grace"),
            (grace_ms, "stale"),
        )
    ]
    yield directory_case(
        "grace",
        files,
        "The set in force has expired: its keys go on through the grace, and then all waits.",
        "在用集合已过期：宽限期内已知密钥继续有效，其后一律等待。",
        FROZEN,
        clause="DI-12",
        before=files,
        now_ms=_LATER_MS,
        asks=[*standings, key(None, grace_ms - 1), _stale(grace_ms)],
    )
    short = sign_root(root_payload("42", expires_ms=ISSUED_MS + HOUR_MS))
    rows: list[tuple[str, list[bytes], list[bytes], int, str, str]] = [
        (
            "expired-and-new",
            issue(hubei(2), after_ms=HOUR_MS),
            files,
            _LATER_MS,
            "Another set that has expired, after one that has.",
            "在用者过期之后，又一份已过期的集合。",
        ),
        (
            "expired-at-first",
            files,
            [],
            _LATER_MS,
            "The first set a node gets has expired.",
            "首次取得的集合已过期。",
        ),
        (
            "expired-directory",
            issue(hubei(expires_ms=ISSUED_MS + HOUR_MS)),
            [],
            NOW_MS,
            "A directory that has expired under a fresh statement.",
            "时效声明有效而目录已过期。",
        ),
        (
            "expired-root",
            issue(roots=[short]),
            [],
            NOW_MS,
            "A root that has expired under a fresh statement.",
            "时效声明有效而根已过期。",
        ),
    ]
    for name, documents, before, now_ms, what, what_zh in rows:
        yield directory_case(
            name,
            documents,
            what,
            what_zh,
            FROZEN,
            clause="DI-12",
            reason=Reason.STALE_DIRECTORY,
            before=before,
            now_ms=now_ms,
            pins=[pin(short)] if name == "expired-root" else (),
        )


def _stale(at_ms: int) -> tuple[list[Json], Json]:
    question, _ = key(None, at_ms)
    return question, "stale-directory"
