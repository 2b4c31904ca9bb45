from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from node.effort import Bucket, Effort
from protocol.errors import UnavailableError
from protocol.reasons import Reason

if TYPE_CHECKING:
    from signing.batch import Checking

NOW_MS = 1_000_000


def left(checking: Checking, most: int = 100) -> int:
    """How many operations it still allows."""
    for made in range(most):
        try:
            checking.charge()
        except UnavailableError as error:
            assert error.reason is Reason.OVERLOADED  # noqa: PT017 - the other outcome is more
            return made
    return most


@pytest.mark.spec("BP-6")
def test_each_peer_has_its_own_bucket() -> None:
    effort = Effort(per_s=2, burst=5)
    assert left(effort.checking("420100", NOW_MS)) == 5
    assert left(effort.checking("420100", NOW_MS)) == 0
    assert left(effort.checking("420600", NOW_MS)) == 5


@pytest.mark.spec("BP-6")
def test_a_bucket_fills_with_time_up_to_its_size() -> None:
    effort = Effort(per_s=2, burst=5)
    assert left(effort.checking("420100", NOW_MS)) == 5
    assert left(effort.checking("420100", NOW_MS + 499)) == 0
    assert left(effort.checking("420100", NOW_MS + 1_500)) == 3
    assert left(effort.checking("420100", NOW_MS + 3_600_000)) == 5


def test_a_clock_that_is_set_back_fills_nothing_and_stops_nothing() -> None:
    effort = Effort(per_s=1, burst=1)
    assert left(effort.checking("420100", NOW_MS)) == 1
    assert left(effort.checking("420100", NOW_MS - 3_600_000)) == 0
    assert left(effort.checking("420100", NOW_MS - 3_599_000)) == 1


def test_all_peers_share_what_verified() -> None:
    effort = Effort()
    effort.checking("420100", NOW_MS).roots.remember(b"signed", bytes(64), 1)
    assert effort.checking("420600", NOW_MS).roots.known(b"signed", bytes(64), 1)


def test_threads_take_no_more_than_there_is() -> None:
    bucket = Bucket(per_s=0, burst=5_000)
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda _: bucket.take(), range(10_000)))
    assert sum(taken) == 5_000
