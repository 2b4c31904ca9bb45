"""Group receipt: what is no receipt, or not the issuing node's. Each is signed as it stands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from protocol.identifiers import uuid_octets
from protocol.reasons import Reason
from signing.keys import KeyUse
from tests.messages import (
    DAY_MS,
    HUB,
    NOW_MS,
    WUHAN,
    XIANGYANG,
    YEAR_MS,
    authority_of,
    message_id,
)
from tools.vectors.cases import Case
from tools.vectors.samples import directory, key_for, record_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from signing.trust import KeyRecord
    from tools.vectors.cases import Json, Stage

from tools.vectors.receipts import CUSTODY, RECEIVED, RECORD, REFUSED, Layout, blank

LAYOUT: Final = "One layout, one meaning: a field that may vary freely is a field that may lie."
SILENT: Final = (
    "A refusal that names a message it never authenticated would let a forger end another's."
)
WHOSE: Final = "Only the issuing node's own receipt key speaks for it."
SIGNED: Final = "Every octet before the proof is signed."


def cases() -> Iterator[Case]:
    """Every refusal for layout, key or signature."""
    yield from _layouts()
    yield from _lengths()
    yield from _keys()
    yield from _signatures()


def _layouts() -> Iterator[Case]:
    good, refused = Layout(), Layout(type=REFUSED, reason=Reason.WRONG_STATE.number)
    code = authority_of(WUHAN).encode()
    rows: list[tuple[str, Layout, str, str, str]] = [
        ("magic", replace(good, magic=b"TBR2"), "Another magic.", "魔数不符。", "RC-5"),
        ("type-0", replace(good, type=0), "Type 0.", "类型为 0。", "RC-9"),
        ("type-4", replace(good, type=4), "Type 4.", "类型为 4。", "RC-9"),
        ("suite-0", replace(good, suite=0), "Suite 0.", "套件为 0。", "RC-9"),
        ("suite-4", replace(good, suite=4), "Suite 4.", "套件为 4。", "RC-9"),
        (
            "issuer-letters",
            replace(good, issuer=b"42060x"),
            "An issuer that is no node id.",
            "签发节点号含字母。",
            "RC-9",
        ),
        (
            "issuer-zero",
            replace(good, issuer=b"020600"),
            "An issuer that begins with 0.",
            "签发节点号以 0 开头。",
            "RC-9",
        ),
        (
            "authority-check",
            replace(good, authority=code[:-1] + b"0"),
            "An authority with a wrong check character.",
            "机关代码校验码不符。",
            "RC-9",
        ),
        (
            "message-version-4",
            replace(good, message=good.message[:6] + b"\x40" + good.message[7:]),
            "A message id that is no UUIDv7.",
            "报文号不是 UUIDv7。",
            "RC-9",
        ),
        (
            "authority-only",
            replace(refused, message=bytes(16), message_digest=bytes(32)),
            "An authority without message id and digest.",
            "只有机关，没有报文号与摘要。",
            "RC-8",
        ),
        (
            "digest-only",
            replace(refused, authority=bytes(18), message=bytes(16)),
            "A message digest without authority and message id.",
            "只有报文摘要，没有机关与报文号。",
            "RC-8",
        ),
        (
            "digest-missing",
            replace(refused, message_digest=bytes(32)),
            "A message without its digest.",
            "指名报文而没有摘要。",
            "RC-8",
        ),
        (
            "custody-blank",
            replace(blank(), type=CUSTODY, reason=0),
            "A custody that names nothing.",
            "不指名的托管。",
            "RC-8",
        ),
        (
            "received-blank",
            replace(blank(), type=RECEIVED, reason=0),
            "A receipt that names nothing.",
            "不指名的签收。",
            "RC-8",
        ),
        (
            "reason-with-received",
            replace(good, reason=Reason.WRONG_STATE.number),
            "A receipt with a reason.",
            "签收附有原因。",
            "RC-7",
        ),
        (
            "reason-missing",
            replace(refused, reason=0),
            "A refusal without a reason.",
            "拒收没有原因。",
            "RC-7",
        ),
        (
            "reason-transient",
            replace(refused, reason=Reason.KEY_UNKNOWN.number),
            "A refusal for a reason that may pass.",
            "以暂时原因拒收。",
            "RC-9",
        ),
        (
            "reason-unknown",
            replace(refused, reason=9999),
            "A refusal for a reason nobody has published.",
            "以未公布的原因拒收。",
            "RC-9",
        ),
        (
            "detail-201",
            replace(refused, detail=b"x" * 201),
            "A detail of 201 octets.",
            "说明 201 字节。",
            "RC-3",
        ),
        (
            "detail-gb18030",
            replace(refused, detail="办结".encode("gb18030")),
            "A detail that is no UTF-8.",
            "说明不是 UTF-8。",
            "RC-5",
        ),
        (
            "detail-cut",
            replace(refused, detail="办".encode()[:2]),
            "A detail that ends within a character.",
            "说明在字符中间截断。",
            "RC-5",
        ),
    ]
    for name, layout, what, what_zh, rule in rows:
        why = SILENT if rule == "RC-8" else LAYOUT
        yield _invalid(name, layout.signed(), what, what_zh, why, rule)


def _lengths() -> Iterator[Case]:
    good = Layout().signed()
    refused = Layout(type=REFUSED, reason=Reason.WRONG_STATE.number, detail=b"abc")
    for name, octets, what, what_zh in (
        ("empty", b"", "No octets.", "为空。"),
        ("cut", good[:-1], "The last octet is missing.", "缺最后一字节。"),
        ("octet-after", good + b"\0", "An octet follows.", "其后多一字节。"),
        (
            "head-only",
            good[:152],
            "The fixed part without its last octet.",
            "固定部分缺最后一字节。",
        ),
        (
            "detail-longer",
            replace(refused, length=2).signed(),
            "A detail longer than it says.",
            "说明比所称更长。",
        ),
        (
            "detail-shorter",
            replace(refused, length=4).signed(),
            "A detail shorter than it says.",
            "说明比所称更短。",
        ),
        (
            "proof-form",
            good[:153] + b"\2" + good[154:],
            "A proof of another form.",
            "证明为未知形式。",
        ),
        (
            "proof-batch-of-one",
            good[:153] + bytes([1, 0, 0, 0, 0, 0, 0, 0, 1]) + good[154:],
            "A batch of one.",
            "总数为一的批量。",
        ),
    ):
        yield _invalid(name, octets, what, what_zh, LAYOUT, "RC-6")


def _keys() -> Iterator[Case]:
    good = Layout().signed()
    theirs, evidence = key_for(KeyUse.RECEIPT, WUHAN), key_for(KeyUse.EVIDENCE, XIANGYANG)
    yield _refused(
        "key-unknown",
        good,
        Reason.KEY_UNKNOWN,
        "The key is not in the directory: not decided.",
        "密钥不在目录中：暂不裁断。",
        WHOSE,
        "TR-1",
        [],
    )
    rows: list[tuple[str, bytes, KeyRecord, str, str, str]] = [
        (
            "key-of-another-node",
            Layout(key_id=theirs.public.key_id).signed(theirs),
            record_for(theirs),
            "Another node's receipt key.",
            "另一节点的回执密钥。",
            "RC-11",
        ),
        (
            "key-use",
            Layout(key_id=evidence.public.key_id).signed(evidence),
            record_for(evidence),
            "The node's key for evidence.",
            "节点的存证密钥。",
            "RC-11",
        ),
        (
            "suite-of-another",
            Layout(suite=3).signed(),
            RECORD,
            "Another suite than the key's.",
            "所写套件与密钥不符。",
            "RC-11",
        ),
        (
            "revoked",
            good,
            replace(RECORD, revoked_ms=NOW_MS + DAY_MS),
            "Live: the key is revoked, a day after the stated instant.",
            "当下核验：密钥在所述时刻一日后吊销。",
            "RC-12",
        ),
        (
            "revoked-before",
            good,
            replace(RECORD, revoked_ms=NOW_MS),
            "The key was revoked at the stated instant.",
            "密钥恰在所述时刻吊销。",
            "RC-12",
        ),
        (
            "before-validity",
            Layout(instant_ms=NOW_MS - 2 * YEAR_MS).signed(),
            RECORD,
            "A stated instant before the key was valid.",
            "所述时刻早于密钥有效期。",
            "RC-12",
        ),
        (
            "after-validity",
            Layout(instant_ms=NOW_MS + YEAR_MS).signed(),
            RECORD,
            "The first instant after the key's validity.",
            "密钥有效期之后的第一刻。",
            "RC-12",
        ),
    ]
    for name, octets, record, what, what_zh, rule in rows:
        historic = name == "revoked-before"
        yield _invalid(
            name,
            octets,
            what,
            what_zh,
            WHOSE,
            rule,
            stage="directory",
            records=[record],
            historic=historic,
        )


def _signatures() -> Iterator[Case]:
    """A good receipt changed after it was signed: another value, still in the layout."""
    good, refused = Layout(), Layout(type=REFUSED, reason=Reason.WRONG_STATE.number, detail=b"abc")
    proof, proof_refused = good.signed()[153:], refused.signed()[156:]
    changed: list[tuple[str, Layout, bytes, str]] = [
        ("type", replace(good, type=CUSTODY), proof, "类型"),
        ("authority", replace(good, authority=authority_of(HUB).encode()), proof, "机关"),
        ("message", replace(good, message=uuid_octets(message_id(2))), proof, "报文号"),
        ("message-digest", replace(good, message_digest=bytes(31) + b"\1"), proof, "报文摘要"),
        ("octets-digest", replace(good, octets_digest=bytes(32)), proof, "字节摘要"),
        ("instant", replace(good, instant_ms=NOW_MS + 1), proof, "时刻"),
        ("reason", replace(refused, reason=Reason.SEQUENCE_USED.number), proof_refused, "原因"),
        ("detail", replace(refused, detail=b"abd"), proof_refused, "说明"),
    ]
    for name, layout, held, what_zh in changed:
        what = f"Changed after it was signed: {name.replace('-', ' ')}."
        yield _invalid(
            f"changed-{name}",
            layout.statement() + held,
            what,
            f"签名之后被改动：{what_zh}。",
            SIGNED,
            "RC-13",
            stage="signature",
        )
    stranger = key_for(KeyUse.RECEIPT, WUHAN)
    statement = good.statement()
    for name, octets, what, what_zh in (
        ("signature-zero", statement + bytes(65), "A signature of zeros.", "签名全为零。"),
        (
            "by-another-node",
            good.signed(stranger),
            "Signed by another node, in this one's name.",
            "由另一节点冒名签署。",
        ),
        ("domain-none", good.signed(domain=b""), "Signed without the domain.", "签名未带域。"),
        (
            "domain-of-batch",
            good.signed(domain=b"TONGBAN-BATCH-1\x00"),
            "Signed in the domain of batches.",
            "按批量的域签名。",
        ),
    ):
        yield _invalid(name, octets, what, what_zh, SIGNED, "RC-10 RC-13", stage="signature")


def _invalid(
    name: str,
    octets: bytes,
    what: str,
    what_zh: str,
    why: str,
    rule: str,
    *,
    stage: Stage = "form",
    records: Sequence[KeyRecord] = (RECORD,),
    historic: bool = False,
) -> Case:
    return _refused(
        name,
        octets,
        Reason.RECEIPT_INVALID,
        what,
        what_zh,
        why,
        f"RC-1 {rule}",
        records,
        stage=stage,
        historic=historic,
    )


def _refused(
    name: str,
    octets: bytes,
    reason: Reason,
    what: str,
    what_zh: str,
    why: str,
    clause: str,
    records: Sequence[KeyRecord],
    *,
    stage: Stage = "directory",
    historic: bool = False,
) -> Case:
    given: dict[str, Json] = {**directory(records), **({"historic": True} if historic else {})}
    return Case(
        "receipt",
        name,
        what,
        what_zh,
        why,
        clause,
        {"receipt.tbr": octets},
        expect=reason,
        stage=stage,
        inputs=given,
    )
