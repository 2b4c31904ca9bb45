"""Nodes on disk, ready to run: homes made as `init` makes them, and what their publishers sign.

One province, one item. All nodes listen on loopback, on ports that were free a moment ago.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from node.clock import SystemClock, SystemEntropy
from node.config import load_config
from node.home import NewNode, create_home
from node.keystore import FileKeyStore
from node.request import read_request
from protocol.identifiers import uscc_check
from routing.catalogue import SHEET_TYPE
from routing.directory_document import (
    AuthorityEntry,
    CircleEntry,
    DirectoryPayload,
    KeyEntry,
    RegionEntry,
)
from routing.directory_roles import FreshnessPayload
from routing.directory_rules import check_directory
from routing.payload import write_payload
from signing.document import assemble_document, read_claims, signed_octets
from signing.keys import KeyUse, SigningRequest
from signing.suites import Suite
from tests.unit.routing.provinces import anchor, named, root, sign, sign_freshness
from tests.unit.routing.services import (
    basis,
    implementation,
    item,
    items_payload,
    sheet_payload,
    sign_items,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from node.config import Config
    from node.request import NodeFacts

HUB, WUHAN, XIANGYANG = "420000", "420100", "420600"
ITEM: Final = "000720001000"
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS
_DAY_MS: Final = 24 * _HOUR_MS
_YEAR_MS: Final = 365 * 24 * _HOUR_MS
_REGIONS: Final = {HUB: "湖北省", WUHAN: "武汉市", XIANGYANG: "襄阳市"}


def window(node: str) -> str:
    """The authority that collects at this node's window."""
    return _uscc(node, 1)


def bureau(node: str) -> str:
    """The authority that handles the one item at this node."""
    return _uscc(node, 2)


def operator(node: str) -> str:
    """The authority that runs this node."""
    return _uscc(node, 0)


def _uscc(node: str, number: int) -> str:
    body = f"11{node}MB{number:07d}"
    return body + uscc_check(body)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, below those that the system gives to callers."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(12_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.add(port)
    return sorted(found)


@dataclass(frozen=True)
class Homes:
    """Homes of nodes in one folder, each beside the others, and the published files.

    Attributes:
        folder: Holds a folder per node id, and anchor, directories and catalogue.
        nodes: Their ids.
        suite: What everybody signs with.
        dark: Those that nobody can dial.
    """

    folder: Path
    nodes: tuple[str, ...]
    suite: Suite
    dark: tuple[str, ...] = ()

    def copy(self, folder: Path) -> Homes:
        """The same homes in another folder."""
        return Homes(shutil.copytree(self.folder, folder), self.nodes, self.suite, self.dark)

    def config(self, node: str) -> Config:
        """A node's configuration, as it would be read at a start."""
        return load_config(self.folder / node / "node.toml")

    def facts(self, node: str) -> NodeFacts:
        """What a node asked the publisher to be listed with."""
        return read_request((self.folder / node / "request.json").read_bytes())

    def finish(self, node: str) -> None:
        """Go on making a home that is not whole; its starts do not wait for peers."""
        new = new_node(node, self.suite, **({"url": None} if node in self.dark else {}))
        create_home(self.folder / node, new, SystemEntropy(), SystemClock().now_ms())
        path = self.folder / node / "node.toml"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("[peers]\n", "[peers]\ncheck_s = 0\n"), encoding="utf-8")

    def ferry(self, one: str, other: str) -> None:
        """Configure a link over two gates, whose folders lie in ``gates/``."""
        for here, peer in ((one, other), (other, one)):
            base = self.folder / "gates" / f"{here}-{peer}"
            (base / "out").mkdir(parents=True)
            (base / "in").mkdir()
            with (self.folder / here / "node.toml").open("a", encoding="utf-8") as file:
                file.write(
                    f'\n[[ferry]]\nnode = "{peer}"\nout = "{base}/out"\nin = "{base}/in"\n'
                    "round_trip_s = 1\nmax_file_kib = 65\n"
                )

    def publish(
        self,
        version: int = 1,
        nodes: Iterable[str] | None = None,
        unlisted_keys: Collection[str] = (),
    ) -> None:
        """Sign and lay down the directory of these nodes, or of all; some owners' keys left out."""
        listed = tuple(self.nodes if nodes is None else nodes)
        payload = _directory([self.facts(node) for node in listed], version, unlisted_keys)
        check_directory(payload)
        folder = self.folder / "directories"
        folder.mkdir(exist_ok=True)
        (folder / "root.json").write_bytes(root("42"))
        (folder / "directory.json").write_bytes(sign(payload))
        self.refresh()

    def refresh(self, **changes: Any) -> None:
        """Sign and lay down which of the published documents are in force, later than before."""
        folder = self.folder / "directories"
        path, directory = folder / "freshness.json", (folder / "directory.json").read_bytes()
        items = self.folder / "catalogue" / "items.json"
        issued_ms = SystemClock().now_ms() - _MINUTE_MS
        if path.exists():
            issued_ms = max(issued_ms, _said(path.read_bytes())["issued_ms"] + 1)
        values: dict[str, Any] = {
            "environment": "trial",
            "prefix": "42",
            "issued_ms": issued_ms,
            "expires_ms": issued_ms + _DAY_MS,
            "root": named(root("42")),
            "directory": named(directory, _said(directory)["version"]),
            "items": None,
            "revocations": (),
        }
        if items.exists():
            published = items.read_bytes()
            values["items"] = named(published, _said(published)["version"])
        path.write_bytes(sign_freshness(FreshnessPayload(**values | changes)))

    def publish_catalogue(self, version: int = 1, withdrawn: Collection[str] = ()) -> None:
        """Sign and lay down the item, and the sheet of each node's bureau; some do it no more."""
        folder = self.folder / "catalogue"
        folder.mkdir(exist_ok=True)
        issued_ms = SystemClock().now_ms() - _HOUR_MS
        published = item(ITEM, bases=(basis("residence"),), handled_in="node")
        items = items_payload("42", published, issued_ms=issued_ms, version=version)
        (folder / "items.json").write_bytes(sign_items(items))
        self.refresh()
        for node in self.nodes:
            if node == HUB:
                continue
            owner = _authority(bureau(node), node, "样例局")
            withdrawn_ms = issued_ms + 1 if node in withdrawn else None
            entry = implementation(
                owner, ITEM, effective_from_ms=issued_ms, withdrawn_ms=withdrawn_ms
            )
            sheet = sheet_payload(owner, entry, issued_ms=issued_ms, version=version)
            keys = FileKeyStore(self.folder / node / "keys")
            key_id = keys.find(KeyUse.CATALOGUE, owner.uscc)
            payload = write_payload(sheet)
            request = SigningRequest(key_id, signed_octets(SHEET_TYPE, payload))
            signature = keys.sign([request])[0]
            octets = assemble_document(SHEET_TYPE, payload, {key_id: signature})
            (folder / f"sheet-{node}.json").write_bytes(octets)


def make_homes(
    folder: Path,
    nodes: tuple[str, ...] = (WUHAN, XIANGYANG),
    suite: Suite = Suite.ED25519,
    dark: tuple[str, ...] = (),
) -> Homes:
    """Homes of these nodes, with everything published; no node runs."""
    homes = Homes(folder, nodes, suite, dark)
    for node in nodes:
        homes.finish(node)
    (folder / "anchor.json").write_bytes(anchor("42").model_dump_json().encode())
    homes.publish()
    homes.publish_catalogue()
    return homes


def new_node(node: str, suite: Suite = Suite.ED25519, **changes: Any) -> NewNode:
    """What a node is to be; 420000 is a hub."""
    peers_port, local_port = free_ports(2)
    values: dict[str, Any] = {
        "node": node,
        "name": f"{_REGIONS[node]}节点",
        "environment": "trial",
        "operator": operator(node),
        "authorities": () if node == HUB else (window(node), bureau(node)),
        "serves": (node,),
        "url": f"https://127.0.0.1:{peers_port}",
        "role": "hub" if node == HUB else "node",
        "forwards_for": ("42",) if node == HUB else (),
        "suite": suite,
        "peers_host": "127.0.0.1",
        "peers_port": peers_port,
        "local_port": local_port,
        "anchor": "../anchor.json",
        "directories": ("../directories",),
        "catalogues": ("../catalogue",),
    }
    return NewNode(**values | changes)


def _said(octets: bytes) -> Any:
    """What a document of ours says."""
    return json.loads(read_claims(octets).payload)


def _authority(uscc: str, node: str, name: str) -> AuthorityEntry:
    return AuthorityEntry(
        uscc=uscc,
        name=f"{_REGIONS[node]}{name}",
        region=node,
        zone=None,
        node=node,
        telephone="000-0000-0000",
        succeeds=(),
    )


def _directory(
    facts: list[NodeFacts], version: int, unlisted_keys: Collection[str]
) -> DirectoryPayload:
    now_ms = SystemClock().now_ms()
    ids = [row.node.id for row in facts]
    through_hub = HUB in ids
    return DirectoryPayload(
        version=version,
        environment="trial",
        prefix="42",
        name="湖北省",
        issued_ms=now_ms - _HOUR_MS,
        expires_ms=now_ms + _YEAR_MS,
        regions=tuple(
            RegionEntry(code=code, name=name, parent=None if code == HUB else HUB)
            for code, name in _REGIONS.items()
        ),
        circles=() if through_hub else (CircleEntry(name="样例圈", regions=(WUHAN, XIANGYANG)),),
        authorities=tuple(
            entry
            for node in ids
            for entry in (
                _authority(operator(node), node, "数据局"),
                _authority(window(node), node, "政务服务中心"),
                _authority(bureau(node), node, "样例局"),
            )
        ),
        nodes=tuple(row.node for row in facts),
        keys=tuple(
            KeyEntry(
                id=key.id,
                suite=key.suite,
                spki=key.spki,
                use=key.use,
                owner=key.owner,
                node=row.node.id,
                not_before_ms=now_ms - _YEAR_MS,
                not_after_ms=now_ms + _YEAR_MS,
                revoked_ms=None,
            )
            for row in facts
            for key in row.keys
            if key.owner not in unlisted_keys
        ),
        links=(),
    )
