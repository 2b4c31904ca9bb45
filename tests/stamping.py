"""A time-stamping authority (RFC 3161) that nobody here wrote: `openssl ts`, with its own keys."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

if TYPE_CHECKING:
    from pathlib import Path

_CONFIG: Final = """\
[req]
distinguished_name = dn
prompt = no
[dn]
CN = Sample TSA root
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[signer]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[tsa]
serial = serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.3.6.1.4.1.55555.1
other_policies = 1.3.6.1.4.1.55555.2
digests = sha256
accuracy = {accuracy}
ess_cert_id_alg = sha256
"""
_NEW_KEY: Final = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config tsa.cnf"


@dataclass(frozen=True, slots=True)
class Tsa:
    """The authority's folder; a `StampAuthority`."""

    folder: Path

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """What it is believed under."""
        return tuple(x509.load_pem_x509_certificates(self.pem))

    @property
    def pem(self) -> bytes:
        """The same as a file."""
        return (self.folder / "root.pem").read_bytes()

    async def answer(self, query: bytes) -> bytes:
        """See `node.ports.StampAuthority.answer`."""
        return self.reply(query)

    def reply(self, query: bytes) -> bytes:
        """Its response to a query, DER."""
        (self.folder / "query.tsq").write_bytes(query)
        _openssl(
            self.folder,
            "ts -reply -config tsa.cnf -section tsa -queryfile query.tsq"
            " -signer tsa.pem -inkey tsa.key -out reply.tsr",
        )
        return (self.folder / "reply.tsr").read_bytes()

    def stamp(self, octets: bytes, algorithm: HashAlgorithm = HashAlgorithm.SHA256) -> bytes:
        """A stamp over these octets."""
        builder = TimestampRequestBuilder().data(octets).hash_algorithm(algorithm)
        return self.reply(builder.build().as_bytes())


def make_tsa(folder: Path, accuracy: str = "secs:1, millisecs:500") -> Tsa:
    """An authority with a root and a certificate for stamping, both of today."""
    folder.mkdir(parents=True)
    (folder / "tsa.cnf").write_text(_CONFIG.format(accuracy=accuracy), encoding="ascii")
    (folder / "serial").write_text("01\n", encoding="ascii")
    _openssl(
        folder, f"req -x509 {_NEW_KEY} -keyout root.key -out root.pem -days 3650 -extensions ca"
    )
    _openssl(folder, f"req {_NEW_KEY} -keyout tsa.key -out tsa.csr -subj /CN=Sample-TSA")
    _openssl(
        folder,
        "x509 -req -in tsa.csr -CA root.pem -CAkey root.key -CAcreateserial -out tsa.pem"
        " -days 365 -extfile tsa.cnf -extensions signer",
    )
    return Tsa(folder)


def _openssl(folder: Path, arguments: str) -> None:
    run = subprocess.run(
        ["openssl", *arguments.split()], cwd=folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
