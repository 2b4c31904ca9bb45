"""Group log: leaves, trees, inclusion proofs, heads, and heads beside heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocol.errors import RefusedError
from protocol.frames import HeadFrame, read_frames
from protocol.reasons import Reason
from signing.heads import Growth, Verdict, judge_head, verify_shown
from signing.log import (
    LEAF_OCTETS,
    Birth,
    LogDigest,
    read_leaf,
    split_leaves,
    verify_head,
)
from signing.merkle import leaf_hash, root_from_inclusion
from signing.tiles import edge, grow, root_at, tile_of
from signing.trust import TrustSet

if TYPE_CHECKING:
    from signing.tiles import Tile
    from tests.vectors.folders import Vector

_HASH = 32


def log(vector: Vector) -> dict[str, Any]:
    """Whatever of it the folder is about."""
    checks = {
        "leaf.bin": _leaf,
        "leaves.bin": _tree,
        "proof.bin": _inclusion,
        "head.tbh": _head,
        "shown.bin": _shown,
    }
    for name, check in checks.items():
        if vector.has(name):
            return check(vector)
    told = vector.case["birth"]
    held = _digest(told["digest"])
    birth = Birth(told["node"], held, told["incarnation"], told["instant"])
    return {"leaf": birth.leaf.octets.hex()}


def _digest(title: str) -> LogDigest:
    return next(one for one in LogDigest if one.title == title)


def _leaf(vector: Vector) -> dict[str, Any]:
    leaf = read_leaf(vector.octets("leaf.bin"))
    return {"type": leaf.type.value, "instant": leaf.instant_ms, "digest": leaf.digest.hex()}


def _tree(vector: Vector) -> dict[str, Any]:
    """The roots as a node keeps them: its tiles grown by one leaf after the other."""
    suite = _digest(vector.case["digest"]).suite
    tiles: dict[tuple[int, int], Tile] = {}

    def complete(level: int, index: int) -> bytes:
        tile_level, number, height, offset = tile_of(level, index)
        return tiles[tile_level, number].node(height, offset)

    roots = [root_at(suite, complete, 0)]
    for size, octets in enumerate(split_leaves(vector.octets("leaves.bin"))):
        read_leaf(octets)
        at_edge = {place: tiles[place] for place in edge(size)}
        for tile in grow(suite, size, at_edge, [leaf_hash(suite, octets)]):
            tiles[tile.level, tile.number] = tile
        roots.append(root_at(suite, complete, size + 1))
    asked = vector.case["result"]["roots"]
    return {"roots": {size: roots[int(size)].hex() for size in asked}}


def _inclusion(vector: Vector) -> dict[str, Any]:
    """As the proof in an evidence file: EV-20."""
    octets = vector.octets("proof.bin")
    suite = _digest(vector.case["digest"]).suite
    leaf, rest = octets[:LEAF_OCTETS], octets[LEAF_OCTETS:]
    index, hashes = int.from_bytes(rest[:8]), rest[8:]
    path = [hashes[at : at + _HASH] for at in range(0, len(hashes), _HASH)]
    root = root_from_inclusion(suite, leaf_hash(suite, leaf), index, vector.case["size"], path)
    if root is None or root.hex() != vector.case["root"]:
        raise RefusedError(Reason.EVIDENCE_INVALID, "it does not lead to the root")
    told = read_leaf(leaf)
    return {"type": told.type.value, "digest": told.digest.hex()}


def _trust(vector: Vector) -> TrustSet:
    return TrustSet.of(vector.records, version=1)


def _head(vector: Vector) -> dict[str, Any]:
    live = not vector.case.get("historic", False)
    node = vector.case["node"]
    head = verify_head(vector.octets("head.tbh"), _trust(vector), node, live=live).head
    return {"size": head.size, "incarnation": head.incarnation}


def _shown(vector: Vector) -> dict[str, Any]:
    """A frame `head`, beside the head that is held; a contradiction is `log-broken`."""
    (frame,) = read_frames(vector.octets("shown.bin"))
    assert isinstance(frame, HeadFrame)
    node, trust = vector.case["node"], _trust(vector)
    held = None
    if vector.has("held.tbh"):
        held = verify_head(vector.octets("held.tbh"), trust, node, live=False).head
    shown = verify_shown(frame.octets, frame.view, trust, node, vector.instant("now"))
    verdict = judge_head(held, shown, Growth(frame.first, frame.path))
    if verdict in (Verdict.FORKED, Verdict.REWRITTEN):
        raise RefusedError(Reason.LOG_BROKEN, verdict.value)
    return {"verdict": verdict.value}
