"""Files of large parts: who may read them, and what a disk in trouble leaves."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import resource
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, NoReturn

import pytest

import node.blobs
from node.blobs import FileBlobs
from node.ports import Held
from protocol.errors import LocalUseError, UnavailableError
from protocol.reasons import Reason
from signing.suites import Suite, digest
from tests.loops import in_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

NAME = hashlib.sha256(b"one").hexdigest()
SUITE = Suite.SM2_SM3
KIB = 1024


@asynccontextmanager
async def opened(folder: Path, spare: int = 0) -> AsyncIterator[FileBlobs]:
    blobs = FileBlobs(folder, spare)
    try:
        yield blobs
    finally:
        await blobs.close()


@contextmanager
def full_at(octets: int) -> Iterator[None]:
    """No file of this process may grow beyond this, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@in_loop
async def test_nobody_else_may_look_and_nothing_a_caller_says_becomes_a_path(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "parts"
    async with opened(folder) as blobs:
        await blobs.append(NAME, 0, [b"scan"], SUITE)
        (part,) = files(folder)
        assert part.stat().st_mode & 0o777 == 0o600
        assert {path.stat().st_mode & 0o777 for path in (folder, part.parent)} == {0o700}
        await blobs.seal(NAME)
        for name in ("../../etc/passwd", NAME.upper(), NAME[:-1], f"{NAME}\n", ""):
            with pytest.raises(LocalUseError):
                await blobs.append(name, 0, [b"x"], SUITE)
            with pytest.raises(LocalUseError):
                await blobs.read(name, 0, 1)
        (whole,) = files(folder)
        assert (whole.name, whole.read_bytes()) == (NAME[2:], b"scan")


@in_loop
async def test_a_disk_that_fills_up_keeps_what_was_acknowledged_and_shows_no_half(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as blobs:
        await blobs.append(NAME, 0, [bytes(100 * KIB)], SUITE)
        with full_at(200 * KIB), pytest.raises(UnavailableError) as caught:
            await blobs.append(NAME, 100 * KIB, [bytes(80 * KIB)] * 4, SUITE)
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
        assert await blobs.held(NAME) == Held(100 * KIB, sealed=False)
        await blobs.append(NAME, 100 * KIB, [b"end"], SUITE)
        assert await blobs.digest(NAME, SUITE) == digest(SUITE, bytes(100 * KIB) + b"end")


@in_loop
async def test_a_disk_that_did_not_synchronise_is_believed_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks written may be lost: no later success would bring it back."""

    def fail(_handle: int) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with opened(tmp_path) as blobs:
        await blobs.append(NAME, 0, [b"one "], SUITE)
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", fail)
            with pytest.raises(UnavailableError, match="Input/output"):
                await blobs.append(NAME, 4, [b"two"], SUITE)
        assert await blobs.held(NAME) == Held(0, sealed=False)
        await blobs.append(NAME, 0, [b"anew"], SUITE)
        assert await blobs.digest(NAME, SUITE) == digest(SUITE, b"anew")


@in_loop
async def test_some_of_the_disk_is_left_to_others(tmp_path: Path) -> None:
    async with opened(tmp_path, spare=1 << 60) as blobs:
        assert await blobs.space() == 0
        with pytest.raises(UnavailableError, match="too little"):
            await blobs.append(NAME, 0, [b"x"], SUITE)
        assert files(tmp_path) == []


@in_loop
async def test_a_digest_catches_up_a_bounded_way_with_each_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.blobs, "_CATCH_UP_OCTETS", 10)
    async with opened(tmp_path) as blobs:
        await blobs.append(NAME, 0, [bytes(range(100))], SUITE)
    async with opened(tmp_path) as blobs:
        await blobs.append(NAME, 100, [b"more"], SUITE)
        assert blobs._digests.held[NAME].octets == 14
        await blobs.append(NAME, 104, [b"!"], SUITE)
        assert blobs._digests.held[NAME].octets == 25
        assert await blobs.digest(NAME, SUITE) == digest(SUITE, bytes(range(100)) + b"more!")


@in_loop
async def test_a_caller_that_is_cancelled_lets_go_only_when_the_disk_did(tmp_path: Path) -> None:
    """Or the next one would write to the same file beside it."""
    async with opened(tmp_path) as blobs:
        append = asyncio.ensure_future(blobs.append(NAME, 0, [bytes(4 << 20)], SUITE))
        await asyncio.sleep(0)
        append.cancel()
        with pytest.raises(asyncio.CancelledError):
            await append
        assert await blobs.held(NAME) == Held(4 << 20, sealed=False)


@in_loop
async def test_what_is_no_blob_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as blobs:
        await blobs.append(NAME, 0, [b"x"], SUITE)
        (tmp_path / "README").write_text("")
        (tmp_path / NAME[:2] / "lost+found").write_text("")
        assert await blobs.names() == [NAME]


@in_loop
async def test_a_folder_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError):
        FileBlobs(tmp_path / "file" / "parts")
