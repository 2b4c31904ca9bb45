"""One production engine in virtual time, and whatever its posts may meet: the tests play the peers.

Where `tests.sim.world` puts whole federations under weather, a scene here says exactly what each
peer answers to each post: honest (`DrivenNode.reaches`), silent (the default), or a lie.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import structlog

from node.context import NodeContext, RetentionTimes
from node.effort import Effort
from node.engine import Engine
from node.outgoing import Filed
from node.store.engine import StoreEngine
from node.store.queries import Role, find_message, queue_lengths
from node.store.sqlite import SqliteDatabase
from node.store.stores import InlineStore
from protocol.bodies import Basis, CaseSubmit, Delivery
from protocol.envelope import Address, read_validated
from protocol.errors import LocalUseError, UnavailableError
from protocol.frames import (
    AskFrame,
    BusyFrame,
    EnvelopeFrame,
    HeadFrame,
    HeldFrame,
    read_frames,
    write_frames,
)
from protocol.limits import MAX_ENVELOPE_OCTETS, MAX_POST_OCTETS
from protocol.reasons import Reason
from protocol.wire import parse_canonical
from tests.samples import CLERK, WIDOW
from tests.sim.agents import SALT
from tests.sim.federation import ITEM, RULES, make_sample
from tests.sim.loop import VirtualLoop, run_virtual
from tests.sim.memory_blobs import Disk, MemoryBlobs
from tests.sim.weather import call
from tests.sim.world import PART_LIMITS, SimClock, SimEntropy
from tests.unit.routing.provinces import uscc

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from node.context import Federation
    from node.links import Pull
    from node.outgoing import Draft, Outcome
    from node.parts.limits import PartLimits
    from node.store.queries import MessageRow
    from protocol.bodies import Material
    from protocol.envelope import MessageReference
    from protocol.frames import Frame
    from signing.keys import KeyStore
    from signing.verify import Rules
    from tests.sim.gates import Gates

Handler: TypeAlias = Callable[[bytes], Awaitable[bytes]]
Caller: TypeAlias = Callable[[bytes, int], Awaitable[bytes]]
T = TypeVar("T")

SAMPLE: Final = make_sample()
HOUR_S: Final = 3600
_LATENCY_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Post:
    """One post a node made: when (ms since 1970), to whom, what; how long it may be held."""

    at_ms: int
    peer: str
    octets: bytes
    wait_ms: int | None = None

    @property
    def frames(self) -> list[Frame]:
        """What is handed over; heads of logs, which go along now and then, apart."""
        heads = HeadFrame, HeldFrame
        return [frame for frame in read_frames(self.octets) if not isinstance(frame, heads)]


class DrivenNode:
    """A node whose peers are handlers; it is its own transport.

    Attributes:
        peers: What answers a post, by node id; who is not in it does not answer.
        called: What answers a call that asks for what waits, likewise.
        posts: Every post tried, probes included.
    """

    def __init__(
        self,
        node_id: str,
        folder: Path,
        *,
        federation: Federation = SAMPLE.federation,
        keys: KeyStore | None = None,
        rules: Rules = RULES,
        skew_ms: int = 0,
        parts: PartLimits = PART_LIMITS,
        effort: Effort | None = None,
        pull: Pull = "auto",
        gates: Gates | None = None,
        retention: RetentionTimes | None = None,
        disk: Disk | None = None,
    ) -> None:
        keys = keys or SAMPLE.keyrings[node_id]
        self.node_id = node_id
        self.peers: dict[str, Handler] = {}
        self.called: dict[str, Caller] = {}
        self.posts: list[Post] = []
        self.clock = SimClock(skew_ms)
        self.disk = disk or Disk()
        self.folder = folder
        database = SqliteDatabase(folder / f"{node_id}.db", durable=False)
        self._store = InlineStore(StoreEngine(database, keys))
        self.context = NodeContext(
            here=node_id,
            rules=rules,
            keys=keys,
            store=self._store,
            blobs=MemoryBlobs(self.disk, random.Random(node_id)),
            clock=self.clock,
            entropy=SimEntropy(random.Random(node_id)),
            federation=federation,
            parts=parts,
            retention=retention or RetentionTimes(),
            effort=effort or Effort(),
        )
        ferries = {} if gates is None else gates.ferries(self.context)
        self.engine = Engine(self.context, self, pull=pull, ferries=ferries)
        self._task: asyncio.Future[None] | None = None

    async def post(
        self,
        peer: str,
        octets: bytes,
        *,
        wait_ms: int | None = None,
        sent: Callable[[], None] | None = None,
    ) -> bytes:
        """As HTTPS posts: nothing over the limit, and silence is an error."""
        if len(octets) > MAX_POST_OCTETS:
            message = f"a post of {len(octets)} octets"
            raise LocalUseError(message)
        self.posts.append(Post(now_ms(), peer, octets, wait_ms))
        if sent is not None:
            sent()
        await asyncio.sleep(_LATENCY_S)
        if wait_ms is not None:
            return await self.called.get(peer, unheld)(octets, wait_ms)
        return await self.peers.get(peer, silence)(octets)

    def reaches(self, peer: DrivenNode) -> None:
        """From now on this peer answers our posts itself."""
        self.peers[peer.node_id] = partial(peer.engine.exchange, self.node_id)
        self.called[peer.node_id] = partial(call, peer.engine, self.node_id)

    async def run(self) -> None:
        """Serve, until the scene ends."""
        self._task = asyncio.ensure_future(self.engine.run())
        await asyncio.sleep(0)

    async def rest(self) -> None:
        """Serve no more; what is called directly still works."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def stop(self) -> None:
        await self.rest()
        await self._store.close()

    async def file(self, draft: Draft) -> Filed:
        return _filed(await self.engine.file(draft))

    async def ping(self, destination: str) -> Filed:
        return _filed(await self.engine.ping(destination))

    async def read(self, query: Callable[[Connection], T]) -> T:
        return await self._store.read(query)

    async def queue(self) -> dict[str, int]:
        """How many errands wait, by peer."""
        return await self.read(queue_lengths)

    async def row(self, reference: MessageReference, role: Role = Role.OUT) -> MessageRow:
        found = await self.read(lambda connection: find_message(connection, reference, role))
        assert found is not None
        return found

    async def standing(self, filed: Filed) -> str:
        return (await self.row(filed.message)).standing

    def posts_to(self, peer: str) -> list[Post]:
        """What was posted there, without the probes."""
        return [post for post in self.posts if post.peer == peer and post.octets]


class Stage:
    """The nodes of one scene; they end with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nodes: list[DrivenNode] = []

    def node(self, node_id: str, **changes: Any) -> DrivenNode:
        """A node; `changes` as `DrivenNode` takes them."""
        made = DrivenNode(node_id, self._folder, **changes)
        self._nodes.append(made)
        return made

    async def end(self) -> None:
        for node in self._nodes:
            await node.stop()


def play(folder: Path, scene: Callable[[Stage], Awaitable[None]]) -> None:
    """Play a scene in virtual time, its log kept out of everybody's way."""

    async def whole() -> None:
        stage = Stage(folder)
        try:
            await scene(stage)
        finally:
            await stage.end()

    with structlog.testing.capture_logs():
        run_virtual(whole())


def now_ms() -> int:
    """The world's clock."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.now_ms()


async def silence(_octets: bytes) -> bytes:
    """Nobody is there."""
    raise UnavailableError(Reason.PEER_UNREACHABLE, "no answer")


async def unheld(octets: bytes, _wait_ms: int) -> bytes:
    """Nobody is there to be called."""
    return await silence(octets)


async def quiet(_octets: bytes) -> bytes:
    """It answers, and says nothing about anything."""
    return b""


def busy(after_ms: int, reason: Reason = Reason.OVERLOADED) -> Handler:
    """It answers, and is busy with everything."""

    async def answer(octets: bytes) -> bytes:
        return write_frames([BusyFrame(None, reason, after_ms)]) if octets else b""

    return answer


def references(octets: bytes) -> list[MessageReference]:
    """The messages whose envelopes or questions a post carries."""
    return [
        read_validated(parse_canonical(frame.octets, MAX_ENVELOPE_OCTETS)).header.reference
        for frame in read_frames(octets)
        if isinstance(frame, EnvelopeFrame | AskFrame)
    ]


def submission(handler: str, materials: tuple[Material, ...] = ()) -> CaseSubmit:
    """A case for the operator of this node."""
    return CaseSubmit(
        salt=SALT,
        actor=CLERK,
        item=ITEM,
        implementation=SAMPLE.implementation(handler).code,
        mode="online",
        basis=Basis(kind="residence", region=handler),
        applicant=WIDOW,
        delivery=Delivery(method="window"),
        materials=materials,
    )


def operator(node_id: str) -> Address:
    return Address(node_id, uscc(node_id))


def _filed(outcome: Outcome) -> Filed:
    assert isinstance(outcome, Filed), outcome
    return outcome
