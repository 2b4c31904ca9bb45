from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalUseError
from protocol.proof import path_length
from signing.merkle import (
    Tree,
    consistency_nodes,
    inclusion_nodes,
    leaf_hash,
    node_at,
    node_hash,
    root_from_inclusion,
    root_node,
    verify_consistency,
)
from signing.suites import Suite, digest

SUITE = Suite.SM2_SM3

# The leaves of the reference implementation of Certificate Transparency, and its roots (SHA-256).
KNOWN_LEAVES = tuple(
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
)
KNOWN_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)

# RFC 9162 §2.1.1, 2.1.3.1 and 2.1.4.1 as they are written, by recursion over lists of leaves.


def split(count: int) -> int:
    """The largest power of two smaller than count."""
    k = 1
    while k * 2 < count:
        k *= 2
    return k


@cache
def mth(suite: Suite, leaves: tuple[bytes, ...]) -> bytes:
    if not leaves:
        return digest(suite, b"")
    if len(leaves) == 1:
        return digest(suite, b"\x00" + leaves[0])
    k = split(len(leaves))
    return digest(suite, b"\x01" + mth(suite, leaves[:k]) + mth(suite, leaves[k:]))


def path(m: int, leaves: tuple[bytes, ...]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(SUITE, leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(SUITE, leaves[:k])]


def subproof(m: int, leaves: tuple[bytes, ...], *, whole: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [mth(SUITE, leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole=whole), mth(SUITE, leaves[k:])]
    return [*subproof(m - k, leaves[k:], whole=False), mth(SUITE, leaves[:k])]


def some_leaves(count: int) -> tuple[bytes, ...]:
    return tuple(number.to_bytes(4) for number in range(count))


def tree_of(leaves: tuple[bytes, ...]) -> Tree:
    return Tree(SUITE, [leaf_hash(SUITE, leaf) for leaf in leaves])


SIZES = [*range(1, 34), 63, 64, 65, 100]
shapes = st.integers(1, 300).flatmap(
    lambda size: st.tuples(st.integers(0, size - 1), st.just(size))
)
growths = st.integers(1, 300).flatmap(lambda size: st.tuples(st.integers(1, size), st.just(size)))


@pytest.mark.spec("BP-1")
def test_roots_are_those_of_the_reference_implementation() -> None:
    for suite in (Suite.P256, Suite.ED25519):
        leaves = [leaf_hash(suite, leaf) for leaf in KNOWN_LEAVES]
        roots = [Tree(suite, leaves[:size]).root.hex() for size in range(len(KNOWN_ROOTS))]
        assert roots == list(KNOWN_ROOTS)


@pytest.mark.spec("BP-1")
@pytest.mark.parametrize("size", SIZES)
def test_roots_and_paths_are_those_of_the_recursive_definition(size: int) -> None:
    leaves = some_leaves(size)
    tree = tree_of(leaves)
    assert tree.root == mth(SUITE, leaves)
    for index in range(size):
        inclusion = tree.inclusion_path(index)
        assert inclusion == path(index, leaves)
        assert path_length(index, size) == len(inclusion) == len(inclusion_nodes(index, size))
        hashed = leaf_hash(SUITE, leaves[index])
        assert root_from_inclusion(SUITE, hashed, index, size, inclusion) == tree.root


@pytest.mark.parametrize("size", SIZES)
def test_consistency_proofs_are_those_of_the_recursive_definition(size: int) -> None:
    leaves = some_leaves(size)
    tree = tree_of(leaves)
    for first in range(1, size + 1):
        proof = tree.consistency_proof(first)
        assert proof == subproof(first, leaves, whole=True)
        before = mth(SUITE, leaves[:first])
        assert verify_consistency(SUITE, first, size, before, tree.root, proof)


@pytest.mark.spec("BP-1")
def test_each_suite_hashes_with_its_own_digest() -> None:
    roots = {
        suite: Tree(suite, [leaf_hash(suite, b"a"), leaf_hash(suite, b"b")]) for suite in Suite
    }
    assert roots[Suite.SM2_SM3].root == mth(Suite.SM2_SM3, (b"a", b"b"))
    assert roots[Suite.SM2_SM3].root != roots[Suite.P256].root == roots[Suite.ED25519].root


@pytest.mark.spec("BP-1")
def test_an_inner_node_is_no_leaf() -> None:
    left, right = leaf_hash(SUITE, b"a"), leaf_hash(SUITE, b"b")
    assert node_hash(SUITE, left, right) != leaf_hash(SUITE, left + right)


@given(shapes, st.data())
def test_no_other_place_size_or_path_leads_to_the_root(
    shape: tuple[int, int], data: st.DataObject
) -> None:
    index, size = shape
    tree = tree_of(some_leaves(size))
    hashed, inclusion = leaf_hash(SUITE, index.to_bytes(4)), tree.inclusion_path(index)

    def root(
        *, leaf: bytes = hashed, at: int = index, among: int = size, by: list[bytes] = inclusion
    ) -> bytes | None:
        return root_from_inclusion(SUITE, leaf, at, among, by)

    assert root() == tree.root
    elsewhere = data.draw(st.integers(-1, size + 1).filter(lambda other: other != index))
    assert root(at=elsewhere) != tree.root
    assert root(leaf=leaf_hash(SUITE, b"other")) != tree.root
    # Too short and too long are no paths at all, whatever they hash to.
    assert root(by=[*inclusion, bytes(32)]) is None
    if inclusion:
        assert root(by=inclusion[:-1]) is None
        at = data.draw(st.integers(0, len(inclusion) - 1))
        bent = [*inclusion[:at], bytes(32), *inclusion[at + 1 :]]
        assert root(by=bent) != tree.root
    assert root(among=index) is None


@given(growths, st.data())
def test_no_other_history_is_consistent(growth: tuple[int, int], data: st.DataObject) -> None:
    first, size = growth
    leaves = some_leaves(size)
    tree, before = tree_of(leaves), mth(SUITE, leaves[:first])
    proof = tree.consistency_proof(first)

    def holds(
        *, old: bytes = before, new: bytes = tree.root, by: list[bytes] = proof, at: int = first
    ) -> bool:
        return verify_consistency(SUITE, at, size, old, new, by)

    assert holds()
    rewritten = mth(SUITE, (b"rewritten", *leaves[1:first]))
    assert not holds(old=rewritten)
    assert not holds(new=bytes(32))
    assert not holds(by=[*proof, bytes(32)])
    assert not holds(at=0)
    assert not holds(at=size + 1)
    if proof:
        assert not holds(by=[])
        assert not holds(by=proof[:-1])
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not holds(by=[*proof[:at], bytes(32), *proof[at + 1 :]])


@given(shapes)
def test_every_node_follows_from_complete_subtrees(shape: tuple[int, int]) -> None:
    index, size = shape
    leaves = some_leaves(size)

    def complete(level: int, at: int) -> bytes:
        held = leaves[at << level : (at + 1) << level]
        assert len(held) == 1 << level
        return mth(SUITE, held)

    tree = tree_of(leaves)
    assert node_at(SUITE, complete, *root_node(size), size) == tree.root
    inclusion = [node_at(SUITE, complete, *node, size) for node in inclusion_nodes(index, size)]
    assert inclusion == tree.inclusion_path(index)
    grown = [node_at(SUITE, complete, *node, size) for node in consistency_nodes(index + 1, size)]
    assert grown == tree.consistency_proof(index + 1)


def test_asking_for_what_is_not_there_is_our_own_mistake() -> None:
    tree = tree_of(some_leaves(3))
    for index in (-1, 3):
        with pytest.raises(LocalUseError, match=f"no leaf {index} among 3"):
            tree.inclusion_path(index)
    for first in (0, 4):
        with pytest.raises(LocalUseError, match=f"no tree of {first} leaves"):
            tree.consistency_proof(first)
    with pytest.raises(LocalUseError, match="no node"):
        node_at(SUITE, lambda level, at: bytes([level, at]), 0, 3, 3)
