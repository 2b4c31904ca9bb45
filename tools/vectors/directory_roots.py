"""Group directory: the chain of roots, and roots that break their own rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from protocol.instants import format_instant
from protocol.reasons import Reason
from tests.unit.routing.provinces import (
    ISSUED_MS,
    make_key,
    named,
    pin,
    role,
    role_keys,
    root_payload,
    sign_root,
)
from tools.vectors.directory_sets import (
    HOUR_MS,
    ROOT,
    ROOT_KEYS,
    directory_case,
    issue,
    rotated,
    versions,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Case

NEW_KEYS: Final = [make_key(f"new {number}") for number in range(3)]
THRESHOLD: Final = "One stolen key must not make a directory, nor a root."
CHAIN: Final = "Roots change hands only from the old holders to the new, one step at a time."
ONE_ENVIRONMENT: Final = "A rehearsal must never become a case, nor prove one."


def cases() -> Iterator[Case]:
    """Every case of this file."""
    yield from _roots()


def _roots() -> Iterator[Case]:
    second = rotated(root=[*ROOT_KEYS[:2], NEW_KEYS[0]])
    held = [*ROOT_KEYS[:2], NEW_KEYS[0]]
    third = sign_root(root_payload("42", root=held, version=3), ROOT_KEYS[0], NEW_KEYS[0])
    yield directory_case(
        "root-rotated-twice",
        issue(roots=[ROOT, second, third], after_ms=HOUR_MS),
        "Two changes of keys after the pinned root; a reader that slept follows both.",
        "所钉之根之后两次换钥，久未上线者亦能跟上。",
        CHAIN,
        clause="DI-5 DI-6",
        asks=[versions("42", 3, 1, format_instant(ISSUED_MS + HOUR_MS), 0)],
    )
    far = sign_root(root_payload("42", version=9))
    usurped = rotated(*NEW_KEYS[:2], root=NEW_KEYS)
    nobody = rotated(*ROOT_KEYS[:2], NEW_KEYS[0], root=NEW_KEYS)
    two = [rotated(), rotated(name="另一内容")]
    rows: list[tuple[str, list[bytes], Reason, str, str]] = [
        (
            "root-without-the-old",
            issue(roots=[ROOT, usurped]),
            Reason.DOCUMENT_SIGNATURE,
            "The next root is signed by its own keys only.",
            "新根仅由新根密钥签名。",
        ),
        (
            "root-one-of-the-old",
            issue(roots=[ROOT, rotated(*NEW_KEYS[:2], ROOT_KEYS[0], root=NEW_KEYS)]),
            Reason.DOCUMENT_SIGNATURE,
            "The next root is signed by one of the old keys where two are needed.",
            "新根仅有一名旧根保管人签名，须两名。",
        ),
        (
            "root-without-the-new",
            issue(roots=[ROOT, nobody]),
            Reason.DOCUMENT_SIGNATURE,
            "The next root is not signed by a threshold of its own keys.",
            "新根自身的门限未满足。",
        ),
        (
            "root-version-skipped",
            issue(roots=[ROOT, far], root=named(far, 9)),
            Reason.DOCUMENT_INVALID,
            "Version 9 after version 1: it is not in the chain, and freshness names it.",
            "第 1 版之后直接第 9 版，不在链上却被点名。",
        ),
        (
            "root-two-of-one-version",
            issue(roots=[ROOT, *two], root=named(two[1], 2)),
            Reason.DOCUMENT_INVALID,
            "Two roots of version 2, both signed by both thresholds.",
            "两份第 2 版根，均满足双重门限。",
        ),
        (
            "root-of-another-environment",
            issue(roots=[ROOT, rotated(environment="production")]),
            Reason.ENVIRONMENT_MISMATCH,
            "The next root is for production, the pinned one for trial.",
            "新根属正式环境，所钉之根属试运行。",
        ),
    ]
    for name, documents, reason, what, what_zh in rows:
        clause = "DI-9" if reason is Reason.ENVIRONMENT_MISMATCH else "DI-6"
        why = ONE_ENVIRONMENT if clause == "DI-9" else CHAIN
        yield directory_case(name, documents, what, what_zh, why, clause=clause, reason=reason)
    yield from _first_roots()


def _first_roots() -> Iterator[Case]:
    other = sign_root(root_payload("42", name="另一内容"))
    foreign = sign_root(root_payload("42"), *role_keys("43", "root")[:2])
    far = sign_root(root_payload("42", version=5))
    first = root_payload("42")
    spare, *rest = first.keys
    swapped = spare.model_copy(update={"spki": rest[0].spki})
    pinned: list[tuple[str, bytes, str, int, Reason, str, str]] = [
        (
            "pin-another-content",
            other,
            "",
            1,
            Reason.STALE_DIRECTORY,
            "A root of the pinned version with another content.",
            "版本相同、内容不同的根。",
        ),
        (
            "pin-other-version",
            far,
            "42",
            1,
            Reason.DOCUMENT_INVALID,
            "The pinned file states another version than the anchor does.",
            "所钉文件的版本与信任锚不符。",
        ),
        (
            "pin-signed-by-another-province",
            foreign,
            "42",
            1,
            Reason.DOCUMENT_SIGNATURE,
            "The pinned root is signed by another province's root keys.",
            "所钉之根由外省根密钥签名。",
        ),
    ]
    for name, octets, prefix, version, reason, what, what_zh in pinned:
        yield directory_case(
            name,
            issue(roots=[octets]),
            what,
            what_zh,
            "What the anchor pins is the one thing believed without proof.",
            clause="DI-5",
            reason=reason,
            pins=[pin(octets, prefix, version)] if prefix else (),
        )
    shared = first.model_copy(update={"freshness": role(1, ROOT_KEYS[:1]), "keys": first.keys[:-1]})
    strange: list[tuple[str, Any, str, str]] = [
        ("one-key-two-roles", shared, "One key has two roles.", "一把密钥担任两个角色。"),
        (
            "threshold-too-high",
            root_payload("42", root=ROOT_KEYS[:1]),
            "A threshold of two over one key.",
            "门限为二而只有一把密钥。",
        ),
        (
            "revoking-as-many",
            root_payload("42", revoking=2),
            "Revoking takes as many signatures as admitting.",
            "吊销与接纳所需签名一样多。",
        ),
        (
            "revoking-more",
            root_payload("42", revoking=3),
            "Revoking takes more signatures than admitting.",
            "吊销所需签名多于接纳。",
        ),
        (
            "key-misnamed",
            root_payload("42", keys=(swapped, *rest)),
            "A key stands under the id of another.",
            "密钥列于他钥编号之下。",
        ),
        (
            "key-twice",
            root_payload("42", keys=(*first.keys, spare)),
            "A key stands there twice.",
            "同一密钥出现两次。",
        ),
        (
            "key-without-a-role",
            root_payload("42", keys=(*first.keys, _role_key())),
            "A key that has no role.",
            "密钥没有角色。",
        ),
        (
            "key-of-a-role-missing",
            root_payload("42", keys=tuple(rest)),
            "A role names a key that is not listed.",
            "角色点名未列出的密钥。",
        ),
        (
            "ends-before-it-begins",
            root_payload("42", expires_ms=ISSUED_MS),
            "It expires at the instant it was issued.",
            "签发即失效。",
        ),
    ]
    for name, payload, what, what_zh in strange:
        octets = sign_root(payload, *ROOT_KEYS[:2])
        yield directory_case(
            f"root-{name}",
            issue(roots=[octets]),
            f"A pinned root: {what[0].lower()}{what[1:]}",
            f"所钉之根：{what_zh}",
            THRESHOLD,
            clause="DI-5",
            reason=Reason.DOCUMENT_INVALID,
            pins=[pin(octets)],
        )


def _role_key() -> Any:  # noqa: ANN401 - a member
    return root_payload("42", root=NEW_KEYS).keys[0]
