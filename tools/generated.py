"""Write what is made from the code: whole pages, and the marked blocks in docs/spec/.

A block stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``: tables the code has too,
and worked examples. ``python -m tools.generated`` writes them; the test run compares them with the
code.
"""

from __future__ import annotations

import ast
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import protocol.limits
from protocol.bodies import KINDS
from protocol.lifecycle import LIFECYCLE, CaseState
from protocol.reasons import Reason
from tools import spec_examples
from tools.spec_index import chapters

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
_UNITS: Final = {"KIB", "MIB", "GIB"}
_NOTE: Final = (
    "<!-- made by tools/generated.py from the code; change the code, then `make docs` -->"
)


def reasons() -> list[str]:
    """The closed list of reasons as a table."""
    lines = [
        "| no. | code | | clause | 含义 | means | 处理 | remedy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for reason in Reason:
        kind = "final" if reason.final else "transient"
        lines.append(
            f"| {reason.number} | `{reason.code}` | {kind} | {reason.clause} "
            f"| {reason.chinese} | {reason.english} | {reason.chinese_remedy} | {reason.remedy} |"
        )
    return lines


def limits() -> list[str]:
    """The constants of `protocol.limits`: value, and the text that stands under them."""
    lines = ["| constant | value | |", "|---|---|---|"]
    names: list[str] = []
    for node in ast.parse(Path(protocol.limits.__file__).read_text(encoding="utf-8")).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)) if name not in _UNITS:
                names.append(name)
            case ast.Expr(value=ast.Constant(value=str(text))):
                shown = "<br>".join(f"`{name}`" for name in names)
                values = "<br>".join(grouped(getattr(protocol.limits, name)) for name in names)
                if names:
                    lines.append(f"| {shown} | {values} | {' '.join(text.split())} |")
                names.clear()
            case _:
                pass
    return lines


def grouped(number: int) -> str:
    """A number as the specification writes it: five digits and more in groups of three."""
    return f"{number:,}".replace(",", " ") if number >= 10_000 else str(number)  # noqa: PLR2004


def lifecycle() -> str:
    """The lifecycle as a diagram and as a table with its legal grounds."""
    chinese = {kind.name: kind.chinese for kind in KINDS}
    lines = [
        "# 办件状态 / The lifecycle of a case",
        "",
        _NOTE,
        "",
        "Grounds keep their confidence mark: V read in a source, L read in the law, R recalled,",
        "I our assumption.",
        "",
        "```mermaid",
        "stateDiagram-v2",
    ]
    lines += [f"    {state.value}: {state.chinese} {state.value}" for state in CaseState]
    moves = [row for row in LIFECYCLE if row.state is not row.after]
    lines += [f"    {row.state.value} --> {row.after.value}: {chinese[row.kind]}" for row in moves]
    lines += [f"    {state.value} --> [*]" for state in CaseState if state.terminal]
    lines += [
        "```",
        "",
        "| state | kind | power | next | 依据 ground |",
        "|---|---|---|---|---|",
    ]
    for row in moves:
        powers = "、".join(f"{power.chinese} {power.value}" for power in sorted(row.powers))
        lines.append(
            f"| {row.state.chinese} {row.state.value} | {chinese[row.kind]} `{row.kind}` "
            f"| {powers} | {row.after.chinese} {row.after.value} | {row.ground} |"
        )
    lines += [
        "",
        f"`case.void` ({chinese['case.void']}) is taken in every state and changes none.",
        "",
    ]
    return "\n".join(lines)


BLOCKS: Final[dict[str, Callable[[], list[str]]]] = {
    "reasons": reasons,
    "limits": limits,
    "example-envelope": spec_examples.envelope,
    "signature-template": spec_examples.template,
    "signature-uris": spec_examples.identifiers,
    "example-signature": spec_examples.signature,
}
_BLOCK: Final = re.compile(r"(<!-- begin ([a-z-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def chapter(path: Path) -> str:
    """A chapter of the specification with its blocks made anew."""

    def made(match: re.Match[str]) -> str:
        return match[1] + "\n" + "\n".join(BLOCKS[match[2]]()) + "\n\n" + match[3]

    return _BLOCK.sub(made, path.read_text(encoding="utf-8"))


PAGES: Final[dict[str, Callable[[], str]]] = {
    "lifecycle.md": lifecycle,
    **{f"spec/{path.name}": partial(chapter, path) for path in chapters()},
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
