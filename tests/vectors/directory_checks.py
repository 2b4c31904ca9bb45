"""Group directory: sets of documents under an anchor, views, and requests of nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from node.documents import read_document
from node.federation import take_province
from node.request import read_request
from protocol.errors import UnavailableError
from protocol.instants import format_instant, parse_instant
from protocol.limits import DEFAULT_GRACE_MS
from routing.directory import Directory
from routing.directory_memory import Accepted, remember
from routing.directory_roles import TrustAnchor
from routing.directory_views import Split, compare_views, read_view, write_view
from routing.payload import read_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from node.federation import Held
    from routing.directory_views import Difference
    from tests.vectors.folders import Vector


def directory(vector: Vector) -> dict[str, Any]:
    """Whichever of the three there is."""
    if vector.has("view.bin"):
        view = read_view(vector.octets("view.bin"))
        return {"provinces": [row.prefix for row in view]}
    if vector.has("request.json"):
        facts = read_request(vector.octets("request.json"))
        return {"keys": [row.id for row in facts.keys]}
    return _sets(vector)


def _sets(vector: Vector) -> dict[str, Any]:
    """Every pinned province's set, after the one before, if there is one; then the questions."""
    accepted: dict[str, Accepted] = {}
    if (vector.folder / "before").is_dir():
        for prefix, held in _taken(vector, "before", vector.instant("before"), {}).items():
            # All that survives is what was written down.
            text = remember(held.province).model_dump_json().encode()
            accepted[prefix] = read_model(Accepted, text)
    taken = _taken(vector, "documents", vector.instant("now"), accepted)
    view = Directory.merge((held.province for held in taken.values()), DEFAULT_GRACE_MS)
    answers = [_ANSWERS[word](view, *rest) for word, *rest in vector.case.get("asks", ())]
    return {"answers": answers}


def _taken(
    vector: Vector, folder: str, now_ms: int, accepted: Mapping[str, Accepted]
) -> dict[str, Held]:
    anchor = TrustAnchor.read(vector.octets("anchor.json"))
    files = [
        read_document(Path(path.name), path.read_bytes())
        for path in sorted((vector.folder / folder).iterdir())
    ]
    return {
        pin.prefix: take_province(pin, files, accepted.get(pin.prefix), now_ms)
        for pin in anchor.anchors
    }


def _versions(view: Directory, prefix: str) -> list[object]:
    province = view.provinces[prefix]
    return [
        province.root.payload.version,
        province.payload.version,
        format_instant(province.freshness.payload.issued_ms),
        len(province.revocations),
    ]


def _key(view: Directory, key_id: str, node: str, at: str | None = None) -> object:
    trust = view.trust if at is None else view.trust_at(parse_instant(at))
    try:
        record = trust.key(key_id, node)
    except UnavailableError as error:
        return error.reason.code
    if record is None:
        return "unknown"
    revoked = None if record.revoked_ms is None else format_instant(record.revoked_ms)
    return {"use": record.use.value, "owner": record.owner, "revoked": revoked}


def _authority(view: Directory, uscc: str, prefix: str) -> object:
    found = view.authority(uscc, prefix)
    return None if found is None else found.node


def _told(difference: Difference) -> str:
    word = type(difference).__name__.lower()
    document = f" {difference.document}" if isinstance(difference, Split) else ""
    return f"{word}{document} {difference.prefix}"


_ANSWERS: Mapping[str, Callable[..., object]] = {
    "versions": _versions,
    "key": _key,
    "authority": _authority,
    "linked": Directory.linked,
    "may-present": Directory.may_forward,
    "standing": lambda view, prefix, at: view.standing(prefix, parse_instant(at)).value,
    "heir": lambda view, uscc, node, at: view.heir(uscc, node, parse_instant(at)),
    "view": lambda view: write_view(view.view()).hex(),
    "compare": lambda view, shown: [
        _told(row) for row in compare_views(view.view(), read_view(bytes.fromhex(shown)))
    ],
}
"""What each question comes to."""
