"""Read docs/spec/: its numbered clauses, who cites them, and what shows them.

A clause is a paragraph that opens with its id in bold, ``**WF-1** A receiver MUST …``; the list,
table or grammar right after it belongs to it. A clause is shown by tests that carry
``@pytest.mark.spec("WF-1")`` and by vectors whose ``case.json`` names it.

``python -m tools.spec_index`` prints the clauses, ``… WF-1`` one of them with all its places.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT: Final = Path(__file__).resolve().parent.parent
SPEC: Final = ROOT / "docs" / "spec"
VECTORS: Final = SPEC / "vectors"
KEYWORD: Final = re.compile(r"\b(MUST NOT|MUST|SHOULD NOT|SHOULD|MAY)\b")

_OPENING: Final = re.compile(r"\*\*([A-Z]{2})-([1-9][0-9]*)\*\* ")
_CITED: Final = re.compile(r"\b([A-Z]{2})-([1-9][0-9]?)\b(?: to (?:([A-Z]{2})-)?([1-9][0-9]?)\b)?")
_READ: Final = frozenset({".py", ".md", ".xsd", ".toml"})


@dataclass(frozen=True, slots=True)
class Clause:
    """One numbered clause.

    Attributes:
        group: Its letters, as ``WF``.
        number: Its number in the group.
        text: The paragraph, without the id.
        file: Its chapter, as ``01-wire-form.md``.
        line: Where it begins, from 1.
    """

    group: str
    number: int
    text: str
    file: str
    line: int

    @property
    def id(self) -> str:
        """As it is cited: ``WF-1``."""
        return f"{self.group}-{self.number}"

    @property
    def keywords(self) -> tuple[str, ...]:
        """The RFC 2119 keywords in its paragraph."""
        return tuple(KEYWORD.findall(self.text))

    @property
    def binding(self) -> bool:
        """Whether it is a MUST or a MUST NOT, so that a test has to show it."""
        return any(word.startswith("MUST") for word in self.keywords)


def chapters() -> list[Path]:
    """The files of the specification in their order; vectors have their own."""
    return sorted(path for path in SPEC.glob("*.md") if path.name != "coverage.md")


def paragraphs(path: Path) -> Iterator[tuple[int, str]]:
    """Every paragraph of a Markdown file outside code blocks, with its first line's number."""
    held: list[str] = []
    first, fenced = 1, False
    for number, line in enumerate([*path.read_text(encoding="utf-8").splitlines(), ""], 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif line.strip() and not fenced:
            if not held:
                first = number
            held.append(line.strip())
            continue
        if held:
            yield first, " ".join(held)
            held = []


def clauses() -> list[Clause]:
    """Every clause, in the order of the text."""
    found: list[Clause] = []
    for path in chapters():
        for line, text in paragraphs(path):
            opening = _OPENING.match(text)
            if opening:
                body = text[opening.end() :]
                found.append(Clause(opening[1], int(opening[2]), body, path.name, line))
    return found


def cited_in(text: str, groups: frozenset[str]) -> Iterator[str]:
    """Every clause id of these groups that a text names; of ``WF-1 to WF-3`` both ends."""
    for match in _CITED.finditer(text):
        if match[1] in groups:
            yield f"{match[1]}-{match[2]}"
            if match[4]:
                yield f"{match[3] or match[1]}-{match[4]}"


def tracked() -> list[Path]:
    """The text files of the project in which clauses may be cited."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    paths = [ROOT / name for name in sorted(listing.split("\0")) if name]
    return [path for path in paths if path.suffix in _READ and path.is_file()]


def citations(groups: frozenset[str]) -> Mapping[str, list[str]]:
    """Where each id of these groups is cited: id to ``path:line``."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in tracked():
        name = str(path.relative_to(ROOT))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for cited in cited_in(line, groups):
                found[cited].append(f"{name}:{number}")
    return found


def functions() -> Iterator[tuple[str, str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every test: its file, its name, its syntax tree."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield str(path.relative_to(ROOT)), node.name, node


@cache
def shown_by_tests() -> Mapping[str, list[str]]:
    """The tests that show each clause: id to ``path::test``."""
    found: dict[str, list[str]] = defaultdict(list)
    for file, name, node in functions():
        marked = [row for decorator in node.decorator_list for row in _marked(decorator)]
        for clause in dict.fromkeys(marked):
            found[clause].append(f"{file}::{name}")
    return found


def _marked(tree: ast.AST) -> Iterator[str]:
    """The ids in every ``pytest.mark.spec(…)`` of a decorator."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="spec"), args=args):
                yield from (str(arg.value) for arg in args if isinstance(arg, ast.Constant))
            case _:
                pass


@cache
def shown_by_vectors() -> Mapping[str, list[str]]:
    """The vectors that show each clause: id to ``group/name``."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(VECTORS.rglob("case.json")):
        stated = json.loads(path.read_text(encoding="utf-8"))["clause"]
        for clause in [stated] if isinstance(stated, str) else stated:
            found[clause].append(str(path.parent.relative_to(VECTORS)))
    return found


def coverage() -> str:
    """The page that lists each clause with the number of tests and vectors that show it."""
    rows, tests, vectors = clauses(), shown_by_tests(), shown_by_vectors()
    binding = [row for row in rows if row.binding]
    lines = [
        "# 条文覆盖 / Coverage",
        "",
        "<!-- made by tools/spec_index.py from the text and the tests; `make docs` -->",
        "",
        f"{len(rows)} clauses, {len(binding)} of them MUST or MUST NOT. At least so many tests and",
        "vectors show each; `python -m tools.spec_index CLAUSE` names them.",
    ]
    for path in chapters():
        here = [row for row in rows if row.file == path.name]
        if here:
            title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
            lines += ["", f"## [{title}]({path.name})", ""]
            lines += ["| clause | | tests | vectors |", "|---|---|---|---|"]
            lines += [
                f"| {row.id} | {row.keywords[0]} | {len(tests.get(row.id, ()))} "
                f"| {len(vectors.get(row.id, ()))} |"
                for row in here
            ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print all clauses, or those named with what cites and shows them."""
    rows = clauses()
    wanted = sys.argv[1:]
    cited = citations(frozenset(row.group for row in rows))
    tests, vectors = shown_by_tests(), shown_by_vectors()
    for row in rows:
        if wanted and row.id not in wanted:
            continue
        print(
            f"{row.id:6} {row.file}:{row.line} {'/'.join(row.keywords)}"
            f" tests {len(tests.get(row.id, ()))} vectors {len(vectors.get(row.id, ()))}"
        )
        if wanted:
            print(f"  {row.text}")
            for place in (*tests.get(row.id, ()), *vectors.get(row.id, ()), *cited.get(row.id, ())):
                print(f"  {place}")


if __name__ == "__main__":
    main()
