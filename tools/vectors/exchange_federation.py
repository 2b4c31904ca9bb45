"""What the cases of the group exchange share: two provinces, their documents, and all keys."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from routing.directory_document import KeyEntry, Succession
from routing.directory_roles import TrustAnchor
from routing.payload import Named
from signing.keys import KeyUse
from tests.sim.federation import EZHOU, WUHAN, make_sample, sample_item, signed_sheet
from tests.sim.keyring import Keyring
from tests.sim.loop import START_MS
from tests.unit.routing.provinces import (
    DAY_MS,
    authority,
    freshness_payload,
    make_key,
    named,
    pin,
    root,
    sign,
    sign_freshness,
    uscc,
)
from tests.unit.routing.services import items_of
from tools.vectors.cases import Shared
from tools.vectors.samples import base64_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Json

SAMPLE: Final = make_sample()
CLOSED, HEIR = uscc(EZHOU, 8), uscc(EZHOU, 9)
"""An authority of Ezhou, and the one that stands in its place since yesterday."""
FOLDER: Final = "federation"


@cache
def keyrings() -> dict[str, Keyring]:
    """Every node's keys; Ezhou's hold those of the two authorities more."""
    held = dict(SAMPLE.keyrings)
    for owner in (CLOSED, HEIR):
        held[EZHOU].add(KeyUse.ENVELOPE, owner)
    return held


def stranger() -> Keyring:
    """A key that no directory lists, used as Wuhan's for pings."""
    ring = Keyring()
    ring.put(KeyUse.PING, uscc(WUHAN), make_key("stranger"))
    return ring


def cases() -> Iterator[Shared]:
    """The one folder."""
    yield Shared("exchange", FOLDER, _files())


def _files() -> dict[str, bytes]:
    rings = keyrings()
    sheets = [signed_sheet(node_id, ring) for node_id, ring in rings.items()]
    documents = [*_province("42"), *_province("43"), *sheets]
    anchor = TrustAnchor(anchors=tuple(pin(root(prefix), prefix) for prefix in ("42", "43")))
    rows: list[Json] = [
        {
            "node": node_id,
            "use": use.value,
            "owner": owner,
            "id": key.public.key_id,
            "pkcs8": base64_of(key.pkcs8()),
        }
        for node_id, ring in rings.items()
        for use, owner, key in ring.held()
    ]
    return {
        "anchor.json": anchor.model_dump_json(indent=1).encode() + b"\n",
        "keys.json": json.dumps(rows, indent=1).encode() + b"\n",
        **{f"documents/{n:02}.json": octets for n, octets in enumerate(documents, 1)},
    }


def _province(prefix: str) -> list[bytes]:
    payload = SAMPLE.directory.provinces[prefix].payload
    if prefix == "42":
        payload = payload.model_copy(update=_reformed(payload))
    payload = payload.model_copy(update={"issued_ms": START_MS - DAY_MS})
    items = items_of(prefix, sample_item(), issued_ms=START_MS - DAY_MS).octets
    directory = sign(payload)
    said: dict[str, Any] = {
        "issued_ms": START_MS - DAY_MS // 2,
        "expires_ms": START_MS + DAY_MS // 2,
        "items": Named(version=1, digest=named(items).digest),
    }
    return [
        root(prefix),
        directory,
        items,
        sign_freshness(freshness_payload(payload, directory, **said)),
    ]


def _reformed(payload: Any) -> dict[str, Any]:  # noqa: ANN401 - a payload
    gone = Succession(uscc=CLOSED, since_ms=START_MS - DAY_MS)
    heir = authority(EZHOU, 9).model_copy(update={"succeeds": (gone,)})
    ring = keyrings()[EZHOU]
    keys = [ring.private(KeyUse.ENVELOPE, owner).public for owner in (CLOSED, HEIR)]
    first = payload.keys[0]
    entries = tuple(
        KeyEntry(
            id=key.key_id,
            suite=key.suite,
            spki=key.spki,
            use=KeyUse.ENVELOPE,
            owner=owner,
            node=EZHOU,
            not_before_ms=first.not_before_ms,
            not_after_ms=first.not_after_ms,
            revoked_ms=None,
        )
        for owner, key in zip((CLOSED, HEIR), keys, strict=True)
    )
    return {
        "authorities": (*payload.authorities, authority(EZHOU, 8), heir),
        "keys": (*payload.keys, *entries),
    }
