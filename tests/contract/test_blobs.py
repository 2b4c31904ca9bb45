"""Every kind of blobs, against one suite: what is acknowledged is there, and nothing else is."""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from node.blobs import FileBlobs
from node.ports import Blobs, Held
from protocol.errors import LocalUseError, UnavailableError
from signing.suites import Suite, digest
from tests.sim.memory_blobs import Disk, MemoryBlobs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

NAME = hashlib.sha256(b"one").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
NOTHING = Held(0, sealed=False)
SUITE = Suite.SM2_SM3


class Place:
    """Where a kind of blobs keeps its octets; opened again, they are the same."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._disk = Disk()
        self._kind = kind

    def use(self, scenario: Callable[[Blobs], Awaitable[None]]) -> None:
        """Open them, run this, close them."""

        async def main() -> None:
            async with self._opened() as blobs:
                await scenario(blobs)

        asyncio.run(main())

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Blobs]:
        if self._kind == "memory":
            yield MemoryBlobs(self._disk, random.Random(1))
            return
        blobs = FileBlobs(self._folder)
        try:
            yield blobs
        finally:
            await blobs.close()


@pytest.fixture(params=["files", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path / "parts", request.param)


async def kept(blobs: Blobs, name: str, octets: bytes) -> None:
    """A sealed blob of these octets."""
    await blobs.append(name, 0, [octets], SUITE)
    await blobs.seal(name)


def test_what_was_appended_is_held_and_what_was_sealed_can_be_read(place: Place) -> None:
    async def scenario(blobs: Blobs) -> None:
        assert await blobs.held(NAME) == NOTHING
        assert await blobs.append(NAME, 0, [b"one ", b"two "], SUITE) == 8
        assert await blobs.append(NAME, 8, [b"three"], SUITE) == 13
        assert await blobs.held(NAME) == Held(13, sealed=False)
        assert await blobs.digest(NAME, SUITE) == digest(SUITE, b"one two three")
        assert await blobs.digest(NAME, Suite.P256) == digest(Suite.P256, b"one two three")
        await blobs.seal(NAME)
        await blobs.seal(NAME)
        assert await blobs.held(NAME) == Held(13, sealed=True)
        assert await blobs.read(NAME, 0, 100) == b"one two three"
        assert await blobs.read(NAME, 4, 3) == b"two"
        assert await blobs.read(NAME, 13, 1) == b""
        assert await blobs.digest(NAME, SUITE) == digest(SUITE, b"one two three")

    place.use(scenario)


def test_after_a_restart_everything_goes_on_where_it_was(place: Place) -> None:
    async def before(blobs: Blobs) -> None:
        await blobs.append(NAME, 0, [b"one "], SUITE)
        await kept(blobs, OTHER, b"other")

    async def after(blobs: Blobs) -> None:
        assert await blobs.names() == sorted([NAME, OTHER])
        assert await blobs.held(NAME) == Held(4, sealed=False)
        assert await blobs.append(NAME, 4, [b"two"], SUITE) == 7
        assert await blobs.digest(NAME, SUITE) == digest(SUITE, b"one two")
        assert await blobs.read(OTHER, 0, 9) == b"other"

    place.use(before)
    place.use(after)


def test_what_was_never_acknowledged_is_dropped(place: Place) -> None:
    async def scenario(blobs: Blobs) -> None:
        await blobs.append(NAME, 0, [b"one two three"], SUITE)
        assert await blobs.append(NAME, 4, [b"2"], SUITE) == 5
        assert await blobs.digest(NAME, SUITE) == digest(SUITE, b"one 2")
        assert await blobs.append(NAME, 0, [b"anew"], SUITE) == 4
        assert await blobs.digest(NAME, SUITE) == digest(SUITE, b"anew")

    place.use(scenario)


def test_what_leaves_a_gap_or_comes_after_the_seal_is_a_fault_of_ours(place: Place) -> None:
    async def scenario(blobs: Blobs) -> None:
        with pytest.raises(LocalUseError):
            await blobs.append(NAME, 1, [b"x"], SUITE)
        await kept(blobs, NAME, b"whole")
        for offset in (0, 5):
            with pytest.raises(LocalUseError):
                await blobs.append(NAME, offset, [b"x"], SUITE)
        assert await blobs.read(NAME, 0, 9) == b"whole"

    place.use(scenario)


def test_what_is_not_sealed_cannot_be_read(place: Place) -> None:
    async def scenario(blobs: Blobs) -> None:
        await blobs.append(NAME, 0, [b"half"], SUITE)
        for name in (NAME, OTHER):
            with pytest.raises(UnavailableError):
                await blobs.read(name, 0, 4)

    place.use(scenario)


def test_what_was_deleted_is_gone_and_may_begin_anew(place: Place) -> None:
    async def scenario(blobs: Blobs) -> None:
        await blobs.append(NAME, 0, [b"half"], SUITE)
        await kept(blobs, OTHER, b"whole")
        for name in (NAME, OTHER, NAME):
            await blobs.delete(name)
            assert await blobs.held(name) == NOTHING
        assert list(await blobs.names()) == []
        await kept(blobs, NAME, b"anew")
        assert await blobs.digest(NAME, SUITE) == digest(SUITE, b"anew")

    place.use(scenario)


def test_many_grow_at_once_and_none_takes_anothers_octets(place: Place) -> None:
    names = [hashlib.sha256(bytes([number])).hexdigest() for number in range(16)]

    async def grow(blobs: Blobs, name: str) -> None:
        for turn in range(8):
            await blobs.append(name, turn * 64, [name.encode()], SUITE)
        assert await blobs.digest(name, SUITE) == digest(SUITE, name.encode() * 8)

    async def scenario(blobs: Blobs) -> None:
        await asyncio.gather(*(grow(blobs, name) for name in names))
        assert await blobs.names() == sorted(names)

    place.use(scenario)


def test_there_is_a_bound_to_what_may_come(place: Place) -> None:
    async def scenario(blobs: Blobs) -> None:
        assert 0 < await blobs.space() < 1 << 60

    place.use(scenario)
