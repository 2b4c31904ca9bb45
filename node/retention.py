"""What goes by itself when its time is over (留存期限): octets, never the knowledge of them.

* A forwarder's parts, some weeks after the destination's receipt went upstream.
* Contents of our own authorities' messages, if the operator set a time for them (`[retention]`):
  erased as on an order (`node.erasure`), which their case may still put off.
* Answers under idempotency keys.

Rows of messages stay with their receipts, as long as the evidence: a duplicate is known by them
however late it comes, and gets the same receipt again (EX-5).
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from node.erasure import Eraser, Scope
from node.ports import Decision, Delete, Unit
from node.settlement import message_lock
from node.store import schema
from node.store.contents import aged_parts, old_answers
from node.store.queries import Role, find_message
from protocol.errors import RefusedError
from protocol.reasons import Reason
from signing.erasure import Ground, Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from node.context import NodeContext
    from node.parts.intake import Intake
    from node.store.contents import AgedPart
    from protocol.envelope import MessageReference

_PAGE: Final = 1024
_PAGES: Final = 32
"""Of one sweep: what is left waits for the next."""


class Retention:
    """Looks through what is old, some pages at a time."""

    def __init__(
        self, context: NodeContext, intake: Intake, eraser: Eraser, may: Callable[[], bool]
    ) -> None:
        """It begins with the oldest.

        Args:
            context: The node.
            intake: Knows of blobs.
            eraser: Erases.
            may: Whether the node may let go of anything now: not while it recovers.
        """
        self._may = may
        self._context = context
        self._intake = intake
        self._eraser = eraser
        self._after = ""

    async def sweep(self) -> None:
        """Let go of what is due.

        Raises:
            UnavailableError: STORE_UNAVAILABLE.
        """
        if not self._may():
            return
        await self._eraser.finish()
        await self._sweep_answers()
        for _ in range(_PAGES):
            await self._sweep_page()
            if not self._after:
                break

    async def _sweep_answers(self) -> None:
        before_ms = self._context.clock.now_ms() - self._context.retention.answers_ms
        for _ in range(_PAGES):
            keys = await self._context.store.read(lambda c: old_answers(c, before_ms, _PAGE))
            if not keys:
                return
            rows = [Delete(schema.idempotency, key) for key in keys]
            locks = frozenset(f"token {key['client']} {key['key']}" for key in keys)
            await self._context.store.run(_deleting(rows, locks))

    async def _sweep_page(self) -> None:
        now_ms = self._context.clock.now_ms()
        forwarded_ms = self._context.parts.forwarded_ms
        contents_ms = self._context.retention.contents_ms
        before_ms = now_ms - min(forwarded_ms, contents_ms or forwarded_ms)
        after = self._after
        page, self._after = await self._context.store.read(
            lambda c: aged_parts(c, after, before_ms, _PAGE)
        )
        settled = [row for row in page if row.settled_ms is not None and not row.errands]
        passed = [
            row
            for row in settled
            if row.role == Role.TRANSIT and (row.settled_ms or 0) < now_ms - forwarded_ms
        ]
        await self._drop_forwarded(passed)
        if contents_ms is not None:
            own = (row for row in settled if row.role != Role.TRANSIT)
            await self._erase(row for row in own if (row.settled_ms or 0) < now_ms - contents_ms)

    async def _drop_forwarded(self, parts: Sequence[AgedPart]) -> None:
        if not parts:
            return
        rows = [Delete(schema.part, part.key) for part in parts]
        locks = frozenset(message_lock(part.reference) for part in parts)
        await self._context.store.run(_deleting(rows, locks))
        await self._intake.drop([part.blob for part in parts if part.blob is not None])

    async def _erase(self, parts: Iterable[AgedPart]) -> None:
        for (reference, role), _ in groupby(parts, lambda part: (part.reference, part.role)):
            try:
                await self._erase_one(reference, Role(role))
            except RefusedError as refusal:
                if refusal.reason is not Reason.STILL_NEEDED:
                    raise
        await self._eraser.finish()

    async def _erase_one(self, reference: MessageReference, role: Role) -> None:
        row = await self._context.store.read(lambda c: find_message(c, reference, role))
        if row is None:
            return
        holder = row.authority if role is Role.OUT else row.to_authority
        directory, now_ms = self._context.federation.directory, self._context.clock.now_ms()
        heir = directory.heir(holder, self._context.here, now_ms)
        order = Order(heir, "-", "-", Ground.RETENTION, "[retention] contents_days")
        await self._eraser.record(order, Scope(message_id=reference.message_id))


def _deleting(rows: Sequence[Delete], locks: frozenset[str]) -> Unit[None]:
    decision: Decision[None] = Decision(lambda _: (rows, None))
    return Unit(lambda _: decision, locks)
