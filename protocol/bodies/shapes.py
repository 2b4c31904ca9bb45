"""What a single value in a body may look like (取值形式).

Every shape has the name, the pattern and the bounds of the simple type of the same name in
``schemas/common.xsd``; a test holds the two together. Patterns are written so that XML Schema,
Python and JSON Schema read them alike: character classes are spelt out, nothing is anchored.

A field of a body is annotated with one of the aliases below, such as `Line`; the codec and the
local JSON form find its shape there, so that a value's form is said once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Final, TypeAlias

from protocol.instants import format_instant, parse_instant

# Production [2] of XML 1.0; everything else cannot be carried, escaped or not.
_XML_TEXT: Final = re.compile("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


def is_xml_text(text: str) -> bool:
    """Whether XML can carry the text: no control characters, no lone surrogates."""
    # What can be printed XML can carry; the rest is rare, and looked at closely.
    return text.isprintable() or _XML_TEXT.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class TextShape:
    """Text of bounded length (in characters) in a form.

    `chinese` and `english` tell a person what to write.
    """

    name: str
    longest: int
    form: re.Pattern[str]
    chinese: str
    english: str

    @property
    def pattern(self) -> str:
        """The form as XML Schema and JSON Schema write it, for the whole text."""
        return self.form.pattern

    def write(self, value: object) -> str:
        """The text on the wire, before escaping.

        Raises:
            ValueError: the value does not fit the shape, or XML cannot carry it.
        """
        if not isinstance(value, str) or not is_xml_text(value):
            raise ValueError(self.english)
        return self.read(value)

    def read(self, text: str) -> str:
        """The value of a text.

        Raises:
            ValueError: the text does not fit the shape.
        """
        if len(text) > self.longest or self.form.fullmatch(text) is None:
            raise ValueError(self.english)
        return text


@dataclass(frozen=True, slots=True)
class DateShape(TextShape):
    """A day of the calendar, ``2026-11-22``."""

    def read(self, text: str) -> str:
        """The day, which has to exist.

        Raises:
            ValueError: not in the form, or no such day.
        """
        date.fromisoformat(TextShape.read(self, text))
        return text


@dataclass(frozen=True, slots=True)
class InstantShape:
    """An instant: `int` milliseconds since 1970 UTC; on the wire as in `protocol.instants`."""

    name: str
    pattern: str
    chinese: str
    english: str

    def write(self, value: object) -> str:
        """The written form.

        Raises:
            ValueError: not an instant of the years 1 to 9999.
        """
        if type(value) is not int:
            raise ValueError(self.english)
        try:
            return format_instant(value)
        except OverflowError as error:
            raise ValueError(self.english) from error

    def read(self, text: str) -> int:
        """Milliseconds since 1970.

        Raises:
            ValueError: not the written form.
        """
        return parse_instant(text)


_NUMBER: Final = re.compile("0|[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class CountShape:
    """A whole number between two bounds, both included."""

    name: str
    least: int
    most: int
    chinese: str
    english: str

    def write(self, value: object) -> str:
        """Decimal digits.

        Raises:
            ValueError: not a number between the bounds.
        """
        if type(value) is not int or not self.least <= value <= self.most:
            raise ValueError(self.english)
        return str(value)

    def read(self, text: str) -> int:
        """The number.

        Raises:
            ValueError: not its one written form, or out of bounds.
        """
        # XML Schema trims white space around numbers before it looks; one value, one text.
        if not _NUMBER.fullmatch(text) or not self.least <= int(text) <= self.most:
            raise ValueError(self.english)
        return int(text)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a closed list of words."""

    words: tuple[str, ...]

    @property
    def chinese(self) -> str:
        """What to write."""
        return "取值为 " + "、".join(self.words)

    @property
    def english(self) -> str:
        """What to write."""
        return "one of " + ", ".join(self.words)

    def write(self, value: object) -> str:
        """The word.

        Raises:
            ValueError: not in the list.
        """
        if not isinstance(value, str):
            raise ValueError(self.english)  # noqa: TRY004 - one kind of error for "does not fit"
        return self.read(value)

    def read(self, text: str) -> str:
        """The word.

        Raises:
            ValueError: not in the list.
        """
        if text not in self.words:
            raise ValueError(self.english)
        return text


@dataclass(frozen=True, slots=True)
class Many:
    """How many of a repeated element there may be."""

    least: int
    most: int


Shape: TypeAlias = TextShape | InstantShape | CountShape | Choice

_ONE_LINE: Final = re.compile(r"[^ \t\n\r][^\t\n\r]*")
_CALENDAR_DAY: Final = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"


def _one_line(name: str, longest: int) -> TextShape:
    return TextShape(
        name,
        longest,
        _ONE_LINE,
        f"一行文字，最多 {longest} 字，首字符不为空格",
        f"one line of at most {longest} characters that does not begin with a space",
    )


Label: TypeAlias = Annotated[str, _one_line("Label", 64)]
Name: TypeAlias = Annotated[str, _one_line("Name", 120)]
Line: TypeAlias = Annotated[str, _one_line("Line", 200)]
Text: TypeAlias = Annotated[
    str,
    TextShape(
        "Text",
        4000,
        re.compile(r"[^ \t\n\r][\s\S]*"),
        "文字，最多 4000 字，首字符不为空白",
        "text of at most 4000 characters that does not begin with white space",
    ),
]
Value: TypeAlias = Annotated[
    str,
    TextShape(
        "Value",
        4000,
        re.compile(r"[\s\S]*"),
        "文字，最多 4000 字，可为空",
        "text of at most 4000 characters, or empty",
    ),
]
Code: TypeAlias = Annotated[
    str,
    TextShape(
        "Code",
        64,
        re.compile("[0-9A-Za-z][0-9A-Za-z._-]*"),
        "编码：字母、数字、点、下划线、短横，最多 64 位",
        "a code of at most 64 letters, digits, '.', '_', '-'",
    ),
]
"""Codes of items, implementations, materials. Lengths differ by province (GB/T 39046: an..24;
39554.1 as used: 31; databases: 50), so none is written down here."""
Token: TypeAlias = Annotated[
    str,
    TextShape(
        "Token",
        40,
        re.compile("[a-z][a-z0-9.-]*"),
        "小写英文标识，最多 40 位",
        "a lower-case word of at most 40 letters, digits, '.', '-'",
    ),
]
"""Words of open lists, kept by catalogue and local systems: number schemes, kinds of basis."""
Salt: TypeAlias = Annotated[
    str,
    TextShape(
        "Salt",
        32,
        re.compile("[0-9a-f]{32}"),
        "32 位小写十六进制随机数",
        "32 lower-case hexadecimal digits",
    ),
]
"""128 random bits: without them a body's digest would confirm guesses of an identity number."""
PartId: TypeAlias = Annotated[
    str,
    TextShape(
        "PartId",
        32,
        re.compile("[a-z][a-z0-9-]{0,31}"),
        "部件号：小写字母开头，最多 32 位",
        "the id of a part: a lower-case letter, then at most 31 letters, digits, '-'",
    ),
]
Region: TypeAlias = Annotated[
    str,
    TextShape(
        "Region",
        6,
        re.compile("[1-9][0-9]{5}"),
        "6 位行政区划代码",
        "a GB/T 2260 code of six digits",
    ),
]
Date: TypeAlias = Annotated[
    str,
    DateShape(
        "Date",
        10,
        re.compile(_CALENDAR_DAY),
        "日期，形如 2026-11-22",
        "a day that exists, as 2026-11-22",
    ),
]
Ethnicity: TypeAlias = Annotated[
    str,
    TextShape(
        "Ethnicity",
        2,
        re.compile("[0-9]{2}"),
        "GB/T 3304 两位民族代码",
        "an ethnicity code of two digits (GB/T 3304)",
    ),
]
Telephone: TypeAlias = Annotated[
    str,
    TextShape(
        "Telephone",
        20,
        re.compile("[+0-9][0-9-]*"),
        "电话号码：数字与短横，最多 20 位",
        "a telephone number: at most 20 digits and '-'",
    ),
]
CertificateType: TypeAlias = Annotated[
    str,
    TextShape(
        "CertificateType",
        4,
        re.compile("[0-9]{3}|uscc"),
        "三位证件类型代码（GA/T 2000.156），或 uscc（统一社会信用代码）",
        "a certificate type of three digits (GA/T 2000.156), or uscc",
    ),
]
Count: TypeAlias = Annotated[
    int, CountShape("Count", 1, 999, "1 到 999 的整数", "a whole number from 1 to 999")
]
Instant: TypeAlias = Annotated[
    int,
    InstantShape(
        "Instant",
        _CALENDAR_DAY + r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z",
        "UTC 时刻，形如 2026-11-22T03:00:00.000Z",
        "an instant in UTC, as 2026-11-22T03:00:00.000Z",
    ),
]
