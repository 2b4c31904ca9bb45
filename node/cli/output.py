"""What commands print: one JSON document for programs, or words for people; never both.

Standard output carries the result and nothing else, so that it can be piped; how a long step goes
on is told on standard error.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer
from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NOT_DIALLED: Final = "只向外呼叫 calls out only"
"""What stands in place of the address of a node that peers cannot reach."""

AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="结果为 JSON，供程序读取 · the result as JSON, for programs")
]


def write_json(document: object) -> None:
    """One JSON document, readable by people too."""
    write(json.dumps(document, ensure_ascii=False, indent=1))


def write(line: str = "") -> None:
    """A line of the result."""
    sys.stdout.write(f"{line}\n")


def progress(line: str) -> None:
    """How a long step goes on: for people, on standard error, at once."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def write_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A plain table: columns as wide as what stands in them, two blanks between."""
    cells = [list(heads), *([("" if cell is None else str(cell)) for cell in row] for row in rows)]
    widths = [max(cell_len(row[at]) for row in cells) for at in range(len(heads))]
    for row in cells:
        placed = zip(row, widths, strict=True)
        write("  ".join(cell + " " * (size - cell_len(cell)) for cell, size in placed).rstrip())
