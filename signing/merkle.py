"""The Merkle tree of RFC 9162 §2.1, over the digest of any suite (默克尔树).

A leaf is ``H(00 | octets)``, an inner node ``H(01 | left | right)``; the root of no leaves is
``H()``. A node is named by coordinates: (level, index) stands over the leaves from ``index <<
level`` up to ``(index + 1) << level``, or to the last leaf if that comes first. So level 0 holds
the leaves, a right edge that finds no neighbour rises unchanged, and the tree that results is the
RFC's.

Which nodes make up a proof follows from numbers alone (`inclusion_nodes`, `consistency_nodes`).
Where they come from is the caller's affair: `Tree` keeps all of them, for a batch; a log keeps the
complete ones and asks `node_at` for those at its edge.

Source: RFC 9162 (Certificate Transparency Version 2.0) §2.1. The recursive definitions stand in the
tests, which hold this module against them.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Final

from protocol.errors import LocalUseError
from signing.suites import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from signing.suites import Suite

_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


def leaf_hash(suite: Suite, octets: bytes) -> bytes:
    """The hash of a leaf with these octets, 32 octets."""
    return digest(suite, _LEAF + octets)


def node_hash(suite: Suite, left: bytes, right: bytes) -> bytes:
    """The hash of an inner node over two hashes, 32 octets."""
    return digest(suite, _NODE + left + right)


class Tree:
    """A whole tree in memory: n leaves, n - 1 hashes computed once, every proof by lookup."""

    __slots__ = ("_levels", "root", "size")

    def __init__(self, suite: Suite, leaves: Sequence[bytes]) -> None:
        """Build the tree.

        Args:
            suite: Whose digest to use.
            leaves: Hashes of the leaves (`leaf_hash`), in their order.
        """
        level = list(leaves)
        self._levels = [level]
        while len(level) > 1:
            above = [
                node_hash(suite, left, right)
                for left, right in zip(level[::2], level[1::2], strict=False)
            ]
            if len(level) % 2:
                above.append(level[-1])
            self._levels.append(above)
            level = above
        self.size: Final = len(leaves)
        self.root: Final = level[0] if level else digest(suite, b"")

    def inclusion_path(self, index: int) -> list[bytes]:
        """The hashes that lead from the leaf with this index to the root, lowest first.

        Raises:
            LocalUseError: there is no such leaf.
        """
        return [self._levels[level][at] for level, at in inclusion_nodes(index, self.size)]

    def consistency_proof(self, first: int) -> list[bytes]:
        """The proof that the tree of the first leaves, this many, grew into this one.

        Raises:
            LocalUseError: there were not that many leaves, or none.
        """
        return [self._levels[level][at] for level, at in consistency_nodes(first, self.size)]


def node_at(
    suite: Suite, complete: Callable[[int, int], bytes], level: int, index: int, size: int
) -> bytes:
    """The hash of a node, from the hashes of complete subtrees.

    Args:
        suite: Whose digest to use.
        complete: Gives the hash of a node that is full: all of its 2^level leaves are there. It is
            asked for one such node, or for at most `level` of them at the right edge.
        level: Of the node; the root's is that of `root_node`.
        index: Of the node.
        size: Leaves in the tree.

    Raises:
        LocalUseError: the tree has no such node.
    """
    begin, end = index << level, min((index + 1) << level, size)
    if not 0 <= begin < end:
        message = f"no node ({level}, {index}) in a tree of {size} leaves"
        raise LocalUseError(message)
    pieces: list[bytes] = []
    while begin < end:
        low = min(level, (end & -end).bit_length() - 1)
        pieces.append(complete(low, (end >> low) - 1))
        end -= 1 << low
    return reduce(lambda right, left: node_hash(suite, left, right), pieces)


def root_node(size: int) -> tuple[int, int]:
    """The coordinates of the root of a tree with at least one leaf."""
    return (size - 1).bit_length(), 0


def inclusion_nodes(index: int, size: int) -> list[tuple[int, int]]:
    """The nodes of an inclusion path, lowest first (RFC 9162 §2.1.3.1).

    Raises:
        LocalUseError: the tree has no leaf with this index.
    """
    if not 0 <= index < size:
        message = f"no leaf {index} among {size}"
        raise LocalUseError(message)
    return [(level, at) for level, at, _ in _beside(0, index, size - 1)]


def consistency_nodes(first: int, size: int) -> list[tuple[int, int]]:
    """The nodes of a consistency proof, in its order (RFC 9162 §2.1.4.1); none if nothing grew.

    Raises:
        LocalUseError: not 1 <= first <= size.
    """
    if not 1 <= first <= size:
        message = f"no tree of {first} leaves grew into one of {size}"
        raise LocalUseError(message)
    if first == size:
        return []
    level, index, last = _last_complete(first, size)
    start = [(level, index)] if index else []
    return start + [(level, at) for level, at, _ in _beside(level, index, last)]


def root_from_inclusion(
    suite: Suite, leaf: bytes, index: int, size: int, path: Sequence[bytes]
) -> bytes | None:
    """The root that a leaf's hash and its path lead to (RFC 9162 §2.1.3.2).

    Returns:
        The root, to be compared with the one that was signed. None if there is no such leaf, or the
        path is not exactly as long as index and size make it.
    """
    if not 0 <= index < size:
        return None
    node, rest = leaf, iter(path)
    for _, _, on_left in _beside(0, index, size - 1):
        other = next(rest, None)
        if other is None:
            return None
        node = node_hash(suite, other, node) if on_left else node_hash(suite, node, other)
    return node if next(rest, None) is None else None


def verify_consistency(
    suite: Suite, first: int, size: int, first_root: bytes, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the tree of `first` leaves with `first_root` grew into this one (§2.1.4.2).

    Returns:
        False also for a proof that is not exactly as long as the two sizes make it.
    """
    if not 1 <= first <= size:
        return False
    if first == size:
        return not proof and first_root == root
    level, index, last = _last_complete(first, size)
    # A first tree that is complete is itself the node to start from, so its hash is not sent.
    start = proof[:1] if index else [first_root]
    others = proof[1:] if index else proof
    sides = [on_left for _, _, on_left in _beside(level, index, last)]
    if not start or len(sides) != len(others):
        return False
    before = after = start[0]
    for on_left, other in zip(sides, others, strict=True):
        if on_left:
            before = node_hash(suite, other, before)
            after = node_hash(suite, other, after)
        else:
            after = node_hash(suite, after, other)
    return (before, after) == (first_root, root)


def _last_complete(first: int, size: int) -> tuple[int, int, int]:
    """The largest complete node that ends where the first tree did: level, index, last index."""
    level, index, last = 0, first - 1, size - 1
    while index & 1:
        level, index, last = level + 1, index >> 1, last >> 1
    return level, index, last


def _beside(level: int, index: int, last: int) -> Iterator[tuple[int, int, bool]]:
    """From a node up to the root: level and index of each neighbour, and whether it is on the left.

    `last` is the index of the level's last node; a last one without neighbour rises unchanged.
    """
    while last:
        if index & 1:
            yield level, index - 1, True
        elif index < last:
            yield level, index + 1, False
        level, index, last = level + 1, index >> 1, last >> 1
