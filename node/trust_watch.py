"""Keeping what is believed up to date, and saying when it grows too old (信任值守).

A freshness statement lives for a day, so somebody lays down a new one every few hours: whatever
lies in the files of `[trust]` is read again when they change, and while something of them could not
be decided yet. What peers hold is fetched into them (node/trust_sync.py). What is refused is said
once and looked at again when the files have changed.

A province whose documents have expired is an alarm when it happens and once a day after that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from node.config import ConfigError
from protocol.errors import TongbanError, UnavailableError
from routing.directory import Standing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from node.context import NodeContext
    from node.federation import Trust
    from node.trust_sync import TrustSync

LOOK_MS: Final = 30_000
_REMIND_MS: Final = 24 * 3600 * 1000
_log = structlog.get_logger()


class TrustWatch:
    """Watches the signed files of one node, and their time."""

    def __init__(
        self,
        context: NodeContext,
        trust: Trust,
        reload: Callable[[], Awaitable[None]],
        sync: TrustSync | None = None,
    ) -> None:
        """Nothing is known yet.

        Args:
            context: The node.
            trust: Its files.
            reload: Puts in force what they say now.
            sync: Fetches newer ones from peers.
        """
        self._context = context
        self._trust = trust
        self._reload = reload
        self._sync = sync
        self._again = False
        self._told: dict[str, tuple[Standing, int]] = {}

    async def run(self) -> None:
        """Look every half minute, until cancelled."""
        while True:
            self.tell()
            await self._context.clock.sleep_ms(LOOK_MS)
            try:
                if self._sync is not None and self._sync.due():
                    await self._sync.round()
                await self.look()
            except Exception:  # noqa: BLE001 - a fault of ours must not end the watch
                _log.exception("looking after the signed files failed")

    async def look(self) -> None:
        """Read the files again if they have changed, or were not decided."""
        if not self._trust.changed() and not self._again:
            return
        try:
            await self._reload()
        except UnavailableError as trouble:
            if not self._again:
                _log.warning("signed files not decided; tried again", why=str(trouble))
            self._again = True
        except (ConfigError, TongbanError) as error:
            self._again = False
            _log.error("reload refused; what was in force stays", why=str(error))
        else:
            self._again = False

    def tell(self) -> None:
        """Say which provinces' documents have expired, when that happens and once a day."""
        directory, now_ms = self._context.federation.directory, self._context.clock.now_ms()
        for prefix, province in directory.provinces.items():
            standing = directory.standing(prefix, now_ms)
            before, said_ms = self._told.get(prefix, (Standing.FRESH, 0))
            if standing is before and (
                standing is Standing.FRESH or 0 <= now_ms - said_ms < _REMIND_MS
            ):
                continue
            self._told[prefix] = standing, now_ms
            tell = _log.info if standing is Standing.FRESH else _log.error
            words = {
                Standing.FRESH: "directory fresh again",
                Standing.GRACE: "directory expired: known keys go on, nothing new comes in",
                Standing.STALE: "directory too old: what concerns the province waits",
            }
            tell(words[standing], prefix=prefix, expired_ms=province.fresh_until_ms)
