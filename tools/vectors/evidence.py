"""Group evidence: files of a case and of a message, and files that fail at each of the steps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from protocol.reasons import Reason
from routing.directory_roles import TrustAnchor
from signing.erasure import Erasure, Ground
from signing.evidence import MAGIC, Subject
from signing.keys import KeyUse
from signing.suites import Suite
from tests.evidence_files import (
    ANCHOR,
    FOREIGN,
    Piece,
    directories,
    evidence,
    joined,
    message,
    pieces,
    sealed_anew,
    story,
)
from tests.messages import (
    DAY_MS,
    HUB,
    NOW_MS,
    WUHAN,
    Keys,
    authority_of,
    message_id,
    verified,
)
from tests.unit.routing.provinces import pin, root
from tools.vectors.cases import Case
from tools.vectors.samples import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


ABOUT, DIRECTORY, ENVELOPE, PART, RECEIPT, SEAL, ERASURE = 1, 2, 3, 4, 5, 9, 10
KEYS: Final = keys()
FILE: Final = evidence(KEYS, story(KEYS))
LONE: Final[dict[str, Any]] = {"subject": Subject.MESSAGE, "subject_id": message_id(1)}
ONE: Final = evidence(KEYS, [message(KEYS, custody=[HUB])], **LONE)

WHOLE: Final = "Every octet of a file is somebody's: what is not signed inside is sealed outside."
OUTSIDE: Final = "Whoever brings his own anchor along proves anything."
WITNESS: Final = "A stolen key can date a message back, but not what another node signed."


STEPS: Final = (
    "container",
    "about",
    "directories",
    "envelopes",
    "parts",
    "receipts",
    "subject",
    "seal",
)


def cases() -> Iterator[Case]:
    """The good files, and those that fail at the first four steps."""
    yield from _good()
    yield from _container_and_about()
    yield from _directories_and_envelopes()


def registered(use: KeyUse, owner: str, **changes: Any) -> Keys:  # noqa: ANN401 - record fields
    """The keys, one of them registered otherwise."""
    key_id = KEYS.find(use, owner)
    records = [
        replace(record, **changes) if record.key.key_id == key_id else record
        for record in KEYS.records
    ]
    return Keys(records, KEYS.secrets)


def without(use: KeyUse) -> list[bytes]:
    """The directory's files without the keys of this use."""
    return directories(Keys([row for row in KEYS.records if row.use is not use], KEYS.secrets))


def edited(kind: int, octets: bytes, records: Sequence[Piece] | None = None) -> list[Piece]:
    """The records with the first of this type replaced."""
    held = list(pieces(FILE) if records is None else records)
    place = next(place for place, record in enumerate(held) if record.kind == kind)
    held[place] = Piece(kind, octets)
    return held


def erased(**changes: Any) -> bytes:  # noqa: ANN401 - fields of the record
    """A file with the record of an erasure in the place of parts."""
    one = message(KEYS, parts={}, custody=[HUB])
    stated = verified(one.envelope, KEYS).message_digest
    record = Erasure(Ground.RETENTION, authority_of(WUHAN), NOW_MS + DAY_MS, stated, bytes(32))
    return evidence(KEYS, [replace(one, erasure=replace(record, **changes).octets)], **LONE)


def _good() -> Iterator[Case]:
    for suite in Suite:
        held = keys(suite)
        octets = evidence(held, story(held))
        yield _valid(
            f"case-{suite.value}",
            octets,
            f"A case of three messages in the suite {suite}.",
            f"三份报文的办件，套件 {suite}。",
            3,
        )
    yield _valid(
        "message",
        ONE,
        "One message with its parts, custody and receipt.",
        "一份报文及其部件、托管与签收。",
        1,
    )
    left_out = sealed_anew([record for record in pieces(ONE) if record.kind != PART], KEYS)
    yield _valid(
        "left-out",
        left_out,
        "The same for somebody who may not read it: its parts left out.",
        "同上，交给无权阅读的人：未附部件。",
        1,
    )
    yield _valid(
        "erased",
        erased(),
        "The same, its parts erased: the record of that is in their place.",
        "同上，部件已依法删除：原处是删除记录。",
        1,
    )
    in_pieces = [
        Piece(PART, record.octets[:3] + octets)
        for record in pieces(ONE)
        if record.kind == PART and record.octets.startswith(b"\2m1")
        for octets in (record.octets[3:7], record.octets[7:])
    ]
    others = [record for record in pieces(ONE) if not record.octets.startswith(b"\2m1")]
    place = next(place for place, record in enumerate(others) if record.kind == PART) + 1
    yield _valid(
        "part-in-pieces",
        sealed_anew([*others[:place], *in_pieces, *others[place:]], KEYS),
        "The same, one of its parts in two records.",
        "同上，其中一个部件分在两条记录。",
        1,
    )
    seen = [message(KEYS, received_ms=NOW_MS + DAY_MS)]
    late = registered(KeyUse.ENVELOPE, authority_of(WUHAN), revoked_ms=NOW_MS + DAY_MS + 1)
    octets = evidence(KEYS, seen, documents=directories(late))
    yield _valid(
        "revoked-later",
        octets,
        "The sender's key was revoked the instant after another node had the message.",
        "发送方密钥在另一节点收到报文之后一刻吊销。",
        1,
    )


def _container_and_about() -> Iterator[Case]:
    first = {record.kind: record for record in reversed(pieces(ONE))}
    about = first[ABOUT].octets
    part = first[PART].octets
    last = max(place for place, record in enumerate(pieces(ONE)) if record.kind == PART)
    twice = [*pieces(ONE)[: last + 1], first[PART], *pieces(ONE)[last + 1 :]]
    rows: list[tuple[str, bytes, str, str]] = [
        ("magic", b"TBEV2\n" + FILE[len(MAGIC) :], "Another magic.", "魔数不符。"),
        ("cut", FILE[:-1], "The last octet is missing.", "缺最后一字节。"),
        ("octet-after", FILE + b"\0", "An octet follows the seal.", "签封之后多一字节。"),
        ("two-files", FILE + ONE[len(MAGIC) :], "A second file follows.", "其后接有第二个文件。"),
        (
            "record-unknown",
            joined([*pieces(ONE)[:-1], Piece(6, b""), pieces(ONE)[-1]]),
            "A record of an unknown type.",
            "未知类型的记录。",
        ),
        (
            "order",
            joined([pieces(ONE)[1], first[ABOUT], *pieces(ONE)[2:]]),
            "The directory before the description.",
            "节点目录排在说明之前。",
        ),
        (
            "no-receipt",
            joined([first[kind] for kind in (ABOUT, DIRECTORY, ENVELOPE, SEAL)]),
            "A message without a receipt.",
            "报文没有回执。",
        ),
        (
            "no-message",
            joined([first[kind] for kind in (ABOUT, DIRECTORY, SEAL)]),
            "No message.",
            "没有报文。",
        ),
        ("no-seal", joined(pieces(ONE)[:-1]), "No seal.", "没有签封。"),
        (
            "part-twice",
            joined(twice),
            "A part again, after another.",
            "同一部件在另一部件之后再次出现。",
        ),
        (
            "part-nameless",
            joined(edited(PART, b"\0" + part, pieces(ONE))),
            "A part without a name.",
            "部件没有名称。",
        ),
        (
            "seal-short",
            joined(edited(SEAL, bytes(95))),
            "A seal of 95 octets.",
            "签封只有 95 字节。",
        ),
    ]
    for name, octets, what, what_zh in rows:
        yield refused(1, f"container-{name}", octets, what, what_zh, WHOLE)
    more: list[tuple[str, bytes, str, str]] = [
        ("space", b" " + about, "A description with a space before it.", "说明之前有空格。"),
        (
            "member-unknown",
            about.replace(b"{", b'{"a":1,'),
            "A description with one more member.",
            "说明多一个成员。",
        ),
        (
            "member-twice",
            about.replace(b"{", b'{"environment":"trial",'),
            "A description with a member twice.",
            "说明有成员重复。",
        ),
        (
            "escaped",
            about.replace(b"trial", b"tria\\u006c"),
            "A description with an escape.",
            "说明中有转义。",
        ),
        (
            "format",
            about.replace(b"evidence-1", b"evidence-9"),
            "A description of another format.",
            "说明为另一格式。",
        ),
        (
            "subject",
            about.replace(b'"message"', b'"person"'),
            "A description of another kind of subject.",
            "说明的对象类别未知。",
        ),
    ]
    for name, changed, what, what_zh in more:
        octets = sealed_anew(edited(ABOUT, changed, pieces(ONE)), KEYS)
        yield refused(2, f"about-{name}", octets, what, what_zh, WHOLE)


def _directories_and_envelopes() -> Iterator[Case]:
    own = directories(KEYS)
    yield refused(
        3,
        "directories-foreign-anchor",
        FILE,
        "Held against another province's trust anchor.",
        "以外省信任锚核验。",
        OUTSIDE,
        reason=Reason.DOCUMENT_SIGNATURE,
        anchor=FOREIGN,
    )
    yield refused(
        3,
        "directories-twice",
        evidence(KEYS, story(KEYS), documents=[*own, own[1]]),
        "One file of a directory twice.",
        "目录的同一文件出现两次。",
        WHOLE,
        reason=Reason.DOCUMENT_INVALID,
    )
    listed = directories(KEYS, environment="production")
    production = evidence(KEYS, story(KEYS), documents=listed)
    yield refused(
        3,
        "directories-of-production",
        production,
        "A trial file with a directory of production.",
        "试运行文件附正式环境目录。",
        OUTSIDE,
        reason=Reason.ENVIRONMENT_MISMATCH,
        anchor=TrustAnchor(anchors=(pin(root("42", "production")),)),
    )
    yield refused(
        3,
        "directories-of-another-root",
        production,
        "The file's root is not the one the anchor pins.",
        "文件所附根文件不是信任锚所固定的。",
        OUTSIDE,
        reason=Reason.STALE_DIRECTORY,
    )
    envelope = next(row.octets for row in pieces(FILE) if row.kind == ENVELOPE)
    changed = sealed_anew(
        edited(ENVELOPE, envelope.replace(b'sequence="1"', b'sequence="2"')), KEYS
    )
    yield refused(
        4,
        "envelopes-changed",
        changed,
        "An envelope was changed; the exporter sealed it all the same.",
        "信封被改动而导出者照样签封。",
        WHOLE,
        reason=Reason.DIGEST_MISMATCH,
    )
    yield refused(
        4,
        "envelopes-key-unknown",
        evidence(KEYS, story(KEYS), documents=without(KeyUse.ENVELOPE)),
        "The file does not bring the sender's key.",
        "文件未附发送方密钥。",
        WHOLE,
        reason=Reason.KEY_UNKNOWN,
    )
    for name, revoked_ms, one, what, what_zh in (
        (
            "revoked",
            NOW_MS + DAY_MS,
            message(KEYS, received_ms=NOW_MS + DAY_MS),
            "The sender's key was revoked the instant another node first had the message.",
            "发送方密钥恰在另一节点首次收到报文时吊销。",
        ),
        (
            "revoked-no-witness",
            NOW_MS + 20 * DAY_MS,
            message(KEYS, to_node=WUHAN),
            "Only the sender's own node saw the message before its key was revoked.",
            "吊销之前只有发送方自己的节点见过报文。",
        ),
    ):
        held = registered(KeyUse.ENVELOPE, authority_of(WUHAN), revoked_ms=revoked_ms)
        octets = evidence(KEYS, [one], documents=directories(held))
        yield refused(
            4,
            f"envelopes-{name}",
            octets,
            what,
            what_zh,
            WITNESS,
            reason=Reason.KEY_REVOKED,
            clause="EV-4 EV-14",
        )


def _valid(name: str, octets: bytes, what: str, what_zh: str, proven: int) -> Case:
    why = "A verifier that refuses everything would pass the others."
    return case_of(
        name, octets, what, what_zh, why, "EV-9 EV-10", None, ANCHOR, {"messages": proven}
    )


def refused(
    step: int,
    name: str,
    octets: bytes,
    what: str,
    what_zh: str,
    why: str,
    *,
    reason: Reason = Reason.EVIDENCE_INVALID,
    anchor: TrustAnchor = ANCHOR,
    clause: str | None = None,
) -> Case:
    """A file that breaks EV-{step}, one of EV-1 to EV-8."""
    rule = clause or f"EV-{step} EV-9"
    return case_of(
        name, octets, what, what_zh, why, rule, reason, anchor, {"step": STEPS[step - 1]}
    )


def case_of(
    name: str,
    octets: bytes,
    what: str,
    what_zh: str,
    why: str,
    clause: str,
    reason: Reason | None,
    anchor: TrustAnchor,
    told: dict[str, Any],
) -> Case:
    """A case about a file; it ends valid, or at the step that `told` names."""
    anchor_file = anchor.model_dump_json(indent=1).encode() + b"\n"
    files = {"evidence.tbev": octets, "anchor.json": anchor_file}
    if reason is None:
        return Case("evidence", name, what, what_zh, why, clause, files, result=told)
    return Case("evidence", name, what, what_zh, why, clause, files, expect=reason, inputs=told)
