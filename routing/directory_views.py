"""What a node sees of every province, to be compared with what its peers see (视图比对).

A publisher, or whoever stole its keys, could show one directory to some and another to others. Each
shows its peers which documents it holds in force; two contents under one version prove that
somebody signed both (DI-13). The octets of a view travel beside the heads of the evidence logs; its
digest stands in them (`signing.log.view_digest`), so that nobody can deny later what he saw.

    per province, by prefix:  prefix (2) | 3 of ( u64 version | SHA-256 (32) )
                              for root, directory, freshness (whose version is its instant)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from protocol.errors import RefusedError
from protocol.reasons import Reason
from routing.payload import Named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_ROW: Final = struct.Struct(">2s" + "Q32s" * 3)
_MAX_PROVINCES: Final = 90


@dataclass(frozen=True, slots=True)
class ProvinceView:
    """The documents of one province that a node holds in force."""

    prefix: str
    root: Named
    directory: Named
    freshness: Named


View: TypeAlias = "tuple[ProvinceView, ...]"
"""Every province once, by prefix."""


@dataclass(frozen=True, slots=True)
class Split:
    """One version, two contents: an alarm. Either signature holders or keys are not honest."""

    prefix: str
    document: str
    mine: Named
    theirs: Named


@dataclass(frozen=True, slots=True)
class Behind:
    """They hold newer documents of this province: a reason to fetch, never to believe."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Ahead:
    """They hold older documents of this province than we do."""

    prefix: str


Difference: TypeAlias = Split | Behind | Ahead


def write_view(view: View) -> bytes:
    """The octets of a view."""
    return b"".join(
        _ROW.pack(
            row.prefix.encode("ascii"),
            *(
                part
                for named in (row.root, row.directory, row.freshness)
                for part in (named.version, bytes.fromhex(named.digest))
            ),
        )
        for row in view
    )


def read_view(octets: bytes) -> View:
    """The view that a peer shows; its octets are as hostile as any.

    Raises:
        RefusedError: FRAME_MALFORMED: not the one form of a view.
    """
    count, rest = divmod(len(octets), _ROW.size)
    if rest or count > _MAX_PROVINCES:
        raise _malformed(f"a view of {len(octets)} octets")
    try:
        view = tuple(_row(*fields) for fields in _ROW.iter_unpack(octets))
    except ValueError as error:
        raise _malformed("a view with a version or prefix that cannot be") from error
    prefixes = [row.prefix for row in view]
    if prefixes != sorted(set(prefixes)):
        raise _malformed("a view whose provinces are not in order, once each")
    return view


def compare_views(mine: View, theirs: View) -> tuple[Difference, ...]:
    """What two views say of the provinces that both know (DI-13).

    Returns:
        Every split first found, and per province whether they are ahead of us or we of them. Equal
        views, and provinces that only one of the two knows, give nothing.
    """
    known: Mapping[str, ProvinceView] = {row.prefix: row for row in theirs}
    return tuple(
        difference
        for row in mine
        if row.prefix in known
        for difference in _compare(row, known[row.prefix])
    )


def _compare(mine: ProvinceView, theirs: ProvinceView) -> Iterator[Difference]:
    pairs = [("root", mine.root, theirs.root)]
    if mine.root == theirs.root:
        # Under another root versions may have begun anew: whoever is behind catches up first.
        pairs.append(("directory", mine.directory, theirs.directory))
        pairs.append(("freshness", mine.freshness, theirs.freshness))
    for document, one, other in pairs:
        if one.version == other.version and one != other:
            yield Split(mine.prefix, document, one, other)
    if any(one.version < other.version for _, one, other in pairs):
        yield Behind(mine.prefix)
    elif any(one.version > other.version for _, one, other in pairs):
        yield Ahead(mine.prefix)


def _row(prefix: bytes, *fields: int | bytes) -> ProvinceView:
    text = prefix.decode("ascii")
    if not text.isdigit():
        raise ValueError(text)
    pairs: Iterable[tuple[int, bytes]] = zip(fields[::2], fields[1::2], strict=True)  # type: ignore[arg-type]
    root, directory, freshness = (
        Named(version=version, digest=digest.hex()) for version, digest in pairs
    )
    return ProvinceView(text, root, directory, freshness)


def _malformed(detail: str) -> RefusedError:
    return RefusedError(Reason.FRAME_MALFORMED, detail)
