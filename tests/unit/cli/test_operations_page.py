"""docs/operations.md, played: every command of its first four steps does what the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tests.command_line import asked, run

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operations.md"


def commands() -> list[list[str]]:
    """The commands between the first step and the one that serves."""
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    steps = text[text.index("## 1. ") : text.index("## 5. ")]
    return [shlex.split(line) for line in re.findall(r"^\$R (.+)$", steps, re.MULTILINE)]


def test_a_province_and_three_nodes_are_set_up_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    played = commands()
    assert len(played) > 20
    for words in played:
        # Whoever signs at a terminal is asked; here nobody is at one.
        agreed = ["--yes"] if "sign" in words and "freshness" not in words else []
        ending = run(*words, *agreed)
        assert ending.code == 0, (words, ending.err)
    (row,) = asked("directory", "check", "pub/published", "--trust", "wuhan/anchor.json")[
        "provinces"
    ]
    assert (row["version"], row["fresh"]) == (1, True)
    for home in ("hub", "wuhan", "xiangyang"):
        assert sorted(path.name for path in Path(home, "directories").iterdir()) == [
            "directory-42-1.json",
            "freshness-42.json",
            "root-42-1.json",
        ]
