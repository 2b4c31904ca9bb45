"""How the node logs (日志): one line per event on standard error, for people or for programs.

What is logged never holds personal data: ids, codes, counts and reasons, no names, no numbers of
people, no octets of a message.

Much of it is said because of what a peer does, and a peer can do it a thousand times a second. So
the same event about the same peer has so many lines a minute; the others are counted, and the next
line says how many they were.
"""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, WrappedLogger

    from node.config import LogSection

LINES: Final = 60
WINDOW_S: Final = 60.0
"""One event about one peer has so many lines in so many seconds."""
_KINDS: Final = 1024

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


@dataclass(slots=True)
class _Count:
    """What was said since a moment, and what was left out."""

    since_s: float
    lines: int = 0
    withheld: int = 0


class Damper:
    """A structlog processor that drops what is said too often; used from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was said.

        Args:
            clock: Seconds, never set back.
        """
        self._clock = clock
        self._counts: dict[tuple[str, str], _Count] = {}
        self._lock = Lock()

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Let a line pass, or drop it.

        Raises:
            structlog.DropEvent: there were too many of its kind.
        """
        key, now_s = (str(event["event"]), str(event.get("peer", ""))), self._clock()
        with self._lock:
            count = self._counts.get(key)
            withheld = 0
            if count is None or now_s - count.since_s >= WINDOW_S:
                withheld = 0 if count is None else count.withheld
                if count is None and len(self._counts) >= _KINDS:
                    self._counts.clear()
                count = self._counts[key] = _Count(now_s)
            if count.lines >= LINES:
                count.withheld += 1
                raise structlog.DropEvent
            count.lines += 1
        return {**event, "withheld": withheld} if withheld else event


def set_up_logging(section: LogSection) -> None:
    """Log as the configuration says, from now on and in the whole process."""
    level = _LEVELS[section.level]
    renderer = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if section.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            Damper(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # What strangers do to the HTTP parser is no event of ours, and comes with a traceback.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    # The libraries' own words, which are few.
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, format="%(message)s")
