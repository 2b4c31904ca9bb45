"""The bounds of large parts at one node: those of the protocol, and those of its own disk.

All are in one value, so that a simulation can do with two kilobytes what takes a gigabyte.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.limits import (
    BACKUP_HORIZON_MS,
    GIB,
    MAX_INLINE_PART_OCTETS,
    MAX_LARGE_OCTETS,
    MAX_MESSAGE_OCTETS,
    MAX_PART_OCTETS,
    MAX_PIECE_OCTETS,
    MAX_POST_OCTETS,
    MIB,
)

_HOUR_MS = 3600 * 1000


@dataclass(frozen=True, slots=True)
class PartLimits:
    """Octets, but for counts and milliseconds.

    Attributes:
        inline: A part up to this travels whole beside its envelope.
        message: An envelope with its inline parts.
        part: One part.
        large: All large parts of one message.
        piece: One frame of a large part.
        post: Pieces in one post.
        ahead: Pieces of one message under way where answers take long.
        peer_parts: Parts one peer may have under way.
        peer_octets: Their octets.
        octets: Those of all peers.
        early: Octets in memory that have overtaken others, of all transfers together.
        mismatches: How often a part may come whole and wrong until it has to wait.
        rest_ms: For how long.
        idle_ms: Until a transfer or an upload that does not grow is dropped.
        forwarded_ms: How long a forwarder keeps parts after the destination's receipt.
        client_uploads: Uploads a local caller may have open.
        client_octets: Their octets.
    """

    inline: int = MAX_INLINE_PART_OCTETS
    message: int = MAX_MESSAGE_OCTETS
    part: int = MAX_PART_OCTETS
    large: int = MAX_LARGE_OCTETS
    piece: int = MAX_PIECE_OCTETS
    post: int = MAX_POST_OCTETS // 2
    ahead: int = 64 * MIB
    peer_parts: int = 256
    peer_octets: int = 16 * GIB
    octets: int = 64 * GIB
    early: int = 16 * MIB
    mismatches: int = 3
    rest_ms: int = 10 * 60 * 1000
    idle_ms: int = 24 * _HOUR_MS
    forwarded_ms: int = BACKUP_HORIZON_MS
    client_uploads: int = 1024
    client_octets: int = 64 * GIB
