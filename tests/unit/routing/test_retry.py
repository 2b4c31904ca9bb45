"""Timetables: exponential, jittered, capped, and never a busy loop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalUseError
from routing.retry import ASK, DELIVERY, PROBE, Timetable

TIMETABLES = {"delivery": DELIVERY, "probe": PROBE, "ask": ASK}
JITTER = st.floats(0, 1, exclude_max=True)


@pytest.mark.spec("EX-46")
@pytest.mark.parametrize("name", TIMETABLES)
@given(attempts=st.integers(1, 10**6), jitter=JITTER)
def test_a_delay_stays_between_floor_and_cap(name: str, attempts: int, jitter: float) -> None:
    table = TIMETABLES[name]
    assert 0 < table.floor_ms <= table.delay_ms(attempts, jitter) <= table.cap_ms


def test_the_ceiling_doubles_until_the_cap() -> None:
    table = Timetable(base_ms=1000, cap_ms=6000, floor_ms=1)
    ceilings = [table.delay_ms(attempts, 0.999_999) for attempts in range(1, 6)]
    assert ceilings == [999, 1999, 3999, 5999, 5999]


def test_jitter_is_full() -> None:
    table = Timetable(base_ms=1000, cap_ms=6000, floor_ms=1)
    assert table.delay_ms(3, 0.0) == 1
    assert table.delay_ms(3, 0.5) == 2000


def test_a_peer_that_returns_is_noticed_within_seconds() -> None:
    assert PROBE.cap_ms <= 5_000


@pytest.mark.parametrize(("attempts", "jitter"), [(0, 0.5), (1, 1.0), (1, -0.1)])
def test_misuse_is_named(attempts: int, jitter: float) -> None:
    with pytest.raises(LocalUseError):
        DELIVERY.delay_ms(attempts, jitter)
