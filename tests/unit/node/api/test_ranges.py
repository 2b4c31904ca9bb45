from __future__ import annotations

import pytest

from node.api.problems import Fault, ProblemError
from node.api.ranges import chosen_range

TAG = '"aa"'


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        ("bytes=0-0", range(1)),
        ("bytes=2-4", range(2, 5)),
        ("bytes=2-", range(2, 10)),
        ("bytes=8-99999999999999999", range(8, 10)),
        ("bytes=-3", range(7, 10)),
        ("bytes=-99", range(10)),
    ],
)
def test_one_range_is_served(said: str, chosen: range) -> None:
    assert chosen_range({"Range": said}, TAG, 10) == chosen


@pytest.mark.parametrize(
    "said",
    ["", "bytes=", "bytes=-", "bytes=a-b", "bytes=4-2", "bytes=0-1,4-5", "lines=1-2", "bytes= 1-2"],
)
def test_what_is_no_single_range_gets_the_whole(said: str) -> None:
    assert chosen_range({"Range": said}, TAG, 10) is None


@pytest.mark.parametrize("said", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_a_range_outside_is_told_with_the_size(said: str) -> None:
    with pytest.raises(ProblemError) as caught:
        chosen_range({"Range": said}, TAG, 10)
    assert caught.value.fault is Fault.RANGE
    assert caught.value.headers == {"Content-Range": "bytes */10"}


def test_a_range_of_something_else_gets_the_whole() -> None:
    said = {"Range": "bytes=2-4"}
    assert chosen_range(said | {"If-Range": TAG}, TAG, 10) == range(2, 5)
    assert chosen_range(said | {"If-Range": '"bb"'}, TAG, 10) is None
