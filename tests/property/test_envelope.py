from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

import schemas
from protocol.envelope import Envelope, Part, read_envelope, write_content
from protocol.errors import RefusedError
from protocol.instants import format_instant, parse_instant
from protocol.limits import MAX_LIFETIME_MS, MIN_LIFETIME_MS
from protocol.wire import parse_canonical
from tests.messages import WUHAN, XIANGYANG, envelope, keys_of, signed_by_sender

KEYS = keys_of([WUHAN, XIANGYANG])
SIGNED = signed_by_sender(envelope(KEYS), KEYS)
SIGNATURE = SIGNED[SIGNED.index(b"<ds:Signature") : -len("</Envelope>")]
YEAR_9999_MS = 253_402_300_799_999

part_ids = st.from_regex(r"[a-z][a-z0-9\-]{0,31}", fullmatch=True).filter(lambda i: i != "body")
media_types = st.from_regex(r"[a-z][a-z0-9+.]*/[a-z0-9][a-z0-9!#$&^_.+\-]{0,9}", fullmatch=True)
materials = st.builds(
    Part,
    part_id=part_ids,
    role=st.just("material"),
    media_type=media_types,
    size=st.integers(0, 1 << 40),
    digest=st.binary(min_size=32, max_size=32),
)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    created_ms = draw(st.integers(0, YEAR_9999_MS - MAX_LIFETIME_MS))
    lifetime_ms = draw(st.integers(MIN_LIFETIME_MS, MAX_LIFETIME_MS))
    sequence = draw(st.integers(1, 2**31 - 1))
    plain = envelope(
        KEYS, sequence=sequence, created_ms=created_ms, expires_ms=created_ms + lifetime_ms
    )
    rows = draw(st.lists(materials, max_size=5, unique_by=lambda row: row.part_id))
    return replace(plain, parts=(plain.body, *rows))


@given(envelopes())
def test_every_envelope_is_read_back_from_its_octets(message: Envelope) -> None:
    content = write_content(message)
    octets = content.replace(b"</Envelope>", SIGNATURE + b"</Envelope>")
    assert read_envelope(parse_canonical(octets, 1 << 16), schemas.compiled()) == message


@given(st.integers(-62_135_596_800_000, YEAR_9999_MS))
def test_every_instant_is_read_back_from_its_form(instant_ms: int) -> None:
    assert parse_instant(format_instant(instant_ms)) == instant_ms


@given(st.integers(0, len(SIGNED) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_a_damaged_envelope_is_read_or_refused_and_nothing_else(
    place: int, octets: bytes, skipped: int
) -> None:
    damaged = SIGNED[:place] + octets + SIGNED[place + skipped :]
    try:
        read_envelope(parse_canonical(damaged, 1 << 16), schemas.compiled())
    except RefusedError as refusal:
        assert refusal.detail  # noqa: PT017 - the other outcome is fine too
