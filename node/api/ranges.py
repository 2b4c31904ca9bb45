"""Ranges of a part (RFC 9110, section 14): one range of octets, or the whole.

A range that is malformed, in another unit, or several at once is passed over, as the standard
allows: the answer is then the whole part.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from node.api.problems import Fault, ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ONE: Final = re.compile(r"bytes=(?P<first>[0-9]{1,19})?-(?P<last>[0-9]{1,19})?")


def chosen_range(headers: Mapping[str, str], tag: str, size: int) -> range | None:
    """The octets a request asks for; None for all of them.

    Args:
        headers: Of the request.
        tag: The part's entity tag, with its quotes.
        size: Of the part.

    Raises:
        ProblemError: RANGE: it lies outside the part.
    """
    match = _ONE.fullmatch(headers.get(hdrs.RANGE, "").strip())
    if match is None or headers.get(hdrs.IF_RANGE, tag) != tag:
        return None
    first, last = match["first"], match["last"]
    if first is None and last is None:
        return None
    if first is None:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), size if last is None else min(size, int(last) + 1)
        if last is not None and int(last) < start:
            return None
    if start >= stop:
        told: dict[str, str] = {hdrs.CONTENT_RANGE: f"bytes */{size}"}
        raise ProblemError(Fault.RANGE, f"the part has {size} octets", headers=told)
    return range(start, stop)
