"""Group directory: views of what is in force, and requests to be listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from node.request import DOMAIN, KeyFacts, NodeFacts, NodeRequest
from protocol.reasons import Reason
from routing.directory import Directory
from routing.directory_province import open_province
from routing.directory_views import write_view
from routing.payload import write_payload
from signing.keys import KeyUse
from signing.suites import Suite
from tests.messages import make_key as suite_key
from tests.unit.routing.provinces import (
    node,
    pin,
    uscc,
)
from tools.vectors.cases import Case
from tools.vectors.directory_rules import HUBEI
from tools.vectors.directory_sets import (
    HOUR_MS,
    NOW_MS,
    ROOT,
    directory_case,
    issue,
)
from tools.vectors.samples import SteadyKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Json

SAME_VIEW: Final = "A view that can be spelt in two ways hides a split directory."
POSSESSION: Final = "Otherwise somebody has another's public key listed as his own."


def cases() -> Iterator[Case]:
    """Every case of this file."""
    yield from _views()
    yield from _requests()


def _views() -> Iterator[Case]:
    shown = _view(issue(HUBEI))
    ours = issue(HUBEI)
    other = issue(HUBEI.model_copy(update={"name": "另一内容"}))
    newer = issue(HUBEI.model_copy(update={"version": 2}), after_ms=HOUR_MS)
    compared: list[tuple[list[Json], Json]] = [
        (["view"], shown.hex()),
        (["compare", shown.hex()], []),
        (["compare", _view(other).hex()], ["split directory 42", "split freshness 42"]),
        (["compare", _view(newer).hex()], ["behind 42"]),
        (["compare", ""], []),
    ]
    yield directory_case(
        "views-compared",
        ours,
        "The view of the set in force, and what the views of peers are beside it.",
        "在用集合的视图，以及与对端视图的比对结果。",
        "A publisher could show one directory to some and another to others.",
        clause="DI-13",
        asks=compared,
    )
    later = b"43" + shown[2:]
    yield _view_case("view", shown + later, "Two provinces.", "两省。", provinces=["42", "43"])
    yield _view_case("view-empty", b"", "No province.", "没有省份。", provinces=[])
    rows: list[tuple[str, bytes, str, str]] = [
        ("cut", shown[:-1], "An octet is missing.", "缺一字节。"),
        ("longer", shown + b"\0", "An octet follows.", "多一字节。"),
        ("twice", shown + shown, "One province twice.", "同省两次。"),
        ("order", later + shown, "Not in the order of prefixes.", "未按前缀排序。"),
        ("prefix", b"4x" + shown[2:], "A prefix that is no number.", "前缀不是数字。"),
        ("version-0", shown[:2] + bytes(8) + shown[10:], "A version of 0.", "版本为 0。"),
    ]
    for name, octets, what, what_zh in rows:
        yield _view_case(f"view-{name}", octets, what, what_zh, reason=Reason.FRAME_MALFORMED)


def _view(documents: list[bytes]) -> bytes:
    held = open_province(documents, pin(ROOT), NOW_MS + HOUR_MS)
    return write_view(Directory.merge([held]).view())


def _view_case(
    name: str,
    octets: bytes,
    what: str,
    what_zh: str,
    *,
    reason: Reason | None = None,
    provinces: list[Any] | None = None,
) -> Case:
    return Case(
        "directory",
        name,
        f"A view. {what}",
        f"视图：{what_zh}",
        SAME_VIEW,
        "DI-13",
        {"view.bin": octets},
        expect=reason,
        result={} if provinces is None else {"provinces": provinces},
    )


def _requests() -> Iterator[Case]:
    secrets = [SteadyKey.of(suite_key(f"request {suite}", suite)) for suite in Suite]
    keys = tuple(
        KeyFacts(
            id=secret.public.key_id,
            suite=secret.suite,
            spki=secret.public.spki,
            use=use,
            owner="420100" if use is KeyUse.RECEIPT else uscc("420100"),
        )
        for secret, use in zip(secrets, (KeyUse.RECEIPT, KeyUse.ENVELOPE, KeyUse.PING), strict=True)
    )
    facts = NodeFacts(version=1, environment="trial", node=node("420100"), keys=keys)
    proofs = tuple(secret.sign(DOMAIN + write_payload(facts)) for secret in secrets)

    def told(**changes: Any) -> bytes:  # noqa: ANN401 - members
        request = NodeRequest(**{"facts": facts, "proofs": proofs, **changes})
        return request.model_dump_json(indent=1).encode() + b"\n"

    other = facts.model_copy(update={"node": node("420600")})
    moved = keys[0].model_copy(update={"id": keys[1].id})
    bare = tuple(secret.sign(write_payload(facts)) for secret in secrets)
    signature, form = Reason.DOCUMENT_SIGNATURE, Reason.DOCUMENT_INVALID
    rows: list[tuple[str, bytes, Reason | None, str, str]] = [
        ("request", told(), None, "Three keys, each with its proof.", "三把密钥各有持有证明。"),
        (
            "request-proof-missing",
            told(proofs=proofs[:2]),
            signature,
            "A key without a proof.",
            "一把密钥没有持有证明。",
        ),
        (
            "request-proof-of-another",
            told(proofs=(proofs[1], proofs[0], proofs[2])),
            signature,
            "Proofs in another order than the keys.",
            "证明次序与密钥不符。",
        ),
        (
            "request-of-another-node",
            told(facts=other),
            signature,
            "The proofs were made for another node.",
            "证明系为另一节点作出。",
        ),
        (
            "request-without-domain",
            told(proofs=bare),
            signature,
            "Signatures over the facts alone, without the domain.",
            "签名未含域标识。",
        ),
        (
            "request-key-twice",
            told(facts=facts.model_copy(update={"keys": (*keys, keys[0])})),
            form,
            "A key stands there twice.",
            "同一密钥出现两次。",
        ),
        (
            "request-key-misnamed",
            told(facts=facts.model_copy(update={"keys": (moved,)}), proofs=proofs[:1]),
            form,
            "A key under the id of another.",
            "密钥列于他钥编号之下。",
        ),
    ]
    for name, octets, reason, what, what_zh in rows:
        yield Case(
            "directory",
            name,
            f"A node's request to its publisher. {what}",
            f"节点的登记申请：{what_zh}",
            POSSESSION,
            "DI-20",
            {"request.json": octets},
            expect=reason,
            result={} if reason else {"keys": [key.id for key in keys]},
        )
