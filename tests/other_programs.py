"""XML signatures in the hands of programs nobody here wrote: xmlsec1, signxml and the JDK.

Each is called as its own documentation has it, with its defaults and the key given from outside.
"""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.signer import XMLSigner
from signxml.verifier import XMLVerifier

from protocol.proof import Single
from signing.profile import DS, EXCLUSIVE_C14N, SIGNATURE_URI, attach
from signing.suites import Suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signing.suites import PrivateKey

_ENVELOPES: Final = Path(__file__).parent / "integration" / "jdk" / "Envelopes.java"
_JAVA_NAMES: Final = {Suite.P256: "EC", Suite.ED25519: "Ed25519"}
_WITH_IDS: Final = ("Envelope", "Header", "Parts", "Object")


class Program(Protocol):
    """A program that checks and makes XML signatures."""

    suites: tuple[Suite, ...]

    def name(self) -> str:
        """Which program and version it is."""

    def accepted(self, files: Sequence[Path], key: PrivateKey) -> set[Path]:
        """Those documents it takes as signed by this key."""

    def signed(self, content: bytes, key: PrivateKey) -> bytes:
        """What it writes when it signs an envelope's content by the template."""


def normalise(octets: bytes) -> bytes:
    """The one step from what a signing tool writes to the wire form.

    Read the document, take white space out of SignatureValue and KeyInfo out of the signature,
    write exclusive c14n.
    """
    root = etree.fromstring(octets, etree.XMLParser(resolve_entities=False, no_network=True))
    for value in root.iter(f"{{{DS}}}SignatureValue"):
        value.text = "".join((value.text or "").split())
    for signature in root.findall(f"{{{DS}}}Signature"):
        for info in signature.findall(f"{{{DS}}}KeyInfo"):
            signature.remove(info)
    return etree.tostring(root, method="c14n", exclusive=True)


class Xmlsec1:
    """The command of the XML Security Library."""

    suites: tuple[Suite, ...] = (Suite.P256,)

    def __init__(self, folder: Path, *options: str) -> None:
        """Work in this folder; the options go with every call."""
        self._folder = folder
        self._options = options
        told = _run("xmlsec1", "--help-verify").stdout
        if b"--lax-key-search" in told:
            # Since 1.3 a key given on the command line is not tried without KeyInfo unless asked.
            self._options += ("--lax-key-search",)

    def name(self) -> str:
        return f"xmlsec1 {_number(_run('xmlsec1', '--version').stdout)}"

    def accepted(self, files: Sequence[Path], key: PrivateKey) -> set[Path]:
        _, public = self._pem_files(key)
        ids = [word for name in _WITH_IDS for word in ("--id-attr:Id", name)]
        command = ["xmlsec1", "--verify", *self._options, *ids, "--pubkey-pem", str(public)]
        accepted: set[Path] = set()
        pending = list(files)
        while pending:  # it ends at the first it refuses
            done = _run(*command, *pending)
            good = done.stderr.decode(errors="replace").splitlines().count("OK")
            assert (good == len(pending)) is (done.returncode == 0)
            accepted.update(pending[:good])
            pending = pending[good + 1 :]
        return accepted

    def signed(self, content: bytes, key: PrivateKey) -> bytes:
        template = attach(content, Suite.P256, b"", Single(b""))
        private, _ = self._pem_files(key)
        document, result = self._folder / "template.xml", self._folder / "signed.xml"
        document.write_bytes(template)
        given = ("--privkey-pem", private, "--output", result, document)
        done = _run("xmlsec1", "--sign", *self._options, *given)
        assert done.returncode == 0, done.stderr.decode()
        return result.read_bytes()

    def _pem_files(self, key: PrivateKey) -> tuple[Path, Path]:
        loaded = _p256(key)
        private, public = self._folder / "private.pem", self._folder / "public.pem"
        secret = loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        point = loaded.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        private.write_bytes(secret)
        public.write_bytes(point)
        return private, public


class Signxml:
    """The Python library; it takes a key only inside a certificate, and always writes KeyInfo."""

    suites: tuple[Suite, ...] = (Suite.P256,)

    def name(self) -> str:
        return f"signxml {version('signxml')}"

    def accepted(self, files: Sequence[Path], key: PrivateKey) -> set[Path]:
        pinned = _certificate(_p256(key))
        return {file for file in files if self._takes(file.read_bytes(), pinned)}

    def signed(self, content: bytes, key: PrivateKey) -> bytes:
        signer = XMLSigner(
            signature_algorithm=SignatureMethod.ECDSA_SHA256,
            c14n_algorithm=CanonicalizationMethod(EXCLUSIVE_C14N),
        )
        return etree.tostring(signer.sign(etree.fromstring(content), key=_p256(key)))

    @staticmethod
    def _takes(octets: bytes, pinned: x509.Certificate) -> bool:
        try:
            XMLVerifier().verify(octets, x509_cert=pinned)
        except (SignXMLException, etree.LxmlError, ValueError, TypeError, SyntaxError):
            return False  # it lets errors of its libraries through
        return True


class Jdk:
    """javax.xml.crypto.dsig with secure validation, by the little program beside the tests."""

    suites: tuple[Suite, ...] = (Suite.P256, Suite.ED25519)

    def __init__(self, folder: Path) -> None:
        """Compile into this folder and work in it."""
        self._folder = folder
        done = _run("javac", "-d", folder, _ENVELOPES)
        assert done.returncode == 0, done.stderr.decode()

    def name(self) -> str:
        return f"JDK {_number(_run('java', '--version').stdout)}"

    def accepted(self, files: Sequence[Path], key: PrivateKey) -> set[Path]:
        public = self._folder / "public.der"
        public.write_bytes(key.public.spki)
        lines = self._java("verify", _JAVA_NAMES[key.suite], public, *files)
        assert len(lines) == len(files)
        return {file for file, line in zip(files, lines, strict=True) if line == f"true {file}"}

    def signed(self, content: bytes, key: PrivateKey) -> bytes:
        private, document, result = (
            self._folder / name for name in ("private.der", "content.xml", "signed.xml")
        )
        private.write_bytes(key.pkcs8())
        document.write_bytes(content)
        names = _JAVA_NAMES[key.suite], SIGNATURE_URI[key.suite]
        self._java("sign", *names, private, document, result)
        return result.read_bytes()

    def _java(self, *arguments: str | Path) -> list[str]:
        quickly = ("-XX:TieredStopAtLevel=1", "-Xshare:auto")
        done = _run("java", *quickly, "-cp", self._folder, "Envelopes", *arguments)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().splitlines()


def _run(*command: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, check=False, timeout=120)


def _number(told: bytes) -> str:
    found = re.search(rb"\d+(\.\d+)+", told)
    return found[0].decode() if found else "of unknown version"


def _p256(key: PrivateKey) -> ec.EllipticCurvePrivateKey:
    loaded = load_der_private_key(key.pkcs8(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return loaded


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "420100")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2035, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
