"""What every step of the engine works with: this node, its ports, the signed data in force."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from node.effort import Effort
from node.parts.limits import PartLimits
from node.workers import InlineWorkers
from protocol.identifiers import province_of
from protocol.limits import DEFAULT_LIFETIME_MS, MAX_LIFETIME_MS
from routing.directory import Standing
from signing.keys import KeyUse

if TYPE_CHECKING:
    from node.ports import Blobs, Clock, Entropy, Store, Workers
    from routing.catalogue import Catalogue
    from routing.directory import Directory
    from signing.batch import Checking
    from signing.keys import KeyStore
    from signing.suites import PublicKey
    from signing.trust import TrustSet
    from signing.verify import Rules


@dataclass(frozen=True, slots=True)
class Federation:
    """The verified directory and catalogue in force; replaced whole, never changed."""

    directory: Directory
    catalogue: Catalogue


@dataclass(frozen=True, slots=True)
class RetentionTimes:
    """How long what is kept, milliseconds.

    Attributes:
        contents_ms: Contents of our own messages, after the receipt; None: until ordered.
        answers_ms: Answers under idempotency keys.
    """

    contents_ms: int | None = None
    answers_ms: int = MAX_LIFETIME_MS


@dataclass(slots=True)
class NodeContext:
    """This node.

    Attributes:
        here: Its node id.
        rules: What envelopes are held against.
        keys: Its private keys.
        store: Durable state.
        blobs: The octets of large parts.
        clock: Its time.
        entropy: Its randomness.
        federation: The directory and catalogue in force; assigned anew after a synchronisation.
        lifetime_ms: How long a message of ours may be under way.
        parts: Bounds of large parts.
        retention: How long what is kept.
        failing: The peers that do not answer now: link health, kept by the dispatchers.
        effort: What checking the octets of each peer may still cost.
        workers: Where long pure work is done.
    """

    here: str
    rules: Rules
    keys: KeyStore
    store: Store
    blobs: Blobs
    clock: Clock
    entropy: Entropy
    federation: Federation
    lifetime_ms: int = DEFAULT_LIFETIME_MS
    parts: PartLimits = field(default_factory=PartLimits)
    retention: RetentionTimes = field(default_factory=RetentionTimes)
    failing: set[str] = field(default_factory=set)
    effort: Effort = field(default_factory=Effort)
    workers: Workers = field(default_factory=InlineWorkers)

    def checking(self, peer: str) -> Checking:
        """What checking signatures that this peer presents may use, now."""
        return self.effort.checking(peer, self.clock.now_ms())

    def trust(self) -> TrustSet:
        """The keys that are believed now; none while our own province's directory is stale."""
        directory, now_ms = self.federation.directory, self.clock.now_ms()
        if directory.standing(province_of(self.here), now_ms) is Standing.STALE:
            return replace(directory.trust, withheld=frozenset(directory.provinces))
        return directory.trust_at(now_ms)

    def holds_back(self, node: str) -> bool:
        """Whether what waits for a node has to wait for a fresher directory (DI-12)."""
        directory, now_ms = self.federation.directory, self.clock.now_ms()
        concerned = {province_of(node), province_of(self.here)}
        return any(directory.standing(row, now_ms) is Standing.STALE for row in concerned)

    def receipt_key(self) -> PublicKey:
        """The key this node signs its receipts with."""
        return self.keys.public(self.keys.find(KeyUse.RECEIPT, self.here))
