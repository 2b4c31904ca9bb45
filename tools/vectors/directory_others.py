"""Group directory: provinces beside each other, and authorities after each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from protocol.instants import format_instant
from protocol.reasons import Reason
from routing.directory_document import CircleEntry, RegionEntry, Succession
from signing.keys import KeyUse
from tests.unit.routing.provinces import (
    ISSUED_MS,
    authority,
    hub,
    key_entry,
    node,
    pin,
    province,
    root,
    uscc,
)
from tools.vectors.directory_sets import (
    ROOT,
    directory_case,
    hubei,
    issue,
    key,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Case

ONE_ENVIRONMENT: Final = "A rehearsal must never become a case, nor prove one."
FOREIGN: Final = "A province that could speak for another could take its cases over."
CASES_IN_FLIGHT: Final = (
    "Whoever stands in another's place must have its cases, and be the only one."
)


def cases() -> Iterator[Case]:
    """Every case of this file."""
    yield from _others()
    yield from _succession()


def _others() -> Iterator[Case]:
    pins = [pin(ROOT), pin(root("43"), "43")]
    ours = province("42", [hub("420000", "42", "43"), node("420100")], links=[("420000", "430000")])
    theirs = province(
        "43", [hub("430000", "43", "42"), node("430100")], links=[("430000", "420000")]
    )
    unlisted = province("43", [hub("430000", "43", "42"), node("430100")])
    yield directory_case(
        "two-provinces-linked",
        [*issue(ours), *issue(theirs)],
        "A link that both provinces list, and who may present what over it.",
        "两省均列出的链路，以及谁可经此代转谁的报文。",
        FOREIGN,
        clause="DI-4 EX-2",
        pins=pins,
        asks=[
            (["linked", "420000", "430000"], True),
            (["linked", "420100", "430100"], False),
            (["may-present", "420100", "420100", "420000"], True),
            (["may-present", "420000", "420100", "430000"], True),
            (["may-present", "430000", "430100", "420000"], True),
            (["may-present", "430000", "420100", "420000"], False),
            (["may-present", "430000", "420100", "430100"], True),
            (["may-present", "430000", "450100", "420000"], False),
            (["may-present", "420100", "430100", "420000"], False),
        ],
    )
    yield directory_case(
        "link-listed-by-one",
        [*issue(ours), *issue(unlisted)],
        "A link across provinces that only one of the two lists.",
        "仅一省列出的跨省链路。",
        FOREIGN,
        clause="DI-4",
        pins=pins,
        asks=[(["linked", "420000", "430000"], False)],
    )
    claimed = province(
        "43",
        [node("430100")],
        more_authorities=[authority("430100", 1).model_copy(update={"uscc": uscc("420100")})],
        keys=[key_entry("receipt", KeyUse.RECEIPT, "430100", "430100")],
    )
    yield directory_case(
        "foreign-claims",
        [*issue(), *issue(claimed)],
        "Another province lists the USCC and the public key of an authority and a node of 42.",
        "外省列出 42 省机关的代码与节点的公钥。",
        FOREIGN,
        clause="DI-4",
        pins=pins,
        asks=[
            key(None),
            key(None, node_id="430100"),
            (["authority", uscc("420100"), "42"], "420100"),
            (["authority", uscc("420100"), "43"], "430100"),
        ],
    )
    for name, changes, what_zh in _foreign():
        yield directory_case(
            f"foreign-{name}",
            issue(hubei(**changes)),
            f"A directory of 42 lists a {name} of 43; everything else about it fits.",
            f"42 省目录列出 43 省的{what_zh}，其余均相符。",
            FOREIGN,
            clause="DI-2 DI-4",
            reason=Reason.DOCUMENT_INVALID,
        )
    yield directory_case(
        "directory-of-production",
        issue(hubei(environment="production"), environment="trial"),
        "A directory for production under a root for trial.",
        "试运行之根下的正式环境目录。",
        ONE_ENVIRONMENT,
        clause="DI-9",
        reason=Reason.ENVIRONMENT_MISMATCH,
    )


def _foreign() -> Iterator[tuple[str, dict[str, Any], str]]:
    """Documents in which nothing is wrong but the name constraint."""
    base = hubei()
    regions = (*base.regions, RegionEntry(code="430100", name="长沙", parent="420000"))
    (own,) = base.nodes
    serving = own.model_copy(update={"serves": ("420100", "430100")})
    foreign = node("430100", operator=uscc("420100", 7), serves=("420100",))
    with_node: dict[str, Any] = {
        "nodes": (own, foreign),
        "authorities": (*base.authorities, authority("420100", 7, node_id="430100")),
    }
    key_row = key_entry("x", KeyUse.RECEIPT, "430100", "430100")
    yield "region", {"regions": regions}, "区划"
    yield "served-region", {"regions": regions, "nodes": (serving,)}, "辖区"
    yield "circle", {"regions": regions, "circles": (_circle("430100"),)}, "都市圈成员"
    yield (
        "authority",
        {
            "regions": regions,
            "nodes": (serving,),
            "authorities": (*base.authorities, authority("430100", 1, node_id="420100")),
        },
        "机关",
    )
    yield "node", with_node, "节点"
    yield "key", {**with_node, "keys": (*base.keys, key_row)}, "密钥"
    yield "link", {**with_node, "links": (("430100", "420100"),)}, "链路"
    yield "certificate", {"nodes": (node("420100", certificate=foreign.certificate),)}, "证书"


def _circle(region: str) -> CircleEntry:
    return CircleEntry(name="圈", regions=(region,))


def _succession() -> Iterator[Case]:
    def heir(number: int, *gone: str, after_ms: int = 0, at: str = "420100") -> Any:  # noqa: ANN401
        rows = tuple(Succession(uscc=row, since_ms=ISSUED_MS + after_ms) for row in gone)
        return authority(at, number).model_copy(update={"succeeds": rows})

    def listing(*rows: Any) -> list[bytes]:  # noqa: ANN401
        return issue(hubei(authorities=(*hubei().authorities, *rows)))

    first = uscc("420100")
    chain = [heir(1, first), heir(2, uscc("420100", 1), after_ms=10)]
    yield directory_case(
        "succession",
        listing(*chain),
        "An authority is succeeded by another, and that one by a third, ten milliseconds later.",
        "一机关由另一机关承继，后者十毫秒后又由第三者承继。",
        CASES_IN_FLIGHT,
        clause="DI-15",
        asks=[
            (["heir", first, "420100", format_instant(ISSUED_MS + at_ms)], uscc("420100", number))
            for at_ms, number in ((-1, 0), (0, 1), (9, 1), (10, 2))
        ],
    )
    strangers: list[tuple[str, list[Any], str, str]] = [
        (
            "of-nobody",
            [heir(1, uscc("420900"))],
            "It succeeds one that is not listed.",
            "所承继者未列出。",
        ),
        (
            "elsewhere",
            [heir(1, uscc("430100"))],
            "It succeeds one of another province.",
            "所承继者在外省。",
        ),
        (
            "two-heirs",
            [heir(1, first), heir(2, first)],
            "One authority has two successors.",
            "一机关有两个承继机关。",
        ),
        ("of-itself", [heir(1, uscc("420100", 1))], "It succeeds itself.", "承继自身。"),
        (
            "in-a-circle",
            [heir(1, uscc("420100", 2)), heir(2, uscc("420100", 1))],
            "Two authorities succeed each other.",
            "两机关互相承继。",
        ),
    ]
    for name, rows, what, what_zh in strangers:
        yield directory_case(
            f"succession-{name}",
            listing(*rows),
            what,
            what_zh,
            CASES_IN_FLIGHT,
            clause="DI-15",
            reason=Reason.DOCUMENT_INVALID,
        )
