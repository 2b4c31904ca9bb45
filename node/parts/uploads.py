"""Files of local callers, brought before the message they belong to (UP-20 to UP-23).

An upload grows at its end, belongs to its caller, and is used once: the commit that files the
message turns it into a part. What is acknowledged is durable; whatever else a crash left in the
file is dropped when the caller goes on from there. One that nobody touches for a day is dropped.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from node.parts.files import File, Material, UploadUnfit
from node.parts.turns import Turns
from node.ports import Decision, Delete, Insert, Unit, Update
from node.store import schema
from node.store.transfers import UploadRow, find_upload, idle_uploads, uploads_open
from protocol.errors import RefusedError, UnavailableError
from protocol.identifiers import ENTROPY_OCTETS, make_uuid7
from protocol.limits import MIB
from protocol.reasons import Reason
from signing.keys import KeyStoreError, KeyUse
from signing.suites import Suite, digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.parts.files import Uploaded

_ACKNOWLEDGED_OCTETS: Final = 64 * MIB  # at most so much of an upload is brought anew after a crash
_SWEPT: Final = 256


class Uploads:
    """The uploads of one node's local callers."""

    def __init__(self, context: NodeContext) -> None:
        """Keep them at this node."""
        self._context = context
        self._turns: Turns[str] = Turns()

    @property
    def suite(self) -> Suite:
        """Whose digest is computed while an upload comes in: that of this node's own keys."""
        return self._context.receipt_key().suite

    def expires_ms(self, row: UploadRow) -> int:
        """When it is dropped, if nobody touches it before."""
        return row.touched_ms + self._context.parts.idle_ms

    async def create(self, client: str, size: int) -> UploadRow:
        """Begin an upload of this many octets.

        Raises:
            RefusedError: TOO_LARGE for a part.
            UnavailableError: PART_QUOTA: the caller has too much open; STORE_UNAVAILABLE.
        """
        context, limits = self._context, self._context.parts
        if size > limits.part:
            raise RefusedError(Reason.TOO_LARGE, f"{size} octets, at most {limits.part}")
        if size > await context.blobs.space():
            raise UnavailableError(Reason.STORE_UNAVAILABLE, "too little disk for large parts")
        now_ms = context.clock.now_ms()
        upload_id = make_uuid7(now_ms, context.entropy.octets(ENTROPY_OCTETS))
        row = UploadRow(upload_id, client, _blob_name(upload_id), size, 0, None, None, now_ms)
        if size == 0:
            row = replace(row, suite=self.suite.value, digest=digest(self.suite, b""))

        def decide(connection: Connection) -> Decision[UploadRow]:
            open_ = uploads_open(connection, client)
            if open_.count >= limits.client_uploads or open_.octets + size > limits.client_octets:
                detail = f"{open_.count} uploads of {open_.octets} octets are open"
                raise UnavailableError(Reason.PART_QUOTA, detail)
            values = {name: getattr(row, name) for name in UploadRow.__dataclass_fields__}
            return Decision(lambda _signatures: ([Insert(schema.upload, values)], row))

        return await context.store.run(Unit(decide, frozenset({f"uploads {client}"})))

    async def find(self, client: str, upload_id: str) -> UploadRow | None:
        """An upload of this caller, with what may be built upon: on disk, and acknowledged."""
        row = await self._context.store.read(lambda c: find_upload(c, client, upload_id))
        if row is None or row.whole:
            return row
        held = await self._context.blobs.held(row.blob)
        if held.sealed:
            return await self._acknowledge(replace(row, held=row.size))
        return replace(row, held=min(row.held, held.octets))

    @asynccontextmanager
    async def writing(self, client: str, upload_id: str) -> AsyncIterator[Writing | None]:
        """Nobody else writes to this upload while the block runs; None if there is none.

        However the block ends, what was appended is acknowledged.
        """
        async with self._turns.alone(upload_id):
            row = await self.find(client, upload_id)
            if row is None:
                yield None
                return
            writing = Writing(self, row)
            try:
                yield writing
            finally:
                await writing.acknowledge()

    async def append(self, row: UploadRow, pieces: Sequence[bytes]) -> UploadRow:
        """The upload with these octets more on disk; not acknowledged yet."""
        suite = self.suite
        held = await self._context.blobs.append(row.blob, row.held, pieces, suite)
        return replace(row, held=held)

    async def _acknowledge(self, row: UploadRow) -> UploadRow:
        """Let the caller build upon what is held; if it is whole, seal it under its digest."""
        blobs, suite = self._context.blobs, self.suite
        row = replace(row, touched_ms=self._context.clock.now_ms())
        if row.held == row.size and not row.whole:
            found = await blobs.digest(row.blob, suite)
            await blobs.seal(row.blob)
            row = replace(row, suite=suite.value, digest=found)

        def decide(connection: Connection) -> Decision[UploadRow]:
            names = ("held", "suite", "digest", "touched_ms")
            changes = {name: getattr(row, name) for name in names}
            known = find_upload(connection, row.client, row.upload_id)
            rows = [] if known is None else [Update(schema.upload, _key(row), changes)]
            return Decision(lambda _signatures: (rows, row))

        return await self._context.store.run(Unit(decide, frozenset({upload_lock(row.upload_id)})))

    async def drop(self, client: str, upload_id: str) -> bool:
        """End an upload; whether there was one."""
        async with self._turns.alone(upload_id):
            return await self._dropped(client, upload_id, None)

    async def _dropped(self, client: str, upload_id: str, before_ms: int | None) -> bool:
        def decide(connection: Connection) -> Decision[UploadRow | None]:
            row = find_upload(connection, client, upload_id)
            if row is None or (before_ms is not None and row.touched_ms >= before_ms):
                return Decision(lambda _signatures: ([], None))
            return Decision(lambda _signatures: ([Delete(schema.upload, _key(row))], row))

        row = await self._context.store.run(Unit(decide, frozenset({upload_lock(upload_id)})))
        if row is not None:
            await self._context.blobs.delete(row.blob)
        return row is not None

    async def sweep(self) -> int:
        """Drop what nobody has touched for long; how many."""
        before_ms = self._context.clock.now_ms() - self._context.parts.idle_ms
        idle = await self._context.store.read(lambda c: idle_uploads(c, before_ms, _SWEPT))
        for row in idle:
            async with self._turns.alone(row.upload_id):
                await self._dropped(row.client, row.upload_id, before_ms)
        return len(idle)

    # for a message

    async def ready(
        self, client: str, authority: str, materials: Mapping[str, Material | Uploaded]
    ) -> dict[str, File | UploadUnfit]:
        """The files of a draft as they go into its message.

        What is small is in memory; what is large is an upload, if need be one of our own.

        Args:
            client: Whose draft it is.
            authority: Who signs it; nothing is ready for one without a key here.
            materials: Its files by part id.

        Raises:
            RefusedError, UnavailableError: as `create`.
        """
        if not materials:
            return {}
        keys = self._context.keys
        try:
            suite = keys.public(keys.find(KeyUse.ENVELOPE, authority)).suite
        except KeyStoreError:
            return {}
        files: dict[str, File | UploadUnfit] = {}
        try:
            for name, material in materials.items():
                files[name] = await self._ready(client, material, suite)
        except Exception:
            await self.used(files, filed=False)
            raise
        return files

    async def _ready(
        self, client: str, material: Material | Uploaded, suite: Suite
    ) -> File | UploadUnfit:
        if isinstance(material, Material):
            size = len(material.octets)
            if size <= self._context.parts.inline:
                return File(material.media_type, size, octets=material.octets)
            row = await self._bring(client, material.octets)
            return await self._whole(material.media_type, row, suite, ours=True)
        found = await self.find(client, material.upload_id)
        if found is None:
            return UploadUnfit(material.upload_id, None, None)
        if not found.whole:
            return UploadUnfit(material.upload_id, found.held, found.size)
        return await self._whole(material.media_type, found, suite)

    async def _bring(self, client: str, octets: bytes) -> UploadRow:
        row = await self.create(client, len(octets))
        async with self._turns.alone(row.upload_id):
            return await self._acknowledge(await self.append(row, [octets]))

    async def _whole(
        self, media_type: str, row: UploadRow, suite: Suite, *, ours: bool = False
    ) -> File:
        blobs = self._context.blobs
        if row.size <= self._context.parts.inline:
            octets = await blobs.read(row.blob, 0, row.size) if row.size else b""
            return File(media_type, row.size, octets=octets, upload=row)
        found = row.digest if row.suite == suite.value else await blobs.digest(row.blob, suite)
        return File(media_type, row.size, upload=row, suite=suite, digest=found, ours=ours)

    async def used(self, files: Mapping[str, File | UploadUnfit], *, filed: bool) -> None:
        """Clear away what is left of the files of a draft: filed now, or come to nothing."""
        for file in files.values():
            if isinstance(file, UploadUnfit) or file.upload is None:
                continue
            if filed and file.octets is not None:
                await self._context.blobs.delete(file.upload.blob)
            elif file.ours and not filed:
                await self.drop(file.upload.client, file.upload.upload_id)


class Writing:
    """One caller's turn at an upload. Ends with what was appended acknowledged."""

    def __init__(self, uploads: Uploads, row: UploadRow) -> None:
        """Go on with it; use `Uploads.writing`."""
        self._uploads = uploads
        self._acknowledged = row
        self.row = row

    async def append(self, pieces: Sequence[bytes]) -> None:
        """These octets come next.

        Raises:
            RefusedError: TOO_LARGE: more than was announced; none of these was taken.
            UnavailableError: STORE_UNAVAILABLE.
        """
        coming = sum(map(len, pieces))
        if self.row.held + coming > self.row.size:
            detail = f"{self.row.held + coming} octets, announced {self.row.size}"
            raise RefusedError(Reason.TOO_LARGE, detail)
        if coming:
            self.row = await self._uploads.append(self.row, pieces)
        if self.row.held - self._acknowledged.held >= _ACKNOWLEDGED_OCTETS:
            await self.acknowledge()

    async def acknowledge(self) -> None:
        """Let the caller build upon what was appended."""
        if self.row.held != self._acknowledged.held:
            acknowledging = self._uploads._acknowledge(self.row)  # noqa: SLF001 - its other half
            self.row = self._acknowledged = await asyncio.shield(acknowledging)


def upload_lock(upload_id: str) -> str:
    """The key under which units about one upload exclude each other."""
    return f"upload {upload_id}"


def _key(row: UploadRow) -> dict[str, object]:
    return {"upload_id": row.upload_id}


def _blob_name(upload_id: str) -> str:
    return hashlib.sha256(f"upload\n{upload_id}".encode()).hexdigest()
