"""TOML as text: where a key stands, for messages about it, and how a value is written."""

from __future__ import annotations

import json
import tomllib
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def line_of(text: str, path: Sequence[str | int]) -> int:
    """The line, from 1, on which the statement begins that brings a key into a TOML text.

    The parser itself is asked: a key appears with the shortest beginning of the text that parses
    and holds it, and its statement starts after the longest beginning that parses and does not.

    Args:
        text: Valid TOML.
        path: Keys and, in arrays, indices. For what is not there, the line of the table it should
            be in; for a table that is not there, the last line.
    """
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    while path and not _holds(tomllib.loads(text), path):
        path = path[:-1]
    if not path:
        return len(lines)
    end = bisect_left(
        range(len(lines)), True, key=lambda count: _holds(_parsed(lines[:count])[1], path)
    )
    return _parsed(lines[: end - 1])[0] + 1


def _parsed(lines: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """The longest beginning that is TOML by itself: how many lines, and what they say."""
    for count in range(len(lines), 0, -1):
        try:
            return count, tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue  # the last line is in the middle of a value
    return 0, {}


def _holds(tree: Any, path: Sequence[str | int]) -> bool:  # noqa: ANN401
    for step in path:
        try:
            tree = tree[step]
        except (LookupError, TypeError):
            return False
    return True


def toml_value(value: object) -> str:
    """A text, an integer, or a list of texts as TOML; what JSON writes is TOML, save for DEL."""
    listed = list(value) if isinstance(value, tuple) else value
    return json.dumps(listed, ensure_ascii=False).replace("\x7f", "\\u007f")
