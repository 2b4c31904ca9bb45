"""Group evidence: files with a log head, proofs of its leaves and a time stamp (EV-19 to EV-23).

A time stamp cannot be made twice alike: those in `recorded/` were made once, by `openssl ts`, over
the head of `logged`. If that head changes they have to be made again (`tests.stamping`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from protocol.limits import MAX_STAMP_OCTETS
from protocol.proof import Single
from protocol.reasons import Reason
from protocol.receipt import read_receipt
from signing.evidence import LeafProof, LogEvidence, MessageToShow, Subject
from signing.evidence_writer import write_evidence
from signing.keys import KeyUse
from signing.log import Head, Leaf, LeafType, LogDigest, head_signed_octets, write_head
from signing.merkle import Tree, leaf_hash
from signing.stamps import read_roots, verify_stamp
from signing.suites import Suite, digest
from tests.evidence_files import (
    ANCHOR,
    EXPORTED_MS,
    about,
    directories,
    joined,
    message,
    pieces,
    story,
)
from tests.messages import DAY_MS, NOW_MS, WUHAN, XIANGYANG, authority_of, verified
from tools.vectors.evidence import KEYS, case_of, registered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tools.vectors.cases import Case

HOLDS: Final = "A verifier that refuses everything would pass the others."
ONE_HISTORY: Final = "The exporter could show others another history than this file."
OUTSIDE: Final = "Only an authority that is believed from outside can say how old something is."
RECORDED: Final = Path(__file__).parent / "recorded"
STAMPS_FILE: Final = "stamps.pem"

_PROOF: Final = 8
_DENIED: Final = bytes.fromhex("30053003020102")  # PKIStatus 2: rejection
_GRANTED: Final = bytes.fromhex("3003020100")


def cases() -> Iterator[Case]:
    """Every case of the file."""
    yield from _proofs()
    yield from _stamps()


def logged(
    messages: Sequence[MessageToShow],
    **changes: Any,  # noqa: ANN401 - fields
) -> tuple[list[MessageToShow], bytes]:
    """The messages with their proofs, and a head over them; `changes` are fields of the head."""
    rows = [Leaf(LeafType.START, NOW_MS, bytes(32))]
    for one in messages:
        rows.append(Leaf(LeafType.MESSAGE_SENT, NOW_MS, _digest_of(one)))
        rows.append(Leaf(LeafType.RECEIPT_TAKEN, NOW_MS, _end_of(one)))
    leaves = [leaf.octets for leaf in rows]
    tree = Tree(Suite.P256, [leaf_hash(Suite.P256, octets) for octets in leaves])
    proofs = [
        LeafProof(octets, index, tuple(tree.inclusion_path(index)))
        for index, octets in enumerate(leaves)
    ]
    proven = [
        replace(one, proofs=proofs[1 + 2 * number : 3 + 2 * number])
        for number, one in enumerate(messages)
    ]
    return proven, _head(**{"size": len(leaves), "root": tree.root} | changes)


def _digest_of(one: MessageToShow) -> bytes:
    return verified(one.envelope, KEYS).message_digest


def _end_of(one: MessageToShow) -> bytes:
    octets = one.receipts[-1]
    return digest(Suite(read_receipt(octets).receipt.suite), octets)


def _head(**changes: Any) -> bytes:  # noqa: ANN401 - fields
    node = changes.get("node", WUHAN)
    key = KEYS.public(KEYS.find(changes.pop("use", KeyUse.HEAD), node))
    values: dict[str, Any] = {
        "node": node,
        "digest": LogDigest.SHA_256,
        "incarnation": 1,
        "instant_ms": NOW_MS,
        "view": bytes(32),
        "suite": key.suite,
        "key_id": key.key_id,
    }
    head = Head(**values | changes)
    return write_head(head, Single(KEYS.secrets[key.key_id].sign(head_signed_octets(head))))


def _file(
    messages: Sequence[MessageToShow],
    log: LogEvidence | None,
    documents: Sequence[bytes] | None = None,
    **changes: Any,  # noqa: ANN401 - fields
) -> bytes:
    listed = directories(KEYS) if documents is None else documents
    return write_evidence(about(**changes), listed, messages, KEYS, log)


def _case(
    name: str,
    octets: bytes,
    what: str,
    what_zh: str,
    why: str,
    clause: str,
    *,
    reason: Reason | None = None,
    step: str = "log",
    roots: bytes | None = None,
    messages: int = 3,
) -> Case:
    told: dict[str, Any] = {"messages": messages} if reason is None else {"step": step}
    made = case_of(name, octets, what, what_zh, why, clause, reason, ANCHOR, told)
    if roots is None:
        return made
    return replace(made, files={**made.files, STAMPS_FILE: roots})


def _proofs() -> Iterator[Case]:
    told = story(KEYS)
    proven, head = logged(told)
    yield _case(
        "log-proofs",
        _file(proven, LogEvidence(head)),
        "A case whose messages and receipts are proven to be leaves of the exporter's log.",
        "办件的报文与回执均证明收录于导出节点的日志。",
        HOLDS,
        "EV-19 EV-20",
    )
    first, second = proven[0].proofs
    swapped = [
        replace(proven[0], proofs=proven[1].proofs),
        replace(proven[1], proofs=proven[0].proofs),
        proven[2],
    ]

    def with_first(*proofs: LeafProof) -> list[MessageToShow]:
        return [replace(proven[0], proofs=proofs), *proven[1:]]

    other_type = replace(first, leaf=b"\x08" + first.leaf[1:])
    rows: list[tuple[str, bytes, str, str, str]] = [
        (
            "message-not-proven",
            _file(with_first(second), LogEvidence(head)),
            "EV-19",
            "A message without a proof of its own.",
            "缺报文自身的收录证明。",
        ),
        (
            "receipt-not-proven",
            _file(with_first(first), LogEvidence(head)),
            "EV-19",
            "A message without a proof of the receipt that ended it.",
            "缺了结回执的收录证明。",
        ),
        (
            "proofs-without-head",
            _file(proven, None),
            "EV-19",
            "Proofs, but no head.",
            "有证明而无日志头。",
        ),
        (
            "proofs-swapped",
            _file(swapped, LogEvidence(head)),
            "EV-19",
            "Two messages with each other's proofs.",
            "两份报文互换证明。",
        ),
        (
            "leaf-of-another-type",
            _file(with_first(other_type, second), LogEvidence(head)),
            "EV-20",
            "A leaf of another type than the one in the log.",
            "叶类型与日志不符。",
        ),
        (
            "leaf-type-unknown",
            _file(
                with_first(replace(first, leaf=b"\xff" + first.leaf[1:]), second), LogEvidence(head)
            ),
            "EV-20 LG-1",
            "A leaf of a type that there is not.",
            "叶类型在表外。",
        ),
        (
            "path-cut",
            _file(with_first(replace(first, path=first.path[:-1]), second), LogEvidence(head)),
            "EV-20",
            "A path without its last hash.",
            "路径缺最后一个摘要。",
        ),
        (
            "place-of-another",
            _file(with_first(replace(first, index=2), second), LogEvidence(head)),
            "EV-20",
            "A leaf at the place of another.",
            "序位属另一片叶。",
        ),
        (
            "place-outside",
            _file(with_first(replace(first, index=7), second), LogEvidence(head)),
            "EV-20",
            "A place beyond the head's leaves.",
            "序位超出日志头规模。",
        ),
        (
            "root-of-another-log",
            _file(proven, LogEvidence(logged(told, root=bytes(32))[1])),
            "EV-20",
            "A head of another log.",
            "另一日志的日志头。",
        ),
        (
            "another-digest",
            _file(proven, LogEvidence(logged(told, digest=LogDigest.SM3)[1])),
            "EV-20",
            "A head that states another digest of the tree.",
            "日志头所称摘要算法不符。",
        ),
    ]
    for name, octets, clause, what, what_zh in rows:
        yield _case(
            f"log-{name}",
            octets,
            what,
            what_zh,
            ONE_HISTORY,
            clause,
            reason=Reason.EVIDENCE_INVALID,
        )
    heads: list[tuple[str, dict[str, Any], str, str]] = [
        ("of-another-node", {"node": XIANGYANG}, "Another node's head.", "他节点的日志头。"),
        ("by-receipt-key", {"use": KeyUse.RECEIPT}, "By a receipt key.", "以回执密钥签名。"),
    ]
    for name, changes, what, what_zh in heads:
        yield _case(
            f"log-head-{name}",
            _file(proven, LogEvidence(logged(told, **changes)[1])),
            what,
            what_zh,
            ONE_HISTORY,
            "EV-19 LG-6",
            reason=Reason.HEAD_INVALID,
        )
    records = pieces(_file(proven, LogEvidence(head)))
    loose = [records[0], *(row for row in records if row.kind == _PROOF), *records[1:]]
    yield _case(
        "container-proof-first",
        joined(loose),
        "Proofs before any message.",
        "证明出现在任何报文之前。",
        ONE_HISTORY,
        "EV-1 EV-10",
        reason=Reason.EVIDENCE_INVALID,
        step="container",
    )


def _recorded(name: str) -> bytes:
    return (RECORDED / name).read_bytes()


def _stamps() -> Iterator[Case]:
    told = story(KEYS)
    proven, head = logged(told)
    stamp, roots = _recorded("stamp.tsr"), _recorded("tsa.pem")
    whole = _file(proven, LogEvidence(head, stamp))
    yield _case(
        "stamped",
        whole,
        "The same with a time stamp over the head, and the authority's certificate from outside.",
        "同上，日志头附时间戳，时间戳机构证书来自文件之外。",
        HOLDS,
        "EV-21 TS-1 TS-2 TS-3",
        roots=roots,
    )
    yield _case(
        "stamped-no-certificates",
        whole,
        "The same file, the verifier without certificates of any authority.",
        "同一文件，核验者没有时间戳机构证书。",
        "What cannot be checked is said to be unchecked, and dates nothing.",
        "EV-22",
    )
    yield from _witness(roots)
    invalid = Reason.STAMP_INVALID
    rows: list[tuple[str, bytes, bytes, Reason, str, str, str]] = [
        ("of-another-head", stamp, roots, invalid, "EV-21", "Over another head.", "另一日志头。"),
        (
            "changed",
            stamp[:-1] + bytes([stamp[-1] ^ 1]),
            roots,
            invalid,
            "EV-21 TS-2",
            "A bit of its signature is flipped.",
            "签名有一比特翻转。",
        ),
        (
            "of-another-authority",
            stamp,
            _recorded("other-tsa.pem"),
            invalid,
            "EV-21 TS-2",
            "By an authority the verifier does not know.",
            "核验者不信任的时间戳机构。",
        ),
        (
            "granted-with-changes",
            stamp.replace(_GRANTED, _GRANTED[:-1] + b"\1", 1),
            roots,
            invalid,
            "TS-2",
            "Its status is another one than granted; nobody has signed the status.",
            "状态不是 granted；状态未经任何人签名。",
        ),
        ("denied", _DENIED, roots, invalid, "TS-2", "The authority refused.", "机构拒绝签发。"),
        ("junk", b"\x30\x00", roots, invalid, "TS-2", "No time stamp at all.", "不是时间戳。"),
    ]
    for name, octets, known, reason, clause, what, what_zh in rows:
        over = logged(told, view=b"\1" * 32)[1] if name == "of-another-head" else head
        yield _case(
            f"stamp-{name}",
            _file(proven, LogEvidence(over, octets)),
            what,
            what_zh,
            OUTSIDE,
            clause,
            reason=reason,
            roots=known,
        )
    younger = logged(told, instant_ms=NOW_MS + 30 * DAY_MS)[1]
    early = _recorded("stamp-early.tsr")
    yield _case(
        "stamp-older-than-its-head",
        _file(proven, LogEvidence(younger, early)),
        "The head states an instant more than 300 000 ms after its stamp.",
        "日志头所称时刻比时间戳晚 300 000 毫秒以上。",
        OUTSIDE,
        "EV-21",
        reason=Reason.EVIDENCE_INVALID,
        roots=roots,
    )
    yield _case(
        "container-stamp-too-large",
        _file(proven, LogEvidence(head, bytes(MAX_STAMP_OCTETS + 1))),
        "A time stamp of one octet more than the limit.",
        "时间戳超过上限一字节。",
        OUTSIDE,
        "EV-10 LI-22",
        reason=Reason.EVIDENCE_INVALID,
        step="container",
        roots=roots,
    )


def _witness(roots: bytes) -> Iterator[Case]:
    """A message inside one node: nobody but that node says when it was."""
    local = [message(KEYS, to_node=WUHAN)]
    proven, head = logged(local)
    stamp = _recorded("stamp-local.tsr")
    stamped_ms = verify_stamp(stamp, head, read_roots(roots))

    def file(revoked_ms: int) -> bytes:
        held = registered(KeyUse.ENVELOPE, authority_of(WUHAN), revoked_ms=revoked_ms)
        exported_ms = max(EXPORTED_MS, stamped_ms + DAY_MS)
        return _file(
            proven,
            LogEvidence(head, stamp),
            directories(held),
            subject=Subject.CASE,
            exported_ms=exported_ms,
        )

    told = "The sender's key was revoked {}; only a time stamp says when the message was there."
    why = "A node is no witness against its own revocation; a time stamp is."
    yield _case(
        "stamped-before-revocation",
        file(stamped_ms + 1),
        told.format("the millisecond after the stamp"),
        "发送密钥在时间戳之后一毫秒吊销。",
        why,
        "EV-14 EV-23",
        roots=roots,
        messages=1,
    )
    yield _case(
        "stamped-at-revocation",
        file(stamped_ms),
        told.format("at the very instant of the stamp, its accuracy added"),
        "发送密钥恰在时间戳时刻（计入精度）吊销。",
        why,
        "EV-14 EV-23 TS-2",
        reason=Reason.KEY_REVOKED,
        step="envelopes",
        roots=roots,
    )
    yield _case(
        "stamped-before-revocation-no-certificates",
        file(stamped_ms + 1),
        told.format("after the stamp, and the verifier has no certificates"),
        "发送密钥在时间戳之后吊销，但核验者没有机构证书。",
        why,
        "EV-14 EV-22 TS-3",
        reason=Reason.KEY_REVOKED,
        step="envelopes",
    )
