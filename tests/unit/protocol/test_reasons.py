from __future__ import annotations

import re
from collections import Counter

import pytest

from protocol.errors import LocalUseError, RefusedError, TongbanError, UnavailableError
from protocol.reasons import Reason

CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.mark.spec("VR-1")
def test_no_number_and_no_code_stands_for_two_reasons() -> None:
    assert max(Counter(reason.number for reason in Reason).values()) == 1
    assert max(Counter(reason.code for reason in Reason).values()) == 1
    # Two equal rows would make one of them a silent alias.
    assert len(Reason) == len(Reason.__members__)


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.code)
def test_every_reason_can_travel_and_says_what_to_do(reason: Reason) -> None:
    assert 0 < reason.number < 1 << 16
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", reason.code)
    assert re.fullmatch(r"[A-Z]{2}-[0-9]+", reason.clause)
    assert reason.english
    assert reason.remedy
    assert CHINESE.search(reason.chinese)
    assert CHINESE.search(reason.chinese_remedy)
    assert Reason.from_number(reason.number) is reason


@pytest.mark.parametrize("number", [0, 9, 999, 65535, -1])
def test_a_number_outside_the_list_is_nothing(number: int) -> None:
    assert Reason.from_number(number) is None


def test_what_nobody_can_help_is_never_final() -> None:
    transient = {reason.code for reason in Reason if not reason.final}
    assert {"key-unknown", "clock-skew", "stale-directory", "part-mismatch"} <= transient
    assert {"expired", "signature-invalid", "sequence-used"}.isdisjoint(transient)


def test_an_error_says_its_code_and_the_detail_or_what_the_reason_means() -> None:
    assert str(RefusedError(Reason.EXPIRED, "by 3 s")) == "expired: by 3 s"
    assert str(UnavailableError(Reason.OVERLOADED)) == "overloaded: too much at once"


def test_refused_unavailable_and_misused_are_three_different_things() -> None:
    kinds = (RefusedError, UnavailableError, LocalUseError)
    assert all(issubclass(kind, TongbanError) for kind in kinds)
    assert not any(issubclass(one, other) for one in kinds for other in kinds if one is not other)
