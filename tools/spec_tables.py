"""The tables of docs/spec/ that the code has too: reasons, limits, kinds, lifecycle, members.

Each function returns the lines of one marked block; `tools.generated` puts them in their places.
"""

from __future__ import annotations

import ast
import inspect
import types
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Final,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import StringConstraints

import protocol.limits
from node.request import KeyFacts, NodeFacts, NodeRequest
from protocol.bodies import KINDS
from protocol.lifecycle import LIFECYCLE
from protocol.reasons import Reason
from routing import catalogue_document as catalogue
from routing import directory_document as document
from routing import directory_roles as roles
from routing import payload
from signing.keys import KeyUse
from signing.log import LeafType
from signing.suites import Suite

if TYPE_CHECKING:
    from pydantic import BaseModel

_UNITS: Final = {"KIB", "MIB", "GIB"}


def reasons() -> list[str]:
    """The closed list of reasons."""
    lines = [
        "| no. | code | | clause | 含义 | means | 处理 | remedy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for reason in Reason:
        kind = "final" if reason.final else "transient"
        lines.append(
            f"| {reason.number} | `{reason.code}` | {kind} | {reason.clause} "
            f"| {reason.chinese} | {reason.english} | {reason.chinese_remedy} | {reason.remedy} |"
        )
    return lines


def limits() -> list[str]:
    """The constants of `protocol.limits`: value, and the text that stands under them."""
    lines = ["| constant | value | |", "|---|---|---|"]
    names: list[str] = []
    for node in ast.parse(Path(protocol.limits.__file__).read_text(encoding="utf-8")).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)) if name not in _UNITS:
                names.append(name)
            case ast.Expr(value=ast.Constant(value=str(text))):
                shown = "<br>".join(f"`{name}`" for name in names)
                values = "<br>".join(grouped(getattr(protocol.limits, name)) for name in names)
                if names:
                    lines.append(f"| {shown} | {values} | {' '.join(text.split())} |")
                names.clear()
            case _:
                pass
    return lines


def grouped(number: int) -> str:
    """A number as the specification writes it: five digits and more in groups of three."""
    return f"{number:,}".replace(",", " ") if number >= 10_000 else str(number)  # noqa: PLR2004


def kinds() -> list[str]:
    """The kinds of messages."""
    lines = ["| kind | 中文 | root element | namespace |", "|---|---|---|---|"]
    lines += [
        f"| `{kind.name}` | {kind.chinese} | `{kind.element}` | `{kind.schema}` |" for kind in KINDS
    ]
    return lines


def log_leaves() -> list[str]:
    """The types of leaves; what each means stands under its member in the code."""
    tree = ast.parse(inspect.getsource(LeafType))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    texts = [
        str(node.value.value)
        for node in body[1:]
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    lines = ["| type | 中文 | leaf |", "|---|---|---|"]
    lines += [
        f"| {kind.value} | {kind.chinese} | {' '.join(text.split()).rstrip('.')} |"
        for kind, text in zip(LeafType, texts, strict=True)
    ]
    return lines


def lifecycle() -> list[str]:
    """The moves of a case, with powers and legal grounds; without those that change nothing."""
    chinese = {kind.name: kind.chinese for kind in KINDS}
    lines = ["| state | kind | power | next | 依据 ground |", "|---|---|---|---|---|"]
    for row in LIFECYCLE:
        if row.state is row.after:
            continue
        powers = "、".join(f"{power.chinese} {power.value}" for power in sorted(row.powers))
        lines.append(
            f"| {row.state.chinese} {row.state.value} | {chinese[row.kind]} `{row.kind}` "
            f"| {powers} | {row.after.chinese} {row.after.value} | {row.ground} |"
        )
    return lines


def items() -> list[str]:
    """The members of a province's items."""
    return _members(
        catalogue.ItemsPayload,
        catalogue.Item,
        catalogue.Basis,
        catalogue.Material,
        catalogue.FormField,
        catalogue.Limit,
        catalogue.Leg,
        catalogue.Term,
        catalogue.Fee,
        catalogue.Marks,
    )


def sheet() -> list[str]:
    """The members of an authority's sheet."""
    return _members(
        catalogue.SheetPayload,
        catalogue.ImplementationEntry,
        catalogue.Powers,
        catalogue.ReviewPoint,
    )


def directory() -> list[str]:
    """The members of a directory."""
    return _members(
        document.DirectoryPayload,
        document.RegionEntry,
        document.CircleEntry,
        document.AuthorityEntry,
        document.Succession,
        document.NodeEntry,
        document.KeyEntry,
    )


def root() -> list[str]:
    """The members of a root."""
    return _members(roles.RootPayload, roles.RoleKey, roles.Role)


def freshness() -> list[str]:
    """The members of a freshness statement."""
    return _members(roles.FreshnessPayload, payload.Named)


def revocation() -> list[str]:
    """The members of a revocation."""
    return _members(roles.RevocationPayload, roles.RevokedKey)


def anchor() -> list[str]:
    """The members of the trust anchor."""
    return _members(roles.TrustAnchor, roles.AnchorEntry)


def request() -> list[str]:
    """The members of a node's request."""
    return _members(NodeRequest, NodeFacts, KeyFacts)


# What a JSON value is, by the alias that its member is annotated with.
_VALUES: Final = (
    (payload.Text, "text"),
    (payload.RegionCode, "code of six digits (ID-3)"),
    (payload.Uscc, "USCC (ID-4)"),
    (payload.Prefix, "two digits, the first not `0`"),
    (payload.Instant, "instant, ms"),
    (payload.Version, "integer from 1"),
    (payload.Octets, "base64 (ID-6)"),
    (payload.Digest, "digest"),
    (payload.KeyId, "key id (ID-5)"),
    (catalogue.Holder, "USCC (ID-4), or `42:USCC`"),
    (catalogue.Token, "`[a-z][a-z0-9.-]{0,39}`"),
    (catalogue.ItemCode, "`[0-9A-Z]{1,12}`"),
    (catalogue.MaterialCode, "`[0-9A-Za-z][0-9A-Za-z._-]{0,63}`"),
    (catalogue.ImplementationCode, "`[0-9A-Z]{24,36}`"),
)
_PLAIN: Final = {
    str: "string",
    int: "integer",
    bool: "true or false",
    bytes: "base64 (ID-6)",
    type(None): "null",
    Suite: "suite (SU-1)",
    KeyUse: "use (SU-8)",
}


def _members(*models: type[BaseModel]) -> list[str]:
    """One table per object: its members in the order of the model, and what each may be."""
    lines: list[str] = []
    for model in models:
        title = (inspect.getdoc(model) or "").splitlines()[0].removesuffix(".")
        lines += ["", f"`{_name(model)}`: {title}.", "", "| member | value |", "|---|---|"]
        hints = get_type_hints(model, include_extras=True)
        lines += [f"| `{name}` | {_value(hints[name])} |" for name in model.model_fields]
    return lines[1:]


def _name(model: type) -> str:
    return model.__name__.removesuffix("Entry").removesuffix("Payload") or model.__name__


def _value(hint: object) -> str:
    for alias, words in _VALUES:
        if hint == alias:
            return words
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(f"`{word}`" for word in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(_value(one) for one in inner)
    if origin is Annotated:
        forms = [row.pattern for row in inner[1:] if isinstance(row, StringConstraints)]
        bounds = "".join(_bounds(extra) for extra in inner[1:])
        return f"`{str(forms[0]).strip('^$')}`" if forms else _value(inner[0]) + bounds
    if origin is tuple:
        many = inner[-1] is Ellipsis
        return f"list of {_value(inner[0])}" if many else "pair of " + _value(inner[0])
    if isinstance(hint, type):
        return _PLAIN.get(hint, f"`{_name(hint)}`")
    message = f"no words for {hint}"
    raise ValueError(message)


def _bounds(extra: object) -> str:
    """What a field's bounds say."""
    return "".join(_bound(row) for row in getattr(extra, "metadata", ()))


def _bound(row: object) -> str:
    words = {"ge": "from", "le": "to", "min_length": ", at least", "max_length": ", at most"}
    found = {words[name]: getattr(row, name) for name in words if hasattr(row, name)}
    return "".join(f"{word if word[0] == ',' else ' ' + word} {n}" for word, n in found.items())
