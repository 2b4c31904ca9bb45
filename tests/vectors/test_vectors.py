"""Every folder of docs/spec/vectors: a new one needs no code here."""

from __future__ import annotations

import re
from collections import Counter
from typing import get_args

import pytest

from protocol.errors import RefusedError, TongbanError, UnavailableError
from protocol.frames import Frame
from protocol.reasons import INTRINSIC, Reason
from tests.vectors.checks import CHECKS, Result
from tests.vectors.folders import ROOT, Vector, vectors
from tests.vectors.tally import TALLY
from tests.vectors.tripwires import ORDER, TouchedError, guard_digests

VECTORS = vectors()
BEFORE_CRYPTOGRAPHY = ("form", "directory")
TEXTS = ("what", "whatZh", "why", "expect")


def marked(vector: Vector) -> object:
    return pytest.param(vector, id=vector.name, marks=pytest.mark.spec(*vector.clauses))


def run(vector: Vector) -> Result | TongbanError:
    try:
        return CHECKS[vector.group](vector)
    except TongbanError as error:
        return error


@pytest.mark.parametrize("vector", [marked(vector) for vector in VECTORS])
def test_vector(vector: Vector, monkeypatch: pytest.MonkeyPatch) -> None:
    # Keys are loaded before anything is guarded.
    assert vector.records is not None
    assert vector.signers is not None
    guard_digests(vector.stage, monkeypatch)
    outcome = run(vector)
    if isinstance(outcome, TongbanError):
        assert isinstance(outcome, RefusedError | UnavailableError)
        assert outcome.reason.code == vector.expect, str(outcome)
        # What is final is refused, what may pass is only put off.
        assert isinstance(outcome, RefusedError) is outcome.reason.final
        TALLY["refused"] += 1
        TALLY["before"] += vector.stage in BEFORE_CRYPTOGRAPHY
        return
    assert vector.expect == "valid"
    for name, value in vector.case.get("result", {}).items():
        assert outcome[name] == value, name
    TALLY["valid"] += 1


def test_every_folder_says_what_it_is() -> None:
    codes = {reason.code for reason in Reason} | {"valid"}
    for vector in VECTORS:
        case = vector.case
        assert all(isinstance(case[name], str) and case[name] for name in TEXTS), vector.name
        assert case["expect"] in codes
        assert vector.name.endswith("_fail") is (case["expect"] != "valid")
        assert all(re.fullmatch(r"[A-Z]{2}-[0-9]+", clause) for clause in vector.clauses)
        assert re.search("[\u4e00-\u9fff]", case["whatZh"])
        assert case.get("stage") in (None, *ORDER)
        assert case["expect"] != "valid" or "stage" not in case


def test_every_group_has_good_ones_and_bad_ones() -> None:
    counts = Counter((vector.group, vector.expect == "valid") for vector in VECTORS)
    groups = {folder.name for folder in ROOT.iterdir() if folder.is_dir()}
    assert groups == set(CHECKS)
    assert all(counts[group, good] for group in groups for good in (True, False))


@pytest.mark.parametrize("stage", ["form", "directory", "digest"])
def test_the_tripwires_bite(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good envelope goes all the way, so each of them has to notice it."""
    (good,) = [vector for vector in VECTORS if vector.name == "wire/canonical"]
    vector = Vector(good.folder)
    vector.case["stage"] = stage
    assert vector.records
    guard_digests(stage, monkeypatch)
    with pytest.raises(TouchedError):
        CHECKS["wire"](vector)


def test_every_frame_there_is_has_a_vector() -> None:
    shown = {
        frame["frame"]
        for vector in VECTORS
        for frame in vector.case.get("result", {}).get("frames", ())
    }
    names = {kind.__name__.removesuffix("Frame") for kind in get_args(Frame)}
    assert shown == {re.sub("(?<!^)([A-Z])", r"-\1", name).lower() for name in names}


def test_every_reason_that_follows_from_octets_has_a_vector() -> None:
    shown = {vector.expect for vector in VECTORS}
    assert {reason.code for reason in INTRINSIC} - shown == set()
