"""Write the pages that are made from the code's own tables: reasons, limits and the lifecycle.

``python -m tools.generated`` writes them; the test run compares them with the code.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from protocol.bodies import KINDS
from protocol.lifecycle import LIFECYCLE, CaseState
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
_NOTE: Final = (
    "<!-- made by tools/generated.py from the code; change the code, then `make docs` -->"
)


def reasons() -> str:
    """The closed list of reasons as a table."""
    lines = [
        "# 原因码 / Reasons",
        "",
        _NOTE,
        "",
        "Final reasons travel in signed `refused` receipts; the others in `busy` and `not-here`",
        "frames, and never end a message.",
        "",
        "| no. | code | | clause | 含义 | means | 处理 | remedy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for reason in Reason:
        kind = "final" if reason.final else "transient"
        lines.append(
            f"| {reason.number} | `{reason.code}` | {kind} | {reason.clause} "
            f"| {reason.chinese} | {reason.english} | {reason.chinese_remedy} | {reason.remedy} |"
        )
    return "\n".join(lines) + "\n"


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


PAGES: Final[dict[str, Callable[[], str]]] = {
    "reasons.md": reasons,
    "lifecycle.md": lifecycle,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
