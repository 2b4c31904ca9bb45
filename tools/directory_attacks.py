"""The attacks on the directory, read from the tests that make them.

A test whose docstring holds an arrow is a row: before the arrow the attack, after it what comes of
it. So the page cannot say what no test shows.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parent.parent
FILES: Final = (
    "tests/unit/routing/test_directory_attacks.py",
    "tests/unit/node/test_federation.py",
    "tests/unit/node/test_trust_sync.py",
    "tests/sim/test_attacks_by_provinces.py",
    "tests/sim/test_attacks_on_logs.py",
)
_ARROW: Final = " → "


def rows() -> Iterator[tuple[str, str, str]]:
    """The attack, what comes of it, and the test."""
    for name in FILES:
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        for node in tree.body:
            told = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            if isinstance(node, ast.FunctionDef) and told and _ARROW in told:
                attack, outcome = told.splitlines()[0].rstrip(".").split(_ARROW, 1)
                yield attack, outcome, f"`{name}::{node.name}`"


def table() -> list[str]:
    """The rows as Markdown."""
    lines = ["| 攻击 attack | 结果 what comes of it | 测试 test |", "|---|---|---|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows()]
