"""The batch proof: one signature for many messages, each still verifiable alone (批量签名).

A batch has one key, one purpose and 2 to 4096 leaves in the tree of `signing.merkle`, hashed with
the key's suite. A leaf's octets are what a single signature would cover (BP-1): of an envelope its
own SignedInfo, of a receipt its domain and statement. The one signature covers (BP-2)

    ``"TONGBAN-BATCH-1" 00 | len8 suite | len8 purpose | len8 key id | u32 size | root (32)``

so that a proof belongs to one suite, one use and one key, and index and path to one size.

Whoever checks a proof computes the root from leaf and path, and these octets from the root and from
what *it* needs: the use, the registered key. A root whose signature verified need not be verified
again, but only under the complete octets, the signature and the directory's version (BP-5): a
memory of bare roots takes a proof with any signature at all.

Each public-key operation is paid for with somebody else's octets, so it is charged before it is
made (BP-6). What the charge may be, and to whom, the caller knows.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, assert_never

from protocol.limits import MAX_BATCH
from protocol.proof import Batched, Proof, Single
from signing.keys import KeyUse, SigningRequest
from signing.merkle import Tree, leaf_hash, root_from_inclusion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from signing.keys import KeyStore
    from signing.suites import PublicKey, Suite

BATCH_DOMAIN: Final = b"TONGBAN-BATCH-1\x00"
PURPOSES: Final = frozenset({KeyUse.ENVELOPE, KeyUse.PING, KeyUse.RECEIPT})
"""What is batched; everything else a node signs is signed alone."""

ROOTS_REMEMBERED: Final = 4096
"""Of a second of full load there are some dozens; each takes about half a KiB."""


@dataclass(frozen=True, slots=True)
class ProofRequest:
    """A statement to be proven, alone or with others.

    Attributes:
        key_id: The key to sign with, 43 characters.
        use: What that key is registered for: the purpose of a batch.
        single: What a signature of its own covers, with its domain separation.
        leaf: The octets of its leaf in a batch, where they differ from `single`.
    """

    key_id: str
    use: KeyUse
    single: bytes = field(repr=False)
    leaf: bytes | None = field(default=None, repr=False)

    @property
    def leaf_octets(self) -> bytes:
        """The octets of its leaf in a batch."""
        return self.single if self.leaf is None else self.leaf


class VerifiedRoots:
    """A bounded memory of batches whose signature verified (BP-5).

    Two generations, so that the oldest go without order being kept, and threads may share it.
    """

    __slots__ = ("_earlier", "_half", "_recent")

    def __init__(self, capacity: int = ROOTS_REMEMBERED) -> None:
        """Remember at most this many."""
        self._half: Final = max(1, capacity // 2)
        self._recent: set[tuple[bytes, bytes, int]] = set()
        self._earlier: set[tuple[bytes, bytes, int]] = set()

    def __len__(self) -> int:
        return len(self._recent) + len(self._earlier)

    def known(self, signed: bytes, signature: bytes, version: int) -> bool:
        """Whether this signature over these octets verified under this version of the directory."""
        entry = (signed, signature, version)
        if entry in self._recent:
            return True
        if entry not in self._earlier:
            return False
        self._keep(entry)
        return True

    def remember(self, signed: bytes, signature: bytes, version: int) -> None:
        """It verified."""
        self._keep((signed, signature, version))

    def _keep(self, entry: tuple[bytes, bytes, int]) -> None:
        if len(self._recent) >= self._half:
            self._earlier, self._recent = self._recent, set()
        self._recent.add(entry)


def _free() -> None:
    """Nobody to charge: the octets are our own, or somebody waits for the answer."""


@dataclass(frozen=True, slots=True)
class Checking:
    """What checking proofs may use, and what each public-key operation costs.

    Attributes:
        roots: Batches that verified before.
        charge: Called before each public-key operation; UnavailableError if it is one too many.
    """

    roots: VerifiedRoots = field(default_factory=VerifiedRoots)
    charge: Callable[[], None] = _free


def verify_proof(
    proof: Proof, octets: bytes, use: KeyUse, key: PublicKey, version: int, checking: Checking
) -> bool:
    """Whether the proof makes these octets the key's.

    Args:
        proof: As it was read: its numbers hold together.
        octets: What a single signature covers, or the octets of the leaf.
        use: What the key has to be used for here.
        key: As it is registered.
        version: Of the directory in force.
        checking: Memory and charge.

    Raises:
        UnavailableError: what `checking.charge` raises, or SUITE_UNAVAILABLE: not decided.
    """
    match proof:
        case Single(signature):
            checking.charge()
            return key.verify(octets, signature)
        case Batched(index, size, path, signature):
            leaf = leaf_hash(key.suite, octets)
            root = root_from_inclusion(key.suite, leaf, index, size, path)
            if root is None or use not in PURPOSES:
                return False
            signed = batch_octets(key.suite, use, key.key_id, size, root)
            if checking.roots.known(signed, signature, version):
                return True
            checking.charge()
            verified = key.verify(signed, signature)
            if verified:
                checking.roots.remember(signed, signature, version)
            return verified
        case _:
            assert_never(proof)


def batch_octets(suite: Suite, use: KeyUse, key_id: str, size: int, root: bytes) -> bytes:
    """What the one signature of a batch covers."""
    names = b"".join(_len8(name) for name in (suite.value, use.value, key_id))
    return BATCH_DOMAIN + names + struct.pack(">I", size) + root


def _len8(name: str) -> bytes:
    return bytes([len(name)]) + name.encode("ascii")


def sign_group(keys: KeyStore, requests: Sequence[ProofRequest]) -> list[Proof]:
    """Prove statements that wait at the same time: one signature per key and use.

    A statement that waits alone is signed alone, so an idle node signs as if batches did not exist.

    Returns:
        One proof per request, in their order: all of them or none.

    Raises:
        KeyStoreError: an id that is not in the store.
        UnavailableError: SUITE_UNAVAILABLE: the device or library cannot sign now.
    """
    groups = list(_together(requests))
    trees = [_tree(keys, [requests[place] for place in places]) for places in groups]
    signatures = keys.sign(
        [
            _signing(keys, requests[places[0]], tree)
            for places, tree in zip(groups, trees, strict=True)
        ]
    )
    proofs: dict[int, Proof] = {}
    for places, tree, signature in zip(groups, trees, signatures, strict=True):
        for index, place in enumerate(places):
            proofs[place] = _proof(tree, index, signature)
    return [proofs[place] for place in range(len(requests))]


def _together(requests: Sequence[ProofRequest]) -> Iterator[list[int]]:
    """The places of the requests that one signature serves."""
    waiting: dict[tuple[str, KeyUse], list[int]] = {}
    for place, request in enumerate(requests):
        if request.use in PURPOSES:
            waiting.setdefault((request.key_id, request.use), []).append(place)
        else:
            yield [place]
    for places in waiting.values():
        for start in range(0, len(places), MAX_BATCH):
            yield places[start : start + MAX_BATCH]


def _tree(keys: KeyStore, together: Sequence[ProofRequest]) -> Tree | None:
    """The tree over these requests of one key; None over a single one."""
    if len(together) == 1:
        return None
    suite = keys.public(together[0].key_id).suite
    return Tree(suite, [leaf_hash(suite, request.leaf_octets) for request in together])


def _signing(keys: KeyStore, request: ProofRequest, tree: Tree | None) -> SigningRequest:
    """What to ask of the key store for a batch; `request` is any of it."""
    octets = request.single
    if tree is not None:
        suite = keys.public(request.key_id).suite
        octets = batch_octets(suite, request.use, request.key_id, tree.size, tree.root)
    return SigningRequest(request.key_id, octets)


def _proof(tree: Tree | None, index: int, signature: bytes) -> Proof:
    if tree is None:
        return Single(signature)
    return Batched(index, tree.size, tuple(tree.inclusion_path(index)), signature)
