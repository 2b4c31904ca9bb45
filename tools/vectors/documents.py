"""Group document: signed documents in their one encoding, and by whom they have to be signed."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Final

from protocol.reasons import Reason
from signing.suites import Suite
from tests.messages import make_key
from tools.vectors.cases import Case
from tools.vectors.samples import SteadyKey, base64_of, with_loose_bits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tools.vectors.cases import Json, Stage

TYPE: Final = "application/vnd.tongban.example+json"
OTHER_TYPE: Final = "application/vnd.tongban.other+json"
PAYLOAD: Final = '{"name":"湖北省"}'.encode()
KEYS: Final = sorted(
    (
        SteadyKey.of(make_key(f"publisher {name}", suite))
        for name, suite in zip("abc", Suite, strict=True)
    ),
    key=lambda key: key.public.key_id,
)
STRANGER: Final = SteadyKey.of(make_key("publisher nobody knows"))

ENCODING: Final = (
    "Documents are compared by digest to find split views: with two encodings one publication "
    "would have two digests."
)
TWICE: Final = "A member that is there twice means one thing to one parser and another to the next."
SIGNERS: Final = (
    "Only whom the reader was told to believe counts, and every signature has to be good."
)
DOMAIN: Final = (
    "Type and lengths are signed, so that no payload is taken for another kind of document."
)

_RULES: Final = {"type": "SD-6", "below-threshold": "SD-5"}


def cases() -> Iterator[Case]:
    """Every case of the group."""
    yield from _good()
    yield from _encodings()
    yield from _signers()


def pae(kind: str, payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding."""
    name = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


def signatures(
    keys: Sequence[SteadyKey] = KEYS[:1], covered: bytes | None = None
) -> list[dict[str, str]]:
    """The rows of signatures by these keys, in the order given."""
    octets = pae(TYPE, PAYLOAD) if covered is None else covered
    return [{"keyid": key.public.key_id, "sig": base64_of(key.sign(octets))} for key in keys]


def document(rows: Sequence[Mapping[str, str]] | None = None, **changes: object) -> bytes:
    """The file in its one encoding; members can be replaced."""
    tree: dict[str, object] = {
        "payloadType": TYPE,
        "payload": base64_of(PAYLOAD),
        "signatures": signatures() if rows is None else rows,
    }
    return json.dumps(tree | changes, ensure_ascii=False, separators=(",", ":")).encode()


def _case(
    name: str,
    octets: bytes,
    what: str,
    what_zh: str,
    why: str,
    *,
    clause: str = "SD-1 SD-2",
    reason: Reason | None = None,
    stage: Stage | None = None,
    keys: Sequence[SteadyKey] = KEYS,
    threshold: int = 1,
    kind: str = TYPE,
) -> Case:
    given: dict[str, Json] = {
        "payloadType": kind,
        "threshold": threshold,
        "signers": [
            {
                "id": key.public.key_id,
                "suite": key.suite.value,
                "spki": base64.b64encode(key.public.spki).decode(),
            }
            for key in keys
        ],
    }
    result: dict[str, Json] = {} if reason else {"payload": PAYLOAD.decode()}
    return Case(
        "document",
        name,
        what,
        what_zh,
        why,
        clause,
        {"document.json": octets},
        expect=reason,
        stage=stage,
        inputs=given,
        result=result,
    )


def _good() -> Iterator[Case]:
    why = "A verifier that refuses everything would pass the others."
    for key in KEYS:
        yield _case(
            f"signed-{key.suite.value}",
            document(signatures([key])),
            f"Signed by one key of the suite {key.suite}.",
            f"由一把 {key.suite} 密钥签名。",
            why,
            keys=[key],
        )
    yield _case(
        "threshold-met",
        document(signatures(KEYS)),
        "Signed by three keys where two are needed.",
        "须两人签名，实有三人。",
        why,
        threshold=2,
    )


def _encodings() -> Iterator[Case]:
    good = document()
    rows = signatures()
    text = base64_of(PAYLOAD)
    three = signatures(KEYS)
    cases: list[tuple[str, bytes, str, str, str]] = [
        (
            "space",
            good.replace(b'":', b'": ', 1),
            "A space after a colon.",
            "冒号后有空格。",
            ENCODING,
        ),
        ("line-feed-after", good + b"\n", "A line feed at the end.", "末尾有换行。", ENCODING),
        (
            "byte-order-mark",
            b"\xef\xbb\xbf" + good,
            "A byte order mark before it.",
            "前有字节顺序标记。",
            ENCODING,
        ),
        (
            "members-ordered",
            json.dumps(json.loads(good), sort_keys=True, separators=(",", ":")).encode(),
            "The members in another order.",
            "成员次序不同。",
            ENCODING,
        ),
        (
            "escaped",
            good.replace(b"application", b"\\u0061pplication", 1),
            "A letter as an escape.",
            "字母写成转义。",
            ENCODING,
        ),
        (
            "slash-escaped",
            good.replace(b"application/", b"application\\/", 1),
            "A slash with a backslash before it.",
            "斜杠前有反斜杠。",
            ENCODING,
        ),
        (
            "payload-loose-bits",
            document(payload=with_loose_bits(text)),
            "A payload with bits left over.",
            "载荷有多余比特。",
            ENCODING,
        ),
        (
            "payload-unpadded",
            document(payload=text.rstrip("=")),
            "A payload without padding.",
            "载荷没有填充。",
            ENCODING,
        ),
        (
            "payload-line-feed",
            document(payload=text[:8] + "\n" + text[8:]),
            "A payload with a line feed in it.",
            "载荷中有换行。",
            ENCODING,
        ),
        (
            "payload-url-alphabet",
            document(payload=text.replace("+", "-").replace("/", "_") + "_-8="),
            "A payload in the alphabet for URLs.",
            "载荷用 URL 字母表。",
            ENCODING,
        ),
        (
            "payload-number",
            document(payload=1),
            "A payload that is a number.",
            "载荷是数字。",
            ENCODING,
        ),
        (
            "payload-missing",
            good.replace(b'"payload":"' + text.encode() + b'",', b""),
            "No payload.",
            "没有载荷。",
            ENCODING,
        ),
        (
            "payload-twice",
            good.replace(b'"payload":', b'"payload":"e30=","payload":', 1),
            "Two payloads.",
            "两个载荷。",
            TWICE,
        ),
        (
            "signatures-twice",
            good.replace(b'"signatures":', b'"signatures":[],"signatures":', 1),
            "Two lists of signatures.",
            "两份签名清单。",
            TWICE,
        ),
        (
            "member-unknown",
            document(more="x"),
            "A member nobody has published.",
            "未公布的成员。",
            ENCODING,
        ),
        (
            "signature-member-unknown",
            document([{**rows[0], "cert": "x"}]),
            "A signature with one more member.",
            "签名多一个成员。",
            ENCODING,
        ),
        ("signatures-none", document([]), "No signature.", "没有签名。", SIGNERS),
        ("signatures-17", document(rows * 17), "Seventeen signatures.", "十七个签名。", SIGNERS),
        (
            "signatures-disordered",
            document(three[::-1]),
            "Signatures that are not ordered by key id.",
            "签名未按密钥号排序。",
            ENCODING,
        ),
        ("signer-twice", document(rows * 2), "One signer twice.", "同一签名者出现两次。", SIGNERS),
        (
            "signature-loose-bits",
            document([{**rows[0], "sig": with_loose_bits(rows[0]["sig"])}]),
            "A signature with bits left over.",
            "签名有多余比特。",
            ENCODING,
        ),
        ("list", b"[" + good + b"]", "The document in a list.", "文件被包在数组内。", ENCODING),
        ("no-json", b"payloadType: x", "No JSON.", "不是 JSON。", ENCODING),
        (
            "nested-deep",
            b"[" * 5000 + b"]" * 5000,
            "Five thousand lists inside one another.",
            "五千层嵌套数组。",
            ENCODING,
        ),
        (
            "not-a-number",
            document(payload=float("nan")),
            "NaN, which JSON does not have.",
            "JSON 没有的 NaN。",
            ENCODING,
        ),
    ]
    for name, octets, what, what_zh, why in cases:
        yield _case(
            f"form-{name}",
            octets,
            what,
            what_zh,
            why,
            clause="SD-1 SD-3",
            reason=Reason.DOCUMENT_INVALID,
            stage="form",
        )


def _signers() -> Iterator[Case]:
    good = signatures(KEYS[:2])
    bad = {**good[1], "sig": base64_of(bytes(64))}
    rows: list[tuple[str, bytes, str, str, str, Stage]] = [
        (
            "type",
            document(),
            "Signed as another type than the one needed.",
            "所签类型与所需不符。",
            DOMAIN,
            "directory",
        ),
        (
            "stranger",
            document(signatures([STRANGER])),
            "Signed by a stranger.",
            "由陌生人签名。",
            SIGNERS,
            "directory",
        ),
        (
            "stranger-beside",
            document(
                sorted([*signatures(KEYS), *signatures([STRANGER])], key=lambda row: row["keyid"])
            ),
            "A stranger's signature beside those that are enough.",
            "足数签名之外另有陌生人签名。",
            SIGNERS,
            "signature",
        ),
        (
            "below-threshold",
            document(good[:1]),
            "One signature where two are needed.",
            "须两人签名，实有一人。",
            SIGNERS,
            "directory",
        ),
        (
            "one-is-bad",
            document([good[0], bad]),
            "One of two signatures is all zeros.",
            "两个签名之一全为零。",
            SIGNERS,
            "signature",
        ),
        (
            "swapped",
            document([{**good[0], "sig": good[1]["sig"]}, {**good[1], "sig": good[0]["sig"]}]),
            "Two good signatures, each under the other's key id.",
            "两个签名互换了密钥号。",
            SIGNERS,
            "signature",
        ),
        (
            "over-payload",
            document(signatures(covered=PAYLOAD)),
            "Signed over the payload alone.",
            "只对载荷签名。",
            DOMAIN,
            "signature",
        ),
        (
            "over-other-type",
            document(signatures(covered=pae(OTHER_TYPE, PAYLOAD))),
            "Signed as another type, presented as this one.",
            "按另一类型签名，冒充此类型。",
            DOMAIN,
            "signature",
        ),
        (
            "over-shifted-lengths",
            document(signatures(covered=pae(TYPE + " 1", PAYLOAD))),
            "Signed with a type that reaches into the length.",
            "所签类型侵入长度字段。",
            DOMAIN,
            "signature",
        ),
        (
            "payload-changed",
            document(payload=base64_of(PAYLOAD.replace("湖北".encode(), "湖南".encode()))),
            "The payload was changed after it was signed.",
            "载荷在签名之后被改动。",
            DOMAIN,
            "signature",
        ),
    ]
    for name, octets, what, what_zh, why, stage in rows:
        yield _case(
            f"signer-{name}",
            octets,
            what,
            what_zh,
            why,
            clause=_RULES.get(name, "SD-2 SD-4" if why == DOMAIN else "SD-4"),
            reason=Reason.DOCUMENT_SIGNATURE,
            stage=stage,
            threshold=2 if name == "below-threshold" else 1,
            kind=OTHER_TYPE if name == "type" else TYPE,
        )
