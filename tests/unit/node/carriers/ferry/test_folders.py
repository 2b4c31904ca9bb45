from __future__ import annotations

import errno
import os
import resource
from typing import TYPE_CHECKING

import pytest

from node.carriers.ferry import folders as module
from node.carriers.ferry.folders import ASIDE, Folders

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path / "out", tmp_path / "in")
    made.out.mkdir()
    made.into.mkdir()
    return made


@pytest.mark.spec("FF-5")
def test_a_file_appears_whole(folders: Folders) -> None:
    folders.write("420100-420600-1-0", b"octets")
    (path,) = folders.out.iterdir()
    assert (path.name, path.read_bytes()) == ("420100-420600-1-0.tbf", b"octets")
    assert folders.waiting() == ["420100-420600-1-0"]
    folders.withdraw("420100-420600-1-0")
    folders.withdraw("420100-420600-1-0")
    assert folders.waiting() == []


@pytest.mark.spec("FF-5")
def test_a_full_disk_leaves_nothing_for_the_gate(folders: Folders) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as error:
            folders.write("a", b"octets")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    assert list(folders.out.iterdir()) == []
    folders.write("a", b"octets")
    assert folders.waiting() == ["a"]


@pytest.mark.spec("FF-5")
def test_a_folder_that_does_not_take_files_says_so(tmp_path: Path) -> None:
    for out in (tmp_path / "missing", tmp_path.joinpath("/proc/self")):
        with pytest.raises(OSError, match=r"No such file|denied|not permitted"):
            Folders(out, tmp_path).write("a", b"octets")


@pytest.mark.spec("FF-5")
def test_what_a_killed_process_left_is_no_file_and_is_tidied(folders: Folders) -> None:
    (folders.out / ".a.part").write_bytes(b"oct")
    assert folders.waiting() == []
    folders.tidy()
    assert list(folders.out.iterdir()) == []


@pytest.mark.spec("FF-10")
@pytest.mark.parametrize("name", ["A.TBF", "data(1).tmp", "摆渡 文件", "a\nb", "..."])
def test_names_mean_nothing(folders: Folders, name: str) -> None:
    (folders.into / name).write_bytes(b"octets")
    (found,) = folders.look()
    assert (found.name, found.size) == (name, 6)
    assert folders.read(name, 2, 3) == b"tet"
    folders.set_aside(name, "为什么 why")
    assert folders.look() == []
    (reason,) = (folders.into / ASIDE).glob("*.reason.txt")
    assert reason.read_text(encoding="utf-8") == "为什么 why\n"


@pytest.mark.spec("FF-10")
def test_a_name_that_cannot_be_read_is_a_name(folders: Folders) -> None:
    (folders.into / os.fsdecode(b"\xff\xfe")).write_bytes(b"octets")
    (found,) = folders.look()
    folders.set_aside(found.name, "why")
    assert folders.look() == []


def test_a_long_name_can_be_set_aside_and_the_same_again_beside_it(folders: Folders) -> None:
    name = "件" * 80
    for _ in range(3):
        (folders.into / name).write_bytes(b"octets")
        folders.set_aside(name, "why")
    assert folders.count_aside() == 3
    assert len(list((folders.into / ASIDE).iterdir())) == 6


@pytest.mark.spec("FF-10")
def test_only_plain_files_are_looked_at(folders: Folders, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"not the gate's")
    (folders.into / "folder").mkdir()
    (folders.into / "link").symlink_to(secret)
    os.mkfifo(folders.into / "pipe")
    assert folders.look() == []
    # It may have become one between the look and the reading.
    with pytest.raises(OSError, match="Too many levels"):
        folders.read("link", 0, 10)
    assert folders.read("pipe", 0, 10) == b""


def test_a_flood_of_files_is_looked_at_in_rounds(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LOOKED_AT", 5)
    for number in range(12):
        (folders.into / str(number)).write_bytes(b"")
    seen = set()
    for _ in range(3):
        for found in folders.look():
            seen.add(found.name)
            folders.remove(found.name)
    assert len(seen) == 12
    folders.remove("0")


@pytest.mark.spec("FF-5")
def test_no_link_in_the_way_makes_the_node_write_elsewhere(
    folders: Folders, tmp_path: Path
) -> None:
    """Whoever fetches files can write into `out`: a link there must not lead to our own files."""
    own = tmp_path / "node.toml"
    own.write_bytes(b"ours")
    (folders.out / ".a.part").symlink_to(own)
    (folders.out / "a.tbf").symlink_to(own)
    folders.write("a", b"octets")
    assert own.read_bytes() == b"ours"
    (path,) = folders.out.iterdir()
    assert (path.is_symlink(), path.read_bytes()) == (False, b"octets")


@pytest.mark.spec("FF-7")
def test_no_link_in_the_way_makes_a_reason_overwrite_a_file(
    folders: Folders, tmp_path: Path
) -> None:
    own = tmp_path / "node.toml"
    own.write_bytes(b"ours")
    aside = folders.into / ASIDE
    aside.mkdir()
    for name in ("junk", "junk.reason.txt"):
        (aside / name).symlink_to(own)
    (folders.into / "junk").write_bytes(b"octets")
    folders.set_aside("junk", "why")
    assert own.read_bytes() == b"ours"
    assert folders.look() == []
    assert folders.count_aside() == 2


@pytest.mark.spec("FF-7")
def test_nothing_is_set_aside_into_another_folder(folders: Folders, tmp_path: Path) -> None:
    other = tmp_path / "directories"
    other.mkdir()
    (folders.into / ASIDE).symlink_to(other)
    (folders.into / "junk").write_bytes(b"octets")
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        folders.set_aside("junk", "why")
    assert list(other.iterdir()) == []
    assert [found.name for found in folders.look()] == ["junk"]


@pytest.mark.spec("FF-10")
def test_what_is_no_file_does_not_hide_the_files(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LOOKED_AT", 5)
    for number in range(20):
        (folders.into / f"link {number}").symlink_to("nowhere")
        (folders.into / f"folder {number}").mkdir()
    (folders.into / "file").write_bytes(b"octets")
    assert [found.name for found in folders.look()] == ["file"]


def test_many_files_of_one_name_are_set_aside_in_no_more_looks_than_files(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    is_there = module._is_there

    def counted(folder: int, name: str) -> bool:
        nonlocal looks
        looks += 1
        return is_there(folder, name)

    monkeypatch.setattr(module, "_is_there", counted)
    for number in range(50):
        name = f"{'a' * 80}{number}"
        (folders.into / name).write_bytes(b"")
        folders.set_aside(name, "why")
    assert folders.count_aside() == 50
    assert looks < 4 * 50
