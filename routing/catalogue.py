"""The catalogue: what services there are, and which authority does which of them where (事项目录).

Items are signed by a province's directory key and speak for that province. A sheet is signed by its
authority's catalogue key. An implementation counts only if

    1. the authority is listed, and its key neither revoked nor outside its time
    2. its region is the authority's own or lies below it, its zone is the authority's zone
    3. its code begins with the authority's USCC, and whoever it gives powers to is listed
    4. the item is published in that province, for that level

`open_sheet` refuses a sheet that breaks 1 to 3 (DI-2). `Catalogue.merge` holds all four against the
directory in force and sets aside what no longer fits, with the reason: one authority's mistake must
not stop everybody's catalogue.

Source: design section 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from protocol.errors import RefusedError, UnavailableError
from protocol.identifiers import province_of
from protocol.lifecycle import Power
from protocol.reasons import Reason
from routing.catalogue_document import (
    ITEMS_TYPE,
    SHEET_TYPE,
    ImplementationEntry,
    Item,
    ItemsPayload,
    Level,
    Material,
    SheetPayload,
    Term,
)
from routing.directory_province import open_as_directory_role, require_named
from routing.payload import Verified, accept_newer, read_payload, refuse_if_any, repeated
from signing.document import open_document, signers
from signing.keys import KeyUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from routing.directory import Directory
    from routing.directory_province import Province

__all__ = [
    "ITEMS_TYPE",
    "SHEET_TYPE",
    "Catalogue",
    "Implementation",
    "ImplementationEntry",
    "Item",
    "ItemsDocument",
    "ItemsPayload",
    "Material",
    "SetAside",
    "SheetDocument",
    "SheetPayload",
    "Term",
    "accept_newer",
    "open_items",
    "open_sheet",
]

K = TypeVar("K")

_CODE_LENGTH: Final = 31
_POWER_FIELDS: Final = tuple((power, power.value) for power in Power)


@dataclass(frozen=True, slots=True)
class ItemsDocument(Verified[ItemsPayload]):
    """A province's verified items. Only `open_items` makes one."""


@dataclass(frozen=True, slots=True)
class SheetDocument(Verified[SheetPayload]):
    """An authority's verified sheet. Only `open_sheet` makes one.

    Attributes:
        key_ids: The catalogue keys that signed it.
    """

    key_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class SetAside:
    """An implementation that does not count, and why; `code` is empty for a whole sheet."""

    authority: str
    code: str
    problem: str


@dataclass(frozen=True, slots=True)
class Implementation:
    """An implementation that counts: one authority's version of an item.

    Attributes:
        authority: USCC of the authority that answers for it.
        item: The item as its province publishes it.
        entry: What the authority's sheet says.
        version: The sheet's version.
    """

    authority: str
    item: Item
    entry: ImplementationEntry
    version: int

    @property
    def code(self) -> str:
        """实施编码."""
        return self.entry.code

    @property
    def materials(self) -> tuple[Material, ...]:
        """The materials this authority asks for: its own list, or else the item's."""
        return self.item.materials if self.entry.materials is None else self.entry.materials

    @property
    def promised(self) -> Term | None:
        """The limit this authority promises, or else the item's."""
        return self.entry.promised or self.item.limit.promised

    def in_force(self, now_ms: int) -> bool:
        """Whether it has taken effect and is not withdrawn."""
        withdrawn_ms = self.entry.withdrawn_ms
        return self.entry.effective_from_ms <= now_ms and (
            withdrawn_ms is None or now_ms < withdrawn_ms
        )

    @property
    def province(self) -> str:
        """The prefix of the province it is for, which is its authority's."""
        return province_of(self.entry.region)

    def powers_of(self, authority: str, place: str) -> frozenset[Power]:
        """The powers (权责) an authority holds in this implementation.

        Args:
            authority: USCC.
            place: Its node, or its province's prefix: a USCC alone names nobody (DI-4).
        """
        prefix = province_of(place)
        name = authority if prefix == self.province else f"{prefix}:{authority}"
        powers = self.entry.powers
        held = {power for power, field in _POWER_FIELDS if getattr(powers, field) == name}
        if powers.collect == "any" or name in powers.collect:
            held.add(Power.COLLECT)
        return frozenset(held)


def open_items(octets: bytes, province: Province) -> ItemsDocument:
    """Verify a province's items: signed by a threshold of its directory keys, and in force (DI-7).

    Raises:
        RefusedError: DOCUMENT_SIGNATURE, DOCUMENT_INVALID or ENVIRONMENT_MISMATCH, naming the
            place; DOCUMENT_INVALID too if the freshness statement names another file, or none.
        UnavailableError: SUITE_UNAVAILABLE: it could not be checked.
    """
    payload = open_as_directory_role(octets, ITEMS_TYPE, ItemsPayload, province.root)
    items = ItemsDocument(payload, octets)
    named = province.freshness.payload.items
    if named is None:
        detail = f"items of {province.prefix}: its freshness statement names none"
        raise RefusedError(Reason.DOCUMENT_INVALID, detail)
    require_named(named, items, "items")
    return items


def open_sheet(octets: bytes, directory: Directory) -> SheetDocument:
    """Verify an authority's sheet against the directory in force.

    Raises:
        RefusedError: DOCUMENT_SIGNATURE, DOCUMENT_INVALID or ENVIRONMENT_MISMATCH.
        UnavailableError: KEY_UNKNOWN: the directory here does not know a signer (yet);
            SUITE_UNAVAILABLE.
    """
    key_ids = signers(octets)
    claims = (
        directory.trust.key(key_id, prefix) for prefix in directory.provinces for key_id in key_ids
    )
    known = {record.key.key_id: record.key for record in claims if record is not None}
    if len(known) < len(key_ids):
        raise UnavailableError(Reason.KEY_UNKNOWN, f"one of {' '.join(sorted(key_ids))}")
    # Whose keys they are is asked below, once it is known for which province the sheet speaks.
    opened = open_document(octets, SHEET_TYPE, list(known.values()))
    payload = read_payload(SheetPayload, opened)
    if payload.environment != directory.environment:
        raise RefusedError(Reason.ENVIRONMENT_MISMATCH, f"a sheet for {payload.environment}")
    sheet = SheetDocument(payload, octets, key_ids)
    problem = _sheet_problem(sheet, directory)
    if problem is not None:
        raise RefusedError(Reason.DOCUMENT_INVALID, problem)
    entries = payload.implementations
    refuse_if_any(repeated("implementations.code", [entry.code for entry in entries]))
    refuse_if_any(
        f"implementations[{i}].{problem}"
        for i, entry in enumerate(entries)
        for problem in _entry_problems(entry, payload, directory)
    )
    return sheet


def _sheet_problem(sheet: SheetDocument, directory: Directory) -> str | None:
    """Why nothing in a sheet counts under this directory, if so."""
    payload = sheet.payload
    if directory.authority(payload.authority, payload.prefix) is None:
        return f"authority: {payload.authority} is not listed in {payload.prefix}"
    for key_id in sorted(sheet.key_ids):
        record = directory.trust.key(key_id, payload.prefix)
        if record is None or record.revoked_ms is not None:
            return f"key {key_id} is unknown or revoked; publish again with a valid one"
        if (record.use, record.owner) != (KeyUse.CATALOGUE, payload.authority):
            return f"key {key_id} is no catalogue key of {payload.authority}"
        if not record.not_before_ms <= payload.issued_ms < record.not_after_ms:
            return f"issued_ms: outside the validity of key {key_id}"
    return None


def _entry_problems(
    entry: ImplementationEntry, payload: SheetPayload, directory: Directory
) -> Iterator[str]:
    """What an authority may not say, whatever the items are."""
    uscc = payload.authority
    authority = directory.authority(uscc, payload.prefix)
    if authority is None or authority.region not in directory.chain(entry.region):
        yield f"region: {entry.region} is not {uscc}'s own and does not lie below it"
    elif authority.zone is not None and entry.zone != authority.zone:
        yield f"zone: {entry.zone}, but {uscc} is of {authority.zone}"
    elif entry.zone is not None and entry.zone not in directory.zones(entry.region):
        yield f"zone: {entry.zone} is not known in {entry.region}"
    if not entry.code.startswith(uscc):
        yield f"code: {entry.code} does not begin with {uscc}"
    elif entry.code_form == "standard" and (
        len(entry.code) != _CODE_LENGTH or not entry.code.endswith(entry.item)
    ):
        yield f"code: {entry.code} is marked `standard`, but is not USCC, level and item code"
    powers = entry.powers
    holders = {powers.accept, powers.review, powers.decide, powers.issue, powers.deliver}
    if powers.collect != "any":
        holders.update(powers.collect)
    for holder in sorted(holders):
        prefix, _, whose = holder.rpartition(":")
        if directory.authority(whose, prefix or payload.prefix) is None:
            yield f"powers: {holder} is not listed"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All items and the implementations that count; made by `merge`, never changed.

    Attributes:
        items: By (province prefix, item code).
        set_aside: What does not count at present, and why.
    """

    items: Mapping[tuple[str, str], Item]
    set_aside: tuple[SetAside, ...]
    _first: Mapping[str, Item]
    _by_code: Mapping[tuple[str, str], Implementation]
    _by_item: Mapping[str, tuple[Implementation, ...]]
    _by_place: Mapping[tuple[str, str], tuple[Implementation, ...]]

    @classmethod
    def merge(
        cls,
        items: Iterable[ItemsDocument],
        sheets: Iterable[SheetDocument],
        directory: Directory,
    ) -> Catalogue:
        """The view of these documents under a directory: one per province, one per authority.

        Raises:
            RefusedError: DOCUMENT_INVALID: two documents of one publisher; ENVIRONMENT_MISMATCH.
        """
        provinces = [document.payload for document in items]
        held = sorted(sheets, key=lambda sheet: sheet.payload.publisher)
        refuse_if_any(repeated("items.prefix", [payload.prefix for payload in provinces]))
        refuse_if_any(repeated("authority", [sheet.payload.publisher for sheet in held]))
        payloads: list[ItemsPayload | SheetPayload] = [*provinces, *(row.payload for row in held)]
        for payload in payloads:
            if payload.environment != directory.environment:
                raise RefusedError(Reason.ENVIRONMENT_MISMATCH, f"{payload.publisher}'s catalogue")
        known = {
            (payload.prefix, item.code): item for payload in provinces for item in payload.items
        }
        counted: list[Implementation] = []
        aside: list[SetAside] = []
        for sheet in held:
            for outcome in _sort_out(sheet, known, directory):
                if isinstance(outcome, SetAside):
                    aside.append(outcome)
                else:
                    counted.append(outcome)
        return cls(
            items=MappingProxyType(known),
            set_aside=tuple(aside),
            _first={code: known[prefix, code] for prefix, code in sorted(known, reverse=True)},
            _by_code={(row.province, row.code): row for row in counted},
            _by_item=_group((row.item.code, row) for row in counted),
            _by_place=_group(((row.item.code, row.entry.region), row) for row in counted),
        )

    def item(self, code: str, prefix: str | None = None) -> Item | None:
        """An item as one province publishes it; without a prefix, as the first that does."""
        if prefix is not None:
            return self.items.get((prefix, code))
        return self._first.get(code)

    def implementation(self, code: str, place: str) -> Implementation | None:
        """A province's implementation by its code (实施编码), in force or not.

        Cases in flight need it. Two provinces may use one code; `place` is a node, a region or the
        prefix of the one that is meant.
        """
        return self._by_code.get((province_of(place), code))

    def only_implementation(self, code: str) -> Implementation | None:
        """The implementation with this code, if just one province uses it."""
        found = [self._by_code[key] for key in self._by_code if key[1] == code]
        return found[0] if len(found) == 1 else None

    def implementations(self, item: str, now_ms: int) -> tuple[Implementation, ...]:
        """Everybody who implements an item at present, by authority."""
        return _in_force(self._by_item.get(item, ()), now_ms)

    def at(self, item: str, region: str, now_ms: int) -> tuple[Implementation, ...]:
        """Who implements an item at present for exactly this region or a zone in it."""
        return _in_force(self._by_place.get((item, region), ()), now_ms)

    def served(self, item: str, authority: str, now_ms: int) -> Implementation | None:
        """An authority's implementation of an item at present; None if it does not do it."""
        rows = self.implementations(item, now_ms)
        return next((row for row in rows if row.authority == authority), None)


def levels_of(region: str, zone: str | None, directory: Directory) -> frozenset[Level]:
    """The levels an authority of a region, or of a zone in it, acts on.

    A zone acts as what lies directly below its region. What lies directly below a province acts as
    a prefecture, also a county (429xxx), which has none above it.
    """
    chain = directory.chain(region)
    if zone is None and region.endswith("0000"):
        return frozenset({"province"})
    below = chain[0] if zone is not None else (*chain, "")[1]
    if not below.endswith("0000"):
        return frozenset({"county"})
    if zone is None and region.endswith("00"):
        return frozenset({"city"})
    return frozenset({"city", "county"})


def _sort_out(
    sheet: SheetDocument, known: Mapping[tuple[str, str], Item], directory: Directory
) -> Iterator[Implementation | SetAside]:
    payload = sheet.payload
    problem = _sheet_problem(sheet, directory)
    if problem is not None:
        yield SetAside(payload.authority, "", problem)
        return
    for entry in payload.implementations:
        item = known.get((province_of(entry.region), entry.item))
        problem = next(_entry_problems(entry, payload, directory), None)
        if problem is not None:
            yield SetAside(payload.authority, entry.code, problem)
        elif item is None:
            problem = f"item: {entry.item} is not published in {province_of(entry.region)}"
            yield SetAside(payload.authority, entry.code, problem)
        elif levels_of(entry.region, entry.zone, directory).isdisjoint(item.levels):
            problem = f"region: {entry.item} is not done on the level of {entry.region}"
            yield SetAside(payload.authority, entry.code, problem)
        else:
            yield Implementation(payload.authority, item, entry, payload.version)


def _group(
    pairs: Iterable[tuple[K, Implementation]],
) -> dict[K, tuple[Implementation, ...]]:
    found: dict[K, list[Implementation]] = {}
    for key, row in pairs:
        found.setdefault(key, []).append(row)
    return {key: tuple(rows) for key, rows in found.items()}


def _in_force(rows: tuple[Implementation, ...], now_ms: int) -> tuple[Implementation, ...]:
    return tuple(row for row in rows if row.in_force(now_ms))
