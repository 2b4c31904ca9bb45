"""What nobody needs any more goes.

Blobs that no row names; transfers and uploads that came to a stand; what was kept long enough
(`node.retention`). A row goes first, then its blob: a crash between the two leaves a blob without
a row, and those are swept before anything is served again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from node.ports import Decision, Delete, Unit
from node.settlement import message_lock
from node.store import schema
from node.store.transfers import find_transfers, idle_transfers, named_blobs
from protocol.errors import TongbanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.context import NodeContext
    from node.parts.intake import Intake
    from node.parts.uploads import Uploads
    from node.retention import Retention
    from node.store.transfers import TransferRow
    from protocol.envelope import MessageReference

_PAUSE_MS: Final = 10 * 60 * 1000
_MOST: Final = 256
_log = structlog.get_logger()


class Sweeper:
    """Sweeps the large parts of one node."""

    def __init__(
        self, context: NodeContext, intake: Intake, uploads: Uploads, retention: Retention
    ) -> None:
        """Nothing is swept yet."""
        self._retention = retention
        self._context = context
        self._intake = intake
        self._uploads = uploads

    async def sweep_orphans(self) -> None:
        """Delete what no row names; to be done before anything else uses the blobs.

        Raises:
            UnavailableError: STORE_UNAVAILABLE.
        """
        names = await self._context.blobs.names()
        for start in range(0, len(names), _MOST):
            some = names[start : start + _MOST]
            orphans = await self._orphans(some)
            await self._intake.drop(orphans)
            if orphans:
                _log.info("blobs swept that nothing names", count=len(orphans))

    async def _orphans(self, names: Sequence[str]) -> list[str]:
        named = await self._context.store.read(lambda c: named_blobs(c, names))
        return [name for name in names if name not in named]

    async def run(self) -> None:
        """Sweep now and then, until cancelled."""
        while True:
            await self._context.clock.sleep_ms(_PAUSE_MS)
            try:
                await self.sweep()
            except TongbanError as error:
                _log.warning("not swept", why=str(error))

    async def sweep(self) -> None:
        """Drop what came to a stand, and what was kept long enough.

        Raises:
            UnavailableError: STORE_UNAVAILABLE.
        """
        await self._uploads.sweep()
        await self._sweep_transfers()
        await self._retention.sweep()

    async def _sweep_transfers(self) -> None:
        before_ms = self._context.clock.now_ms() - self._context.parts.idle_ms
        idle = await self._context.store.read(lambda c: idle_transfers(c, before_ms, _MOST))
        for row in idle:
            async with self._intake.alone(row.reference):
                await self._drop_transfer(row, before_ms)

    async def _drop_transfer(self, row: TransferRow, before_ms: int) -> None:
        found = await self._context.store.read(lambda c: find_transfers(c, [row.blob]))
        known = found.get(row.blob)
        if known is None or known.touched_ms >= before_ms:
            return
        await self._delete(Delete(schema.transfer, {"blob": row.blob}), row.reference)
        await self._intake.drop([row.blob])
        _log.info("transfer dropped", message=row.message_id, part=row.part_id, peer=row.peer)

    async def _delete(self, row: Delete, about: MessageReference) -> None:
        decision: Decision[None] = Decision(lambda _: ([row], None))
        lock = frozenset({message_lock(about)})
        await self._context.store.run(Unit(lambda _connection: decision, lock))
