"""Files of local callers: what is acknowledged stays, and each is good for one message."""

from __future__ import annotations

from asyncio import gather, sleep
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from node.outgoing import Draft, Filed, Token
from node.parts.files import Material as InMemory
from node.parts.files import Uploaded, UploadUnfit
from node.store import schema
from node.store.queries import Role, find_blobs, find_message, find_parts
from protocol.bodies import Material
from protocol.errors import RefusedError, UnavailableError
from protocol.reasons import Reason
from signing.suites import Suite, digest
from tests.sim.federation import EZHOU, WUHAN
from tests.sim.little import KIB, LIMITS, scan
from tests.sim.peers import operator, play, submission

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlalchemy import Connection

    from node.outgoing import Outcome
    from node.parts.uploads import Uploads
    from node.store.transfers import UploadRow
    from protocol.envelope import MessageReference
    from tests.sim.peers import DrivenNode, Stage

CLERK, OTHER = "clerk", "other"


async def bring(uploads: Uploads, octets: bytes, client: str = CLERK) -> str:
    """A finished upload of these octets; its id."""
    row = await uploads.create(client, len(octets))
    async with uploads.writing(client, row.upload_id) as writing:
        assert writing is not None
        for start in range(0, len(octets), KIB):
            await writing.append([octets[start : start + KIB]])
    return row.upload_id


async def found(uploads: Uploads, upload_id: str, client: str = CLERK) -> UploadRow:
    row = await uploads.find(client, upload_id)
    assert row is not None
    return row


async def file(
    node: DrivenNode,
    key: str,
    files: Mapping[str, InMemory | Uploaded],
    client: str = CLERK,
    destination: str = EZHOU,
) -> Outcome:
    """A case of Wuhan with these files."""
    rows = tuple(Material(name, "扫描件", "electronic", "B", 1, part=name) for name in files)
    draft = Draft(
        operator(WUHAN).authority,
        submission(destination, rows),
        materials=files,
        recipient=operator(destination),
        token=Token(client, key, key.encode().ljust(32)),
    )
    return await node.engine.file(draft)


async def kept(node: DrivenNode, reference: MessageReference) -> tuple[dict[str, bytes], list[str]]:
    """The parts of a message of ours, and which of them are blobs."""

    def query(connection: Connection) -> tuple[dict[str, bytes], dict[str, str]]:
        row = find_message(connection, reference, Role.OUT)
        assert row is not None
        key = (row.authority, row.message_id, row.role)
        blobs = find_blobs(connection, [row]).get(key, {})
        return find_parts(connection, [row])[key], {name: b.name for name, b in blobs.items()}

    small, large = await node.read(query)
    held = {name: await node.context.blobs.read(blob, 0, 1 << 20) for name, blob in large.items()}
    return {name: octets for name, octets in small.items() if name != "body"} | held, sorted(large)


def open_uploads(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(schema.upload)).scalar_one()


@pytest.mark.spec("UP-20")
def test_an_upload_grows_at_its_end_and_is_whole_under_its_digest(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        uploads = stage.node(WUHAN, parts=LIMITS).engine.uploads
        octets = scan(5 * KIB)
        row = await uploads.create(CLERK, len(octets))
        async with uploads.writing(CLERK, row.upload_id) as writing:
            assert writing is not None
            await writing.append([octets[:KIB], octets[KIB:2000]])
        assert (await found(uploads, row.upload_id)).held == 2000
        async with uploads.writing(CLERK, row.upload_id) as writing:
            assert writing is not None
            with pytest.raises(RefusedError) as caught:
                await writing.append([octets])
            assert caught.value.reason is Reason.TOO_LARGE
            await writing.append([octets[2000:]])
        whole = await found(uploads, row.upload_id)
        assert whole.whole
        assert whole.digest == digest(Suite(whole.suite or ""), octets)

    play(tmp_path, scene)


@pytest.mark.spec("UP-21")
def test_the_commit_that_files_the_message_takes_the_upload_once(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN, parts=LIMITS)
        uploads = node.engine.uploads
        film, note = scan(5 * KIB), b"small"
        ids = [await bring(uploads, octets) for octets in (film, note, b"")]
        files = dict(zip(("film", "note", "empty"), ids, strict=True))
        named = {name: Uploaded("application/pdf", upload) for name, upload in files.items()}
        filed = await file(node, "one", named)
        assert isinstance(filed, Filed)
        held, large = await kept(node, filed.message)
        assert held == {"film": film, "note": note, "empty": b""}
        assert large == ["film"]
        # Nothing is left of them but the one file that is a part now.
        assert await node.read(open_uploads) == 0
        assert len(node.disk.sealed) == 1
        # Said again it is answered as before; for another message it is not there.
        again = await file(node, "one", named)
        assert isinstance(again, Filed)
        assert (again.message, again.repeated) == (filed.message, True)
        assert await file(node, "two", named) == UploadUnfit(ids[0], None, None)
        assert (await kept(node, filed.message))[0] == held

    play(tmp_path, scene)


def test_two_messages_at_once_do_not_share_an_upload(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN, parts=LIMITS)
        upload = await bring(node.engine.uploads, scan(5 * KIB))
        named = {"film": Uploaded("application/pdf", upload)}
        outcomes = await gather(*(file(node, key, named) for key in ("one", "two", "two", "three")))
        assert sum(isinstance(outcome, Filed) for outcome in outcomes) == 1
        assert sum(outcome == UploadUnfit(upload, None, None) for outcome in outcomes) == 3

    play(tmp_path, scene)


@pytest.mark.spec("UP-22")
def test_an_upload_belongs_to_its_caller_and_has_to_be_whole(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN, parts=LIMITS)
        uploads = node.engine.uploads
        upload = await bring(uploads, scan(5 * KIB))
        half = (await uploads.create(CLERK, 5 * KIB)).upload_id
        named = {"film": Uploaded("application/pdf", upload)}
        assert await file(node, "one", named, OTHER) == UploadUnfit(upload, None, None)
        assert await uploads.find(OTHER, upload) is None
        assert not await uploads.drop(OTHER, upload)
        async with uploads.writing(OTHER, half) as writing:
            assert writing is None
        unfit = await file(node, "two", {"film": Uploaded("application/pdf", half)})
        assert unfit == UploadUnfit(half, 0, 5 * KIB)
        assert isinstance(await file(node, "three", named), Filed)

    play(tmp_path, scene)


def test_a_draft_that_is_refused_leaves_the_upload_for_the_next_try(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN, parts=LIMITS)
        upload = await bring(node.engine.uploads, scan(5 * KIB))
        named = {"film": Uploaded("application/pdf", upload)}
        with pytest.raises(RefusedError):
            await file(node, "one", named | {"more": InMemory("text/plain", bytes(200 * KIB))})
        assert await node.read(open_uploads) == 1
        assert isinstance(await file(node, "one", named), Filed)

    play(tmp_path, scene)


def test_a_large_file_in_memory_goes_the_same_way_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN, parts=LIMITS)
        film = InMemory("video/mp4", scan(5 * KIB))
        filed = await file(node, "one", {"film": film})
        assert isinstance(filed, Filed)
        assert await kept(node, filed.message) == ({"film": film.octets}, ["film"])
        assert isinstance(await file(node, "one", {"film": film}), Filed)
        assert await node.read(open_uploads) == 0
        assert len(node.disk.sealed) == 1

    play(tmp_path, scene)


@pytest.mark.spec("UP-23")
def test_a_caller_has_so_much_open_and_what_nobody_touches_goes(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        bounds = replace(LIMITS, client_uploads=3, client_octets=100 * KIB)
        node = stage.node(WUHAN, parts=bounds)
        uploads = node.engine.uploads
        with pytest.raises(RefusedError) as refused:
            await uploads.create(CLERK, 64 * KIB + 1)
        assert refused.value.reason is Reason.TOO_LARGE
        first = await bring(uploads, scan(5 * KIB))
        await uploads.create(CLERK, 64 * KIB)
        with pytest.raises(UnavailableError) as caught:
            await uploads.create(CLERK, 40 * KIB)
        assert caught.value.reason is Reason.PART_QUOTA
        await uploads.create(CLERK, 1)
        with pytest.raises(UnavailableError):
            await uploads.create(CLERK, 1)
        await uploads.create(OTHER, 40 * KIB)
        await sleep(bounds.idle_ms / 1000 - 60)
        fresh = await bring(uploads, b"fresh", "third")
        await uploads.sweep()
        assert (await found(uploads, first)).whole
        await sleep(120)
        await uploads.sweep()
        assert await node.read(open_uploads) == 1
        assert (await found(uploads, fresh, "third")).whole
        assert len(node.disk.sealed) == 1
        await uploads.create(CLERK, 64 * KIB)

    play(tmp_path, scene)


def test_an_upload_that_was_dropped_is_gone(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN, parts=LIMITS)
        uploads = node.engine.uploads
        upload = await bring(uploads, scan(5 * KIB))
        assert await uploads.drop(CLERK, upload)
        assert not await uploads.drop(CLERK, upload)
        assert await uploads.find(CLERK, upload) is None
        assert node.disk.octets == 0

    play(tmp_path, scene)


def test_what_a_crash_left_beyond_the_acknowledged_is_no_part_of_the_file(tmp_path: Path) -> None:
    """The disk may hold more than was acknowledged, and what it holds there may be anything."""

    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN, parts=LIMITS)
        uploads = node.engine.uploads
        octets = scan(5 * KIB)
        row = await uploads.create(CLERK, len(octets))
        async with uploads.writing(CLERK, row.upload_id) as writing:
            assert writing is not None
            await writing.append([octets[:KIB]])
        # Written and cut off before it was acknowledged.
        await node.context.blobs.append(row.blob, KIB, [bytes(2 * KIB)], Suite.SM2_SM3)
        assert (await found(uploads, row.upload_id)).held == KIB
        async with uploads.writing(CLERK, row.upload_id) as writing:
            assert writing is not None
            await writing.append([octets[KIB:]])
        whole = await found(uploads, row.upload_id)
        assert whole.digest == digest(Suite(whole.suite or ""), octets)

    play(tmp_path, scene)


def test_a_crash_between_seal_and_commit_costs_nothing(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN, parts=LIMITS)
        uploads = node.engine.uploads
        octets = scan(5 * KIB)
        row = await uploads.create(CLERK, len(octets))
        await node.context.blobs.append(row.blob, 0, [octets], uploads.suite)
        await node.context.blobs.seal(row.blob)
        whole = await found(uploads, row.upload_id)
        assert (whole.held, whole.whole) == (5 * KIB, True)
        named = {"film": Uploaded("application/pdf", row.upload_id)}
        assert isinstance(await file(node, "one", named), Filed)

    play(tmp_path, scene)
