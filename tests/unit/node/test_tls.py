from __future__ import annotations

import ipaddress
import shutil
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from node.config import ConfigError
from node.tls import client_context, create_identity, load_identity, peer_of, server_context
from protocol.errors import LocalUseError, RefusedError
from protocol.reasons import Reason

if TYPE_CHECKING:
    from pathlib import Path

NOW_MS = 1_795_316_400_123  # 2026-11-22T03:00:00.123Z
NOW = datetime.fromtimestamp(NOW_MS // 1000, UTC)


def test_an_identity_is_what_load_reads_back(tmp_path: Path) -> None:
    made = create_identity(tmp_path / "a" / "tls", "420100", [], NOW_MS)
    assert load_identity(tmp_path / "a" / "tls", "420100") == made
    assert made.node == "420100"


def test_the_certificate_names_the_node_and_lasts_ten_years(tmp_path: Path) -> None:
    hosts = ["wuhan.example", "192.0.2.7", "localhost", "武汉.example"]
    identity = create_identity(tmp_path, "420100", hosts, NOW_MS)
    certificate = x509.load_der_x509_certificate(identity.certificate)
    assert certificate.subject.rfc4514_string() == "CN=420100"
    assert certificate.issuer == certificate.subject
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert certificate.not_valid_before_utc <= NOW - timedelta(hours=1), "clocks may be behind"
    assert certificate.not_valid_after_utc >= NOW.replace(year=NOW.year + 10)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:tongban:node:420100"]
    assert names.get_values_for_type(x509.DNSName) == [
        *("localhost", "wuhan.example", "xn--5lwws.example")
    ]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("192.0.2.7")]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca, "it may vouch for nobody"


def test_the_key_is_for_its_owner_only(tmp_path: Path) -> None:
    identity = create_identity(tmp_path, "420100", [], NOW_MS)
    assert identity.key_file.stat().st_mode & 0o777 == 0o600
    identity.key_file.chmod(0o640)
    with pytest.raises(ConfigError, match=r"others may read it \(mode 640\)") as error:
        load_identity(tmp_path, "420100")
    assert error.value.problems[0].remedy == f"chmod 600 {identity.key_file}"


def test_an_identity_in_use_is_never_replaced(tmp_path: Path) -> None:
    first = create_identity(tmp_path, "420100", [], NOW_MS)
    with pytest.raises(ConfigError, match="there is a certificate already"):
        create_identity(tmp_path, "420100", [], NOW_MS)
    assert load_identity(tmp_path, "420100") == first


def test_a_try_that_was_cut_short_is_made_good(tmp_path: Path) -> None:
    (tmp_path / "node.key").write_text("half a k")
    (tmp_path / ".node.crt.new").write_text("half a c")
    made = create_identity(tmp_path, "420100", [], NOW_MS)
    assert load_identity(tmp_path, "420100") == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["node.crt", "node.key"]


def test_only_a_node_gets_an_identity(tmp_path: Path) -> None:
    with pytest.raises(LocalUseError):
        create_identity(tmp_path, "Wuhan", [], NOW_MS)


@pytest.mark.parametrize("lost", ["node.crt", "node.key"])
def test_a_missing_file_is_named(tmp_path: Path, lost: str) -> None:
    create_identity(tmp_path, "420100", [], NOW_MS)
    (tmp_path / lost).unlink()
    with pytest.raises(ConfigError, match="there is no such file") as error:
        load_identity(tmp_path, "420100")
    assert error.value.problems[0].file == tmp_path / lost


def test_the_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    create_identity(tmp_path / "a", "420100", [], NOW_MS)
    other = create_identity(tmp_path / "b", "420100", [], NOW_MS)
    shutil.copy(other.key_file, tmp_path / "a" / "node.key")
    with pytest.raises(ConfigError, match="not a certificate with its key"):
        load_identity(tmp_path / "a", "420100")
    other.certificate_file.write_text("-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(ConfigError, match="not a certificate with its key"):
        load_identity(tmp_path / "b", "420100")


def test_the_identity_of_another_node_is_refused(tmp_path: Path) -> None:
    create_identity(tmp_path, "420100", [], NOW_MS)
    with pytest.raises(ConfigError, match="made out to 420100, but this node is 420600"):
        load_identity(tmp_path, "420600")


def test_a_pin_is_exactly_one_certificate(tmp_path: Path) -> None:
    identity = create_identity(tmp_path, "420100", [], NOW_MS)
    der = identity.certificate
    for pin in (b"", b"no", der[:-1], der + der, identity.certificate_file.read_bytes()):
        with pytest.raises(RefusedError, match="of node 420600 is not one X") as error:
            server_context(identity, {"420100": der, "420600": pin})
        assert error.value.reason is Reason.KEY_MALFORMED
        with pytest.raises(RefusedError, match="of the peer is not one X"):
            client_context(identity, pin)


@pytest.mark.spec("HT-1", "HT-4")
def test_both_sides_insist_on_tls_1_3_and_a_pinned_certificate(tmp_path: Path) -> None:
    identity = create_identity(tmp_path, "420100", [], NOW_MS)
    server = server_context(identity, {"420100": identity.certificate})
    client = client_context(identity, identity.certificate)
    for context in (server, client):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert (
            context.get_ca_certs(binary_form=True) == [] or context.cert_store_stats()["x509"] == 1
        )
    assert server.num_tickets == 0, "a resumed session would skip the certificates"


def test_without_tls_nobody_is_recognised() -> None:
    assert peer_of(None, {"420100": b""}) is None
