from __future__ import annotations

from typing import Any

import pytest

from signing.heads import Growth, Verdict, judge_head
from signing.log import Head, LogDigest, VerifiedHead
from signing.suites import Suite
from tests.trees import Recursive

LEAVES = [number.to_bytes(41) for number in range(40)]
TREE = Recursive(LEAVES)
OTHER = Recursive([*LEAVES[:4], b"another leaf".ljust(41), *LEAVES[5:]])


def head(size: int, tree: Recursive = TREE, **changes: Any) -> Head:
    values: dict[str, Any] = {
        "node": "420100",
        "digest": LogDigest.SHA_256,
        "incarnation": 1,
        "size": size,
        "root": tree.root(size),
        "instant_ms": 1_000 + size,
        "view": bytes(32),
        "suite": Suite.ED25519,
        "key_id": "k" * 43,
    }
    return Head(**values | changes)


def judged(held: Head | None, shown: Head, growth: Growth | None = None) -> Verdict:
    first = 0 if held is None else held.size
    path = TREE.proof(first, shown.size) if 0 < first <= shown.size else []
    return judge_head(held, VerifiedHead(shown, b""), growth or Growth(first, path))


@pytest.mark.spec("LG-8")
def test_the_first_head_of_a_peer_is_taken() -> None:
    assert judged(None, head(7)) is Verdict.FIRST


@pytest.mark.spec("LG-8")
def test_growth_is_taken_between_any_two_sizes() -> None:
    for first in range(1, 40):
        for size in range(first + 1, 41):
            assert judged(head(first), head(size)) is Verdict.GROWN


@pytest.mark.spec("LG-9")
def test_no_other_history_passes_for_growth() -> None:
    """Leaf 4 changed: whoever saw a head of five leaves or more has the old history in hand."""
    for first in range(5, 40):
        for size in range(first + 1, 41):
            honest = Growth(first, OTHER.proof(first, size))
            assert judged(head(first), head(size, OTHER), honest) is Verdict.REWRITTEN
            assert judged(head(first), head(size, OTHER)) is Verdict.REWRITTEN
            lying = Growth(first, TREE.proof(first, size))
            assert judged(head(first), head(size, OTHER), lying) is Verdict.REWRITTEN


@pytest.mark.spec("LG-9")
def test_a_path_too_long_or_too_short_shows_nothing() -> None:
    path = TREE.proof(7, 30)
    for bent in (path[:-1], [*path, bytes(32)], [], path[::-1]):
        assert judged(head(7), head(30), Growth(7, bent)) is Verdict.REWRITTEN


@pytest.mark.spec("LG-9")
def test_two_roots_of_one_size_are_a_fork() -> None:
    assert judged(head(9), head(9, OTHER)) is Verdict.FORKED
    assert judged(head(9), head(9, instant_ms=99_999)) is Verdict.KNOWN


@pytest.mark.spec("LG-8")
def test_a_smaller_head_is_stale_and_no_accusation() -> None:
    assert judged(head(9), head(8)) is Verdict.STALE
    assert judged(head(9), head(8, OTHER)) is Verdict.STALE


@pytest.mark.spec("LG-8")
def test_a_proof_from_another_size_is_tried_again() -> None:
    assert judged(head(9), head(20), Growth(8, TREE.proof(8, 20))) is Verdict.UNSHOWN
    assert judged(head(9), head(20), Growth(0, [])) is Verdict.UNSHOWN


@pytest.mark.spec("LG-10")
def test_a_declared_break_is_taken_and_told() -> None:
    verdict = judged(head(9), head(5, OTHER, incarnation=2))
    assert verdict is Verdict.RESTARTED
    assert verdict.taken
    assert not verdict.alarming
    assert judged(head(9, incarnation=2), head(20)) is Verdict.STALE


@pytest.mark.spec("LG-8")
def test_a_break_that_is_shown_to_lose_nothing_must_lose_nothing() -> None:
    grown = Growth(9, TREE.proof(9, 20))
    assert judged(head(9), head(20, incarnation=2), grown) is Verdict.RESTARTED
    assert judged(head(9), head(20, OTHER, incarnation=2), grown) is Verdict.REWRITTEN


@pytest.mark.spec("LG-8")
def test_a_stolen_key_does_not_end_a_log_with_the_last_incarnation() -> None:
    assert judged(head(9), head(20, incarnation=257)) is Verdict.RESTARTED
    assert judged(head(9), head(20, incarnation=258)) is Verdict.STALE


@pytest.mark.spec("LG-3")
def test_the_digest_of_a_log_never_changes() -> None:
    assert judged(head(9), head(20, digest=LogDigest.SM3)) is Verdict.REWRITTEN


def test_what_is_taken_and_what_rings() -> None:
    assert {verdict for verdict in Verdict if verdict.taken} == {
        Verdict.FIRST, Verdict.GROWN, Verdict.RESTARTED,
    }  # fmt: skip
    assert {verdict for verdict in Verdict if verdict.alarming} == {
        Verdict.FORKED, Verdict.REWRITTEN, Verdict.LOST,
    }  # fmt: skip
