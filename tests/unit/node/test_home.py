from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from node.clock import SystemClock, SystemEntropy
from node.config import ConfigError, load_config
from node.home import Home, create_home
from node.keystore import FileKeyStore
from node.request import read_request
from node.service import read_token
from node.tls import load_identity
from signing.keys import KeyUse
from signing.suites import Suite
from tests.homes import HUB, WUHAN, bureau, new_node, operator, window


def make(folder: Path, node: str = WUHAN, **changes: Any) -> Home:
    now_ms = SystemClock().now_ms()
    return create_home(folder, new_node(node, **changes), SystemEntropy(), now_ms)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_home_holds_what_a_node_needs_to_start(tmp_path: Path) -> None:
    home = make(tmp_path / "wuhan", suite=Suite.SM2_SM3)
    config = load_config(home.config)
    assert (config.node.id, config.node.suite) == (WUHAN, Suite.SM2_SM3)
    assert config.trust.catalogue == (tmp_path / "wuhan" / "../catalogue",)
    assert load_identity(config.tls.directory, WUHAN).node == WUHAN
    keys = FileKeyStore(config.keys.directory)
    for use, owner in [
        (KeyUse.RECEIPT, WUHAN),
        (KeyUse.PING, operator(WUHAN)),
        (KeyUse.ENVELOPE, window(WUHAN)),
        (KeyUse.CATALOGUE, bureau(WUHAN)),
    ]:
        assert keys.public(keys.find(use, owner)).suite is Suite.SM2_SM3
    assert len(read_token(home.token)) == 43


def test_what_is_secret_is_for_the_node_s_own_user(tmp_path: Path) -> None:
    home = make(tmp_path / "wuhan")
    assert mode(home.token) == 0o600
    for folder in (tmp_path / "wuhan", tmp_path / "wuhan/keys", tmp_path / "wuhan/tls"):
        assert mode(folder) == 0o700
    secrets = [*Path(tmp_path / "wuhan/keys").glob("*.pem"), tmp_path / "wuhan/tls/node.key"]
    assert len(secrets) == 10
    assert {mode(path) for path in secrets} == {0o600}


def test_two_homes_share_no_secret(tmp_path: Path) -> None:
    one, other = make(tmp_path / "one"), make(tmp_path / "other")
    assert read_token(one.token) != read_token(other.token)
    ids = [
        {key.id for key in read_request(home.request.read_bytes()).keys} for home in (one, other)
    ]
    assert ids[0].isdisjoint(ids[1])


def test_the_request_says_what_the_directory_has_to_list(tmp_path: Path) -> None:
    home = make(tmp_path / "hub", HUB)
    facts = read_request(home.request.read_bytes())
    config = load_config(home.config)
    assert (facts.node.id, facts.node.role, facts.node.forwards_for) == (HUB, "hub", ("42",))
    assert facts.node.url == config.peers.url
    assert facts.node.certificate == load_identity(config.tls.directory, HUB).certificate
    assert [(key.use, key.owner) for key in facts.keys] == [
        (KeyUse.RECEIPT, HUB),
        (KeyUse.EVIDENCE, HUB),
        (KeyUse.HEAD, HUB),
        (KeyUse.CARRIER, HUB),
        (KeyUse.PING, operator(HUB)),
    ]


@pytest.mark.spec("DI-3")
def test_a_node_that_cannot_be_dialled_asks_to_be_listed_without_an_address(
    tmp_path: Path,
) -> None:
    home = make(tmp_path / "wuhan", url=None)
    assert read_request(home.request.read_bytes()).node.url is None
    assert load_config(home.config).peers.url == ""


@pytest.mark.parametrize("lost", ["node.toml", "request.json", "local.token", "tls/node.crt"])
def test_a_try_that_was_cut_short_is_gone_on_with(tmp_path: Path, lost: str) -> None:
    home = make(tmp_path / "wuhan")
    keys = {key.id for key in read_request(home.request.read_bytes()).keys}
    token = read_token(home.token)
    for name in {"node.toml", lost}:
        (tmp_path / "wuhan" / name).unlink()
    make(tmp_path / "wuhan")
    assert {key.id for key in read_request(home.request.read_bytes()).keys} == keys
    assert (read_token(home.token) == token) == (lost != "local.token")
    load_config(home.config)


def test_a_finished_home_is_never_touched(tmp_path: Path) -> None:
    home = make(tmp_path / "wuhan")
    before = {path: path.read_bytes() for path in (tmp_path / "wuhan").rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="there is a node's home already"):
        make(tmp_path / "wuhan")
    assert {path: path.read_bytes() for path in before} == before
    assert home.config in before


def test_facts_that_no_directory_could_list_make_nothing(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "url": "http://127.0.0.1:1",
        "serves": ("42",),
        "authorities": ("x", operator("430000")),
    }
    with pytest.raises(ConfigError) as error:
        make(tmp_path / "wuhan", **changes)
    assert [problem.what.partition(":")[0] for problem in error.value.problems] == [
        "url",
        "serves.0",
        "authorities",
    ]
    assert not (tmp_path / "wuhan").exists()
