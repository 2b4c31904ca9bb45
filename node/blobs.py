"""Large parts on disk: one file per blob, under the node's home.

    <folder>/ab/cdef….part    what has come so far; grows at its end only
    <folder>/ab/cdef…         sealed: whole, its digest checked by the caller

Files are for the node's own user only. Their names are digests the caller computed: nothing a peer
sends ever becomes a path. What `append` reports is on disk, and so is the folder that names it; a
rename seals. The digest is computed from the file while the disk is busy with the same octets;
after a restart it catches up a bounded way with each append.

Trouble with the disk is UnavailableError, and leaves what was acknowledged before. But a disk that
failed to synchronise says nothing any more about what it holds: that blob begins anew.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from node.ports import Held
from protocol.errors import LocalUseError, UnavailableError
from protocol.limits import MIB
from protocol.reasons import Reason
from signing.running import RunningDigest, running_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from signing.suites import Suite

T = TypeVar("T")

_UNSEALED: Final = ".part"
_NAME: Final = re.compile(r"[0-9a-f]{64}")
_SHARD: Final = 2  # characters of a name that choose its folder: 256 folders
_THREADS: Final = 4
_READ_OCTETS: Final = MIB
_CATCH_UP_OCTETS: Final = 64 * MIB  # a fifth of a second of SM3
_RUNNING: Final = 1024  # digests kept on the way; one that was dropped is read again


@dataclass(slots=True)
class _Digest:
    """A digest on the way, and how far it has come."""

    suite: Suite
    running: RunningDigest
    octets: int = 0


@dataclass(slots=True)
class _Digests:
    """The digests on the way, by name; the longest unused goes when there are too many."""

    held: dict[str, _Digest] = field(default_factory=dict)

    def take(self, name: str, suite: Suite, most: int) -> _Digest:
        """The one of this name, out of here; a new one if it is of another suite or too far."""
        found = self.held.pop(name, None)
        if found is None or found.suite is not suite or found.octets > most:
            return _Digest(suite, running_digest(suite))
        return found

    def keep(self, name: str, digest: _Digest) -> None:
        """Put it back."""
        self.held[name] = digest
        while len(self.held) > _RUNNING:
            self.drop(next(iter(self.held)))

    def drop(self, name: str) -> None:
        """Forget it."""
        self.held.pop(name, None)


class FileBlobs:
    """Blobs as files; implements `node.ports.Blobs`.

    Args:
        folder: Where they are; made if it is missing.
        spare: Octets of the disk that are left to others.

    Raises:
        UnavailableError: STORE_UNAVAILABLE: the folder cannot be made or used.
    """

    def __init__(self, folder: Path, spare: int = 0) -> None:
        self._folder = folder
        self._spare = spare
        self._digests = _Digests()
        with _as_unavailable():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        self._work = ThreadPoolExecutor(_THREADS, "blobs")
        self._sync = ThreadPoolExecutor(_THREADS, "blobs-sync")

    async def close(self) -> None:
        """Finish what is in work."""
        await asyncio.to_thread(self._work.shutdown)
        await asyncio.to_thread(self._sync.shutdown)

    async def held(self, name: str) -> Held:
        """See `node.ports.Blobs.held`."""
        return await self._in_thread(self._held, name)

    async def append(self, name: str, offset: int, pieces: Sequence[bytes], suite: Suite) -> int:
        """See `node.ports.Blobs.append`."""
        return await self._in_thread(self._append, name, offset, pieces, suite)

    async def digest(self, name: str, suite: Suite) -> bytes:
        """See `node.ports.Blobs.digest`."""
        return await self._in_thread(self._digest, name, suite)

    async def seal(self, name: str) -> None:
        """See `node.ports.Blobs.seal`."""
        await self._in_thread(self._seal, name)

    async def read(self, name: str, offset: int, length: int) -> bytes:
        """See `node.ports.Blobs.read`."""
        return await self._in_thread(self._read, name, offset, length)

    async def delete(self, name: str) -> None:
        """See `node.ports.Blobs.delete`."""
        await self._in_thread(self._delete, name)

    async def names(self) -> Sequence[str]:
        """See `node.ports.Blobs.names`."""
        return await self._in_thread(self._names)

    async def space(self) -> int:
        """See `node.ports.Blobs.space`."""
        return await self._in_thread(self._space)

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        doing = loop.run_in_executor(self._work, partial(_guarded, work, *arguments))
        # A caller that is cancelled must not let go of the name while a thread works on it.
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            with suppress(Exception):
                await doing
            raise

    # --- in a thread

    def _path(self, name: str, *, sealed: bool) -> Path:
        if _NAME.fullmatch(name) is None:
            raise LocalUseError("a blob's name is 64 hexadecimal digits")
        rest = name[_SHARD:] + ("" if sealed else _UNSEALED)
        return self._folder / name[:_SHARD] / rest

    def _held(self, name: str) -> Held:
        for sealed in (True, False):
            with suppress(FileNotFoundError):
                return Held(self._path(name, sealed=sealed).stat().st_size, sealed)
        return Held(0, sealed=False)

    def _append(self, name: str, offset: int, pieces: Sequence[bytes], suite: Suite) -> int:
        held, path = self._held(name), self._path(name, sealed=False)
        if held.sealed or held.octets < offset:
            raise LocalUseError(f"append at {offset} to a blob with {held}")
        coming = sum(map(len, pieces))
        if coming > self._space():
            raise _unavailable("too little of it is free for large parts")
        digest = self._digests.take(name, suite, offset)
        with self._opened(path) as handle:
            # Until it is on disk, nothing of this is.
            try:
                if held.octets > offset:
                    os.ftruncate(handle, offset)
                _write(handle, pieces, offset)
            except OSError:
                os.ftruncate(handle, offset)
                raise
            syncing = self._sync.submit(os.fsync, handle)
            try:
                _advance(handle, digest, coming + _CATCH_UP_OCTETS)
            finally:
                failed = syncing.exception()
            if failed is not None:
                path.unlink()
                raise failed
        self._digests.keep(name, digest)
        return offset + coming

    @contextmanager
    def _opened(self, path: Path) -> Iterator[int]:
        """The file, made if it is missing; its name is on disk before its first octet counts."""
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            handle = os.open(path, flags)
        except FileNotFoundError:
            if not path.parent.exists():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                _sync_folder(self._folder)
            handle = os.open(path, flags | os.O_CREAT, 0o600)
            _sync_folder(path.parent)
        try:
            yield handle
        finally:
            os.close(handle)

    def _digest(self, name: str, suite: Suite) -> bytes:
        held = self._held(name)
        digest = self._digests.take(name, suite, held.octets)
        if held.octets:
            handle = os.open(self._path(name, sealed=held.sealed), os.O_RDONLY | os.O_CLOEXEC)
            try:
                _advance(handle, digest, held.octets)
            finally:
                os.close(handle)
        if not held.sealed:
            self._digests.keep(name, digest)
        return digest.running.digest()

    def _seal(self, name: str) -> None:
        if self._held(name).sealed:
            return
        unsealed, sealed = self._path(name, sealed=False), self._path(name, sealed=True)
        unsealed.rename(sealed)
        _sync_folder(sealed.parent)
        self._digests.drop(name)

    def _read(self, name: str, offset: int, length: int) -> bytes:
        handle = os.open(self._path(name, sealed=True), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(handle, length, offset)
        finally:
            os.close(handle)

    def _delete(self, name: str) -> None:
        self._digests.drop(name)
        for sealed in (False, True):
            self._path(name, sealed=sealed).unlink(missing_ok=True)

    def _names(self) -> list[str]:
        found = {
            shard.name + file.name.removesuffix(_UNSEALED)
            for shard in self._folder.iterdir()
            if shard.is_dir()
            for file in shard.iterdir()
        }
        return sorted(name for name in found if _NAME.fullmatch(name))

    def _space(self) -> int:
        disk = os.statvfs(self._folder)
        return max(0, disk.f_bavail * disk.f_frsize - self._spare)


def _write(handle: int, pieces: Sequence[bytes], offset: int) -> None:
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            written = os.pwrite(handle, rest, offset)
            rest, offset = rest[written:], offset + written


def _advance(handle: int, digest: _Digest, most: int) -> None:
    """Let the digest see the next octets of the file, at most so many."""
    room = memoryview(bytearray(min(_READ_OCTETS, most)))
    while most > 0:
        count = os.preadv(handle, [room[:most]], digest.octets)
        if count == 0:
            return
        digest.running.update(room[:count])
        digest.octets += count
        most -= count


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _guarded(work: Callable[..., T], *arguments: object) -> T:
    with _as_unavailable():
        return work(*arguments)


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = error.strerror or errno.errorcode.get(error.errno or 0, "unknown")
        raise _unavailable(what) from error


def _unavailable(what: str) -> UnavailableError:
    return UnavailableError(Reason.STORE_UNAVAILABLE, f"disk of the large parts: {what}")
