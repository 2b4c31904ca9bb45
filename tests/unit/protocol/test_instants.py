from __future__ import annotations

import pytest

from protocol.instants import format_instant, parse_instant

PAIRS = [
    (0, "1970-01-01T00:00:00.000Z"),
    (-1, "1969-12-31T23:59:59.999Z"),
    (1_795_316_400_000, "2026-11-22T03:00:00.000Z"),
    (1_709_164_800_007, "2024-02-29T00:00:00.007Z"),
    (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
    (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
]


@pytest.mark.spec("ID-1")
@pytest.mark.parametrize(("instant_ms", "text"), PAIRS)
def test_an_instant_and_its_one_written_form(instant_ms: int, text: str) -> None:
    assert format_instant(instant_ms) == text
    assert parse_instant(text) == instant_ms


@pytest.mark.spec("ID-1")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-22",
        "2026-11-22T03:00:00Z",
        "2026-11-22T03:00:00.00Z",
        "2026-11-22T03:00:00.0000Z",
        "2026-11-22 03:00:00.000Z",
        "2026-11-22t03:00:00.000z",
        "2026-11-22T11:00:00.000+08:00",
        "2026-11-22T03:00:00.000",
        "2026-11-22T03:00:00.000Z\n",
        " 2026-11-22T03:00:00.000Z",
        "\uff12026-11-22T03:00:00.000Z",
        "2026-11-22T03:00:00.00\uff10Z",
        "2026-02-29T00:00:00.000Z",
        "2026-13-01T00:00:00.000Z",
        "0000-01-01T00:00:00.000Z",
        "2026-11-22T03:60:00.000Z",
        "2026-11-22T23:59:60.000Z",
        # Midnight is 00:00 of the next day; some readers of dates take this for it.
        "2026-11-22T24:00:00.000Z",
        "10000-01-01T00:00:00.000Z",
    ],
)
def test_whatever_is_not_that_form_or_not_a_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_instant(text)


@pytest.mark.parametrize("instant_ms", [-62_135_596_800_001, 253_402_300_800_000, 1 << 63])
def test_an_instant_outside_the_calendar_has_no_form(instant_ms: int) -> None:
    with pytest.raises(OverflowError):
        format_instant(instant_ms)
