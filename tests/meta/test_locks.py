from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "requirements.lock"
DEV = ROOT / "requirements-dev.lock"
BOTH = pytest.mark.parametrize("lock", [RUNTIME, DEV], ids=lambda path: path.name)
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)(?P<rest>.*)")


def pins(lock: Path) -> list[tuple[str, str, str]]:
    """(name, version, the rest of the line) of everything that is not a comment."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    found: list[tuple[str, str, str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        pin = PIN.fullmatch(line)
        assert pin, f"{lock.name}: neither a comment nor an exact pin: {line[:80]}"
        found.append((pin["name"], pin["version"], pin["rest"]))
    return found


@BOTH
def test_every_package_is_pinned_with_hashes(lock: Path) -> None:
    assert pins(lock) != []
    assert [name for name, _, rest in pins(lock) if "--hash=sha256:" not in rest] == []


@BOTH
def test_no_registry_is_named(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert re.findall(r"\S*://\S*|--(?:extra-)?index\S*|--find-links\S*", text) == []


def test_setup_for_the_tests_changes_nothing_the_demo_needs() -> None:
    versions = {(name, version) for name, version, _ in pins(DEV)}
    assert {(name, version) for name, version, _ in pins(RUNTIME)} <= versions


def test_the_locks_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[^A-Za-z0-9_.-]", entry)[0].lower() for entry in requirements}

    runtime, dev = project["project"]["dependencies"], project["dependency-groups"]["dev"]
    assert names(runtime) <= {name for name, _, _ in pins(RUNTIME)}, "run: make lock"
    assert names(runtime) | names(dev) <= {name for name, _, _ in pins(DEV)}, "run: make lock"
    exact = {entry for entry in dev if "==" in entry}
    assert exact <= {f"{name}=={version}" for name, version, _ in pins(DEV)}, "run: make lock"
