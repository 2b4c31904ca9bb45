"""Group envelope: values, times and forms, signed as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.envelope import ENVELOPE_NAMESPACE
from protocol.instants import format_instant
from protocol.limits import MAX_CLOCK_SKEW_MS, MAX_LIFETIME_MS, MIN_LIFETIME_MS
from protocol.reasons import Reason
from tests.messages import (
    NOW_MS,
)
from tools.vectors.envelope import refused
from tools.vectors.samples import (
    message,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tools.vectors.cases import Case

ONE_VALUE: Final = "A value has one written form, or equal values would have different octets."
_RULES: Final = {
    "message-id": "ID-2",
    "created": "ID-1",
    "from-key": "ID-5",
    "from-authority": "ID-4",
    "from-node": "ID-3",
    "to-node": "ID-3",
    "case-sequence": "ID-7",
}
"""Which rule of the values a case breaks, by how its name begins."""


def cases() -> Iterator[Case]:
    """Every case of these families."""
    yield from _values()
    yield from _one_form()
    yield from _times()


def _values() -> Iterator[Case]:
    held = message().header
    created = format_instant(held.created_ms)
    key, authority = held.sender.key, held.sender.authority
    loose = key[:-1] + chr(ord(key[-1]) + 1)
    rows = [
        (
            "message-id-upper-case",
            held.message_id,
            held.message_id.upper(),
            "a message id in capitals",
            "大写的报文号",
        ),
        (
            "message-id-version-4",
            held.message_id,
            held.message_id.replace("-7", "-4", 1),
            "a message id that is no UUIDv7",
            "非 UUIDv7 的报文号",
        ),
        (
            "message-id-braces",
            held.message_id,
            f"{{{held.message_id}}}",
            "a message id in braces",
            "带花括号的报文号",
        ),
        (
            "message-id-space",
            held.message_id,
            f" {held.message_id}",
            "a space before the message id",
            "报文号前有空格",
        ),
        ("kind-upper-case", "case.submit<", "Case.submit<", "a kind in capitals", "大写的报文种类"),
        (
            "created-without-milliseconds",
            created,
            created.replace(".000Z", "Z"),
            "an instant without milliseconds",
            "没有毫秒的时刻",
        ),
        (
            "created-with-offset",
            created,
            "2026-11-22T11:00:00.000+08:00",
            "an instant of another time zone",
            "其他时区的时刻",
        ),
        (
            "created-without-zone",
            created,
            created[:-1],
            "an instant without time zone",
            "没有时区的时刻",
        ),
        ("created-hour-24", created, "2026-11-21T24:00:00.000Z", "hour 24", "24 时"),
        ("created-leap-second", created, "2026-11-22T02:59:60.000Z", "second 60", "第 60 秒"),
        (
            "created-no-such-day",
            created,
            "2026-02-30T03:00:00.000Z",
            "a day that is in no calendar",
            "日历上没有的日期",
        ),
        (
            "created-full-width",
            created,
            created.replace("2", "\N{FULLWIDTH DIGIT TWO}", 1),
            "a full-width digit",
            "全角数字",
        ),
        ("from-key-short", key, key[:-1], "a key id of 42 characters", "42 个字符的密钥号"),
        ("from-key-loose-bits", key, loose, "a key id with bits left over", "有多余比特的密钥号"),
        (
            "from-authority-lower-case",
            authority,
            authority.lower(),
            "an authority in lower case",
            "小写的机关代码",
        ),
        (
            "from-authority-letter-i",
            authority,
            authority.replace("M", "I"),
            "a letter that no code has",
            "代码中不存在的字母",
        ),
        (
            "from-node-five-digits",
            'node="420100"',
            'node="42010"',
            "a node id of five digits",
            "五位的节点号",
        ),
        (
            "from-node-arabic-digits",
            'node="420100"',
            'node="٤20100"',
            "a digit that is not ASCII",
            "非 ASCII 的数字",
        ),
        (
            "to-node-zero",
            'node="420600"',
            'node="020600"',
            "a node id that begins with 0",
            "以 0 开头的节点号",
        ),
        ("case-sequence-zero", 'sequence="1"', 'sequence="0"', "the sequence number 0", "序号为 0"),
        ("case-sequence-leading-zero", 'sequence="1"', 'sequence="01"', "a leading zero", "前导零"),
        ("case-sequence-sign", 'sequence="1"', 'sequence="+1"', "a sign", "正号"),
        (
            "case-sequence-too-large",
            'sequence="1"',
            'sequence="2147483648"',
            "a sequence number over the bound",
            "序号超过上限",
        ),
        (
            "trace-version",
            "00-0af",
            "01-0af",
            "another version of trace context",
            "其他版本的跟踪上下文",
        ),
        (
            "environment-unknown",
            '"trial"',
            '"test"',
            "an environment that is none of the two",
            "两种环境之外的值",
        ),
        (
            "environment-capital",
            '"trial"',
            '"Trial"',
            "an environment with a capital",
            "环境名首字母大写",
        ),
    ]
    for name, old, new, what, what_zh in rows:
        yield refused(
            name,
            (old, new),
            what=f"A value in another form: {what}.",
            what_zh=f"取值形式不符：{what_zh}。",
            why=ONE_VALUE,
            clause=with_rule(name, _RULES),
        )


def with_rule(name: str, rules: Mapping[str, str]) -> str:
    """The schema's clause, and the rule this name begins with."""
    rule = next((rule for start, rule in rules.items() if name.startswith(start)), None)
    return "EN-1" if rule is None else f"EN-1 {rule}"


def _one_form() -> Iterator[Case]:
    why = (
        "It is canonical and passes the schema; without the rule one header would have many "
        "octet forms, and readers that do not parse XML in full would see another one."
    )
    prefix = f' xmlns:e="{ENVELOPE_NAMESPACE}"'
    rows = [
        (
            "indented",
            (("<Header>", "<Header>\n  "), ("</Header>", "\n</Header>")),
            "Line feeds and spaces between elements, and signed like that.",
            "元素之间有换行与空格，且按此签名。",
        ),
        (
            "space-in-empty-element",
            (('node="420600"></To>', 'node="420600"> </To>'),),
            "A space inside an empty element.",
            "空元素内有空格。",
        ),
        (
            "prefix-inside",
            (("<Kind>", f"<e:Kind{prefix}>"), ("</Kind>", "</e:Kind>")),
            "One element under a prefix of the same namespace.",
            "某一元素使用同一名字空间的前缀。",
        ),
    ]
    for name, edits, what, what_zh in rows:
        reason = Reason.SCHEMA_INVALID if name.startswith("space") else Reason.NOT_CANONICAL
        clause = "EN-1" if name.startswith("space") else "EN-5"
        yield refused(
            name, *edits, what=what, what_zh=what_zh, why=why, reason=reason, clause=clause
        )
    yield refused(
        "prefix-everywhere",
        (f' xmlns="{ENVELOPE_NAMESPACE}"', prefix),
        ("<Envelope", "<e:Envelope"),
        ("</Envelope", "</e:Envelope"),
        what="Only the root element is in the namespace, under a prefix.",
        what_zh="只有根元素以前缀属于该名字空间。",
        why=why,
        reason=Reason.SIGNATURE_PROFILE,
        clause="SG-1",
    )


def _times() -> Iterator[Case]:
    expires = format_instant(message().header.expires_ms)
    why = (
        "A message that never ends blocks its number for ever; one that has no life cannot arrive."
    )
    rows = [
        ("lifetime-negative", NOW_MS - 1, "It expires before it is created.", "失效早于创建。"),
        ("lifetime-none", NOW_MS, "It expires as it is created.", "创建即失效。"),
        (
            "lifetime-too-short",
            NOW_MS + MIN_LIFETIME_MS - 1,
            "It expires within the minute.",
            "不足一分钟即失效。",
        ),
        (
            "lifetime-too-long",
            NOW_MS + MAX_LIFETIME_MS + 1,
            "It lives a millisecond over 90 days.",
            "有效期超过 90 天一毫秒。",
        ),
    ]
    for name, instant_ms, what, what_zh in rows:
        yield refused(
            name,
            (expires, format_instant(instant_ms)),
            what=what,
            what_zh=what_zh,
            why=why,
            reason=Reason.LIFETIME_INVALID,
            clause="EN-4",
        )
    yield refused(
        "created-in-the-future",
        what="Created five minutes and a millisecond ahead of the receiver's clock: not decided, "
        "for one of the two clocks is wrong.",
        what_zh="创建时刻比收方时钟快五分钟零一毫秒：暂不裁断，必有一方时钟有误。",
        why="Refused for good, an honest message would be lost to a wrong clock at the receiver.",
        reason=Reason.CLOCK_SKEW,
        clause="TR-2",
        stage="clock",
        now_ms=NOW_MS - MAX_CLOCK_SKEW_MS - 1,
    )
