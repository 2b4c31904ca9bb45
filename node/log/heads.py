"""Heads shown to peers and taken from them, so that no history can be rewritten unseen.

* A node shows its newest head to a peer along with whatever else it hands over, at most once a
  minute, with the proof that it grew from the head the peer holds (LG-7). If nothing is handed over
  for ten minutes although the log has news, the head goes alone.
* A head shown is looked at by `signing.log.verify_head` and judged by `signing.heads.judge_head`:
  taken, passed over, or kept as one half of a contradiction (LG-8, LG-9). Whoever showed one is
  told what is held now, and shown ours (LG-11).
* What a peer says it holds of ours is a head we signed. If our log does not lead to it, our store
  has gone back or was changed behind our back (LG-13).
* A head taken is a leaf of our own log; a head shown is never deleted here. But for the time of the
  last look at each peer, everything is in the store.

Beside a head stands what its node holds of the directories. One version of a document with two
contents was signed twice by somebody who may not: an alarm too (DI-13).

That a peer's log was rewritten stops nothing: people's cases go on, and people look at the alarm.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import structlog

from node.log import leaves
from node.log.growth import LOG_LOCK
from node.log.reading import (
    HeadRow,
    LogReader,
    breaks_after,
    find_birth,
    incarnation_of,
    newest_head,
)
from node.log.witness import (
    SPLIT,
    AlarmRow,
    HeldRow,
    ShownRow,
    alarm_rows,
    find_held,
    find_shown,
    recently_kept,
)
from node.ports import Decision, Unit, Update, Upsert
from node.store import schema
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import HeadFrame, HeldFrame
from protocol.limits import HEAD_INTERVAL_MS, MAX_INCARNATION_STEP
from routing.directory_views import Split, compare_views, read_view, write_view
from signing.heads import Growth, Verdict, judge_head, verify_shown
from signing.log import Head, read_head, verify_head

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.ports import Row
    from protocol.frames import Frame
    from signing.log import VerifiedHead

LOOK_MS: Final = 10_000
"""How often a peer's head is looked at, at most: each look is a public-key operation."""
UNPROVEN_MS: Final = 24 * 3600 * 1000
"""How long a peer may show heads that it does not prove to have grown from the one held here. It is
told that one each time, so an honest peer proves it with its next hand-over (LG-15)."""
QUIET_MS: Final = 10 * 60_000
"""How long news of our log wait for something to go along with."""
_log = structlog.get_logger()


@dataclass(slots=True)
class _Peer:
    """When what was last done with a peer; milliseconds since 1970 UTC, None: never."""

    shown_ms: int | None = None
    looked_ms: int | None = None
    checked_ms: int | None = None
    news_ms: int | None = None
    owed: bool = False


class HeadExchange:
    """The heads that go between this node and its peers."""

    def __init__(
        self, context: NodeContext, lost: Callable[[Head], Awaitable[None]] | None = None
    ) -> None:
        """Nothing was shown or looked at yet.

        Args:
            context: The node.
            lost: Told of a head of ours that our log does not lead to.
        """
        self._context = context
        self._tell_lost = lost
        self._peers: dict[str, _Peer] = {}

    def _peer(self, peer: str) -> _Peer:
        return self._peers.setdefault(peer, _Peer())

    # ours

    def news(self) -> None:
        """The log has a new head that peers should know, sooner or later."""
        now_ms = self._context.clock.now_ms()
        for name, peer in self._peers.items():
            if peer.news_ms is None and name != self._context.here:
                peer.news_ms = now_ms

    def declare(self, peers: Iterable[str]) -> None:
        """These have to see the next head, even if nothing else goes to them."""
        for peer in peers:
            self._peer(peer)

    def waiting(self, peer: str) -> bool:
        """Whether the newest head has waited long enough to go to this peer alone."""
        known = self._peers.get(peer)
        if known is None or known.news_ms is None:
            return False
        return self._context.clock.now_ms() - known.news_ms >= QUIET_MS

    async def show(self, peer: str) -> list[Frame]:
        """What goes along with a hand-over to a peer: once a minute, if there is anything new."""
        state, now_ms = self._peer(peer), self._context.clock.now_ms()
        early = state.shown_ms is not None and 0 <= now_ms - state.shown_ms < HEAD_INTERVAL_MS
        if early or peer == self._context.here:
            return []
        state.shown_ms, state.news_ms = now_ms, None
        try:
            frames = await self._newest(peer, now_ms)
            if state.owed:
                frames += await self.held_of(peer)
                state.owed = False
        except (UnavailableError, RefusedError) as error:
            _log.warning("head not shown", peer=peer, why=str(error))
            return []
        return frames

    async def _newest(self, peer: str, now_ms: int) -> list[Frame]:
        store = self._context.store
        shown, newest, kept = await store.read(
            lambda connection: (
                find_shown(connection, peer),
                newest_head(connection),
                recently_kept(connection, now_ms - HEAD_INTERVAL_MS),
            )
        )
        if newest is None:
            return []
        held = None if shown is None or not shown.size else read_head(shown.octets).head
        same = held is not None and held.incarnation == newest.incarnation
        if same and shown is not None and newest.size == shown.size:
            return []
        first = await store.read(lambda connection: _known_part(connection, held))
        # Whoever asks within the minute is shown the same head: it is kept once.
        fresh = kept is not None and kept.incarnation == newest.incarnation and kept.size > first
        row = kept if fresh else await self._keep()
        if row is None or row.size < first:
            return []
        path = await store.read(lambda connection: _growth(connection, first, row.size))
        return [HeadFrame(row.octets, row.view, first, path)]

    async def _keep(self) -> HeadRow | None:
        """The newest head, which from here on stays."""

        def decide(connection: Connection) -> Decision[HeadRow | None]:
            row = newest_head(connection)
            rows: list[Row] = []
            if row is not None and not row.kept:
                key = {"incarnation": row.incarnation, "size": row.size}
                rows.append(Update(schema.log_head, key, {"kept": 1}))
            return Decision(lambda _proofs: (rows, row))

        return await self._context.store.run(Unit(decide, frozenset({LOG_LOCK})))

    async def _check_ours(self, peer: str, octets: bytes) -> None:
        """What a peer says it holds of our log.

        Raises:
            RefusedError: HEAD_INVALID: we never signed it.
            UnavailableError: KEY_UNKNOWN or STORE_UNAVAILABLE.
        """
        here, now_ms = self._context.here, self._context.clock.now_ms()
        trust = self._context.federation.directory.trust
        head = verify_head(octets, trust, here, live=False).head

        def decide(connection: Connection) -> Decision[tuple[bool, bool]]:
            rows: list[Row] = []
            lost, forged = not leads_to(connection, head), beyond_reach(connection, head)
            if lost:
                newest = newest_head(connection)
                ours = b"" if newest is None else newest.octets
                rows += alarm_rows(
                    connection, AlarmRow(here, Verdict.LOST.value, now_ms, ours, octets, 0, b"")
                )
            shown = ShownRow(peer, 0 if lost else head.size, octets, now_ms)
            before = find_shown(connection, peer)
            if before is None or (before.size, before.octets) != (shown.size, shown.octets):
                rows.append(Upsert(schema.log_shown, asdict(shown)))
            return Decision(lambda _proofs: (rows, (lost, forged)))

        unit = Unit(decide, frozenset({f"shown {peer}"}))
        lost, forged = await self._context.store.run(unit)
        if forged:
            _log.error("somebody else signed a head with our key", peer=peer)
        elif lost:
            _log.error("a peer holds a head this log does not lead to", peer=peer)
            await self._lost(head)

    async def _lost(self, head: Head) -> None:
        if self._tell_lost is not None:
            await self._tell_lost(head)

    # theirs

    async def hear(
        self, peer: str, frames: Iterable[Frame], *, replying: bool = True
    ) -> list[Frame]:
        """What a peer says about logs: its own, and ours as it holds it.

        Args:
            peer: Node id, authenticated.
            frames: Whatever it sent; one head and one held head are looked at.
            replying: The answer can go now; otherwise it goes with the next hand-over.

        Returns:
            What to answer.
        """
        state, now_ms = self._peer(peer), self._context.clock.now_ms()
        frames = list(frames)
        held = next((frame for frame in frames if isinstance(frame, HeldFrame)), None)
        shown = next((frame for frame in frames if isinstance(frame, HeadFrame)), None)
        try:
            if held is not None and _may(state.checked_ms, now_ms):
                state.checked_ms = now_ms
                await self._check_ours(peer, held.octets)
            if shown is None or not _may(state.looked_ms, now_ms):
                return []
            state.looked_ms = now_ms
            await self._take(peer, shown, now_ms)
            state.owed = not replying
            return [*await self.held_of(peer), *await self.show(peer)] if replying else []
        except (UnavailableError, RefusedError) as error:
            _log.warning("head not taken", peer=peer, why=str(error))
            return []

    async def told(self, peer: str) -> list[Frame]:
        """What an empty post is answered: the head held of the peer, as far as that can be said."""
        try:
            return await self.held_of(peer)
        except UnavailableError:
            return []

    async def held_of(self, peer: str) -> list[Frame]:
        """The last head taken of a peer, if there is one, as it is told (LG-11).

        Raises:
            UnavailableError: STORE_UNAVAILABLE.
        """
        held = await self._context.store.read(lambda connection: find_held(connection, peer))
        return [] if held is None else [HeldFrame(held.octets)]

    async def _take(self, peer: str, frame: HeadFrame, now_ms: int) -> None:
        """Look at a head, and keep what it comes to.

        Raises:
            RefusedError: HEAD_INVALID.
            UnavailableError: KEY_UNKNOWN, CLOCK_SKEW or STORE_UNAVAILABLE.
        """
        trust = self._context.trust()
        verified = verify_shown(frame.octets, frame.view, trust, peer, now_ms)
        splits = self._splits(verified, frame, now_ms)
        unit = Unit(
            lambda connection: _decide(connection, verified, frame, splits, now_ms),
            frozenset({f"held {peer}"}),
        )
        verdict, since_ms = await self._context.store.run(unit)
        unproven = verdict in (Verdict.UNSHOWN, Verdict.STALE) and now_ms - since_ms > UNPROVEN_MS
        tell = _log.error if verdict.alarming or unproven else _log.info
        if verdict is Verdict.RESTARTED:
            tell = _log.warning
        word = f"{verdict.value}, not proven since {since_ms} ms" if unproven else verdict.value
        tell("log head", peer=peer, verdict=word, size=verified.head.size)

    def _splits(self, verified: VerifiedHead, frame: HeadFrame, now_ms: int) -> list[AlarmRow]:
        """What the peer's view of the directories contradicts in ours (DI-13).

        Raises:
            RefusedError: FRAME_MALFORMED: it is no view.
        """
        mine = self._context.federation.directory.view()
        found: dict[str, AlarmRow] = {}
        for difference in compare_views(mine, read_view(frame.view)):
            if isinstance(difference, Split):
                province, peer = f"{difference.prefix}0000", verified.head.node
                _log.error(
                    "split directory", province=province, what=difference.document, peer=peer
                )
                ours, theirs = write_view(mine), frame.view
                alarm = AlarmRow(province, SPLIT, now_ms, ours, verified.octets, 0, theirs)
                found.setdefault(province, alarm)
        return list(found.values())


def _may(last_ms: int | None, now_ms: int) -> bool:
    return last_ms is None or not 0 <= now_ms - last_ms < LOOK_MS


def _decide(
    connection: Connection,
    verified: VerifiedHead,
    frame: HeadFrame,
    splits: Iterable[AlarmRow],
    now_ms: int,
) -> Decision[tuple[Verdict, int]]:
    """Judge a head, and write what follows; since when the one held before is."""
    head = verified.head
    held = find_held(connection, head.node)
    growth = Growth(frame.first, frame.path)
    verdict = judge_head(None if held is None else held.head, verified, growth)
    rows = [row for split in splits for row in alarm_rows(connection, split)]
    if verdict.taken:
        row = HeldRow(head.node, verified.octets, frame.view, now_ms)
        rows += [Upsert(schema.log_held, asdict(row)), leaves.peer_head(verified, now_ms)]
    if verdict is Verdict.RESTARTED and held is not None:
        # Both heads stay: the last of the one incarnation, the first of the other (LG-10).
        values = {
            "node": head.node,
            "incarnation": head.incarnation,
            "seen_ms": now_ms,
            "fork": frame.first,
            "size": held.head.size,
            "held": held.octets,
            "shown": verified.octets,
            "record": b"",
        }
        rows.append(Upsert(schema.log_break, values))
    if verdict.alarming:
        before = b"" if held is None else held.octets
        path = b"".join(frame.path)
        alarm = AlarmRow(
            head.node, verdict.value, now_ms, before, verified.octets, frame.first, path
        )
        rows += alarm_rows(connection, alarm)
    since_ms = now_ms if held is None else held.taken_ms
    return Decision(lambda _proofs: (rows, (verdict, since_ms)))


def _growth(connection: Connection, first: int, size: int) -> tuple[bytes, ...]:
    birth = find_birth(connection)
    if birth is None or first == 0:
        return ()
    return LogReader(connection, birth.digest).consistency(first, size)


def _known_part(connection: Connection, held: Head | None) -> int:
    """How many leaves of the head a peer holds our log still has: where its proof begins."""
    birth = find_birth(connection)
    if held is None or birth is None:
        return 0
    if held.incarnation == birth.incarnation:
        return held.size
    reader = LogReader(connection, birth.digest)
    if held.size <= reader.size and reader.root(held.size) == held.root:
        return held.size
    forks = [row.fork for row in breaks_after(connection, held.node, held.incarnation)]
    return min(held.size, *forks) if forks else 0


def beyond_reach(connection: Connection, head: Head) -> bool:
    """Whether a head of ours is of an incarnation that we cannot have had (LG-16).

    A stolen key signed it. To go on after it would take an incarnation that no peer takes (LG-10),
    or that there is not.
    """
    return head.incarnation >= incarnation_of(connection) + MAX_INCARNATION_STEP


def leads_to(connection: Connection, head: Head) -> bool:
    """Whether our log has grown from this head, or we declared a break that covers it (RV-11)."""
    birth = find_birth(connection)
    if birth is None or head.incarnation > birth.incarnation:
        return False
    reader = LogReader(connection, birth.digest)
    if head.size <= reader.size and reader.root(head.size) == head.root:
        return True
    return any(row.covers(head) for row in breaks_after(connection, head.node, head.incarnation))
