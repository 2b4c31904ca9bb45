from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from examples.demo.folder import MARKER, claimed
from node.cli.ending import CommandError, Exit

if TYPE_CHECKING:
    from pathlib import Path


def test_a_leftover_is_cleared_and_the_marker_stays(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with claimed(folder):
        (folder / "nodes").mkdir()
        (folder / "nodes" / "node.db").touch()
        (folder / "loose").touch()
        (folder / "link").symlink_to(tmp_path)
    (tmp_path / "mine").touch()
    with claimed(folder):
        assert [path.name for path in folder.iterdir()] == [MARKER]
    assert (tmp_path / "mine").exists(), "a link is removed, not followed"


def test_a_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(CommandError, match="not a demo's folder") as caught, claimed(tmp_path):
        pass
    assert caught.value.code is Exit.USAGE
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    file = tmp_path / "thesis.txt"
    with pytest.raises(CommandError), claimed(file):
        pass


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    with claimed(tmp_path):
        assert (tmp_path / MARKER).exists()


def test_a_running_demo_keeps_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.demo.folder._PAUSE_S", 0)
    with claimed(tmp_path):
        (tmp_path / "work").touch()
        with pytest.raises(CommandError, match="another demo runs") as caught, claimed(tmp_path):
            pass
        assert caught.value.code is Exit.REFUSED
        assert (tmp_path / "work").exists()
