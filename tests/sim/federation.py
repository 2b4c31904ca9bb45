"""Small federations to simulate: nodes, authorities, keys, a directory, one item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import schemas
from node.context import Federation
from protocol.bodies import KINDS
from routing.catalogue import SHEET_TYPE, Catalogue, open_sheet
from routing.catalogue_document import (
    Basis,
    ImplementationEntry,
    Item,
    Limit,
    Marks,
    Powers,
    SheetPayload,
)
from routing.directory_document import KeyEntry
from routing.payload import write_payload
from signing.document import sign_document
from signing.keys import KeyUse
from signing.verify import Rules
from tests.sim.keyring import Keyring
from tests.sim.loop import START_MS
from tests.unit.routing.provinces import hub, merged, node, province, uscc
from tests.unit.routing.services import items_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routing.catalogue import Implementation
    from routing.directory import Directory

FAR_MS = 2**50
RULES = Rules(schemas.compiled(), frozenset(kind.name for kind in KINDS), "trial")

ITEM = "000117051000"
HUB, WUHAN, XIANGYANG, EZHOU = "420000", "420100", "420600", "420700"
HUNAN, YUEYANG = "430000", "430600"


@dataclass(frozen=True, slots=True)
class Sample:
    """A directory and a catalogue, with the keyrings of the nodes."""

    federation: Federation
    keyrings: dict[str, Keyring]

    @property
    def directory(self) -> Directory:
        return self.federation.directory

    def implementation(self, node_id: str) -> Implementation:
        """The one item as the operator of this node does it."""
        found = self.federation.catalogue.served(ITEM, uscc(node_id), START_MS)
        assert found is not None
        return found


def make_sample(*undialled: str) -> Sample:
    """Two provinces, two hubs, a circle of two and two nodes that need their hub.

    Args:
        undialled: Nodes that peers cannot dial.
    """
    layout = {"42": (HUB, WUHAN, XIANGYANG, EZHOU), "43": (HUNAN, YUEYANG)}
    keyrings = {node_id: Keyring() for ids in layout.values() for node_id in ids}
    payloads = [
        province(
            prefix,
            [
                hub(node_id, prefix, _other(prefix), **_address(node_id, undialled))
                if node_id in (HUB, HUNAN)
                else node(node_id, **_address(node_id, undialled))
                for node_id in ids
            ],
            circles={"武汉都市圈": (WUHAN, EZHOU)} if prefix == "42" else None,
            keys=_keys(ids, keyrings),
            links=((HUB, HUNAN),) if prefix == "42" else ((HUNAN, HUB),),
            expires_ms=FAR_MS,
        )
        for prefix, ids in layout.items()
    ]
    directory = merged(*payloads)
    return Sample(Federation(directory, _catalogue(directory, layout, keyrings)), keyrings)


def _catalogue(
    directory: Directory, layout: dict[str, tuple[str, ...]], keyrings: dict[str, Keyring]
) -> Catalogue:
    items = [items_of(prefix, sample_item(), issued_ms=1) for prefix in layout]
    sheets = [
        open_sheet(signed_sheet(node_id, keyrings[node_id]), directory)
        for ids in layout.values()
        for node_id in ids
    ]
    return Catalogue.merge(items, sheets, directory)


def sample_item() -> Item:
    """The one item there is."""
    return Item(
        code=ITEM,
        name="样例事项",
        aliases=(),
        bases=(
            Basis(
                kind="residence",
                chinese="居住地",
                english="residence",
                chinese_question="住在哪里？",
                english_question="Where do you live?",
                role="lead",
            ),
        ),
        competence="one",
        mode="online",
        levels=("province", "city"),
        materials=(),
        fields=(),
        limit=Limit(legal=None, promised=None, legs=()),
        fee=None,
        handled_in="node",
        note=None,
        marks=Marks(code="I", jurisdiction="I", mode="I", materials="I", limit="I", fee="I"),
    )


def signed_sheet(node_id: str, keyring: Keyring) -> bytes:
    """How the operator of this node does the item, signed."""
    key = keyring.private(KeyUse.CATALOGUE, uscc(node_id))
    return sign_document(SHEET_TYPE, write_payload(_sheet(node_id)), [key])


def _sheet(node_id: str) -> SheetPayload:
    operator = uscc(node_id)
    entry = ImplementationEntry(
        code=f"{operator}3{ITEM}",
        code_form="standard",
        item=ITEM,
        region=node_id,
        zone=None,
        powers=Powers(
            collect="any",
            accept=operator,
            review=operator,
            decide=operator,
            issue=operator,
            deliver=operator,
        ),
        materials=None,
        promised=None,
        effective_from_ms=0,
        withdrawn_ms=None,
        telephone="000-0000-0000",
        review_points=(),
    )
    return SheetPayload(
        version=1,
        environment="trial",
        prefix=node_id[:2],
        authority=operator,
        issued_ms=1,
        implementations=(entry,),
    )


def _address(node_id: str, undialled: tuple[str, ...]) -> dict[str, None]:
    return {"url": None} if node_id in undialled else {}


def _other(prefix: str) -> str:
    return "43" if prefix == "42" else "42"


def _keys(ids: Iterable[str], keyrings: dict[str, Keyring]) -> list[KeyEntry]:
    entries: list[KeyEntry] = []
    for node_id in ids:
        operator = uscc(node_id)
        holders = (
            (KeyUse.RECEIPT, node_id),
            (KeyUse.EVIDENCE, node_id),
            (KeyUse.HEAD, node_id),
            (KeyUse.CARRIER, node_id),
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
