"""The garbage collector while a node serves."""

from __future__ import annotations

import gc

import pytest

from node.heap import YOUNG, settled_heap


class Ring:
    """An object that refers to itself: only the collector frees it."""

    freed = 0

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        Ring.freed += 1


def test_what_was_there_before_is_not_looked_at() -> None:
    here = [object()]
    with settled_heap():
        assert all(found is not here for found in gc.get_objects())
    assert any(found is here for found in gc.get_objects())


def test_rings_made_later_are_still_freed() -> None:
    before = Ring.freed
    with settled_heap():
        for _ in range(2 * YOUNG):
            Ring()
        assert Ring.freed > before


def test_the_collector_is_left_as_it_was() -> None:
    thresholds = gc.get_threshold()
    with pytest.raises(RuntimeError), settled_heap():
        raise RuntimeError
    assert gc.get_threshold() == thresholds
