from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from protocol.errors import UnavailableError
from protocol.reasons import Reason
from signing import sm2
from signing.encodings import SM2_FORM, SM2_ORDER
from signing.sm2 import Sm2Provider, default_provider
from signing.sm2_openssl import load_openssl
from signing.sm2_tongsuopy import load_tongsuopy

# GB/T 32918.5-2017, annex A: key pair, message and signature of the worked example.
SCALAR = bytes.fromhex("3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8")
POINT = bytes.fromhex(
    "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13"
)
MESSAGE = b"message digest"
SIGNATURE = bytes.fromhex(
    "F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3"
    "B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA"
)
# GB/T 32905-2016, annex A.1.
SM3_ABC = bytes.fromhex("66C7F0F462EEEDD9D1F2D46BDC10E4E24167C4875CF2F7A2297DA02B8F4BA8E0")


PROVIDERS: dict[str, Sm2Provider] = {"openssl": load_openssl(), "tongsuopy": load_tongsuopy()}


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> Sm2Provider:
    name: str = request.param
    return PROVIDERS[name]


@pytest.mark.spec("SU-6")
def test_the_worked_example_of_the_standard_verifies(provider: Sm2Provider) -> None:
    key = provider.private_key(SCALAR)
    assert key.spki == SM2_FORM.spki_prefix + POINT
    assert provider.public_key(key.spki).verify(MESSAGE, SIGNATURE)
    assert not provider.public_key(key.spki).verify(MESSAGE + b".", SIGNATURE)


def test_sm3_gives_the_standards_digest(provider: Sm2Provider) -> None:
    assert provider.sm3(b"abc") == SM3_ABC


@pytest.mark.parametrize("signer", PROVIDERS)
@pytest.mark.parametrize("verifier", PROVIDERS)
def test_what_one_provider_signs_the_other_verifies(signer: str, verifier: str) -> None:
    key = PROVIDERS[signer].private_key(SCALAR)
    for octets in (b"", b"\0", "收件不是受理".encode(), bytes(100_000)):
        signature = key.sign(octets)
        assert len(signature) == 64
        assert PROVIDERS[verifier].public_key(key.spki).verify(octets, signature)
        assert not PROVIDERS[verifier].public_key(key.spki).verify(octets + b"\0", signature)


@pytest.mark.parametrize("number", [1, 2, SM2_ORDER - 3, SM2_ORDER - 2], ids=hex)
def test_both_providers_derive_the_same_public_key(number: int) -> None:
    scalar = number.to_bytes(32)
    one, other = (provider.private_key(scalar).spki for provider in PROVIDERS.values())
    assert one == other
    assert SM2_FORM.is_spki(one)


@pytest.mark.parametrize(
    "scalar",
    [bytes(32), (SM2_ORDER - 1).to_bytes(32), b"\xff" * 32, b"\1" * 31, b"\1" * 33, b""],
    ids=bytes.hex,
)
def test_a_scalar_that_cannot_sign_is_refused(provider: Sm2Provider, scalar: bytes) -> None:
    with pytest.raises(ValueError, match=r"1\.\.n-2"):
        provider.private_key(scalar)


@pytest.mark.spec("SU-2", "SU-3")
def test_a_public_key_that_is_not_canonical_is_refused(provider: Sm2Provider) -> None:
    spki = provider.private_key(SCALAR).spki
    prefix = SM2_FORM.spki_prefix
    bad = {
        "off the curve": spki[:-1] + bytes([spki[-1] ^ 1]),
        "coordinate not below p": prefix + b"\xff" * 64,
        "zero": prefix + bytes(64),
        "trailing octet": spki + b"\0",
        "truncated": spki[:-1],
        "empty": b"",
        "hybrid point": spki[:26] + b"\x06" + spki[27:],
        "P-256's name": spki.replace(
            bytes.fromhex("2a811ccf5501822d"), bytes.fromhex("2a8648ce3d030107")
        ),
    }
    for octets in bad.values():
        with pytest.raises(ValueError, match="SM2 key"):
            provider.public_key(octets)


@pytest.mark.spec("SU-5")
def test_a_malformed_signature_is_false_and_never_an_error(provider: Sm2Provider) -> None:
    key = provider.public_key(SM2_FORM.spki_prefix + POINT)
    edges = [0, 1, 5, SM2_ORDER - 1, SM2_ORDER, SM2_ORDER + 1, 2**256 - 1]
    for r in edges:
        for s in [*edges, (SM2_ORDER - r) % SM2_ORDER]:
            assert key.verify(MESSAGE, r.to_bytes(32) + s.to_bytes(32)) is False
    for signature in (b"", SIGNATURE[:-1], SIGNATURE + b"\0", b"\x30" * 72):
        assert key.verify(MESSAGE, signature) is False
    for place in range(64):
        changed = bytearray(SIGNATURE)
        changed[place] ^= 1
        assert key.verify(MESSAGE, bytes(changed)) is False


def test_threads_may_share_a_key(provider: Sm2Provider) -> None:
    private = provider.private_key(SCALAR)
    public = provider.public_key(private.spki)

    def work(number: int) -> bool:
        octets = b"%d" % number
        signature = private.sign(octets)
        return public.verify(octets, signature) and not public.verify(octets + b".", signature)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(200)))


class _Mallinfo2(ctypes.Structure):
    _fields_ = [  # type: ignore[mutable-override]
        ("seven_before", ctypes.c_size_t * 7),
        ("uordblks", ctypes.c_size_t),
        ("two_after", ctypes.c_size_t * 2),
    ]


def _heap_octets() -> int:
    """Octets the C heap has handed out."""
    libc = ctypes.CDLL("libc.so.6")
    libc.mallinfo2.restype = _Mallinfo2
    return int(libc.mallinfo2().uordblks)


def test_the_openssl_binding_leaks_nothing() -> None:
    provider = load_openssl()
    private = provider.private_key(SCALAR)

    def everything(rounds: int) -> None:
        for _ in range(rounds):
            public = provider.public_key(private.spki)
            public.verify(MESSAGE, private.sign(MESSAGE))
            public.verify(MESSAGE, SIGNATURE[32:] + SIGNATURE[:32])
            provider.sm3(MESSAGE)
            provider.private_key(SCALAR)
            with contextlib.suppress(ValueError):
                provider.public_key(SM2_FORM.spki_prefix + bytes(64))
        gc.collect()

    everything(50)
    before = _heap_octets()
    everything(300)
    # The library's own tables still fill up by some 60 octets a round, for about 1,000 rounds; a
    # forgotten key or context would be more than 500.
    assert _heap_octets() - before < 300 * 200


def test_errors_of_openssl_do_not_stay_queued_for_others() -> None:
    provider = load_openssl()
    with pytest.raises(ValueError, match="SM2 key"):
        provider.public_key(SM2_FORM.spki_prefix + bytes(64))
    public = provider.public_key(SM2_FORM.spki_prefix + POINT)
    assert not public.verify(MESSAGE, (1).to_bytes(32) + (SM2_ORDER - 1).to_bytes(32))
    assert provider._library.ERR_get_error() == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [("libno-such-thing.so.3", "install OpenSSL 3"), ("libc.so.6", "not OpenSSL 3")],
)
def test_a_missing_or_foreign_library_is_unavailable_with_its_remedy(name: str, said: str) -> None:
    with pytest.raises(UnavailableError, match=said) as caught:
        load_openssl((name,))
    assert caught.value.reason is Reason.SUITE_UNAVAILABLE
    assert name in caught.value.detail


def test_tongsuopy_not_installed_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tongsuopy.crypto.hashes", None)
    with pytest.raises(UnavailableError, match="install tongsuopy") as caught:
        load_tongsuopy()
    assert caught.value.reason is Reason.SUITE_UNAVAILABLE


@pytest.mark.spec("TR-5")
def test_the_default_is_openssl_then_tongsuopy_then_a_reasoned_no(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert default_provider().name == "openssl"
    assert default_provider() is default_provider()

    def no_openssl() -> Sm2Provider:
        return load_openssl(("libno-such-thing.so.3",))

    def no_tongsuopy() -> Sm2Provider:
        raise UnavailableError(Reason.SUITE_UNAVAILABLE, "tongsuopy: not here")

    monkeypatch.setattr(sm2, "load_openssl", no_openssl)
    try:
        sm2._find.cache_clear()
        assert default_provider().name == "tongsuopy"
        monkeypatch.setattr(sm2, "load_tongsuopy", no_tongsuopy)
        sm2._find.cache_clear()
        with pytest.raises(UnavailableError, match=r"libno-such-thing.*; tongsuopy: not here"):
            default_provider()
    finally:
        sm2._find.cache_clear()
