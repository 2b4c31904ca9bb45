"""The main job as a user runs it: a subprocess, its JSON line, its exit code, what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.routing.provinces import anchor

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "run_node.py"), *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )


def nodes_of(folder: Path) -> list[int]:
    """Process ids of the nodes that run out of a work folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"serve" in words and str(folder).encode() in words:
                found.append(int(entry.name))
    return found


def eventually(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def result_of(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert ended.returncode == 0, ended.stderr
    (line,) = ended.stdout.splitlines()
    document: dict[str, Any] = json.loads(line)
    assert list(document) == [
        *("cases", "settled", "lost", "duplicated", "refused", "carrier", "seconds")
    ]
    return document


@pytest.fixture(scope="module")
def small(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("small")
    return folder, run("demo", "--once", "--json", "--small", "--dir", folder)


def test_three_nodes_lose_and_double_nothing(
    small: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, ended = small
    result = result_of(ended)
    assert (result["lost"], result["duplicated"], result["refused"]) == (0, 0, 1)
    assert result["cases"] == result["settled"] + result["refused"] >= 8
    assert "SIGKILL" in ended.stderr
    assert "有效 valid" in ended.stderr, "one case's evidence was exported and verified"
    assert nodes_of(folder) == []


@pytest.mark.parametrize("carrier", ["pull", "ferry"])
def test_a_node_nobody_can_dial_loses_and_doubles_nothing(tmp_path: Path, carrier: str) -> None:
    ended = run("demo", "--json", "--small", "--carrier", carrier, "--dir", tmp_path)
    result = result_of(ended)
    assert (result["carrier"], result["lost"], result["duplicated"]) == (carrier, 0, 0)
    assert result["cases"] == result["settled"] + result["refused"] >= 8
    assert ("files went through the gates" in ended.stderr) == (carrier == "ferry")
    for log in (tmp_path / "nodes").glob("*/node.log"):
        # Nobody dials it: what it gets, it has fetched, or found in a folder.
        assert "420600 at https" not in log.read_text(encoding="utf-8")


def test_eight_nodes_lose_and_double_nothing(tmp_path: Path) -> None:
    result = result_of(run("demo", "--once", "--json", "--dir", tmp_path))
    assert (result["lost"], result["duplicated"], result["refused"]) == (0, 0, 1)
    assert result["cases"] == result["settled"] + result["refused"] >= 18
    assert result["seconds"] < DEADLINE_S
    assert nodes_of(tmp_path) == []


def test_the_evidence_it_leaves_verifies_for_anyone_and_not_once_changed(
    small: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    folder, _ = small
    anchor = folder / "anchor.json"
    (evidence,) = (folder / "evidence").iterdir()
    report = json.loads(run("verify", evidence, "--trust", anchor, "--json").stdout)
    assert report["outcome"] == "valid"
    assert [row["kind"] for row in report["proven"]][:2] == ["case.submit", "case.received"]

    octets = bytearray(evidence.read_bytes())
    octets[len(octets) // 2] ^= 1
    changed = tmp_path / "changed.tbev"
    changed.write_bytes(octets)
    ended = run("verify", changed, "--trust", anchor)
    assert ended.returncode == 1
    assert "step" in ended.stderr


def test_another_anchor_does_not_vouch_for_it(
    small: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    folder, _ = small
    other = tmp_path / "anchor.json"
    other.write_bytes(anchor("42").model_dump_json().encode())
    (evidence,) = (folder / "evidence").iterdir()
    ended = run("verify", evidence, "--trust", other)
    assert ended.returncode == 1
    assert "directories" in ended.stderr


def test_it_stays_up_until_told_and_takes_its_nodes_along(tmp_path: Path) -> None:
    output = tmp_path / "output"
    folder = tmp_path / "work"
    with (
        output.open("w") as file,
        subprocess.Popen(
            command("demo", "--small", "--dir", folder), stdout=file, stderr=file
        ) as demo,
    ):
        eventually(lambda: "停止 stop: Ctrl-C" in output.read_text(), "it did not come to its end")
        config = folder / "nodes" / "420100" / "node.toml"
        assert run("ping", "420600", "-c", config).returncode == 0
        assert len(nodes_of(folder)) == 3
        demo.send_signal(signal.SIGINT)
        assert demo.wait(DEADLINE_S) == 0, output.read_text()
    assert nodes_of(folder) == []


def test_nodes_do_not_outlive_a_demo_that_was_killed_and_the_next_one_starts(
    tmp_path: Path,
) -> None:
    output = tmp_path / "output"
    folder = tmp_path / "work"
    with (
        output.open("w") as file,
        subprocess.Popen(
            command("demo", "--small", "--dir", folder), stdout=file, stderr=file
        ) as demo,
    ):
        eventually(lambda: "all nodes serve" in output.read_text(), "it did not start")
        assert len(nodes_of(folder)) == 3
        os.kill(demo.pid, signal.SIGKILL)
        assert demo.wait(DEADLINE_S) == -signal.SIGKILL
    eventually(lambda: nodes_of(folder) == [], "its nodes live on")
    with (
        output.open("w") as file,
        subprocess.Popen(
            command("demo", "--small", "--dir", folder), stdout=file, stderr=file
        ) as demo,
    ):
        eventually(lambda: "all nodes serve" in output.read_text(), "the next one did not start")
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(DEADLINE_S) == 128 + signal.SIGTERM, output.read_text()
    assert nodes_of(folder) == []


def test_a_folder_with_somebody_elses_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    ended = run("demo", "--once", "--dir", tmp_path)
    assert ended.returncode == 2
    assert "--dir" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
