"""What the cases of the group directory are made of: sets of documents, and whoever reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from protocol.instants import format_instant
from routing.directory_roles import TrustAnchor
from signing.keys import KeyUse
from tests.unit.routing.provinces import (
    DAY_MS,
    ISSUED_MS,
    freshness_payload,
    key_entry,
    named,
    node,
    pin,
    province,
    role_keys,
    root,
    root_payload,
    sign,
    sign_freshness,
    sign_root,
)
from tools.vectors.cases import Case

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocol.reasons import Reason
    from routing.directory_document import DirectoryPayload
    from routing.directory_roles import AnchorEntry
    from signing.suites import PrivateKey
    from tools.vectors.cases import Json

HOUR_MS: Final = 3_600_000
NOW_MS: Final = ISSUED_MS + 6 * HOUR_MS
ROOT: Final = root("42")
ROOT_KEYS: Final = role_keys("42", "root")
DIRECTORY_KEYS: Final = role_keys("42", "directory")
FRESHNESS_KEY: Final = role_keys("42", "freshness")[0]
RECEIPT_KEY: Final = key_entry("receipt", KeyUse.RECEIPT, "420100", "420100")

HOLDS: Final = "A verifier that refuses everything would pass the others."


def hubei(version: int = 1, **changes: Any) -> DirectoryPayload:  # noqa: ANN401 - members
    """湖北 with one node and its receipt key."""
    payload = province("42", [node("420100")], keys=(RECEIPT_KEY,), version=version)
    return payload.model_copy(update=changes)


def issue(
    payload: DirectoryPayload | None = None,
    *,
    after_ms: int = 0,
    signers: Sequence[PrivateKey] = (),
    roots: Sequence[bytes] = (ROOT,),
    more: Sequence[bytes] = (),
    fresh_by: PrivateKey = FRESHNESS_KEY,
    **says: Any,  # noqa: ANN401 - members
) -> list[bytes]:
    """A set: roots, a directory, its freshness statement signed `after_ms` later."""
    told = hubei() if payload is None else payload
    directory = sign(told, *signers)
    values: dict[str, Any] = {
        "issued_ms": ISSUED_MS + after_ms,
        "expires_ms": ISSUED_MS + after_ms + DAY_MS,
        "root": named(roots[-1], len(roots)),
        **says,
    }
    if told.prefix != "42" and "root" not in says:
        values["root"] = named(root(told.prefix))
        roots, fresh_by = [root(told.prefix)], role_keys(told.prefix, "freshness", 1)[0]
    fresh = sign_freshness(freshness_payload(told, directory, **values), fresh_by)
    return [*roots, directory, *more, fresh]


def rotated(*signers: PrivateKey, **changes: Any) -> bytes:  # noqa: ANN401 - members
    """A second root, with everything as before but these changes."""
    values = {"version": 2, **changes}
    return sign_root(root_payload("42", **values), *(signers or ROOT_KEYS[:2]))


def numbered(folder: str, documents: Sequence[bytes]) -> dict[str, bytes]:
    """The documents as files of a folder."""
    return {f"{folder}/{number:02}.json": octets for number, octets in enumerate(documents, 1)}


def anchor_file(*pins: AnchorEntry) -> bytes:
    """The octets of a trust anchor."""
    return TrustAnchor(anchors=pins or (pin(ROOT),)).model_dump_json(indent=1).encode() + b"\n"


def directory_case(
    name: str,
    documents: Sequence[bytes],
    what: str,
    what_zh: str,
    why: str,
    *,
    clause: str,
    reason: Reason | None = None,
    now_ms: int = NOW_MS,
    pins: Sequence[AnchorEntry] = (),
    before: Sequence[bytes] = (),
    before_ms: int = NOW_MS,
    asks: Sequence[tuple[list[Json], Json]] = (),
) -> Case:
    """A case about sets of documents; valid unless there is a reason.

    Args:
        name: Of the folder.
        documents: All that is there, of every province.
        what: In one sentence.
        what_zh: In Chinese.
        why: The hole.
        clause: The rules.
        reason: Why the set does not hold.
        now_ms: The reader's clock.
        pins: The trust anchor.
        before: What was there, and held, before.
        before_ms: The reader's clock then.
        asks: Questions with their answers.
    """
    inputs: dict[str, Json] = {"now": format_instant(now_ms)}
    if before:
        inputs["before"] = format_instant(before_ms)
    if asks:
        inputs["asks"] = [question for question, _ in asks]
    files = {"anchor.json": anchor_file(*pins)}
    files |= numbered("before", before) | numbered("documents", documents)
    result: dict[str, Json] = {"answers": [answer for _, answer in asks]} if asks else {}
    return Case(
        "directory",
        name,
        what,
        what_zh,
        why,
        clause,
        files,
        expect=reason,
        inputs=inputs,
        result=result,
    )


def versions(prefix: str, *numbers: Json) -> tuple[list[Json], Json]:
    """The question which versions are in force, with its answer."""
    return ["versions", prefix], list(numbers)


def key(revoked: int | None, *at: int, node_id: str = "420100") -> tuple[list[Json], Json]:
    """The question about the receipt key, with its answer."""
    told: Json = {
        "use": "receipt",
        "owner": node_id,
        "revoked": None if revoked is None else format_instant(revoked),
    }
    return ["key", RECEIPT_KEY.id, node_id, *map(format_instant, at)], told
