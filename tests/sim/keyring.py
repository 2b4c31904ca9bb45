"""Keys in memory, each made from its name, so that signatures repeat from run to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signing.suites import PrivateKey, Suite, private_key_from_entropy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from signing.keys import KeyUse, SigningRequest
    from signing.suites import PublicKey


class Keyring:
    """A `KeyStore` of one node."""

    def __init__(self) -> None:
        self._keys: dict[str, PrivateKey] = {}
        self._by_use: dict[tuple[KeyUse, str], str] = {}

    def add(self, use: KeyUse, owner: str, generation: int = 1) -> PublicKey:
        """A key of this use; from here on the one `find` finds."""
        name = f"{use} {owner}" if generation == 1 else f"{use} {owner} {generation}"
        entropy = name.encode().ljust(48, b".")
        key = private_key_from_entropy(Suite.ED25519, entropy)
        self.put(use, owner, key)
        return key.public

    def private(self, use: KeyUse, owner: str) -> PrivateKey:
        return self._keys[self._by_use[use, owner]]

    def held(self) -> Iterator[tuple[KeyUse, str, PrivateKey]]:
        """Every key with its use and owner."""
        for (use, owner), key_id in self._by_use.items():
            yield use, owner, self._keys[key_id]

    def put(self, use: KeyUse, owner: str, key: PrivateKey) -> None:
        """Hold this key."""
        self._keys[key.public.key_id] = key
        self._by_use[use, owner] = key.public.key_id

    def sign(self, requests: Sequence[SigningRequest]) -> list[bytes]:
        return [self._keys[request.key_id].sign(request.octets) for request in requests]

    def public(self, key_id: str) -> PublicKey:
        return self._keys[key_id].public

    def find(self, use: KeyUse, owner: str) -> str:
        return self._by_use[use, owner]
