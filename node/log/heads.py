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

That a peer's log was rewritten stops nothing: people's cases go on, and people look at the alarm.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import bindparam, select

from node.log import leaves
from node.log.growth import LOG_LOCK
from node.log.reading import HeadRow, LogReader, find_birth, newest_head
from node.ports import Decision, Insert, Unit, Update, Upsert
from node.store import schema
from node.store.query import Query, columns, given
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import HeadFrame, HeldFrame
from protocol.limits import HEAD_INTERVAL_MS, MAX_CLOCK_SKEW_MS
from protocol.reasons import Reason
from signing.heads import Growth, Verdict, judge_head
from signing.log import Head, read_head, verify_head, view_digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.ports import Row
    from protocol.frames import Frame
    from signing.log import VerifiedHead

LOOK_MS: Final = 10_000
"""How often a peer's head is looked at, at most: each look is a public-key operation."""
QUIET_MS: Final = 10 * 60_000
"""How long news of our log wait for something to go along with."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class HeldRow:
    """One row of `schema.log_held`: the last head taken of a peer."""

    node: str
    octets: bytes
    view: bytes
    taken_ms: int

    @property
    def head(self) -> Head:
        """The head."""
        return read_head(self.octets).head


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One row of `schema.log_shown`: what a peer holds of our log."""

    node: str
    size: int
    octets: bytes
    heard_ms: int


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """One row of `schema.log_alarm`: two heads that contradict each other."""

    node: str
    verdict: str
    seen_ms: int
    held: bytes
    shown: bytes
    first: int
    path: bytes


@dataclass(slots=True)
class _Peer:
    """When what was last done with a peer; milliseconds since 1970 UTC, None: never."""

    shown_ms: int | None = None
    looked_ms: int | None = None
    checked_ms: int | None = None
    news_ms: int | None = None
    owed: bool = False


_HELD: Final = Query(
    select(*columns(schema.log_held, HeldRow)).where(given(schema.log_held, "node")), HeldRow
)
_ALL_HELD: Final = Query(
    select(*columns(schema.log_held, HeldRow)).order_by(schema.log_held.c.node), HeldRow
)
_SHOWN: Final = Query(
    select(*columns(schema.log_shown, ShownRow)).where(given(schema.log_shown, "node")), ShownRow
)
_ALL_SHOWN: Final = Query(
    select(*columns(schema.log_shown, ShownRow)).order_by(schema.log_shown.c.node), ShownRow
)
_ALARMS: Final = Query(
    select(*columns(schema.log_alarm, AlarmRow)).order_by(
        schema.log_alarm.c.seen_ms, schema.log_alarm.c.node
    ),
    AlarmRow,
)
_head = schema.log_head
_KEPT: Final = Query(
    select(*columns(_head, HeadRow))
    .where(_head.c.kept == 1, _head.c.instant_ms > bindparam("after_ms"))
    .order_by(_head.c.incarnation.desc(), _head.c.size.desc())
    .limit(1),
    HeadRow,
)


def find_held(connection: Connection, node: str) -> HeldRow | None:
    """The last head taken of a peer."""
    return _HELD.first(connection, node=node)


def all_held(connection: Connection) -> list[HeldRow]:
    """The last head taken of each peer."""
    return _ALL_HELD.all(connection)


def find_shown(connection: Connection, node: str) -> ShownRow | None:
    """What a peer holds of our log, as far as it has said."""
    return _SHOWN.first(connection, node=node)


def all_shown(connection: Connection) -> list[ShownRow]:
    """What each peer holds of our log."""
    return _ALL_SHOWN.all(connection)


def alarms(connection: Connection) -> list[AlarmRow]:
    """Every contradiction seen, the oldest first."""
    return _ALARMS.all(connection)


class HeadExchange:
    """The heads that go between this node and its peers."""

    def __init__(self, context: NodeContext) -> None:
        """Nothing was shown or looked at yet."""
        self._context = context
        self._peers: dict[str, _Peer] = {}

    def _peer(self, peer: str) -> _Peer:
        return self._peers.setdefault(peer, _Peer())

    # ours

    def news(self) -> None:
        """The log has a new head that peers should know, sooner or later."""
        now_ms = self._context.clock.now_ms()
        for peer in self._peers.values():
            if peer.news_ms is None:
                peer.news_ms = now_ms

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
                _KEPT.first(connection, after_ms=now_ms - HEAD_INTERVAL_MS),
            )
        )
        if newest is None:
            return []
        first = 0
        if shown is not None and read_head(shown.octets).head.incarnation == newest.incarnation:
            first = shown.size
        if newest.size == first:
            return []
        # Whoever asks within the minute is shown the same head: it is kept once.
        row = kept if kept is not None and kept.size > first else await self._keep()
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

        def decide(connection: Connection) -> Decision[bool]:
            rows: list[Row] = []
            lost = not _leads_to(connection, head)
            if lost:
                newest = newest_head(connection)
                ours = b"" if newest is None else newest.octets
                rows += _alarm_rows(
                    connection, AlarmRow(here, Verdict.LOST.value, now_ms, ours, octets, 0, b"")
                )
            shown = ShownRow(peer, 0 if lost else head.size, octets, now_ms)
            before = find_shown(connection, peer)
            if before is None or (before.size, before.octets) != (shown.size, shown.octets):
                rows.append(Upsert(schema.log_shown, asdict(shown)))
            return Decision(lambda _proofs: (rows, lost))

        lost = await self._context.store.run(Unit(decide, frozenset({f"shown {peer}"})))
        if lost:
            _log.error("a peer holds a head this log does not lead to", peer=peer)

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
        verified = verify_head(frame.octets, self._context.trust(), peer)
        if verified.head.view != view_digest(frame.view):
            raise RefusedError(Reason.HEAD_INVALID, "signed over another view")
        if verified.head.instant_ms > now_ms + MAX_CLOCK_SKEW_MS:
            raise UnavailableError(Reason.CLOCK_SKEW, "a head of the future")
        unit = Unit(
            lambda connection: _decide(connection, verified, frame, now_ms),
            frozenset({f"held {peer}"}),
        )
        verdict = await self._context.store.run(unit)
        tell = _log.error if verdict.alarming else _log.info
        tell("log head", peer=peer, verdict=verdict.value, size=verified.head.size)


def _may(last_ms: int | None, now_ms: int) -> bool:
    return last_ms is None or not 0 <= now_ms - last_ms < LOOK_MS


def _decide(
    connection: Connection, verified: VerifiedHead, frame: HeadFrame, now_ms: int
) -> Decision[Verdict]:
    """Judge a head, and write what follows."""
    head = verified.head
    held = find_held(connection, head.node)
    growth = Growth(frame.first, frame.path)
    verdict = judge_head(None if held is None else held.head, verified, growth)
    rows: list[Row] = []
    if verdict.taken:
        row = HeldRow(head.node, verified.octets, frame.view, now_ms)
        rows += [Upsert(schema.log_held, asdict(row)), leaves.peer_head(verified, now_ms)]
    if verdict.alarming:
        before = b"" if held is None else held.octets
        path = b"".join(frame.path)
        alarm = AlarmRow(
            head.node, verdict.value, now_ms, before, verified.octets, frame.first, path
        )
        rows += _alarm_rows(connection, alarm)
    return Decision(lambda _proofs: (rows, verdict))


def _alarm_rows(connection: Connection, alarm: AlarmRow) -> list[Row]:
    """The first contradiction of a kind in a node's log is kept, for ever."""
    known = {(row.node, row.verdict) for row in alarms(connection)}
    if (alarm.node, alarm.verdict) in known:
        return []
    return [Insert(schema.log_alarm, asdict(alarm))]


def _growth(connection: Connection, first: int, size: int) -> tuple[bytes, ...]:
    birth = find_birth(connection)
    if birth is None or first == 0:
        return ()
    return LogReader(connection, birth.digest).consistency(first, size)


def _leads_to(connection: Connection, head: Head) -> bool:
    """Whether our log has grown from this head, or through a break we declared."""
    birth = find_birth(connection)
    if birth is None or head.incarnation > birth.incarnation:
        return False
    if head.incarnation < birth.incarnation:
        return True
    reader = LogReader(connection, birth.digest)
    return head.size <= reader.size and reader.root(head.size) == head.root
