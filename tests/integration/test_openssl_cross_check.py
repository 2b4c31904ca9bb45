"""What we sign, the openssl command line verifies, and the other way round; files go both ways."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from node.keystore import FileKeyStore
from signing.encodings import der_from_raw, raw_from_der
from signing.keys import KeyUse
from signing.suites import (
    Suite,
    digest,
    load_private_key,
    load_public_key,
    private_key_from_entropy,
)

if TYPE_CHECKING:
    from pathlib import Path

OCTETS = "收件不是受理\0\n".encode() * 100
ENTROPY = bytes(range(1, 49))
DISTINGUISHING_ID = "distid:1234567812345678"
PASSPHRASE = "four words, one store"  # noqa: S105

GENERATE = {
    Suite.SM2_SM3: ["-algorithm", "SM2"],
    Suite.P256: ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    Suite.ED25519: ["-algorithm", "ED25519"],
}
RAW = {
    Suite.SM2_SM3: ["-rawin", "-digest", "sm3", "-pkeyopt", DISTINGUISHING_ID],
    Suite.P256: ["-rawin", "-digest", "sha256"],
    Suite.ED25519: ["-rawin"],
}
DIGEST = {
    Suite.SM2_SM3: ["-sm3", "-sigopt", DISTINGUISHING_ID],
    Suite.P256: ["-sha256"],
}


@pytest.fixture(params=Suite, ids=str)
def suite(request: pytest.FixtureRequest) -> Suite:
    return Suite(request.param)


@pytest.fixture(params=DIGEST, ids=str)
def curve(request: pytest.FixtureRequest) -> Suite:
    return Suite(request.param)


def openssl(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    done = subprocess.run(
        ["openssl", *arguments], input=stdin, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return done.stdout


def accepts(*arguments: str | Path) -> bool:
    """Whether openssl calls a signature good; anything but a clear yes or no fails the test."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, check=False, timeout=60)
    said = (done.stdout + done.stderr).decode()
    good = "Signature Verified Successfully" in said or "Verified OK" in said
    bad = "Signature Verification Failure" in said or "Verification failure" in said
    assert good is not bad, said
    assert good is (done.returncode == 0)
    return good


def to_openssl(suite: Suite, signature: bytes) -> bytes:
    """The signature in the form openssl takes: DER for the curves."""
    if suite is Suite.ED25519:
        return signature
    der = der_from_raw(signature)
    assert der is not None
    return der


def from_openssl(suite: Suite, signature: bytes) -> bytes:
    return signature if suite is Suite.ED25519 else raw_from_der(signature)


@pytest.fixture
def message(tmp_path: Path) -> Path:
    path = tmp_path / "message"
    path.write_bytes(OCTETS)
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other"
    path.write_bytes(OCTETS[:-1])
    return path


@pytest.mark.spec("SU-1", "SU-6")
def test_openssl_verifies_our_signature(
    suite: Suite, tmp_path: Path, message: Path, other: Path
) -> None:
    key = private_key_from_entropy(suite, ENTROPY)
    public, signature = tmp_path / "public.der", tmp_path / "signature"
    public.write_bytes(key.public.spki)
    signature.write_bytes(to_openssl(suite, key.sign(OCTETS)))
    check = ["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", str(public), *RAW[suite]]
    assert accepts(*check, "-sigfile", signature, "-in", message)
    assert not accepts(*check, "-sigfile", signature, "-in", other)


def test_openssl_dgst_verifies_our_signature(
    curve: Suite, tmp_path: Path, message: Path, other: Path
) -> None:
    key = private_key_from_entropy(curve, ENTROPY)
    public, signature = tmp_path / "public.pem", tmp_path / "signature"
    public.write_bytes(openssl("pkey", "-pubin", "-inform", "DER", stdin=key.public.spki))
    signature.write_bytes(to_openssl(curve, key.sign(OCTETS)))
    check = ["dgst", *DIGEST[curve], "-verify", str(public), "-signature", str(signature)]
    assert accepts(*check, message)
    assert not accepts(*check, other)


@pytest.mark.spec("SU-1", "SU-2", "SU-6")
def test_we_verify_openssls_signature_and_read_its_keys(
    suite: Suite, tmp_path: Path, message: Path
) -> None:
    private = tmp_path / "private.pem"
    private.write_bytes(openssl("genpkey", *GENERATE[suite]))
    spki = openssl("pkey", "-in", private, "-pubout", "-outform", "DER")
    pkcs8 = openssl("pkcs8", "-topk8", "-nocrypt", "-in", private, "-outform", "DER")
    key = load_private_key(pkcs8)
    assert (key.suite, key.public) == (suite, load_public_key(suite, spki))

    signed = openssl("pkeyutl", "-sign", "-inkey", private, *RAW[suite], "-in", message)
    signature = from_openssl(suite, signed)
    assert key.public.verify(OCTETS, signature)
    assert not key.public.verify(OCTETS[:-1], signature)
    if suite in DIGEST:
        signed = openssl("dgst", *DIGEST[suite], "-sign", private, message)
        assert key.public.verify(OCTETS, from_openssl(suite, signed))


def test_openssl_reads_our_key_files_and_writes_the_same_octets(suite: Suite) -> None:
    key = private_key_from_entropy(suite, ENTROPY)
    der = ["-inform", "DER", "-outform", "DER"]
    assert openssl("pkey", *der, "-pubout", stdin=key.pkcs8()) == key.public.spki
    assert openssl("pkey", *der, "-pubin", stdin=key.public.spki) == key.public.spki
    again = openssl("pkcs8", "-topk8", "-nocrypt", *der, stdin=key.pkcs8())
    assert again == key.pkcs8()
    if suite in DIGEST:
        checked = openssl("pkey", "-inform", "DER", "-check", "-noout", stdin=key.pkcs8())
        assert b"Key is valid" in checked


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["clear", "encrypted"])
def test_openssl_reads_the_files_of_the_key_store(
    suite: Suite, passphrase: str | None, tmp_path: Path
) -> None:
    secret = passphrase.encode() if passphrase else None
    store = FileKeyStore.create(tmp_path / "keys", secret)
    public = store.create_key(KeyUse.RECEIPT, "420100", suite, ENTROPY, 0)
    path = tmp_path / "keys" / store.keys()[0].file
    spki = openssl(
        "pkey", "-in", path, "-passin", f"pass:{passphrase}", "-pubout", "-outform", "DER"
    )
    assert spki == public.spki


@pytest.mark.spec("SU-1")
def test_openssl_computes_the_same_digests(message: Path) -> None:
    for suite, name in ((Suite.SM2_SM3, "-sm3"), (Suite.P256, "-sha256")):
        assert openssl("dgst", name, "-binary", message) == digest(suite, OCTETS)
