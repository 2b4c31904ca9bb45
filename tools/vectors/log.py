"""Group log: leaves, the tree they make, and proofs that a leaf is in it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from protocol.reasons import Reason
from signing.log import (
    Birth,
    Leaf,
    LeafType,
    LogDigest,
)
from signing.merkle import Tree, leaf_hash
from signing.suites import Suite
from tests.messages import NOW_MS, WUHAN
from tools.vectors.cases import Case

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tools.vectors.cases import Json

HOLDS: Final = "A verifier that refuses everything would pass the others."
ONE_LEAF: Final = (
    "A leaf is a thing that happened; what is none must not be proven to have happened."
)


def cases() -> Iterator[Case]:
    """Every case of the group."""
    yield from _leaves()
    yield from _trees()
    yield from _inclusions()


def leaf_of(number: int) -> Leaf:
    """A numbered leaf: a receipt this node signed."""
    told = hashlib.sha256(b"leaf %d" % number).digest()
    return Leaf(LeafType.RECEIPT_ISSUED, NOW_MS + number, told)


def tree_of(leaves: Sequence[Leaf], held: LogDigest = LogDigest.SHA_256) -> Tree:
    """The tree these leaves make."""
    return Tree(held.suite, [leaf_hash(held.suite, leaf.octets) for leaf in leaves])


def case(
    name: str,
    what: str,
    what_zh: str,
    why: str,
    clause: str,
    files: dict[str, bytes],
    *,
    reason: Reason | None = None,
    inputs: dict[str, Json] | None = None,
    result: dict[str, Json] | None = None,
) -> Case:
    """A case of the group."""
    return Case(
        "log",
        name,
        what,
        what_zh,
        why,
        clause,
        files,
        expect=reason,
        inputs=inputs or {},
        result=result or {},
    )


def _leaves() -> Iterator[Case]:
    for kind in LeafType:
        leaf = replace(leaf_of(kind.value), type=kind)
        yield case(
            f"leaf-{kind.code}",
            f"A leaf of type {kind.value}.",
            f"叶类型 {kind.value}：{kind.chinese}。",
            HOLDS,
            "LG-1",
            {"leaf.bin": leaf.octets},
            result={
                "type": kind.value,
                "instant": NOW_MS + kind.value,
                "digest": leaf.digest.hex(),
            },
        )
    good = leaf_of(1).octets
    rows = [
        ("cut", good[:-1], "An octet is missing.", "缺一字节。"),
        ("longer", good + b"\0", "An octet follows.", "多一字节。"),
        ("type-0", b"\0" + good[1:], "A type of 0.", "类型为 0。"),
        ("type-11", b"\x0b" + good[1:], "A type after the last.", "类型在表外。"),
    ]
    for name, octets, what, what_zh in rows:
        yield case(
            f"leaf-{name}",
            what,
            what_zh,
            ONE_LEAF,
            "LG-1",
            {"leaf.bin": octets},
            reason=Reason.LOG_BROKEN,
        )
    for held in LogDigest:
        for incarnation in (1, 2):
            birth = Birth(WUHAN, held, incarnation, NOW_MS)
            told: dict[str, Json] = {
                "node": WUHAN,
                "digest": held.title,
                "incarnation": incarnation,
                "instant": NOW_MS,
            }
            yield case(
                f"birth-{held.title.lower()}-{incarnation}",
                f"How a log over {held.title} begins, in its incarnation {incarnation}.",
                f"以 {held.title} 为摘要的日志第 {incarnation} 代之始。",
                "Two logs of one node must not begin alike.",
                "LG-3",
                {},
                inputs={"birth": told},
                result={"leaf": birth.leaf.octets.hex()},
            )


def _trees() -> Iterator[Case]:
    leaves = [leaf_of(number) for number in range(257)]
    sizes = [*range(9), 255, 256, 257]
    for held in LogDigest:
        roots = {str(size): tree_of(leaves[:size], held).root.hex() for size in sizes}
        told: dict[str, Json] = {"roots": {name: root for name, root in roots.items()}}  # noqa: C416
        yield case(
            f"tree-{held.title.lower()}",
            f"257 leaves, and the root over {held.title} of each of these sizes.",
            f"257 片叶，以及各种规模下以 {held.title} 计算的根。",
            "Everything else stands on the tree being RFC 9162's, at each size.",
            "LG-3 BP-1",
            {"leaves.bin": b"".join(leaf.octets for leaf in leaves)},
            inputs={"digest": held.title},
            result=told,
        )


def _inclusion(
    name: str,
    leaf: bytes,
    index: int,
    size: int,
    root: bytes,
    path: Sequence[bytes],
    what: str,
    what_zh: str,
    *,
    held: LogDigest = LogDigest.SHA_256,
    bad: bool = False,
) -> Case:
    return case(
        f"inclusion-{name}",
        what,
        what_zh,
        ONE_LEAF if bad else HOLDS,
        "LG-12 EV-20",
        {"proof.bin": leaf + index.to_bytes(8) + b"".join(path)},
        reason=Reason.EVIDENCE_INVALID if bad else None,
        inputs={"digest": held.title, "size": size, "root": root.hex()},
        result={} if bad else {"type": 6, "digest": leaf[9:].hex()},
    )


def _inclusions() -> Iterator[Case]:
    leaves = [leaf_of(number) for number in range(300)]
    places = [(0, 1), (0, 2), (1, 2), (2, 3), (4, 5), (6, 7), (0, 300), (255, 300), (256, 300)]
    for index, size in (*places, (299, 300)):
        tree = tree_of(leaves[:size])
        yield _inclusion(
            f"{index}-of-{size}",
            leaves[index].octets,
            index,
            size,
            tree.root,
            tree.inclusion_path(index),
            f"Leaf {index} of {size}.",
            f"{size} 片叶中的第 {index} 片。",
        )
    sm3 = tree_of(leaves[:7], LogDigest.SM3)
    yield _inclusion(
        "sm3",
        leaves[5].octets,
        5,
        7,
        sm3.root,
        sm3.inclusion_path(5),
        "Leaf 5 of 7 in a tree over SM3.",
        "SM3 树 7 片叶中的第 5 片。",
        held=LogDigest.SM3,
    )
    tree = tree_of(leaves[:7])
    path, octets = tree.inclusion_path(5), leaves[5].octets
    after, last = tree.inclusion_path(6), leaves[6].octets
    other = tree_of(leaves[:8])
    forged = octets[:1] + bytes([octets[1] ^ 1]) + octets[2:]
    inner = path[0] + leaf_hash(Suite.P256, octets)
    rows: list[tuple[str, bytes, int, int, bytes, Sequence[bytes], str, str]] = [
        ("place-before", octets, 4, 7, tree.root, path, "A place too early.", "序位早一。"),
        ("place-after", octets, 6, 7, tree.root, path, "A place too late.", "序位晚一。"),
        ("place-outside", octets, 7, 7, tree.root, path, "A place outside.", "序位在外。"),
        ("size-one-more", last, 6, 8, tree.root, after, "A size too large.", "规模多一。"),
        ("size-one-less", octets, 5, 6, tree.root, path, "A size too small.", "规模少一。"),
        ("size-0", octets, 0, 0, tree.root, [], "A log without leaves.", "空日志。"),
        ("path-cut", octets, 5, 7, tree.root, path[:-1], "A hash is missing.", "缺一摘要。"),
        (
            "path-longer",
            octets,
            5,
            7,
            tree.root,
            [*path, path[-1]],
            "A hash too many.",
            "多一摘要。",
        ),
        (
            "path-order",
            octets,
            5,
            7,
            tree.root,
            path[::-1],
            "The hashes from the root down.",
            "摘要自根而下排列。",
        ),
        ("leaf-changed", forged, 5, 7, tree.root, path, "Another instant.", "时刻被改。"),
        (
            "later-root",
            octets,
            5,
            7,
            other.root,
            path,
            "The root of the log one leaf later.",
            "多一片叶时的根。",
        ),
        (
            "of-another-digest",
            octets,
            5,
            7,
            sm3.root,
            sm3.inclusion_path(5),
            "A proof over SM3 for a tree over SHA-256.",
            "SM3 证明用于 SHA-256 树。",
        ),
        (
            "inner-node-as-leaf",
            b"\x06" + bytes(8) + hashlib.sha256(inner).digest(),
            2,
            4,
            tree.root,
            path[1:],
            "An inner node passed off as a leaf.",
            "以内部节点冒充叶。",
        ),
    ]
    for name, leaf, index, size, root, hashes, what, what_zh in rows:
        yield _inclusion(name, leaf, index, size, root, hashes, what, what_zh, bad=True)
