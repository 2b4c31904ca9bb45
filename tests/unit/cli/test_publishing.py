"""From an empty folder to a node's home, with commands only: init, create, admit, sign, install."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from routing.directory import DirectoryPayload
from routing.payload import read_model
from tests.command_line import done, run
from tests.homes import WUHAN, operator
from tests.unit.routing.services import basis, item

if TYPE_CHECKING:
    from pathlib import Path


ITEM = "000720001000"
OPERATOR = operator(WUHAN)


@dataclass(frozen=True)
class Desk:
    """A publisher's folder and a node's home beside each other."""

    folder: Path

    @property
    def publisher(self) -> Path:
        return self.folder / "publisher"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def config(self) -> Path:
        return self.home / "node.toml"

    @property
    def directory(self) -> Path:
        return self.publisher / "directory-42.json"

    def create(self, name: str = "publisher", prefix: str = "42") -> None:
        words = ("--prefix", prefix, "--name", "湖北省", "--suite", "ed25519")
        done("directory", "create", self.folder / name, *words)

    def init(self) -> str:
        return done(
            *("init", self.home, "--node", WUHAN, "--name", "武汉市节点", "--operator", OPERATOR),
            *("--url", "https://127.0.0.1:18443", "--suite", "ed25519"),
        )

    def admit(self, **changes: str) -> str:
        words = {
            "--region": f"{WUHAN},武汉市,420000",
            "--authority": f"{OPERATOR},武汉市政务服务中心,{WUHAN},027-00000000",
            **{f"--{name}": value for name, value in changes.items()},
        }
        request = self.home / "request.json"
        options = [word for pair in words.items() for word in pair]
        return done("directory", "admit", request, "-p", self.publisher, *options)

    def sign(self) -> None:
        done("directory", "sign", "-p", self.publisher)

    def install(self, *files: Path, anchor: bool = True) -> str:
        trust = ("--anchor", self.publisher / "anchor.json") if anchor else ()
        return done("directory", "install", *files, *trust, "-c", self.config)

    def publish_items(self, version: int = 1) -> Path:
        payload = {
            "version": version,
            "environment": "trial",
            "prefix": "42",
            "issued_ms": 1,
            "items": [item(ITEM, bases=(basis("residence"),)).model_dump(mode="json")],
        }
        text, signed = self.folder / "items.txt", self.folder / f"items-{version}.json"
        text.write_text(json.dumps(payload), encoding="utf-8")
        keys = self.publisher / "keys"
        done("catalogue", "sign", text, "--keys", keys, "--out", signed)
        return signed


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Everything up to a first signed directory."""
    desk = Desk(tmp_path)
    desk.create()
    desk.init()
    desk.admit()
    desk.sign()
    return desk


def test_what_was_admitted_is_published_and_checks_against_the_anchor(desk: Desk) -> None:
    anchor = desk.publisher / "anchor.json"
    out = done("directory", "check", desk.directory, "--trust", anchor, "--json")
    assert json.loads(out)["version"] == 1
    shown = done("directory", "show", desk.directory, "--trust", anchor, "--json")
    payload = json.loads(shown)
    assert payload["signatureChecked"] is True
    assert [row["id"] for row in payload["nodes"]] == [WUHAN]
    assert {row["use"] for row in payload["keys"]} >= {"envelope", "receipt", "ping", "catalogue"}
    assert "NOT checked" in done("directory", "show", desk.directory)


def test_the_publisher_is_told_the_fingerprints_to_compare(desk: Desk) -> None:
    told = desk.admit()
    keys = json.loads(done("keys", "list", "-c", desk.config, "--json"))["keys"]
    assert [row["keyId"] for row in keys if row["keyId"] not in told] == []


def test_every_signing_is_a_new_version_and_known_keys_keep_their_dates(desk: Desk) -> None:
    before = read_model(DirectoryPayload, (desk.publisher / "draft.json").read_bytes())
    desk.admit()
    after = read_model(DirectoryPayload, (desk.publisher / "draft.json").read_bytes())
    assert before.version == after.version == 2
    assert before.keys == after.keys


def test_a_request_with_a_byte_changed_is_refused(desk: Desk) -> None:
    request = desk.home / "request.json"
    text = request.read_text(encoding="utf-8")
    request.write_text(text.replace("18443", "18444"), encoding="utf-8")
    ending = run("directory", "admit", request, "-p", desk.publisher)
    assert ending.code == 1
    assert "document-signature" in ending.err
    assert str(request) in ending.err


def test_an_admission_that_does_not_fit_changes_nothing(desk: Desk) -> None:
    draft = (desk.publisher / "draft.json").read_bytes()
    request = desk.home / "request.json"
    strange = "--region", "430100,长沙市,420000"
    ending = run("directory", "admit", request, "-p", desk.publisher, *strange)
    assert ending.code == 1
    assert "430100" in ending.err
    ending = run("directory", "admit", request, "-p", desk.publisher, "--region", "nonsense")
    assert ending.code == 2
    assert (desk.publisher / "draft.json").read_bytes() == draft


def test_installing_lays_anchor_and_documents_into_the_home(desk: Desk) -> None:
    items = desk.publish_items()
    desk.install(desk.directory, items)
    assert (desk.home / "anchor.json").exists()
    installed = desk.home / "directories" / "directory-42.json"
    assert installed.read_bytes() == desk.directory.read_bytes()
    assert (desk.home / "catalogue" / "items-42.json").read_bytes() == items.read_bytes()
    again = desk.install(desk.directory, items, anchor=False)
    assert "已安装" in again


def test_nothing_is_installed_without_an_anchor_or_under_another(desk: Desk) -> None:
    ending = run("directory", "install", desk.directory, "-c", desk.config)
    assert (ending.code, "--anchor" in ending.err) == (2, True)
    desk.create("stranger")
    foreign = desk.folder / "stranger" / "anchor.json"
    words = ("directory", "install", desk.directory, "--anchor", foreign, "-c", desk.config)
    ending = run(*words)
    assert (ending.code, "document-signature" in ending.err) == (1, True)
    assert not (desk.home / "anchor.json").exists()
    desk.install(desk.directory)
    assert run(*words).code == 1, "an anchor is replaced by hand, never by a command"


def test_a_damaged_file_is_replaced_by_installing_a_good_one(desk: Desk) -> None:
    desk.install(desk.directory)
    installed = desk.home / "directories" / "directory-42.json"
    installed.write_bytes(installed.read_bytes()[:500])
    assert "已损坏" in desk.install(desk.directory)
    assert installed.read_bytes() == desk.directory.read_bytes()


def test_an_older_version_is_not_installed(desk: Desk) -> None:
    old = desk.folder / "old.json"
    old.write_bytes(desk.directory.read_bytes())
    desk.sign()
    desk.install(desk.directory)
    ending = run("directory", "install", old, "-c", desk.config)
    assert ending.code == 1
    installed = desk.home / "directories" / "directory-42.json"
    assert installed.read_bytes() == desk.directory.read_bytes()


def test_what_does_not_hold_together_is_refused_before_anything_is_written(desk: Desk) -> None:
    desk.install(desk.directory)
    items = desk.publish_items()
    spoilt = desk.folder / "spoilt.json"
    spoilt.write_bytes(items.read_bytes().replace(b'"sig":"', b'"sig":"A', 1))
    desk.sign()
    ending = run("directory", "install", desk.directory, spoilt, "-c", desk.config)
    assert ending.code == 1
    assert "spoilt.json" in ending.err
    installed = json.loads(
        done("directory", "show", desk.home / "directories/directory-42.json", "--json")
    )
    assert installed["version"] == 1


def test_a_catalogue_is_checked_together_with_its_directory(desk: Desk) -> None:
    items, anchor = desk.publish_items(), desk.publisher / "anchor.json"
    out = done("catalogue", "check", desk.directory, items, "--trust", anchor, "--json")
    assert json.loads(out) == {"items": 1, "setAside": [], "expired": []}
    ending = run("catalogue", "check", items, "--trust", anchor)
    assert (ending.code, "节点目录" in ending.err) == (2, True)
    assert ITEM in done("catalogue", "show", items)


@pytest.mark.parametrize("command", ["check", "show"])
def test_what_is_no_signed_document_is_refused_by_name(desk: Desk, command: str) -> None:
    file = desk.publisher / "draft.json"
    trust = ("--trust", desk.publisher / "anchor.json") if command == "check" else ()
    ending = run("directory", command, file, *trust)
    assert ending.code == 1
    assert str(file) in ending.err
    missing = desk.folder / "missing.json"
    ending = run("directory", command, missing, *trust)
    assert (ending.code, str(missing) in ending.err) == (2, True)


def test_a_second_publisher_or_home_in_the_same_folder_is_refused(desk: Desk) -> None:
    again = ("directory", "create", desk.publisher, "--prefix", "42", "--name", "湖北省")
    assert run(*again).code == 1
    ending = run(
        *("init", desk.home, "--node", WUHAN, "--name", "x", "--operator", OPERATOR),
        *("--url", "https://127.0.0.1:18443"),
    )
    assert ending.code == 2
    assert "node.toml" in ending.err


def test_init_names_the_option_that_is_wrong(desk: Desk) -> None:
    words = ("--node", WUHAN, "--name", "x", "--operator", OPERATOR, "--suite", "ed25519")
    ending = run("init", desk.folder / "other", *words, "--url", "http://127.0.0.1:1")
    assert (ending.code, "url" in ending.err) == (2, True)
