from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NO_ROOMS = {"tests", "tools"}  # folders of scripts and cases below their own docstring
SHORTEST = 40  # characters of a docstring that says something
MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:root|home/\w+|Users/\w+)/\S*")
REGISTRY_HOST = re.compile(r"\b(?:pypi\.org|\w*\.?pythonhosted\.org|deb\.debian\.org)\b")


def tracked() -> list[Path]:
    # What is not committed yet counts too, so that a finding comes before the commit.
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [ROOT / name for name in sorted(listing.split("\0")) if name and (ROOT / name).is_file()]


def rooms() -> list[str]:
    """Every folder that holds product code, and the tests' own."""
    folders = {path.parent.relative_to(ROOT) for path in tracked() if path.suffix == ".py"}
    return sorted({str(f) for f in folders if f.parts and f.parts[0] not in NO_ROOMS} | {"tests"})


@pytest.mark.parametrize("room", rooms())
def test_a_room_says_what_it_is_for(room: str) -> None:
    front = ROOT / room / "__init__.py"
    assert front.is_file(), "a folder of code is a package"
    docstring = ast.get_docstring(ast.parse(front.read_text(encoding="utf-8"))) or ""
    assert len(docstring) > SHORTEST, "say what the room is for"
    assert "/" in room or re.search(r"\b(?:may|no)\b", docstring, re.IGNORECASE), (
        "say what the room may touch and what not"
    )


def test_no_file_names_a_machine_or_a_registry() -> None:
    found: list[tuple[str, str]] = []
    for path in tracked():
        text = path.read_bytes().decode(errors="replace")
        hits = [match[0] for rule in (MACHINE_PATH, REGISTRY_HOST) for match in rule.finditer(text)]
        hits += [str(ROOT)] if str(ROOT) in text else []
        found += [(str(path.relative_to(ROOT)), hit[:60]) for hit in hits]
    assert found == []
