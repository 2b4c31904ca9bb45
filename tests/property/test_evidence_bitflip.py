"""No octet of an evidence file is free: whatever is changed, some step refuses it by name."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.directory import Directory
from routing.directory_province import open_provinces
from signing.evidence import MAGIC, Outcome, Report, verify_evidence
from signing.suites import Suite
from tests.evidence_files import ANCHOR, case_file, check, message_file, pieces
from tests.messages import rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocol.envelope import Environment
    from signing.trust import TrustSet

STEPS = {
    "container",
    "about",
    "directories",
    "envelopes",
    "parts",
    "receipts",
    "subject",
    "seal",
}


@cache
def trust_of(documents: tuple[bytes, ...]) -> TrustSet:
    """What good directories say, opened once: most of a check is loading their keys."""
    return Directory.merge(open_provinces(documents, ANCHOR)).trust


def quick_check(octets: bytes, good: tuple[bytes, ...]) -> Report:
    """The report, with the directory known to be good opened only once."""

    def open_trust(documents: Sequence[bytes], environment: Environment) -> TrustSet:
        if tuple(documents) != good:
            return Directory.merge(open_provinces(documents, ANCHOR)).trust
        assert environment == "trial"
        return trust_of(good)

    return verify_evidence(octets, open_trust, rules())


def flipped(octets: bytes, place: int, mask: int) -> bytes:
    return octets[:place] + bytes([octets[place] ^ mask]) + octets[place + 1 :]


def refusing_step(report: Report) -> str:
    assert report.outcome is Outcome.REFUSED
    assert report.proven == ()
    *held, last = report.steps
    assert all(step.passed for step in held)
    assert not last.passed
    assert last.detail
    return last.name


@pytest.mark.spec("EV-9")
def test_every_octet_of_a_file() -> None:
    octets = message_file(Suite.ED25519)
    directory = tuple(record.octets for record in pieces(octets) if record.kind == 2)
    assert quick_check(octets, directory).outcome is Outcome.VALID
    found = {
        # Another bit from place to place, so that letters of both cases and digits change.
        refusing_step(quick_check(flipped(octets, place, 1 << place % 8), directory))
        for place in range(len(octets))
    }
    assert found == STEPS


def test_every_octet_of_what_names_and_ends_the_file_in_every_way() -> None:
    octets = message_file(Suite.ED25519)
    directory = tuple(record.octets for record in pieces(octets) if record.kind == 2)
    about = 5 + len(pieces(octets)[0].octets)
    seal = len(octets) - 5 - 96
    ends = [*range(len(MAGIC) + about + 5), *range(seal, seal + 5)]
    for place in ends:
        for mask in range(1, 256):
            refusing_step(quick_check(flipped(octets, place, mask), directory))


@pytest.mark.parametrize("suite", Suite, ids=str)
@given(data=st.data())
def test_any_change_of_an_octet_in_every_suite(suite: Suite, data: st.DataObject) -> None:
    octets = case_file(suite)
    place = data.draw(st.integers(0, len(octets) - 1))
    mask = data.draw(st.integers(1, 255))
    assert refusing_step(check(flipped(octets, place, mask))) in STEPS


@pytest.mark.parametrize("suite", Suite, ids=str)
@given(data=st.data())
def test_any_octets_put_in_taken_out_or_replaced(suite: Suite, data: st.DataObject) -> None:
    octets = case_file(suite)
    start = data.draw(st.integers(0, len(octets)))
    end = data.draw(st.integers(start, min(start + 200, len(octets))))
    new = data.draw(st.binary(max_size=50))
    changed = octets[:start] + new + octets[end:]
    if changed != octets:
        assert refusing_step(check(changed)) in STEPS


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda noise: MAGIC + noise))
def test_noise_is_refused_at_the_container(octets: bytes) -> None:
    assert refusing_step(check(octets)) == "container"
