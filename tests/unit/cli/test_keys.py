from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.command_line import done, run
from tests.homes import WUHAN, make_homes, operator, window

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return make_homes(tmp_path, (WUHAN,)).folder / WUHAN / "node.toml"


def listed(config: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(done("keys", "list", "-c", config, "--json"))["keys"]
    return found


def test_a_new_key_is_listed_last_and_shown_by_the_beginning_of_its_id(config: Path) -> None:
    before = listed(config)
    made = json.loads(done("keys", "new", "envelope", window(WUHAN), "-c", config, "--json"))
    after = listed(config)
    assert after == [*before, made]
    # An id may begin with a hyphen.
    shown = json.loads(done("keys", "show", "-c", config, "--json", "--", made["keyId"][:12]))
    assert shown == made
    assert made["suite"] == "ed25519", "the node's own, when none is given"


def test_no_secret_is_ever_printed(config: Path) -> None:
    secrets = [
        line
        for path in (config.parent / "keys").glob("*.pem")
        for line in path.read_text(encoding="ascii").splitlines()
        if not line.startswith("---")
    ]
    told = done("keys", "list", "-c", config) + done("keys", "list", "-c", config, "--json")
    assert secrets
    assert [line for line in secrets if line in told] == []


def test_an_owner_that_is_no_code_and_an_id_that_is_no_key_are_refused(config: Path) -> None:
    wrong = operator(WUHAN)[:-1] + "?"
    assert run("keys", "new", "envelope", wrong, "-c", config).code == 2
    ending = run("keys", "show", "nonsense", "-c", config)
    assert (ending.code, "keys list" in ending.err) == (2, True)


def test_a_key_store_others_can_read_could_not_be_used(config: Path) -> None:
    (config.parent / "keys").chmod(0o755)
    ending = run("keys", "list", "-c", config)
    assert ending.code == 3
    assert "chmod 700" in ending.err


def test_an_unknown_key_of_the_configuration_is_named_with_its_line(config: Path) -> None:
    text = config.read_text(encoding="utf-8").replace("[keys]", "[keys]\ndirektory = 'x'")
    config.write_text(text, encoding="utf-8")
    line = text.splitlines().index("direktory = 'x'") + 1
    ending = run("keys", "list", "-c", config)
    assert ending.code == 2
    assert f"{config}:{line}: unknown" in ending.err
    assert "did you mean" in ending.err
