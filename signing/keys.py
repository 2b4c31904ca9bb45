"""Keys behind a port: what each is for, and how the rest of the house asks for signatures.

One key has one use. The store behind the port may be a directory of files, a PKCS#11 token or an
SDF device; the core only ever names keys by id and never sees a secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from protocol.errors import TongbanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signing.suites import PublicKey


class KeyUse(StrEnum):
    """What a key may sign (密钥用途); the values stand in directories and key indexes."""

    ENVELOPE = "envelope"
    RECEIPT = "receipt"
    PING = "ping"
    ROOT = "root"
    DIRECTORY = "directory"
    FRESHNESS = "freshness"
    CATALOGUE = "catalogue"
    EVIDENCE = "evidence"
    HEAD = "head"
    CARRIER = "carrier"


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """One signature to make.

    Attributes:
        key_id: The key to sign with, 43 characters.
        octets: What is signed, complete, with its domain separation already in front.
    """

    key_id: str
    octets: bytes = field(repr=False)


class KeyStoreError(TongbanError):
    """The key store is damaged, unsafe, or lacks a key; the message names file and remedy."""


class KeyStore(Protocol):
    """Where private keys live. Implementations may be used from several threads."""

    def sign(self, requests: Sequence[SigningRequest]) -> list[bytes]:
        """One signature of 64 octets per request, in their order: all of them or none.

        Raises:
            KeyStoreError: an id that is not in the store.
            UnavailableError: SUITE_UNAVAILABLE: the device or library cannot sign now.
        """

    def public(self, key_id: str) -> PublicKey:
        """The public key of an id; KeyStoreError if it is not in the store."""

    def find(self, use: KeyUse, owner: str) -> str:
        """The id of the newest key with this use and owner; KeyStoreError if there is none.

        Args:
            use: What it has to sign.
            owner: USCC of an authority (for pings the node's operator), or node id for
                receipt, evidence, head and carrier keys.
        """
