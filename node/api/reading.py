"""How requests are read: bounded first, then strictly, and every fault at once.

    1. the content is JSON, not encoded, at most 12 MiB, and arrives within half a minute
    2. it nests at most 16 deep and holds at most 4,096 objects and lists, and 32,768 texts,
       brackets and commas altogether: seen before it is parsed
    3. UTF-8; no name twice in an object; numbers that JSON has
    4. the form's members, no others, in their types

A body of the largest message takes a few hundred objects and nests six deep.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from aiohttp import hdrs
from pydantic import ValidationError

from node.api.forms import FileForm, Form
from node.api.problems import Fault, ProblemError
from protocol.bodies import FieldError
from protocol.identifiers import is_uuid7
from protocol.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

F = TypeVar("F", bound=Form)

CLIENT: Final = "local"  # there is one token, so there is one caller
MAX_REQUEST_OCTETS: Final = 12 * MIB  # a post of 8 MiB in base64, and its body
MAX_DEPTH: Final = 16
MAX_CONTAINERS: Final = 4096
MAX_TOKENS: Final = 32_768
"""What is wrong is found member by member: a million wrong ones took 9 s and 1 GiB."""
MAX_ERRORS: Final = 50
_READ_S: Final = 30
_JSON: Final = "application/json"
_IDEMPOTENCY_KEY: Final = "Idempotency-Key"
_KEY: Final = re.compile(r"[!-~]{1,128}")
# Strings whole, so that brackets inside them do not count; possessive, so that nothing is retried.
_TOKENS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{},]', re.DOTALL)
_MAX_SHOWN: Final = 40


async def read_form(request: web.Request, form: type[F]) -> F:
    """The form in a request's content.

    Raises:
        ProblemError: MALFORMED, with every fault by member; MEDIA_TYPE, TOO_SLOW.
        HTTPRequestEntityTooLarge: more than `MAX_REQUEST_OCTETS`.
    """
    tree = await _read_json(request)
    return _validated(form, tree)


async def read_act(request: web.Request, form: type[F]) -> tuple[F, str, bytes]:
    """The form of a request that may be repeated, its idempotency key, and the request's digest.

    The digest (SHA-256) covers address and content, not how the JSON was written.

    Raises:
        ProblemError: as `read_form`, and without an Idempotency-Key.
    """
    keys = request.headers.getall(_IDEMPOTENCY_KEY, [])
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        fault = FieldError(
            _IDEMPOTENCY_KEY,
            "missing" if not keys else "not one key in its form",
            "send one header of 1 to 128 visible ASCII characters, fresh for each new request",
            "缺少" if not keys else "格式不正确",
            "发送一个由 1 到 128 个可见 ASCII 字符组成的请求头，每个新请求使用新值",
        )
        raise ProblemError(Fault.MALFORMED, f"header {_IDEMPOTENCY_KEY}", [fault])
    tree = await _read_json(request)
    plain = json.dumps([request.path, tree], sort_keys=True, separators=(",", ":"))
    return _validated(form, tree), keys[0], hashlib.sha256(plain.encode()).digest()


def read_query(request: web.Request, form: type[F]) -> F:
    """The form in a request's query.

    Raises:
        ProblemError: MALFORMED.
    """
    query = request.query
    if len(query) != len(set(query)):
        raise ProblemError(Fault.MALFORMED, "a parameter stands in the query twice")
    return _validated(form, dict(query))


def read_id(request: web.Request, name: str) -> str:
    """An id in the path.

    Raises:
        ProblemError: NOT_FOUND: nothing has such an id.
    """
    value = request.match_info[name]
    if not is_uuid7(value):
        raise ProblemError(Fault.NOT_FOUND, f"{name}: ids are lower-case UUIDs of version 7")
    return value


async def _read_json(request: web.Request) -> dict[str, object]:
    if request.content_type != _JSON or hdrs.CONTENT_ENCODING in request.headers:
        raise ProblemError(Fault.MEDIA_TYPE, f"{request.content_type[:_MAX_SHOWN]}")
    try:
        async with asyncio.timeout(_READ_S):
            octets = await request.read()
    except TimeoutError as error:
        raise ProblemError(Fault.TOO_SLOW, f"not whole after {_READ_S} s") from error
    return parse_object(octets)


def parse_object(octets: bytes) -> dict[str, object]:
    """A JSON object, within the bounds of the module's docstring.

    Raises:
        ProblemError: MALFORMED.
    """
    _check_nesting(octets)
    try:
        tree = json.loads(octets.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        detail = f"not UTF-8: octet {error.start}"
        raise ProblemError(Fault.MALFORMED, detail) from None
    except json.JSONDecodeError as error:
        detail = f"not JSON: {error.msg}, line {error.lineno} column {error.colno}"
        raise ProblemError(Fault.MALFORMED, detail) from None
    except ValueError:
        # Python's own bound on the digits of a number.
        raise ProblemError(Fault.MALFORMED, "a number of too many digits") from None
    if not isinstance(tree, dict):
        raise ProblemError(Fault.MALFORMED, "the content is one JSON object")
    return tree


def _check_nesting(octets: bytes) -> None:
    depth = containers = 0
    for count, match in enumerate(_TOKENS.finditer(octets), 1):
        if count > MAX_TOKENS:
            raise ProblemError(
                Fault.MALFORMED, f"more than {MAX_TOKENS} texts, brackets and commas"
            )
        match match[0]:
            case b"{" | b"[":
                depth += 1
                containers += 1
            case b"}" | b"]":
                depth -= 1
            case _:
                continue
        if depth > MAX_DEPTH:
            raise ProblemError(Fault.MALFORMED, f"nests deeper than {MAX_DEPTH}")
        if containers > MAX_CONTAINERS:
            raise ProblemError(Fault.MALFORMED, f"more than {MAX_CONTAINERS} objects and lists")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    held = dict(pairs)
    if len(held) != len(pairs):
        raise ProblemError(Fault.MALFORMED, "a name stands twice in one object")
    return held


def _no_constant(_name: str) -> NoReturn:
    raise ProblemError(Fault.MALFORMED, "NaN and Infinity are not JSON")


def _validated(form: type[F], tree: Mapping[str, object]) -> F:
    try:
        return form.model_validate(tree)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        faults = [_fault(form, row) for row in found[:MAX_ERRORS]]
    # Outside the handler: the library's error quotes values.
    detail = f"{len(found)} to mend; first {faults[0].path}: {faults[0].problem}"
    raise ProblemError(Fault.MALFORMED, detail, faults)


def _fault(form: type[Form], error: ErrorDetails) -> FieldError:
    steps = [str(step)[:_MAX_SHOWN] for step in error["loc"] if step != "[key]"]
    path = ".".join(steps)
    if error["type"] == "extra_forbidden":
        known = ", ".join(field.alias or name for name, field in _fields(form, steps[:-1]).items())
        return FieldError(
            path, "no such member", f"known here: {known}", "没有此项", f"可用：{known}"
        )
    chinese, english = _described(form, steps)
    if error["type"] == "missing":
        return FieldError(path, "missing", f"add {english}", "缺少必填项", f"补填：{chinese}")
    return FieldError(path, "does not fit", f"write {english}", "不符合要求", f"应为{chinese}")


def _fields(form: type[Form], around: list[str]) -> Mapping[str, FieldInfo]:
    return (FileForm if around[:1] == ["files"] and len(around) > 1 else form).model_fields


def _described(form: type[Form], steps: list[str]) -> tuple[str, str]:
    """What belongs in the innermost place on this path that a form describes: 中文, English."""
    while steps:
        for name, field in _fields(form, steps[:-1]).items():
            if steps[-1] == (field.alias or name) and field.description:
                chinese, _, english = field.description.partition(" · ")
                return chinese, english
        steps = steps[:-1]
    return "一个 JSON 对象", "a JSON object"
