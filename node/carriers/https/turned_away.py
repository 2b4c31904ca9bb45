"""Who was turned away in the handshake: told at once, then counted, or a scanner fills the log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

import structlog

_WINDOW_S: Final = 60
_ADDRESSES: Final = 256
_OTHERS: Final = "others"
_EVENT: Final = "caller turned away in the handshake"
_log = structlog.get_logger("node.carriers.https")


@dataclass(slots=True)
class _Counted:
    """What came of an address since its first failure was told."""

    more: int = 0
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


class TurnedAway:
    """One address has two lines a minute at most; beyond 256 addresses the others share theirs."""

    def __init__(self) -> None:
        """Nobody was."""
        self._counted: dict[str, _Counted] = {}

    def note(self, address: str, error: str) -> None:
        """A handshake with this address failed; the only trace of it."""
        if address not in self._counted and len(self._counted) >= _ADDRESSES:
            address = _OTHERS
        counted = self._counted.get(address)
        if counted is not None:
            counted.more += 1
            return
        _log.warning(_EVENT, address=address, error=error)
        timer = asyncio.get_running_loop().call_later(_WINDOW_S, self._tell, address)
        self._counted[address] = _Counted(timer=timer)

    def stop(self) -> None:
        """Tell what is left to tell."""
        for address, counted in list(self._counted.items()):
            if counted.timer is not None:
                counted.timer.cancel()
            self._tell(address)

    def _tell(self, address: str) -> None:
        more = self._counted.pop(address).more
        if more:
            _log.warning(_EVENT, address=address, more=more, within_s=_WINDOW_S)
