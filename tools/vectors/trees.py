"""Batches written out once more, by the recursive definitions of RFC 9162 §2.1.

No code is shared with the verifier, so what is made here and verified there is a check of both.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signing.suites import Suite, digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.vectors.samples import SteadyKey


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch with one leaf of ours; every field can be bent.

    Attributes:
        key: Who signs.
        index: Of our leaf.
        size: Leaves in the tree.
        purpose: As the signed octets write it.
        suite: As the signed octets write it.
        key_id: As the signed octets write it.
        domain: What the signed octets begin with.
        leaf_mark: What stands before a leaf's octets.
        node_mark: What stands before two hashes.
        hashed: The suite whose digest makes the tree.
    """

    key: SteadyKey
    index: int
    size: int
    purpose: str = "envelope"
    suite: str | None = None
    key_id: str | None = None
    domain: bytes = b"TONGBAN-BATCH-1\x00"
    leaf_mark: bytes = b"\x00"
    node_mark: bytes = b"\x01"
    hashed: Suite | None = None

    def proof(self, leaf: bytes) -> bytes:
        """The proof of our leaf: form, index, size, path, signature."""
        path = b"".join(self._path(self.index, self._hashes(leaf)))
        numbers = struct.pack(">BII", 1, self.index, self.size)
        return numbers + path + self.key.sign(self.signed(leaf))

    def signed(self, leaf: bytes) -> bytes:
        """What the one signature covers."""
        root = self._root(self._hashes(leaf))
        names = (
            self.suite or self.key.suite.value,
            self.purpose,
            self.key_id or self.key.public.key_id,
        )
        named = b"".join(bytes([len(name)]) + name.encode() for name in names)
        return self.domain + named + struct.pack(">I", self.size) + root

    def _hashes(self, ours: bytes) -> list[bytes]:
        leaves = [f"leaf {number}".encode() for number in range(self.size)]
        leaves[self.index] = ours
        return [self._digest(self.leaf_mark + octets) for octets in leaves]

    def _root(self, hashes: Sequence[bytes]) -> bytes:
        if len(hashes) == 1:
            return hashes[0]
        half = _largest_power_below(len(hashes))
        left, right = self._root(hashes[:half]), self._root(hashes[half:])
        return self._digest(self.node_mark + left + right)

    def _path(self, index: int, hashes: Sequence[bytes]) -> list[bytes]:
        if len(hashes) == 1:
            return []
        half = _largest_power_below(len(hashes))
        if index < half:
            return [*self._path(index, hashes[:half]), self._root(hashes[half:])]
        return [*self._path(index - half, hashes[half:]), self._root(hashes[:half])]

    def _digest(self, octets: bytes) -> bytes:
        return digest(self.hashed or self.key.suite, octets)


def _largest_power_below(number: int) -> int:
    return 1 << (number - 1).bit_length() - 1
