from __future__ import annotations

import pytest

from protocol.errors import LocalUseError
from protocol.identifiers import (
    identity_check,
    is_identity_number,
    is_region,
    is_uscc,
    is_uuid7,
    make_uuid7,
    uscc_check,
    uuid_octets,
    uuid_text,
)

# The example of RFC 9562, appendix A.6.
RFC_UUID = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
RFC_INSTANT_MS = 1_645_557_742_000
RFC_ENTROPY = (0xCC3 << 62 | 0x18C4DC0C0C07398F).to_bytes(10)
# The example of GB 32100-2015, appendix A.
USCC = "91350100M000100Y43"


@pytest.mark.spec("ID-2")
def test_a_uuid7_is_the_one_of_the_standard() -> None:
    assert make_uuid7(RFC_INSTANT_MS, RFC_ENTROPY) == RFC_UUID
    assert is_uuid7(RFC_UUID)


def test_the_first_and_the_last_instant_have_ids() -> None:
    assert make_uuid7(0, bytes(10)).startswith("00000000-0000-7")
    assert make_uuid7((1 << 48) - 1, bytes(10)).startswith("ffffffff-ffff-7")


def test_ids_sort_by_their_instant_and_differ_by_their_entropy() -> None:
    earlier, later = make_uuid7(999, b"\xff" * 10), make_uuid7(1000, bytes(10))
    assert earlier < later
    assert is_uuid7(earlier)
    assert is_uuid7(later)
    assert make_uuid7(1000, bytes(9) + b"\x01") != later


@pytest.mark.parametrize(
    ("now_ms", "entropy"),
    [(-1, bytes(10)), (1 << 48, bytes(10)), (0, bytes(9)), (0, bytes(11)), (0, b"")],
)
def test_a_uuid7_needs_its_instant_and_exactly_its_entropy(now_ms: int, entropy: bytes) -> None:
    with pytest.raises(LocalUseError, match="entropy"):
        make_uuid7(now_ms, entropy)


@pytest.mark.spec("ID-2", "ID-8")
@pytest.mark.parametrize(
    "text",
    [
        RFC_UUID.upper(),
        RFC_UUID.replace("-", ""),
        "{" + RFC_UUID + "}",
        RFC_UUID + "\n",
        RFC_UUID.replace("-7cc3", "-4cc3"),
        RFC_UUID.replace("-98c4", "-c8c4"),
        "",
    ],
)
def test_another_version_variant_or_spelling_is_no_uuid7(text: str) -> None:
    assert not is_uuid7(text)


@pytest.mark.spec("ID-2")
def test_octets_and_text_of_a_uuid_are_each_others_inverse() -> None:
    assert len(uuid_octets(RFC_UUID)) == 16
    assert uuid_text(uuid_octets(RFC_UUID)) == RFC_UUID


@pytest.mark.spec("ID-3")
@pytest.mark.parametrize("code", ["420100", "429004", "110000"])
def test_a_region_is_six_digits(code: str) -> None:
    assert is_region(code)


@pytest.mark.spec("ID-3")
@pytest.mark.parametrize(
    "code", ["", "42010", "4201000", "042010", "42010a", "\uff1420100", "420100\n"]
)
def test_anything_else_is_no_region(code: str) -> None:
    assert not is_region(code)


@pytest.mark.spec("ID-4")
def test_the_check_character_of_a_credit_code() -> None:
    assert uscc_check(USCC[:17]) == USCC[17]
    assert is_uscc(USCC)


@pytest.mark.spec("ID-4")
def test_any_single_changed_character_of_a_credit_code_shows() -> None:
    for place, character in enumerate(USCC):
        for other in "0123456789ABCDEFGHJKLMNPQRTUWXY":
            changed = USCC[:place] + other + USCC[place + 1 :]
            assert is_uscc(changed) == (other == character)


@pytest.mark.spec("ID-4", "ID-8")
@pytest.mark.parametrize(
    "code", ["", "91350100M000100Y4", "91350100M000100Y433", "91350100m000100Y43", "I" * 18]
)
def test_a_credit_code_has_18_characters_of_its_alphabet(code: str) -> None:
    assert not is_uscc(code)


@pytest.mark.parametrize("body", ["", "9" * 16, "9" * 18, "I" + "9" * 16])
def test_a_check_character_needs_17_proper_characters(body: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        uscc_check(body)


# The examples of GB 11643-1999.
@pytest.mark.spec("BO-11")
@pytest.mark.parametrize("number", ["11010519491231002X", "440524188001010014"])
def test_the_check_character_of_an_identity_number(number: str) -> None:
    assert identity_check(number[:17]) == number[17]
    assert is_identity_number(number)


@pytest.mark.spec("BO-11")
@pytest.mark.parametrize(
    "number",
    [
        "11010519491231002x",
        "110105194912310020",
        "11010519491231002",
        "1\uff11010519491231002X",
        "110105491231002",
        "",
    ],
)
def test_a_wrong_check_a_small_x_or_other_digits_are_no_identity_number(number: str) -> None:
    assert not is_identity_number(number)


@pytest.mark.parametrize("body", ["", "1" * 16, "1" * 18, "\uff11" * 17, "a" * 17])
def test_an_identity_check_needs_17_digits(body: str) -> None:
    with pytest.raises(ValueError, match="17 digits"):
        identity_check(body)
