from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocol.errors import LocalUseError, RefusedError
from protocol.ferry_file import (
    FERRY_HEAD_OCTETS,
    FerryHead,
    ferry_signed_octets,
    read_ferry_head,
    write_ferry_file,
)
from protocol.limits import MAX_FERRY_FILES, MAX_POST_OCTETS
from protocol.reasons import Reason
from tests.messages import HUB, XIANGYANG

HEAD = FerryHead(
    sender=XIANGYANG,
    receiver=HUB,
    number=7,
    instant_ms=9,
    place=1,
    files=3,
    suite="ed25519",
    key_id="A" * 43,
    size=2,
    octets_digest=b"d" * 32,
)
SIGNATURE = b"s" * 64
FILE = write_ferry_file(HEAD, SIGNATURE, b"no")


@pytest.mark.spec("FF-2")
def test_a_file_octet_for_octet() -> None:
    assert (
        b"TBF1\x03420600420000"
        + (b"\0" * 7 + b"\7" + b"\0" * 7 + b"\x09" + b"\0\1\0\3")
        + (bytes(32) + b"\0\0\0\2" + b"d" * 32 + b"s" * 64 + b"no")
    ) == FILE
    assert len(FILE) == FERRY_HEAD_OCTETS + 2
    read = read_ferry_head(FILE)
    assert (read.head, read.signature) == (HEAD, SIGNATURE)
    assert ferry_signed_octets(HEAD) == b"TONGBAN-FERRY-1\0" + FILE[:105]


@pytest.mark.spec("FF-2")
@pytest.mark.parametrize(
    ("at", "octets"),
    [
        (0, b"TBF2"),
        (4, b"\0"),
        (4, b"\4"),
        (5, b"abcdef"),
        (5, b"\xff"),
        (11, XIANGYANG.encode()),
        (33, b"\0\3"),
        (35, b"\0\0"),
        (35, (MAX_FERRY_FILES + 1).to_bytes(2)),
        (69, (MAX_POST_OCTETS + 1).to_bytes(4)),
    ],
    ids=[
        *("magic", "no suite", "other suite", "sender", "not text", "to its sender", "place"),
        *("no files", "too many files", "too large"),
    ],
)
def test_any_other_head_is_refused(at: int, octets: bytes) -> None:
    broken = FILE[:at] + octets + FILE[at + len(octets) :]
    with pytest.raises(RefusedError) as error:
        read_ferry_head(broken)
    assert error.value.reason is Reason.FRAME_MALFORMED


@pytest.mark.spec("FF-2")
@pytest.mark.parametrize("length", range(0, FERRY_HEAD_OCTETS, 12))
def test_a_head_that_is_cut_is_refused(length: int) -> None:
    with pytest.raises(RefusedError, match=f"{length} octets"):
        read_ferry_head(FILE[:length])


@pytest.mark.parametrize(
    "changes", [{"receiver": XIANGYANG}, {"place": 3}, {"files": 200}, {"size": 2**23 + 1}]
)
def test_what_no_reader_would_take_is_not_written(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalUseError):
        write_ferry_file(replace(HEAD, **changes), SIGNATURE, b"no")
