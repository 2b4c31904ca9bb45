"""Which authority is responsible: from the item, whose region counts, and that region (管辖).

The search, for a region of the applicant's answer to the item's question:

    1. the item has to be published in that province
    2. the basis has to be one the item goes by; otherwise the item's question is the answer
    3. a functional zone that was named and does the item comes before any region
    4. from the region upwards, the first level with somebody who does the item: 420606, 420600,
       420000. Only a named zone's authorities are asked for zones, everybody else for regions
    5. several there: ambiguous, they are the options
    6. nobody there or above, but below: ambiguous, the question is where exactly
    7. nobody: an item any authority in the country may do offers them all; everything else is
       not found, with the nearest who do it elsewhere

Nothing is guessed: one answer, a question with its options, or a clear no.

Source: design section 7; domain notes (区划: 429xxx has no prefecture above it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from protocol.identifiers import province_of
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routing.catalogue import Catalogue, Implementation, Item
    from routing.directory import Directory
    from routing.directory_document import AuthorityEntry

MAX_NEAREST: Final = 5
"""Offers beside a "not found": what fits a clerk's screen without scrolling."""


@dataclass(frozen=True, slots=True)
class Responsible:
    """The one authority, and its version of the item."""

    implementation: Implementation
    authority: AuthorityEntry


@dataclass(frozen=True, slots=True)
class BasisOption:
    """An answer to "whose region counts": a kind of basis the item goes by."""

    kind: str
    chinese: str
    english: str
    chinese_question: str
    english_question: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A question that has to be answered first: by a basis, or by naming one of the authorities."""

    chinese_question: str
    english_question: str
    options: tuple[BasisOption, ...] | tuple[Responsible, ...]


@dataclass(frozen=True, slots=True)
class NotFound:
    """Nobody here does it: why, and who does it nearby.

    Attributes:
        reason: ITEM_UNKNOWN or ITEM_NOT_SERVED.
        chinese: Why, for the clerk.
        english: The same.
        nearest: Who does the item elsewhere, nearest first.
    """

    reason: Reason
    chinese: str
    english: str
    nearest: tuple[Responsible, ...]


Jurisdiction: TypeAlias = Responsible | Ambiguous | NotFound


def responsible(
    catalogue: Catalogue,
    directory: Directory,
    item: str,
    basis: str,
    region: str,
    zone: str | None = None,
    *,
    now_ms: int,
) -> Jurisdiction:
    """Find the responsible authority by the steps of the module's docstring.

    Args:
        catalogue: Items and implementations in force.
        directory: Regions and authorities in force.
        item: The item's code (基本编码).
        basis: Which of the item's bases the region answers.
        region: GB/T 2260 code.
        zone: Name of a functional zone or unit without a code, if it lies in one.
        now_ms: For effective dates.
    """
    search = _Search(catalogue, directory, item, region, now_ms)
    # 1 the item
    published = catalogue.item(item, province_of(region))
    if published is None:
        return search.unpublished()
    # 2 the basis
    if basis not in {row.kind for row in published.lead_bases}:
        return _ask_for_basis(published)
    if directory.region(region) is None:
        return search.nobody(published, f"行政区划 {region} 未接入", f"{region} is not connected")
    # 3 the zone
    if zone is not None and zone not in directory.zones(region):
        known = "、".join(directory.zones(region)) or "无"
        return search.nobody(
            published,
            f"{search.name(region)}没有名为“{zone}”的功能区（已接入：{known}）",
            f"no functional zone {zone} in {region} (connected: {known})",
        )
    # 3, 4, 5 upwards
    found = search.upwards(zone)
    if found:
        return _settle(found)
    # 6 below
    below = search.below()
    if below:
        return Ambiguous(
            f"“{published.name}”由{search.name(region)}的下级机关或功能区办理，具体是哪一个？",
            f"it is done below the level of {region}: where exactly?",
            below,
        )
    # 7 anywhere, or nobody
    return search.nobody(
        published,
        f"{search.name(region)}没有接入办理“{published.name}”的机关",
        f"nobody connected does item {item} for region {region}",
    )


def leads_to(found: Jurisdiction, authority: str, place: str) -> bool:
    """Whether a jurisdiction leads to an authority: it is the one, or one of the options.

    Args:
        found: The jurisdiction.
        authority: USCC.
        place: The authority's node, or its province's prefix.
    """
    wanted = province_of(place), authority
    match found:
        case Responsible():
            return (found.implementation.province, found.authority.uscc) == wanted
        case Ambiguous(options=options):
            chosen = (row for row in options if isinstance(row, Responsible))
            return any(leads_to(row, authority, place) for row in chosen)
        case NotFound():
            return False


@dataclass(frozen=True, slots=True)
class _Search:
    """One question with the data it is asked of."""

    catalogue: Catalogue
    directory: Directory
    item: str
    region: str
    now_ms: int

    def name(self, region: str) -> str:
        row = self.directory.region(region)
        return row.name if row is not None else region

    def upwards(self, zone: str | None) -> tuple[Responsible, ...]:
        """Who does it for the zone, else for the region, on the first level with somebody."""
        chain = self.directory.chain(self.region)
        for wanted in dict.fromkeys((zone, None)):
            for code in chain:
                rows = self.catalogue.at(self.item, code, self.now_ms)
                found = self._listed(row for row in rows if row.entry.zone == wanted)
                if found:
                    return found
        return ()

    def below(self) -> tuple[Responsible, ...]:
        return tuple(
            row
            for row in self._everywhere()
            if self.region in self.directory.chain(row.implementation.entry.region)
        )

    def nobody(self, item: Item, chinese: str, english: str) -> Ambiguous | NotFound:
        if item.competence == "nationwide" and (anywhere := self._everywhere()):
            return Ambiguous(
                f"{chinese}；本事项各地均可办理，请选择机关",
                f"{english}; any authority in the country may do it: choose one",
                self._nearest_first(anywhere),
            )
        return NotFound(Reason.ITEM_NOT_SERVED, chinese, english, self._nearest())

    def unpublished(self) -> NotFound:
        province = self.directory.provinces.get(province_of(self.region))
        where = province.payload.name if province is not None else province_of(self.region)
        if self.catalogue.item(self.item) is None:
            return NotFound(
                Reason.ITEM_UNKNOWN,
                f"事项目录中没有编码为 {self.item} 的事项",
                f"no service item {self.item} in the catalogue",
                (),
            )
        return NotFound(
            Reason.ITEM_NOT_SERVED,
            f"{where}没有发布此事项",
            f"the item is not published in {where}",
            self._nearest(),
        )

    def _everywhere(self) -> tuple[Responsible, ...]:
        return self._listed(self.catalogue.implementations(self.item, self.now_ms))

    def _nearest(self) -> tuple[Responsible, ...]:
        return self._nearest_first(self._everywhere())[:MAX_NEAREST]

    def _nearest_first(self, rows: Iterable[Responsible]) -> tuple[Responsible, ...]:
        """Ordered by how much of the code they share: county, prefecture, province."""
        return tuple(
            sorted(rows, key=lambda row: -_shared(row.implementation.entry.region, self.region))
        )

    def _listed(self, rows: Iterable[Implementation]) -> tuple[Responsible, ...]:
        """Those whose authority is listed and takes new cases (DI-16)."""
        found = ((row, self.directory.authority(row.authority, row.province)) for row in rows)
        return tuple(
            Responsible(row, entry)
            for row, entry in found
            if entry is not None
            and self.directory.heir(entry.uscc, entry.node, self.now_ms) == entry.uscc
        )


def _shared(one: str, other: str) -> int:
    return next((size for size in (6, 4, 2) if one[:size] == other[:size]), 0)


def _settle(found: tuple[Responsible, ...]) -> Responsible | Ambiguous:
    if len(found) == 1:
        return found[0]
    names = "、".join(row.authority.name for row in found)
    return Ambiguous(
        f"有多个机关办理：{names}。由哪一个办理？",
        f"{len(found)} authorities do it: which one?",
        found,
    )


def _ask_for_basis(item: Item) -> Ambiguous:
    bases = item.lead_bases
    return Ambiguous(
        f"“{item.name}”按{'或'.join(row.chinese for row in bases)}确定办理机关："
        + " ".join(row.chinese_question for row in bases),
        " or ".join(row.english_question for row in bases),
        tuple(
            BasisOption(
                row.kind, row.chinese, row.english, row.chinese_question, row.english_question
            )
            for row in bases
        ),
    )
