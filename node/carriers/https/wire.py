"""What both ends of the carrier agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import aiohttp

EXCHANGE_PATH: Final = "/tongban/1/exchange"
MAX_HEADERS: Final = 32
MAX_HEADER_OCTETS: Final = 4096
MS_PER_S: Final = 1000


async def read_bounded(stream: aiohttp.StreamReader, limit: int) -> bytes | None:
    """A whole body, or None as soon as it turns out larger than the limit."""
    octets = bytearray()
    async for chunk in stream.iter_any():
        octets += chunk
        if len(octets) > limit:
            return None
    return bytes(octets)
