from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from node.recovery.marker import FileMarker, LogMark
from tests.loops import in_loop

if TYPE_CHECKING:
    from pathlib import Path


@in_loop
async def test_a_mark_is_read_back_and_replaced(tmp_path: Path) -> None:
    marker = FileMarker(tmp_path / "node.db.mark")
    assert await marker.read() is None
    await marker.write(LogMark(1, 500))
    await marker.write(LogMark(2, 40))
    assert await FileMarker(tmp_path / "node.db.mark").read() == LogMark(2, 40)


@pytest.mark.parametrize("octets", [b"", b"1", b"1 2 3", b"one two", b"\xff\xfe"])
@in_loop
async def test_half_a_mark_says_nothing(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "node.db.mark"
    path.write_bytes(octets)
    assert await FileMarker(path).read() is None


@in_loop
async def test_a_mark_that_cannot_be_kept_stops_nothing(tmp_path: Path) -> None:
    await FileMarker(tmp_path / "gone" / "mark").write(LogMark(1, 1))


def test_a_later_incarnation_counts_more_than_a_longer_log() -> None:
    assert LogMark(2, 40) > LogMark(1, 500) > LogMark(1, 499)
