"""Group exchange: the numbers of a case, its opener, its parties and their powers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from protocol.bodies import CaseReceived, CaseVoid
from protocol.envelope import CaseReference
from protocol.frames import EnvelopeFrame
from protocol.identifiers import case_id_of
from protocol.reasons import Reason
from signing.keys import KeyUse
from tests.samples import CLERK, OFFICER
from tests.sim.agents import SALT
from tests.sim.craft import PING, Message, Signed
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG
from tests.sim.peers import submission
from tests.unit.routing.provinces import uscc
from tools.vectors.exchange_federation import CLOSED
from tools.vectors.exchange_story import (
    Story,
    busy,
    not_here,
    receipt,
    row,
    signed,
    waiting,
    wanted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocol.bodies import Body
    from protocol.frames import Frame
    from tools.vectors.cases import Case, Json

ORDER: Final = "What one party says in a case has an order, and both ends must see the same one."
THEFT: Final = "Case ids pass hubs in the clear; seeing one must give no power over the case."
OPENING: Final = Message(WUHAN, EZHOU, submission(EZHOU), key_use=KeyUse.ENVELOPE)
CASE: Final = case_id_of(OPENING.reference.authority, OPENING.reference.message_id)


def cases() -> Iterator[Case]:
    """Every case of the file."""
    yield from _numbers()
    yield from _questions_in_order()
    yield from _used()
    yield from _openers()
    yield from _bodies()
    yield from _closed()


def opened() -> Signed:
    """Wuhan opens its case at Ezhou."""
    return signed(dataclasses.replace(OPENING, case=CaseReference(CASE, 1)))


def void(number: int, sequence: int, origin: str = WUHAN) -> Signed:
    """A number of that case made void."""
    return _said(CaseVoid(SALT, CLERK, "空号"), number, sequence, origin)


def _said(body: Body, number: int, sequence: int, origin: str, to: str = EZHOU) -> Signed:
    case = CaseReference(CASE, sequence)
    return signed(Message(origin, to, body, number, case, key_use=KeyUse.ENVELOPE))


def _got(message: Signed) -> Json:
    return receipt("received", EZHOU, message)


def _refused(message: Signed, reason: Reason) -> Json:
    return receipt("refused", EZHOU, message, reason)


def _held(*messages: Signed) -> list[Json]:
    return [row("in", message, "received") for message in messages]


def _numbers() -> Iterator[Case]:
    first, second, third = opened(), void(2, 2), void(3, 3)
    yield (
        Story(EZHOU)
        .post(WUHAN, first.frames(), _got(first))
        .post(WUHAN, third.frames(), waiting(third, 2))
        .post(WUHAN, second.frames(), _got(second))
        .post(WUHAN, third.frames(), _got(third))
        .case(
            "sequence-gap",
            "Number 3 comes before number 2: it is told to wait, and nothing of it is kept.",
            "第 3 号先于第 2 号到达：被告知等候，不留痕。",
            ORDER,
            "EX-6 EX-39",
            *_held(first, second, third),
        )
    )
    yield (
        Story(EZHOU)
        .post(
            WUHAN,
            [*second.frames(), *first.frames()],
            waiting(second, 1),
            _got(first),
        )
        .case(
            "sequence-out-of-order-in-one-post",
            "Two messages of one case in the wrong order in one post: the answers come in the"
            " order of the post.",
            "同一办件两份报文在一次投递中次序颠倒：应答次序同投递次序。",
            ORDER,
            "EX-6 EX-40",
            *_held(first),
        )
    )
    theirs = _said(CaseReceived(SALT, OFFICER, received_ms=1), 7, 1, EZHOU, WUHAN)
    yield (
        Story(EZHOU)
        .post(WUHAN, first.frames(), _got(first))
        .post(EZHOU, theirs.frames(), not_here(theirs, Reason.NOT_FOR_US))
        .case(
            "own-message-comes-back",
            "A node is handed a message of its own, for another node.",
            "节点收到自己发往他节点的报文。",
            ORDER,
            "RT-1 RT-3",
            *_held(first),
            reason=Reason.NOT_FOR_US,
        )
    )


def _questions_in_order() -> Iterator[Case]:
    """Two questions of EX-32 could be asked about a message: the first gives the answer."""
    why = "Two nodes that ask in another order give two answers to one message."
    first, third = opened(), void(3, 3)

    def bare(message: Signed) -> list[Frame]:
        return [EnvelopeFrame(message.path, message.octets)]

    yield (
        Story(EZHOU)
        .post(WUHAN, first.frames(), _got(first))
        .post(WUHAN, bare(first), receipt("received", EZHOU, first, same=1))
        .case(
            "on-record-before-parts",
            "The bare envelope of a message on record: its receipt, and nothing is wanted.",
            "已记录报文的空信封：答以其回执，不再索取部件。",
            why,
            "EX-30 EX-32 EX-44",
            *_held(first),
        )
    )
    yield (
        Story(EZHOU)
        .post(WUHAN, first.frames(), _got(first))
        .post(WUHAN, bare(third), wanted(third, "body"))
        .post(WUHAN, third.frames(), waiting(third, 2))
        .case(
            "parts-before-the-number",
            "A message without its body, and too early: first its body is wanted.",
            "报文缺正文且来得过早：先索取正文。",
            why,
            "EX-32",
            *_held(first),
        )
    )
    bad = signed(
        dataclasses.replace(
            OPENING,
            number=3,
            case=CaseReference(CASE, 3),
            to_authority=CLOSED,
            body=PING,
            kind="case.submit",
        )
    )
    yield (
        Story(EZHOU)
        .post(WUHAN, first.frames(), _got(first))
        .post(WUHAN, bad.frames(), waiting(bad, 2))
        .case(
            "number-before-the-body",
            "A message that is too early and whose body is of another kind: it waits.",
            "报文来得过早且正文种类不符：先等候。",
            why,
            "EX-32",
            *_held(first),
        )
    )
    short = signed(dataclasses.replace(OPENING, case=CaseReference(CASE, 2), lifetime_ms=60_000))
    yield (
        Story(EZHOU)
        .post(WUHAN, bare(short), busy(short, Reason.CLOCK_SKEW), after_s=61)
        .case(
            "expiry-before-parts",
            "An expired message without its body, with a number that is too large: not now.",
            "已失效、缺正文且序号过大的报文：暂缓。",
            why,
            "EX-32 EX-37",
            reason=Reason.CLOCK_SKEW,
        )
    )


def _used() -> Iterator[Case]:
    first, again = opened(), void(2, 1)
    yield (
        Story(EZHOU)
        .post(WUHAN, first.frames(), _got(first))
        .post(WUHAN, again.frames(), _refused(again, Reason.SEQUENCE_USED))
        .post(WUHAN, again.frames(), receipt("refused", EZHOU, again, Reason.SEQUENCE_USED, same=2))
        .case(
            "sequence-used",
            "Another message under a number that was consumed; and the same once more.",
            "另一报文使用已消耗的序号；随后重来一次。",
            ORDER,
            "EX-7 EX-33",
            *_held(first),
            row("in", again, "refused", Reason.SEQUENCE_USED),
            reason=Reason.SEQUENCE_USED,
        )
    )
    early = _said(CaseReceived(SALT, OFFICER, received_ms=1), 2, 2, WUHAN)
    third = void(3, 3)
    yield (
        Story(EZHOU)
        .post(WUHAN, first.frames(), _got(first))
        .post(WUHAN, early.frames(), _refused(early, Reason.POWER_LACKING))
        .post(WUHAN, third.frames(), _got(third))
        .case(
            "refused-uses-its-number-up",
            "The collecting end says what only the handling end may say: it is refused, and its"
            " number is consumed, so that the next one comes.",
            "收件端发出仅办理端可发的报文：被拒，其序号消耗，下一号照常签收。",
            ORDER,
            "EX-34 CA-2",
            *_held(first, third),
            row("in", early, "refused", Reason.POWER_LACKING),
            reason=Reason.POWER_LACKING,
        )
    )
    short = signed(dataclasses.replace(OPENING, case=CaseReference(CASE, 1), lifetime_ms=60_000))
    second = void(2, 2)
    yield (
        Story(EZHOU)
        .post(WUHAN, short.ask(), _refused(short, Reason.EXPIRED), after_s=61)
        .post(WUHAN, second.frames(), _refused(second, Reason.CASE_UNKNOWN), after_s=62)
        .case(
            "tombstone-uses-its-number-up",
            "A tombstone for number 1 of a case: number 2 is looked at, and finds no case.",
            "第 1 号立墓碑：第 2 号得以受检，但办件不存在。",
            ORDER,
            "EX-34 EX-36",
            row("in", short, "refused", Reason.EXPIRED),
            row("in", second, "refused", Reason.CASE_UNKNOWN),
            reason=Reason.EXPIRED,
        )
    )


def _openers() -> Iterator[Case]:
    first = opened()
    thief = signed(
        Message(
            HUB,
            EZHOU,
            submission(EZHOU),
            number=9,
            case=CaseReference(CASE, 1),
            key_use=KeyUse.ENVELOPE,
        )
    )
    yield (
        Story(EZHOU)
        .post(HUB, thief.frames(), _refused(thief, Reason.CASE_ID_INVALID))
        .post(WUHAN, first.frames(), _got(first))
        .case(
            "case-id-of-another",
            "Somebody opens a case of his own under an id he saw; its owner opens it all the same.",
            "他人抢先以所见办件号开案；原开案者照常开案。",
            THEFT,
            "CA-5 EX-33",
            *_held(first),
            row("in", thief, "refused", Reason.CASE_ID_INVALID),
            reason=Reason.CASE_ID_INVALID,
        )
    )
    stranger = void(9, 1, HUB)
    yield (
        Story(EZHOU)
        .post(WUHAN, first.frames(), _got(first))
        .post(HUB, stranger.frames(), _refused(stranger, Reason.CASE_UNKNOWN))
        .case(
            "case-of-others",
            "An authority that is no party of a case speaks in it.",
            "非当事机关在他人办件中发言。",
            THEFT,
            "CA-3",
            *_held(first),
            row("in", stranger, "refused", Reason.CASE_UNKNOWN),
            reason=Reason.CASE_UNKNOWN,
        )
    )
    other = signed(
        dataclasses.replace(
            OPENING, body=submission(XIANGYANG), number=1, case=CaseReference(CASE, 1)
        )
    )
    yield (
        Story(EZHOU)
        .post(WUHAN, other.frames(), _refused(other, Reason.ITEM_NOT_SERVED))
        .case(
            "implementation-of-another",
            "A submission that names another authority's implementation.",
            "申请所称实施清单属另一机关。",
            "A case must run under the list of the authority that handles it.",
            "CT-2 EX-33",
            row("in", other, "refused", Reason.ITEM_NOT_SERVED),
            reason=Reason.ITEM_NOT_SERVED,
        )
    )


def _bodies() -> Iterator[Case]:
    astray = signed(
        dataclasses.replace(OPENING, case=CaseReference(CASE, 1), to_authority=uscc(XIANGYANG))
    )
    yield (
        Story(EZHOU)
        .post(WUHAN, astray.frames(), _refused(astray, Reason.AUTHORITY_NOT_HERE))
        .case(
            "authority-not-here-for-a-case",
            "A submission to an authority that the node in To does not serve.",
            "向不在接收节点的机关提交申请。",
            "Nobody would ever find it there.",
            "RT-5 EX-33",
            row("in", astray, "refused", Reason.AUTHORITY_NOT_HERE),
            reason=Reason.AUTHORITY_NOT_HERE,
        )
    )
    bent = signed(
        Message(
            WUHAN,
            EZHOU,
            PING,
            number=5,
            kind="case.void",
            case=CaseReference(CASE, 1),
            key_use=KeyUse.ENVELOPE,
        )
    )
    yield (
        Story(EZHOU)
        .post(WUHAN, bent.frames(), _refused(bent, Reason.BODY_INVALID))
        .case(
            "body-of-another-kind",
            "The body of a ping in an envelope that says case.void.",
            "信封为空号作废而正文为连通测试。",
            "What is signed as one thing must not act as another.",
            "BO-4 EX-33",
            row("in", bent, "refused", Reason.BODY_INVALID),
            reason=Reason.BODY_INVALID,
        )
    )


def _closed() -> Iterator[Case]:
    base = Message(
        WUHAN,
        EZHOU,
        submission(EZHOU),
        number=4,
        key_use=KeyUse.ENVELOPE,
        to_authority=CLOSED,
    )
    case = case_id_of(base.reference.authority, base.reference.message_id)
    late = signed(dataclasses.replace(base, case=CaseReference(case, 1)))
    yield (
        Story(EZHOU)
        .post(WUHAN, late.frames(), _refused(late, Reason.AUTHORITY_CLOSED))
        .case(
            "authority-closed",
            "A submission to an authority in whose place another stands since yesterday.",
            "向昨日已由他机关承继的机关提交申请。",
            "A case must be opened with somebody who can decide it.",
            "DI-16",
            row("in", late, "refused", Reason.AUTHORITY_CLOSED),
            reason=Reason.AUTHORITY_CLOSED,
        )
    )
