"""The evidence log of a node: what a leaf says, and how a head is signed (存证日志).

A node logs what it accepts, sends, signs and learns, in the order it became durable, as the leaves
of an RFC 9162 tree. A leaf is 41 octets: ``u8 type | u64 instant | digest``; the digest is always
one that the node computed or checked, never octets a peer chose (LG-1). The tree's own digest is
fixed when the log is born and never changes, whatever keys come later (LG-3).

A head is the node's signed statement of its log at one moment. Layout, integers big-endian:

    ======  ======  =====================================================================
    offset  length  field
    ======  ======  =====================================================================
    0       4       "TBH1"
    4       1       suite of the head key: 1 sm2-sm3, 2 ecdsa-p256-sha256, 3 ed25519
    5       1       digest of the tree: 1 SM3, 2 SHA-256
    6       6       node, ASCII digits
    12      4       incarnation of the log, from 1
    16      8       size: leaves in the tree
    24      8       instant, milliseconds since 1970 UTC
    32      32      root
    64      32      digest of the view of the directories (`view_digest`)
    96      32      key id of the head key, raw
    128     65      proof: 00 and the signature
    ======  ======  =====================================================================

Signed octets: ``"TONGBAN-LOG-1" 00`` and everything before the proof (LG-5). A head is never part
of a batch: it has to stand alone for as long as the evidence does.

A verifier of a head checks, in this order:

    1. the fixed layout                                              LG-5
    2. the key is in the trust set (else transient)                  TR-1
    3. registered for heads, owned by the node of the head, suite    SG-4 SG-6 SG-7
    4. valid at the stated instant, not revoked                      SG-8
    5. the signature over domain and statement                       SG-10

Sources: RFC 9162 §2.1 and §4.10 (signed tree heads); design, section 10.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, assert_never

from protocol.errors import LocalUseError, RefusedError, UnavailableError
from protocol.identifiers import is_region
from protocol.limits import HEAD_OCTETS, MAX_CLOCK_SKEW_MS, MAX_LOG_LEAVES
from protocol.proof import Proof, Single, write_proof
from protocol.reasons import Reason
from protocol.receipt import SUITE_NAMES, SUITE_NUMBERS
from signing.batch import ProofRequest
from signing.keys import KeyUse
from signing.suites import Suite, digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from signing.trust import TrustSet

DOMAIN: Final = b"TONGBAN-LOG-1\x00"
BIRTH_DOMAIN: Final = b"TONGBAN-LOG-BIRTH-1\x00"
BREAK_DOMAIN: Final = b"TONGBAN-LOG-BREAK-1\x00"
VIEW_DOMAIN: Final = b"TONGBAN-VIEW-1\x00"
DIGEST_OCTETS: Final = 32

_LEAF: Final = struct.Struct(">BQ32s")
_BIRTH: Final = struct.Struct(">6sBIQ")
_BREAK: Final = struct.Struct(">6sIIQQ32sQH")
_MAGIC: Final = b"TBH1"
_HEAD: Final = struct.Struct(">4sBB6sIQQ32s32s32s")
_PROOF_SINGLE: Final = b"\x00"
LEAF_OCTETS: Final = _LEAF.size


class LeafType(IntEnum):
    """What a leaf is about (存证叶类型); its digest is that of the thing named here.

    A message is known by its message digest, a receipt or head by the digest of all its octets, in
    the digest of the suite it is signed with: both ends log the same thing under the same digest.
    """

    BIRTH = 1
    """The log begins: its birth record (LG-3)."""
    START = 2
    """The node began to serve; the view of the directories it started with."""
    DIRECTORY = 3
    """Another view of the directories is in force from here on."""
    MESSAGE_TAKEN = 4
    """A message of somebody else is on disk here, for us or in our custody."""
    MESSAGE_SENT = 5
    """A message of an authority of ours is on disk and queued."""
    RECEIPT_ISSUED = 6
    """A receipt this node signed."""
    RECEIPT_TAKEN = 7
    """A receipt by another node that took effect here."""
    PEER_HEAD = 8
    """A head of a peer's log that this node keeps."""
    RECOVERY = 9
    """The log goes on after a loss, as a new incarnation."""
    ERASURE = 10
    """Contents of a message were erased here; its proof stays."""

    @property
    def code(self) -> str:
        """Its name in documents."""
        return self.name.lower().replace("_", "-")

    @property
    def chinese(self) -> str:
        """Its name for people."""
        return _CHINESE[self]


_CHINESE: Final = {
    LeafType.BIRTH: "建档",
    LeafType.START: "启动",
    LeafType.DIRECTORY: "目录变更",
    LeafType.MESSAGE_TAKEN: "报文收存",
    LeafType.MESSAGE_SENT: "报文发出",
    LeafType.RECEIPT_ISSUED: "回执签发",
    LeafType.RECEIPT_TAKEN: "回执收到",
    LeafType.PEER_HEAD: "对端日志头",
    LeafType.RECOVERY: "恢复",
    LeafType.ERASURE: "内容删除",
}


class LogDigest(IntEnum):
    """The digests a tree may use (日志摘要算法)."""

    SM3 = 1
    SHA_256 = 2

    @property
    def suite(self) -> Suite:
        """A suite with this digest, for `signing.suites.digest` and the tree."""
        return Suite.SM2_SM3 if self is LogDigest.SM3 else Suite.P256

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name.replace("_", "-")

    @classmethod
    def of(cls, suite: Suite) -> LogDigest:
        """The digest of a suite."""
        match suite:
            case Suite.SM2_SM3:
                return cls.SM3
            case Suite.P256 | Suite.ED25519:
                return cls.SHA_256
            case _:
                assert_never(suite)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf: what happened, when (milliseconds since 1970 UTC), and to what."""

    type: LeafType
    instant_ms: int
    digest: bytes

    @property
    def octets(self) -> bytes:
        """The 41 octets that are hashed into the tree."""
        return _LEAF.pack(self.type, self.instant_ms, self.digest)


def read_leaf(octets: bytes) -> Leaf:
    """Read a leaf's octets.

    Raises:
        RefusedError: LOG_BROKEN: not 41 octets, or a type that is not on the list.
    """
    try:
        kind, instant_ms, what = _LEAF.unpack(octets)
        return Leaf(LeafType(kind), instant_ms, what)
    except (struct.error, ValueError) as error:
        raise RefusedError(Reason.LOG_BROKEN, f"leaf: {error}") from error


@dataclass(frozen=True, slots=True)
class Birth:
    """How a log began, or went on after a loss (建档、恢复).

    Attributes:
        node: Whose log it is.
        digest: Of its tree; the same in every incarnation.
        incarnation: From 1; each loss that a log goes on after is one more.
        instant_ms: When, milliseconds since 1970 UTC.
    """

    node: str
    digest: LogDigest
    incarnation: int
    instant_ms: int

    @property
    def octets(self) -> bytes:
        """What the first leaf of the incarnation is about."""
        return BIRTH_DOMAIN + _BIRTH.pack(
            self.node.encode(), self.digest, self.incarnation, self.instant_ms
        )

    @property
    def leaf(self) -> Leaf:
        """The first leaf of the incarnation."""
        kind = LeafType.BIRTH if self.incarnation == 1 else LeafType.RECOVERY
        return Leaf(kind, self.instant_ms, digest(self.digest.suite, self.octets))


@dataclass(frozen=True, slots=True)
class Break:
    """How a log went on after a loss (恢复): what the leaf of a new incarnation is about (RV-11).

    Attributes:
        node: Whose log it is.
        before: The incarnation that ended.
        incarnation: The one that begins.
        fork: Leaves that are still there; what was after them is lost.
        size, root: Of the last head of the one before that is known; 0 and zeros if none is.
        instant_ms: When it began, milliseconds since 1970 UTC.
        without: Peers that were not heard before it began, in order.
    """

    node: str
    before: int
    incarnation: int
    fork: int
    size: int
    root: bytes
    instant_ms: int
    without: tuple[str, ...]

    @property
    def octets(self) -> bytes:
        """The record."""
        fixed = _BREAK.pack(
            self.node.encode(), self.before, self.incarnation, self.fork,
            self.size, self.root, self.instant_ms, len(self.without),
        )  # fmt: skip
        return BREAK_DOMAIN + fixed + "".join(self.without).encode()

    def leaf(self, tree: LogDigest) -> Leaf:
        """The leaf with which the new incarnation begins."""
        return Leaf(LeafType.RECOVERY, self.instant_ms, digest(tree.suite, self.octets))


def view_digest(view: bytes) -> bytes:
    """What stands in a head for its node's view of the directories (DI-13): SHA-256, 32 octets."""
    return hashlib.sha256(VIEW_DOMAIN + view).digest()


@dataclass(frozen=True, slots=True)
class Head:
    """A node's statement about its log, before or after signing."""

    node: str
    digest: LogDigest
    incarnation: int
    size: int
    root: bytes
    instant_ms: int
    view: bytes
    suite: Suite
    key_id: str


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head with its signature, as it was read; not yet verified."""

    head: Head
    signature: bytes
    octets: bytes


@dataclass(frozen=True, slots=True)
class VerifiedHead:
    """A head whose five steps held. Only `verify_head` makes one."""

    head: Head
    octets: bytes


def head_statement(head: Head) -> bytes:
    """The octets before the proof.

    Raises:
        LocalUseError: no reader would take it; the message names the field.
    """
    if not (is_region(head.node) and head.incarnation >= 1 and 1 <= head.size <= MAX_LOG_LEAVES):
        message = f"a head of node {head.node!r}, incarnation {head.incarnation}, size {head.size}"
        raise LocalUseError(message)
    if any(len(octets) != DIGEST_OCTETS for octets in (head.root, head.view)):
        message = "a head's root and view are 32 octets each"
        raise LocalUseError(message)
    return _HEAD.pack(
        _MAGIC,
        SUITE_NUMBERS[head.suite],
        head.digest,
        head.node.encode(),
        head.incarnation,
        head.size,
        head.instant_ms,
        head.root,
        head.view,
        base64.urlsafe_b64decode(head.key_id + "="),
    )


def head_signed_octets(head: Head) -> bytes:
    """What the node's head key signs."""
    return DOMAIN + head_statement(head)


def head_request(head: Head) -> ProofRequest:
    """What to ask of the key the head names; never batched (`signing.batch.PURPOSES`)."""
    return ProofRequest(head.key_id, KeyUse.HEAD, head_signed_octets(head))


def write_head(head: Head, proof: Proof) -> bytes:
    """The head's 193 octets.

    Raises:
        LocalUseError: the proof is one of a batch.
    """
    if not isinstance(proof, Single):
        message = "a head is signed alone"
        raise LocalUseError(message)
    return head_statement(head) + write_proof(proof)


def read_head(octets: bytes) -> SignedHead:
    """Read a head; the signature is not checked here.

    Raises:
        RefusedError: HEAD_INVALID, naming the field.
    """
    if len(octets) != HEAD_OCTETS:
        raise _invalid(f"{len(octets)} octets, not {HEAD_OCTETS}")
    (
        magic, suite, log_digest, node, incarnation, size, instant_ms, root, view, key_id,
    ) = _HEAD.unpack_from(octets)  # fmt: skip
    if magic != _MAGIC:
        raise _invalid("magic")
    if octets[_HEAD.size : _HEAD.size + 1] != _PROOF_SINGLE:
        raise _invalid("form of the proof: a head is signed alone")
    try:
        head = Head(
            node=node.decode("ascii"),
            digest=LogDigest(log_digest),
            incarnation=incarnation,
            size=size,
            root=root,
            instant_ms=instant_ms,
            view=view,
            suite=Suite(SUITE_NAMES[suite]),
            key_id=base64.urlsafe_b64encode(key_id).decode().rstrip("="),
        )
        head_statement(head)
    except (ValueError, KeyError, LocalUseError) as error:
        raise _invalid(str(error)) from error
    return SignedHead(head, octets[_HEAD.size + 1 :], octets)


def verify_head(octets: bytes, trust: TrustSet, node: str, *, live: bool = True) -> VerifiedHead:
    """Run the steps of the module's docstring.

    Args:
        octets: The head.
        trust: The keys of the directory.
        node: Whose head it has to be: the peer that shows it (LG-6).
        live: A key that is revoked by now proves nothing new.

    Raises:
        RefusedError: HEAD_INVALID naming the step.
        UnavailableError: KEY_UNKNOWN: not decided.
    """
    # 1 layout
    signed = read_head(octets)
    head = signed.head
    if head.node != node:
        raise _invalid(f"a head of {head.node}, shown as one of {node}")
    # 2 key known
    record = trust.key(head.key_id, node)
    if record is None:
        raise UnavailableError(Reason.KEY_UNKNOWN, f"head key {head.key_id}")
    # 3 registration
    if record.use is not KeyUse.HEAD or record.owner != node or record.node != node:
        raise _invalid(f"key {head.key_id} is no head key of {node}")
    if record.key.suite is not head.suite:
        raise _invalid("suite is not the key's")
    # 4 time
    if record.revoked_ms is not None and (live or record.revoked_ms <= head.instant_ms):
        raise _invalid(f"key {head.key_id} is revoked")
    if not record.not_before_ms - MAX_CLOCK_SKEW_MS <= head.instant_ms < record.not_after_ms:
        raise _invalid("key outside its validity at the stated instant")
    # 5 signature
    if not record.key.verify(head_signed_octets(head), signed.signature):
        raise _invalid("signature")
    return VerifiedHead(head, octets)


def split_leaves(octets: bytes) -> Iterable[bytes]:
    """The leaves in a row of them, 41 octets each."""
    return (octets[at : at + LEAF_OCTETS] for at in range(0, len(octets), LEAF_OCTETS))


def _invalid(what: str) -> RefusedError:
    return RefusedError(Reason.HEAD_INVALID, what)
