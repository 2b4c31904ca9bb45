"""What a signer is shown before a signature: the whole of a document, or what it changes.

A signature is worth what its signer has seen. So every member of a payload comes out in some line,
and two payloads that differ show at least one.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from protocol.instants import format_instant
from routing.directory_roles import RootPayload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from node.documents import Payload

_NAMES: Final = ("id", "uscc", "code", "name", "kind")


def summary(payload: Payload) -> list[str]:
    """A document as a whole: a line per member, and one per row of its lists."""
    return list(_lines("", payload))


def changes(old: Payload | None, new: Payload) -> list[str]:
    """What a document changes, ``+`` new, ``-`` gone, ``~`` otherwise than before."""
    if old is None:
        return summary(new)
    before, after = _flat(old), _flat(new)
    lines = [f"- {place}: {before[place]}" for place in before if place not in after]
    lines += [f"+ {place}: {after[place]}" for place in after if place not in before]
    lines += [
        f"~ {place}: {before[place]} → {after[place]}"
        for place in after
        if place in before and before[place] != after[place]
    ]
    return lines


def people(root: RootPayload, key_ids: Iterable[str]) -> str:
    """Who keeps these keys, for a line."""
    holders = {row.id: row.holder for row in root.keys}
    return "、".join(f"{holders.get(key_id, '?')} ({key_id[:8]}…)" for key_id in key_ids) or "—"


def _lines(place: str, value: object) -> Iterator[str]:
    for where, text in _flat_of(place, value):
        yield f"{where}: {text}"


def _flat(payload: Payload) -> dict[str, str]:
    return dict(_flat_of("", payload))


def _flat_of(place: str, value: object) -> Iterator[tuple[str, str]]:
    """Members by place; rows of a list by what names them, so that order does not matter."""
    if isinstance(value, RootPayload):
        yield from _root(value)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            member = getattr(value, name)
            where = f"{place}.{name}".removeprefix(".")
            yield from _flat_of(where, member)
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        for row in value:
            yield f"{place}[{_name_of(row)}]", _told(row)
    elif isinstance(value, tuple):
        for row in value:
            yield f"{place}[{_told(row)}]", "✓"
    else:
        yield place, _shown(place, value)


def _root(root: RootPayload) -> Iterator[tuple[str, str]]:
    """A root in the words of people: who may sign what, and how many of them it takes."""
    for name in ("version", "environment", "prefix", "name", "issued_ms", "expires_ms"):
        yield from _flat_of(name, getattr(root, name))
    for name, chinese in (("root", "根"), ("directory", "目录"), ("freshness", "时效")):
        role = getattr(root, name)
        yield f"{chinese} {name} 门限 threshold", f"{role.threshold} / {len(role.keys)}"
        for key_id in role.keys:
            row = next(row for row in root.keys if row.id == key_id)
            yield f"{chinese} {name} 密钥 key {key_id}", f"{row.holder} {row.suite}"
    yield "吊销 revoking 门限 threshold", f"{root.revoking} / {len(root.directory.keys)}"


def _name_of(row: BaseModel) -> str:
    for name in _NAMES:
        if name in type(row).model_fields:
            return str(getattr(row, name))
    return _told(row)


def _told(value: object) -> str:
    match value:
        case BaseModel():
            members = ((name, getattr(value, name)) for name in type(value).model_fields)
            return " ".join(f"{name}={_shown(name, member)}" for name, member in members)
        case bytes():
            return f"sha256:{hashlib.sha256(value).hexdigest()[:32]}…"
        case tuple():
            return "[" + ", ".join(map(_told, value)) + "]"
        case None:
            return "—"
        case _:
            return str(value)


def _shown(place: str, value: object) -> str:
    """A value; an instant as people write it."""
    if isinstance(value, int) and place.endswith("_ms"):
        return format_instant(value)
    return _told(value)
