"""Group signature, family value: the text and the length of the two base64 values."""

from __future__ import annotations

import base64
from functools import partial
from typing import TYPE_CHECKING, Final

from protocol.reasons import Reason
from signing.encodings import der_from_raw
from signing.suites import Suite, digest
from tools.vectors.samples import (
    CONTENT,
    DIGEST,
    SENDER,
    TEMPLATE,
    VALUE,
    base64_of,
    edited,
    envelope_case,
    resign,
    signed_info_of,
    with_loose_bits,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tools.vectors.cases import Case

ONE_TEXT: Final = (
    "Base64 decoders skip what they do not know and drop loose bits: many texts, one value, and "
    "many octet forms under one signature."
)
LENGTH: Final = "A value of another length is another kind of value, and is never looked into."


def cases() -> Iterator[Case]:
    """Every case of the family that the form refuses."""
    yield from _texts()
    yield from _lengths()


_case = partial(
    envelope_case,
    "signature",
    clause="SG-1 SG-15",
    reason=Reason.SIGNATURE_PROFILE,
    stage="form",
)


def _texts() -> Iterator[Case]:
    def wrapped(text: str) -> str:
        return text[:64] + "\n" + text[64:]

    spellings: list[tuple[str, Callable[[str], str], str, str]] = [
        ("line-feed", wrapped, "wrapped, as most tools write it", "按多数工具的习惯换行"),
        ("space", lambda text: text[:8] + " " + text[8:], "with a space in it", "中间有空格"),
        ("space-before", lambda text: " " + text, "with a space before it", "前有空格"),
        (
            "carriage-return",
            lambda text: text + "&#xD;",
            "with a carriage return after it, as Java writes it",
            "后有回车，如 Java 的输出",
        ),
        ("unpadded", lambda text: text.rstrip("="), "without padding", "没有填充"),
        ("padded-twice", lambda text: text + "====", "with too much padding", "填充过多"),
        ("loose-bits", with_loose_bits, "with bits left over at the end", "末尾有多余比特"),
        (
            "url-alphabet",
            lambda text: text.replace("+", "-").replace("/", "_").replace("1", "_", 1),
            "in the alphabet for URLs",
            "用 URL 字母表",
        ),
        (
            "stray-character",
            lambda text: text[:8] + "!" + text[8:],
            "with a stray character",
            "夹有杂字符",
        ),
        ("full-width", lambda text: "Ａ" + text[1:], "with a full-width letter", "夹有全角字母"),  # noqa: RUF001
        (
            "hexadecimal",
            lambda text: base64.b64decode(text).hex(),
            "in hexadecimal",
            "写成十六进制",
        ),
    ]
    for name, spelling, what, what_zh in spellings:
        value = base64.b64encode(SENDER.sign(signed_info_of(_digested()))).decode()
        yield _case(
            f"value-{name}",
            _digested().replace(VALUE, spelling(value)).encode(),
            f"SignatureValue {what}.",
            f"SignatureValue {what_zh}。",
            ONE_TEXT,
        )
        text = TEMPLATE.replace(DIGEST, spelling(_content_digest()))
        yield _case(
            f"digest-value-{name}",
            resign(text),
            f"DigestValue {what}, and signed like that.",
            f"DigestValue {what_zh}，且按此签名。",
            ONE_TEXT,
        )
    for name in ("DigestValue", "SignatureValue"):
        text = DIGEST if name == "DigestValue" else VALUE
        element = f"<ds:{name}>{text}</ds:{name}>"
        for what, new in (("twice", element * 2), ("missing", "")):
            octets = edited((element, new)) if VALUE in new or name == "DigestValue" else TEMPLATE
            if what == "missing" and name == "SignatureValue":
                signed = _digested().replace(element, "").encode()
            else:
                signed = resign(octets)
            yield _case(
                f"{name.lower().replace('value', '-value')}-{what}",
                signed,
                f"{name} {'occurs twice' if what == 'twice' else 'is missing'}.",
                f"{name} {'出现两次' if what == 'twice' else '缺失'}。",
                LENGTH,
            )


def _digested() -> str:
    return TEMPLATE.replace(DIGEST, _content_digest())


def _content_digest() -> str:
    return base64.b64encode(digest(Suite.P256, CONTENT.encode())).decode()


def _lengths() -> Iterator[Case]:
    good = SENDER.sign(signed_info_of(_digested()))
    der = der_from_raw(good) or b""
    for name, value, what, what_zh in (
        (
            "der",
            der,
            "as an ASN.1 SEQUENCE, as OpenSSL writes it",
            "为 ASN.1 序列，如 OpenSSL 的输出",
        ),
        ("63-octets", good[:63], "with its last octet missing", "缺最后一字节"),
        ("65-octets", good + b"\0", "with an octet 00 after it", "后多一个 00 字节"),
        ("65-octets-before", b"\0" + good, "with an octet 00 before it", "前多一个 00 字节"),
        (
            "96-octets",
            bytes(16) + good[:32] + bytes(16) + good[32:],
            "as of a curve of 384 bits",
            "按 384 位曲线的长度",
        ),
        ("empty", b"", "of no octets", "为空"),
    ):
        yield _case(
            f"value-{name}",
            _digested().replace(VALUE, base64_of(value)).encode(),
            f"A signature value {what}.",
            f"签名值{what_zh}。",
            LENGTH,
        )
    content = digest(Suite.P256, CONTENT.encode())
    for name, value, what, what_zh in (
        ("31-octets", content[:31], "31 octets", "31 字节"),
        ("33-octets", content + b"\0", "33 octets", "33 字节"),
        ("20-octets", content[:20], "20 octets, as of SHA-1", "20 字节，如 SHA-1"),
        ("empty", b"", "no octets", "为空"),
    ):
        text = TEMPLATE.replace(DIGEST, base64_of(value))
        yield _case(
            f"digest-value-{name}",
            resign(text),
            f"A digest value of {what}, and signed like that.",
            f"摘要值{what_zh}，且按此签名。",
            LENGTH,
        )
