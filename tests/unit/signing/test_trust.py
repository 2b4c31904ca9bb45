from __future__ import annotations

import pytest

from protocol.errors import RefusedError
from protocol.reasons import Reason
from signing.keys import KeyUse
from signing.suites import PublicKey, Suite, private_key_from_entropy
from signing.trust import KeyRecord, TrustSet


def public_key(name: str) -> PublicKey:
    return private_key_from_entropy(Suite.ED25519, name.encode().ljust(48, b".")).public


def record(name: str, owner: str) -> KeyRecord:
    return KeyRecord(public_key(name), KeyUse.RECEIPT, owner, owner, 0, 1000, None)


def test_a_key_is_found_by_its_id_and_an_unknown_one_is_nothing() -> None:
    wuhan, xiangyang = record("a", "420100"), record("b", "420600")
    trust = TrustSet.of([wuhan, xiangyang], version=7)
    assert trust.key(wuhan.key.key_id, "420100") is wuhan
    assert trust.key(xiangyang.key.key_id, "420600") is xiangyang
    assert trust.key(public_key("c").key_id, "420100") is None
    assert trust.version == 7


@pytest.mark.spec("DI-4")
def test_a_registration_counts_for_nodes_of_its_own_province_only() -> None:
    ours, theirs = record("a", "420100"), record("a", "430100")
    trust = TrustSet.of([ours, theirs], version=1)
    assert trust.key(ours.key.key_id, "420600") is ours
    assert trust.key(ours.key.key_id, "430600") is theirs
    assert trust.key(ours.key.key_id, "440100") is None


def test_a_key_two_owners_claim_in_one_province_is_refused_naming_both() -> None:
    with pytest.raises(RefusedError, match="420100 and 420600") as caught:
        TrustSet.of([record("a", "420100"), record("a", "420600")], version=1)
    assert caught.value.reason is Reason.DOCUMENT_INVALID


def test_a_set_never_changes() -> None:
    trust = TrustSet.of([record("a", "420100")], version=1)
    with pytest.raises(TypeError):
        trust.records["42", "x"] = record("b", "420600")  # type: ignore[index]
