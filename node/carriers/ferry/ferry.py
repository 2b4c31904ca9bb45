"""One link over a gate: numbers and signs what leaves, and finds whole hand-overs in what arrives.

A file that arrives passes through these hands:

    whole                            -> handed to the node, and removed when the node has taken it
                                        and its answers are written (FF-6)
    its number was taken before      -> removed: the gate doubled it (FF-4)
    anything else                    -> looked at again while it changes, for it may be half there;
                                        then set aside, with the reason (FF-7)
    signed by a key not known yet    -> likewise, but for a day: the directory may be late; so many
                                        of them and no more, for anybody can make them up

Names mean nothing, and what lies in the folder is read again after a restart. A number is never
given twice: it follows the clock, and the store remembers the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import structlog

from node.carriers.ferry.folders import ASIDE
from node.ports import Decision, Unit, Upsert
from node.store import schema
from node.store.queries import find_ferry
from protocol.errors import RefusedError, UnavailableError
from protocol.ferry_file import FERRY_HEAD_OCTETS
from protocol.limits import MAX_POST_OCTETS, MIB
from protocol.reasons import Reason
from signing.ferry import Passage, VerifiedHead, sign_ferry_files, verify_ferry_head

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from node.carriers.ferry.folders import Folders, Found
    from node.context import NodeContext
    from node.ports import Row
    from protocol.ferry_file import FerryHead

Run: TypeAlias = Callable[..., Awaitable[Any]]
"""Does file work: `asyncio.to_thread`, or at once in a simulation."""

MAX_TAKEN: Final = 1024
"""Numbers remembered: a hand-over that so many later ones have overtaken is taken for a double."""
KEY_PATIENCE_MS: Final = 24 * 3600 * 1000
MAX_UNDECIDED: Final = 64
LOOK_AGAIN_MS: Final = 5_000
"""Files that may wait for the directory for so long, and how often they are looked at again."""
MAX_WAITING: Final = 1024
"""Files in `out`: beyond it the gate is not fetching, and writing more would only fill the disk."""
_U64: Final = struct.Struct(">Q")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class FerryTerms:
    """What was agreed with whoever runs the gate.

    Attributes:
        peer: The node on the other side.
        round_trip_ms: How long a file and the file that answers it take, at most, on a usual day.
        max_file_octets: The largest file that passes.
    """

    peer: str
    round_trip_ms: int
    max_file_octets: int = 16 * MIB

    @property
    def patience_ms(self) -> int:
        """How long a file may stay half there without change."""
        return max(60_000, 2 * self.round_trip_ms)

    @property
    def scan_ms(self) -> int:
        """How often the folder is looked into.

        Looking costs little and works everywhere; a notice of the file system does not cross
        network shares, and says nothing about what came while nobody listened.
        """
        return min(5_000, max(200, self.round_trip_ms // 20))


@dataclass(frozen=True, slots=True)
class Arrived:
    """One whole hand-over, and the files it came in.

    Attributes:
        begins: The peer was put back to a backup before it wrote this one: what it wrote earlier
            counts no more (RV-14).
    """

    number: int
    instant_ms: int
    octets: bytes
    names: Sequence[str]
    begins: bool = False


@dataclass(slots=True)
class _Look:
    """What is known of a file, for as long as it does not change.

    Attributes:
        found: The file.
        since_ms: Since when it looks like this.
        head: Its head, if that holds.
        why: Why it is not taken, as far as is known.
        undecided: Time may decide it without a change of the file.
        looked_ms: When its head was read last.
    """

    found: Found
    since_ms: int
    looked_ms: int = 0
    head: VerifiedHead | None = None
    why: str = ""
    undecided: bool = False

    @property
    def whole(self) -> bool:
        """Whether all octets may be there; nothing speaks against it so far."""
        return self.head is not None and not self.why


@dataclass(slots=True)
class _Memory:
    """What the store remembers."""

    sent: int
    taken: set[int] = field(default_factory=set)
    floor: int = 0

    def took(self, number: int) -> bool:
        """Whether a number was taken, or counts as taken."""
        return number in self.taken or number < self.floor

    def taking(self, arrived: Sequence[Arrived]) -> _Memory:
        """What is remembered once these are taken."""
        taken = sorted(self.taken | {one.number for one in arrived})[-MAX_TAKEN:]
        begun = [one.number for one in arrived if one.begins]
        overtaken = taken[:1] if len(taken) == MAX_TAKEN else []
        return _Memory(self.sent, set(taken), max(self.floor, *begun, *overtaken, 0))


class Ferry:
    """The carrier of one link.

    Attributes:
        terms: As agreed.
        trouble: What is wrong in the folder `in`; None while all is well.
    """

    def __init__(
        self,
        context: NodeContext,
        terms: FerryTerms,
        folders: Folders,
        run: Run = asyncio.to_thread,
    ) -> None:
        """Bind it to its folders; nothing is touched yet."""
        self.terms = terms
        self.trouble: str | None = None
        self._context = context
        self._folders = folders
        self._run = run
        self._memory: _Memory | None = None
        self._looks: dict[str, _Look] = {}
        self._in_hand: set[int] = set()

    # out

    async def tidy(self) -> None:
        """At a start: remove what a process that was killed left half written."""
        with contextlib.suppress(OSError):
            await self._run(self._folders.tidy)

    async def send(self, octets: bytes) -> None:
        """Write a hand-over for the gate: signed, complete and durable.

        Raises:
            UnavailableError: PEER_UNREACHABLE: the folder `out` does not take it, or the gate does
                not fetch; STORE_UNAVAILABLE; SUITE_UNAVAILABLE.
        """
        memory, context = await self._remembered(), self._context
        now_ms = context.clock.now_ms()
        try:
            waiting = await self._run(self._folders.waiting)
            if len(waiting) >= MAX_WAITING:
                raise _unreachable(f"the gate has not fetched {len(waiting)} files from `out`")
            number = max(memory.sent + 1, now_ms)
            await self._remember(_Memory(number, memory.taken, memory.floor))
            passage = Passage(context.here, self.terms.peer)
            room = self.terms.max_file_octets - FERRY_HEAD_OCTETS
            files = sign_ferry_files(octets, passage, number, now_ms, room, context.keys)
            for place, file in enumerate(files):
                name = f"{context.here}-{self.terms.peer}-{number:015}-{place:03}"
                await self._run(self._folders.write, name, file)
        except OSError as error:
            raise _unreachable(f"`out`: {error.strerror or error}") from error

    async def withdraw(self, older_than_ms: int) -> None:
        """Take back what the gate has not fetched since then: it has been handed over again."""
        try:
            for name in await self._run(self._folders.waiting):
                number = name.split("-")[2:3]
                if number and number[0].isdigit() and int(number[0]) < older_than_ms:
                    await self._run(self._folders.withdraw, name)
        except OSError as error:
            raise _unreachable(f"`out`: {error.strerror or error}") from error

    # in

    async def arrivals(self) -> AsyncGenerator[Arrived, None]:
        """The whole hand-overs that are there, in the order of their numbers.

        Raises:
            UnavailableError: PEER_UNREACHABLE: the folder `in` cannot be read; STORE_UNAVAILABLE.
        """
        memory = await self._remembered()
        self.trouble = None
        try:
            found = await self._run(self._folders.look)
        except OSError as error:
            raise _unreachable(f"`in`: {error.strerror or error}") from error
        self._watch(found)
        now_ms = self._context.clock.now_ms()
        for look in list(self._looks.values()):
            again = look.undecided and not 0 <= now_ms - look.looked_ms < LOOK_AGAIN_MS
            if not look.whole and (not look.why or again):
                look.looked_ms = now_ms
                await self._guarded(self._look_into(look), look.found.name)
            if look.undecided:
                self.trouble = f"{look.found.name[:40]}: {look.why}"
        for number, looks in sorted(self._by_number().items()):
            if number in self._in_hand:
                continue
            if memory.took(number):
                for look in looks:
                    await self._remove(look.found.name)
                continue
            arrived = await self._guarded(self._gather(looks), f"hand-over {number}")
            if arrived is not None:
                self._in_hand.add(number)
                yield arrived
        await self._clear_up()

    async def done(self, arrived: Iterable[Arrived]) -> None:
        """These hand-overs were taken, and what they are answered is on its way.

        Raises:
            UnavailableError: STORE_UNAVAILABLE: they are taken again.
        """
        finished = list(arrived)
        if not finished:
            return
        memory = await self._remembered()
        await self._remember(memory.taking(finished))
        for one in finished:
            self._in_hand.discard(one.number)
            for name in one.names:
                await self._remove(name)

    def let_go(self, arrived: Arrived) -> None:
        """It could not be taken; it comes again."""
        self._in_hand.discard(arrived.number)

    def _watch(self, found: Iterable[Found]) -> None:
        """Keep what is known of files that are still the same."""
        now_ms, looks = self._context.clock.now_ms(), {}
        for file in found:
            known = self._looks.get(file.name)
            same = known is not None and known.found == file
            looks[file.name] = known if known is not None and same else _Look(file, now_ms)
        self._looks = looks

    async def _look_into(self, look: _Look) -> None:
        look.why, look.undecided = "", False
        name = look.found.name
        octets = await self._run(self._folders.read, name, 0, FERRY_HEAD_OCTETS)
        passage = Passage(self.terms.peer, self._context.here)
        trust = self._context.trust()
        try:
            look.head = verify_ferry_head(octets, passage, trust, self._context.clock.now_ms())
        except RefusedError as refusal:
            look.why = str(refusal)
            return
        except UnavailableError as trouble:
            look.why, look.undecided = str(trouble), True
            return
        size = FERRY_HEAD_OCTETS + look.head.head.size
        if look.found.size != size:
            look.why = f"{look.found.size} octets, announced are {size}"

    def _by_number(self) -> dict[int, list[_Look]]:
        """Files that may be whole, by hand-over."""
        found: dict[int, list[_Look]] = {}
        for look in self._looks.values():
            if look.head is not None and look.whole:
                found.setdefault(look.head.head.number, []).append(look)
        return found

    async def _gather(self, looks: Sequence[_Look]) -> Arrived | None:
        """A hand-over, if all of it is there; of doubles the first that is what its head says."""
        heads = [look.head.head for look in looks if look.head is not None]
        if not _complete(heads):
            return None
        pieces: dict[int, bytes] = {}
        for look in looks:
            if look.head is None or look.head.head.place in pieces:
                continue
            head = look.head.head
            octets = await self._run(
                self._folders.read, look.found.name, FERRY_HEAD_OCTETS, head.size
            )
            if look.head.holds(octets):
                pieces[head.place] = octets
            else:
                # Some gates give a file its size before they fill it.
                look.why = "its octets are not those its sender signed"
        if len(pieces) < heads[0].files:
            return None
        whole = b"".join(pieces[place] for place in sorted(pieces))
        names = [look.found.name for look in looks if look.whole]
        return Arrived(heads[0].number, heads[0].instant_ms, whole, names)

    async def _clear_up(self) -> None:
        """Set aside what has not changed for long and is not taken."""
        now_ms = self._context.clock.now_ms()
        patient = 0
        for look in list(self._looks.values()):
            in_hand = look.head is not None and look.head.head.number in self._in_hand
            patient += look.undecided
            waits = look.undecided and patient <= MAX_UNDECIDED
            patience_ms = KEY_PATIENCE_MS if waits else self.terms.patience_ms
            if not in_hand and now_ms - look.since_ms >= patience_ms:
                await self._set_aside(look, look.why or "the rest of its hand-over never came")
        try:
            aside = await self._run(self._folders.count_aside)
        except OSError:
            return
        if aside and self.trouble is None:
            self.trouble = f"{aside} files were not taken; why is said in `in`/{ASIDE}"

    async def _set_aside(self, look: _Look, why: str) -> None:
        name = look.found.name
        self.trouble = f"{name[:40]}: {why}"
        try:
            await self._run(self._folders.set_aside, name, why)
        except OSError as error:
            self.trouble = f"{name[:40]} cannot be set aside: {error.strerror or error}"
            return
        _log.warning("file set aside", peer=self.terms.peer, file=name[:40], why=why)
        self._looks.pop(name, None)

    async def _remove(self, name: str) -> None:
        try:
            await self._run(self._folders.remove, name)
        except OSError as error:
            self.trouble = f"{name[:40]} cannot be removed: {error.strerror or error}"
            return
        self._looks.pop(name, None)

    async def _guarded(self, work: Awaitable[Any], what: str) -> Any:  # noqa: ANN401 - passed through
        """File work about one thing must not stop the others."""
        try:
            return await work
        except FileNotFoundError:
            return None
        except OSError as error:
            self.trouble = f"{what[:40]}: {error.strerror or error}"
            return None

    # what the store remembers

    async def _remembered(self) -> _Memory:
        if self._memory is None:
            row = await self._context.store.read(lambda c: find_ferry(c, self.terms.peer))
            taken = set() if row is None else {value for (value,) in _U64.iter_unpack(row.taken)}
            sent, floor = (0, 0) if row is None else (row.sent, row.floor)
            self._memory = _Memory(sent, taken, floor)
        return self._memory

    async def _remember(self, memory: _Memory) -> None:
        octets = b"".join(map(_U64.pack, sorted(memory.taken)))
        values = {
            "node": self.terms.peer,
            "sent": memory.sent,
            "taken": octets,
            "floor": memory.floor,
        }
        rows: list[Row] = [Upsert(schema.ferry, values)]
        decision: Decision[None] = Decision(lambda _signatures: (rows, None))
        lock = frozenset({f"ferry {self.terms.peer}"})
        await self._context.store.run(Unit(lambda _connection: decision, lock))
        self._memory = memory


def _complete(heads: Sequence[FerryHead]) -> bool:
    """Whether a file for each place is there, and together they are no more than a post (FF-3).

    By what the heads say: what can come to nothing is not read.
    """
    sizes: dict[int, int] = {}
    for head in heads:
        sizes[head.place] = max(head.size, sizes.get(head.place, 0))
    files = {head.files for head in heads}
    return files == {len(sizes)} and sum(sizes.values()) <= MAX_POST_OCTETS


def _unreachable(detail: str) -> UnavailableError:
    return UnavailableError(Reason.PEER_UNREACHABLE, detail)
