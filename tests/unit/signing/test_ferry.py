from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocol.errors import RefusedError, UnavailableError
from protocol.ferry_file import FERRY_HEAD_OCTETS, read_ferry_head
from protocol.reasons import Reason
from signing.ferry import Passage, sign_ferry_files, verify_ferry_head
from signing.keys import KeyUse
from signing.suites import Suite
from signing.trust import TrustSet
from tests.messages import HUB, NOW_MS, WUHAN, XIANGYANG, Keys, keys_of, make_key

UP = Passage(XIANGYANG, HUB)
KEYS = keys_of((HUB, XIANGYANG, WUHAN))
FRAMES = bytes(range(256)) * 4


def files(room: int = 2**20, passage: Passage = UP, keys: Keys = KEYS) -> list[bytes]:
    return sign_ferry_files(FRAMES, passage, 1, NOW_MS, room, keys)


def refusal(octets: bytes, **changes: Any) -> Reason:
    """Why a file is refused, if its sender's carrier key is registered so."""
    records = [
        replace(row, **changes) if (row.use, row.owner) == (KeyUse.CARRIER, XIANGYANG) else row
        for row in KEYS.records
    ]
    with pytest.raises((RefusedError, UnavailableError)) as error:
        verify_ferry_head(octets, UP, TrustSet.of(records, 1), NOW_MS)
    reason = error.value.reason
    assert isinstance(error.value, RefusedError) == reason.final
    return reason


@pytest.mark.spec("FF-1")
@pytest.mark.parametrize("suite", Suite)
def test_what_a_node_signs_its_peer_takes(suite: Suite) -> None:
    keys = keys_of((HUB, XIANGYANG), suite)
    (whole,) = files(keys=keys)
    verified = verify_ferry_head(whole, UP, keys.trust(), NOW_MS)
    assert verified.holds(FRAMES)
    assert not verified.holds(FRAMES[:-1])
    assert whole[FERRY_HEAD_OCTETS:] == FRAMES


@pytest.mark.spec("FF-3")
@pytest.mark.parametrize("room", [1023, 1024, 300, 1])
def test_a_small_gate_gets_small_files(room: int) -> None:
    room = max(room, len(FRAMES) // 128)
    pieces = files(room)
    heads = [verify_ferry_head(piece, UP, KEYS.trust(), NOW_MS).head for piece in pieces]
    assert [head.place for head in heads] == list(range(heads[0].files))
    assert max(head.size for head in heads) <= room
    assert b"".join(piece[FERRY_HEAD_OCTETS:] for piece in pieces) == FRAMES


def test_an_empty_hand_over_is_one_file() -> None:
    (file,) = sign_ferry_files(b"", UP, 1, NOW_MS, 100, KEYS)
    assert verify_ferry_head(file, UP, KEYS.trust(), NOW_MS).holds(b"")


@pytest.mark.spec("FF-1")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"use": KeyUse.RECEIPT}, Reason.KEY_USE),
        ({"owner": HUB}, Reason.KEY_OWNER),
        ({"revoked_ms": NOW_MS - 1}, Reason.KEY_REVOKED),
        ({"revoked_ms": NOW_MS + 1}, Reason.KEY_REVOKED),
        ({"not_after_ms": NOW_MS}, Reason.KEY_REVOKED),
        ({"not_before_ms": NOW_MS + 3_600_000}, Reason.CLOCK_SKEW),
        ({"key": make_key("another", Suite.P256).public}, Reason.KEY_UNKNOWN),
    ],
    ids=["use", "owner", "revoked", "revoked tomorrow", "run out", "not yet", "unknown"],
)
def test_a_file_under_another_key_is_not_taken(changes: dict[str, Any], reason: Reason) -> None:
    assert refusal(files()[0], **changes) is reason


@pytest.mark.spec("FF-1")
def test_no_octet_of_a_head_can_be_changed() -> None:
    whole = files()[0]
    for place in range(FERRY_HEAD_OCTETS):
        changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        with pytest.raises((RefusedError, UnavailableError)):
            verify_ferry_head(changed, UP, KEYS.trust(), NOW_MS)


@pytest.mark.spec("FF-2")
@pytest.mark.parametrize("passage", [Passage(WUHAN, HUB), Passage(XIANGYANG, WUHAN)])
def test_a_file_of_another_link_is_refused(passage: Passage) -> None:
    whole = files(passage=passage)[0]
    assert read_ferry_head(whole).head.sender == passage.sender
    assert refusal(whole) is Reason.FRAME_MALFORMED
