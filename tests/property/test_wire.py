from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from protocol.errors import RefusedError
from protocol.wire import escape_attribute, escape_text, parse_canonical

BOUND = 64 * 1024
XML_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n\r<>&\"'")
)
# Enough of the grammar to get past the first check often.
SNIPPETS = st.lists(
    st.sampled_from(
        [
            "<a>",
            "</a>",
            "<a/>",
            '<a_b="',
            '">',
            "&",
            "amp;",
            "#x41;",
            "]]>",
            "x",
            '_xmlns="',
            '"_xmlns:b="',
            "b:",
            "urn:a",
            "_",
            "汉",
        ]
    ),
    max_size=12,
).map(lambda pieces: "".join(pieces).replace("_", " ").encode())


@pytest.mark.spec("WF-6")
@given(XML_TEXT)
def test_whatever_xml_can_carry_is_written_in_canonical_form(text: str) -> None:
    octets = f'<a b="{escape_attribute(text)}">{escape_text(text)}</a>'.encode()
    root = parse_canonical(octets, len(octets))
    assert (root.get("b"), root.text or "") == (text, text)


@pytest.mark.spec("WF-1")
@given(st.binary() | SNIPPETS.map(lambda octets: b"<a>" + octets + b"</a>"))
@example(b'<a xmlns="relative"></a>')
def test_octets_are_let_through_unchanged_or_refused_and_nothing_else(octets: bytes) -> None:
    try:
        root = parse_canonical(octets, BOUND)
    except RefusedError:
        return
    assert etree.tostring(root, method="c14n", exclusive=True) == octets
