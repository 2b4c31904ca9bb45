"""Group directory: sets that go back behind the last, and keys taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from protocol.instants import format_instant
from protocol.reasons import Reason
from routing.directory_roles import RevokedKey
from tests.unit.routing.provinces import (
    ISSUED_MS,
    make_key,
    named,
    node,
    province,
    revocation,
)
from tests.unit.routing.services import item, items_of
from tools.vectors.directory_sets import (
    DIRECTORY_KEYS,
    HOLDS,
    HOUR_MS,
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

NEW_KEYS: Final = [make_key(f"new {number}") for number in range(3)]
FROZEN: Final = "Whoever controls the wire could hold a node at yesterday's directory for ever."
BACK: Final = "An old set brings back keys that were taken back since."
TAKEN_BACK: Final = "Taking a stolen key back must not wait for a directory, nor be undone by one."


def cases() -> Iterator[Case]:
    """Every case of this file."""
    yield from _going_back()
    yield from _taken_back()


def _going_back() -> Iterator[Case]:
    new = issue(hubei(2), after_ms=HOUR_MS)
    again = [versions("42", 1, 2, format_instant(ISSUED_MS + 2 * HOUR_MS), 0)]
    yield directory_case(
        "newer-after-older",
        issue(hubei(2), after_ms=2 * HOUR_MS),
        "Version 2 after version 1.",
        "第 1 版之后第 2 版。",
        HOLDS,
        clause="DI-11",
        before=issue(),
        asks=again,
    )
    yield directory_case(
        "same-again",
        new,
        "The very set that is in force already.",
        "与在用者完全相同的集合。",
        HOLDS,
        clause="DI-11",
        before=new,
    )
    second = rotated()
    rows: list[tuple[str, list[bytes], list[bytes], str, str, Reason]] = [
        (
            "rollback",
            issue(),
            new,
            "Yesterday's set after today's.",
            "今日之后出示昨日的集合。",
            Reason.DOCUMENT_INVALID,
        ),
        (
            "rollback-of-the-directory",
            issue(after_ms=2 * HOUR_MS),
            new,
            "A new statement that names the older directory.",
            "新时效声明点名旧目录。",
            Reason.DOCUMENT_INVALID,
        ),
        (
            "rollback-of-freshness",
            issue(hubei(2)),
            new,
            "The same directory under an older statement.",
            "同一目录，更旧的时效声明。",
            Reason.DOCUMENT_INVALID,
        ),
        (
            "rollback-of-the-root",
            issue(after_ms=HOUR_MS),
            issue(roots=[ROOT, second]),
            "The second root is withheld after it was in force.",
            "第 2 版根生效之后被隐去。",
            Reason.DOCUMENT_INVALID,
        ),
        (
            "split-directory",
            issue(hubei(1, name="另一内容"), after_ms=HOUR_MS),
            issue(),
            "Another content under the version in force.",
            "同一版本另一内容。",
            Reason.DOCUMENT_INVALID,
        ),
        (
            "split-root",
            issue(roots=[ROOT, rotated(name="另一内容")], after_ms=HOUR_MS),
            issue(roots=[ROOT, second]),
            "Another second root than the one in force.",
            "与在用者不同的第 2 版根。",
            Reason.DOCUMENT_INVALID,
        ),
    ]
    for name, documents, before, what, what_zh, reason in rows:
        yield directory_case(
            name, documents, what, what_zh, BACK, clause="DI-11", reason=reason, before=before
        )
    yield from _items_back()
    yield from _begun_anew()


def _items_back() -> Iterator[Case]:
    newer, older = (items_of("42", item(), version=version).octets for version in (2, 1))
    before = [*issue(items=named(newer, 2)), newer]
    later: list[tuple[str, list[bytes], str, str]] = [
        (
            "rollback-of-the-items",
            [*issue(after_ms=HOUR_MS, items=named(older)), older],
            "A new statement that names older items.",
            "新时效声明点名旧事项目录。",
        ),
        (
            "items-gone",
            issue(after_ms=HOUR_MS),
            "A new statement without items, where there were some.",
            "新时效声明不再点名事项目录。",
        ),
    ]
    for name, documents, what, what_zh in later:
        yield directory_case(
            name,
            documents,
            what,
            what_zh,
            BACK,
            clause="DI-11",
            reason=Reason.DOCUMENT_INVALID,
            before=before,
        )


def _begun_anew() -> Iterator[Case]:
    kept = DIRECTORY_KEYS[1:]
    anew = rotated(directory=[*kept, NEW_KEYS[0]])
    used_up = issue(hubei(2**53 - 1))
    yield directory_case(
        "fast-forward",
        issue(hubei(2), after_ms=HOUR_MS),
        "Version 2 after the largest version there is.",
        "最大版本号之后第 2 版。",
        BACK,
        clause="DI-11",
        reason=Reason.DOCUMENT_INVALID,
        before=used_up,
    )
    yield directory_case(
        "fast-forward-undone",
        issue(hubei(2), roots=[ROOT, anew], signers=kept, after_ms=HOUR_MS),
        "The same, but a root has taken a key out of the role that signs directories.",
        "同上，但新根已移除一把目录密钥。",
        "A stolen key that ran ahead in versions is undone by removing it.",
        clause="DI-11",
        before=used_up,
        asks=[versions("42", 2, 2, format_instant(ISSUED_MS + HOUR_MS), 0)],
    )
    fresh = rotated(freshness=[NEW_KEYS[0]])
    yield directory_case(
        "freshness-key-replaced",
        issue(roots=[ROOT, fresh], fresh_by=NEW_KEYS[0]),
        "A root has replaced the freshness key: its first statement may be older.",
        "新根更换时效密钥，其首份声明可以更旧。",
        "A stolen freshness key that ran ahead is undone by removing it.",
        clause="DI-11",
        before=issue(after_ms=HOUR_MS),
        asks=[versions("42", 2, 1, format_instant(ISSUED_MS), 0)],
    )
    yield directory_case(
        "freshness-by-the-key-removed",
        issue(roots=[ROOT, fresh], after_ms=HOUR_MS),
        "A statement by the freshness key that the newest root has removed.",
        "由已被移除的时效密钥签发的声明。",
        FROZEN,
        clause="DI-6 DI-8",
        reason=Reason.DOCUMENT_SIGNATURE,
    )


def _taken_back() -> Iterator[Case]:
    taken = revocation("42", RECEIPT_KEY)
    listed = hubei().nodes[0].certificate_digest.hex()
    cut = revocation("42", certificates=(listed,))
    forged = revocation("42", RECEIPT_KEY, signer=make_key("stranger"))
    ahead = revocation("42", RECEIPT_KEY, issued_ms=ISSUED_MS - 1)
    production = revocation("42", RECEIPT_KEY, environment="production")
    early, late = (
        revocation(
            "42",
            issued_ms=ISSUED_MS + at_ms,
            keys=(RevokedKey(id=RECEIPT_KEY.id, revoked_ms=ISSUED_MS + at_ms),),
        )
        for at_ms in (1, 2)
    )
    rows: list[tuple[str, list[bytes], list[tuple[list[Json], Json]], str, str]] = [
        (
            "revocation-at-once",
            issue(more=[taken]),
            [key(ISSUED_MS)],
            "A revocation by one directory key, which no statement names yet.",
            "一名保管人签署、尚无声明点名的吊销。",
        ),
        (
            "revocation-earliest",
            issue(more=[early, late]),
            [key(ISSUED_MS + 1)],
            "Two revocations of one key: the earlier instant counts.",
            "同一密钥两份吊销，以较早时刻为准。",
        ),
        (
            "revocation-of-a-certificate",
            issue(_circle(), more=[cut]),
            [(["linked", "420100", "420700"], False), (["linked", "420700", "420300"], True)],
            "A certificate was taken back: its node is linked with nobody.",
            "证书被吊销，该节点与任何节点均不相连。",
        ),
        (
            "revocation-forged",
            issue(more=[forged]),
            [key(None)],
            "A revocation by nobody: it takes nothing, and hinders nothing.",
            "无权者签署的吊销：既不生效，也不妨碍。",
        ),
        (
            "revocation-of-after-its-issue",
            issue(more=[ahead]),
            [key(None)],
            "A revocation from an instant after its own: it counts for nothing.",
            "吊销时刻晚于签发时刻：不予认可。",
        ),
        (
            "revocation-of-production",
            issue(more=[production]),
            [key(None)],
            "A revocation of the other environment counts for nothing.",
            "另一环境的吊销不予认可。",
        ),
    ]
    for name, documents, asks, what, what_zh in rows:
        clause = "DI-9 DI-10" if name.endswith("production") else "DI-10"
        yield directory_case(name, documents, what, what_zh, TAKEN_BACK, clause=clause, asks=asks)
    yield from _comes_back(taken, cut)


def _comes_back(taken: bytes, cut: bytes) -> Iterator[Case]:
    later = RECEIPT_KEY.model_copy(update={"revoked_ms": ISSUED_MS + HOUR_MS})
    same = RECEIPT_KEY.model_copy(update={"revoked_ms": ISSUED_MS})
    yield directory_case(
        "revocation-absorbed",
        issue(hubei(2, keys=(same,)), after_ms=HOUR_MS),
        "The next directory says what the revocation said, which is gone.",
        "下一版目录已载明该吊销，吊销声明不再需要。",
        TAKEN_BACK,
        clause="DI-10 DI-11",
        before=issue(more=[taken]),
        asks=[key(ISSUED_MS)],
    )
    kept = DIRECTORY_KEYS[1:]
    second = rotated(directory=[*kept, NEW_KEYS[0]])
    yield directory_case(
        "revocation-undone-by-a-root",
        issue(hubei(2), roots=[ROOT, second], signers=kept, more=[taken], after_ms=HOUR_MS),
        "A root has removed the directory key that revoked out of spite.",
        "新根移除了恶意吊销者的密钥。",
        TAKEN_BACK,
        clause="DI-10 DI-11",
        before=issue(more=[taken]),
        asks=[key(None)],
    )
    rows: list[tuple[str, list[bytes], bytes, str, str]] = [
        (
            "revocation-dropped",
            issue(after_ms=HOUR_MS),
            taken,
            "The revocation is gone, and the directory does not say it.",
            "吊销声明消失而目录未载明。",
        ),
        (
            "revocation-later",
            issue(hubei(2, keys=(later,)), after_ms=HOUR_MS),
            taken,
            "The next directory dates the revocation later.",
            "下一版目录把吊销时刻推后。",
        ),
        (
            "certificate-comes-back",
            issue(hubei(2), after_ms=HOUR_MS),
            cut,
            "A certificate that was taken back is listed again.",
            "已吊销的证书再次列出。",
        ),
    ]
    for name, documents, revoked, what, what_zh in rows:
        yield directory_case(
            name,
            documents,
            what,
            what_zh,
            TAKEN_BACK,
            clause="DI-11",
            reason=Reason.DOCUMENT_INVALID,
            before=issue(more=[revoked]),
        )


def _circle() -> Any:  # noqa: ANN401 - a payload
    nodes = [node("420100"), node("420700"), node("420300")]
    circles = {"都市圈": ("420100", "420300", "420700")}
    return province("42", nodes, circles=circles)
