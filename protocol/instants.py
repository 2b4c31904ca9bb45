"""Instants: milliseconds since 1970-01-01 UTC as `int`, and their one written form.

Written form: ``2026-11-22T03:00:00.000Z`` (XML Schema dateTime, always UTC, always three decimals),
so that equal instants have equal octets.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_FORM: Final = re.compile(r"\A(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d)\.(\d{3})Z\Z")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def format_instant(instant_ms: int) -> str:
    """The written form of an instant.

    Raises:
        OverflowError: outside the years 1 to 9999.
    """
    moment = _EPOCH + timedelta(milliseconds=instant_ms)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def parse_instant(text: str) -> int:
    """Read the written form; milliseconds since 1970.

    Raises:
        ValueError: not the one written form, or not a date.
    """
    match = _FORM.match(text)
    if match is None or not text.isascii():
        message = f"not an instant in the form 2026-11-22T03:00:00.000Z: {text[:40]!r}"
        raise ValueError(message)
    seconds = int(datetime.fromisoformat(match[1] + "Z").timestamp())  # whole, so exact
    return seconds * 1000 + int(match[2])
