"""The trust set: every registered key, whose it is, where it may be used and when (信任集).

It is made from verified directories only (routing/directory) and never changes: a newer directory
makes a newer set. A key has one registration per province, and a registration counts for that
province's nodes only: a province that lists another's key has said something about itself, and
takes nothing from the other (DI-4).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from protocol.errors import RefusedError, UnavailableError
from protocol.identifiers import province_of
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from signing.keys import KeyUse
    from signing.suites import PublicKey


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One registered key. Instants in milliseconds since 1970 UTC.

    Attributes:
        key: The public key with its suite.
        use: The one thing it may sign.
        owner: USCC of the authority that answers for it; the node id for a receipt key. A ping key
            belongs to the node's operator (USCC).
        node: The node it is delegated to.
        not_before_ms: First instant of its validity.
        not_after_ms: First instant after its validity.
        revoked_ms: When it was revoked, if it was; from then on nothing new by it is believed.
    """

    key: PublicKey
    use: KeyUse
    owner: str
    node: str
    not_before_ms: int
    not_after_ms: int
    revoked_ms: int | None


@dataclass(frozen=True, slots=True)
class TrustSet:
    """The registered keys by province and key id.

    Attributes:
        records: All of them, read only; by (province prefix, key id).
        version: Differs between sets; part of any cache key over the set.
        withheld: Prefixes of the provinces whose directory is too old to be believed.
    """

    records: Mapping[tuple[str, str], KeyRecord]
    version: int
    withheld: frozenset[str] = frozenset()

    @classmethod
    def of(cls, records: Iterable[KeyRecord], version: int) -> TrustSet:
        """The set of these records.

        Raises:
            RefusedError: DOCUMENT_INVALID: one key registered twice in one province.
        """
        by_id: dict[tuple[str, str], KeyRecord] = {}
        for record in records:
            key_id = record.key.key_id
            place = province_of(record.node), key_id
            if place in by_id:
                detail = f"key {key_id} is registered for {by_id[place].owner} and {record.owner}"
                raise RefusedError(Reason.DOCUMENT_INVALID, detail)
            by_id[place] = record
        return cls(MappingProxyType(by_id), version)

    def key(self, key_id: str, node: str) -> KeyRecord | None:
        """How the province of the node that uses a key has registered it.

        None when its directory does not know the key (yet); whether it is delegated to this very
        node is for the caller to compare.

        Raises:
            UnavailableError: STALE_DIRECTORY: the province's directory is too old (DI-12).
        """
        if province_of(node) in self.withheld:
            detail = f"the directory of {province_of(node)} is too old to be believed"
            raise UnavailableError(Reason.STALE_DIRECTORY, detail)
        return self.records.get((province_of(node), key_id))
