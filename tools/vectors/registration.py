"""Group signature, families key and suite: whose key, for what, in which suite and when.

Form and signature are right in all of these; what is refused is the registration.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from protocol.envelope import Sender
from protocol.limits import MAX_CLOCK_SKEW_MS
from protocol.reasons import Reason
from signing.keys import KeyUse
from signing.suites import Suite
from tests.messages import (
    DAY_MS,
    HUB,
    NOW_MS,
    WUHAN,
    authority_of,
    make_key,
    sign_envelope,
)
from tools.vectors.samples import (
    BODY,
    GOOD,
    OTHER,
    SENDER,
    SteadyKey,
    envelope_case,
    key_for,
    message,
    record_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from signing.trust import KeyRecord
    from tools.vectors.cases import Case, Stage

RECORD: Final = record_for(SENDER)
SECOND_KEY: Final = SteadyKey.of(make_key("420100 envelope, the next one"))

OWNERS: Final = (
    "The key proves who signed only together with the directory: any registered key would "
    "otherwise speak for any authority."
)
ONE_USE: Final = (
    "One key, one use: what a key signs for one purpose must prove nothing for another."
)
SUITES: Final = (
    "A key is good for one suite; mixing them lets the weaker one speak for the stronger."
)
TIMES: Final = "Whoever holds a stolen key dates messages back: live, a revocation counts at once."


def cases() -> Iterator[Case]:
    """Every case of the families."""
    yield from _keys()
    yield from _suites()
    yield from _times()


def trusted_or_not(
    name: str,
    octets: bytes,
    reason: Reason | None,
    what: str,
    what_zh: str,
    why: str,
    *,
    clause: str,
    stage: Stage = "directory",
    records: Sequence[KeyRecord] | None = None,
    now_ms: int = NOW_MS,
    historic: bool = False,
) -> Case:
    """A case in which the form is right."""
    return envelope_case(
        "signature",
        name,
        octets,
        what,
        what_zh,
        why,
        clause=clause,
        reason=reason,
        stage=None if reason is None else stage,
        records=records,
        now_ms=now_ms,
        historic=historic,
    )


def _named(key: SteadyKey, **sender: str) -> bytes:
    """The good message signed by this key, which its header names."""
    held = message().header.sender
    values = {"node": held.node, "authority": held.authority, "key": key.public.key_id} | sender
    return sign_envelope(message(key.suite, sender=Sender(**values)), key)


def _keys() -> Iterator[Case]:
    yield trusted_or_not(
        "key-unknown",
        _named(SECOND_KEY),
        Reason.KEY_UNKNOWN,
        "The key is in no directory here: not decided, for the directory may be old.",
        "密钥不在本地目录中：暂不裁断，目录可能过期。",
        "Refused for good, every new key would lose messages until all directories are fresh.",
        clause="TR-1",
    )
    yield trusted_or_not(
        "key-of-another-authority",
        _named(OTHER),
        Reason.KEY_OWNER,
        "From names Wuhan's authority; the key, properly named and used, is Xiangyang's.",
        "From 写武汉机关，而所署密钥属于襄阳机关。",
        OWNERS,
        clause="SG-7",
    )
    yield trusted_or_not(
        "key-of-another-node",
        _named(SENDER, node=HUB),
        Reason.KEY_OWNER,
        "The key is the authority's, but delegated to another node than From says.",
        "密钥属于该机关，但委托给另一节点。",
        "A node could send in the name of an authority that left it for another.",
        clause="SG-7",
    )
    for use, said in (
        (KeyUse.PING, "连通测试"),
        (KeyUse.RECEIPT, "回执"),
        (KeyUse.EVIDENCE, "存证"),
    ):
        key = key_for(use, WUHAN)
        yield trusted_or_not(
            f"key-use-{use.value}",
            _named(key),
            Reason.KEY_USE,
            f"A case message under the node's key for {use.value}.",
            f"办件报文用了节点的{said}密钥。",
            ONE_USE,
            clause="SG-6 SU-8",
            records=[record_for(key)],
        )
    ping = message(kind="ping", case=None, parts={"body": BODY})
    yield trusted_or_not(
        "key-use-envelope-for-ping",
        sign_envelope(ping, SENDER),
        Reason.KEY_USE,
        "A ping under the authority's key for envelopes.",
        "连通测试用了机关的报文密钥。",
        ONE_USE,
        clause="SG-6 SU-8",
    )


def _suites() -> Iterator[Case]:
    for registered in Suite:
        for used in Suite:
            if used is registered:
                continue
            key = key_for(KeyUse.ENVELOPE, WUHAN, registered)
            signer = key_for(KeyUse.ENVELOPE, WUHAN, used)
            named = Sender(WUHAN, authority_of(WUHAN), key.public.key_id)
            yield trusted_or_not(
                f"suite-{used.value}-for-{registered.value}",
                sign_envelope(message(used, sender=named), signer),
                Reason.SUITE_MISMATCH,
                f"Signed in the suite {used} in the name of a key of {registered}.",
                f"以 {registered} 密钥的名义按套件 {used} 签名。",
                SUITES,
                clause="SG-4",
                records=[record_for(key)],
            )


def _times() -> Iterator[Case]:
    good = GOOD.encode()
    revoked = replace(RECORD, revoked_ms=NOW_MS + DAY_MS)
    rows = [
        (
            "revoked-before",
            replace(RECORD, revoked_ms=NOW_MS - DAY_MS),
            NOW_MS,
            "was revoked a day before the message was created",
            "在报文创建前一日吊销",
        ),
        (
            "revoked-after",
            revoked,
            NOW_MS + 2 * DAY_MS,
            "was revoked a day after the message was created, and the message is first seen now",
            "在报文创建后一日吊销，而报文此刻才首次出现",
        ),
        (
            "past-validity",
            replace(RECORD, not_after_ms=NOW_MS),
            NOW_MS,
            "has run out at this very instant",
            "恰于此刻失效",
        ),
    ]
    for name, record, now_ms, what, what_zh in rows:
        yield trusted_or_not(
            f"key-{name}",
            good,
            Reason.KEY_REVOKED,
            f"The key {what}.",
            f"密钥{what_zh}。",
            TIMES,
            clause="SG-8 SG-16",
            records=[record],
            now_ms=now_ms,
        )
    later = replace(RECORD, not_before_ms=NOW_MS + MAX_CLOCK_SKEW_MS + 1)
    yield trusted_or_not(
        "key-not-yet-valid",
        good,
        Reason.CLOCK_SKEW,
        "The key is valid from five minutes and a millisecond from now: not decided, for one of "
        "the two clocks is wrong.",
        "密钥五分钟零一毫秒之后才生效：暂不裁断，必有一方时钟有误。",
        "A slow clock at the receiver must not refuse a new key for good.",
        clause="SG-17 TR-2",
        records=[later],
    )
    edge = replace(RECORD, not_before_ms=NOW_MS + MAX_CLOCK_SKEW_MS, not_after_ms=NOW_MS + 1)
    yield trusted_or_not(
        "key-edges-of-validity",
        good,
        None,
        "The last millisecond of the key's validity, and the first with the clock's tolerance.",
        "密钥有效期的最后一毫秒，也是计入时钟容差后的第一毫秒。",
        "The first instant counts and the end does not.",
        clause="SG-8 SG-17",
        records=[edge],
    )
    yield trusted_or_not(
        "key-historic",
        good,
        None,
        "In evidence: the message was seen the instant before its key was revoked.",
        "存证核验：报文在密钥吊销前一刻已被见到。",
        "What was proven stays proven.",
        clause="SG-8 SG-17",
        records=[revoked],
        now_ms=NOW_MS + DAY_MS - 1,
        historic=True,
    )
    yield trusted_or_not(
        "key-historic-too-late",
        good,
        Reason.KEY_REVOKED,
        "In evidence: the message was first seen the instant its key was revoked.",
        "存证核验：报文首次被见到恰在密钥吊销之时。",
        TIMES,
        clause="SG-8 SG-17",
        records=[revoked],
        now_ms=NOW_MS + DAY_MS,
        historic=True,
    )
