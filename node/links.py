"""Who serves which peer, and by which carrier: one servant per peer, made when it is needed.

* A peer for which a ferry is configured gets hand-overs as files (`node.ferry`).
* Any other is posted to, or handed out to when it calls (`node.dispatch`).
* Besides, a node that cannot be dialled, or is told to, calls its peers for what waits there
  (`node.pull`).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import structlog

from node.dispatch import Dispatcher
from node.ferry import FerryLink
from node.pull import Puller
from node.questions import Questions
from node.store.queries import PeerRow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from node.carriers.ferry import Ferry
    from node.context import NodeContext
    from node.log.heads import HeadExchange
    from node.ports import Transport
    from node.recovery.gate import Recovery

Pull: TypeAlias = Literal["auto", "always", "never"]
"""Which peers are called for what waits there: those that cannot call us, all, or none."""
Link: TypeAlias = Dispatcher | FerryLink
MAX_HELD: Final = 512
"""Calls held open at once: one per peer, of as many peers."""
_log = structlog.get_logger()


class Links:
    """The servants of all peers.

    Attributes:
        questions: Those of others, under way to some peer.
    """

    def __init__(
        self,
        context: NodeContext,
        transport: Transport,
        take: Callable[[str, bytes], Awaitable[bytes]],
        ferries: Mapping[str, Ferry],
        pull: Pull,
        heads: HeadExchange,
        recovery: Recovery,
    ) -> None:
        """Nobody is served before `start`.

        Args:
            context: The node.
            transport: One post to a peer.
            take: What is done with the frames a peer hands over; the frames to answer.
            ferries: Carriers of links over a gate, by peer.
            pull: Whether to call peers for what waits there.
            heads: Of evidence logs, which go along.
            recovery: What goes while the node does not work.
        """
        self._context = context
        self._transport = transport
        self._take = take
        self._ferries = ferries
        self._pull: Pull = pull
        self._heads = heads
        self._recovery = recovery
        self._links: dict[str, Link] = {}
        self._pullers: dict[str, Puller] = {}
        self._tasks: dict[Link | Puller, asyncio.Task[None]] = {}
        self._held = 0
        self._running = False
        self.questions = Questions(context, transport, self.dialled, self.wake)

    def to(self, peer: str) -> Link:
        """The servant of a peer; it serves as soon as all do."""
        link = self._links.get(peer)
        if link is None:
            link = self._links[peer] = self._made(peer)
        self._serve(peer, link)
        return link

    def _made(self, peer: str) -> Link:
        context, wake, ferry = self._context, self.wake, self._ferries.get(peer)
        along = self.questions, self._heads, self._recovery
        if ferry is not None:
            return FerryLink(context, ferry, self._take, wake, self._recovered, *along)
        return Dispatcher(context, self._transport, peer, wake, self._recovered, *along)

    def dialled(self, peer: str) -> bool:
        """Whether we call this peer."""
        if peer in self._ferries:
            return False
        node = self._context.federation.directory.node(peer)
        return peer == self._context.here or (node is not None and node.url is not None)

    def wake(self, peer: str) -> None:
        """There is new work for a peer."""
        self.to(peer).wake()

    def heard(self, peer: str) -> None:
        """A peer has called."""
        if peer in self._links:
            self._links[peer].heard()

    def _recovered(self) -> None:
        """A peer came back: the others look whether what waits has a way again."""
        for link in self._links.values():
            link.look_again()

    def status(self) -> Iterable[PeerRow]:
        """How each peer we had work for answers, and each that we call."""
        found = {peer: link.status for peer, link in self._links.items()}
        for peer, puller in self._pullers.items():
            status = found.get(peer, PeerRow(peer, 0, 0, None, None))
            found[peer] = replace(status, trouble=status.trouble or puller.trouble)
        return found.values()

    # calls that are held

    async def waits(self, peer: str, wait_ms: int) -> bool:
        """Hold a call until something waits for the peer, for so long at most (PU-3).

        Returns:
            Whether to hand out: not if a later call of the peer has ended this one.
        """
        if self._held >= MAX_HELD:
            return True
        self._held += 1
        try:
            return await self.to(peer).waits(wait_ms)
        finally:
            self._held -= 1

    def release(self) -> None:
        """Have all calls that are held answered now."""
        for link in self._links.values():
            link.release()

    # what runs

    def start(self, waiting: Iterable[str]) -> None:
        """Serve: the peers something waits for, those reached by files, those to call."""
        self._running = True
        for peer in dict.fromkeys((*waiting, *self._ferries, *self._links)):
            self.wake(peer)
        self.refresh()

    def refresh(self) -> None:
        """The directory has changed: call the peers it says."""
        wanted = self._to_pull()
        for peer in self._pullers.keys() - wanted:
            self._tasks[self._pullers.pop(peer)].cancel()
        for peer in sorted(wanted - self._pullers.keys()):
            puller = Puller(self._context, self._transport, peer, self._take)
            self._pullers[peer] = puller
            self._serve(peer, puller)

    async def stop(self) -> None:
        """Serve nobody any more."""
        self._running = False
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _to_pull(self) -> set[str]:
        directory, here = self._context.federation.directory, self._context.here
        me = directory.node(here)
        reached = me is None or me.url is not None
        if self._pull == "never" or (self._pull == "auto" and reached):
            return set()
        return {
            node.id
            for node in directory.nodes.values()
            if self.dialled(node.id) and directory.linked(here, node.id)
        }

    def _serve(self, peer: str, servant: Link | Puller) -> None:
        if not self._running or servant in self._tasks:
            return
        task = asyncio.get_running_loop().create_task(servant.run())
        task.add_done_callback(lambda ended: self._report(peer, servant, ended))
        self._tasks[servant] = task

    def _report(self, peer: str, servant: Link | Puller, task: asyncio.Task[None]) -> None:
        """A servant ended; the next work for its peer starts it anew."""
        if self._tasks.get(servant) is task:
            del self._tasks[servant]
        if not task.cancelled() and task.exception() is not None:
            _log.error("service of a peer ended", peer=peer, exc_info=task.exception())
