"""P-256 envelopes both ways with the xmlsec1 command; see docs/signature-interop.md."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from lxml import etree

from protocol.errors import RefusedError
from protocol.reasons import Reason
from signing.keys import KeyUse
from signing.profile import DS
from tests.messages import (
    WUHAN,
    XIANGYANG,
    authority_of,
    envelope,
    keys_of,
    message_id,
    signed_by_sender,
    verified,
)

if TYPE_CHECKING:
    from pathlib import Path

    from signing.suites import PrivateKey

KEYS = keys_of([WUHAN, XIANGYANG])
MESSAGE = envelope(
    KEYS,
    in_reply_to=message_id(9),
    trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
OCTETS = signed_by_sender(MESSAGE, KEYS)
KEY = KEYS.secrets[MESSAGE.header.sender.key]
OTHER_KEY = KEYS.secrets[KEYS.find(KeyUse.ENVELOPE, authority_of(XIANGYANG))]


def xmlsec1(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run the command; nothing outside the document may be referred to."""
    only_the_document = ("--enabled-reference-uris", "empty", *lax_key_search())
    command = ["xmlsec1", arguments[0], *only_the_document, *arguments[1:]]
    return subprocess.run(command, capture_output=True, check=False, timeout=60)


@cache
def lax_key_search() -> tuple[str, ...]:
    """Since 1.3 a key given on the command line is not tried without KeyInfo unless asked for."""
    done = subprocess.run(
        ["xmlsec1", "--help-verify"], capture_output=True, check=False, timeout=60
    )
    return ("--lax-key-search",) if b"--lax-key-search" in done.stdout else ()


def key_files(key: PrivateKey, folder: Path) -> tuple[Path, Path]:
    """The private and the public key as PEM files."""
    loaded = load_der_private_key(key.pkcs8(), None)
    private, public = folder / "private.pem", folder / "public.pem"
    private.write_bytes(
        loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    public.write_bytes(
        loaded.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def check(octets: bytes, folder: Path, key: PrivateKey = KEY) -> bool:
    """Whether xmlsec1 takes the envelope as signed by this key."""
    _, public = key_files(key, folder)
    document = folder / "envelope.xml"
    document.write_bytes(octets)
    done = xmlsec1("--verify", "--pubkey-pem", public, document)
    return done.returncode == 0


def signed_by_xmlsec1(folder: Path, key: PrivateKey = KEY) -> bytes:
    """What xmlsec1 writes when it fills digest and signature into our template."""
    template = re.sub(rb"<ds:(DigestValue|SignatureValue)>[^<]*<", rb"<ds:\1><", OCTETS)
    private, _ = key_files(key, folder)
    document, result = folder / "template.xml", folder / "signed.xml"
    document.write_bytes(template)
    done = xmlsec1("--sign", "--privkey-pem", private, "--output", result, document)
    assert done.returncode == 0, done.stderr.decode()
    return result.read_bytes()


def normalise(octets: bytes) -> bytes:
    """The one step from what a signing tool writes to the wire form.

    Read the document, take the line wraps out of SignatureValue, write exclusive c14n.
    """
    root = etree.fromstring(octets, etree.XMLParser(resolve_entities=False, no_network=True))
    for value in root.iter(f"{{{DS}}}SignatureValue"):
        value.text = "".join((value.text or "").split())
    return etree.tostring(root, method="c14n", exclusive=True)


@pytest.mark.spec("SG-12", "SG-13", "SG-14")
def test_xmlsec1_verifies_what_we_sign(tmp_path: Path) -> None:
    assert check(OCTETS, tmp_path)
    assert verified(OCTETS, KEYS).envelope == MESSAGE


@pytest.mark.spec("SG-12", "SG-13", "SG-14")
def test_we_verify_what_xmlsec1_signs_after_the_one_step(tmp_path: Path) -> None:
    written = signed_by_xmlsec1(tmp_path)
    # Declaration, empty-element tags and wrapped base64: not the wire form.
    with pytest.raises(RefusedError) as caught:
        verified(written, KEYS)
    assert caught.value.reason is Reason.NOT_CANONICAL
    result = verified(normalise(written), KEYS)
    assert result.envelope == MESSAGE
    # ECDSA draws another number each time; the identity of the content is the same.
    assert result.octets != OCTETS
    assert result.message_digest == verified(OCTETS, KEYS).message_digest
    assert check(result.octets, tmp_path)


def test_the_step_changes_nothing_in_what_is_on_the_wire_already() -> None:
    assert normalise(OCTETS) == OCTETS


@pytest.mark.spec("SG-9", "SG-10")
@pytest.mark.parametrize("signer", ["ours", "theirs"])
@pytest.mark.parametrize(
    ("pattern", "replacement", "reason"),
    [
        (rb'node="420600"', rb'node="420601"', Reason.DIGEST_MISMATCH),
        (rb"2026-12-22", rb"2026-12-23", Reason.DIGEST_MISMATCH),
        (rb'sequence="1"', rb'sequence="2"', Reason.DIGEST_MISMATCH),
        (rb"(<ds:DigestValue>)....", rb"\1AAAA", Reason.DIGEST_MISMATCH),
        (rb"(<ds:SignatureValue>)....", rb"\1AAAA", Reason.SIGNATURE_INVALID),
    ],
)
def test_a_tampered_envelope_is_refused_by_both(
    signer: str, pattern: bytes, replacement: bytes, reason: Reason, tmp_path: Path
) -> None:
    octets = OCTETS if signer == "ours" else normalise(signed_by_xmlsec1(tmp_path))
    assert check(octets, tmp_path)
    tampered = re.sub(pattern, replacement, octets)
    assert not check(tampered, tmp_path)
    with pytest.raises(RefusedError) as caught:
        verified(tampered, KEYS)
    assert caught.value.reason is reason


@pytest.mark.spec("SG-10")
def test_another_key_is_refused_by_both(tmp_path: Path) -> None:
    assert not check(OCTETS, tmp_path, OTHER_KEY)
    forged = normalise(signed_by_xmlsec1(tmp_path, OTHER_KEY))
    assert check(forged, tmp_path, OTHER_KEY)
    assert not check(forged, tmp_path)
    with pytest.raises(RefusedError) as caught:
        verified(forged, KEYS)
    assert caught.value.reason is Reason.SIGNATURE_INVALID
