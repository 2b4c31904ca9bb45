from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import run_node
from tests.command_line import done, run

ROOT = Path(run_node.__file__).parent


def test_the_help_lists_every_command() -> None:
    listed = done("--help")
    assert [name for name in run_node.MODULES if name not in listed] == []


@pytest.mark.parametrize("name", run_node.MODULES)
def test_every_command_explains_itself_in_both_languages(name: str) -> None:
    told = done(name, "--help")
    assert any("\u4e00" <= character <= "\u9fff" for character in told)
    assert "Usage" in told


@pytest.mark.parametrize(
    "words", [("nonsense",), ("serve", "--nonsense"), ("show",), ("keys", "new", "nonsense", "1")]
)
def test_wrong_usage_ends_with_2_and_no_traceback(words: tuple[str, ...]) -> None:
    ending = run(*words)
    assert ending.code == 2
    assert ending.err
    assert "Traceback" not in ending.err


def test_serving_a_node_reads_neither_the_demo_nor_what_publishers_need() -> None:
    code = "import sys, run_node; run_node.program(['serve']); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert "node.cli.serve" in loaded
    assert not {"examples.demo", "node.cli.directory", "node.cli.cases"} & set(loaded)
