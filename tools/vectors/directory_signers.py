"""Group directory: who signed: roles, thresholds, the chain of roots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from protocol.instants import format_instant
from protocol.reasons import Reason
from routing.directory_document import DIRECTORY_TYPE
from routing.directory_roles import FRESHNESS_TYPE
from routing.payload import write_payload
from signing.document import assemble_document, read_claims, sign_document
from signing.suites import Suite
from tests.messages import make_key as suite_key
from tests.unit.routing.provinces import (
    ISSUED_MS,
    freshness_payload,
    named,
    pin,
    root_payload,
    sign,
    sign_freshness,
    sign_root,
)
from tests.unit.routing.services import item, items_of
from tools.vectors.directory_sets import (
    DIRECTORY_KEYS,
    FRESHNESS_KEY,
    HOLDS,
    HOUR_MS,
    ROOT,
    ROOT_KEYS,
    directory_case,
    hubei,
    issue,
    key,
    versions,
)
from tools.vectors.samples import SteadyKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Case

THRESHOLD: Final = "One stolen key must not make a directory, nor a root."
MIXED: Final = "Good documents of different days, put together, say what nobody ever published."


def cases() -> Iterator[Case]:
    """Every case of this file."""
    yield from _good()
    yield from _signed_by_whom()


def _good() -> Iterator[Case]:
    for suite in Suite:
        first = [SteadyKey.of(suite_key(f"root 42 {number}", suite)) for number in range(2)]
        listing = [SteadyKey.of(suite_key(f"directory 42 {number}", suite)) for number in range(2)]
        fresh = SteadyKey.of(suite_key("freshness 42", suite))
        opening = root_payload("42", root=first, directory=listing, freshness=[fresh])
        signed = sign_root(opening, *first)
        yield directory_case(
            f"set-{suite.value}",
            issue(roots=[signed], signers=listing, fresh_by=fresh),
            f"Root, directory and freshness statement, signed in the suite {suite}.",
            f"根、目录与时效声明，以套件 {suite} 签名。",
            HOLDS,
            clause="DI-1 DI-5 DI-7 DI-8",
            pins=[pin(signed)],
            asks=[versions("42", 1, 1, format_instant(ISSUED_MS), 0), key(None)],
        )
    documents = items_of("42", item()).octets
    naming: dict[str, Any] = {"items": named(documents)}
    yield directory_case(
        "items",
        [*issue(**naming), documents],
        "A set that names the items of the province, which are there.",
        "集合点名本省事项目录，且其在场。",
        HOLDS,
        clause="DI-7",
        asks=[versions("42", 1, 1, format_instant(ISSUED_MS), 0)],
    )
    yield directory_case(
        "items-not-there",
        issue(**naming),
        "The items that the freshness statement names are not there.",
        "时效声明点名的事项目录不在场。",
        MIXED,
        clause="DI-7 TR-6",
        reason=Reason.STALE_DIRECTORY,
    )
    yield directory_case(
        "older-beside",
        [*issue(), *issue(hubei(2), after_ms=HOUR_MS)[1:]],
        "The documents of yesterday lie beside those of today; the latest statement counts.",
        "昨日文件与今日文件并存；以最新时效声明为准。",
        HOLDS,
        clause="DI-7 DI-8",
        asks=[versions("42", 1, 2, format_instant(ISSUED_MS + HOUR_MS), 0)],
    )


def _signed_by_whom() -> Iterator[Case]:
    lone = sign_root(root_payload("42"), ROOT_KEYS[0])
    first = sign(hubei(), DIRECTORY_KEYS[0])
    (row,) = first.split(b'"signatures":[')[1].split(b"]}")[:1]
    doubled = first.replace(row, row + b"," + row)
    payload = write_payload(hubei())
    other = read_claims(sign_document(FRESHNESS_TYPE, payload, DIRECTORY_KEYS[:2]))
    retyped = assemble_document(DIRECTORY_TYPE, payload, other.signatures)
    signature, form = Reason.DOCUMENT_SIGNATURE, Reason.DOCUMENT_INVALID
    rows: list[tuple[str, list[bytes], Reason, str, str, str]] = [
        (
            "directory-one-signature",
            issue(signers=DIRECTORY_KEYS[:1]),
            signature,
            "DI-1 SD-5",
            "A directory signed by one key where two are needed.",
            "目录须两人签名，仅一人。",
        ),
        (
            "directory-same-signer-twice",
            [ROOT, doubled, sign_freshness(freshness_payload(hubei(), doubled))],
            form,
            "DI-1 SD-1",
            "One signature is there twice, for two.",
            "同一签名出现两次冒充两人。",
        ),
        (
            "directory-by-root-keys",
            issue(signers=ROOT_KEYS[:2]),
            signature,
            "DI-1 SD-4",
            "A directory signed by the root's keys.",
            "目录由根密钥签名。",
        ),
        (
            "directory-with-freshness-key",
            issue(signers=[FRESHNESS_KEY, DIRECTORY_KEYS[0]]),
            signature,
            "DI-1 SD-4",
            "The freshness key stands in for the second directory key.",
            "以时效密钥充当第二把目录密钥。",
        ),
        (
            "directory-signed-as-another-type",
            [ROOT, retyped, sign_freshness(freshness_payload(hubei(), retyped))],
            signature,
            "DI-1 SD-2",
            "Signatures made over the same payload as a freshness statement.",
            "签名系针对另一文件类型作出。",
        ),
        (
            "freshness-by-directory-key",
            issue(fresh_by=DIRECTORY_KEYS[0]),
            signature,
            "DI-1 DI-8",
            "A freshness statement signed by a directory key.",
            "时效声明由目录密钥签名。",
        ),
    ]
    for name, documents, reason, clause, what, what_zh in rows:
        yield directory_case(
            name, documents, what, what_zh, THRESHOLD, clause=clause, reason=reason
        )
    yield directory_case(
        "root-one-signature",
        issue(roots=[lone]),
        "A pinned root signed by one of its keys where it asks for two.",
        "所钉之根须两人签名，仅一人。",
        THRESHOLD,
        clause="DI-5",
        reason=signature,
        pins=[pin(lone)],
    )
