"""Small federations to simulate: nodes, authorities, keys and a directory, made from a few names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import schemas
from node.context import Federation
from protocol.bodies import KINDS
from routing.directory import Directory, KeyEntry
from signing.keys import KeyUse
from signing.verify import Rules
from tests.sim.keyring import Keyring
from tests.unit.routing.provinces import hub, merged, node, province, uscc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routing.catalogue import Catalogue

FAR_MS = 2**50
RULES = Rules(schemas.compiled(), frozenset(kind.name for kind in KINDS), "trial")

HUB, WUHAN, XIANGYANG, EZHOU = "420000", "420100", "420600", "420700"
HUNAN, YUEYANG = "430000", "430600"


@dataclass(frozen=True, slots=True)
class Sample:
    """A directory with the keyrings of its nodes."""

    directory: Directory
    keyrings: dict[str, Keyring]

    def federation(self, catalogue: Catalogue) -> Federation:
        return Federation(self.directory, catalogue)


def make_sample() -> Sample:
    """Two provinces, two hubs, a circle of two and two nodes that need their hub."""
    layout = {"42": (HUB, WUHAN, XIANGYANG, EZHOU), "43": (HUNAN, YUEYANG)}
    keyrings = {node_id: Keyring() for ids in layout.values() for node_id in ids}
    payloads = [
        province(
            prefix,
            [
                hub(node_id, prefix, _other(prefix)) if node_id in (HUB, HUNAN) else node(node_id)
                for node_id in ids
            ],
            circles={"武汉都市圈": (WUHAN, EZHOU)} if prefix == "42" else None,
            keys=_keys(ids, keyrings),
            links=((HUB, HUNAN),) if prefix == "42" else ((HUNAN, HUB),),
            expires_ms=FAR_MS,
        )
        for prefix, ids in layout.items()
    ]
    return Sample(merged(*payloads), keyrings)


def _other(prefix: str) -> str:
    return "43" if prefix == "42" else "42"


def _keys(ids: Iterable[str], keyrings: dict[str, Keyring]) -> list[KeyEntry]:
    entries: list[KeyEntry] = []
    for node_id in ids:
        operator = uscc(node_id)
        holders = (
            (KeyUse.RECEIPT, node_id),
            (KeyUse.PING, operator),
            (KeyUse.ENVELOPE, operator),
            (KeyUse.CATALOGUE, operator),
        )
        for use, owner in holders:
            public = keyrings[node_id].add(use, owner)
            entries.append(
                KeyEntry(
                    id=public.key_id,
                    suite=public.suite,
                    spki=public.spki,
                    use=use,
                    owner=owner,
                    node=node_id,
                    not_before_ms=0,
                    not_after_ms=FAR_MS,
                    revoked_ms=None,
                )
            )
    return entries
