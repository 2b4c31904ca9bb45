"""What a head shown by a peer means beside the one held of it (日志头比对).

A log only grows. Whoever keeps the last head of a peer therefore knows of the next one whether it
carries the same history on, and holds two signed statements of that peer in hand if it does not
(LG-8, LG-9):

    ====================================  ==================================================
    the head shown                        is
    ====================================  ==================================================
    the first one of this peer            taken on its signature
    of a later incarnation                taken, and told: the peer declared a break (LG-10)
    of one more than 256 later            stale: no honest node loses so much
    of an earlier incarnation, or smaller  stale: late, replayed, or the peer has lost leaves
    of the same size, the same root       known
    of the same size, another root        a fork
    larger, proof from another size       not shown yet: it is told what is held, to try again
    larger, proof verifies                taken
    larger, proof does not verify         a rewritten history
    with another digest of the tree       a rewritten history: the digest never changes (LG-3)
    ====================================  ==================================================

A node that is told of a head it signed, to which its own log does not lead, has lost leaves or was
changed behind its back (LG-13).

Pure: heads and octets of a path in, a verdict out.

Source: RFC 9162 §2.1.4 and §8 (monitors, gossip); design, section 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from protocol.errors import RefusedError, UnavailableError
from protocol.limits import MAX_CLOCK_SKEW_MS, MAX_INCARNATION_STEP
from protocol.reasons import Reason
from signing.log import verify_head, view_digest
from signing.merkle import verify_consistency

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signing.log import Head, VerifiedHead
    from signing.trust import TrustSet


class Verdict(StrEnum):
    """What a head shown by a peer is; the values stand in the log and in alarms."""

    FIRST = "first"
    GROWN = "grown"
    RESTARTED = "restarted"
    KNOWN = "known"
    STALE = "stale"
    UNSHOWN = "unshown"
    FORKED = "forked"
    REWRITTEN = "rewritten"
    LOST = "lost"

    @property
    def taken(self) -> bool:
        """Whether the head shown replaces the one held."""
        return self in (Verdict.FIRST, Verdict.GROWN, Verdict.RESTARTED)

    @property
    def alarming(self) -> bool:
        """Whether somebody has to look: the history is not the one shown before."""
        return self in (Verdict.FORKED, Verdict.REWRITTEN, Verdict.LOST)


@dataclass(frozen=True, slots=True)
class Growth:
    """A claim that a log of `first` leaves grew into the one shown (RFC 9162 §2.1.4)."""

    first: int
    path: Sequence[bytes]


def verify_shown(
    octets: bytes, view: bytes, trust: TrustSet, peer: str, now_ms: int
) -> VerifiedHead:
    """Look at a head that a peer shows with its view of the directories (LG-6).

    Raises:
        RefusedError: HEAD_INVALID.
        UnavailableError: KEY_UNKNOWN, or CLOCK_SKEW: a head of the future.
    """
    verified = verify_head(octets, trust, peer)
    if verified.head.view != view_digest(view):
        raise RefusedError(Reason.HEAD_INVALID, "signed over another view")
    if verified.head.instant_ms > now_ms + MAX_CLOCK_SKEW_MS:
        raise UnavailableError(Reason.CLOCK_SKEW, "a head of the future")
    return verified


def judge_head(held: Head | None, shown: VerifiedHead, growth: Growth) -> Verdict:
    """What a head means, by the table in the module's docstring.

    Args:
        held: The last head taken of this peer; None if there is none.
        shown: The one it shows now, verified.
        growth: What it shows beside it.
    """
    new = shown.head
    if held is None:
        return Verdict.FIRST
    if new.incarnation != held.incarnation:
        return _judge_break(held, new, growth)
    if new.digest is not held.digest:
        return Verdict.REWRITTEN
    if new.size < held.size:
        return Verdict.STALE
    if new.size == held.size:
        return Verdict.KNOWN if new.root == held.root else Verdict.FORKED
    if growth.first != held.size:
        return Verdict.UNSHOWN
    grown = verify_consistency(
        held.digest.suite, held.size, new.size, held.root, new.root, growth.path
    )
    return Verdict.GROWN if grown else Verdict.REWRITTEN


def _judge_break(held: Head, new: Head, growth: Growth) -> Verdict:
    """A head of another incarnation. Shown to go on from the very head held, it has to."""
    if not held.incarnation < new.incarnation <= held.incarnation + MAX_INCARNATION_STEP:
        return Verdict.STALE
    if growth.first == held.size and new.digest is held.digest and new.size >= held.size:
        grown = verify_consistency(
            held.digest.suite, held.size, new.size, held.root, new.root, growth.path
        )
        return Verdict.RESTARTED if grown else Verdict.REWRITTEN
    return Verdict.UNSHOWN if growth.first > held.size else Verdict.RESTARTED
