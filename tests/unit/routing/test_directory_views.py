from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RefusedError
from protocol.reasons import Reason
from routing.directory_views import (
    Ahead,
    Behind,
    ProvinceView,
    Split,
    compare_views,
    read_view,
    write_view,
)
from routing.payload import Named


def named(version: int, content: str = "0") -> Named:
    return Named(version=version, digest=content * 64)


def view(root: Named, directory: Named, freshness: Named, prefix: str = "42") -> ProvinceView:
    return ProvinceView(prefix, root, directory, freshness)


MINE = view(named(1), named(5), named(100))


@pytest.mark.spec("DI-13")
def test_a_view_is_read_as_it_was_written() -> None:
    both = (MINE, view(named(2), named(2**53 - 1, "f"), named(9), "43"))
    octets = write_view(both)
    assert len(octets) == 2 * 122
    assert octets[:2] + octets[122:124] == b"4243"
    assert octets[2:10] == struct.pack(">Q", 1)
    assert read_view(octets) == both
    assert read_view(b"") == ()


@pytest.mark.spec("DI-13")
@pytest.mark.parametrize(
    "octets",
    [
        b"4",
        write_view((MINE,))[:-1],
        write_view((MINE, MINE)),
        write_view((view(named(1), named(1), named(1), "43"), MINE)),
        write_view((MINE,)).replace(b"42", b"4x"),
        write_view((MINE,)).replace(b"42", b"\xff2"),
        write_view((MINE,)).replace(struct.pack(">Q", 5), bytes(8)),
        write_view((MINE,)).replace(struct.pack(">Q", 5), b"\xff" * 8),
        write_view((MINE,)) * 91,
    ],
)
def test_what_is_no_view_is_refused(octets: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        read_view(octets)
    assert caught.value.reason is Reason.FRAME_MALFORMED


@given(st.binary(max_size=400))
def test_octets_of_a_peer_are_a_view_or_refused(octets: bytes) -> None:
    with contextlib.suppress(RefusedError):
        assert write_view(read_view(octets)) == octets


@pytest.mark.spec("DI-13")
@pytest.mark.parametrize(
    ("theirs", "found"),
    [
        (MINE, ()),
        (view(named(1), named(6), named(100)), (Behind("42"),)),
        (view(named(1), named(4), named(90)), (Ahead("42"),)),
        (view(named(1), named(4), named(110)), (Behind("42"),)),
        (view(named(2), named(5, "1"), named(100)), (Behind("42"),)),
        (
            view(named(1), named(5, "1"), named(110)),
            (Split("42", "directory", named(5), named(5, "1")), Behind("42")),
        ),
        (
            view(named(1, "1"), named(5), named(100)),
            (Split("42", "root", named(1), named(1, "1")),),
        ),
        (
            view(named(1), named(5), named(100, "1")),
            (Split("42", "freshness", named(100), named(100, "1")),),
        ),
        (view(named(1, "1"), named(5, "1"), named(100), prefix="43"), ()),
    ],
)
def test_views_differ_by_what_is_newer_or_other(
    theirs: ProvinceView, found: tuple[object, ...]
) -> None:
    assert compare_views((MINE,), (theirs,)) == found
