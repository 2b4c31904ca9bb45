"""From empty folders to a node's home, with commands only: keys, root, admit, sign, install."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.ceremony import Office, refused
from tests.command_line import asked, done, run
from tests.homes import WUHAN, operator
from tests.unit.routing.services import basis, item

if TYPE_CHECKING:
    from pathlib import Path


ITEM = "000720001000"
OPERATOR = operator(WUHAN)


@dataclass(frozen=True)
class Desk(Office):
    """A province's office and a node's home beside each other."""

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def config(self) -> Path:
        return self.home / "node.toml"

    @property
    def directory(self) -> Path:
        (path,) = self.published.glob("directory-*.json")
        return path

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

    def install(self, *files: Path, anchor: bool = True) -> str:
        trust = ("--anchor", self.anchor) if anchor else ()
        return done("directory", "install", *files, *trust, "-c", self.config)

    def issue_items(self, version: int = 1) -> None:
        self.publish_items(
            {
                "version": version,
                "environment": "trial",
                "prefix": "42",
                "issued_ms": 1,
                "items": [item(ITEM, bases=(basis("residence"),)).model_dump(mode="json")],
            }
        )
        self.refresh()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Everything up to a first directory in force."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    desk.found()
    desk.init()
    desk.admit()
    desk.issue()
    return desk


@pytest.fixture
def desk(made: Desk, tmp_path: Path) -> Desk:
    return Desk(shutil.copytree(made.folder, tmp_path / "desk"))


def test_what_was_admitted_is_published_and_checks_against_the_anchor(desk: Desk) -> None:
    (row,) = asked("directory", "check", desk.published, "--trust", desk.anchor)["provinces"]
    assert (row["prefix"], row["root"], row["version"], row["fresh"]) == ("42", 1, 1, True)
    payload = asked("directory", "show", desk.directory)
    assert [node["id"] for node in payload["nodes"]] == [WUHAN]
    assert {key["use"] for key in payload["keys"]} >= {"envelope", "receipt", "ping", "catalogue"}
    assert "NOT checked" in done("directory", "show", desk.directory)


def test_the_publisher_is_told_the_fingerprints_to_compare(desk: Desk) -> None:
    told = desk.admit()
    keys = asked("keys", "list", "-c", desk.config)["keys"]
    assert [row["keyId"] for row in keys if row["keyId"] not in told] == []


def test_every_directory_is_a_new_version_and_known_keys_keep_their_dates(desk: Desk) -> None:
    before = asked("directory", "show", desk.directory)
    desk.admit()
    desk.issue()
    after = asked("directory", "show", desk.directory)
    assert (before["version"], after["version"]) == (1, 2)
    assert before["keys"] == after["keys"]


def test_a_request_with_a_byte_changed_is_refused(desk: Desk) -> None:
    request = desk.home / "request.json"
    text = request.read_text(encoding="utf-8")
    request.write_text(text.replace("18443", "18444"), encoding="utf-8")
    ending = run("directory", "admit", request, "-p", desk.publisher)
    refused(ending, "document-signature", str(request))


def test_an_admission_that_does_not_fit_changes_nothing(desk: Desk) -> None:
    draft = (desk.publisher / "draft.json").read_bytes()
    request = desk.home / "request.json"
    strange = "--region", "430100,长沙市,420000"
    refused(run("directory", "admit", request, "-p", desk.publisher, *strange), "430100")
    ending = run("directory", "admit", request, "-p", desk.publisher, "--region", "nonsense")
    assert ending.code == 2
    assert (desk.publisher / "draft.json").read_bytes() == draft


def test_installing_lays_anchor_and_documents_into_the_home(desk: Desk) -> None:
    desk.issue_items()
    desk.install(desk.published)
    assert (desk.home / "anchor.json").exists()
    there = {path.name: path.read_bytes() for path in desk.home.glob("*/*-42*.json")}
    assert there == {path.name: path.read_bytes() for path in desk.published.iterdir()}
    assert sorted(there) == [
        "directory-42-1.json",
        "freshness-42.json",
        "items-42-1.json",
        "root-42-1.json",
    ]
    assert "已安装" in desk.install(desk.published, anchor=False)


def test_what_a_newer_set_does_not_name_is_removed_from_the_home(desk: Desk) -> None:
    desk.issue_items()
    desk.install(desk.published)
    desk.issue_items(version=2)
    desk.issue()
    desk.install(desk.published)
    assert sorted(path.name for path in desk.home.glob("*/*-42-*.json")) == [
        "directory-42-2.json",
        "items-42-2.json",
        "root-42-1.json",
    ]


def test_nothing_is_installed_without_an_anchor_or_under_another(desk: Desk) -> None:
    ending = run("directory", "install", desk.published, "-c", desk.config)
    assert (ending.code, "--anchor" in ending.err) == (2, True)
    stranger = Desk(desk.folder / "stranger")
    stranger.found()
    words = ("directory", "install", desk.published, "--anchor", stranger.anchor, "-c", desk.config)
    ending = run(*words)
    assert (ending.code, "pinned root of 42" in ending.err) == (3, True)
    assert not (desk.home / "anchor.json").exists()
    desk.install(desk.published)
    assert run(*words).code == 1, "an anchor is replaced by hand, never by a command"


def test_a_damaged_file_is_replaced_by_installing_a_good_one(desk: Desk) -> None:
    desk.install(desk.published)
    installed = desk.home / "directories" / "directory-42-1.json"
    installed.write_bytes(installed.read_bytes()[:500])
    assert "已损坏" in desk.install(desk.published)
    assert installed.read_bytes() == desk.directory.read_bytes()


@pytest.mark.spec("DI-11")
def test_an_older_set_is_not_installed(desk: Desk) -> None:
    old = shutil.copytree(desk.published, desk.folder / "old")
    desk.issue()
    desk.install(desk.published)
    before = {path: path.read_bytes() for path in desk.home.glob("directories/*")}
    refused(run("directory", "install", old, "-c", desk.config), "a rollback")
    assert {path: path.read_bytes() for path in desk.home.glob("directories/*")} == before


def test_what_does_not_hold_together_is_refused_before_anything_is_written(desk: Desk) -> None:
    desk.install(desk.published)
    desk.issue_items()
    desk.issue()
    items = desk.published / "items-42-1.json"
    items.write_bytes(items.read_bytes().replace(b'"sig":"', b'"sig":"A', 1))
    ending = run("directory", "install", desk.published, "-c", desk.config)
    assert ending.code in (1, 3)
    assert [path.name for path in desk.home.glob("*/directory-*")] == ["directory-42-1.json"]


def test_a_set_that_is_not_whole_is_not_installed(desk: Desk) -> None:
    ending = run(
        *("directory", "install", desk.directory, "--anchor", desk.anchor, "-c", desk.config)
    )
    assert (ending.code, "stale-directory" in ending.err) == (3, True)


def test_a_catalogue_is_checked_together_with_its_directory(desk: Desk) -> None:
    desk.issue_items()
    out = asked("catalogue", "check", desk.published, "--trust", desk.anchor)
    assert out == {"items": 1, "setAside": [], "expired": []}
    items = desk.published / "items-42-1.json"
    ending = run("catalogue", "check", items, "--trust", desk.anchor)
    assert (ending.code, "节点目录" in ending.err) == (2, True)
    assert ITEM in done("catalogue", "show", items)


@pytest.mark.parametrize("command", ["check", "show"])
def test_what_is_no_signed_document_is_refused_by_name(desk: Desk, command: str) -> None:
    file = desk.publisher / "draft.json"
    trust = ("--trust", desk.anchor) if command == "check" else ()
    refused(run("directory", command, file, *trust), str(file))
    missing = desk.folder / "missing.json"
    ending = run("directory", command, missing, *trust)
    assert (ending.code, str(missing) in ending.err) == (2, True)


def test_a_second_publisher_home_or_key_in_the_same_folder_is_refused(desk: Desk) -> None:
    keepers = [("root", 1), ("root", 2), ("directory", 1), ("freshness", 1)]
    publics = [desk.keeper(*keeper) / "public.json" for keeper in keepers]
    keys = [word for public in publics for word in ("--key", public)]
    words = ("--prefix", "42", "--name", "湖北省", *keys, "--directory-threshold", "1")
    refused(run("directory", "root", "init", desk.publisher, *words), "已是发布者目录")
    again = ("--role", "root", "--prefix", "42", "--holder", "甲")
    refused(run("directory", "key", desk.keeper("root"), *again), "已有密钥")
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
