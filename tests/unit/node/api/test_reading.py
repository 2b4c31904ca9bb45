from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.api.problems import Fault, ProblemError
from node.api.reading import MAX_CONTAINERS, MAX_DEPTH, MAX_TOKENS, parse_object

leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def depth_of(tree: Any) -> int:
    if isinstance(tree, dict | list):
        inner = tree.values() if isinstance(tree, dict) else tree
        return 1 + max(map(depth_of, inner), default=0)
    return 0


def nested(depth: int) -> bytes:
    """An object that nests this deep, itself included."""
    return b'{"a": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@given(st.dictionaries(st.text(), trees), st.booleans())
def test_what_json_is_is_read_as_json(tree: dict[str, Any], ascii_only: bool) -> None:  # noqa: FBT001
    octets = json.dumps(tree, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    if depth_of(tree) <= MAX_DEPTH:
        assert parse_object(octets) == tree
    else:
        with pytest.raises(ProblemError):
            parse_object(octets)


@given(st.binary() | st.text(alphabet='{}[]":,\\ntrue01.eE+-').map(str.encode))
def test_anything_else_is_malformed_and_nothing_worse(octets: bytes) -> None:
    try:
        found = parse_object(octets) == json.loads(octets)
    except ProblemError as error:
        found = error.fault is Fault.MALFORMED and error.detail != ""
    assert found


def test_the_bounds_are_met_exactly() -> None:
    parse_object(nested(MAX_DEPTH))
    with pytest.raises(ProblemError, match="deeper than 16"):
        parse_object(nested(MAX_DEPTH + 1))
    parse_object(b'{"a": [' + b",".join([b"{}"] * (MAX_CONTAINERS - 2)) + b"]}")
    with pytest.raises(ProblemError, match="more than 4096"):
        parse_object(b'{"a": [' + b",".join([b"{}"] * (MAX_CONTAINERS - 1)) + b"]}")


def test_brackets_in_texts_do_not_count() -> None:
    text = '[{"' * 5000 + "\\"
    assert parse_object(json.dumps({text: text}).encode()) == {text: text}


@pytest.mark.parametrize(
    "octets", [b"[" * 10**6, b'"' * (10**6 + 1), b'"\\' * 10**6, b'{"a":"' + b"\\" * 10**6]
)
def test_a_hostile_request_is_refused_at_once(octets: bytes) -> None:
    with pytest.raises(ProblemError):
        parse_object(octets)


@pytest.mark.parametrize(
    "octets",
    [
        b"{" + b",".join(b'"%x":1' % number for number in range(MAX_TOKENS // 2)) + b"}",
        b'{"a":[' + b"0," * MAX_TOKENS + b"0]}",
        b'""' * (MAX_TOKENS + 1),
    ],
)
def test_a_million_members_are_not_looked_at_one_by_one(
    octets: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("was parsed"))
    with pytest.raises(ProblemError, match="texts, brackets and commas"):
        parse_object(octets)


def test_what_was_wrong_is_said_without_the_value() -> None:
    for octets in (b'{"name": "\xe8\xa6\x83', b'{"name": covert}', b'{"covert": 1, "covert": 2}'):
        with pytest.raises(ProblemError) as error:
            parse_object(octets)
        assert "covert" not in error.value.detail
