"""Posts of pieces under way: how many, in which order, and how it ends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from node.errands import HandOver
from node.parts.flow import LEASE_MS, Flow
from protocol.errors import UnavailableError
from protocol.reasons import Reason
from tests.sim.loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def errand(name: str) -> Any:
    return SimpleNamespace(message=SimpleNamespace(reference=name))


A, B = errand("a"), errand("b")


class Peer:
    """What a flow is bound to: every post goes on until the test ends it."""

    def __init__(self, *turns: Sequence[Any]) -> None:
        self.turns = list(turns)
        self.posts: list[asyncio.Future[Any]] = []
        self.left: list[Callable[[], None]] = []
        self.answers: list[Any] = []
        self.offered: list[str] = []
        self.trouble: Exception | None = None
        self.flow = Flow(self.build, self.post, self.answered)

    async def build(self, ready: Sequence[Any]) -> HandOver:
        names = self.turns.pop(0) if self.turns else ()
        self.offered.append("".join(one.message.reference for one in ready))
        taken = [one for one in ready if one.message.reference in names]
        more = [
            one
            for one in taken
            if self.turns and any(one.message.reference in turn for turn in self.turns)
        ]
        return HandOver(taken, b"", more)

    async def post(self, handed: HandOver, sent: Callable[[], None]) -> Any:
        del handed
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.posts.append(future)
        self.left.append(sent)
        return await future

    async def answered(self, handed: HandOver, frames: Any) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.answers.append(([one.message.reference for one in handed.errands], frames))


def test_the_next_leaves_when_the_one_before_has_left_and_two_are_under_way() -> None:
    async def scene() -> None:
        peer = Peer("a", "a", "a")
        assert peer.flow.take(A, 0, more=True)
        await asyncio.sleep(1)
        assert len(peer.posts) == 1
        peer.left[0]()
        await asyncio.sleep(1)
        assert len(peer.posts) == 2
        peer.left[1]()
        await asyncio.sleep(1)
        assert len(peer.posts) == 2
        assert peer.flow.others(A.message.reference)
        peer.posts[0].set_result("one")
        await asyncio.sleep(1)
        assert len(peer.posts) == 3
        await peer.flow.stop()

    run_virtual(scene())


def test_answers_take_effect_in_the_order_of_the_posts() -> None:
    async def scene() -> None:
        peer = Peer("a", "a")
        peer.flow.take(A, 0, more=True)
        await asyncio.sleep(1)
        peer.left[0]()
        await asyncio.sleep(1)
        peer.posts[1].set_result("two")
        await asyncio.sleep(1)
        assert peer.answers == []
        peer.posts[0].set_result(None)  # it came to nothing, which was seen to
        await asyncio.sleep(1)
        assert peer.answers == [(["a"], "two")]
        assert not peer.flow.others(A.message.reference)
        await peer.flow.stop()

    run_virtual(scene())


def test_messages_take_turns() -> None:
    async def scene() -> None:
        peer = Peer("a", "b", "a", "b")
        peer.flow.take(A, 0, more=True)
        peer.flow.take(B, 0, more=True)
        for number in range(4):
            await asyncio.sleep(1)
            peer.posts[number].set_result(number)
        await asyncio.sleep(1)
        assert [names for names, _ in peer.answers] == [["a"], ["b"], ["a"], ["b"]]
        assert peer.offered == ["ab", "ba", "ab", "b"]
        await peer.flow.stop()

    run_virtual(scene())


def test_a_lease_is_renewed_now_and_then() -> None:
    async def scene() -> None:
        peer = Peer()
        told = [peer.flow.take(A, now_ms, more=False) for now_ms in (0, 1_000, 4_000, 5_000)]
        assert told == [True, False, True, False]
        peer.flow.let_go(A.message.reference)
        assert peer.flow.take(A, 5_000, more=False)
        assert LEASE_MS > 5_000
        await peer.flow.stop()

    run_virtual(scene())


@pytest.mark.parametrize(
    "trouble", [UnavailableError(Reason.STORE_UNAVAILABLE, "full"), KeyError("lost")], ids=repr
)
def test_trouble_ends_the_flow_and_the_next_message_begins_another(trouble: Exception) -> None:
    async def scene() -> None:
        peer = Peer("a", "a", "b")
        peer.flow.take(A, 0, more=True)
        await asyncio.sleep(1)
        peer.left[0]()
        await asyncio.sleep(1)
        peer.trouble = trouble
        peer.posts[0].set_result("one")
        await asyncio.sleep(1)
        assert peer.posts[1].cancelled()
        peer.trouble = None
        peer.flow.take(B, 0, more=True)
        await asyncio.sleep(1)
        peer.posts[2].set_result("three")
        await asyncio.sleep(1)
        assert peer.answers == [(["b"], "three")]
        await peer.flow.stop()

    with structlog.testing.capture_logs() as logged:
        run_virtual(scene())
    assert len(logged) == 1


def test_what_nothing_can_be_built_of_is_not_asked_for_again_and_again() -> None:
    async def scene() -> None:
        peer = Peer()
        peer.flow.take(A, 0, more=True)
        await asyncio.sleep(1)
        assert peer.posts == []
        await peer.flow.stop()

    run_virtual(scene())
