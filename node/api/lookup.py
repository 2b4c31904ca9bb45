"""Who is responsible (管辖): service items, and where the answers to their questions lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from node.api.forms import MAX_FOUND, AuthorityQuery, ItemsQuery
from node.api.problems import Fault, ProblemError
from node.api.reading import read_query
from node.api.writing import authority_shown, item_shown, respond
from protocol.errors import UnavailableError
from routing.jurisdiction import Ambiguous, BasisOption, NotFound, Responsible, responsible
from routing.planner import plan

if TYPE_CHECKING:
    from aiohttp import web

    from node.context import NodeContext
    from routing.catalogue import Item
    from routing.directory import Directory
    from routing.jurisdiction import Jurisdiction


class LookupApi:
    """The catalogue, as the window asks it."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context

    async def items(self, request: web.Request) -> web.Response:
        """GET /v1/items?q=: by words of name, alias or code; our own province's version first."""
        words = read_query(request, ItemsQuery).words.casefold()
        found = [item for item in self._published() if _matches(item, words)]
        shown = [item_shown(item) for item in found[:MAX_FOUND]]
        return respond({"items": shown, "more": len(found) > MAX_FOUND})

    async def authority(self, request: web.Request) -> web.Response:
        """GET /v1/items/{code}/authority: the authority, the question still open, or a clear no."""
        query = read_query(request, AuthorityQuery)
        context, code = self._context, request.match_info["code"]
        if query.region is None and query.zone is not None:
            raise ProblemError(Fault.MALFORMED, "a zone is named together with its region")
        found = responsible(
            context.federation.catalogue,
            context.federation.directory,
            code,
            # Without a region the first question is whose region counts, whatever the basis.
            "" if query.region is None else query.basis or "",
            query.region or context.here,
            query.zone,
            now_ms=context.clock.now_ms(),
        )
        return respond(self._shown(found))

    def _shown(self, found: Jurisdiction) -> dict[str, object]:
        directory = self._context.federation.directory
        match found:
            case Responsible():
                route = self._route(found.authority.node)
                return {"outcome": "responsible", **_offer(directory, found), "route": route}
            case Ambiguous(chinese_question=chinese, english_question=english, options=options):
                return {
                    "outcome": "ambiguous",
                    "question": {"zh": chinese, "en": english},
                    "options": [_option(directory, row) for row in options],
                }
            case NotFound():
                return {
                    "outcome": "not-found",
                    "reason": found.reason.code,
                    "explanation": {"zh": found.chinese, "en": found.english},
                    "nearest": [_offer(directory, row) for row in found.nearest],
                }
            case _:
                assert_never(found)

    def _route(self, node: str) -> list[str]:
        """The best way there now; empty when there is none."""
        try:
            found = plan(self._context.federation.directory, self._context.here, node)
        except UnavailableError:
            return []
        return list(found.alternates[0].nodes)

    def _published(self) -> list[Item]:
        """Every item once: as our province publishes it, or else as the first that does."""
        items = self._context.federation.catalogue.items
        own = self._context.here[:2]
        by_code: dict[str, Item] = {}
        for (prefix, code), item in sorted(items.items()):
            if prefix == own or code not in by_code:
                by_code[code] = item
        return [by_code[code] for code in sorted(by_code)]


def _matches(item: Item, words: str) -> bool:
    return any(words in text.casefold() for text in (item.code, item.name, *item.aliases))


def _option(directory: Directory, option: BasisOption | Responsible) -> dict[str, object]:
    if isinstance(option, Responsible):
        return {"kind": "authority", **_offer(directory, option)}
    return {
        "kind": "basis",
        "basis": option.kind,
        "name": {"zh": option.chinese, "en": option.english},
        "question": {"zh": option.chinese_question, "en": option.english_question},
    }


def _offer(directory: Directory, found: Responsible) -> dict[str, object]:
    return {
        "authority": authority_shown(directory, found.authority.uscc, found.authority.node),
        "implementation": found.implementation.code,
    }
