"""The TLS of a node: who it is on the wire, and whom it believes.

Decided:

* **Pins, no authorities.** The directory lists one certificate per node, and a node is whoever
  holds that certificate's key. A peer is recognised by the octets of its certificate, never by a
  name in it.
* **The check is made twice.** The handshake trusts exactly the pinned certificates, which keeps
  strangers out; afterwards the presented certificate is compared with the pin, octet by octet,
  because a pinned certificate that is a certification authority could vouch for others.
* **TLS 1.3 only.** Both ends are this software, so nothing older has to be spoken; 1.2 would show
  the nodes' certificates to the wire and bring renegotiation back.
* **No resumption.** A resumed session skips the certificates; a node struck off would stay in.

TLS is the private channel, not the proof: what counts later are the signatures inside.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from node.config import ConfigError, Problem
from protocol.errors import LocalUseError, RefusedError
from protocol.identifiers import is_region
from protocol.reasons import Reason

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

CERTIFICATE_FILE: Final = "node.crt"
KEY_FILE: Final = "node.key"
_KEY_MODE: Final = 0o600
_LIFETIME: Final = dt.timedelta(days=3653)
# A peer whose clock is behind must not take a new certificate for one of the future.
_BACKDATED: Final = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """A node's own certificate and where its files are.

    Attributes:
        node: The node id, as in the certificate's CN.
        certificate: DER; what the directory lists and peers pin.
        certificate_file: The same as PEM.
        key_file: The private key: PEM, PKCS#8, for its owner only.
    """

    node: str
    certificate: bytes
    certificate_file: Path
    key_file: Path


def create_identity(
    directory: Path, node_id: str, hosts: Sequence[str], now_ms: int
) -> TlsIdentity:
    """Make a key (P-256) and its self-signed certificate, valid for ten years, and store both.

    The certificate is written last: a key without one is left from a try that was cut short, and
    is replaced.

    Args:
        directory: Where the two files go; made if it is missing.
        node_id: Region code of the node.
        hosts: Names and addresses that peers reach the node by; `localhost` is added. For people
            and tools: our own peers go by the pin alone.
        now_ms: The present.

    Raises:
        ConfigError: there is a certificate already.
        LocalUseError: not a node id.
    """
    if not is_region(node_id):
        message = f"{node_id!r} is not a node id"
        raise LocalUseError(message)
    identity_file, key_file = directory / CERTIFICATE_FILE, directory / KEY_FILE
    if identity_file.exists():
        remedy = "keep it: peers pin it; to replace it, move it away, then publish the new one"
        raise ConfigError([Problem(identity_file, None, "there is a certificate already", remedy)])
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(key, node_id, hosts, now_ms)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(key_file, pkcs8, _KEY_MODE)
    _write(identity_file, certificate.public_bytes(Encoding.PEM), 0o644)
    return TlsIdentity(node_id, certificate.public_bytes(Encoding.DER), identity_file, key_file)


def load_identity(directory: Path, node_id: str) -> TlsIdentity:
    """Read what `create_identity` stored.

    Raises:
        ConfigError: a file is missing or broken, the key is another's or open to others, or the
            certificate names another node.
    """
    certificate_file, key_file = directory / CERTIFICATE_FILE, directory / KEY_FILE
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        mode = key_file.stat().st_mode
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate_file, key_file)
    except FileNotFoundError as error:
        missing = key_file if certificate_file.exists() else certificate_file
        remedy = "make the node's identity with `run_node.py init`, or correct [tls] directory"
        raise ConfigError([Problem(missing, None, "there is no such file", remedy)]) from error
    except (OSError, ValueError) as error:
        what = f"not a certificate with its key in {KEY_FILE}: {error}"
        remedy = "restore both files from the same backup"
        raise ConfigError([Problem(certificate_file, None, what, remedy)]) from error
    if mode & 0o077:
        what, remedy = f"others may read it (mode {mode & 0o777:o})", f"chmod 600 {key_file}"
        raise ConfigError([Problem(key_file, None, what, remedy)])
    names = [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [node_id]:
        what = f"made out to {', '.join(map(str, names)) or 'nobody'}, but this node is {node_id}"
        remedy = "correct [node] id or [tls] directory"
        raise ConfigError([Problem(certificate_file, None, what, remedy)])
    der = certificate.public_bytes(Encoding.DER)
    return TlsIdentity(node_id, der, certificate_file, key_file)


def server_context(identity: TlsIdentity, peers: Mapping[str, bytes]) -> ssl.SSLContext:
    """The listener's side: a client certificate is required, and has to be one of the pinned.

    Args:
        identity: This node's.
        peers: Node id to certificate, DER.

    Raises:
        RefusedError: KEY_MALFORMED: one of them is not a certificate.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, identity)
    context.num_tickets = 0
    _trust(context, [(f"node {node}", pinned) for node, pinned in peers.items()])
    return context


def client_context(identity: TlsIdentity, peer_certificate: bytes) -> ssl.SSLContext:
    """The caller's side: trusts exactly this one certificate, DER.

    Host names are not checked: they would only say that somebody once vouched for a name, while the
    pin says which key it has to be. A node that moves to another address stays the same node.

    Raises:
        RefusedError: KEY_MALFORMED: not a certificate.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, identity)
    _trust(context, [("the peer", peer_certificate)])
    return context


def peer_of(transport: asyncio.BaseTransport | None, peers: Mapping[str, bytes]) -> str | None:
    """The node at the other end by its certificate; None if that is pinned for none, or several."""
    tls = transport.get_extra_info("ssl_object") if transport else None
    presented = tls.getpeercert(binary_form=True) if tls else None
    nodes = [node for node, pinned in peers.items() if pinned == presented]
    return nodes[0] if len(nodes) == 1 else None


def _context(protocol: ssl._SSLMethod, identity: TlsIdentity) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    # The pin ends the chain: a city may also have a certificate pinned that an authority issued.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_cert_chain(identity.certificate_file, identity.key_file)
    return context


def _trust(context: ssl.SSLContext, pinned: Iterable[tuple[str, bytes]]) -> None:
    certificates: list[bytes] = []
    for whose, certificate in pinned:
        try:
            x509.load_der_x509_certificate(certificate)
        except ValueError as error:
            detail = f"the TLS certificate of {whose} is not one X.509 certificate in DER"
            raise RefusedError(Reason.KEY_MALFORMED, detail) from error
        certificates.append(certificate)
    if certificates:
        context.load_verify_locations(cadata=b"".join(certificates))


def _self_signed(
    key: ec.EllipticCurvePrivateKey, node_id: str, hosts: Sequence[str], now_ms: int
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_id)])
    alternatives: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(f"urn:tongban:node:{node_id}"),
        *(_host_name(host) for host in dict.fromkeys(("localhost", *hosts))),
    ]
    now = dt.datetime.fromtimestamp(now_ms // 1000, dt.UTC)
    both_sides = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both_sides), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host.encode("idna").decode("ascii"))


def _write(path: Path, octets: bytes, mode: int) -> None:
    """Whole or not at all: a reader never sees half a file, nor a key that is open for a moment."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
