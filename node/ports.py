"""Ports: everything the engine needs from the world, so that the world can be simulated.

The engine never imports a driver, a socket or a clock. Production plugs in SQLite, HTTPS, the
system's clock and its randomness; the simulation plugs in virtual time and a network that
misbehaves on a seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection, Table

    from protocol.proof import Proof
    from signing.batch import ProofRequest
    from signing.suites import Suite

T = TypeVar("T")


class Clock(Protocol):
    """The node's time."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        ...

    async def sleep_ms(self, duration_ms: int) -> None:
        """Return after at least this long."""
        ...


class Entropy(Protocol):
    """The node's randomness."""

    def octets(self, count: int) -> bytes:
        """This many unpredictable octets."""
        ...


class Workers(Protocol):
    """Where long work on octets is done: work that reads nothing and leaves nothing behind."""

    async def run(self, work: Callable[[], T]) -> T:
        """Do it, and hand out what it returns or raises."""
        ...


class StampAuthority(Protocol):
    """A time-stamping authority (RFC 3161)."""

    async def answer(self, query: bytes) -> bytes:
        """Its answer to a query, both DER; at most a little more than a stamp may have.

        Raises:
            UnavailableError: TSA_UNREACHABLE.
        """
        ...


class Transport(Protocol):
    """One post to a peer and its answer."""

    async def post(
        self,
        peer: str,
        octets: bytes,
        *,
        wait_ms: int | None = None,
        sent: Callable[[], None] | None = None,
    ) -> bytes:
        """Deliver frames to the peer with this node id; the frames it answers.

        Args:
            peer: Its node id.
            octets: The frames.
            wait_ms: Ask for what waits there, and to be held until something does, for so long; or
                None.
            sent: Called when nothing of the post is left here to send: what is posted from then on
                arrives after it.

        Raises:
            UnavailableError: PEER_UNREACHABLE. Whether the peer took the frames is then unknown.
        """
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """What there is of a blob.

    Attributes:
        octets: So many, from the first on; they survive a power cut.
        sealed: It is whole, and will not change any more.
    """

    octets: int
    sealed: bool


class Blobs(Protocol):
    """Octets too large for rows, under names of our own making (64 hexadecimal digits).

    A row names a blob before it has its first octet, and after its last row is gone the blob goes;
    what no row names at a start is swept (`names`). A caller lets no two operations on one name
    run at once, but for reads of what is sealed. Every method may raise UnavailableError
    (STORE_UNAVAILABLE): nothing has changed, or less is held than before, which `held` tells.
    """

    async def held(self, name: str) -> Held:
        """What there is of it; nothing is a blob of no octets."""
        ...

    async def append(self, name: str, offset: int, pieces: Sequence[bytes], suite: Suite) -> int:
        """Add these octets; the number held when they are on disk.

        Args:
            name: The blob's.
            offset: Where they begin. What is held beyond it was never acknowledged, and is dropped.
            pieces: The octets, in order.
            suite: Whose digest will be asked of it.

        Raises:
            LocalUseError: less is held than `offset`, or it is sealed.
        """
        ...

    async def digest(self, name: str, suite: Suite) -> bytes:
        """The digest of what is held; computed on the way in, read again after a restart."""
        ...

    async def seal(self, name: str) -> None:
        """It is whole: it will not change any more, and can be read. Again is once."""
        ...

    async def read(self, name: str, offset: int, length: int) -> bytes:
        """Octets of a sealed blob, fewer only at its end."""
        ...

    async def delete(self, name: str) -> None:
        """It goes, if it is there."""
        ...

    async def names(self) -> Sequence[str]:
        """All there are."""
        ...

    async def space(self) -> int:
        """How many octets may be added before the disk is left too little; not below 0."""
        ...


@dataclass(frozen=True, slots=True)
class Insert:
    """A new row. `table` is a `Table` of node.store.schema."""

    table: Table
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Upsert:
    """A row written whole: inserted, or replacing the one with the same primary key."""

    table: Table
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Update:
    """New values for the one row with this primary key; the row has to exist."""

    table: Table
    key: Mapping[str, object]
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Delete:
    """The row with this primary key goes, if it is there."""

    table: Table
    key: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Leaves:
    """Leaves for the evidence log (`signing.log.Leaf`), one after the other.

    They wait without a place in the log until its sequencer gives them one. What a commit holds of
    them becomes one row, whoever they are from: so a leaf costs the writer next to nothing.
    """

    octets: bytes


Row: TypeAlias = Insert | Upsert | Update | Delete | Leaves


@dataclass(frozen=True, slots=True)
class Decision(Generic[T]):
    """What a unit of work decided: what to sign, and what to write once it is signed.

    Attributes:
        conclude: Given one proof per request, in order: the rows to write and the unit's result.
            Pure.
        requests: Statements to be proven; those of a whole group are, together, inside the
            transaction.
    """

    conclude: Callable[[Sequence[Proof]], tuple[Sequence[Row], T]]
    requests: Sequence[ProofRequest] = ()


@dataclass(frozen=True, slots=True)
class Unit(Generic[T]):
    """One unit of work: reads, and returns a decision; it writes nothing itself.

    Attributes:
        decide: Runs inside the writer's transaction, maybe more than once (a group that fails is
            replayed
            one by one), so it has no effect but its return value. It may raise a `TongbanError`:
            this unit then writes nothing and its caller gets the error; the others of its group go
            on.
        keys: What the unit's decision depends on or changes. Two units that share a key are never
            in one
            group, because the second has to see what the first wrote.
    """

    decide: Callable[[Connection], Decision[T]]
    keys: frozenset[str] = field(default_factory=frozenset)


class Store(Protocol):
    """Durable state. What `run` returned is on disk."""

    async def run(self, unit: Unit[T]) -> T:
        """Decide, sign, write, commit; the result is only returned after the commit.

        Raises:
            UnavailableError: STORE_UNAVAILABLE: nothing was written, or it is unknown whether it
                was; the
                unit has to be safe to run again. OVERLOADED: too many units wait.
            TongbanError: raised by the unit itself.
        """
        ...

    @property
    def trouble(self) -> str | None:
        """Why it could not write the last time, for operators; None while all is well."""
        ...

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a read-only query on committed state.

        Raises:
            UnavailableError: STORE_UNAVAILABLE.
        """
        ...

    async def forget(self) -> None:
        """See that deleted rows stand in no file of the store any more, as far as it can.

        Raises:
            UnavailableError: STORE_UNAVAILABLE: they still do; try again.
        """
        ...
