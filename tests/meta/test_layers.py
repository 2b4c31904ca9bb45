from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ("protocol", "signing", "routing")
# What reads a clock, randomness, the environment or a disk, or talks to anyone.
IO_MODULES = frozenset(
    {
        *("aiohttp", "asyncio", "concurrent", "getpass", "glob", "http", "logging"),
        *("multiprocessing", "os", "pathlib", "platform", "pydantic_settings", "random"),
        *("secrets", "select", "selectors", "shutil", "signal", "socket", "sqlalchemy"),
        *("sqlite3", "ssl", "structlog", "subprocess", "tempfile", "tenacity", "time"),
        *("typer", "urllib", "zeep"),
    }
)
IO_CALLS = frozenset({"open", "print", "input", "breakpoint", "exec", "eval", "__import__"})
AMBIENT = frozenset({"now", "utcnow", "today", "uuid1", "uuid4", "urandom", "token_bytes"})


def core_sources() -> list[Path]:
    return sorted(path for room in CORE for path in (ROOT / room).rglob("*.py"))


def imported_modules(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module)
            case _:
                pass
    return names


def breaches(source: str) -> list[str]:
    tree = ast.parse(source)
    found = [
        f"imports {name}" for name in imported_modules(tree) if name.partition(".")[0] in IO_MODULES
    ]
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IO_CALLS:
                found.append(f"line {node.lineno} calls {name}()")
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in AMBIENT:
                found.append(f"line {node.lineno} reads a clock or draws randomness by {name}()")
            case _:
                pass
    return sorted(found)


def test_imports_point_down() -> None:
    lint = "from importlinter.cli import lint_imports_command as lint; lint()"
    run = subprocess.run(
        [sys.executable, "-c", lint, "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_room_is_under_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracted = set(settings["tool"]["importlinter"]["root_packages"])
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms - contracted == {"bench", "tests"}, "may import every room; no room imports them"


def test_the_core_exists_for_the_next_test_to_guard() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in core_sources()} == set(CORE)


@pytest.mark.parametrize("path", core_sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_core_reads_no_clock_randomness_environment_or_disk(path: Path) -> None:
    assert breaches(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import os.path",
        "from asyncio import sleep",
        "def f():\n    from uuid import uuid4\n    return uuid4()",
        "open('x')",
        "from datetime import datetime, UTC\ndatetime.now(UTC)",
        "import datetime\ndatetime.date.today()",
    ],
)
def test_the_guard_bites(source: str) -> None:
    assert breaches(source) != []
