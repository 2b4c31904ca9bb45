"""Group wire: other spellings of a signed envelope, and what is no XML at all.

Each is signed for what it says, so that a verifier that parses and canonicalises takes most of the
re-encodings for good; docs/signature-interop.md counts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.reasons import Reason
from tools.vectors.samples import CONTENT, GOOD, TEMPLATE, edited, envelope_case, resign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Case

DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>'

ONE_FORM: Final = (
    "A textbook verifier canonicalises before it digests, so it takes this for the signed message; "
    "two parties then hold different octets under one signature."
)
SPLIT: Final = (
    "Canonicalisation drops comments, so the signature still holds, while a reader that takes only "
    "the first text node reads another value than was signed."
)


class Row(NamedTuple):
    """A spelling: name, octets, sentence, 中文, and the hole."""

    name: str
    octets: bytes
    what: str
    what_zh: str
    why: str


def cases() -> Iterator[Case]:
    """Every case of the group."""
    yield envelope_case(
        "wire",
        "canonical",
        GOOD.encode(),
        "The envelope that the others of this group spell otherwise.",
        "本组其他用例所改写的原报文，规范形式。",
        "A verifier that refuses everything would pass the others.",
        clause="WF-1",
        result={"kind": "case.submit", "suite": "ecdsa-p256-sha256"},
    )
    for row in (*_framing(), *_inside(), *_comments()):
        yield refused(row)


def refused(row: Row, reason: Reason = Reason.NOT_CANONICAL, clause: str | None = None) -> Case:
    """The case of a spelling; what no parser should even see has a rule of its own."""
    if clause is None:
        unseen = row.octets[:1] != b"<" or b"<!" in row.octets or b"<?" in row.octets
        clause = "WF-3" if unseen else "WF-1"
    return envelope_case(
        "wire",
        row.name,
        row.octets,
        row.what,
        row.what_zh,
        row.why,
        clause=clause,
        reason=reason,
        stage="form",
    )


def respelt(name: str, old: str, new: str, what: str, what_zh: str, why: str = ONE_FORM) -> Row:
    """The good envelope with one edit, signed for what it then says."""
    return Row(name, resign(edited((old, new))), what, what_zh, why)


def _framing() -> Iterator[Row]:
    """Around the document: declaration, encoding, line ends."""
    text = GOOD
    yield Row(
        "declaration",
        f"{DECLARATION}{text}".encode(),
        "An XML declaration stands before the root element.",
        "根元素之前带有 XML 声明。",
        ONE_FORM,
    )
    yield Row(
        "declaration-standalone",
        f'<?xml version="1.0" standalone="yes"?>\n{text}'.encode(),
        "An XML declaration with standalone, and a line end after it.",
        "带 standalone 的 XML 声明，其后有换行。",
        ONE_FORM,
    )
    yield Row(
        "byte-order-mark",
        b"\xef\xbb\xbf" + text.encode(),
        "A UTF-8 byte order mark stands before the root element.",
        "根元素之前带有 UTF-8 字节顺序标记（BOM）。",
        ONE_FORM,
    )
    for name, codec in (("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be")):
        mark = b"\xff\xfe" if codec.endswith("le") else b"\xfe\xff"
        yield Row(
            name,
            mark + f'<?xml version="1.0" encoding="UTF-16"?>{text}'.encode(codec),
            f"The envelope in {codec.upper()}, with byte order mark and declaration.",
            f"以 {codec.upper()} 编码的报文，带 BOM 与声明。",
            ONE_FORM,
        )
    yield Row(
        "encoding-gb18030",
        f'<?xml version="1.0" encoding="GB18030"?>{text}'.encode("gb18030"),
        "The envelope in GB18030, declared; every character happens to be ASCII.",
        "声明为 GB18030 编码的报文；其字符恰好全为 ASCII。",
        ONE_FORM,
    )
    yield Row(
        "encoding-latin-1",
        f'<?xml version="1.0" encoding="ISO-8859-1"?>{text}'.encode("latin-1"),
        "The envelope in ISO 8859-1, declared; every character happens to be ASCII.",
        "声明为 ISO 8859-1 编码的报文；其字符恰好全为 ASCII。",
        ONE_FORM,
    )
    yield Row(
        "line-feed-after",
        text.encode() + b"\n",
        "A line feed follows the root element.",
        "根元素之后有换行符。",
        ONE_FORM,
    )
    yield Row(
        "line-feed-before",
        b"\n" + text.encode(),
        "A line feed stands before the root element.",
        "根元素之前有换行符。",
        ONE_FORM,
    )
    yield Row(
        "instruction-before",
        resign(f'<?xml-stylesheet href="a.xsl"?>{TEMPLATE}', covered=_signed_as_it_is),
        "A processing instruction stands before the root element, and its sender signed it.",
        "根元素之前有处理指令，且发送方已对其签名。",
        "A stylesheet shows people something else than what was signed.",
    )


def _signed_as_it_is(root: object, signature: object) -> bytes:
    """The content with the instruction that canonical XML puts before it."""
    del root, signature
    return b'<?xml-stylesheet href="a.xsl"?>\n' + CONTENT.encode()


def _inside() -> Iterator[Row]:
    """Inside the tags and the text."""
    yield respelt(
        "space-in-start-tag",
        "<To authority",
        "<To  authority",
        "Two spaces between the name of an element and its attribute.",
        "元素名与属性之间有两个空格。",
    )
    yield respelt(
        "space-before-tag-end",
        "<Parts>",
        "<Parts >",
        "A space before the end of a start tag.",
        "开始标签结尾前有空格。",
    )
    yield respelt(
        "space-in-end-tag",
        "</Header>",
        "</Header >",
        "A space before the end of an end tag.",
        "结束标签结尾前有空格。",
    )
    yield respelt(
        "space-around-equals",
        "<Case id=",
        "<Case id = ",
        "Spaces around an attribute's equals sign.",
        "属性等号两侧有空格。",
    )
    yield respelt(
        "line-feed-in-tag",
        '" node="420600"',
        '"\n\tnode="420600"',
        "A line feed and a tab between two attributes.",
        "两个属性之间有换行与制表符。",
    )
    yield respelt(
        "line-feed-in-signature-tag",
        '<ds:Reference URI=""',
        '<ds:Reference\nURI=""',
        "A line feed inside a tag of the signature.",
        "签名内的标签中有换行。",
    )
    yield respelt(
        "carriage-returns",
        "</Header><Parts>",
        "</Header>\r\n<Parts>",
        "CR LF between two elements; a parser hands on LF, and that was signed.",
        "两个元素之间为 CR LF；解析后只余 LF，且所签即此。",
    )
    yield respelt(
        "quotes",
        'environment="trial"',
        "environment='trial'",
        "An attribute in single quotes.",
        "属性值用单引号。",
    )
    yield respelt(
        "attribute-order",
        'authority="11420600MB1900000G" node="420600"',
        'node="420600" authority="11420600MB1900000G"',
        "Two attributes in another order.",
        "两个属性顺序互换。",
    )
    yield respelt(
        "empty-element-tag",
        '" node="420600"></To>',
        '" node="420600"/>',
        "An empty element as one tag.",
        "空元素写成单标签。",
    )
    yield respelt(
        "empty-element-tag-in-signature",
        "></ds:DigestMethod>",
        "/>",
        "An empty element of the signature as one tag.",
        "签名内的空元素写成单标签。",
    )
    yield respelt(
        "character-reference-decimal",
        "case.submit</Kind>",
        "&#99;ase.submit</Kind>",
        "A letter of the text as a decimal character reference.",
        "文本中的字母写成十进制字符引用。",
    )
    yield respelt(
        "character-reference-hexadecimal",
        "case.submit</Kind>",
        "&#x63;ase.submit</Kind>",
        "A letter of the text as a hexadecimal character reference.",
        "文本中的字母写成十六进制字符引用。",
    )
    yield respelt(
        "character-reference-in-attribute",
        'node="420600"',
        'node="42060&#48;"',
        "A digit of an attribute as a character reference.",
        "属性中的数字写成字符引用。",
    )
    yield respelt(
        "character-reference-in-base64",
        "@value@",
        "@value@&#10;",
        "A line feed after the signature value, as a character reference.",
        "签名值之后以字符引用写入换行。",
    )
    yield respelt(
        "cdata",
        "<Kind>case.submit<",
        "<Kind><![CDATA[case.submit]]><",
        "The text of an element as a CDATA section.",
        "元素文本写成 CDATA 节。",
    )
    yield respelt(
        "cdata-empty",
        "<Kind>case.submit<",
        "<Kind>case.<![CDATA[]]>submit<",
        "An empty CDATA section in the middle of a text.",
        "文本中间有空 CDATA 节。",
        SPLIT,
    )


def _comments() -> Iterator[Row]:
    comment = "<!-- -->"
    places = [
        ("before", "<Envelope", "<!-- --><Envelope", "before the root element", "根元素之前"),
        ("after", "</Envelope>", "</Envelope><!-- -->", "after the root element", "根元素之后"),
        ("between", "<Parts>", "<Parts><!-- -->", "between two elements", "两个元素之间"),
    ]
    for name, old, new, where, where_zh in places:
        yield respelt(
            f"comment-{name}",
            old,
            new,
            f"A comment {where}.",
            f"{where_zh}有注释。",
        )
    splits = [
        ("kind", "<Kind>case.", "Kind", "报文种类"),
        ("message-id", "<MessageId>01a20132-", "MessageId", "报文号"),
        ("expires", "<Expires>2026-", "Expires", "有效期"),
        ("digest-value", "<ds:DigestValue>", "DigestValue", "摘要值"),
        ("signature-value", "<ds:SignatureValue>", "SignatureValue", "签名值"),
    ]
    for name, start, element, element_zh in splits:
        yield respelt(
            f"comment-splits-{name}",
            start,
            start + comment,
            f"A comment splits the text of {element}.",
            f"注释把{element_zh}的文本一分为二。",
            SPLIT,
        )
    yield respelt(
        "instruction-splits-signature-value",
        "<ds:SignatureValue>",
        "<ds:SignatureValue><?x?>",
        "A processing instruction inside SignatureValue, which no signature covers.",
        "SignatureValue 内有处理指令，而签名不覆盖此处。",
        SPLIT,
    )
