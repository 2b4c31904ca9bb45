"""What a node remembers of a province's documents, so that nobody takes it back (防回滚).

A set takes the place of another only by these rules, whatever the node's files say:

    1. same environment; nothing older than what was accepted, and no second content under
       one version: root, directory, items, freshness                                      DI-11
    2. nothing that was revoked comes back                                                  DI-11
    3. a set that has expired is taken only if it is the very one accepted before: known
       keys go on, nothing new comes in                                                     DI-12

A root that takes a key out of a role makes 1 and 2 start anew for what that role signs: so a
stolen key that was used to run ahead in versions, or to revoke, is undone by removing it. Roots
themselves go up one by one. Whoever pins another root by hand starts anew for its province.

Source: The Update Framework 1.0.33, section 5.3.11 (recovery from fast-forward attacks).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from protocol.envelope import Environment
from protocol.errors import RefusedError, UnavailableError
from protocol.instants import format_instant
from protocol.reasons import Reason
from routing.directory_roles import RevokedKey
from routing.payload import STRICT, Digest, KeyId, Named, require_forward

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routing.directory_province import Province


class Accepted(BaseModel):
    """What was accepted of a province last. Small, and all that has to survive a restart."""

    model_config = STRICT

    environment: Environment
    pin: Named
    root: Named
    directory: Named
    items: Named | None
    freshness: Named
    directory_keys: tuple[KeyId, ...]
    freshness_keys: tuple[KeyId, ...]
    revoked: tuple[RevokedKey, ...]
    struck: tuple[Digest, ...]


def remember(province: Province) -> Accepted:
    """What a node remembers of a set that it takes."""
    root = province.root.payload
    statements = [document.payload for document in province.revocations]
    taken = {row.id for payload in statements for row in payload.keys}
    return Accepted(
        environment=province.environment,
        pin=province.roots[0].named,
        root=province.root.named,
        directory=province.directory.named,
        items=province.freshness.payload.items,
        freshness=province.freshness.named,
        directory_keys=root.directory.keys,
        freshness_keys=root.freshness.keys,
        revoked=tuple(
            RevokedKey(id=record.key.key_id, revoked_ms=record.revoked_ms)
            for record in province.records()
            if record.revoked_ms is not None and record.key.key_id in taken
        ),
        struck=tuple(sorted({row for payload in statements for row in payload.certificates})),
    )


def admit(province: Province, accepted: Accepted | None, now_ms: int) -> None:
    """Whether a set may be put in force, by the rules of the module's docstring.

    Args:
        province: The set.
        accepted: What was accepted last, if anything was.
        now_ms: This node's clock.

    Raises:
        RefusedError: ENVIRONMENT_MISMATCH or DOCUMENT_INVALID: rules 1 and 2.
        UnavailableError: STALE_DIRECTORY: rule 3.
    """
    if accepted is not None and accepted.pin == province.roots[0].named:
        _require_forward(province, accepted)
    same = accepted is not None and _names(province) == _names_of(accepted)
    if now_ms >= province.fresh_until_ms and not same:
        expired = f"{province.prefix}: expired at {format_instant(province.fresh_until_ms)}"
        detail = f"{expired}, or our clock is ahead; nothing new is taken from what has expired"
        raise UnavailableError(Reason.STALE_DIRECTORY, detail)


def _require_forward(province: Province, accepted: Accepted) -> None:
    prefix = province.prefix
    if province.environment != accepted.environment:
        detail = f"{prefix}: {province.environment}, accepted before as {accepted.environment}"
        raise RefusedError(Reason.ENVIRONMENT_MISMATCH, detail)
    # 1 nothing older
    for what, new, old in _compared(province, accepted):
        require_forward(f"{prefix}: {what}", new, old)
    # 2 nothing comes back
    if _kept(accepted.directory_keys, province.root.payload.directory.keys):
        _require_still_taken(province, accepted)


def _compared(province: Province, accepted: Accepted) -> Iterator[tuple[str, Named | None, Named]]:
    root = province.root.payload
    yield "root", province.root.named, accepted.root
    if _kept(accepted.directory_keys, root.directory.keys):
        yield "directory", province.directory.named, accepted.directory
        if accepted.items is not None:
            yield "items", province.freshness.payload.items, accepted.items
    if _kept(accepted.freshness_keys, root.freshness.keys):
        yield "freshness", province.freshness.named, accepted.freshness


def _require_still_taken(province: Province, accepted: Accepted) -> None:
    records = {record.key.key_id: record for record in province.records()}
    for row in accepted.revoked:
        record = records.get(row.id)
        if record is not None and (record.revoked_ms is None or record.revoked_ms > row.revoked_ms):
            raise _invalid(f"{province.prefix}: key {row.id} was revoked and comes back")
    struck = {row.certificate_digest.hex() for row in province.payload.nodes} - {
        digest for document in province.revocations for digest in document.payload.certificates
    }
    for digest in accepted.struck:
        if digest in struck:
            raise _invalid(f"{province.prefix}: certificate {digest[:16]}… comes back")


def _kept(before: tuple[str, ...], now: tuple[str, ...]) -> bool:
    """Whether every key of a role still has it."""
    return set(before) <= set(now)


def _names(province: Province) -> tuple[Named | None, ...]:
    said = province.freshness
    return province.root.named, province.directory.named, said.payload.items, said.named


def _names_of(accepted: Accepted) -> tuple[Named | None, ...]:
    return accepted.root, accepted.directory, accepted.items, accepted.freshness


def _invalid(detail: str) -> RefusedError:
    return RefusedError(Reason.DOCUMENT_INVALID, detail)
