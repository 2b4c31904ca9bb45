"""Group signature, families forged and changed: somebody else signed, or something was altered.

The form is right in all of these; what is refused is the digest or the signature.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from protocol.envelope import write_content
from protocol.instants import format_instant
from protocol.proof import Single
from protocol.reasons import Reason
from signing.keys import KeyUse
from signing.profile import attach, signed_info
from signing.suites import Suite, digest
from tests.messages import (
    HUB,
    NOW_MS,
    WUHAN,
    XIANGYANG,
    authority_of,
    message_id,
    sign_envelope,
)
from tools.vectors.registration import SECOND_KEY, trusted_or_not
from tools.vectors.samples import (
    CONTENT,
    GOOD,
    OTHER,
    SENDER,
    base64_of,
    edited,
    key_for,
    message,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Case


BITS: Final = "Every octet of header and manifest is under the digest."
FORGERY: Final = "Only the registered key's signature over exactly this SignedInfo counts."


def cases() -> Iterator[Case]:
    """Every case of the families."""
    yield from _forged()
    yield from _changed()


def _forged() -> Iterator[Case]:
    suite = Suite.P256
    content = CONTENT.encode()
    stated = digest(suite, content)
    info = signed_info(suite, stated)
    other = sign_envelope(message(number=2), SENDER)
    start = other.index(b"<ds:Signature ")
    rows = [
        (
            "by-another-authority",
            OTHER.sign(info),
            "Another authority's key signed; the header names the sender's.",
            "由另一机关的密钥签名，首部写的是发送方密钥。",
        ),
        (
            "by-next-key",
            SECOND_KEY.sign(info),
            "Another key of the same authority signed than the header names.",
            "由同一机关的另一密钥签名，与首部所写不符。",
        ),
        (
            "by-ping-key",
            key_for(KeyUse.PING, WUHAN).sign(info),
            "The node's key for pings signed; the header names the right one.",
            "由节点的 ping 密钥签名，首部写的是正确密钥。",
        ),
        (
            "transplanted",
            SENDER.sign(signed_info(suite, digest(suite, other[:start] + b"</Envelope>"))),
            "The signature value of another message of the sender.",
            "签名值取自发送方的另一份报文。",
        ),
        (
            "over-content",
            SENDER.sign(content),
            "Signed over the content itself, not over SignedInfo.",
            "直接对内容签名，而非对 SignedInfo。",
        ),
        (
            "over-digest",
            SENDER.sign(stated),
            "Signed over the digest, not over SignedInfo.",
            "对摘要签名，而非对 SignedInfo。",
        ),
        (
            "over-info-in-place",
            SENDER.sign(info.replace(b' xmlns:ds="http://www.w3.org/2000/09/xmldsig#"', b"", 1)),
            "Signed over SignedInfo as it stands in the document, without its namespace.",
            "对文档中原样的 SignedInfo 签名，未带名字空间声明。",
        ),
        (
            "over-receipt-domain",
            SENDER.sign(b"TONGBAN-RECEIPT-1\x00" + info),
            "Signed in the domain of receipts.",
            "按回执的域签名。",
        ),
    ]
    for name, value, what, what_zh in rows:
        yield trusted_or_not(
            f"forged-{name}",
            attach(content, suite, stated, Single(value)),
            Reason.SIGNATURE_INVALID,
            what,
            what_zh,
            FORGERY,
            clause="SG-10",
            stage="signature",
        )
    yield trusted_or_not(
        "forged-whole-signature-transplanted",
        content[: -len(b"</Envelope>")] + other[start:],
        Reason.DIGEST_MISMATCH,
        "The whole Signature of another message of the sender.",
        "整个 Signature 取自发送方的另一份报文。",
        FORGERY,
        clause="SG-9",
        stage="digest",
    )
    elsewhere = replace(message(), environment="production")
    signed = sign_envelope(elsewhere, SENDER).replace(b'"production"', b'"trial"', 1)
    yield trusted_or_not(
        "forged-environment",
        signed,
        Reason.DIGEST_MISMATCH,
        "Signed for production, presented as trial.",
        "按正式环境签名，冒充试运行。",
        "The environment is signed with everything else.",
        clause="SG-9",
        stage="digest",
    )


def _changed() -> Iterator[Case]:
    """One value changed, still in its form, under the old signature."""
    header = message().header
    body, scan = message().parts
    first = edited(text=GOOD).partition("<Parts>")[2]
    rows_of = first.partition("</Parts>")[0]
    scan_row = "<Part " + rows_of.split("<Part ")[2]
    flipped = bytes([scan.digest[0] ^ 1]) + scan.digest[1:]
    key = header.sender.key
    edits: list[tuple[str, str, str, str]] = [
        ("message-id", header.message_id, message_id(3), "报文号"),
        ("kind", "case.submit<", "case.supplement<", "报文种类"),
        ("created", format_instant(NOW_MS), format_instant(NOW_MS + 1), "创建时刻"),
        (
            "expires",
            format_instant(header.expires_ms),
            format_instant(header.expires_ms + 1),
            "失效时刻",
        ),
        ("to-authority", authority_of(XIANGYANG), authority_of(HUB), "收方机关"),
        ("to-node", f'node="{XIANGYANG}"', f'node="{HUB}"', "收方节点"),
        ("case-id", message_id(1 << 40), message_id(1 << 41), "办件号"),
        ("case-sequence", 'sequence="1"', 'sequence="2"', "序号"),
        ("in-reply-to", message_id(9), message_id(8), "所答报文号"),
        ("trace", "-01</Trace>", "-00</Trace>", "跟踪号"),
        ("part-digest", base64_of(scan.digest), base64_of(flipped), "部件摘要"),
        ("part-id", 'id="m1"', 'id="m2"', "部件号"),
        ("part-media-type", "application/pdf", "application/xml", "媒体类型"),
        ("part-schema", f"{body.schema}", "urn:tongban:case-supplement:1", "正文结构"),
        ("part-size", f'size="{scan.size}"', f'size="{scan.size + 1}"', "部件大小"),
        ("part-added", scan_row, scan_row + scan_row.replace('"m1"', '"m2"'), "清单（多一行）"),
        ("part-removed", scan_row, "", "清单（少一行）"),
        (
            "in-reply-to-removed",
            f"<InReplyTo>{message_id(9)}</InReplyTo>",
            "",
            "所答报文号（删去）",
        ),
        ("trace-removed", f"<Trace>{header.trace}</Trace>", "", "跟踪号（删去）"),
    ]
    for name, old, new, what_zh in edits:
        yield trusted_or_not(
            f"changed-{name}",
            edited((old, new), text=GOOD).encode(),
            Reason.DIGEST_MISMATCH,
            f"Changed after it was signed: {name.replace('-', ' ')}.",
            f"签名之后被改动：{what_zh}。",
            BITS,
            clause="SG-9",
            stage="digest",
        )
    digits = base64_of(digest(Suite.P256, CONTENT.encode()))
    other = base64_of(digest(Suite.P256, write_content(message(number=2))))
    yield trusted_or_not(
        "changed-digest-value",
        edited((digits, other), text=GOOD).encode(),
        Reason.DIGEST_MISMATCH,
        "Changed after it was signed: the digest value is another message's.",
        "签名之后被改动：摘要值换成另一报文的。",
        BITS,
        clause="SG-9",
        stage="digest",
    )
    yield trusted_or_not(
        "changed-content-and-digest",
        attach(
            write_content(message(number=2)),
            Suite.P256,
            digest(Suite.P256, write_content(message(number=2))),
            Single(SENDER.sign(signed_info(Suite.P256, digest(Suite.P256, CONTENT.encode())))),
        ),
        Reason.SIGNATURE_INVALID,
        "Content and digest changed together, under the old signature value.",
        "内容与摘要一并改动，签名值未变。",
        FORGERY,
        clause="SG-10",
        stage="signature",
    )
    for name, old, new, reason, clause, what_zh in (
        (
            "from-authority",
            authority_of(WUHAN),
            authority_of(HUB),
            Reason.KEY_OWNER,
            "SG-7",
            "发送机关",
        ),
        ("from-node", f'node="{WUHAN}"', f'node="{HUB}"', Reason.KEY_OWNER, "SG-7", "发送节点"),
        ("from-key", key, SECOND_KEY.public.key_id, Reason.KEY_UNKNOWN, "TR-1", "密钥号"),
    ):
        yield trusted_or_not(
            f"changed-{name}",
            edited((old, new), text=GOOD).encode(),
            reason,
            f"Changed after it was signed: {name.replace('-', ' ')}.",
            f"签名之后被改动：{what_zh}。",
            BITS,
            clause=clause,
            stage="directory",
        )
