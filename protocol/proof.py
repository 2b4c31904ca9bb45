"""Proofs: what makes a statement its signer's, alone or in a batch (签名证明、批量证明).

    ==========  ===============================================================================
    form 00     ``00 | signature (64)``: the signature covers the statement itself
    form 01     ``01 | u32 index | u32 size | path (32 k) | signature (64)``: the statement is
                leaf `index` of `size` in a Merkle tree; the signature covers its root
    ==========  ===============================================================================

Integers are big-endian. A batch has 2 to 4096 leaves, and k is what RFC 9162 §2.1.3 makes of index
and size, at most 12 (BP-3); so a proof ends where its numbers say. In a receipt it stands as it is
here; in an envelope form 00 is the bare signature, because that is what XML Signature knows. What a
signature covers is in `signing.batch`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from protocol.limits import MAX_BATCH

SIGNATURE_OCTETS: Final = 64
HASH_OCTETS: Final = 32

_SINGLE: Final = 0
_BATCHED: Final = 1
_HEAD: Final = struct.Struct(">BII")
_SMALLEST_BATCH: Final = 2


@dataclass(frozen=True, slots=True)
class Single:
    """A signature over the statement itself, 64 octets."""

    signature: bytes


@dataclass(frozen=True, slots=True)
class Batched:
    """A place in a batch.

    Attributes:
        index: Of the statement's leaf.
        size: Leaves in the batch.
        path: From the leaf to the root, lowest first; hashes of 32 octets.
        signature: Over the batch's signed octets, 64 octets.
    """

    index: int
    size: int
    path: tuple[bytes, ...]
    signature: bytes


Proof: TypeAlias = Single | Batched


def path_length(index: int, size: int) -> int:
    """How many hashes lead from a leaf to the root (RFC 9162 §2.1.3); index < size.

    Below the level where leaf and last leaf part, every level has a neighbour; above it only those
    have one where the way up comes from the right.
    """
    parting = (index ^ (size - 1)).bit_length()
    return parting + (index >> parting).bit_count()


MAX_PROOF_OCTETS: Final = _HEAD.size + path_length(0, MAX_BATCH) * HASH_OCTETS + SIGNATURE_OCTETS


def write_proof(proof: Proof) -> bytes:
    """The proof's octets."""
    match proof:
        case Single(signature):
            return bytes([_SINGLE]) + signature
        case Batched(index, size, path, signature):
            return _HEAD.pack(_BATCHED, index, size) + b"".join(path) + signature
        case _:
            assert_never(proof)


def read_proof(octets: bytes) -> Proof:
    """Read a proof that takes up all of these octets; nothing is verified.

    Raises:
        ValueError: naming the rule it breaks (BP-3).
    """
    form = octets[:1]
    if form == bytes([_SINGLE]):
        if len(octets) != 1 + SIGNATURE_OCTETS:
            message = f"a single proof of {len(octets)} octets"
            raise ValueError(message)
        return Single(octets[1:])
    if form != bytes([_BATCHED]):
        message = f"form {form.hex() or 'missing'} of a proof"
        raise ValueError(message)
    if len(octets) < _HEAD.size:
        message = f"a batch proof of {len(octets)} octets"
        raise ValueError(message)
    _, index, size = _HEAD.unpack_from(octets)
    if not _SMALLEST_BATCH <= size <= MAX_BATCH:
        message = f"a batch of {size}, not of {_SMALLEST_BATCH} to {MAX_BATCH}"
        raise ValueError(message)
    if index >= size:
        message = f"leaf {index} in a batch of {size}"
        raise ValueError(message)
    end = _HEAD.size + path_length(index, size) * HASH_OCTETS
    if len(octets) != end + SIGNATURE_OCTETS:
        message = (
            f"a batch proof of {len(octets)} octets, not {end + SIGNATURE_OCTETS}: "
            f"the path of leaf {index} among {size} has {path_length(index, size)} hashes"
        )
        raise ValueError(message)
    path = tuple(
        octets[start : start + HASH_OCTETS] for start in range(_HEAD.size, end, HASH_OCTETS)
    )
    return Batched(index, size, path, octets[end:])
