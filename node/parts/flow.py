"""Large parts on their way to a peer that can be dialled: beside its messages, two posts at a time.

While one post is put on disk there, the next is on the line; and no small message waits for either.
A message joins the flow when an answer says that pieces of it are wanted, and leaves it with any
other answer, or with a post that comes to nothing. Meanwhile its errand is leased in the store, for
seconds only: whatever ends the flow, a crash too, the message is soon presented again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

from protocol.errors import TongbanError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from node.errands import HandOver
    from node.store.queries import Errand
    from protocol.envelope import MessageReference
    from protocol.frames import Frame

UNDER_WAY: Final = 2
LEASE_MS: Final = 10_000
_RENEWED_MS: Final = 3_000
_log = structlog.get_logger()


class Flow:
    """The messages whose pieces flow to one peer."""

    def __init__(
        self,
        build: Callable[[Sequence[Errand]], Awaitable[HandOver]],
        post: Callable[[HandOver, Callable[[], None]], Awaitable[Sequence[Frame] | None]],
        answered: Callable[[HandOver, Sequence[Frame]], Awaitable[None]],
    ) -> None:
        """Nothing flows yet.

        Args:
            build: Pieces of the first of these errands.
            post: Post it, and call back when it has left; the answer, or None if there is none.
            answered: Let the answer take effect, which may change the flow.
        """
        self._build = build
        self._post = post
        self._answered = answered
        self._leased_ms: dict[MessageReference, int] = {}
        self._ready: dict[MessageReference, Errand] = {}
        self._posts: deque[_Post] = deque()
        self._stirred = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def take(self, errand: Errand, now_ms: int, *, more: bool) -> bool:
        """A message goes on flowing; whether its lease has to be renewed.

        Args:
            errand: The message's.
            now_ms: The present.
            more: More of it may go now; else all of it is under way.
        """
        reference = errand.message.reference
        self._ready.pop(reference, None)
        if more:
            # At the end: whoever has had its turn waits for the others.
            self._ready[reference] = errand
        self._stirred.set()
        if self._ready and (self._task is None or self._task.done()):
            self._task = asyncio.ensure_future(self._run())
        leased_ms = self._leased_ms.get(reference)
        if leased_ms is not None and now_ms - leased_ms < _RENEWED_MS:
            return False
        self._leased_ms[reference] = now_ms
        return True

    def others(self, reference: MessageReference) -> bool:
        """Whether pieces of this message are under way that were posted after those answered."""
        return any(reference in post.references for post in self._posts)

    def let_go(self, reference: MessageReference) -> None:
        """A message leaves the flow."""
        self._leased_ms.pop(reference, None)
        self._ready.pop(reference, None)

    def clear(self) -> None:
        """All leave it."""
        self._leased_ms.clear()
        self._ready.clear()

    async def stop(self) -> None:
        """Post nothing any more."""
        self.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._ready or self._posts:
                self._stirred.clear()
                if not await self._begin():
                    await self._stirred.wait()
        except TongbanError as error:
            # Their leases end, and the messages are presented again.
            _log.error("large parts do not flow", why=str(error))
        except Exception:  # noqa: BLE001 - a fault of ours must not end the service of a peer
            _log.exception("flow failed")
        finally:
            answers = [post.answer for post in self._posts]
            for answer in answers:
                answer.cancel()
            await asyncio.gather(*answers, return_exceptions=True)
            self._posts.clear()
            self.clear()

    async def _begin(self) -> bool:
        """Take an answer, or post the next pieces, if it is time to; whether anything was done."""
        if self._posts and self._posts[0].answer.done():
            # In the order of the posts: what is said of a later one counts for an earlier one.
            post = self._posts.popleft()
            frames = post.answer.result()
            if frames is not None:
                await self._answered(post.handed, frames)
            return True
        # What is begun while one is still leaving might arrive before it.
        if not self._ready or len(self._posts) == UNDER_WAY or not all(p.sent for p in self._posts):
            return False
        handed = await self._next()
        if handed.errands:
            self._posts.append(_Post(handed, self._post, self._stirred.set))
        return True

    async def _next(self) -> HandOver:
        """The next post: of those that are ready, those whose turn it is."""
        ready = list(self._ready.values())
        handed = await self._build(ready)
        more = {errand.message.reference for errand in handed.unfinished}
        # What nothing can be built of waits for its lease.
        for errand in handed.errands or ready:
            reference = errand.message.reference
            if self._ready.pop(reference, None) is not None and reference in more:
                self._ready[reference] = errand
        return handed


class _Post:
    """One post under way."""

    def __init__(
        self,
        handed: HandOver,
        post: Callable[[HandOver, Callable[[], None]], Awaitable[Sequence[Frame] | None]],
        stir: Callable[[], None],
    ) -> None:
        self.handed = handed
        self.references = {errand.message.reference for errand in handed.errands}
        self.sent = False
        self._stir = stir
        self.answer = asyncio.ensure_future(post(handed, self._left))
        self.answer.add_done_callback(lambda _: stir())

    def _left(self) -> None:
        self.sent = True
        self._stir()
