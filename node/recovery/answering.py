"""What a node answers to the recalls of its peers, whether it works or recovers (RV-5, RV-7)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from node.log.witness import find_held
from node.recovery.recall import NOTHING_MS, answer_recall
from protocol.errors import TongbanError
from protocol.frames import BusyFrame, HeldFrame, RecallFrame
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from node.context import NodeContext
    from protocol.frames import Frame

AGAIN_MS: Final = 5_000
"""When to ask again for a page that could not be made."""
_log = structlog.get_logger()


class Answers:
    """The answers of one node; one page at a time, for each is a walk over many rows."""

    def __init__(self, context: NodeContext) -> None:
        """Nobody has asked yet."""
        self._context = context
        self._alone = asyncio.Lock()
        self._recalling: set[str] = set()

    async def to(self, peer: str, frames: Iterable[Frame]) -> list[Frame]:
        """The answer to a recall among the frames: what head of the peer is held, and one page."""
        recall = next((frame for frame in frames if isinstance(frame, RecallFrame)), None)
        if recall is None:
            return []
        if recall.since_ms < NOTHING_MS:
            self._recalling.add(peer)
        try:
            held = await self._context.store.read(lambda connection: find_held(connection, peer))
            if recall.since_ms < NOTHING_MS and not recall.cursor:
                lost = 0 if held is None else max(0, held.head.size - recall.size)
                _log.warning("peer recalls what it lost", peer=peer, leaves_lost=lost)
            async with self._alone:
                page = await answer_recall(self._context, peer, recall)
        except TongbanError as error:
            _log.warning("recall not answered", peer=peer, why=str(error))
            return [BusyFrame(None, Reason.STORE_UNAVAILABLE, AGAIN_MS)]
        return [*([] if held is None else [HeldFrame(held.octets)]), *page]

    def recalled(self, peer: str) -> bool:
        """Whether the peer has recalled what it lost since this was last asked."""
        recalling = peer in self._recalling
        self._recalling.discard(peer)
        return recalling
