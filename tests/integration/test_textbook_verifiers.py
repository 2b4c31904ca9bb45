"""What other programs make of the vectors we refuse: the table of docs/signature-interop.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.textbook import ARITHMETIC, VECTORS, families, programs, table, written
from tools.vectors.samples import SENDER

if TYPE_CHECKING:
    from tests.other_programs import Program


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> list[Program]:
    return programs(tmp_path_factory.mktemp("textbook"))


def test_the_table_is_what_is_measured(known: list[Program]) -> None:
    """Of the versions it names; others may differ, in forms and not in arithmetic."""
    rows = families()
    assert all(rows.values())
    files = [file for found in rows.values() for file in found]
    accepted = {program.name(): program.accepted(files, SENDER) for program in known}
    for name, taken in accepted.items():
        assert taken.isdisjoint(rows[ARITHMETIC]), name
        assert len(taken) > len(files) // 3, f"{name}: then the vectors are not signed well"
    page = written()
    if all(f" {name} " in page for name in accepted):
        assert table(rows, accepted) == page, "it is old: run python -m tools.textbook"


def test_what_is_valid_here_is_valid_there(known: list[Program]) -> None:
    """A good envelope of the suite they know, in whatever group."""
    good = [
        file
        for file in sorted(VECTORS.glob("*/*/envelope.xml"))
        if not file.parent.name.endswith("_fail")
        and b"#ecdsa-sha256" in file.read_bytes()
        and SENDER.public.key_id.encode() in file.read_bytes()
    ]
    assert len(good) > 10
    for program in known:
        assert program.accepted(good, SENDER) == set(good), program.name()
