from __future__ import annotations

import asyncio
import shutil
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog

from node import trust_sync
from node.clock import SystemClock
from node.trust_sync import ASK_MS, MAX_FILES, TrustSync, read_answer, write_answer, write_question
from protocol.errors import RefusedError, UnavailableError
from protocol.limits import MAX_POST_OCTETS
from protocol.reasons import Reason
from tests.homes import HUB, WUHAN, XIANGYANG, Homes, make_homes
from tests.unit.node.test_federation import edit, trust_of
from tests.unit.routing.provinces import revocation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from node.context import Federation
    from node.federation import Trust

FILES = [b"root", b"directory", b"freshness"]


def files_of(prefix: str) -> list[bytes]:
    return FILES if prefix == "42" else []


# --- questions and answers


@pytest.mark.spec("DI-18")
def test_an_answer_holds_what_the_question_lacks_freshness_last() -> None:
    assert read_answer(write_answer(write_question("42", []), files_of)) == FILES
    known = write_question("42", [b"root", b"freshness", b"other"])
    assert read_answer(write_answer(known, files_of)) == [b"directory"]
    assert write_answer(write_question("42", FILES), files_of) == b""
    assert write_answer(write_question("43", []), files_of) == b""


@pytest.mark.spec("DI-18")
def test_what_does_not_fit_into_one_answer_comes_with_the_next() -> None:
    files = [b"a" * MAX_POST_OCTETS, b"b" * MAX_POST_OCTETS, b"c"]
    found: list[bytes] = []
    while answer := write_answer(write_question("42", found), lambda _: files):
        assert len(answer) <= MAX_POST_OCTETS + 8 + 1
        found += read_answer(answer)
    assert found == files


@pytest.mark.spec("DI-18")
@pytest.mark.parametrize("question", [b"", b"4", b"4x", b"42" + bytes(31), b"42" + bytes(32 * 257)])
def test_what_is_no_question_is_refused(question: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        write_answer(question, files_of)
    assert caught.value.reason is Reason.FRAME_MALFORMED


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00",
        struct.pack(">I", 0),
        struct.pack(">I", 5) + b"four",
        struct.pack(">I", 1) + b"a" + struct.pack(">I", 2**32 - 1),
        (struct.pack(">I", 1) + b"a") * (MAX_FILES + 1),
    ],
)
def test_what_is_no_answer_is_refused(answer: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        read_answer(answer)
    assert caught.value.reason is Reason.FRAME_MALFORMED


# --- fetching into a home


@dataclass
class Node:
    """As much of a running node as the fetching needs: its time, and what it believes."""

    here: str
    federation: Federation
    clock: SystemClock = field(default_factory=SystemClock)


@dataclass
class Peer:
    """What answers questions: another home's files, or a lie."""

    answer: Callable[[bytes], bytes]
    asked: list[str] = field(default_factory=list)

    async def ask(self, peer: str, question: bytes) -> bytes:
        self.asked.append(peer)
        return self.answer(question)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    return make_homes(tmp_path_factory.mktemp("homes"), (HUB, WUHAN, XIANGYANG))


@pytest.fixture
def homes(made: Homes, tmp_path: Path) -> Homes:
    return made.copy(tmp_path / "homes")


@pytest.fixture
def trust(homes: Homes) -> Trust:
    """武汉, with files of its own in folders of its own; 襄阳 and the hub share the published."""
    for name in ("directories", "catalogue"):
        shutil.copytree(homes.folder / name, homes.folder / WUHAN / name)
        edit(homes.folder / WUHAN / "node.toml", f"../{name}", name)
    return trust_of(homes, WUHAN)


def syncing(trust: Trust, answer: Callable[[bytes], bytes]) -> tuple[TrustSync, Peer]:
    peer = Peer(answer)
    node = Node(WUHAN, trust.load())
    return TrustSync(cast("Any", node), trust, peer.ask), peer


def honest(homes: Homes) -> Callable[[bytes], bytes]:
    """What 襄阳 answers, which has what was published since."""
    other = trust_of(homes, XIANGYANG)
    other.load()
    return lambda question: write_answer(question, other.documents)


def written(homes: Homes) -> dict[str, bytes]:
    """武汉's files."""
    return {path.name: path.read_bytes() for path in (homes.folder / WUHAN).glob("*/*.json")}


@pytest.mark.spec("DI-19")
def test_a_newer_set_is_fetched_with_its_items_and_what_it_replaces_goes(
    homes: Homes, trust: Trust
) -> None:
    trust.load()
    homes.publish_catalogue(version=2)
    homes.publish(version=2)
    sync, peer = syncing(trust, honest(homes))
    assert asyncio.run(sync.round())
    assert peer.asked[0] == HUB, "its own hub first"
    federation = trust.load()
    assert federation.directory.provinces["42"].payload.version == 2
    assert {"directory-42-2.json", "items-42-2.json", "freshness-42.json"} <= set(written(homes))
    assert "directory.json" not in written(homes)
    assert not asyncio.run(sync.round()), "nothing new"


@pytest.mark.spec("DI-10", "DI-19")
def test_a_revocation_alone_is_fetched(homes: Homes, trust: Trust) -> None:
    key = trust.load().directory.provinces["42"].payload.keys[0]
    path = homes.folder / "directories" / "revocation.json"
    path.write_bytes(revocation("42", key, issued_ms=SystemClock().now_ms()))
    sync, _ = syncing(trust, honest(homes))
    assert asyncio.run(sync.round())
    assert trust.load().directory.provinces["42"].records()[0].revoked_ms is not None


def framed(*files: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(octets)) + octets for octets in files)


@pytest.mark.spec("DI-19")
def test_what_a_peer_makes_up_does_not_fill_the_memory(
    trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 answers of 40 MiB each would: there is an end to what is fetched at once."""
    monkeypatch.setattr(trust_sync, "MAX_FETCHED_OCTETS", 3 * 2**16)
    handed: list[bytes] = []

    def large(_question: bytes) -> bytes:
        handed.append(len(handed).to_bytes(2) * 2**15)
        return framed(handed[-1])

    sync, _ = syncing(trust, large)
    with structlog.testing.capture_logs() as logs:
        assert not asyncio.run(sync.round())
    assert len(handed) == 4
    assert "has no end" in logs[-1]["why"]


@pytest.mark.spec("DI-19")
@pytest.mark.parametrize(
    "lie", ["junk", "older", "endless", "half", "another", "nothing", "silence"]
)
def test_what_a_peer_makes_up_changes_nothing(homes: Homes, trust: Trust, lie: str) -> None:
    """对端造假 a peer hands out junk, old or endless documents → nothing is written."""
    older = dict(written(homes))
    homes.publish(version=2)
    for path in (homes.folder / "directories").glob("*.json"):
        shutil.copy(path, homes.folder / WUHAN / "directories")
    homes.refresh()
    newer = {path.name: path.read_bytes() for path in homes.folder.glob("directories/*.json")}
    count = iter(range(10**6))

    def silence(_question: bytes) -> bytes:
        raise UnavailableError(Reason.PEER_UNREACHABLE, "no answer")

    lies: dict[str, Callable[[bytes], bytes]] = {
        "junk": lambda _: framed(b"{}"),
        "older": lambda _: framed(older["directory.json"], older["freshness.json"]),
        "endless": lambda _: framed(b"%d" % next(count)),
        "half": lambda _: framed(newer["freshness.json"].replace(b'"sig":"', b'"sig":"A', 1)),
        "another": lambda _: framed(revocation("43")),
        "nothing": lambda _: b"\x00",
        "silence": silence,
    }
    sync, _ = syncing(trust, lies[lie])
    before = written(homes)
    with structlog.testing.capture_logs() as logged:
        assert not asyncio.run(sync.round())
    assert written(homes) == before
    assert trust.load().directory.provinces["42"].payload.version == 2
    if lie not in ("older", "another"):
        assert [row["event"] for row in logged] == ["directory not fetched"]


@pytest.mark.spec("DI-19")
def test_peers_are_asked_now_and_then_and_oftener_when_it_is_late(trust: Trust) -> None:
    sync, _ = syncing(trust, lambda _: b"")
    node = cast("Node", sync._context)
    assert sync.due()
    asyncio.run(sync.round())
    assert not sync.due()
    sync._asked_ms = node.clock.now_ms() - ASK_MS
    assert sync.due()
    sync._asked_ms = node.clock.now_ms() - ASK_MS // 2
    assert not sync.due()
    sync._trust._pinned = ("42", "43")
    assert sync.due(), "a pinned province is missing"


def test_a_node_whose_files_are_no_folder_goes_on_without_fetching(
    homes: Homes, trust: Trust
) -> None:
    trust.load()
    homes.publish(version=2)
    folder = homes.folder / WUHAN / "directories"
    files = ", ".join(f'"directories/{path.name}"' for path in sorted(folder.iterdir()))
    edit(homes.folder / WUHAN / "node.toml", '["directories"]', f"[{files}]")
    sync, _ = syncing(trust_of(homes, WUHAN), honest(homes))
    with structlog.testing.capture_logs() as logged:
        assert not asyncio.run(sync.round())
    assert "names no folder" in logged[0]["why"]
