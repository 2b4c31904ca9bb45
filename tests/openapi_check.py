"""Whether JSON is what an OpenAPI 3.1 document says: as much of JSON Schema 2020-12 as ours uses.

A keyword that is not known here is an error, so that nothing in the document goes unchecked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Check = Callable[["Case"], Iterator[str]]

_WORDS: Final = {"description", "title", "default", "contentEncoding", "contentMediaType"}
_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def problems(document: Mapping[str, Any], schema: Mapping[str, Any], value: Any) -> list[str]:
    """What in a value does not follow a schema of the document."""
    return list(Case(document, schema, value, "$").problems())


def resolved(document: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference leads to, or the node itself."""
    if "$ref" not in node:
        return node
    found: Any = document
    for step in node["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return resolved(document, found)


class Case:
    """A value, the schema it is held against, and where it stands."""

    def __init__(
        self, document: Mapping[str, Any], schema: Mapping[str, Any], value: Any, path: str
    ) -> None:
        self.document = document
        self.schema = schema
        self.value = value
        self.path = path

    def problems(self) -> Iterator[str]:
        """Every keyword of the schema is asked."""
        for keyword in self.schema.keys() - _WORDS:
            yield from _CHECKS[keyword](self)

    def inner(self, schema: Mapping[str, Any], value: Any, step: str) -> Iterator[str]:
        """The problems of a value inside this one."""
        return Case(self.document, schema, value, self.path + step).problems()

    def reference(self) -> Iterator[str]:
        return self.inner(resolved(self.document, self.schema), self.value, "")

    def type(self) -> Iterator[str]:
        rule = self.schema["type"]
        kinds = [rule] if isinstance(rule, str) else rule
        if not any(_is(self.value, kind) for kind in kinds):
            yield f"{self.path}: {type(self.value).__name__}, not {rule}"

    def enum(self) -> Iterator[str]:
        allowed = self.schema.get("enum", [self.schema.get("const")])
        if self.value not in allowed:
            yield f"{self.path}: {self.value!r} is none of {allowed}"

    def any_of(self) -> Iterator[str]:
        found = [list(self.inner(option, self.value, "")) for option in self.schema["anyOf"]]
        if all(found):
            yield f"{self.path}: fits none: {found}"

    def one_of(self) -> Iterator[str]:
        found = [list(self.inner(option, self.value, "")) for option in self.schema["oneOf"]]
        if found.count([]) != 1:
            yield f"{self.path}: fits {found.count([])}, not one: {found}"

    def pattern(self) -> Iterator[str]:
        rule = self.schema["pattern"]
        if isinstance(self.value, str) and re.search(rule, self.value) is None:
            yield f"{self.path}: {self.value!r} is not of the form {rule}"

    def items(self) -> Iterator[str]:
        for place, value in enumerate(self.value if isinstance(self.value, list) else ()):
            yield from self.inner(self.schema["items"], value, f"[{place}]")

    def properties(self) -> Iterator[str]:
        known = self.schema["properties"]
        for name, value in self._members().items():
            if name in known:
                yield from self.inner(known[name], value, f".{name}")

    def additional(self) -> Iterator[str]:
        rule = self.schema["additionalProperties"]
        for name, value in self._members().items():
            if name in self.schema.get("properties", {}):
                continue
            if rule is False:
                yield f"{self.path}.{name}: not in the document"
            elif rule is not True:
                yield from self.inner(rule, value, f".{name}")

    def names(self) -> Iterator[str]:
        for name in self._members():
            yield from self.inner(self.schema["propertyNames"], name, f": the name {name}")

    def required(self) -> Iterator[str]:
        if isinstance(self.value, dict):
            missing = set(self.schema["required"]) - self.value.keys()
            yield from (f"{self.path}.{name}: missing" for name in missing)

    def at_least(self) -> Iterator[str]:
        for keyword in ("minimum", "minLength", "minItems"):
            if self._size() is not None and self._size() < self.schema.get(keyword, 0):
                yield f"{self.path}: below {keyword}"

    def at_most(self) -> Iterator[str]:
        for keyword in ("maximum", "maxLength", "maxItems", "maxProperties"):
            if self._size() is not None and self._size() > self.schema.get(keyword, 2**63):
                yield f"{self.path}: above {keyword}"

    def _members(self) -> Mapping[str, Any]:
        return self.value if isinstance(self.value, dict) else {}

    def _size(self) -> Any:
        return len(self.value) if isinstance(self.value, str | list | dict) else self.value


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return kind != "boolean" and isinstance(value, _TYPES[kind])


_CHECKS: Final[Mapping[str, Check]] = {
    "$ref": Case.reference,
    "type": Case.type,
    "const": Case.enum,
    "enum": Case.enum,
    "anyOf": Case.any_of,
    "oneOf": Case.one_of,
    "pattern": Case.pattern,
    "items": Case.items,
    "properties": Case.properties,
    "additionalProperties": Case.additional,
    "propertyNames": Case.names,
    "required": Case.required,
    "minimum": Case.at_least,
    "minLength": Case.at_least,
    "minItems": Case.at_least,
    "maximum": Case.at_most,
    "maxLength": Case.at_most,
    "maxItems": Case.at_most,
    "maxProperties": Case.at_most,
}
