"""The OpenAPI 3.1 document: written by hand in ``openapi.json``, but for what messages say.

The forms of the bodies come from the plan of the bodies itself (`adapters.local_json`), so that the
published document cannot fall behind it: ``#/components/schemas/CaseSubmit`` and the others.
`CaseSubmission` is what a window sends: the node finds the implementation if it names none.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from adapters.local_json import json_schema
from protocol.bodies import KINDS

_FILE: Final = Path(__file__).with_name("openapi.json")
_INSIDE: Final = "#/$defs/"
_COMPONENTS: Final = "#/components/schemas/"


@cache
def openapi_document() -> dict[str, Any]:
    """The whole document, ready to be served."""
    document: dict[str, Any] = json.loads(_FILE.read_bytes())
    schemas = document["components"]["schemas"]
    for kind in KINDS:
        schema = _moved(json_schema(kind.name))
        schemas |= schema.pop("$defs", {})
        schemas[kind.element] = schema
    submit = schemas["CaseSubmit"]
    required = [name for name in submit["required"] if name != "implementation"]
    schemas["CaseSubmission"] = {**submit, "required": required}
    return document


def _moved(tree: Any) -> Any:  # noqa: ANN401 - any JSON
    """The same with references to where components stand in the whole document."""
    match tree:
        case dict():
            return {name: _moved(value) for name, value in tree.items()}
        case list():
            return [_moved(value) for value in tree]
        case str() if tree.startswith(_INSIDE):
            return _COMPONENTS + tree.removeprefix(_INSIDE)
        case _:
            return tree
