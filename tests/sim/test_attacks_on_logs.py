"""Attacks on evidence logs: histories rewritten after they were shown, and heads that lie."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from node.log.heads import LOOK_MS, QUIET_MS
from node.log.reading import breaks, log_size, newest_head
from node.log.witness import SPLIT, alarms, find_held, find_shown
from node.recovery.gate import Phase
from protocol.frames import HeadFrame, HeldFrame, ReceiptFrame, read_frames, write_frames
from protocol.limits import HEAD_INTERVAL_MS, MAX_CLOCK_SKEW_MS
from protocol.proof import Single
from protocol.reasons import Reason
from protocol.receipt import read_receipt
from routing.directory_views import write_view
from routing.payload import Named
from signing.heads import Verdict
from signing.keys import KeyUse, SigningRequest
from signing.log import (
    Head,
    LeafType,
    LogDigest,
    head_signed_octets,
    read_head,
    view_digest,
    write_head,
)
from tests.log_kit import grow_log, tree_of, types_of, wait_with
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG
from tests.sim.peers import SAMPLE, DrivenNode, Stage, now_ms, play
from tests.trees import Recursive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from protocol.frames import Frame

VIEW = write_view(SAMPLE.directory.view())
LEAVES = [b"%041d" % number for number in range(64)]
TREE = Recursive(LEAVES)
OTHER = Recursive([*LEAVES[:3], b"x" * 41, *LEAVES[4:]])
LOOK_S, MINUTE_S = LOOK_MS / 1000, HEAD_INTERVAL_MS / 1000 + 1


def head_of(size: int, tree: Recursive = TREE, use: KeyUse = KeyUse.HEAD, **changes: Any) -> bytes:
    """A head of 武汉, well signed by a key of the node it names."""
    node = changes.get("node", WUHAN)
    keys = SAMPLE.keyrings[node]
    key = keys.public(keys.find(use, node))
    values: dict[str, Any] = {
        "node": node,
        "digest": LogDigest.SHA_256,
        "incarnation": 1,
        "size": size,
        "root": tree.root(size) if size <= len(tree.leaves) else bytes(32),
        "instant_ms": now_ms(),
        "view": view_digest(VIEW),
        "suite": key.suite,
        "key_id": key.key_id,
    }
    head = Head(**values | changes)
    return write_head(
        head, Single(keys.sign([SigningRequest(key.key_id, head_signed_octets(head))])[0])
    )


def grown(first: int, size: int, tree: Recursive = TREE, **changes: Any) -> HeadFrame:
    """A head and the growth it is shown with."""
    path = tuple(tree.proof(first, size)) if first else ()
    return HeadFrame(head_of(size, tree, **changes), VIEW, first, path)


def grown_from_nothing() -> HeadFrame:
    """A head of another history, shown as if to somebody who holds none."""
    return grown(0, 60, OTHER)


def smaller() -> HeadFrame:
    """An old head."""
    return grown(0, 5)


async def present(node: DrivenNode, *frames: Frame, peer: str = WUHAN) -> list[Frame]:
    """What a node answers to these frames; long enough after the last ones to be looked at."""
    await asyncio.sleep(LOOK_S)
    return read_frames(await node.engine.exchange(peer, write_frames(frames)))


async def held_size(node: DrivenNode, peer: str = WUHAN) -> int:
    held = await node.read(lambda connection: find_held(connection, peer))
    return 0 if held is None else held.head.size


async def alarms_of(node: DrivenNode) -> list[tuple[str, str]]:
    return [(row.node, row.verdict) for row in await node.read(alarms)]


async def both(stage: Stage) -> tuple[DrivenNode, DrivenNode]:
    """武汉 and its hub, each able to dial the other."""
    wuhan, hub = stage.node(WUHAN), stage.node(HUB)
    wuhan.reaches(hub)
    hub.reaches(wuhan)
    await wuhan.run()
    await hub.run()
    return wuhan, hub


async def talk(node: DrivenNode, peer: str = HUB, times: int = 2) -> None:
    """Give heads something to go along with."""
    for _ in range(times):
        await asyncio.sleep(MINUTE_S)
        if node.engine.recovery.working:
            await node.ping(peer)
    await asyncio.sleep(2)


# honest peers


@pytest.mark.spec("LG-7")
@pytest.mark.spec("LG-8")
@pytest.mark.spec("LG-11")
def test_heads_go_along_and_are_held_and_known_to_be_held(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        wuhan, hub = await both(stage)
        await talk(wuhan, times=4)
        held = await hub.read(lambda connection: find_held(connection, WUHAN))
        assert held is not None
        tree = await wuhan.read(tree_of)
        assert held.head.root == tree.root(held.head.size)
        assert held.head.size > 8
        assert held.view == VIEW
        shown = await wuhan.read(lambda connection: find_shown(connection, HUB))
        assert shown is not None
        assert shown.octets == held.octets
        assert LeafType.PEER_HEAD in await hub.read(types_of)
        # The hub showed its own in its answers, and it was taken from there.
        assert await held_size(wuhan, HUB) > 2
        assert await alarms_of(wuhan) == await alarms_of(hub) == []

    play(tmp_path, scene)


@pytest.mark.spec("LG-7")
def test_a_busy_node_shows_one_head_a_minute(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        wuhan, _ = await both(stage)
        for _ in range(60):
            await wuhan.ping(HUB)
            await asyncio.sleep(5)
        heads = [
            frame
            for post in wuhan.posts
            for frame in read_frames(post.octets)
            if isinstance(frame, HeadFrame)
        ]
        assert 3 <= len(heads) <= 6

    play(tmp_path, scene)


@pytest.mark.spec("LG-7")
def test_news_go_alone_when_nothing_else_is_said_and_then_there_is_silence(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        wuhan, hub = await both(stage)
        await talk(wuhan)
        await grow_log(wuhan, 0, 10)
        await asyncio.sleep(QUIET_MS / 1000 + 120)
        assert await held_size(hub) >= await wuhan.read(log_size) - 1
        posts = len(wuhan.posts) + len(hub.posts)
        await asyncio.sleep(24 * 3600)
        # Each was told of the other's head, and nobody answers an answer.
        assert len(wuhan.posts) + len(hub.posts) <= posts + 2

    play(tmp_path, scene)


@pytest.mark.spec("LG-7")
def test_a_node_that_writes_to_itself_has_no_news_for_itself(tmp_path: Path) -> None:
    """It would look for a head to show, find none to show itself, and look again at once."""

    async def scene(stage: Stage) -> None:
        wuhan = stage.node(WUHAN)
        await wuhan.run()
        await talk(wuhan, WUHAN)
        await grow_log(wuhan, 0, 10)
        assert wuhan.engine._heads._peers[WUHAN].news_ms is None
        await asyncio.sleep(QUIET_MS / 1000 + 120)

    play(tmp_path, scene)


@pytest.mark.spec("LG-11")
def test_an_empty_post_is_answered_with_the_head_that_is_held(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB)
        assert await hub.engine.exchange(WUHAN, b"") == b""
        frame = grown(0, 9)
        assert await present(hub, frame) == [HeldFrame(frame.octets)]
        assert await present(hub) == [HeldFrame(frame.octets)]

    play(tmp_path, scene)


@pytest.mark.spec("LG-8")
def test_a_peer_that_lost_everything_takes_up_again(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        wuhan, hub = await both(stage)
        await talk(wuhan)
        rewrite(tmp_path / f"{HUB}.db", "DELETE FROM log_held")
        before = await wuhan.read(log_size)
        await talk(wuhan, times=4)
        assert await held_size(hub) > before
        assert await alarms_of(wuhan) == await alarms_of(hub) == []

    play(tmp_path, scene)


@pytest.mark.spec("LG-8")
def test_a_proof_from_an_older_head_is_answered_and_then_mended(tmp_path: Path) -> None:
    """An answer was lost: the peer holds more than it was known to hold."""

    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB)
        await present(hub, grown(0, 9))
        await present(hub, grown(9, 20))
        answer = await present(hub, grown(9, 30))
        assert read_head(only_held(answer)).head.size == 20
        await present(hub, grown(20, 30))
        assert await held_size(hub) == 30
        assert await alarms_of(hub) == []

    play(tmp_path, scene)


# rewritten histories


def rewrite(path: Path, *statements: str) -> None:
    """Change a store behind its node's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for sql in statements:
            connection.execute(sql)


FORGET = (
    "DELETE FROM log_birth",
    "DELETE FROM log_entry",
    "DELETE FROM log_tile",
    "DELETE FROM log_head",
    "DELETE FROM log_wait",
)


@pytest.mark.spec("LG-9")
@pytest.mark.spec("LG-13")
@pytest.mark.parametrize("leaves", [0, 400], ids=["shorter", "longer"])
def test_a_log_made_anew_after_it_was_shown_is_seen_at_both_ends(
    tmp_path: Path, leaves: int
) -> None:
    """Whoever holds disk and key writes another history, as long or as short as he likes."""

    async def scene(stage: Stage) -> None:
        wuhan, hub = await both(stage)
        await talk(wuhan, times=6)
        held = await hub.read(lambda connection: find_held(connection, WUHAN))
        rewrite(tmp_path / f"{WUHAN}.db", *FORGET)
        await grow_log(wuhan, 0, leaves)
        await talk(wuhan, times=3)
        if leaves:
            assert (WUHAN, Verdict.REWRITTEN) in await alarms_of(hub)
            (alarm,) = await hub.read(alarms)
            assert held is not None
            # Two statements signed by one key, of which one is a lie.
            assert alarm.held == held.octets
            assert read_head(alarm.shown).head.node == WUHAN
        assert (WUHAN, Verdict.LOST) in await alarms_of(wuhan)
        # The peer that never answers might know more.
        assert wuhan.engine.recovery.phase is Phase.RECOVERING
        assert await hub.read(lambda connection: find_held(connection, WUHAN)) == held

    play(tmp_path, scene)


@pytest.mark.spec("LG-9")
def test_a_tree_changed_after_a_head_was_shown_is_seen(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        wuhan, hub = await both(stage)
        await grow_log(wuhan, 0, 400)
        await talk(wuhan)
        before = await held_size(hub)
        sql = "UPDATE log_tile SET hashes = randomblob(length(hashes)) WHERE level = 1"
        rewrite(tmp_path / f"{WUHAN}.db", sql)
        await grow_log(wuhan, 400, 700)
        await talk(wuhan, times=3)
        assert await alarms_of(hub) == [(WUHAN, Verdict.REWRITTEN)]
        assert await held_size(hub) == before

    play(tmp_path, scene)


@pytest.mark.spec("LG-9")
def test_two_heads_of_one_size_are_kept_as_proof(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB)
        one, other = grown(0, 9), grown(9, 9, OTHER)
        await present(hub, one)
        assert only_held(await present(hub, other)) == one.octets
        (alarm,) = await hub.read(alarms)
        assert (alarm.verdict, alarm.held, alarm.shown) == (
            Verdict.FORKED, one.octets, other.octets,
        )  # fmt: skip
        # The first contradiction stays; another of its kind adds nothing.
        await present(hub, replace(other, octets=head_of(9, Recursive(LEAVES[::-1]))))
        assert await hub.read(alarms) == [alarm]
        # Who goes on with the history shown first is believed again, and the alarm stays.
        await present(hub, grown(9, 12))
        assert await held_size(hub) == 12
        assert await hub.read(alarms) == [alarm]

    play(tmp_path, scene)


@pytest.mark.spec("LG-9")
def test_a_lying_path_convinces_nobody(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB)
        await present(hub, grown(0, 9))
        await present(hub, HeadFrame(head_of(20, OTHER), VIEW, 9, tuple(TREE.proof(9, 20))))
        assert await held_size(hub) == 9
        (alarm,) = await hub.read(alarms)
        assert (alarm.verdict, alarm.first) == (Verdict.REWRITTEN, 9)
        assert alarm.path == b"".join(TREE.proof(9, 20))

    play(tmp_path, scene)


@pytest.mark.spec("LG-10")
def test_a_declared_break_is_taken_and_shown_to_people(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB)
        await present(hub, grown(0, 20))
        frame = grown(0, 5, OTHER, incarnation=2)
        assert only_held(await present(hub, frame)) == frame.octets
        # It is no contradiction: the peer says itself that something is lost.
        assert await alarms_of(hub) == []
        (broken,) = await hub.read(breaks)
        assert (broken.node, broken.incarnation, broken.lost) == (WUHAN, 2, 20)
        assert read_head(broken.held).head.size == 20
        assert only_held(await present(hub, grown(20, 30))) == frame.octets

    play(tmp_path, scene)


# directories that differ


@pytest.mark.spec("DI-13")
def test_two_contents_of_one_version_of_a_directory_are_an_alarm(tmp_path: Path) -> None:
    """分裂视图取证 a publisher shows peers two directories → an alarm, a signed proof is kept."""

    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB)
        row, *others = SAMPLE.directory.view()
        other = replace(
            row,
            directory=Named(version=row.directory.version, digest="00" * 32),
            freshness=Named(version=row.freshness.version, digest="11" * 32),
        )
        theirs = write_view((other, *others))
        octets = head_of(9, view=view_digest(theirs))
        await present(hub, HeadFrame(octets, theirs, 0, ()))
        (alarm,) = await hub.read(alarms)
        assert (alarm.node, alarm.verdict) == (f"{row.prefix}0000", SPLIT)
        # What the peer saw, signed by the peer; what we hold.
        assert (alarm.shown, alarm.path, alarm.held) == (octets, theirs, VIEW)
        await present(hub, HeadFrame(octets, theirs, 0, ()))
        assert await hub.read(alarms) == [alarm]

    play(tmp_path, scene)


@pytest.mark.spec("DI-13")
def test_a_newer_directory_is_no_split(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB)
        row, *others = SAMPLE.directory.view()
        newer = Named(version=row.directory.version + 1, digest="00" * 32)
        theirs = write_view((replace(row, directory=newer), *others))
        octets = head_of(9, view=view_digest(theirs))
        await present(hub, HeadFrame(octets, theirs, 0, ()))
        assert await held_size(hub) == 9
        assert await alarms_of(hub) == []

    play(tmp_path, scene)


# heads that lie


@pytest.mark.spec("LG-6")
@pytest.mark.parametrize(
    "which",
    [
        "another node's",
        "by a receipt key",
        "by an evidence key",
        "another view",
        "no view",
        "bent",
        "future",
    ],
)
def test_what_is_no_head_of_this_peer_leaves_no_trace(tmp_path: Path, which: str) -> None:
    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB)
        good = grown(0, 9)
        frame = {
            "another node's": HeadFrame(head_of(9, node=XIANGYANG), VIEW, 0, ()),
            "by a receipt key": grown(0, 9, use=KeyUse.RECEIPT),
            "by an evidence key": grown(0, 9, use=KeyUse.EVIDENCE),
            "another view": replace(good, view=write_view(SAMPLE.directory.view()[:1])),
            "no view": replace(grown(0, 9, view=view_digest(b"42")), view=b"42"),
            "bent": replace(good, octets=good.octets[:-1] + b"\0"),
            "future": grown(0, 9, instant_ms=now_ms() + MAX_CLOCK_SKEW_MS + 60_000),
        }[which]
        assert await present(hub, frame) == []
        assert await held_size(hub) == 0
        assert await hub.read(log_size) == 0
        assert await alarms_of(hub) == []

    play(tmp_path, scene)


@pytest.mark.spec("LG-8")
def test_a_stale_head_that_is_replayed_changes_nothing(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB)
        old = grown(0, 9)
        await present(hub, old)
        await present(hub, grown(9, 20))
        for _ in range(3):
            assert read_head(only_held(await present(hub, old))).head.size == 20
        assert await alarms_of(hub) == []

    play(tmp_path, scene)


@pytest.mark.spec("LG-7")
@pytest.mark.parametrize("count", [50, 255])
def test_a_path_longer_than_any_log_needs_is_refused_unread(tmp_path: Path, count: int) -> None:
    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB)
        post = write_frames([replace(grown(0, 9), path=(bytes(32),) * count)])
        (frame,) = read_frames(await hub.engine.exchange(WUHAN, post))
        assert isinstance(frame, ReceiptFrame)
        assert read_receipt(frame.octets).receipt.reason is Reason.FRAME_MALFORMED
        assert await held_size(hub) == 0

    play(tmp_path, scene)


@pytest.mark.spec("LG-8")
def test_a_flood_of_heads_costs_one_look(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB)
        await hub.engine.log.drain()
        for size in range(1, 60):
            flood = [grown(size - 1, size) for _ in range(20)]
            await hub.engine.exchange(WUHAN, write_frames(flood))
        assert await held_size(hub) == 1
        await hub.engine.log.drain()
        assert (await hub.read(types_of)).count(LeafType.PEER_HEAD) == 1

    play(tmp_path, scene)


@pytest.mark.spec("LG-13")
@pytest.mark.parametrize("which", ["never signed", "another node's", "unknown key"])
def test_what_a_peer_only_claims_to_hold_of_us_alarms_nobody(tmp_path: Path, which: str) -> None:
    async def scene(stage: Stage) -> None:
        wuhan = stage.node(WUHAN)
        await grow_log(wuhan, 0, 5)
        ours = await wuhan.read(newest_head)
        assert ours is not None
        claimed = {
            "never signed": ours.octets[:-64] + bytes(64),
            "another node's": head_of(4000, node=XIANGYANG),
            "unknown key": ours.octets[:100] + bytes(28) + ours.octets[128:],
        }[which]
        await present(wuhan, HeldFrame(claimed), peer=HUB)
        assert await wuhan.read(lambda connection: find_shown(connection, HUB)) is None
        assert await alarms_of(wuhan) == []

    play(tmp_path, scene)


@pytest.mark.spec("LG-13")
def test_a_node_that_went_back_is_told_so_by_its_peers(tmp_path: Path) -> None:
    """A backup: the log is shorter than what was signed after it was made."""

    async def scene(stage: Stage) -> None:
        wuhan = stage.node(WUHAN)
        await grow_log(wuhan, 0, 5)
        later = head_of(4000)
        await present(wuhan, HeldFrame(later), peer=HUB)
        (alarm,) = await wuhan.read(alarms)
        assert (alarm.node, alarm.verdict, alarm.shown) == (WUHAN, Verdict.LOST, later)
        shown = await wuhan.read(lambda connection: find_shown(connection, HUB))
        assert shown is not None
        assert (shown.size, shown.octets) == (0, later)

    play(tmp_path, scene)


@pytest.mark.spec("LG-10", "LG-16")
@pytest.mark.parametrize(
    ("incarnation", "recovers"), [(256, True), (257, False), (2**32 - 1, False)]
)
def test_a_stolen_head_key_does_not_put_the_node_out_of_service(
    tmp_path: Path,
    incarnation: int,
    recovers: bool,  # noqa: FBT001
) -> None:
    """After the last incarnation there is none; after one too late, none that any peer takes."""

    async def scene(stage: Stage) -> None:
        wuhan, hub = await both(stage)
        ezhou = stage.node(EZHOU)
        wuhan.reaches(ezhou)
        await ezhou.run()
        await talk(wuhan, times=1)
        forged = head_of(4000, incarnation=incarnation)
        honest = wuhan.peers[HUB]

        async def lie(octets: bytes) -> bytes:
            return await honest(octets) + write_frames([HeldFrame(forged)])

        wuhan.peers[HUB] = lie
        await present(wuhan, HeldFrame(forged), peer=HUB)
        assert wuhan.engine.recovery.working is not recovers
        assert (WUHAN, Verdict.LOST.value) in await alarms_of(wuhan)
        await asyncio.sleep(600)
        assert wuhan.engine.recovery.working
        await talk(wuhan)
        await asyncio.sleep(QUIET_MS / 1000 + MINUTE_S)
        held = await hub.read(lambda connection: find_held(connection, WUHAN))
        ours = await wuhan.read(newest_head)
        assert held is not None
        assert ours is not None
        assert held.head.incarnation == ours.incarnation == (incarnation + 1 if recovers else 1)
        assert held.head.size >= ours.size - 2, "the last leaves may not have been shown yet"

    play(tmp_path, scene)


@pytest.mark.spec("LG-15")
@pytest.mark.parametrize(
    "shown", [grown_from_nothing, smaller], ids=["without growth", "always smaller"]
)
def test_a_peer_that_never_proves_its_growth_is_told_to_the_operator(
    tmp_path: Path, shown: Callable[[], HeadFrame]
) -> None:
    """Whoever rewrote his history may avoid every proof of it: heads that nobody can compare."""

    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB)
        await present(hub, grown(0, 9))
        for hours, level in ((1, "info"), (25, "error")):
            await asyncio.sleep(hours * 3600)
            with structlog.testing.capture_logs() as logs:
                await present(hub, shown())
            (line,) = [entry for entry in logs if entry["event"] == "log head"]
            assert line["log_level"] == level
        # Whoever proves it after all is in order.
        await present(hub, grown(9, 40))
        with structlog.testing.capture_logs() as logs:
            await present(hub, shown())
        (line,) = [entry for entry in logs if entry["event"] == "log head"]
        assert line["log_level"] == "info"
        assert await alarms_of(hub) == []

    play(tmp_path, scene)


@pytest.mark.spec("LG-2")
def test_a_stranger_s_rubbish_makes_no_leaf(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        hub = stage.node(HUB)
        await wait_with(hub, 1)
        for _ in range(20):
            await hub.engine.exchange(WUHAN, b"\1\0\0\0\5rubbish")
        await hub.engine.log.drain()
        assert await hub.read(types_of) == [
            LeafType.BIRTH, LeafType.START, LeafType.RECEIPT_ISSUED,
        ]  # fmt: skip

    play(tmp_path, scene)


def only_held(answer: list[Frame]) -> bytes:
    """The head that an answer says is held."""
    (frame,) = [frame for frame in answer if isinstance(frame, HeldFrame)]
    return frame.octets
