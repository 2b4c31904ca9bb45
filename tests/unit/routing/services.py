"""Small catalogues over the small provinces: items by code, sheets by authority."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routing.catalogue import (
    ITEMS_TYPE,
    SHEET_TYPE,
    Catalogue,
    ImplementationEntry,
    Item,
    ItemsDocument,
    ItemsPayload,
    SheetDocument,
    SheetPayload,
    open_items,
    open_sheet,
)
from routing.catalogue_document import Basis, Limit, Marks, Material, Powers, Term
from routing.payload import write_payload
from signing.document import sign_document
from signing.keys import KeyUse
from tests.unit.routing.provinces import (
    ISSUED_MS,
    directory_keys,
    key_entry,
    make_key,
    named,
    opened,
    province,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routing.directory import Directory
    from routing.directory_document import AuthorityEntry, KeyEntry
    from routing.directory_province import Province

ITEM = "000720001000"
NOW_MS = ISSUED_MS + 1000


def basis(kind: str = "household", role: str = "lead") -> Basis:
    return Basis.model_validate(
        {
            "kind": kind,
            "chinese": "户籍地",
            "english": "place of household registration",
            "chinese_question": "户口登记在哪里？",
            "english_question": "where is the household registered?",
            "role": role,
        }
    )


def material(code: str = "m1", **changes: Any) -> Material:
    values: dict[str, Any] = {
        "code": code,
        "name": "身份证",
        "required": "always",
        "condition": None,
        "licence_replaces": True,
        "tolerable": False,
        "commitment": False,
        "copies": 1,
    }
    return Material(**values | changes)


def item(code: str = ITEM, **changes: Any) -> Item:
    values: dict[str, Any] = {
        "code": code,
        "name": "居民身份证换领",
        "aliases": ("换身份证",),
        "bases": (basis(),),
        "competence": "one",
        "mode": "collected",
        "levels": ("county", "city"),
        "materials": (material(),),
        "fields": (),
        "limit": Limit(
            legal=Term(days=60, unit="calendar-days"),
            promised=Term(days=20, unit="working-days"),
            legs=(),
        ),
        "fee": None,
        "handled_in": "vertical",
        "note": None,
        "marks": Marks(code="I", jurisdiction="L", mode="V", materials="L", limit="L", fee="L"),
    }
    return Item(**values | changes)


def implementation(
    authority: AuthorityEntry,
    item_code: str = ITEM,
    **changes: Any,
) -> ImplementationEntry:
    own = authority.uscc
    values: dict[str, Any] = {
        "code": f"{own}4{item_code}",
        "code_form": "standard",
        "item": item_code,
        "region": authority.region,
        "zone": authority.zone,
        "powers": Powers(collect="any", accept=own, review=own, decide=own, issue=own, deliver=own),
        "materials": None,
        "promised": None,
        "effective_from_ms": ISSUED_MS,
        "withdrawn_ms": None,
        "telephone": authority.telephone,
        "review_points": (),
    }
    return ImplementationEntry(**values | changes)


def items_payload(prefix: str, *items: Item, **changes: Any) -> ItemsPayload:
    values: dict[str, Any] = {
        "version": 1,
        "environment": "trial",
        "prefix": prefix,
        "issued_ms": ISSUED_MS,
        "items": items,
    }
    return ItemsPayload(**values | changes)


def sign_items(payload: ItemsPayload, signer: str | None = None) -> bytes:
    keys = directory_keys(signer or payload.prefix)
    return sign_document(ITEMS_TYPE, write_payload(payload), keys)


def naming(items: bytes, prefix: str, version: int = 1) -> Province:
    """A province without nodes whose set names these items."""
    return opened(province(prefix), items=named(items, version))


def items_of(prefix: str, *items: Item, **changes: Any) -> ItemsDocument:
    payload = items_payload(prefix, *items, **changes)
    octets = sign_items(payload)
    return open_items(octets, naming(octets, prefix, payload.version))


def sheet_key(authority: AuthorityEntry, **changes: Any) -> KeyEntry:
    name = f"sheet {authority.uscc}"
    return key_entry(name, KeyUse.CATALOGUE, authority.uscc, authority.node, **changes)


def sheet_payload(
    authority: AuthorityEntry,
    *entries: ImplementationEntry,
    **changes: Any,
) -> SheetPayload:
    values: dict[str, Any] = {
        "version": 1,
        "environment": "trial",
        "prefix": authority.region[:2],
        "authority": authority.uscc,
        "issued_ms": ISSUED_MS,
        "implementations": entries,
    }
    return SheetPayload(**values | changes)


def sign_sheet(payload: SheetPayload, signer: str | None = None) -> bytes:
    key = make_key(f"sheet {signer or payload.authority}")
    return sign_document(SHEET_TYPE, write_payload(payload), [key])


def sheet(
    directory: Directory,
    authority: AuthorityEntry,
    *entries: ImplementationEntry,
    **changes: Any,
) -> SheetDocument:
    return open_sheet(sign_sheet(sheet_payload(authority, *entries, **changes)), directory)


def catalogue(
    directory: Directory,
    items: Iterable[ItemsDocument],
    entries: Iterable[tuple[AuthorityEntry, ImplementationEntry]],
) -> Catalogue:
    sheets = [sheet(directory, owner, entry) for owner, entry in entries]
    return Catalogue.merge(items, sheets, directory)
