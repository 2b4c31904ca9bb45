from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from lxml import etree

import schemas
from protocol.errors import LocalUseError, RefusedError
from protocol.limits import MAX_ATTRIBUTES
from protocol.reasons import Reason
from protocol.wire import escape_attribute, escape_text, first_fault, parse_canonical

DOCUMENT = '<a xmlns="urn:a" b="1" c="2"><d>汉字 &amp; &lt;</d><e></e></a>'
BOUND = 1024


def refusal(octets: bytes, max_octets: int = BOUND) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        parse_canonical(octets, max_octets)
    return caught.value


@pytest.mark.spec("WF-1")
def test_the_canonical_form_is_let_through_as_it_is() -> None:
    root = parse_canonical(DOCUMENT.encode(), BOUND)
    assert etree.tostring(root, method="c14n", exclusive=True) == DOCUMENT.encode()


# Twelve spellings of one document that an ordinary verifier takes for the same.
@pytest.mark.spec("WF-1", "WF-2", "WF-3")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<?xml version="1.0"?>' + DOCUMENT, Reason.NOT_CANONICAL),
        ("<!DOCTYPE a>" + DOCUMENT, Reason.NOT_CANONICAL),
        (DOCUMENT.replace("<e>", "<!-- x --><e>"), Reason.NOT_CANONICAL),
        (DOCUMENT.replace("<e>", "<?x y?><e>"), Reason.NOT_CANONICAL),
        (DOCUMENT.replace("&lt;", "<![CDATA[<]]>"), Reason.NOT_CANONICAL),
        (DOCUMENT.replace("<e></e>", "<e/>"), Reason.NOT_CANONICAL),
        (DOCUMENT.replace('b="1" c="2"', 'c="2" b="1"'), Reason.NOT_CANONICAL),
        (DOCUMENT.replace('"1"', "'1'"), Reason.NOT_CANONICAL),
        (DOCUMENT.replace("<e>", "<e >"), Reason.NOT_CANONICAL),
        (DOCUMENT.replace("汉", "&#x6C49;"), Reason.NOT_CANONICAL),
        (DOCUMENT.replace("<e>", '<e xmlns="urn:a">'), Reason.NOT_CANONICAL),
        (DOCUMENT.replace("<a ", '<a xmlns:x="urn:unused" '), Reason.NOT_CANONICAL),
        (DOCUMENT.replace("<d>", "<d>\r\n"), Reason.NOT_CANONICAL),
        (DOCUMENT + "\n", Reason.NOT_CANONICAL),
        ("\ufeff" + DOCUMENT, Reason.NOT_CANONICAL),
        (" " + DOCUMENT, Reason.NOT_CANONICAL),
        ("", Reason.NOT_CANONICAL),
        ("text", Reason.NOT_CANONICAL),
        (DOCUMENT[:-1], Reason.NOT_WELL_FORMED),
        (DOCUMENT + DOCUMENT, Reason.NOT_WELL_FORMED),
        (DOCUMENT.replace("&lt;", "&unknown;"), Reason.NOT_WELL_FORMED),
        (DOCUMENT.replace("<e>", "<e b='1' b='1'>"), Reason.NOT_WELL_FORMED),
        ("<a>" * 300 + "</a>" * 300, Reason.NOT_WELL_FORMED),
        # Canonicalisation is not defined for relative namespace names.
        ('<a xmlns="relative"></a>', Reason.NOT_CANONICAL),
        ('<a><x:b xmlns:x="../relative"></x:b></a>', Reason.NOT_CANONICAL),
    ],
)
def test_every_other_spelling_is_refused_by_name(text: str, reason: Reason) -> None:
    caught = refusal(text.encode(), 4096)
    assert caught.reason is reason
    assert caught.detail


@pytest.mark.spec("WF-2")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be", "gb18030"])
def test_only_utf_8_is_read(encoding: str) -> None:
    caught = refusal(DOCUMENT.encode(encoding))
    assert caught.reason in {Reason.NOT_CANONICAL, Reason.NOT_WELL_FORMED}


@pytest.mark.spec("WF-3", "WF-5")
def test_an_entity_is_never_expanded() -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'
    assert refusal(bomb).reason is Reason.NOT_CANONICAL
    assert "octet 0" in refusal(bomb).detail


@pytest.mark.spec("LI-1", "WF-4")
def test_the_bound_is_the_first_thing_asked() -> None:
    octets = DOCUMENT.encode()
    assert parse_canonical(octets, len(octets)).tag == "{urn:a}a"
    caught = refusal(octets, len(octets) - 1)
    assert caught.reason is Reason.TOO_LARGE
    assert str(len(octets)) in caught.detail


def test_the_place_of_the_first_difference_is_named() -> None:
    assert refusal(b"<a><b/></a>").detail.endswith("octet 5")
    assert refusal(b"<a></a>\n").detail.endswith("octet 7")
    assert refusal(b"<a>\n<b</a>").detail == "line 2, column 3"


@pytest.mark.spec("WF-6")
@pytest.mark.parametrize("text", ["", "a<b>&\"'\t\n\r", "汉字 𠮷 ]]>", "\u0085\u2028\ufffd"])
def test_what_is_written_escaped_is_read_back_and_canonical(text: str) -> None:
    octets = f'<a b="{escape_attribute(text)}">{escape_text(text)}</a>'.encode()
    root = parse_canonical(octets, BOUND)
    assert root.get("b") == text
    assert (root.text or "") == text


@pytest.mark.spec("WF-7")
@pytest.mark.parametrize("text", ["\0", "a\x1f", "\ufffe", "\uffff", "\ud800", "\x0b"])
def test_what_xml_cannot_carry_is_our_own_mistake(text: str) -> None:
    with pytest.raises(LocalUseError, match=r"U\+"):
        escape_text(text)
    with pytest.raises(LocalUseError, match=r"U\+"):
        escape_attribute(text)


def test_threads_share_a_schema_and_each_gets_its_own_fault() -> None:
    schema = schemas.compiled()["urn:tongban:ping:1"]

    def fault_on(line: int) -> tuple[int, int | None]:
        # Long enough for others to be at work meanwhile.
        root = etree.fromstring("\n" * line + "<x>" + "<y></y>" * 2000 + "</x>")
        fault = first_fault(root, schema)
        return line, None if fault is None else fault.line - 1

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(fault_on, range(400)))
    assert [line for line, stated in found if stated != line] == []


@pytest.mark.spec("LI-10", "WF-4")
@pytest.mark.parametrize("written", ['a%05d="="', "a%05d = '1'"], ids=["canonical", "otherwise"])
def test_a_flood_of_attributes_is_refused_before_it_is_put_in_order(
    written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def element(count: int) -> bytes:
        return f"<a {' '.join(written % number for number in range(count))}></a>".encode()

    def canonicalised(*_: object, **__: object) -> bytes:
        raise AssertionError

    if '="="' in written:
        parse_canonical(element(MAX_ATTRIBUTES), 64 * BOUND)
    monkeypatch.setattr(etree, "tostring", canonicalised)
    for count in (MAX_ATTRIBUTES + 1, 5_000):
        refused = refusal(b"<r>" + element(count) + b"</r>", 128 * BOUND)
        assert refused.reason is Reason.SCHEMA_INVALID
        assert str(count) in refused.detail
