"""Write what is made from the code: whole pages, and the marked blocks in docs/spec/.

A block stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``: tables the code has too,
and worked examples. ``python -m tools.generated`` writes them; the test run compares them with the
code.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from protocol.bodies import KINDS
from protocol.lifecycle import LIFECYCLE, CaseState
from tools import directory_attacks, spec_examples, spec_tables
from tools.spec_index import chapters, coverage

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
_NOTE: Final = (
    "<!-- made by tools/generated.py from the code; change the code, then `make docs` -->"
)


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
        *spec_tables.lifecycle(),
        "",
        f"`case.void` ({chinese['case.void']}) is taken in every state and changes none.",
        "",
    ]
    return "\n".join(lines)


def attacks() -> str:
    """What was tried on the directory, and what came of it."""
    lines = [
        "# 对节点目录的攻击 / Attacks on the directory",
        "",
        _NOTE,
        "",
        "攻击者可持有部分密钥、控制磁盘或线路；每一行都由所列测试实际攻击一次。",
        "",
        "The attacker may hold some of the keys, the disk or the wire. Each row is attacked by its",
        "test. The rules are in [spec](spec/README.md), the reasons in",
        "[the decision](decisions/three-roles-speak-for-a-province.md).",
        "",
        *directory_attacks.table(),
        "",
    ]
    return "\n".join(lines)


BLOCKS: Final[dict[str, Callable[[], list[str]]]] = {
    "reasons": spec_tables.reasons,
    "limits": spec_tables.limits,
    "kinds": spec_tables.kinds,
    "log-leaves": spec_tables.log_leaves,
    "lifecycle-table": spec_tables.lifecycle,
    "members-directory": spec_tables.directory,
    "members-root": spec_tables.root,
    "members-freshness": spec_tables.freshness,
    "members-revocation": spec_tables.revocation,
    "members-anchor": spec_tables.anchor,
    "members-request": spec_tables.request,
    "members-items": spec_tables.items,
    "members-sheet": spec_tables.sheet,
    "example-envelope": spec_examples.envelope,
    "example-case-id": spec_examples.case_id,
    "signature-template": spec_examples.template,
    "signature-uris": spec_examples.identifiers,
    "example-signature": spec_examples.signature,
    "example-frames": spec_examples.frames,
    "example-batch": spec_examples.batch,
    "example-receipt": spec_examples.receipt,
}
_BLOCK: Final = re.compile(r"(<!-- begin ([a-z-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def chapter(path: Path) -> str:
    """A chapter of the specification with its blocks made anew."""

    def made(match: re.Match[str]) -> str:
        return match[1] + "\n" + "\n".join(BLOCKS[match[2]]()) + "\n\n" + match[3]

    return _BLOCK.sub(made, path.read_text(encoding="utf-8"))


PAGES: Final[dict[str, Callable[[], str]]] = {
    "lifecycle.md": lifecycle,
    "directory-attacks.md": attacks,
    **{f"spec/{path.name}": partial(chapter, path) for path in chapters()},
}

COUNTED: Final[dict[str, Callable[[], str]]] = {"spec/coverage.md": coverage}
"""Pages of numbers: they may lag behind, since many add tests at once, but claim too much never."""


def main() -> None:
    """Write every page."""
    for name, page in (PAGES | COUNTED).items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
