from __future__ import annotations

from dataclasses import replace

import pytest

import schemas
from protocol.envelope import Envelope, Part, read_envelope, write_content
from protocol.errors import RefusedError
from protocol.limits import MAX_LIFETIME_MS, MAX_PARTS, MIN_LIFETIME_MS
from protocol.reasons import Reason
from protocol.wire import parse_canonical
from signing.suites import Suite
from tests.messages import (
    BODY,
    DAY_MS,
    NOW_MS,
    WUHAN,
    XIANGYANG,
    authority_of,
    envelope,
    keys_of,
    message_id,
    part,
)

KEYS = keys_of([WUHAN, XIANGYANG])
FULL = envelope(
    KEYS,
    in_reply_to=message_id(9),
    trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
BARE = envelope(KEYS, parts={"body": BODY}, case=None, kind="ping")
# The reader wants a Signature element, and leaves what is in it to the profile.
SIGNATURE = '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"></ds:Signature>'


def octets_of(message: Envelope, old: str = "", new: str = "") -> bytes:
    """The written content with one edit and an empty Signature in its place."""
    text = write_content(message).decode()
    assert old in text
    return text.replace(old, new, 1).replace("</Envelope>", SIGNATURE + "</Envelope>").encode()


def read(octets: bytes) -> Envelope:
    return read_envelope(parse_canonical(octets, 1 << 20), schemas.compiled())


def refusal(octets: bytes) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        read(octets)
    return caught.value


@pytest.mark.spec("EN-1")
@pytest.mark.parametrize("message", [FULL, BARE], ids=["full", "bare"])
def test_what_is_written_is_canonical_and_read_back(message: Envelope) -> None:
    assert parse_canonical(write_content(message), 1 << 20).get("environment") == "trial"
    assert read(octets_of(message)) == message


@pytest.mark.spec("EN-5")
def test_the_written_form_octet_for_octet() -> None:
    digest = "x" * 43 + "="
    sender, key = authority_of(WUHAN), FULL.header.sender.key
    written = write_content(BARE).decode()
    assert written == (
        '<Envelope xmlns="urn:tongban:envelope:1" environment="trial"><Header>'
        f"<MessageId>{message_id(1)}</MessageId><Kind>ping</Kind>"
        "<Created>2026-11-22T03:00:00.000Z</Created><Expires>2026-12-22T03:00:00.000Z</Expires>"
        f'<From authority="{sender}" key="{key}" node="420100"></From>'
        f'<To authority="{authority_of(XIANGYANG)}" node="420600"></To></Header><Parts>'
        f'<Part digest="{digest}" id="body" mediaType="application/xml" role="body" '
        'schema="urn:tongban:case-submit:1" size="13"></Part></Parts></Envelope>'
    ).replace(digest, written.partition('digest="')[2][:44])


def test_an_envelope_names_itself_and_its_body() -> None:
    assert FULL.header.reference.authority == authority_of(WUHAN)
    assert FULL.header.reference.message_id == message_id(1)
    assert FULL.body.part_id == "body"


def test_production_is_read_as_production() -> None:
    assert read(octets_of(replace(FULL, environment="production"))).environment == "production"


@pytest.mark.spec("EN-1", "EN-7", "EN-8", "EN-9", "EN-11", "ID-7")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<Kind>case.submit</Kind>", ""),
        ("<Kind>case.submit</Kind>", "<Kind>Case Submit</Kind>"),
        ('environment="trial"', 'environment="test"'),
        ('node="420600"', 'node="42060"'),
        ("2026-11-22T03", "2026-11-22T24"),
        ("2026-11-22T03", "2026-02-30T03"),
        ('sequence="1"', 'sequence="0"'),
        ('sequence="1"', 'sequence="01"'),
        ("<Parts>", "<Sealing></Sealing><Parts>"),
        (' role="material"', ' role="body"'),
        (' role="body"', ' role="material"'),
        (' id="body"', ' id="b"'),
        (' id="m1"', ' id="body"'),
        (' schema="urn:tongban:case-submit:1"', ""),
        ('size="13"', 'size="+13"'),
    ],
)
def test_what_breaks_the_structure_is_refused_with_its_place(old: str, new: str) -> None:
    caught = refusal(octets_of(FULL, old, new))
    assert caught.reason is Reason.SCHEMA_INVALID
    assert caught.detail


@pytest.mark.spec("ID-6")
@pytest.mark.parametrize("spelling", ["B=", "==", "=", " ="])
def test_a_digest_has_one_spelling(spelling: str) -> None:
    digest = write_content(FULL).decode().partition('digest="')[2][:44]
    caught = refusal(octets_of(FULL, digest, digest[:-2] + spelling))
    assert caught.reason is Reason.SCHEMA_INVALID


@pytest.mark.spec("TR-11")
def test_the_refusal_of_a_value_does_not_repeat_it() -> None:
    caught = refusal(octets_of(FULL, "<Kind>case.submit", "<Kind>覃䶮兰 42060619480317052"))
    assert "覃" not in caught.detail
    assert "Kind" in caught.detail


# They are legal everywhere in XML Schema, and steer a validator.
@pytest.mark.spec("EN-6")
@pytest.mark.parametrize(
    "attribute",
    ['type="Kind"', 'nil="false"', 'schemaLocation="urn:x y"', 'noNamespaceSchemaLocation="y"'],
)
@pytest.mark.parametrize("element", ["Kind", "Parts"])
def test_no_attribute_of_the_schema_instance_namespace(element: str, attribute: str) -> None:
    instance = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    edited = octets_of(FULL, f"<{element}>", f"<{element} {instance} xsi:{attribute}>")
    caught = refusal(edited)
    assert caught.reason is Reason.SCHEMA_INVALID
    assert "xsi" in caught.detail


@pytest.mark.spec("EN-4")
@pytest.mark.parametrize("lifetime_ms", [MIN_LIFETIME_MS, DAY_MS, MAX_LIFETIME_MS])
def test_a_lifetime_within_its_bounds(lifetime_ms: int) -> None:
    message = envelope(KEYS, expires_ms=NOW_MS + lifetime_ms)
    assert read(octets_of(message)) == message


@pytest.mark.spec("EN-4")
@pytest.mark.parametrize("lifetime_ms", [-1, 0, MIN_LIFETIME_MS - 1, MAX_LIFETIME_MS + 1])
def test_a_lifetime_outside_them_is_refused(lifetime_ms: int) -> None:
    caught = refusal(octets_of(envelope(KEYS, expires_ms=NOW_MS + lifetime_ms)))
    assert caught.reason is Reason.LIFETIME_INVALID
    assert str(lifetime_ms) in caught.detail


@pytest.mark.spec("LI-3")
def test_the_manifest_holds_as_many_parts_as_the_limit_says() -> None:
    rows: tuple[Part, ...] = tuple(
        part(f"m{number}", b"", Suite.P256) for number in range(1, MAX_PARTS)
    )
    full = replace(FULL, parts=(FULL.body, *rows))
    assert read(octets_of(full)) == full
    crowded = replace(full, parts=(*full.parts, part("n", b"", Suite.P256)))
    assert refusal(octets_of(crowded)).reason is Reason.SCHEMA_INVALID
    assert refusal(octets_of(replace(FULL, parts=()))).reason is Reason.SCHEMA_INVALID
