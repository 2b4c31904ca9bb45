"""Group wire: document types, namespaces, what is no XML, and what is too much of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.limits import MAX_ENVELOPE_OCTETS
from protocol.reasons import Reason
from signing.profile import DS
from tools.vectors.samples import GOOD, SIGNATURE, edited, resign
from tools.vectors.wire import Row, refused, respelt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Case

NAMESPACE: Final = ' xmlns="urn:tongban:envelope:1"'
DOCTYPE: Final = (
    "A document type can define entities and attributes: what is signed and what is read then "
    "depend on who parses, and parsing alone can exhaust memory or fetch a file."
)
NAMES: Final = (
    "Namespace declarations that carry nothing are dropped by exclusive c14n: a free choice of "
    "octets under one signature."
)
NO_XML: Final = "What is not well-formed is read differently by forgiving parsers."


def cases() -> Iterator[Case]:
    """Every case of these families."""
    for row in (*_document_types(), *_namespaces()):
        yield refused(row)
    for row in _no_xml():
        yield refused(row, Reason.NOT_WELL_FORMED, "WF-2")
    for row in _too_much():
        yield refused(row, Reason.TOO_LARGE, "LI-1")


def _document_types() -> Iterator[Row]:
    def typed(name: str, subset: str, what: str, zh: str, *edits: tuple[str, str]) -> Row:
        text = f"<!DOCTYPE Envelope{subset}>" + edited(*edits)
        return Row(name, resign(text), what, zh, DOCTYPE)

    yield typed("doctype", "", "A DOCTYPE that says nothing.", "空的 DOCTYPE。")
    yield typed(
        "doctype-entity",
        ' [<!ENTITY k "case.submit">]',
        "A DOCTYPE defines an entity, and the text of Kind is a reference to it.",
        "DOCTYPE 定义实体，Kind 的文本引用该实体。",
        ("<Kind>case.submit<", "<Kind>&k;<"),
    )
    yield typed(
        "doctype-default-attribute",
        ' [<!ATTLIST To node CDATA "420600">]',
        "A DOCTYPE gives To its node as a default; the element itself does not name it.",
        "DOCTYPE 为 To 给出默认 node 属性，元素本身未写。",
        (' node="420600"', ""),
    )
    yield typed(
        "doctype-expansion",
        ' [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]',
        "A DOCTYPE defines entities of entities; none is used.",
        "DOCTYPE 定义层层嵌套的实体，均未使用。",
    )
    for name, place, where, where_zh in (
        ("external", 'SYSTEM "file:///nowhere/envelope.dtd"', "an external file", "外部文件"),
        (
            "public",
            'PUBLIC "-//example//envelope" "http://example.invalid/envelope.dtd"',
            "a document on the network",
            "网络上的文件",
        ),
    ):
        yield Row(
            f"doctype-{name}",
            f"<!DOCTYPE Envelope {place}>{GOOD}".encode(),
            f"A DOCTYPE names {where}.",
            f"DOCTYPE 指向{where_zh}。",
            DOCTYPE,
        )


def _namespaces() -> Iterator[Row]:
    yield respelt(
        "namespace-unused",
        'environment="trial"',
        'xmlns:x="urn:x" environment="trial"',
        "A namespace is declared that nothing uses.",
        "声明了无人使用的名字空间。",
        NAMES,
    )
    yield respelt(
        "namespace-xsi-unused",
        'environment="trial"',
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" environment="trial"',
        "The XML Schema instance namespace is declared, as many libraries do, and not used.",
        "按许多库的习惯声明 xsi 名字空间而未使用。",
        NAMES,
    )
    yield respelt(
        "namespace-redeclared",
        "<Header>",
        f"<Header{NAMESPACE}>",
        "The default namespace is declared again inside.",
        "内层元素重复声明默认名字空间。",
        NAMES,
    )
    yield respelt(
        "namespace-at-root",
        NAMESPACE,
        f'{NAMESPACE} xmlns:ds="{DS}"',
        "The namespace of the signature is declared at the root as well.",
        "签名的名字空间在根元素上也作了声明。",
        NAMES,
    )
    yield respelt(
        "namespace-moved-to-root",
        SIGNATURE,
        SIGNATURE.replace("<ds:SignedInfo>", f'<ds:SignedInfo xmlns:ds="{DS}">'),
        "The namespace of the signature is declared again on SignedInfo, as a canonicaliser "
        "writes it alone.",
        "SignedInfo 重复声明签名名字空间，如同单独规范化时的写法。",
        NAMES,
    )
    yield Row(
        "namespace-relative",
        GOOD.replace("<Parts>", '<Parts xmlns:x="relative" x:a="">').encode(),
        "A relative namespace name, for which canonical XML has no form.",
        "相对的名字空间名，规范化 XML 没有这种形式。",
        "Tools resolve, keep or refuse it; no two need agree.",
    )


def _no_xml() -> Iterator[Row]:
    def broken(name: str, old: str, new: bytes, what: str, what_zh: str) -> Row:
        return Row(name, GOOD.encode().replace(old.encode(), new, 1), what, what_zh, NO_XML)

    yield broken(
        "cut-short", "</Envelope>", b"", "The last end tag is missing.", "缺少最后的结束标签。"
    )
    yield broken(
        "tags-crossed",
        "</Kind>",
        b"</Created>",
        "An end tag that fits no start tag.",
        "结束标签与开始标签不符。",
    )
    yield broken(
        "two-roots",
        "</Envelope>",
        b"</Envelope><Envelope></Envelope>",
        "A second root element.",
        "有第二个根元素。",
    )
    yield broken(
        "attribute-twice",
        'node="420600"',
        b'node="420600" node="420100"',
        "An attribute occurs twice.",
        "同一属性出现两次。",
    )
    yield broken(
        "attribute-twice-by-namespace",
        "<Parts>",
        b'<Parts xmlns:x="urn:x" xmlns:y="urn:x" x:a="1" y:a="2">',
        "An attribute occurs twice, by two prefixes of one namespace.",
        "同一属性经两个前缀出现两次。",
    )
    yield broken(
        "prefix-unbound",
        "<Parts>",
        b"<x:Parts>",
        "A prefix that no namespace was declared for.",
        "使用了未声明的前缀。",
    )
    yield broken(
        "entity-undefined",
        "<Kind>case",
        b"<Kind>&case;",
        "A reference to an entity that is not defined.",
        "引用了未定义的实体。",
    )
    yield broken(
        "ampersand", "<Kind>case", b"<Kind>&", "An ampersand by itself.", "单独的 & 字符。"
    )
    yield broken(
        "utf-8-cut",
        "<Kind>case",
        b"<Kind>\xe5\x8a",
        "A character of three octets that ends after two.",
        "三字节字符只有两个字节。",
    )
    yield broken(
        "utf-8-overlong",
        "<Kind>case",
        b"<Kind>\xc1\xa3ase",
        "A letter in a longer form than UTF-8 has for it.",
        "字母使用了过长的 UTF-8 形式。",
    )
    yield broken(
        "utf-8-surrogate",
        "<Kind>case",
        b"<Kind>\xed\xa0\x80",
        "Half of a surrogate pair in UTF-8.",
        "UTF-8 中出现代理对的一半。",
    )
    yield broken(
        "octets-of-gb18030",
        "<Kind>case",
        "<Kind>收件".encode("gb18030"),
        "Chinese in GB18030 where UTF-8 belongs.",
        "应为 UTF-8 处出现 GB18030 编码的汉字。",
    )
    yield broken(
        "nul", "<Kind>case", b"<Kind>\0ase", "An octet 00 in a text.", "文本中有 00 字节。"
    )
    yield broken(
        "control-reference",
        "<Kind>case",
        b"<Kind>&#8;ase",
        "A reference to a control character XML does not have.",
        "引用了 XML 不允许的控制字符。",
    )
    yield Row(
        "nested-deep",
        b"<a>" * 5000 + b"</a>" * 5000,
        "Five thousand elements inside one another.",
        "五千层嵌套元素。",
        "A reader that recurses runs out of stack.",
    )


def _too_much() -> Iterator[Row]:
    padding = " " * (MAX_ENVELOPE_OCTETS + 1 - len(GOOD))
    yield Row(
        "one-octet-too-many",
        resign(edited(("</Envelope>", padding + "</Envelope>"))),
        "65,537 octets; the size is looked at before anything else.",
        "65537 字节；大小先于一切检查。",
        "Parsing and canonicalising cost memory and time in proportion; the bound comes first.",
    )
