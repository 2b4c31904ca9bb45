from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from protocol.errors import LocalUseError, RefusedError, UnavailableError
from protocol.limits import HEAD_OCTETS, MAX_CLOCK_SKEW_MS, MAX_LOG_LEAVES
from protocol.proof import Batched, Single
from protocol.reasons import Reason
from signing.batch import PURPOSES
from signing.keys import KeyUse, SigningRequest
from signing.log import (
    LEAF_OCTETS,
    Birth,
    Head,
    Leaf,
    LeafType,
    LogDigest,
    head_request,
    head_signed_octets,
    read_head,
    read_leaf,
    split_leaves,
    verify_head,
    view_digest,
    write_head,
)
from signing.suites import Suite, digest
from tests.messages import DAY_MS, HUB, NOW_MS, WUHAN, YEAR_MS, Keys, keys_of

KEYS = keys_of([HUB, WUHAN])
HEAD_KEY = KEYS.find(KeyUse.HEAD, WUHAN)
HEAD = Head(
    node=WUHAN,
    digest=LogDigest.SHA_256,
    incarnation=1,
    size=12,
    root=bytes(range(32)),
    instant_ms=NOW_MS,
    view=bytes(32),
    suite=KEYS.public(HEAD_KEY).suite,
    key_id=HEAD_KEY,
)


def signed(head: Head = HEAD, keys: Keys = KEYS) -> bytes:
    request = SigningRequest(head.key_id, head_signed_octets(head))
    return write_head(head, Single(keys.sign([request])[0]))


def refusal(octets: bytes, keys: Keys = KEYS, node: str = WUHAN, **how: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        verify_head(octets, keys.trust(), node, **how)
    assert caught.value.reason is Reason.HEAD_INVALID
    return caught.value.detail


def registered(**changes: Any) -> Keys:
    """The same keys, with the head key of 武汉 registered otherwise."""
    records = [
        replace(record, **changes) if record.key.key_id == HEAD_KEY else record
        for record in KEYS.records
    ]
    return Keys(records, KEYS.secrets)


@pytest.mark.spec("LG-1")
def test_a_leaf_is_41_octets_of_type_instant_and_digest() -> None:
    leaf = Leaf(LeafType.RECEIPT_ISSUED, 0x0102030405060708, bytes(range(32)))
    assert leaf.octets == bytes([6]) + bytes(range(1, 9)) + bytes(range(32))
    assert read_leaf(leaf.octets) == leaf
    assert [len(each) for each in split_leaves(leaf.octets * 3)] == [LEAF_OCTETS] * 3


@pytest.mark.spec("LG-1")
@pytest.mark.parametrize("octets", [b"", bytes(41), b"\xff" + bytes(40), bytes([1]) + bytes(41)])
def test_what_is_no_leaf_is_refused(octets: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        read_leaf(octets)
    assert caught.value.reason is Reason.LOG_BROKEN


@pytest.mark.spec("LG-3")
def test_a_log_s_digest_follows_from_its_birth() -> None:
    births = [Birth(WUHAN, each, 1, NOW_MS) for each in LogDigest]
    assert [birth.leaf.digest for birth in births] == [
        digest(Suite.SM2_SM3, births[0].octets),
        digest(Suite.ED25519, births[1].octets),
    ]
    assert [LogDigest.of(suite) for suite in Suite] == [
        LogDigest.SM3, LogDigest.SHA_256, LogDigest.SHA_256,
    ]  # fmt: skip


@pytest.mark.spec("LG-5")
def test_a_head_reads_back_as_it_was_signed() -> None:
    octets = signed()
    assert len(octets) == HEAD_OCTETS == 193
    assert read_head(octets).head == HEAD
    assert verify_head(octets, KEYS.trust(), WUHAN).head == HEAD


@pytest.mark.spec("LG-5")
def test_every_octet_of_a_head_counts() -> None:
    octets = signed()
    trust = KEYS.trust()
    for place in range(len(octets)):
        bent = bytearray(octets)
        bent[place] ^= 1
        with pytest.raises((RefusedError, UnavailableError)) as caught:
            verify_head(bytes(bent), trust, WUHAN)
        assert caught.value.reason in (Reason.HEAD_INVALID, Reason.KEY_UNKNOWN), place


@pytest.mark.spec("LG-5")
@pytest.mark.parametrize("octets", [b"", bytes(193), bytes(192), bytes(194)])
def test_what_is_no_head_is_refused(octets: bytes) -> None:
    assert refusal(octets)


@pytest.mark.spec("LG-5")
def test_a_head_is_signed_alone() -> None:
    octets = bytearray(signed())
    octets[128] = 1
    assert refusal(bytes(octets)) == "form of the proof: a head is signed alone"
    with pytest.raises(LocalUseError, match="alone"):
        write_head(HEAD, Batched(0, 2, (bytes(32),), bytes(64)))
    assert head_request(HEAD).use not in PURPOSES


@pytest.mark.spec("LG-5")
@pytest.mark.parametrize(
    "changes",
    [{"size": 0}, {"size": MAX_LOG_LEAVES + 1}, {"incarnation": 0}, {"node": "Wuhan!"},
     {"root": b"short"}, {"view": b""}],
    ids=str,
)  # fmt: skip
def test_what_no_reader_would_take_is_not_written(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalUseError):
        signed(replace(HEAD, **changes))


@pytest.mark.spec("LG-6")
def test_a_head_counts_for_the_node_that_shows_it() -> None:
    assert "shown as one of" in refusal(signed(), node=HUB)


@pytest.mark.spec("LG-6")
@pytest.mark.parametrize("use", [KeyUse.RECEIPT, KeyUse.EVIDENCE])
def test_only_a_head_key_signs_heads(use: KeyUse) -> None:
    assert "no head key" in refusal(signed(replace(HEAD, key_id=KEYS.find(use, WUHAN))))


@pytest.mark.spec("LG-6")
def test_a_head_key_signs_heads_of_its_own_node_only() -> None:
    assert "no head key" in refusal(signed(replace(HEAD, key_id=KEYS.find(KeyUse.HEAD, HUB))))


@pytest.mark.spec("LG-6")
def test_the_suite_is_the_key_s() -> None:
    assert refusal(signed(replace(HEAD, suite=Suite.ED25519))) == "suite is not the key's"


@pytest.mark.spec("LG-6")
@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"not_before_ms": NOW_MS + MAX_CLOCK_SKEW_MS + 1}, "validity"),
        ({"not_after_ms": NOW_MS}, "validity"),
        ({"revoked_ms": NOW_MS + DAY_MS}, "revoked"),
    ],
    ids=["not yet", "no longer", "revoked"],
)
def test_the_key_has_to_be_good_at_the_stated_instant(changes: dict[str, Any], word: str) -> None:
    assert word in refusal(signed(), registered(**changes))


@pytest.mark.spec("LG-6")
def test_years_later_a_head_from_before_the_revocation_still_counts() -> None:
    trust = registered(revoked_ms=NOW_MS + DAY_MS).trust()
    assert verify_head(signed(), trust, WUHAN, live=False).head == HEAD
    assert "revoked" in refusal(signed(), registered(revoked_ms=NOW_MS - YEAR_MS), live=False)


def test_an_unknown_key_is_not_decided() -> None:
    with pytest.raises(UnavailableError) as caught:
        verify_head(signed(), keys_of([HUB]).trust(), WUHAN)
    assert caught.value.reason is Reason.KEY_UNKNOWN


@pytest.mark.spec("LG-5")
def test_a_view_is_signed_by_its_digest() -> None:
    assert view_digest(b"view") == hashlib.sha256(b"TONGBAN-VIEW-1\x00view").digest()


def test_every_type_has_its_names() -> None:
    assert [leaf.value for leaf in LeafType] == list(range(1, 11))
    assert LeafType.RECEIPT_ISSUED.code == "receipt-issued"
    assert len({leaf.chinese for leaf in LeafType}) == len(LeafType)
