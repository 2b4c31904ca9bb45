"""The vectors in docs/spec are the ones their makers make."""

from __future__ import annotations

from pathlib import Path

from tools.vectors.__main__ import FOLDER, made


def test_the_vectors_are_up_to_date() -> None:
    expected = {
        f"{name}/{file}": octets
        for name, case in made().items()
        for file, octets in case.octets().items()
    }
    groups = {Path(name).parts[0] for name in expected}
    found = {
        str(path.relative_to(FOLDER)): path.read_bytes()
        for group in groups
        for path in (FOLDER / group).rglob("*")
        if path.is_file()
    }
    wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    assert wrong == [], "they are old: run `make docs`"
