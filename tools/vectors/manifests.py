"""Group envelope: manifests, signed as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tools.vectors.envelope import refused
from tools.vectors.envelope_values import with_rule
from tools.vectors.samples import (
    base64_of,
    edited,
    message,
    with_loose_bits,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Case

MANIFEST: Final = "The manifest says what each part is; a reader must not have to choose."
_RULES: Final = {
    "body-not-first": "EN-7",
    "body-twice": "EN-7",
    "body-missing": "EN-7",
    "body-named": "EN-7",
    "body-without": "EN-8",
    "part-id-twice": "EN-9",
    "parts-129": "LI-3",
    "part-size-leading": "ID-7",
    "part-digest": "ID-6",
}
"""Which rule a case breaks beside the schema, by how its name begins."""


def cases() -> Iterator[Case]:
    """Every case of the family."""
    body, scan = message().parts
    first = edited().partition("<Parts>")[2].partition("<Part ")[2]
    body_row = "<Part " + first.partition("<Part ")[0]
    scan_row = "<Part " + first.partition("<Part ")[2].partition("</Parts>")[0]
    rows = [
        ("parts-none", ((body_row, ""), (scan_row, "")), "no part at all", "没有任何部件"),
        ("parts-129", ((scan_row, _many(scan_row, 128)),), "129 parts", "129 个部件"),
        (
            "body-not-first",
            ((body_row + scan_row, scan_row + body_row),),
            "a material before the body",
            "材料排在正文之前",
        ),
        (
            "body-twice",
            ((body_row, body_row + body_row.replace('id="body"', 'id="b2"')),),
            "two bodies",
            "两个正文",
        ),
        ("body-missing", ((body_row, ""),), "no body", "没有正文"),
        (
            "body-named-otherwise",
            (('id="body"', 'id="b1"'),),
            "a body that is not called body",
            "正文的部件号不是 body",
        ),
        (
            "body-without-schema",
            ((f' schema="{body.schema}"', ""),),
            "a body without its schema",
            "正文未注明结构",
        ),
        ("part-id-twice", ((scan_row, scan_row * 2),), "a part id that occurs twice", "部件号重复"),
        ("part-id-upper-case", (('id="m1"', 'id="M1"'),), "a part id in capitals", "大写的部件号"),
        ("part-id-path", (('id="m1"', 'id="../m1"'),), "a part id that is a path", "部件号是路径"),
        (
            "part-role-unknown",
            (('role="material"', 'role="other"'),),
            "an unknown role",
            "未知的部件角色",
        ),
        (
            "part-media-type-parameter",
            (("application/pdf", "application/pdf;a=b"),),
            "a media type with a parameter",
            "带参数的媒体类型",
        ),
        (
            "part-media-type-upper-case",
            (("application/pdf", "Application/PDF"),),
            "a media type in capitals",
            "大写的媒体类型",
        ),
        (
            "part-size-negative",
            ((f'size="{scan.size}"', 'size="-1"'),),
            "a negative size",
            "负的大小",
        ),
        (
            "part-size-leading-zero",
            ((f'size="{scan.size}"', f'size="0{scan.size}"'),),
            "a size with a leading zero",
            "带前导零的大小",
        ),
        (
            "part-size-too-large",
            ((f'size="{scan.size}"', 'size="1099511627777"'),),
            "a size over 1 TiB",
            "大小超过 1 TiB",
        ),
        (
            "part-digest-short",
            ((base64_of(scan.digest), base64_of(scan.digest[:31])),),
            "a digest of 31 octets",
            "31 字节的摘要",
        ),
        (
            "part-digest-loose-bits",
            ((base64_of(scan.digest), with_loose_bits(base64_of(scan.digest))),),
            "a digest with bits left over",
            "有多余比特的摘要",
        ),
        (
            "part-digest-line-feed",
            ((base64_of(scan.digest), base64_of(scan.digest) + "&#xA;"),),
            "a digest with a line feed after it",
            "摘要之后有换行",
        ),
    ]
    for name, edits, what, what_zh in rows:
        yield refused(
            name,
            *edits,
            clause=with_rule(name, _RULES),
            what=f"The manifest has {what}.",
            what_zh=f"清单有误：{what_zh}。",
            why=MANIFEST,
        )


def _many(row: str, count: int) -> str:
    return "".join(row.replace('id="m1"', f'id="m{number}"') for number in range(count))
