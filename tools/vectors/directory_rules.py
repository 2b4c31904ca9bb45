"""Group directory: one directory that breaks a rule."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from protocol.reasons import Reason
from routing.directory_document import DIRECTORY_TYPE, CircleEntry, RegionEntry
from routing.payload import write_payload
from signing.document import sign_document
from signing.keys import KeyUse
from tests.unit.routing.provinces import (
    ISSUED_MS,
    authority,
    directory_keys,
    freshness_payload,
    hub,
    key_entry,
    make_key,
    node,
    province,
    sign_freshness,
    uscc,
)
from tools.vectors.directory_sets import (
    FRESHNESS_KEY,
    RECEIPT_KEY,
    ROOT,
    directory_case,
    issue,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routing.directory_document import DirectoryPayload
    from tools.vectors.cases import Case

HUBEI: Final = province(
    "42",
    [hub("420000"), node("420100"), node("420600")],
    circles={"圈": ("420100", "420600")},
    keys=(RECEIPT_KEY,),
    links=[("420100", "430000")],
)
FITS: Final = "What does not fit together is read one way here and another way there."
WHOSE: Final = "A key in the wrong hands signs what its holder has no power over."
ONE_FORM: Final = "Two readers of one document must not read two things."


def cases() -> Iterator[Case]:
    """Every case of the group about one document."""
    yield from _parts()
    yield from _twice()
    yield from _keys()
    yield from _forms()


def _case(
    name: str, payload: DirectoryPayload, what: str, what_zh: str, why: str, clause: str = "DI-2"
) -> Case:
    return directory_case(
        name,
        issue(payload),
        what,
        what_zh,
        why,
        clause=clause,
        reason=Reason.DOCUMENT_INVALID,
    )


def _parts() -> Iterator[Case]:
    regions = HUBEI.regions
    nodes, authorities = HUBEI.nodes, HUBEI.authorities
    above = (
        RegionEntry(code="420500", name="甲", parent="420502"),
        RegionEntry(code="420502", name="乙", parent="420500"),
    )
    deep = tuple(
        RegionEntry(code=code, name="层", parent=parent)
        for code, parent in (
            ("420500", "420000"),
            ("420501", "420500"),
            ("420502", "420501"),
            ("420503", "420502"),
        )
    )
    rows: list[tuple[str, dict[str, Any], str, str]] = [
        (
            "ends-before-it-begins",
            {"expires_ms": ISSUED_MS},
            "It expires at the instant it was issued.",
            "签发即失效。",
        ),
        (
            "no-top",
            {"regions": regions[1:]},
            "The province's own code is missing.",
            "缺省级代码。",
        ),
        (
            "two-tops",
            {"regions": (*regions, RegionEntry(code="420500", name="宜昌", parent=None))},
            "A second region without a parent.",
            "另一区划没有上级。",
        ),
        (
            "parent-missing",
            {"regions": (*regions, RegionEntry(code="420502", name="西陵", parent="420500"))},
            "A parent that is not listed.",
            "上级区划未列出。",
        ),
        (
            "above-itself",
            {"regions": (*regions, *above)},
            "A region that stands above itself.",
            "区划互为上级。",
        ),
        (
            "four-steps-to-the-top",
            {"regions": (*regions, *deep)},
            "A region four steps below the province.",
            "区划在省级以下第四层。",
        ),
        (
            "circle-of-nowhere",
            {"circles": (CircleEntry(name="圈", regions=("420900",)),)},
            "A circle names a region that is not listed.",
            "都市圈所含区划未列出。",
        ),
        (
            "authority-without-node",
            {"authorities": (*authorities, authority("420100", 9, node_id="420900"))},
            "An authority at a node that is not listed.",
            "机关所在节点未列出。",
        ),
        (
            "authority-not-served",
            {"authorities": (*authorities, authority("420600", 9, node_id="420100"))},
            "An authority whose node does not serve its region.",
            "机关所在节点不服务其区划。",
        ),
        (
            "operator-of-another-node",
            {"nodes": (*nodes[:2], node("420600", operator=uscc("420100")))},
            "A node whose operator is an authority of another node.",
            "节点运营机关属另一节点。",
        ),
        (
            "serves-nowhere",
            {"nodes": (*nodes[:2], node("420600", serves=("420600", "420900")))},
            "A node serves a region that is not listed.",
            "节点所服务区划未列出。",
        ),
        (
            "hub-for-nobody",
            {"nodes": (*nodes[:2], node("420600", role="hub"))},
            "A hub that forwards for nobody.",
            "枢纽不代转任何前缀。",
        ),
        (
            "node-that-forwards",
            {"nodes": (*nodes[:2], node("420600", forwards_for=("42",)))},
            "A node that is no hub lists prefixes to forward for.",
            "非枢纽节点列出代转前缀。",
        ),
        (
            "certificate-of-nothing",
            {"nodes": (*nodes[:2], node("420600", certificate=b"\x30\x00"))},
            "Octets that are no certificate.",
            "字节不是证书。",
        ),
        (
            "link-to-itself",
            {"links": (("420100", "420100"),)},
            "A link from a node to itself.",
            "节点与自身的链路。",
        ),
        (
            "link-from-nowhere",
            {"links": (("420900", "430000"),)},
            "A link whose own end is not listed.",
            "链路本端未列出。",
        ),
        (
            "link-to-nowhere",
            {"links": (("420100", "420900"),)},
            "A link inside the province to a node that is not listed.",
            "省内链路对端未列出。",
        ),
    ]
    for name, changes, what, what_zh in rows:
        yield _case(f"fits-{name}", HUBEI.model_copy(update=changes), what, what_zh, FITS)
    urls = {
        "http": "http://127.0.0.1:1",
        "user": "https://a@b:1",
        "path": "https://b:1/x",
        "upper-case": "https://B:1",
        "without-port": "https://b",
        "port-too-large": "https://b:65536",
    }
    for name, url in urls.items():
        changed = nodes[1].model_copy(update={"url": url})
        yield _case(
            f"url-{name}",
            HUBEI.model_copy(update={"nodes": (nodes[0], changed, nodes[2])}),
            f"A node at {url}",
            f"节点地址为 {url}",
            ONE_FORM,
        )


def _twice() -> Iterator[Case]:
    turned = ("420600", "420100")
    rows: dict[str, tuple[dict[str, Any], str]] = {
        "region": ({"regions": (*HUBEI.regions, HUBEI.regions[-1])}, "区划"),
        "circle": ({"circles": (*HUBEI.circles, *HUBEI.circles)}, "都市圈"),
        "authority": ({"authorities": (*HUBEI.authorities, HUBEI.authorities[-1])}, "机关"),
        "node": ({"nodes": (*HUBEI.nodes, HUBEI.nodes[-1])}, "节点"),
        "key": ({"keys": (*HUBEI.keys, *HUBEI.keys)}, "密钥"),
        "link": ({"links": (turned, turned[::-1])}, "链路"),
    }
    for name, (changes, what_zh) in rows.items():
        turned_round = ", the second time turned round" if name == "link" else ""
        yield _case(
            f"twice-{name}",
            HUBEI.model_copy(update=changes),
            f"A {name} stands there twice{turned_round}.",
            f"{what_zh}出现两次。",
            FITS,
        )


def _keys() -> Iterator[Case]:
    malformed: dict[str, tuple[dict[str, Any], str, str]] = {
        "id": (
            {"id": make_key("other").public.key_id},
            "A key under the id of another.",
            "密钥列于他钥编号之下。",
        ),
        "spki": ({"spki": b"\x30\x00"}, "Octets that are no public key.", "字节不是公钥。"),
        "validity": (
            {"not_after_ms": ISSUED_MS},
            "A key that is never valid.",
            "密钥有效期为空。",
        ),
        "node": ({"node": "420900"}, "A key of a node that is not listed.", "节点未列出。"),
    }
    for name, (changes, what, what_zh) in malformed.items():
        key = key_entry("k", KeyUse.ENVELOPE, uscc("420600"), "420600", **changes)
        payload = HUBEI.model_copy(update={"keys": (key,)})
        clause = "DI-2 SG-5" if name == "spki" else "DI-2 SU-4" if name == "id" else "DI-2"
        yield _case(f"key-{name}", payload, what, what_zh, WHOSE, clause)
    owners: list[tuple[str, KeyUse, str, str]] = [
        ("envelope-of-a-node", KeyUse.ENVELOPE, "420600", "420600"),
        ("envelope-at-another-node", KeyUse.ENVELOPE, uscc("420600"), "420100"),
        ("envelope-of-nobody", KeyUse.ENVELOPE, uscc("420800"), "420600"),
        ("catalogue-at-another-node", KeyUse.CATALOGUE, uscc("420600"), "420100"),
        ("receipt-of-another-node", KeyUse.RECEIPT, "420100", "420600"),
        ("receipt-of-an-authority", KeyUse.RECEIPT, uscc("420600"), "420600"),
        ("head-of-another-node", KeyUse.HEAD, "420100", "420600"),
        ("carrier-of-another-node", KeyUse.CARRIER, "420100", "420600"),
        ("ping-of-a-node", KeyUse.PING, "420600", "420600"),
        ("ping-of-another-operator", KeyUse.PING, uscc("420100"), "420600"),
        ("directory-listed", KeyUse.DIRECTORY, uscc("420600"), "420600"),
    ]
    for name, use, owner, node_id in owners:
        payload = HUBEI.model_copy(update={"keys": (key_entry("k", use, owner, node_id),)})
        yield _case(
            f"owner-{name}",
            payload,
            f"A key for {use} owned by {owner} at {node_id}.",
            f"用途 {use} 的密钥登记给 {owner}（节点 {node_id}）。",
            WHOSE,
            "DI-2 SU-8",
        )


def _forms() -> Iterator[Case]:
    good = write_payload(HUBEI)
    tree = json.loads(good)

    def put(**changes: Any) -> bytes:  # noqa: ANN401 - members
        told = {name: value for name, value in (tree | changes).items() if value is not ...}
        text = json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode()

    rows: list[tuple[str, bytes, str, str]] = [
        ("space", good.replace(b",", b", ", 1), "White space in the payload.", "载荷含空白。"),
        (
            "order",
            json.dumps(
                dict(reversed(tree.items())), ensure_ascii=False, separators=(",", ":")
            ).encode(),
            "Members that are not in order.",
            "成员未排序。",
        ),
        (
            "member-twice",
            good.replace(b'"prefix":"42"', b'"prefix":"42","prefix":"42"'),
            "A member that is there twice.",
            "成员出现两次。",
        ),
        ("member-unknown", put(zone=1), "A member that is not in the table.", "未知成员。"),
        ("member-missing", put(links=...), "A member is missing.", "缺少成员。"),
        (
            "number-as-text",
            put(version="1"),
            "A version that is a text.",
            "版本写成文本。",
        ),
        (
            "fraction",
            good.replace(b'"version":1}', b'"version":1.0}'),
            "A version with a fraction.",
            "版本带小数。",
        ),
        (
            "too-large",
            good.replace(b'"version":1}', b'"version":9007199254740992}'),
            "A version of 2⁵³.",
            "版本为 2⁵³。",
        ),
        (
            "escaped",
            good.replace("圈".encode(), b"\\u5708"),
            "A character that is escaped.",
            "字符以转义书写。",
        ),
        ("not-json", good[:-1], "The payload is cut short.", "载荷被截断。"),
        (
            "invisible",
            put(name="湖\u202e北"),
            "A name with a character that turns the line round.",
            "名称含改变书写方向的字符。",
        ),
        ("name-empty", put(name=""), "A name without characters.", "名称为空。"),
        ("name-longer", put(name="北" * 501), "A name of 501 characters.", "名称 501 字。"),
    ]
    for name, payload, what, what_zh in rows:
        octets = sign_document(DIRECTORY_TYPE, payload, directory_keys("42"))
        said = freshness_payload(HUBEI, octets)
        yield directory_case(
            f"payload-{name}",
            [ROOT, octets, sign_freshness(said, FRESHNESS_KEY)],
            what,
            what_zh,
            ONE_FORM,
            clause="DI-2 SD-7 SD-8",
            reason=Reason.DOCUMENT_INVALID,
        )
