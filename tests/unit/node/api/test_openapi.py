from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from node.api.app import make_app
from node.api.openapi import openapi_document
from node.api.problems import Fault
from node.context import NodeContext
from node.engine import Engine
from node.store.engine import StoreEngine
from node.store.sqlite import SqliteDatabase
from node.store.stores import InlineStore
from protocol.bodies import KINDS
from tests.openapi_check import Case, problems, resolved
from tests.sim.federation import RULES, WUHAN, make_sample
from tests.sim.world import SimClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def references(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == "$ref":
                yield value
            yield from references(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from references(value)


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, item in openapi_document()["paths"].items()
        for method, operation in item.items()
    ]


def test_the_document_lists_exactly_the_routes(tmp_path: Path) -> None:
    sample = make_sample()
    keys = sample.keyrings[WUHAN]
    store = InlineStore(StoreEngine(SqliteDatabase(tmp_path / "node.db", durable=False), keys))
    nothing: Any = None
    context = NodeContext(
        here=WUHAN,
        rules=RULES,
        keys=keys,
        store=store,
        blobs=nothing,
        clock=SimClock(0),
        entropy=nothing,
        federation=sample.federation,
    )
    app = make_app(Engine(context, nothing), "token")
    routes = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    }
    assert routes == {(method, path) for method, path, _ in operations()}


def test_every_reference_leads_somewhere() -> None:
    document = openapi_document()
    for reference in set(references(document)):
        assert resolved(document, {"$ref": reference})


def test_bodies_and_what_is_written_by_hand_share_no_name() -> None:
    document = openapi_document()
    by_hand = json.loads(_file().read_bytes())["components"]["schemas"]
    for name, schema in by_hand.items():
        assert document["components"]["schemas"][name] == schema
    for kind in KINDS:
        assert kind.element in document["components"]["schemas"]


def _file() -> Path:
    from node.api import openapi  # noqa: PLC0415

    return openapi._FILE


def test_every_operation_says_how_it_may_fail() -> None:
    declared: set[int] = set()
    for method, path, operation in operations():
        statuses = {int(code) for code in operation["responses"]}
        declared |= statuses
        if operation.get("security") == []:
            continue
        assert {401, 500, 503} <= statuses, path
        if method == "POST" and "requestBody" in operation:
            assert {400, 413, 415, 422, 429} <= statuses, path
        if "{caseId}" in path or "{messageId}" in path:
            assert 404 in statuses, path
    # What any address may answer stands with no operation.
    assert {fault.status for fault in Fault} - declared == {405, 408}


def test_path_parameters_are_declared() -> None:
    for _, path, operation in operations():
        declared = {
            row["name"]
            for row in (
                resolved(openapi_document(), row) for row in operation.get("parameters", [])
            )
            if row["in"] == "path"
        }
        assert declared == set(re.findall(r"{(\w+)}", path))


def test_operation_ids_are_distinct() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, True),
        ({"type": ["string", "null"]}, 1),
        ({"const": "a"}, "b"),
        ({"type": "object", "required": ["a"]}, {}),
        ({"properties": {"a": {"type": "string"}}}, {"a": 1}),
        ({"properties": {}, "additionalProperties": False}, {"a": 1}),
        ({"additionalProperties": {"type": "string"}}, {"a": 1}),
        ({"propertyNames": {"pattern": "^a$"}}, {"b": 1}),
        ({"items": {"type": "string"}}, [1]),
        ({"oneOf": [{"type": "string"}, {"minLength": 0}]}, "x"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1),
        ({"pattern": "^a$"}, "b"),
        ({"minimum": 1}, 0),
        ({"maxItems": 1}, [1, 2]),
        ({"$ref": "#/components/schemas/Id"}, "x"),
    ],
    ids=str,
)
def test_the_check_itself_finds_what_is_wrong(schema: dict[str, Any], value: object) -> None:
    assert problems(openapi_document(), schema, value)


def test_the_check_knows_every_keyword_or_says_so() -> None:
    with pytest.raises(KeyError):
        list(Case({}, {"minContains": 1}, [], "$").problems())
