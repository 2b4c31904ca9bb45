from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from protocol.errors import UnavailableError
from protocol.limits import MAX_BATCH
from protocol.proof import Batched, Proof, Single
from protocol.reasons import Reason
from signing.batch import (
    BATCH_DOMAIN,
    PURPOSES,
    Checking,
    ProofRequest,
    VerifiedRoots,
    batch_octets,
    sign_group,
    verify_proof,
)
from signing.keys import KeyStoreError, KeyUse, SigningRequest
from signing.suites import PrivateKey, PublicKey, Suite, digest
from tests.messages import make_key

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS = {suite: make_key(f"{suite}", suite) for suite in Suite}
OTHER = make_key("another", Suite.ED25519)
KEY = KEYS[Suite.ED25519].public
ZERO = bytes(64)


class Store:
    """A key store in memory that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[SigningRequest] = []
        self._keys = {key.public.key_id: key for key in (*KEYS.values(), OTHER)}

    def sign(self, requests: Sequence[SigningRequest]) -> list[bytes]:
        self.asked += requests
        return [self._key(request.key_id).sign(request.octets) for request in requests]

    def public(self, key_id: str) -> PublicKey:
        return self._key(key_id).public

    def find(self, use: KeyUse, owner: str) -> str:
        raise NotImplementedError

    def _key(self, key_id: str) -> PrivateKey:
        try:
            return self._keys[key_id]
        except KeyError:
            raise KeyStoreError(key_id) from None


def ask(
    name: str, use: KeyUse = KeyUse.ENVELOPE, key: PublicKey = KEY, *, leaf: bool = True
) -> ProofRequest:
    octets = name.encode()
    return ProofRequest(key.key_id, use, octets, octets + b"+merkle" if leaf else None)


def holds(
    proof: Proof,
    octets: bytes,
    use: KeyUse = KeyUse.ENVELOPE,
    key: PublicKey = KEY,
    *,
    version: int = 1,
    checking: Checking | None = None,
) -> bool:
    return verify_proof(proof, octets, use, key, version, checking or Checking())


def batch_of(size: int, key: PublicKey = KEY, use: KeyUse = KeyUse.ENVELOPE) -> list[Batched]:
    proofs = sign_group(Store(), [ask(str(number), use, key) for number in range(size)])
    found = [proof for proof in proofs if isinstance(proof, Batched)]
    assert len(found) == size
    return found


def leaf(number: int) -> bytes:
    return f"{number}+merkle".encode()


# signing


@pytest.mark.spec("BP-7")
def test_what_waits_alone_is_signed_alone() -> None:
    store = Store()
    (proof,) = sign_group(store, [ask("a")])
    assert isinstance(proof, Single)
    assert store.asked == [SigningRequest(KEY.key_id, b"a")]
    assert holds(proof, b"a")
    assert not holds(proof, b"a+merkle")


@pytest.mark.spec("BP-1")
@pytest.mark.spec("BP-2")
@pytest.mark.parametrize("suite", Suite, ids=str)
def test_the_signed_octets_octet_for_octet(suite: Suite) -> None:
    store, key = Store(), KEYS[suite].public
    proofs = sign_group(store, [ask("a", key=key), ask("b", key=key), ask("c", key=key)])
    leaves = [digest(suite, b"\0" + name + b"+merkle") for name in (b"a", b"b", b"c")]
    below = digest(suite, b"\1" + leaves[0] + leaves[1])
    root = digest(suite, b"\1" + below + leaves[2])
    signed = (
        b"TONGBAN-BATCH-1\0"
        + bytes([len(suite)])
        + suite.encode()
        + b"\x08envelope"
        + b"\x2b"
        + key.key_id.encode()
        + b"\0\0\0\3"
        + root
    )
    assert store.asked == [SigningRequest(key.key_id, signed)]
    first, second, third = (proof for proof in proofs if isinstance(proof, Batched))
    assert (first.index, first.size, first.path) == (0, 3, (leaves[1], leaves[2]))
    assert (second.index, second.size, second.path) == (1, 3, (leaves[0], leaves[2]))
    assert (third.index, third.size, third.path) == (2, 3, (below,))
    assert len({proof.signature for proof in (first, second, third)}) == 1
    for name, proof in zip((b"a", b"b", b"c"), proofs, strict=True):
        assert holds(proof, name + b"+merkle", key=key)


@pytest.mark.spec("BP-7")
def test_a_group_is_one_batch_per_key_and_use_in_the_order_it_came() -> None:
    store = Store()
    requests = [
        ask("e1"),
        ask("r1", KeyUse.RECEIPT, leaf=False),
        ask("o1", key=OTHER.public),
        ask("e2"),
        ask("r2", KeyUse.RECEIPT, leaf=False),
        ask("p1", KeyUse.PING),
        ask("e3"),
    ]
    proofs = sign_group(store, requests)
    assert len(store.asked) == 4
    assert [type(proof) for proof in proofs] == [
        Batched, Batched, Single, Batched, Batched, Single, Batched,
    ]  # fmt: skip
    for request, proof in zip(requests, proofs, strict=True):
        octets = request.single if isinstance(proof, Single) else request.leaf_octets
        key = store.public(request.key_id)
        assert holds(proof, octets, request.use, key)


def test_what_is_never_batched_is_signed_alone_however_many_wait() -> None:
    store = Store()
    proofs = sign_group(store, [ask("a", KeyUse.EVIDENCE), ask("b", KeyUse.EVIDENCE)])
    assert [type(proof) for proof in proofs] == [Single, Single]
    assert [request.octets for request in store.asked] == [b"a", b"b"]
    assert {KeyUse.ENVELOPE, KeyUse.PING, KeyUse.RECEIPT} == PURPOSES


@pytest.mark.spec("BP-3")
def test_a_batch_is_no_larger_than_a_verifier_takes() -> None:
    store = Store()
    proofs = sign_group(store, [ask(str(number)) for number in range(MAX_BATCH + 1)])
    assert len(store.asked) == 2
    first, before_last, last = proofs[0], proofs[-2], proofs[-1]
    assert isinstance(first, Batched)
    assert isinstance(before_last, Batched)
    assert (first.size, before_last.index) == (MAX_BATCH, MAX_BATCH - 1)
    assert isinstance(last, Single)
    assert holds(first, leaf(0))
    assert holds(before_last, leaf(MAX_BATCH - 1))
    assert holds(last, str(MAX_BATCH).encode())


def test_all_of_a_group_or_none() -> None:
    with pytest.raises(KeyStoreError):
        sign_group(Store(), [ask("a"), replace(ask("b"), key_id="nobody's")])
    assert sign_group(Store(), []) == []


# checking


@pytest.mark.spec("BP-2")
def test_a_proof_belongs_to_its_leaf_place_size_and_path() -> None:
    proofs = batch_of(5)
    good = proofs[2]
    assert holds(good, leaf(2))
    assert not holds(good, leaf(3))
    assert not holds(good, b"2")
    assert not holds(replace(good, index=3), leaf(2))
    assert not holds(replace(good, size=6), leaf(2))
    assert not holds(replace(good, size=7), leaf(2))
    assert not holds(replace(good, path=(*good.path[:-1], bytes(32))), leaf(2))
    assert not holds(replace(good, path=proofs[3].path), leaf(2))
    assert not holds(replace(good, path=()), leaf(2))


@pytest.mark.spec("BP-2")
def test_an_inner_node_is_no_leaf() -> None:
    """A batch of four is no batch of two whose leaves are its inner nodes."""
    first, *_ = batch_of(4)
    inner = digest(KEY.suite, b"\0" + leaf(0)) + first.path[0]
    shorter = replace(first, size=2, path=first.path[1:])
    assert not holds(shorter, inner)
    assert not holds(shorter, b"\1" + inner)


@pytest.mark.spec("BP-2")
@pytest.mark.parametrize("meant", sorted(PURPOSES))
def test_a_proof_for_one_purpose_is_none_for_another(meant: KeyUse) -> None:
    proof = batch_of(2, use=meant)[0]
    assert [use for use in KeyUse if holds(proof, leaf(0), use)] == [meant]


def test_no_batch_is_believed_for_what_is_never_batched() -> None:
    proof = batch_of(2)[0]
    signature = KEYS[KEY.suite].sign(
        batch_octets(KEY.suite, KeyUse.EVIDENCE, KEY.key_id, 2, root_of(proof, leaf(0)))
    )
    assert not holds(replace(proof, signature=signature), leaf(0), KeyUse.EVIDENCE)


def root_of(proof: Batched, octets: bytes) -> bytes:
    (path,) = proof.path
    return digest(KEY.suite, b"\1" + digest(KEY.suite, b"\0" + octets) + path)


@pytest.mark.spec("BP-2")
def test_a_proof_cannot_be_carried_to_another_key_suite_or_key_id() -> None:
    """Not even with the private key at hand: what is signed names suite, purpose, key and size."""
    proof = batch_of(2)[0]
    assert not holds(proof, leaf(0), key=OTHER.public)
    assert not holds(proof, leaf(0), key=KEYS[Suite.P256].public)
    root, signer = root_of(proof, leaf(0)), KEYS[KEY.suite]
    for signed in (
        batch_octets(Suite.P256, KeyUse.ENVELOPE, KEY.key_id, 2, root),
        batch_octets(KEY.suite, KeyUse.ENVELOPE, OTHER.public.key_id, 2, root),
        batch_octets(KEY.suite, KeyUse.ENVELOPE, KEY.key_id, 3, root),
        batch_octets(KEY.suite, KeyUse.ENVELOPE, KEY.key_id, 2, root)[len(BATCH_DOMAIN) :],
        root,
    ):
        assert not holds(replace(proof, signature=signer.sign(signed)), leaf(0))


@pytest.mark.spec("BP-2")
def test_a_single_signature_over_a_leaf_is_no_batch_and_a_root_no_statement() -> None:
    proof = batch_of(2)[0]
    assert not holds(Single(proof.signature), leaf(0))
    alone = KEYS[KEY.suite].sign(leaf(0))
    assert holds(Single(alone), leaf(0))
    assert not holds(replace(proof, signature=alone), leaf(0))


# the memory of roots


class Counted:
    """A charge that counts, and ends."""

    def __init__(self, most: int = 1000) -> None:
        self.made = 0
        self._most = most

    def __call__(self) -> None:
        if self.made == self._most:
            raise UnavailableError(Reason.OVERLOADED, "enough")
        self.made += 1


@pytest.mark.spec("BP-5")
def test_a_root_is_verified_once() -> None:
    charge = Counted()
    checking = Checking(charge=charge)
    for number, proof in enumerate(batch_of(9)):
        assert holds(proof, leaf(number), checking=checking)
    assert charge.made == 1


@pytest.mark.spec("BP-5")
def test_a_zeroed_signature_does_not_pass_because_the_root_is_known() -> None:
    checking = Checking()
    first, second = batch_of(2)
    assert holds(first, leaf(0), checking=checking)
    assert not holds(replace(second, signature=ZERO), leaf(1), checking=checking)
    assert not holds(replace(first, signature=ZERO), leaf(0), checking=checking)
    assert holds(second, leaf(1), checking=checking)


@pytest.mark.spec("BP-5")
def test_what_failed_is_not_remembered() -> None:
    checking = Checking()
    forged = replace(batch_of(2)[0], signature=ZERO)
    assert not holds(forged, leaf(0), checking=checking)
    assert not holds(forged, leaf(0), checking=checking)
    assert len(checking.roots) == 0


@pytest.mark.spec("BP-5")
def test_another_directory_another_key_or_another_purpose_asks_again() -> None:
    charge = Counted()
    checking = Checking(charge=charge)
    proof = batch_of(2)[0]
    assert holds(proof, leaf(0), version=1, checking=checking)
    assert holds(proof, leaf(0), version=2, checking=checking)
    assert charge.made == 2
    assert not holds(proof, leaf(0), KeyUse.PING, checking=checking)
    assert not holds(proof, leaf(0), key=OTHER.public, checking=checking)
    assert charge.made == 4


def test_the_memory_is_bounded_and_keeps_what_is_used() -> None:
    roots = VerifiedRoots(capacity=8)
    for number in range(100):
        roots.remember(b"used", ZERO, 1)
        roots.remember(str(number).encode(), ZERO, 1)
        assert roots.known(b"used", ZERO, 1)
        assert roots.known(str(number).encode(), ZERO, 1)
        assert len(roots) <= 8
    assert not roots.known(b"0", ZERO, 1)
    assert not roots.known(b"used", ZERO, 2)
    assert not roots.known(b"used", bytes(63) + b"\1", 1)


@pytest.mark.spec("BP-6")
def test_each_public_key_operation_is_charged_before_it_is_made() -> None:
    alone = [KEYS[KEY.suite].sign(octets) for octets in (b"a", b"b", b"c")]
    charge = Counted(2)
    checking = Checking(charge=charge)
    assert holds(Single(alone[0]), b"a", checking=checking)
    assert not holds(Single(alone[1]), b"x", checking=checking)
    with pytest.raises(UnavailableError) as caught:
        holds(Single(alone[2]), b"c", checking=checking)
    assert caught.value.reason is Reason.OVERLOADED


@pytest.mark.spec("BP-6")
def test_distinct_roots_cost_and_known_ones_do_not() -> None:
    charge = Counted(2)
    checking = Checking(charge=charge)
    one, other = batch_of(2), batch_of(3)
    assert holds(one[0], leaf(0), checking=checking)
    assert holds(other[0], leaf(0), checking=checking)
    assert holds(one[1], leaf(1), checking=checking)
    with pytest.raises(UnavailableError):
        holds(batch_of(4)[0], leaf(0), checking=checking)
