"""What a verifier may not touch before a rule has refused, made to raise when it is touched."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from signing import suites
from signing.trust import TrustSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

    from signing.suites import PublicKey, Suite
    from signing.trust import KeyRecord

ORDER = ("form", "directory", "digest", "signature", "clock")


class TouchedError(Exception):
    """A verifier went further than the rule allows."""


class _Key:
    def verify(self, octets: bytes, signature: bytes) -> NoReturn:
        raise TouchedError(f"verified {len(octets)} octets against {len(signature)}")


class _Directory(TrustSet):
    """A directory nobody may ask."""

    __slots__ = ()

    def key(self, key_id: str, node: str) -> NoReturn:
        raise TouchedError(f"asked for key {key_id} of {node}")


def guard_digests(stage: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the digest stage nothing may be digested."""
    if stage is None or ORDER.index(stage) >= ORDER.index("digest"):
        return
    plain = suites.digest

    def touched(suite: Suite, octets: bytes) -> NoReturn:
        raise TouchedError(f"digested {len(octets)} octets by {suite}")

    for name, module in list(sys.modules.items()):
        inside = name.partition(".")[0] in ("signing", "protocol", "routing")
        if inside and getattr(module, "digest", None) is plain:
            monkeypatch.setattr(module, "digest", touched)


def guarded_key(key: PublicKey, stage: str | None) -> PublicKey:
    """The key; before the signature stage it may not verify."""
    if stage is None or ORDER.index(stage) >= ORDER.index("signature"):
        return key
    return replace(key, _verifier=_Key())


def guarded_trust(records: Iterable[KeyRecord], stage: str | None) -> TrustSet:
    """The trust set; at the form stage nobody may ask it for a key."""
    guarded = [replace(record, key=guarded_key(record.key, stage)) for record in records]
    return (_Directory if stage == "form" else TrustSet).of(guarded, version=1)
