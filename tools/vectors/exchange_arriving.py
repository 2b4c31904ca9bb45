"""Group exchange: posts that are damaged, who presents what, and clocks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from protocol.frames import EnvelopeFrame, write_frames
from protocol.reasons import Reason
from tests.sim.federation import EZHOU, HUB, HUNAN, WUHAN, XIANGYANG, YUEYANG
from tests.sim.loop import START_MS
from tests.unit.routing.provinces import uscc
from tools.vectors.exchange_receiving import HOLDS, MINUTE_MS, ping
from tools.vectors.exchange_story import (
    Story,
    busy,
    not_here,
    receipt,
    row,
    wanted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sim.craft import Signed
    from tools.vectors.cases import Case

BEARER: Final = "A peer that could present anybody's messages could hold back or reorder them."
LATE: Final = "A message that expired has to end the same way at both ends."


def cases() -> Iterator[Case]:
    """Every case of the file."""
    yield from _whole_posts()
    yield from _bearers()
    yield from _clocks()


def _whole_posts() -> Iterator[Case]:
    one = ping()
    post = write_frames(one.frames())
    part_first = write_frames(one.frames()[::-1])
    for name, octets, clause, what, what_zh in (
        ("post-cut", post[:-1], "EX-1 FR-1", "A post cut short.", "投递被截断。"),
        (
            "post-part-first",
            part_first,
            "EX-1 FR-2",
            "A part before its envelope.",
            "部件先于信封。",
        ),
    ):
        yield (
            Story(EZHOU)
            .post(WUHAN, octets, receipt("refused", EZHOU, None, Reason.FRAME_MALFORMED))
            .post(WUHAN, post, receipt("received", EZHOU, one))
            .case(
                name,
                f"{what} The refusal is of the whole post and names no message.",
                f"{what_zh}整次投递被拒，拒收不指名。",
                "A sender must not end a message because a post was damaged on its way.",
                f"{clause} EX-47 RC-4",
                row("in", one, "received"),
                reason=Reason.FRAME_MALFORMED,
            )
        )
    two = ping(number=2)
    bad = EnvelopeFrame((WUHAN,), b"<a></a>")
    yield (
        Story(EZHOU)
        .post(
            WUHAN,
            [*one.frames(), bad, *two.frames()],
            receipt("received", EZHOU, one),
            receipt("refused", EZHOU, None, Reason.SIGNATURE_MISSING),
            receipt("received", EZHOU, two),
        )
        .case(
            "bad-neighbour",
            "Rubbish between two messages: each is answered as if the others were not there.",
            "两份报文之间夹着垃圾：各自应答，互不影响。",
            "One bad message could hold up everybody's.",
            "EX-40",
            row("in", one, "received"),
            row("in", two, "received"),
            reason=Reason.SIGNATURE_MISSING,
        )
    )


def _bearers() -> Iterator[Case]:
    ours, theirs = ping(XIANGYANG, EZHOU), ping(YUEYANG, EZHOU)
    yield (
        Story(EZHOU)
        .post(HUB, ours.via(HUB).frames(), receipt("received", EZHOU, ours))
        .post(HUB, theirs.via(HUNAN, HUB).frames(), receipt("received", EZHOU, theirs))
        .case(
            "through-the-hub",
            "The hub presents messages of its own province, and of another one to its own.",
            "枢纽代转本省报文，以及外省发往本省的报文。",
            HOLDS,
            "EX-2 RT-10",
            row("in", ours, "received"),
            row("in", theirs, "received"),
        )
    )
    no = Reason.PEER_NOT_FORWARDER
    one = ping()
    rows: list[tuple[str, str, str, Signed, str, str, str]] = [
        (
            "by-a-neighbour",
            EZHOU,
            WUHAN,
            ours.via(WUHAN),
            "EX-2",
            "A node that is no hub presents another node's message.",
            "非枢纽节点代转他节点报文。",
        ),
        (
            "by-a-foreign-hub",
            EZHOU,
            HUNAN,
            ours.via(HUNAN),
            "EX-2",
            "Another province's hub presents a message between two nodes of this one.",
            "外省枢纽代转本省两节点之间的报文。",
        ),
        (
            "path-not-from-its-origin",
            EZHOU,
            HUB,
            dataclasses.replace(ours, path=(WUHAN, HUB)),
            "RT-10",
            "A path that begins with another node than From's.",
            "路径不以始发节点开头。",
        ),
        (
            "path-not-to-the-bearer",
            EZHOU,
            HUB,
            ours,
            "RT-10",
            "A path that does not end with the peer that presents it.",
            "路径不以投递者结尾。",
        ),
    ]
    for name, node, peer, message, clause, what, what_zh in rows:
        yield (
            Story(node)
            .post(peer, message.frames(), not_here(message, no))
            .case(f"presented-{name}", what, what_zh, BEARER, clause, reason=no)
        )
    there = ping(WUHAN, XIANGYANG)
    yield (
        Story(EZHOU)
        .post(WUHAN, there.frames(), not_here(there, Reason.NOT_FOR_US))
        .post(WUHAN, one.frames(), receipt("received", EZHOU, one))
        .case(
            "not-for-us",
            "A message for another node at a node that is no hub.",
            "发往他节点的报文到达非枢纽节点。",
            BEARER,
            "RT-1",
            row("in", one, "received"),
            reason=Reason.NOT_FOR_US,
        )
    )
    astray = ping(to_authority=uscc(XIANGYANG))
    yield (
        Story(EZHOU)
        .post(
            WUHAN,
            astray.frames(),
            receipt("refused", EZHOU, astray, Reason.AUTHORITY_NOT_HERE),
        )
        .case(
            "authority-not-here",
            "To names an authority that the node in To does not serve.",
            "接收机关不在接收节点。",
            "Nobody would ever find it there.",
            "RT-5 EX-33",
            row("in", astray, "refused", Reason.AUTHORITY_NOT_HERE),
            reason=Reason.AUTHORITY_NOT_HERE,
        )
    )


def _clocks() -> Iterator[Case]:
    ahead = ping(created_ms=START_MS + 6 * MINUTE_MS)
    yield (
        Story(EZHOU)
        .post(WUHAN, ahead.frames(), busy(ahead, Reason.CLOCK_SKEW))
        .post(WUHAN, ahead.frames(), receipt("received", EZHOU, ahead), after_s=60)
        .case(
            "created-ahead",
            "Created six minutes ahead of the clock: not now; a minute later it is received.",
            "生成时刻超前六分钟：暂缓；一分钟后照常签收。",
            "One of two clocks is wrong, and time tells which.",
            "TR-2 EX-39",
            row("in", ahead, "received"),
            reason=Reason.CLOCK_SKEW,
        )
    )
    short = ping(lifetime_ms=MINUTE_MS)
    over = Reason.EXPIRED
    yield (
        Story(EZHOU)
        .post(WUHAN, short.frames(), busy(short, Reason.CLOCK_SKEW), after_s=61)
        .case(
            "expired-and-presented",
            "An expired message, presented as if it lived: not now.",
            "已失效的报文仍被投递：暂缓。",
            LATE,
            "EX-37 EX-39",
            reason=Reason.CLOCK_SKEW,
        )
    )
    yield (
        Story(EZHOU)
        .post(WUHAN, short.ask(), receipt("refused", EZHOU, short, over), after_s=61)
        .post(WUHAN, short.frames(), receipt("refused", EZHOU, short, over, same=1), after_s=62)
        .post(WUHAN, short.ask(), receipt("refused", EZHOU, short, over, same=1), after_s=63)
        .case(
            "tombstone",
            "Asked about an expired message it never had, the destination records a tombstone,"
            " and answers with it for ever.",
            "被问及从未收到且已失效的报文，目的地立墓碑，此后始终以之应答。",
            LATE,
            "EX-9 EX-33 EX-36",
            row("in", short, "refused", over),
            reason=over,
        )
    )
    yield (
        Story(EZHOU)
        .post(WUHAN, short.frames(), receipt("received", EZHOU, short))
        .post(WUHAN, short.ask(), receipt("received", EZHOU, short, same=1), after_s=61)
        .case(
            "asked-on-record",
            "Asked about an expired message it has, the destination gives its receipt again.",
            "被问及已签收的报文，目的地再给原回执。",
            LATE,
            "EX-9 EX-30",
            row("in", short, "received"),
        )
    )
    one = ping()
    yield (
        Story(EZHOU)
        .post(WUHAN, one.ask(), wanted(one, "body"))
        .post(WUHAN, one.frames(), receipt("received", EZHOU, one))
        .case(
            "asked-before-expiry",
            "Asked about a message it does not have and that lives, the destination wants it.",
            "被问及未收到且未失效的报文，目的地索取之。",
            "A tombstone too early would end a message that is on its way.",
            "EX-38 EX-39",
            row("in", one, "received"),
        )
    )
