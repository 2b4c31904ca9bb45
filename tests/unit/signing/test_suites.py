from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalUseError, RefusedError
from protocol.reasons import Reason
from signing.encodings import (
    ED25519_FORM,
    P256_FORM,
    P256_ORDER,
    SM2_FORM,
    SM2_ORDER,
    KeyForm,
)
from signing.sm2_openssl import load_openssl
from signing.sm2_tongsuopy import load_tongsuopy
from signing.suites import (
    PrivateKey,
    Suite,
    digest,
    load_private_key,
    load_public_key,
    private_key_from_entropy,
)

ENTROPY = bytes(range(48))
FORMS: dict[Suite, KeyForm] = {
    Suite.SM2_SM3: SM2_FORM,
    Suite.P256: P256_FORM,
    Suite.ED25519: ED25519_FORM,
}
KEYS = {suite: private_key_from_entropy(suite, ENTROPY) for suite in Suite}


@pytest.fixture(params=Suite, ids=str)
def suite(request: pytest.FixtureRequest) -> Suite:
    return Suite(request.param)


@pytest.fixture
def key(suite: Suite) -> PrivateKey:
    return KEYS[suite]


def refused(suite: Suite, spki: bytes) -> Reason:
    with pytest.raises(RefusedError) as caught:
        load_public_key(suite, spki)
    return caught.value.reason


@pytest.mark.spec("SU-1")
def test_digests_are_those_of_the_standards() -> None:
    # GB/T 32905-2016 A.1 and FIPS 180-4's example for "abc".
    sm3 = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest(Suite.SM2_SM3, b"abc").hex() == sm3
    assert digest(Suite.P256, b"abc").hex() == sha256
    assert digest(Suite.ED25519, b"abc").hex() == sha256


@pytest.mark.spec("SU-1", "SU-9")
def test_p256_signs_as_rfc_6979_says() -> None:
    # RFC 6979 A.2.5, SHA-256, message "sample".
    secret = bytes.fromhex("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")
    key = PrivateKey(Suite.P256, secret, None)
    assert key.sign(b"sample").hex().upper() == (
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    )


@pytest.mark.spec("SU-1")
def test_ed25519_signs_as_rfc_8032_says() -> None:
    # RFC 8032 §7.1, test 1.
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = PrivateKey(Suite.ED25519, secret, None)
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.public.spki[-32:].hex() == public
    assert key.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
        "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )


@pytest.mark.spec("SU-4")
def test_entropy_gives_the_same_key_in_every_release() -> None:
    assert {str(suite): key.public.key_id for suite, key in KEYS.items()} == {
        "sm2-sm3": "NmcCZzYZZrQGlBuCEomT4Z-1keLFnGpZrdFy2IJHPwE",
        "ecdsa-p256-sha256": "MTGdlPihqnJA95aTw32FnwuttlifJ7e1Gy80_Ll0uX8",
        "ed25519": "hoMxTJAAH5zJv_nDPHJi4HqhbUwxtWWiSdOFvKrdsF8",
    }


def test_every_octet_of_entropy_counts(suite: Suite) -> None:
    ids = {private_key_from_entropy(suite, ENTROPY).public.key_id}
    for place in (0, 31, 32, 47):
        changed = bytearray(ENTROPY)
        changed[place] ^= 0x80
        ids.add(private_key_from_entropy(suite, bytes(changed)).public.key_id)
    assert len(ids) == 5


@pytest.mark.parametrize(
    ("suite", "largest"),
    [(Suite.SM2_SM3, SM2_ORDER - 2), (Suite.P256, P256_ORDER - 1)],
    ids=str,
)
def test_entropy_reduces_to_the_range_of_keys_and_no_further(suite: Suite, largest: int) -> None:
    def secret(number: int) -> int:
        key = private_key_from_entropy(suite, number.to_bytes(48))
        start = len(FORMS[suite].pkcs8_prefix)
        return int.from_bytes(key.pkcs8()[start : start + 32])

    assert [secret(n) for n in (0, largest - 1, largest)] == [1, largest, 1]


def test_too_little_entropy_is_our_bug(suite: Suite) -> None:
    with pytest.raises(LocalUseError, match="48"):
        private_key_from_entropy(suite, ENTROPY[:-1])


@pytest.mark.spec("ID-5", "SU-4")
def test_a_key_id_is_the_digest_of_the_spki(key: PrivateKey) -> None:
    expected = base64.urlsafe_b64encode(digest(key.suite, key.public.spki)).decode().rstrip("=")
    assert key.public.key_id == expected
    assert len(expected) == 43


@pytest.mark.spec("SU-5")
def test_a_signature_is_64_octets_and_holds_for_its_octets_only(key: PrivateKey) -> None:
    for octets in (b"", b"\0", b"x" * 70_000):
        signature = key.sign(octets)
        assert len(signature) == 64
        assert key.public.verify(octets, signature)
        assert not key.public.verify(octets + b"\0", signature)


def test_only_sm2_draws_a_nonce(key: PrivateKey) -> None:
    repeats = key.sign(b"octets") == key.sign(b"octets")
    assert repeats is (key.suite is not Suite.SM2_SM3)


def test_another_key_does_not_verify(key: PrivateKey) -> None:
    other = private_key_from_entropy(key.suite, ENTROPY[::-1])
    assert not other.public.verify(b"octets", key.sign(b"octets"))


def test_any_changed_bit_spoils_the_signature(key: PrivateKey) -> None:
    signature = key.sign(b"octets")
    for place in range(64):
        changed = bytearray(signature)
        changed[place] ^= 1 << place % 8
        assert key.public.verify(b"octets", bytes(changed)) is False


@pytest.mark.spec("SU-5")
@given(st.binary(max_size=80) | st.binary(min_size=64, max_size=64))
def test_anything_for_a_signature_is_just_false(signature: bytes) -> None:
    for key in KEYS.values():
        assert key.public.verify(b"octets", signature) is False


@pytest.mark.spec("SU-5")
@pytest.mark.parametrize(
    ("suite", "order"), [(Suite.SM2_SM3, SM2_ORDER), (Suite.P256, P256_ORDER)], ids=str
)
def test_r_and_s_out_of_range_are_just_false(suite: Suite, order: int) -> None:
    public = KEYS[suite].public
    good = KEYS[suite].sign(b"octets")
    for edge in (0, order, order + 1, 2**256 - 1):
        assert public.verify(b"octets", edge.to_bytes(32) + good[32:]) is False
        assert public.verify(b"octets", good[:32] + edge.to_bytes(32)) is False


@pytest.mark.spec("SU-5")
def test_ed25519_takes_only_the_reduced_s() -> None:
    group_order = 2**252 + 27742317777372353535851937790883648493
    key = KEYS[Suite.ED25519]
    good = key.sign(b"octets")
    larger = int.from_bytes(good[32:], "little") + group_order
    assert key.public.verify(b"octets", good[:32] + larger.to_bytes(32, "little")) is False


@pytest.mark.spec("SU-7")
def test_ed25519_verifies_without_a_cofactor() -> None:
    """Under a key with a part of small order the two equations differ; ours is the strict one."""
    secret, nonce, message = 7, 11, b"octets"
    public = _add(_times(secret, _BASE), _ORDER_8)
    r = _encoded(_times(nonce, _BASE))
    hashed = hashlib.sha512(r + _encoded(public) + message).digest()
    challenge = int.from_bytes(hashed, "little")
    assert challenge % 8, "else both equations hold"
    s = (nonce + challenge * secret) % _GROUP_ORDER
    key = load_public_key(Suite.ED25519, ED25519_FORM.spki_prefix + _encoded(public))
    assert not key.verify(message, r + s.to_bytes(32, "little"))
    # Eight times both sides: with the cofactor it would have held.
    left = _times(8 * s, _BASE)
    right = _add(_times(8 * nonce, _BASE), _times(8 * challenge, public))
    assert _encoded(left) == _encoded(right)


# Edwards25519 in affine coordinates (RFC 8032 §5.1), as plain as it gets.
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
_BASE = (
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960,
)


def _add(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    (x1, y1), (x2, y2) = one, other
    product = _D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, _P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, _P)
    return x % _P, y % _P


def _times(number: int, point: tuple[int, int]) -> tuple[int, int]:
    total = (0, 1)
    while number:
        if number & 1:
            total = _add(total, point)
        point, number = _add(point, point), number >> 1
    return total


def _encoded(point: tuple[int, int]) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def _order_8() -> tuple[int, int]:
    y = int.from_bytes(
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
    )
    x_squared = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(x_squared, (_P + 3) // 8, _P)
    return (x if x * x % _P == x_squared else x * pow(2, (_P - 1) // 4, _P) % _P), y


_ORDER_8 = _order_8()


def test_a_public_key_goes_round(key: PrivateKey) -> None:
    public = load_public_key(key.suite, key.public.spki)
    assert public == key.public
    assert hash(public) == hash(key.public)
    assert public.verify(b"octets", key.sign(b"octets"))


@pytest.mark.spec("SU-2")
def test_a_public_key_of_another_suite_is_refused(suite: Suite) -> None:
    for other in set(Suite) - {suite}:
        assert refused(suite, KEYS[other].public.spki) is Reason.KEY_MALFORMED


@pytest.mark.spec("SU-2")
def test_a_public_key_in_any_other_encoding_is_refused(key: PrivateKey) -> None:
    spki, prefix = key.public.spki, len(FORMS[key.suite].spki_prefix)
    assert refused(key.suite, b"") is Reason.KEY_MALFORMED
    assert refused(key.suite, spki[:-1]) is Reason.KEY_MALFORMED
    assert refused(key.suite, spki + b"\0") is Reason.KEY_MALFORMED
    # 30 59 .. as 30 81 59 ..: the same value in a longer length.
    assert refused(key.suite, spki[:1] + b"\x81" + spki[1:]) is Reason.KEY_MALFORMED
    for place in range(prefix):
        changed = bytearray(spki)
        changed[place] ^= 1
        assert refused(key.suite, bytes(changed)) is Reason.KEY_MALFORMED


@pytest.mark.spec("SU-3")
@pytest.mark.parametrize("suite", [Suite.SM2_SM3, Suite.P256], ids=str)
def test_a_point_off_the_curve_is_refused(suite: Suite) -> None:
    spki, prefix = KEYS[suite].public.spki, FORMS[suite].spki_prefix
    assert refused(suite, spki[:-1] + bytes([spki[-1] ^ 1])) is Reason.KEY_MALFORMED
    assert refused(suite, prefix + bytes(64)) is Reason.KEY_MALFORMED
    assert refused(suite, prefix + b"\xff" * 64) is Reason.KEY_MALFORMED
    compressed = spki[: len(prefix) - 1] + bytes([2 + (spki[-1] & 1)]) + spki[len(prefix) : -32]
    assert refused(suite, compressed) is Reason.KEY_MALFORMED


@pytest.mark.spec("SU-3")
@pytest.mark.parametrize("sign", [0, 0x80])
@pytest.mark.parametrize(
    ("point", "why"),
    [
        # The points of order 1, 2, 4 and 8, by their y coordinate, little endian.
        ("01" + "00" * 31, "small order"),
        ("ec" + "ff" * 30 + "7f", "small order"),
        ("00" * 32, "small order"),
        ("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "small order"),
        ("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "small order"),
        # y = p, p + 1 and the largest: other spellings of smaller numbers.
        ("ed" + "ff" * 30 + "7f", "canonical"),
        ("ee" + "ff" * 30 + "7f", "canonical"),
        ("ff" * 31 + "7f", "canonical"),
        # y = 2 lies on no point.
        ("02" + "00" * 31, "canonical"),
    ],
    ids=lambda value: value[:4],
)
def test_ed25519_points_that_bind_no_message_are_refused(point: str, why: str, sign: int) -> None:
    encoded = bytearray.fromhex(point)
    encoded[31] |= sign
    with pytest.raises(RefusedError, match=why) as caught:
        load_public_key(Suite.ED25519, ED25519_FORM.spki_prefix + encoded)
    assert caught.value.reason is Reason.KEY_MALFORMED


@given(st.binary(min_size=48, max_size=48))
def test_every_key_we_make_is_one_we_take(entropy: bytes) -> None:
    for suite in Suite:
        key = private_key_from_entropy(suite, entropy)
        assert load_private_key(key.pkcs8()).public == key.public


def test_a_private_key_goes_round(key: PrivateKey) -> None:
    again = load_private_key(key.pkcs8())
    assert (again.suite, again.public) == (key.suite, key.public)
    assert again.pkcs8() == key.pkcs8()
    assert key.public.verify(b"octets", again.sign(b"octets"))


def test_a_private_key_with_any_octet_changed_is_refused(key: PrivateKey) -> None:
    pkcs8 = key.pkcs8()
    # Any 32 octets are an Ed25519 secret, and it comes last: only its frame can be wrong.
    end = 16 if key.suite is Suite.ED25519 else len(pkcs8)
    for place in range(end):
        changed = bytearray(pkcs8)
        changed[place] ^= 1
        with pytest.raises(RefusedError) as caught:
            load_private_key(bytes(changed))
        assert caught.value.reason is Reason.KEY_MALFORMED


def test_a_private_key_cut_short_or_out_of_range_is_refused(key: PrivateKey) -> None:
    pkcs8, start = key.pkcs8(), len(FORMS[key.suite].pkcs8_prefix)
    bad = [b"", pkcs8[:start], pkcs8[:-1], pkcs8 + b"\0"]
    if key.suite is not Suite.ED25519:
        bad += [pkcs8[:start] + edge * 32 + pkcs8[start + 32 :] for edge in (b"\0", b"\xff")]
    for octets in bad:
        with pytest.raises(RefusedError) as caught:
            load_private_key(octets)
        assert caught.value.reason is Reason.KEY_MALFORMED


def test_no_text_form_or_error_shows_the_secret(key: PrivateKey) -> None:
    pkcs8, start = key.pkcs8(), len(FORMS[key.suite].pkcs8_prefix)
    secret = pkcs8[start : start + 32]
    texts = [repr(key), str(key), f"{key.public!r}"]
    with pytest.raises(RefusedError) as caught:
        load_private_key(pkcs8 + b"\0")
    texts.append(repr(caught.value) + str(caught.value))
    for text in texts:
        assert secret.hex() not in text.lower()
        assert repr(secret)[2:-1] not in text
        assert str(int.from_bytes(secret)) not in text


def test_the_sm2_provider_may_be_chosen() -> None:
    one, other = load_openssl(), load_tongsuopy()
    for provider, foreign in ((one, other), (other, one)):
        key = private_key_from_entropy(Suite.SM2_SM3, ENTROPY, sm2=provider)
        assert key.pkcs8() == KEYS[Suite.SM2_SM3].pkcs8()
        assert load_private_key(key.pkcs8(), sm2=foreign).public == key.public
        public = load_public_key(Suite.SM2_SM3, key.public.spki, sm2=foreign)
        assert public.verify(b"octets", key.sign(b"octets"))
