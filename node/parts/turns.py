"""One at a time: whoever works on the files of something has them alone."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

K = TypeVar("K")


@dataclass(slots=True)
class _Turn:
    """Who has it, and how many have or want it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Turns(Generic[K]):
    """Turns at things of one kind, in the order they were asked for. Forgets what nobody wants."""

    def __init__(self) -> None:
        """Nobody has anything."""
        self._turns: dict[K, _Turn] = {}

    @asynccontextmanager
    async def alone(self, what: K) -> AsyncIterator[None]:
        """Nobody else has it while the block runs."""
        turn = self._turns.setdefault(what, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[what]
