from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from rfc3161_client import HashAlgorithm, decode_timestamp_response

from protocol.errors import RefusedError
from protocol.limits import MAX_STAMP_OCTETS
from protocol.reasons import Reason
from signing import stamps
from signing.stamps import read_roots, verify_stamp
from tests.stamping import Tsa, make_tsa

if TYPE_CHECKING:
    from pathlib import Path

    from rfc3161_client import TimeStampResponse

HEAD = b"the octets of a signed head"


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return make_tsa(tmp_path_factory.mktemp("stamps") / "tsa")


@pytest.fixture(scope="module")
def stamp(tsa: Tsa) -> bytes:
    return tsa.stamp(HEAD)


def refusal(stamp: bytes, head: bytes, tsa: Tsa, nonce: int | None = None) -> str:
    with pytest.raises(RefusedError) as refused:
        verify_stamp(stamp, head, tsa.roots, nonce)
    assert refused.value.reason is Reason.STAMP_INVALID
    return refused.value.detail


@pytest.mark.spec("TS-1", "TS-2")
def test_a_stamp_dates_the_head_with_its_accuracy_against_us(tsa: Tsa, stamp: bytes) -> None:
    said = decode_timestamp_response(stamp).tst_info.gen_time
    assert verify_stamp(stamp, HEAD, tsa.roots) == int(said.timestamp() * 1000) + 1500


@pytest.mark.spec("TS-2")
@pytest.mark.parametrize(("accuracy", "late_ms"), [("millisecs:500", 500), ("microsecs:10", 1)])
def test_any_part_of_the_accuracy_may_be_left_out(
    accuracy: str, late_ms: int, tmp_path: Path
) -> None:
    tsa = make_tsa(tmp_path / "tsa", accuracy)
    stamp = tsa.stamp(HEAD)
    said = decode_timestamp_response(stamp).tst_info.gen_time
    assert verify_stamp(stamp, HEAD, tsa.roots) == int(said.timestamp() * 1000) + late_ms


@pytest.mark.spec("TS-2")
def test_an_accuracy_without_bound_dates_nothing(stamp: bytes) -> None:
    """No tool signs one; an authority that lies may."""
    told = SimpleNamespace(seconds=2**62, millis=None, micros=None)
    said = SimpleNamespace(
        accuracy=told, gen_time=decode_timestamp_response(stamp).tst_info.gen_time
    )
    with pytest.raises(RefusedError) as refused:
        stamps._latest_ms(cast("TimeStampResponse", SimpleNamespace(tst_info=said)))
    assert refused.value.reason is Reason.STAMP_INVALID


@pytest.mark.spec("TS-1")
def test_openssl_agrees(tsa: Tsa, stamp: bytes, tmp_path: Path) -> None:
    (tmp_path / "head").write_bytes(HEAD)
    (tmp_path / "stamp").write_bytes(stamp)
    command = ["openssl", "ts", "-verify", "-data", "head", "-in", "stamp", "-CAfile"]
    run = subprocess.run(
        [*command, str(tsa.folder / "root.pem")], cwd=tmp_path, capture_output=True, check=False
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.spec("TS-2")
@pytest.mark.parametrize("status", [1, 2, 5])
def test_only_what_was_granted_counts(tsa: Tsa, stamp: bytes, status: int) -> None:
    """The status stands outside of what the authority signs."""
    granted = bytes.fromhex("3003020100")
    assert stamp.count(granted) == 1
    other = stamp.replace(granted, granted[:-1] + bytes([status]))
    assert refusal(other, HEAD, tsa).startswith(f"not granted: status {status}")


@pytest.mark.spec("TS-2")
def test_a_stamp_of_another_head_or_another_authority_dates_nothing(
    tsa: Tsa, stamp: bytes, tmp_path: Path
) -> None:
    assert "message" in refusal(stamp, HEAD + b".", tsa).lower()
    refusal(stamp, HEAD, make_tsa(tmp_path / "other"))
    with pytest.raises(RefusedError):
        verify_stamp(stamp, HEAD, ())


@pytest.mark.spec("TS-2")
def test_an_old_answer_does_not_answer_a_new_question(tsa: Tsa, stamp: bytes) -> None:
    nonce = decode_timestamp_response(stamp).tst_info.nonce
    assert nonce is not None
    assert verify_stamp(stamp, HEAD, tsa.roots, nonce)
    assert refusal(stamp, HEAD, tsa, nonce + 1) == "Nonce mismatch"


@pytest.mark.spec("TS-1")
def test_only_an_imprint_by_sha_256_counts(tsa: Tsa) -> None:
    # The authority does not make it: a rejection is no stamp either.
    assert "not granted" in refusal(tsa.stamp(HEAD, HashAlgorithm.SHA512), HEAD, tsa)


@pytest.mark.spec("TS-2")
def test_octets_of_a_stamp_cannot_be_changed(tsa: Tsa, stamp: bytes) -> None:
    def outcome(place: int) -> int | Reason:
        octets = bytearray(stamp)
        octets[place] ^= 0x01
        try:
            return verify_stamp(bytes(octets), HEAD, tsa.roots)
        except RefusedError as refused:
            return refused.reason

    verified = verify_stamp(stamp, HEAD, tsa.roots)
    outcomes = [outcome(place) for place in range(0, len(stamp), 7)]
    assert set(outcomes) <= {verified, Reason.STAMP_INVALID}
    # What is not signed, such as the answer's own wrapping, may differ.
    assert outcomes.count(Reason.STAMP_INVALID) > 0.9 * len(outcomes)


@pytest.mark.spec("TS-2")
@pytest.mark.parametrize("octets", [b"", b"\x30", b"\x30\x80", bytes(400), b"{}", b"<html/>"])
def test_what_is_no_stamp_is_refused_as_none(tsa: Tsa, octets: bytes) -> None:
    refusal(octets, HEAD, tsa)


@pytest.mark.spec("TS-2", "LI-22")
def test_a_stamp_cut_short_or_endless_is_refused(tsa: Tsa, stamp: bytes) -> None:
    for length in range(0, len(stamp), 41):
        refusal(stamp[:length], HEAD, tsa)
    assert "at most" in refusal(stamp + bytes(MAX_STAMP_OCTETS), HEAD, tsa)


def test_certificates_are_read_or_refused(tsa: Tsa) -> None:
    assert read_roots(tsa.pem) == tsa.roots
    for octets in (b"", json.dumps({}).encode(), tsa.pem[:200], tsa.pem * 17):
        with pytest.raises(RefusedError) as refused:
            read_roots(octets)
        assert refused.value.reason is Reason.STAMP_INVALID
