"""How the node logs (日志): one line per event on standard error, for people or for programs.

What is logged never holds personal data: ids, codes, counts and reasons, no names, no numbers of
people, no octets of a message.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from node.config import LogSection

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


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
