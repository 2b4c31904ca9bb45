"""The demo federation on disk: homes, keys, certificates, and everything that has to be signed.

Each step is what an operator and a publisher do by hand: `init` makes a home and a request, the
publisher checks the request and lists the node, authorities sign their sheets, the files are laid
down. One thing is done on purpose: 襄阳 already holds a newer sheet of one authority than everybody
else, in which an item is withdrawn; so its node will refuse what a window still offers.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from examples.demo.processes import free_ports
from examples.demo.publishing import open_offices, publish
from examples.federation import (
    NodeFacts,
    load_federation,
    sheet_payload,
)
from node.cli.asking import local_node
from node.cli.documents import Signer, sign_payload
from node.clock import SystemClock, SystemEntropy
from node.config import load_config
from node.home import NewNode, create_home
from node.keystore import FileKeyStore
from node.request import read_request
from protocol.errors import UnavailableError
from protocol.identifiers import province_of
from routing.directory import Directory
from routing.directory_document import KeyEntry
from signing.keys import KeyUse
from signing.sm2 import default_provider
from signing.suites import Suite

if TYPE_CHECKING:
    from pathlib import Path

    from examples.federation import FederationPlan, NodePlan
    from node.cli.local import LocalNode
    from signing.trust import TrustSet

SMALL: Final = ("420000", "420100", "420600")
WITHDRAWN: Final = ("11420600TB06000664", "000118901000")
"""襄阳市交通运输局 does 货运从业资格证换证 no more, says its newest sheet."""

_YEAR_MS: Final = 365 * 24 * 3_600_000
_HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Signing:
    """The suite everybody signs with, and a word about it for the screen."""

    suite: Suite
    told: str


@dataclass(frozen=True, slots=True)
class Site:
    """One node's place on this machine."""

    node: NodePlan
    home: Path

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.home / "node.toml"

    @property
    def store(self) -> Path:
        """Its database."""
        return self.home / "node.db"

    @property
    def name(self) -> str:
        """Its name without 节点."""
        return self.node.name.removesuffix("节点")

    def api(self) -> LocalNode:
        """A client of its local API."""
        return local_node(load_config(self.config))


@dataclass(frozen=True, slots=True)
class Federation:
    """What was laid down.

    Attributes:
        sites: By node id, in the order to start them.
        anchor: The trust anchor's file.
        directory: Everything the provinces list.
    """

    plan: FederationPlan
    sites: dict[str, Site]
    anchor: Path
    directory: Directory

    @property
    def trust(self) -> TrustSet:
        """Every registered key."""
        return self.directory.trust

    def name(self, node: str) -> str:
        """A node's short name."""
        return self.sites[node].name if node in self.sites else node


def choose_suite() -> Signing:
    """SM2, or P-256 where this machine has no SM2, said plainly."""
    try:
        provider = default_provider()
    except UnavailableError as error:
        told = f"ecdsa-p256-sha256（本机没有 SM2，改用 P-256 no SM2 here: {error.detail}）"
        return Signing(Suite.P256, told)
    return Signing(Suite.SM2_SM3, f"{Suite.SM2_SM3}（{provider.name}）")


def lay_down_demo(folder: Path, suite: Suite, *, small: bool, dark: str | None) -> Federation:
    """Make the demo's nodes; none of them runs yet.

    Args:
        folder: The empty work folder.
        suite: What everybody signs with.
        small: Three nodes instead of eight.
        dark: A node that peers cannot dial.
    """
    plan = load_federation()
    if small:
        plan = replace(plan, nodes=tuple(node for node in plan.nodes if node.id in SMALL))
    federation = lay_down(folder, suite, plan, dark)
    _withdraw(plan, federation.sites, *WITHDRAWN, now_ms=SystemClock().now_ms())
    return federation


def lay_down(
    folder: Path, suite: Suite, plan: FederationPlan, dark: str | None = None
) -> Federation:
    """Make everything the nodes of a plan need; none of them runs yet.

    Args:
        folder: The empty work folder.
        suite: What everybody signs with.
        plan: Who there is.
        dark: A node that peers cannot dial.
    """
    nodes = plan.nodes
    ports = free_ports(2 * len(nodes))
    now_ms = SystemClock().now_ms()
    sites = {node.id: Site(node, folder / "nodes" / node.id) for node in nodes}
    facts = {
        site.node.id: _settle(site, suite, ports[2 * at : 2 * at + 2], now_ms, dark)
        for at, site in enumerate(sites.values())
    }
    prefixes = sorted({province_of(node.id) for node in nodes})
    offices = open_offices(folder / "publishers", plan, prefixes, suite, now_ms)
    directory = Directory.merge(publish(folder, plan, offices, facts, now_ms))
    _publish_sheets(folder, plan, sites, now_ms)
    return Federation(plan, sites, folder / "anchor.json", directory)


def _settle(site: Site, suite: Suite, ports: list[int], now_ms: int, dark: str | None) -> NodeFacts:
    """One node's home, and what its publisher reads in its request."""
    node = site.node
    peers_port, local_port = ports
    new = NewNode(
        node=node.id,
        name=node.name,
        environment="trial",
        operator=node.operator,
        authorities=tuple(row.uscc for row in node.authorities),
        serves=node.serves,
        url=None if node.id == dark else f"https://{_HOST}:{peers_port}",
        role=node.role,
        forwards_for=node.forwards_for,
        suite=suite,
        peers_host=_HOST,
        peers_port=peers_port,
        local_port=local_port,
        anchor="../../anchor.json",
        directories=("../../directories",),
        catalogues=("catalogue",),
    )
    home = create_home(site.home, new, SystemEntropy(), now_ms)
    request = read_request(home.request.read_bytes())
    keys = tuple(
        KeyEntry(
            id=row.id,
            suite=row.suite,
            spki=row.spki,
            use=row.use,
            owner=row.owner,
            node=node.id,
            not_before_ms=now_ms,
            not_after_ms=now_ms + _YEAR_MS,
            revoked_ms=None,
        )
        for row in request.keys
    )
    return NodeFacts(request.node.url, request.node.certificate, keys)


def _publish_sheets(
    folder: Path, plan: FederationPlan, sites: dict[str, Site], now_ms: int
) -> None:
    """Sheets, and a copy of the catalogue in every home: each node has synchronised so far."""
    published = folder / "catalogue"
    for site in sites.values():
        keys = FileKeyStore(site.home / "keys")
        for authority in site.node.authorities:
            sheet = sheet_payload(plan, authority.uscc, version=1, issued_ms=now_ms)
            octets = sign_payload(sheet, Signer(keys, keys.find(KeyUse.CATALOGUE, authority.uscc)))
            (published / f"sheet-{authority.uscc}.json").write_bytes(octets)
    for site in sites.values():
        shutil.copytree(published, site.home / "catalogue")


def _withdraw(
    plan: FederationPlan, sites: dict[str, Site], uscc: str, item: str, *, now_ms: int
) -> None:
    """The newer sheet, which only its own node holds so far."""
    home = sites[plan.node_of(uscc).id].home
    old = sheet_payload(plan, uscc, version=2, issued_ms=now_ms)
    entries = tuple(
        row.model_copy(update={"withdrawn_ms": now_ms}) if row.item == item else row
        for row in old.implementations
    )
    sheet = old.model_copy(update={"implementations": entries})
    keys = FileKeyStore(home / "keys")
    octets = sign_payload(sheet, Signer(keys, keys.find(KeyUse.CATALOGUE, uscc)))
    (home / "catalogue" / f"sheet-{uscc}.json").write_bytes(octets)
