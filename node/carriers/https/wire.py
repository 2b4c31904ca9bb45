"""What both ends of the carrier agree on.

A post that asks for what waits says so by the preference `wait` (RFC 7240, section 4.3), in
seconds; 0 asks for what waits now. Who holds the call applies it: `Preference-Applied: wait=N`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aiohttp

EXCHANGE_PATH: Final = "/tongban/1/exchange"
DIRECTORY_PATH: Final = "/tongban/1/directory"
"""Where a peer asks for documents of the directory (DI-18)."""
DOCUMENTS_TYPE: Final = "application/vnd.tongban.documents"
MAX_HEADERS: Final = 32
MAX_HEADER_OCTETS: Final = 4096
MS_PER_S: Final = 1000
PREFER: Final = "Prefer"
PREFERENCE_APPLIED: Final = "Preference-Applied"

_WAIT: Final = re.compile(r'wait\s*=\s*"?([0-9]{1,9})"?\s*(?:;.*)?', re.IGNORECASE)


def preferred_wait_ms(fields: Iterable[str]) -> int | None:
    """The preference `wait` of a request's `Prefer` fields; None if it is not stated.

    The first one counts; what is not understood is ignored, as RFC 7240 asks.
    """
    for preference in ",".join(fields).split(","):
        wait = _WAIT.fullmatch(preference.strip())
        if wait is not None:
            return int(wait[1]) * MS_PER_S
    return None


async def read_bounded(stream: aiohttp.StreamReader, limit: int) -> bytes | None:
    """A whole body, or None as soon as it turns out larger than the limit."""
    octets = bytearray()
    async for chunk in stream.iter_any():
        octets += chunk
        if len(octets) > limit:
            return None
    return bytes(octets)
