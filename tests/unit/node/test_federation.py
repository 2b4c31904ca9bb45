from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import structlog

from node.clock import SystemClock
from node.config import ConfigError
from node.federation import Trust
from node.keystore import FileKeyStore
from node.tls import load_identity
from protocol.errors import UnavailableError
from routing.directory_roles import TrustAnchor
from tests.homes import ITEM, WUHAN, XIANGYANG, Homes, bureau, make_homes, operator
from tests.unit.routing.provinces import (
    FOREVER_MS,
    anchor,
    files_of,
    make_key,
    node,
    province,
    root_payload,
    sign_root,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    return make_homes(tmp_path_factory.mktemp("homes"))


@pytest.fixture
def homes(made: Homes, tmp_path: Path) -> Homes:
    return made.copy(tmp_path / "homes")


def trust_of(homes: Homes, node: str = WUHAN) -> Trust:
    config = homes.config(node)
    identity = load_identity(config.tls.directory, node)
    return Trust(config, identity, FileKeyStore(config.keys.directory), SystemClock())


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_what_is_published_is_in_force(homes: Homes) -> None:
    federation = trust_of(homes).load()
    assert set(federation.directory.nodes) == {WUHAN, XIANGYANG}
    now_ms = SystemClock().now_ms()
    assert federation.catalogue.served(ITEM, bureau(XIANGYANG), now_ms) is not None
    assert federation.catalogue.set_aside == ()


def _not_listed(homes: Homes) -> None:
    homes.publish(nodes=(XIANGYANG,))


def _another_environment(homes: Homes) -> None:
    edit(homes.folder / WUHAN / "node.toml", '"trial"', '"production"')


def _another_certificate(homes: Homes) -> None:
    shutil.rmtree(homes.folder / WUHAN / "tls")
    (homes.folder / WUHAN / "node.toml").unlink()
    homes.finish(WUHAN)


def _another_key(homes: Homes) -> None:
    shutil.rmtree(homes.folder / WUHAN / "keys")
    (homes.folder / WUHAN / "node.toml").unlink()
    homes.finish(WUHAN)


def _another_anchor(homes: Homes) -> None:
    (homes.folder / "anchor.json").write_bytes(anchor("43").model_dump_json().encode())


def _no_anchor(homes: Homes) -> None:
    (homes.folder / "anchor.json").unlink()


def _changed_directory(homes: Homes) -> None:
    path = homes.folder / "directories" / "directory.json"
    path.write_bytes(path.read_bytes()[:-1])


def _no_json(homes: Homes) -> None:
    (homes.folder / "catalogue" / "items.json").write_bytes(b"\xff")


def _changed_memory(homes: Homes) -> None:
    (homes.folder / WUHAN / "trust-memory.json").write_bytes(b"[]")


@pytest.mark.parametrize(
    ("change", "file", "words"),
    [
        (_not_listed, "directories", "node 420100 is not listed"),
        (_another_environment, "directories", "for trial, but this node is in production"),
        (_another_certificate, "directories", "another TLS certificate"),
        (_another_key, "directories", "is not registered"),
        (_another_anchor, "anchor.json", "pins no root for '42'"),
        (_no_anchor, "anchor.json", "cannot be read: No such file"),
        (_changed_directory, "directory.json", "document-"),
        (_no_json, "items.json", "document-invalid"),
        (_changed_memory, "trust-memory.json", "damaged"),
    ],
)
def test_what_does_not_hold_stops_the_start_and_is_named(
    homes: Homes, change: Callable[[Homes], None], file: str, words: str
) -> None:
    change(homes)
    with pytest.raises(ConfigError) as error:
        trust_of(homes).load()
    (problem,) = error.value.problems
    assert problem.file.name == file
    assert words in problem.what
    assert problem.remedy


def test_a_sheet_that_does_not_hold_stops_nobody_else(homes: Homes) -> None:
    sheet = homes.folder / "catalogue" / f"sheet-{XIANGYANG}.json"
    tree = json.loads(sheet.read_bytes())
    tree["signatures"][0]["sig"] = "A" * 86 + "=="
    sheet.write_text(json.dumps(tree, separators=(",", ":")), encoding="utf-8")
    with structlog.testing.capture_logs() as logged:
        federation = trust_of(homes).load()
    now_ms = SystemClock().now_ms()
    assert federation.catalogue.served(ITEM, bureau(WUHAN), now_ms) is not None
    assert federation.catalogue.served(ITEM, bureau(XIANGYANG), now_ms) is None
    (line,) = [row for row in logged if row["event"] == "sheet left out"]
    assert line["file"] == sheet.name


@pytest.mark.spec("DI-21")
@pytest.mark.parametrize("junk", ["no document", "a made-up root"])
def test_a_stray_file_does_not_keep_newer_documents_out(homes: Homes, junk: str) -> None:
    trust, folder = trust_of(homes), homes.folder / "directories"
    trust.load()
    octets = b"half a file"
    if junk == "a made-up root":
        keys = [make_key(f"stray {number}") for number in range(2)]
        octets = sign_root(root_payload("42", root=keys, version=2), *keys)
    (folder / "stray.json").write_bytes(octets)
    homes.publish(version=2)
    with structlog.testing.capture_logs() as logged:
        assert trust.load().directory.provinces["42"].payload.version == 2
    left_out = [row["file"] for row in logged if row["event"] == "file left out"]
    assert left_out == (["stray.json"] if junk == "no document" else [])


def test_what_is_not_there_is_not_decided(homes: Homes) -> None:
    (homes.folder / "empty").mkdir()
    edit(homes.folder / WUHAN / "node.toml", "../directories", "../empty")
    with pytest.raises(UnavailableError, match="pinned root of 42"):
        trust_of(homes).load()


@pytest.mark.spec("DI-11")
@pytest.mark.parametrize("restarted", [False, True])
def test_nothing_goes_back_to_an_older_version(homes: Homes, *, restarted: bool) -> None:
    trust, folder = trust_of(homes), homes.folder / "directories"
    trust.load()
    shutil.copytree(folder, homes.folder / "old")
    homes.publish(version=2)
    assert trust.load().directory.provinces["42"].payload.version == 2
    shutil.copytree(folder, homes.folder / "new")
    trust = trust_of(homes) if restarted else trust
    shutil.copytree(homes.folder / "old", folder, dirs_exist_ok=True)
    with pytest.raises(
        ConfigError, match=r"directory: version 1 .* after version 2 .*: a rollback"
    ):
        trust.load()
    homes.publish(version=2)
    with pytest.raises(ConfigError, match="exists with other content"):
        trust.load()
    shutil.copytree(homes.folder / "new", folder, dirs_exist_ok=True)
    assert trust.load().directory.provinces["42"].payload.version == 2


@pytest.mark.spec("DI-14")
@pytest.mark.parametrize("spoilt", ["directory", "freshness", "rollback"])
def test_another_province_s_broken_set_stops_nobody_else(homes: Homes, spoilt: str) -> None:
    """外省文件损坏 another province's set does not hold → it is left out; ours is in force."""
    folder = homes.folder / "directories"
    pins = TrustAnchor(anchors=(*anchor("42").anchors, *anchor("43").anchors))
    (homes.folder / "anchor.json").write_bytes(pins.model_dump_json().encode())
    now_ms = SystemClock().now_ms()
    files = files_of(province("43", [node("430100")], issued_ms=now_ms, expires_ms=FOREVER_MS))
    for number, octets in enumerate(files):
        (folder / f"hunan-{number}.json").write_bytes(octets)
    trust = trust_of(homes)
    assert set(trust.load().directory.provinces) == {"42", "43"}
    if spoilt == "rollback":
        old = province("43", [], issued_ms=now_ms - 1, expires_ms=FOREVER_MS)
        for number, octets in enumerate(files_of(old)):
            (folder / f"hunan-{number}.json").write_bytes(octets)
    else:
        (folder / f"hunan-{1 if spoilt == 'directory' else 2}.json").unlink()
    with structlog.testing.capture_logs() as logged:
        assert set(trust.load().directory.provinces) == {"42", "43"}, "it stays as it was"
        assert set(trust_of(homes).load().directory.provinces) == {"42"}, "a new start has no other"
    assert {row["prefix"] for row in logged if row["event"] == "province left out"} == {"43"}


def test_who_loses_the_memory_starts_anew_from_the_anchor(homes: Homes) -> None:
    trust = trust_of(homes)
    trust.load()
    (homes.folder / WUHAN / "trust-memory.json").unlink()
    assert trust_of(homes).load().directory.provinces["42"].payload.version == 1
    assert (homes.folder / WUHAN / "trust-memory.json").exists()


@pytest.mark.spec("DI-11")
def test_an_older_sheet_is_left_out_across_a_restart(homes: Homes) -> None:
    path = homes.folder / "catalogue" / f"sheet-{XIANGYANG}.json"
    old = path.read_bytes()
    homes.publish_catalogue(version=2)
    trust_of(homes).load()
    path.write_bytes(old)
    with structlog.testing.capture_logs() as logged:
        federation = trust_of(homes).load()
    assert federation.catalogue.served(ITEM, bureau(XIANGYANG), SystemClock().now_ms()) is None
    assert "a rollback" in next(row for row in logged if row["event"] == "sheet left out")["why"]


@pytest.mark.spec("SD-9")
def test_an_older_sheet_leaves_the_newer_in_force(homes: Homes) -> None:
    trust = trust_of(homes)
    old = (homes.folder / "catalogue" / f"sheet-{XIANGYANG}.json").read_bytes()
    homes.publish_catalogue(version=2, withdrawn=(XIANGYANG,))
    trust.load()
    (homes.folder / "catalogue" / f"sheet-{XIANGYANG}.json").write_bytes(old)
    federation = trust.load()
    assert federation.catalogue.served(ITEM, bureau(XIANGYANG), SystemClock().now_ms()) is None


def test_a_refused_reload_changes_nothing(homes: Homes) -> None:
    trust = trust_of(homes)
    trust.load()
    homes.publish(version=3, nodes=(XIANGYANG,))
    with pytest.raises(ConfigError, match="is not listed"):
        trust.load()
    homes.publish(version=2)
    assert trust.load().directory.provinces["42"].payload.version == 2


def test_a_key_that_is_not_registered_is_named_at_the_start(homes: Homes) -> None:
    homes.publish(unlisted_keys=(bureau(WUHAN), operator(WUHAN)))
    with structlog.testing.capture_logs() as logged:
        trust_of(homes).load()
    found = [(row["use"], row["owner"]) for row in logged if row["event"] == "no registered key"]
    assert found == [("envelope", bureau(WUHAN)), ("ping", operator(WUHAN))]
