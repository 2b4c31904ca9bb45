from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.limits import MAX_BATCH
from protocol.proof import (
    MAX_PROOF_OCTETS,
    Batched,
    Single,
    path_length,
    read_proof,
    write_proof,
)

SIGNATURE = bytes(range(64))


def batched(index: int, size: int) -> Batched:
    """A proof whose numbers hold together."""
    path = tuple(bytes([level]) * 32 for level in range(path_length(index, size)))
    return Batched(index, size, path, SIGNATURE)


def refused(octets: bytes) -> str:
    with pytest.raises(ValueError, match=r"proof|batch") as caught:
        read_proof(octets)
    return str(caught.value)


@pytest.mark.spec("BP-3")
@pytest.mark.parametrize(
    ("index", "size", "hashes"),
    [(0, 2, 1), (1, 2, 1), (2, 3, 1), (0, 3, 2), (0, 4096, 12), (4095, 4096, 12), (256, 257, 1)],
)
def test_a_batch_proof_octet_for_octet(index: int, size: int, hashes: int) -> None:
    proof = batched(index, size)
    octets = write_proof(proof)
    path = b"".join(bytes([level]) * 32 for level in range(hashes))
    assert octets == b"\1" + index.to_bytes(4) + size.to_bytes(4) + path + SIGNATURE
    assert len(octets) == 73 + 32 * hashes
    assert read_proof(octets) == proof


def test_a_single_proof_is_its_form_and_the_signature() -> None:
    assert write_proof(Single(SIGNATURE)) == b"\0" + SIGNATURE
    assert read_proof(b"\0" + SIGNATURE) == Single(SIGNATURE)


def test_the_longest_proof_is_as_long_as_the_bound() -> None:
    longest = max(path_length(index, MAX_BATCH) for index in range(MAX_BATCH))
    assert longest == 12
    assert len(write_proof(batched(0, MAX_BATCH))) == MAX_PROOF_OCTETS == 457


@pytest.mark.spec("BP-3")
@pytest.mark.parametrize(
    ("index", "size", "named"),
    [
        (0, 0, "a batch of 0, not of 2 to 4096"),
        (0, 1, "a batch of 1,"),
        (0, 4097, "a batch of 4097,"),
        (0, 2**32 - 1, "a batch of 4294967295,"),
        (2, 2, "leaf 2 in a batch of 2"),
        (2**32 - 1, 4096, "leaf 4294967295 in a batch"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(index: int, size: int, named: str) -> None:
    for hashes in range(14):
        octets = b"\1" + index.to_bytes(4) + size.to_bytes(4) + bytes(32 * hashes) + SIGNATURE
        assert named in refused(octets)


@pytest.mark.spec("BP-3")
@pytest.mark.parametrize(("index", "size"), [(0, 2), (2, 3), (0, 3), (7, 256), (4095, 4096)])
def test_the_path_has_exactly_its_length_and_nothing_follows(index: int, size: int) -> None:
    octets = write_proof(batched(index, size))
    for other in (octets + b"\0", octets[:-1], octets + bytes(32), octets[:-32], octets[:9]):
        assert f"the path of leaf {index} among {size}" in refused(other)
    assert "a batch proof of 8 octets" in refused(octets[:8])


@pytest.mark.spec("BP-3")
def test_other_forms_are_refused() -> None:
    for form in range(2, 256):
        assert f"form {form:02x}" in refused(bytes([form]) + SIGNATURE)
    assert "form missing" in refused(b"")
    assert "a single proof of 64 octets" in refused(b"\0" + SIGNATURE[:-1])
    assert "a single proof of 66 octets" in refused(b"\0" + SIGNATURE + b"\0")


@given(st.binary(max_size=200))
def test_noise_is_read_in_one_way_or_refused(octets: bytes) -> None:
    try:
        proof = read_proof(octets)
    except ValueError:
        return
    assert write_proof(proof) == octets
