"""Group body: one good body of every kind, and what a body must not be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.bodies import MAX_BODY_OCTETS, encode_body
from protocol.reasons import Reason
from tests.samples import BODIES, SALT, SUBMIT
from tools.vectors.cases import Case
from tools.vectors.samples import edited

if TYPE_CHECKING:
    from collections.abc import Iterator


SUBMITTED: Final = encode_body(SUBMIT).decode()

SCHEMA: Final = "What the schema does not know, two offices may understand in two ways."
SALTED: Final = "Without it the digest of a body confirms guesses of an identity number for ever."
ONE_FORM: Final = "A body is held against its digest: it has one octet form, like the envelope."


def cases() -> Iterator[Case]:
    """Every case of the group but the rules."""
    yield from _good()
    yield from _forms()
    yield from _values()


def _good() -> Iterator[Case]:
    seen: dict[str, int] = {}
    for body in BODIES:
        name = body.kind.replace(".", "-")
        seen[name] = seen.get(name, 0) + 1
        number = "" if seen[name] == 1 else f"-{seen[name]}"
        yield body_case(
            f"{name}{number}",
            encode_body(body).decode(),
            f"A good body of the kind {body.kind}.",
            f"种类为 {body.kind} 的正确正文。",
            "A reader that refuses everything would pass the others.",
            "BO-1",
            kind=body.kind,
        )
    indented = edited(("<item>", "\n  <item>"), text=SUBMITTED)
    prefixed = SUBMITTED.replace("<", "<b:").replace("<b:/", "</b:").replace(" xmlns=", " xmlns:b=")
    for name, text, what, what_zh in (
        ("indented", indented, "White space between elements.", "元素之间有空白。"),
        ("prefixed", prefixed, "Every element under a prefix.", "各元素均使用前缀。"),
    ):
        why = "A body's identity is its digest; how its writer indents it is its own affair."
        yield body_case(f"submit-{name}", text, what, what_zh, why, "BO-6", kind="case.submit")


def _forms() -> Iterator[Case]:
    rows = [
        (
            "declaration",
            '<?xml version="1.0"?>' + SUBMITTED,
            "An XML declaration before it.",
            "前有 XML 声明。",
        ),
        ("doctype", "<!DOCTYPE CaseSubmit>" + SUBMITTED, "A DOCTYPE before it.", "前有 DOCTYPE。"),
        (
            "comment",
            SUBMITTED.replace("<item>", "<!-- --><item>"),
            "A comment in it.",
            "其中有注释。",
        ),
        (
            "cdata",
            SUBMITTED.replace("综窗3号", "<![CDATA[综窗3号]]>"),
            "A CDATA section in it.",
            "其中有 CDATA 节。",
        ),
        (
            "reference",
            SUBMITTED.replace("综窗3号", "综窗&#51;号"),
            "A character reference in it.",
            "其中有字符引用。",
        ),
        (
            "empty-element",
            SUBMITTED.replace("<value></value>", "<value/>"),
            "An empty element as one tag.",
            "空元素写成单标签。",
        ),
        ("line-feed-after", SUBMITTED + "\n", "A line feed after it.", "其后有换行。"),
        (
            "namespace-unused",
            SUBMITTED.replace("<item>", '<item xmlns:x="urn:x">'),
            "A namespace is declared that nothing uses.",
            "声明了无人使用的名字空间。",
        ),
        (
            "namespace-at-root",
            SUBMITTED.replace('1">', '1" xmlns:x="urn:x">', 1),
            "The same at the root, where inclusive c14n would keep it.",
            "同上，在根元素；包含式规范化会予保留。",
        ),
        (
            "byte-order-mark",
            "\ufeff" + SUBMITTED,
            "A byte order mark before it.",
            "前有字节顺序标记。",
        ),
    ]
    for name, text, what, what_zh in rows:
        yield body_case(
            f"form-{name}", text, what, what_zh, ONE_FORM, "BO-2", reason=Reason.NOT_CANONICAL
        )
    gb18030 = SUBMITTED.encode("gb18030")
    yield body_case(
        "form-gb18030",
        gb18030,
        "The body in GB18030.",
        "正文以 GB18030 编码。",
        ONE_FORM,
        "BO-2",
        reason=Reason.NOT_WELL_FORMED,
    )
    yield body_case(
        "form-cut",
        SUBMITTED[:-1],
        "The last octet is missing.",
        "缺最后一字节。",
        ONE_FORM,
        "BO-2",
        reason=Reason.NOT_WELL_FORMED,
    )
    padding = " " * (MAX_BODY_OCTETS + 1 - len(SUBMITTED.encode()))
    yield body_case(
        "form-too-large",
        SUBMITTED.replace("<item>", padding + "<item>"),
        f"{MAX_BODY_OCTETS + 1:,} octets.",
        f"{MAX_BODY_OCTETS + 1} 字节。",
        "The bound comes before any parser.",
        "BO-2 LI-2",
        reason=Reason.TOO_LARGE,
    )
    yield body_case(
        "kind-unknown",
        SUBMITTED.replace("case-submit", "case-conjure"),
        "A namespace nobody has published.",
        "未公布的名字空间。",
        SCHEMA,
        "BO-3",
        reason=Reason.KIND_UNKNOWN,
    )
    yield body_case(
        "kind-of-envelope",
        "<Envelope" + ' xmlns="urn:tongban:envelope:1"></Envelope>',
        "An envelope in place of a body.",
        "以信封充作正文。",
        SCHEMA,
        "BO-3",
        reason=Reason.KIND_UNKNOWN,
    )


def _values() -> Iterator[Case]:
    actor = SUBMITTED[SUBMITTED.index("<actor>") : SUBMITTED.index("<item>")]
    instance = ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    rows: list[tuple[str, tuple[str, str], str, str, str, str]] = [
        ("attribute", ("<item>", '<item x="">'), "An attribute.", "带有属性。", SCHEMA, "BO-5"),
        (
            "attribute-xsi",
            ("<item>", f'<item{instance} xsi:type="Code">'),
            "An xsi: attribute.",
            "带有 xsi: 属性。",
            SCHEMA,
            "BO-5",
        ),
        (
            "attribute-xml-lang",
            ("<item>", '<item xml:lang="zh">'),
            "An attribute xml:lang.",
            "带有 xml:lang 属性。",
            SCHEMA,
            "BO-5",
        ),
        (
            "element-unknown",
            ("<item>", "<x></x><item>"),
            "An element the schema does not have.",
            "含结构之外的元素。",
            SCHEMA,
            "BO-1",
        ),
        (
            "element-missing",
            ("<mode>collected</mode>", ""),
            "A required element is missing.",
            "缺少必备元素。",
            SCHEMA,
            "BO-1",
        ),
        (
            "element-order",
            ("<item>000112012000</item>", ""),
            "An element in another place.",
            "元素次序不符。",
            SCHEMA,
            "BO-1",
        ),
        (
            "root-other",
            ("<CaseSubmit", "<Other"),
            "Another root element in the namespace of the kind.",
            "同一名字空间的另一根元素。",
            SCHEMA,
            "BO-1",
        ),
        (
            "text-between",
            ("<item>", "x<item>"),
            "Text between elements.",
            "元素之间有文字。",
            SCHEMA,
            "BO-1",
        ),
        (
            "mode-unknown",
            (">collected<", ">teleported<"),
            "A mode nobody has published.",
            "未公布的办理方式。",
            SCHEMA,
            "BO-1",
        ),
        ("salt-missing", (f"<salt>{SALT}</salt>", ""), "No salt.", "没有盐。", SALTED, "BO-8"),
        (
            "salt-short",
            (SALT, SALT[:-2]),
            "A salt of 120 bits.",
            "盐只有 120 比特。",
            SALTED,
            "BO-8",
        ),
        (
            "salt-upper-case",
            (SALT, SALT.upper()),
            "A salt in capitals.",
            "盐为大写。",
            ONE_FORM,
            "BO-8",
        ),
        (
            "actor-missing",
            (actor, ""),
            "Nobody answers for it.",
            "没有经办人。",
            "Who acted has to be on record.",
            "BO-9",
        ),
        (
            "actor-nameless",
            ("<name>汪小满</name>", "<name></name>"),
            "An actor without a name.",
            "经办人没有姓名。",
            "Who acted has to be on record.",
            "BO-9",
        ),
        (
            "birth-date",
            ("1948-03-17", "1949-02-29"),
            "A day that is in no calendar.",
            "日历上没有的日期。",
            SCHEMA,
            "BO-1",
        ),
        (
            "count-leading-zero",
            ("<count>1<", "<count>01<"),
            "A number with a leading zero.",
            "数字有前导零。",
            ONE_FORM,
            "BO-1",
        ),
        (
            "region-five-digits",
            ("<region>420606<", "<region>42060<"),
            "A region of five digits.",
            "五位的行政区划代码。",
            SCHEMA,
            "BO-1",
        ),
        (
            "name-too-long",
            ("覃䶮兰", "兰" * 201),
            "A name of 201 characters.",
            "姓名 201 字。",
            SCHEMA,
            "BO-1",
        ),
    ]
    for name, (old, new), what, what_zh, why, clause in rows:
        text = edited((old, new), text=SUBMITTED)
        if name == "root-other":
            text = text.replace("</CaseSubmit>", "</Other>")
        if name == "element-order":
            text = edited(("</mode>", "</mode><item>000112012000</item>"), text=text)
        yield body_case(
            f"value-{name}",
            text,
            what,
            what_zh,
            why,
            f"BO-1 {clause}" if clause != "BO-1" else clause,
            reason=Reason.BODY_INVALID,
        )


def body_case(
    name: str,
    text: str | bytes,
    what: str,
    what_zh: str,
    why: str,
    clause: str,
    *,
    reason: Reason | None = None,
    kind: str | None = None,
) -> Case:
    """A case about one body; valid unless there is a reason."""
    octets = text.encode() if isinstance(text, str) else text
    result = {} if kind is None else {"kind": kind}
    return Case(
        "body",
        name,
        what,
        what_zh,
        why,
        clause,
        {"body.xml": octets},
        expect=reason,
        inputs={"parts": ["body", "m1"]},
        result=result,
    )
