"""The specification, the code and the tests say the same, clause by clause."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

import protocol.limits
from protocol.ferry_file import FERRY_HEAD_OCTETS
from protocol.limits import HEAD_OCTETS
from protocol.reasons import INTRINSIC, Reason
from protocol.receipt import _FIXED, SUITE_NUMBERS, ReceiptType
from signing.evidence_file import _NEXT, Record
from signing.log import _HEAD
from tests.unit.protocol.test_frames import FRAMES
from tools.spec_index import (
    KEYWORD,
    ROOT,
    SPEC,
    chapters,
    citations,
    cited_in,
    clauses,
    functions,
    paragraphs,
    shown_by_tests,
    shown_by_vectors,
    tracked,
)
from tools.spec_tables import grouped

if TYPE_CHECKING:
    from pathlib import Path

CLAUSES = clauses()
PRODUCT = {"protocol", "signing", "routing", "node"}
IDS = {clause.id for clause in CLAUSES}
GROUPS = frozenset(clause.group for clause in CLAUSES)
# Groups whose chapter is still to come, or still grows.
UNFINISHED: frozenset[str] = frozenset({"EV", "TS"})


def test_an_id_stands_for_one_clause() -> None:
    counted = Counter(clause.id for clause in CLAUSES)
    assert [name for name, times in counted.items() if times > 1] == []


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.name)
def test_the_numbers_of_a_group_rise_and_stand_in_one_chapter(path: Path) -> None:
    here = [clause for clause in CLAUSES if clause.file == path.name]
    for group in {clause.group for clause in here}:
        numbers = [clause.number for clause in here if clause.group == group]
        assert all(one < other for one, other in pairwise(numbers)), (group, numbers)
        assert {clause.file for clause in CLAUSES if clause.group == group} == {here[0].file}


def test_a_clause_asks_one_thing() -> None:
    assert [row.id for row in CLAUSES if len(row.keywords) != 1] == []


def test_nothing_is_asked_outside_a_clause() -> None:
    stray = [
        f"{path.name}:{line}"
        for path in chapters()
        if path.name != "README.md"
        for line, text in paragraphs(path)
        if KEYWORD.search(text) and not re.match(r"\*\*[A-Z]{2}-\d+\*\* ", text)
    ]
    assert stray == []


def test_every_chapter_opens_with_a_chinese_summary() -> None:
    for path in chapters():
        opening = [text for _, text in paragraphs(path)][:2]
        assert any(text.startswith("**中文提要。**") for text in opening), path.name


def test_the_contents_list_every_chapter_with_its_groups() -> None:
    contents = (SPEC / "README.md").read_text(encoding="utf-8")
    for path in chapters():
        groups = list(dict.fromkeys(row.group for row in CLAUSES if row.file == path.name))
        if path.name != "README.md":
            assert f"({path.name}) | {', '.join(groups)} |".replace("|  |", "| |") in contents


def test_every_must_is_shown_by_a_test_or_a_vector() -> None:
    tests, vectors = shown_by_tests(), shown_by_vectors()
    shown = set(tests) | set(vectors)
    assert [row.id for row in CLAUSES if row.binding and row.id not in shown] == []


def test_a_marker_names_clauses_that_exist() -> None:
    named = {name for name in shown_by_tests() if name[:2] not in UNFINISHED}
    assert named - IDS == set()


def test_the_page_of_coverage_lists_every_clause_and_claims_no_more_than_there_is() -> None:
    """It may lag behind: others add tests at the same time."""
    page = (SPEC / "coverage.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w\w-\d+) \| [A-Z ]+ \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    assert [row[0] for row in rows] == [clause.id for clause in CLAUSES], "run `make docs`"
    tests, vectors = shown_by_tests(), shown_by_vectors()
    too_much = [
        name
        for name, *claimed in rows
        if int(claimed[0]) > len(tests.get(name, ()))
        or int(claimed[1]) > len(vectors.get(name, ()))
    ]
    assert too_much == [], "run `make docs`"


def test_a_vector_names_clauses_that_exist() -> None:
    named = {name for name in shown_by_vectors() if name[:2] not in UNFINISHED}
    assert named - IDS == set()


def test_every_citation_leads_to_a_clause() -> None:
    cited = citations(GROUPS - UNFINISHED)
    lost = {name: places for name, places in cited.items() if name not in IDS}
    assert lost == {}


def test_every_reason_follows_from_a_clause() -> None:
    cited = {reason.clause for reason in Reason if reason.clause[:2] not in UNFINISHED}
    assert cited - IDS == set()


def test_the_reasons_that_follow_from_the_octets_alone_are_those_of_the_code() -> None:
    (clause,) = (row for row in CLAUSES if row.id == "RC-16")
    assert set(re.findall(r"`([a-z-]+)`", clause.text)) == {reason.code for reason in INTRINSIC}


def test_every_limit_is_stated_with_its_value() -> None:
    """Where a clause names a constant, its number stands right before it."""
    stated = [
        (row.id, number, name)
        for row in CLAUSES
        for number, name in re.findall(r"(\d[\d ]*\d|\d)[^\d`(]*\(`([A-Z][A-Z_]+)`\)", row.text)
    ]
    assert stated
    wrong = [row for row in stated if row[1] != grouped(getattr(protocol.limits, row[2]))]
    assert wrong == []


def rows_of(chapter: str, *heads: str) -> list[list[str]]:
    """The rows of the table with this heading in a chapter, cell by cell."""
    text = (SPEC / chapter).read_text(encoding="utf-8")
    table = text.partition("| " + " | ".join(heads) + " |")[2].partition("\n\n")[0]
    rows = [row.strip("|").split(" | ") for row in table.splitlines()[2:]]
    assert rows, f"{chapter} has no table {heads}"
    return [[cell.strip() for cell in row] for row in rows]


@pytest.mark.spec("VR-1")
def test_frames_have_the_numbers_of_the_code() -> None:
    stated = {
        int(row[0]): row[1] for row in rows_of("07-exchange.md", "type", "name", "中文", "octets")
    }
    written = {body[0]: type(frame).__name__ for frame, body in FRAMES.values()}
    names = {number: name.removesuffix("Frame").lower() for number, name in written.items()}
    assert {number: name.replace("-", "") for number, name in stated.items()} == names


def test_suites_have_the_numbers_of_the_code() -> None:
    stated = rows_of("03-signature.md", "suite", "signature", "digest H, 32 octets", "no.")
    assert {row[0].strip("`"): int(row[-1]) for row in stated} == SUITE_NUMBERS


def test_the_layout_of_a_receipt_is_that_of_the_code() -> None:
    stated = rows_of("08-receipts.md", "offset", "length", "field")[:-2]
    ends = [int(offset) + int(length) for offset, length, _ in stated]
    assert [int(row[0]) for row in stated] == [0, *ends[:-1]]
    assert ends[-1] == _FIXED.size
    types = {int(n): word for n, word in re.findall(r"([1-3]) (\w+)", stated[1][2])}
    assert types == {kind.value: kind.name.lower() for kind in ReceiptType}


def test_the_layout_of_a_ferry_file_is_that_of_the_code() -> None:
    stated = rows_of("09-carriers.md", "offset", "length", "field")[:-1]
    ends = [int(offset) + int(length) for offset, length, _ in stated]
    assert [int(row[0]) for row in stated] == [0, *ends[:-1]]
    assert ends[-1] == FERRY_HEAD_OCTETS


def test_the_layout_of_a_head_is_that_of_the_code() -> None:
    stated = rows_of("14-evidence.md", "offset", "length", "field")
    ends = [int(offset) + int(length) for offset, length, _ in stated]
    assert [int(row[0]) for row in stated] == [0, *ends[:-1]]
    assert (ends[-2], ends[-1]) == (_HEAD.size, HEAD_OCTETS)


def test_the_records_of_an_evidence_file_are_those_of_the_code() -> None:
    rows = rows_of("14-evidence.md", "type", "record", "octets", "longest", "may be followed by")
    assert {int(row[0]): row[1] for row in rows} == {r.number: r.name.lower() for r in Record}
    follows = {int(row[0]): {int(n) for n in row[4].split(", ") if n} for row in rows}
    assert follows == {
        record.number: {after.number for after in _NEXT[record]} for record in Record
    }


@pytest.mark.spec("VR-1")
def test_every_domain_is_listed() -> None:
    stated = {row[0].strip("`") for row in rows_of("18-versioning.md", "domain", "begins")}
    used = {
        name
        for path in tracked()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PRODUCT
        for name in re.findall(r'b"(TONGBAN-[A-Z-]+-\d+)\\x00"', path.read_text(encoding="utf-8"))
    }
    assert used == stated


def test_what_is_said_to_show_a_rule_exists() -> None:
    """Every test and vector that the security considerations name."""
    text = (SPEC / "17-security.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    assert named - {name for _, name, _ in functions()} == set()
    folders = set(re.findall(r"`([a-z]+/[^`]+)`", text)) - {"tests/"}
    assert folders
    assert [name for name in folders if not list((SPEC / "vectors").glob(name))] == []


def test_a_range_of_ids_cites_both_ends() -> None:
    text = "as EX-5 to EX-9 and RT-1 to 4 say, not GB-1 nor AEX-12"
    assert list(cited_in(text, frozenset({"EX", "RT"}))) == ["EX-5", "EX-9", "RT-1", "RT-4"]


def test_the_table_of_attacks_names_vectors_that_are_there_and_refused_in_time() -> None:
    """The page says which vectors show an attack, and how late it is refused."""
    stages = ["form", "directory"]
    for what, _, stage, patterns in rows_of(
        "vectors/README.md", "what", "中文", "refused at the latest at", "vectors"
    ):
        for pattern in re.findall(r"`([^`]+)`", patterns):
            found = [path for path in (SPEC / "vectors").glob(pattern) if path.is_dir()]
            assert found, (what, pattern)
            if stage:
                told = [json.loads((path / "case.json").read_bytes()) for path in found]
                late = [row["stage"] for row in told if "stage" in row and row["expect"] != "valid"]
                allowed = stages[: stages.index(stage) + 1]
                assert {*late} <= {*allowed}, (what, pattern)
                assert late, (what, pattern)
