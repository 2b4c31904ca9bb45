"""A new operator joins by hand, with the commands of the handbook and nothing else.

Two cities and a publisher, each in a folder of its own; what goes from one to another is a file.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from protocol.identifiers import identity_check
from routing.directory_document import AuthorityEntry
from tests.ceremony import Office
from tests.command_line import Ending, asked, done, run
from tests.homes import WUHAN, XIANGYANG, bureau, free_ports, operator, window
from tests.integration.test_demo import DEADLINE_S, eventually
from tests.unit.routing.services import basis, implementation, item

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
ITEM = "000720001000"
NAMES = {WUHAN: "武汉市", XIANGYANG: "襄阳市"}
IDENTITY = "42019919571103001"
IDENTITY += identity_check(IDENTITY)
OFFICER = {"name": "聂远舟", "staffNumber": "0032", "window": "审批科"}


@dataclass(frozen=True)
class City:
    """One operator's machine."""

    node: str
    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / self.node

    @property
    def config(self) -> tuple[str, Path]:
        return "--config", self.home / "node.toml"

    def write(self, name: str, document: object) -> Path:
        path = self.folder / f"{self.node}-{name}.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    def serve_in_vain(self) -> Ending:
        ended = subprocess.run(
            self._serve, capture_output=True, text=True, check=False, timeout=DEADLINE_S
        )
        return Ending(ended.returncode, ended.stdout, ended.stderr)

    @property
    def _serve(self) -> list[str]:
        return [sys.executable, str(ROOT / "run_node.py"), "serve", *map(str, self.config)]

    def serve(self) -> subprocess.Popen[bytes]:
        with (self.home / "log").open("wb") as log:
            return subprocess.Popen(
                [*self._serve, "--until-eof"], stdin=subprocess.PIPE, stdout=log, stderr=log
            )

    def serves(self) -> bool:
        return b"local API" in (self.home / "log").read_bytes()


def authority(node: str, uscc: str, name: str) -> tuple[str, str]:
    return "--authority", f"{uscc},{NAMES[node]}{name},{node},027-00000000"


def make_homes(folder: Path) -> list[City]:
    cities = [City(node, folder) for node in (WUHAN, XIANGYANG)]
    for city, ports in zip(cities, [free_ports(2), free_ports(2)], strict=True):
        node, (peers, local) = city.node, ports
        done(
            *("init", city.home, "--node", node, "--name", f"{NAMES[node]}节点"),
            *("--operator", operator(node), "--authority", window(node)),
            *("--authority", bureau(node), "--url", f"https://127.0.0.1:{peers}"),
            *("--port", peers, "--local-port", local),
        )
    return cities


def publish(folder: Path, cities: list[City]) -> tuple[Path, list[Path]]:
    """The publisher's work; its anchor and what it hands out."""
    office = Office(folder / "office", suite="sm2-sm3")
    office.found()
    for city in cities:
        node = city.node
        links = () if city is cities[0] else ("--link", cities[0].node)
        done(
            *("directory", "admit", city.home / "request.json", "--publisher", office.publisher),
            *("--region", f"{node},{NAMES[node]},420000", *links),
            *authority(node, operator(node), "数据局"),
            *authority(node, window(node), "政务服务中心"),
            *authority(node, bureau(node), "民政局"),
        )
    published = item(ITEM, bases=(basis("residence"),), handled_in="node")
    office.publish_items(
        {
            "version": 1,
            "environment": "trial",
            "prefix": "42",
            "issued_ms": 1,
            "items": [published.model_dump(mode="json")],
        }
    )
    office.issue()
    return office.anchor, [office.published, *sheets(folder, cities, office)]


def sheets(folder: Path, cities: list[City], office: Office) -> Iterator[Path]:
    """Each authority's own, signed with the key in its node's home."""
    shown = asked("directory", "show", office.published / "directory-42-1.json")
    for city in cities:
        owner = next(row for row in shown["authorities"] if row["uscc"] == bureau(city.node))
        entry = implementation(
            AuthorityEntry.model_validate_json(json.dumps(owner)),
            ITEM,
            effective_from_ms=1,
            withdrawn_ms=None,
        )
        text = city.write(
            "sheet",
            {
                "version": 1,
                "environment": "trial",
                "prefix": "42",
                "authority": bureau(city.node),
                "issued_ms": shown["issued_ms"],
                "implementations": [entry.model_dump(mode="json")],
            },
        )
        out = folder / f"sheet-{city.node}.json"
        done("catalogue", "sign", text, "--keys", city.home / "keys", "--out", out)
        yield out


@pytest.fixture(scope="module")
def cities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[City]]:
    """Two nodes that were set up by hand and serve."""
    folder = tmp_path_factory.mktemp("by-hand")
    cities = make_homes(folder)
    anchor, files = publish(folder, cities)
    done("catalogue", "check", *files, "--trust", anchor)
    for city in cities:
        done("directory", "install", *files, "--anchor", anchor, *city.config)
    nodes = [city.serve() for city in cities]
    try:
        # Together: a node that starts asks its peers whether it has lost something.
        eventually(lambda: all(city.serves() for city in cities), "they do not serve")
        yield cities
    finally:
        for node in nodes:
            node.communicate()  # closes its input, which stops it
            assert node.returncode == 0


def submission(node: str) -> dict[str, Any]:
    return {
        "actor": {"name": "秦书员", "staffNumber": "0007", "window": "3 号"},
        "item": ITEM,
        "mode": "online",
        "basis": {"kind": "residence", "region": node},
        "applicant": {
            "kind": "natural",
            "name": "沈远",
            "certificate": {"type": "111", "number": IDENTITY},
        },
        "delivery": {"method": "electronic"},
    }


def test_a_node_set_up_by_hand_reaches_its_peer(cities: list[City]) -> None:
    here, there = cities
    answer = asked("ping", there.node, *here.config)
    assert (answer["standing"], answer["path"]) == ("received", [here.node, there.node])


def test_a_case_goes_its_way_by_hand_and_can_be_proven(cities: list[City], tmp_path: Path) -> None:
    here, there = cities
    found = asked("catalogue", "find", ITEM, "--region", there.node, *here.config)
    assert found["authority"]["uscc"] == bureau(there.node)
    form = here.write("submit", submission(there.node))
    words = ("submit", form, "--authority", window(here.node), *here.config)
    case = asked(*words)["caseId"]
    assert asked(*words)["caseId"] == case, "the same command again is the same case"

    entries: list[dict[str, Any]] = []

    def came_in() -> bool:
        entries.extend(asked("inbox", "--seconds", 3600, *there.config)["entries"])
        return bool(entries)

    eventually(came_in, "nothing came in")
    (entry,) = entries
    assert (entry["kind"], entry["caseId"]) == ("case.submit", case)
    received = there.write("received", {"actor": OFFICER, "received": entry["recorded"]})
    done("act", case, "case.received", received, *there.config)
    reject = {
        "actor": OFFICER,
        "cause": "other",
        "rejected": entry["recorded"],
        "ground": "行政许可法第三十二条",
        "explanation": "演示。",
        "remedies": [{"kind": "review", "body": "本级人民政府", "within": "六十日内"}],
    }
    done("act", case, "case.reject", there.write("reject", reject), *there.config)
    done("inbox", "--done", entry["messageId"], "--lease", entry["lease"], *there.config)
    eventually(lambda: asked("show", case, *here.config)["settled"], "it does not settle")
    assert "不予受理" in done("show", case, *here.config)

    evidence = tmp_path / "case.tbev"
    done("evidence", "export", case, "--out", evidence, *here.config)
    report = asked("verify", evidence, "--trust", here.home / "anchor.json")
    assert report["outcome"] == "valid"
    message = asked("show", case, *here.config)["messages"][0]["messageId"]
    done("evidence", "export", message, "--out", evidence, *there.config)
    assert asked("verify", evidence, "--trust", here.home / "anchor.json")["outcome"] == "valid"

    done("evidence", "export", case, "--without-bodies", "--out", evidence, *here.config)
    report = asked("verify", evidence, "--trust", here.home / "anchor.json")
    assert {(bool(row["missing"]), row["erased"]) for row in report["proven"]} == {(True, None)}
    assert "未附 left out: body" in done("verify", evidence, "--trust", here.home / "anchor.json")
    order = ("--name", "李强", "--staff", "17", "--ground", "retention-over", *here.config)
    early = run("erase", case, "--authority", window(here.node), *order)
    assert early.code == 1
    assert "35" in early.err
    unknown = run("erase", message, "--authority", bureau(there.node), *order)
    assert unknown.code == 1

    digest = message_digest(there, message)
    proven = asked("log", "proof", digest, *there.config)
    assert [leaf["type"] for leaf in proven["leaves"]] == ["message-taken"]
    assert "报文收存" in done("log", "proof", digest, *there.config)
    assert asked("log", "head", *there.config)["size"] >= proven["head"]["size"]
    assert "叶数 size" in done("log", "head", *here.config)
    assert run("log", "proof", "00" * 32, *here.config).code == 1
    assert {step["wrong"] for step in asked("log", "check", *there.config)["steps"]} == {0}


def message_digest(city: City, message_id: str) -> str:
    with closing(sqlite3.connect(f"file:{city.home / 'node.db'}?mode=ro", uri=True)) as store:
        query = "SELECT message_digest FROM message WHERE message_id = ?"
        (digest,) = store.execute(query, (message_id,)).fetchone()
    return bytes(digest).hex()


def test_what_the_node_refuses_is_told_with_its_remedy(cities: list[City]) -> None:
    here, there = cities
    wrong = here.write("wrong", submission(there.node) | {"item": "999999999999"})
    ended = run("submit", wrong, "--authority", window(here.node), *here.config)
    assert ended.code == 1
    assert "item-unknown" in ended.err
    assert "->" in ended.err
    mistyped = here.write("mistyped", submission(there.node) | {"applicent": {}})
    ended = run("submit", mistyped, "--authority", window(here.node), *here.config)
    assert ended.code == 1
    assert "submit.applicent: no such field -> write applicant" in ended.err
    unknown = "01a2042b-0ad3-713d-9f42-b91ba18567ac"
    for words in (("show", unknown), ("evidence", "export", unknown)):
        ended = run(*words, *here.config)
        assert ended.code == 1, ended.err
        assert "Traceback" not in ended.err


def test_a_second_start_of_the_same_node_is_told_who_has_the_address(cities: list[City]) -> None:
    ended = cities[0].serve_in_vain()
    assert ended.code != 0
    assert "->" in ended.err
    assert "Traceback" not in ended.err


def test_a_node_that_does_not_run_could_not_be_asked(tmp_path: Path) -> None:
    (city, _) = make_homes(tmp_path)
    ended = run("show", "01a2042b-0ad3-713d-9f42-b91ba18567ac", *city.config)
    assert ended.code == 3
    assert "run_node.py serve" in ended.err
    ended = city.serve_in_vain()
    assert ended.code == 2, "nothing was installed yet"
    assert "anchor.json" in ended.err
