"""Group log: a head shown beside the one held, and the growth it is shown with (LG-8)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from protocol.frames import HeadFrame, write_frames
from protocol.instants import format_instant
from protocol.limits import MAX_CLOCK_SKEW_MS
from protocol.reasons import Reason
from signing.log import Leaf, LeafType, LogDigest, view_digest
from tests.messages import NOW_MS, WUHAN
from tools.vectors.log import HOLDS, case, leaf_of, tree_of
from tools.vectors.log_signed import HEAD_KEY, head, signed
from tools.vectors.samples import key_row, record_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from signing.log import Head
    from tools.vectors.cases import Case, Json

UNSEEN: Final = "History could be rewritten unseen."
LEAVES: Final = [leaf_of(number) for number in range(300)]
OTHERS: Final = [Leaf(LeafType.MESSAGE_SENT, NOW_MS, leaf.digest) for leaf in LEAVES]
VIEW: Final = b"42" + bytes(3 * 40)


def cases() -> Iterator[Case]:
    """Every case of the file."""
    yield from _grown()
    yield from _others()
    yield from _shown()
    yield from _contradictions()


def of(size: int, leaves: Sequence[Leaf] = LEAVES, **changes: object) -> Head:
    """A head of the log of the first leaves."""
    return replace(head(), size=size, root=tree_of(leaves[:size]).root, **changes)  # type: ignore[arg-type]


def proof(first: int, size: int, leaves: Sequence[Leaf] = LEAVES) -> tuple[bytes, ...]:
    """That the first leaves grew into so many."""
    return tuple(tree_of(leaves[:size]).consistency_proof(first)) if first < size else ()


def _case(
    name: str,
    held: Head | None,
    shown: bytes | Head,
    first: int,
    path: Sequence[bytes],
    what: str,
    what_zh: str,
    *,
    verdict: str | None = None,
    reason: Reason | None = None,
    view: bytes = b"",
    clause: str = "LG-7 LG-8",
    now_ms: int = NOW_MS,
) -> Case:
    octets = shown if isinstance(shown, bytes) else signed(shown)
    files = {"shown.bin": write_frames([HeadFrame(octets, view, first, tuple(path))])}
    if held is not None:
        files["held.tbh"] = signed(held)
    inputs: dict[str, Json] = {
        "node": WUHAN,
        "now": format_instant(now_ms),
        "keys": [key_row(record_for(HEAD_KEY))],
    }
    return case(
        f"shown-{name}",
        what,
        what_zh,
        UNSEEN if reason else HOLDS,
        clause,
        files,
        reason=reason,
        inputs=inputs,
        result={} if verdict is None else {"verdict": verdict},
    )


def _grown() -> Iterator[Case]:
    for first, size in ((1, 2), (1, 3), (2, 3), (3, 7), (4, 7), (6, 8), (8, 9), (256, 300)):
        yield _case(
            f"grown-{first}-to-{size}",
            of(first),
            of(size),
            first,
            proof(first, size),
            f"A log of {first} leaves has grown to {size}.",
            f"日志由 {first} 片叶增至 {size} 片。",
            verdict="grown",
        )


def _others() -> Iterator[Case]:
    four = of(4)
    rows: list[tuple[str, Head | None, Head, int, tuple[bytes, ...], str, str, str]] = [
        ("first", None, of(7), 0, (), "first", "The first head of a node.", "首个日志头。"),
        (
            "again",
            of(7),
            of(7, instant_ms=NOW_MS + 1),
            7,
            (),
            "known",
            "The same log, signed once more.",
            "同一日志再次签名。",
        ),
        ("smaller", of(7), four, 0, (), "stale", "A log that shrank, or came late.", "变小。"),
        (
            "from-another-size",
            four,
            of(7),
            3,
            proof(3, 7),
            "unshown",
            "Growth from another size than the one held.",
            "增长证明的起点不是所存规模。",
        ),
        (
            "without-growth",
            four,
            of(7),
            0,
            (),
            "unshown",
            "A larger log with no proof.",
            "变大而无证明。",
        ),
        (
            "restarted",
            of(7),
            of(2, OTHERS, incarnation=2),
            0,
            (),
            "restarted",
            "A later incarnation.",
            "后一代日志。",
        ),
        (
            "earlier-incarnation",
            of(2, OTHERS, incarnation=2),
            of(7),
            0,
            (),
            "stale",
            "An earlier incarnation.",
            "前一代日志。",
        ),
    ]
    for name, held, shown, first, path, verdict, what, what_zh in rows:
        clause = "LG-8 LG-10" if name == "restarted" else "LG-8"
        yield _case(name, held, shown, first, path, what, what_zh, verdict=verdict, clause=clause)


def _shown() -> Iterator[Case]:
    """What is looked at before the head is judged."""
    seven = of(7)
    viewed = replace(seven, view=view_digest(VIEW))
    late = replace(seven, instant_ms=NOW_MS + MAX_CLOCK_SKEW_MS)
    yield _case(
        "with-its-view",
        None,
        viewed,
        0,
        (),
        "A head with the octets of the view it is over.",
        "日志头附其视图字节。",
        verdict="first",
        view=VIEW,
        clause="LG-6 LG-7",
    )
    yield _case(
        "as-far-ahead-as-clocks-may-be",
        None,
        late,
        0,
        (),
        "A head exactly 300 000 ms ahead of the clock.",
        "日志头恰超前 300 000 毫秒。",
        verdict="first",
        clause="LG-6",
    )
    yield _case(
        "with-another-view",
        None,
        viewed,
        0,
        (),
        "A head with the octets of another view than it is over.",
        "日志头附另一视图。",
        reason=Reason.HEAD_INVALID,
        clause="LG-6",
    )
    yield _case(
        "of-the-future",
        None,
        replace(late, instant_ms=late.instant_ms + 1),
        0,
        (),
        "A head more than 300 000 ms ahead of the clock.",
        "日志头超前 300 001 毫秒。",
        reason=Reason.CLOCK_SKEW,
        clause="LG-6",
    )


def _contradictions() -> Iterator[Case]:
    four, seven = of(4), of(7)
    path = proof(4, 7)
    six = proof(3, 6)
    other = proof(4, 7, [*LEAVES[:4], *OTHERS[4:7]])
    sm3 = replace(seven, digest=LogDigest.SM3, root=tree_of(LEAVES[:7], LogDigest.SM3).root)
    wrong: list[tuple[str, Head, Head, int, Sequence[bytes], str, str]] = [
        (
            "forked",
            seven,
            of(7, OTHERS),
            7,
            (),
            "Another root of the same size: a fork.",
            "规模相同而根不同：分叉。",
        ),
        (
            "rewritten",
            four,
            of(7, OTHERS),
            4,
            proof(4, 7, OTHERS),
            "A longer log that does not hold the first leaves.",
            "更长的日志不含原有的叶。",
        ),
        (
            "rewritten-last-leaf",
            four,
            of(7, [*LEAVES[:3], *OTHERS[3:7]]),
            4,
            proof(4, 7, [*LEAVES[:3], *OTHERS[3:7]]),
            "A longer log in which the last leaf was exchanged.",
            "更长的日志换掉了最后一片叶。",
        ),
        (
            "growth-of-another-log",
            four,
            seven,
            4,
            other,
            "The proof of another log that grew from the same leaves.",
            "由相同的叶增长而来的另一日志的证明。",
        ),
        ("growth-cut", of(3), of(6), 3, six[:-1], "A hash is missing.", "缺一摘要。"),
        ("growth-longer", four, seven, 4, [*path, path[-1]], "A hash too many.", "多一摘要。"),
        ("growth-empty", four, seven, 4, [], "No hashes at all.", "没有摘要。"),
        ("growth-order", of(3), of(6), 3, six[::-1], "Hashes in another order.", "次序颠倒。"),
        (
            "growth-one-size-less",
            of(3),
            replace(of(5), size=4),
            3,
            proof(3, 5),
            "The root of 5 leaves, stated of 4.",
            "把 5 片叶的根称为 4 片的根。",
        ),
        (
            "growth-one-size-more",
            of(3),
            replace(of(4), size=5),
            3,
            proof(3, 4),
            "The root of 4 leaves, stated of 5.",
            "把 4 片叶的根称为 5 片的根。",
        ),
        (
            "digest-changed",
            four,
            sm3,
            4,
            tree_of(LEAVES[:7], LogDigest.SM3).consistency_proof(4),
            "The same leaves under another digest.",
            "相同的叶改用另一摘要。",
        ),
    ]
    for name, held, shown, first, hashes, what, what_zh in wrong:
        yield _case(
            name,
            held,
            shown,
            first,
            hashes,
            what,
            what_zh,
            reason=Reason.LOG_BROKEN,
            clause="LG-3 LG-8" if name == "digest-changed" else "LG-8 LG-9",
        )
