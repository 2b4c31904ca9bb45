from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from node.carriers.https import Endpoint, HttpsTransport
from node.clock import SystemClock
from node.tls import TlsIdentity, client_context
from protocol.errors import UnavailableError
from protocol.reasons import Reason
from tests.integration.https_carrier.kit import (
    EZHOU,
    WUHAN,
    XIANGYANG,
    Engine,
    Raw,
    calling,
    connected,
    in_loop,
    listening,
    misbehaving,
    unused_port,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def turned_away(context: ssl.SSLContext, port: int) -> str:
    """Why a caller that says nothing is cut off in the handshake, as the listener notes it."""
    with structlog.testing.capture_logs() as logs:
        with contextlib.suppress(ConnectionError):
            async with connected(context, port) as caller:
                assert await caller.reader.read() == b""
        await asyncio.sleep(0)
    assert [entry["event"] for entry in logs] == ["caller turned away in the handshake"]
    assert logs[0]["address"] == "127.0.0.1"
    return str(logs[0]["error"])


@pytest.mark.spec("HT-2")
@in_loop
async def test_an_unknown_certificate_is_refused_in_the_handshake(
    make: Callable[[str], TlsIdentity], xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    stranger = make(WUHAN)  # says it is Wuhan; another key
    engine = Engine()
    async with listening(engine.exchange, xiangyang, pins) as listener:
        context = client_context(stranger, xiangyang.certificate)
        assert "CERTIFICATE_VERIFY_FAILED" in await turned_away(context, listener.port)
        async with calling(stranger, xiangyang.certificate, listener.port) as post:
            with pytest.raises(UnavailableError, match="connection was lost before an answer"):
                await post(b"frames")
    assert engine.posts == []


@pytest.mark.spec("HT-2")
@in_loop
async def test_no_certificate_is_refused_in_the_handshake(
    xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname = False
    nobody.load_verify_locations(cadata=xiangyang.certificate)
    async with listening(Engine().exchange, xiangyang, pins) as listener:
        why = await turned_away(nobody, listener.port)
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in why


@pytest.mark.spec("HT-1")
@in_loop
async def test_older_tls_is_refused(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    old = client_context(wuhan, xiangyang.certificate)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with listening(Engine().exchange, xiangyang, pins) as listener:
        assert "UNSUPPORTED_PROTOCOL" in await turned_away(old, listener.port)


@pytest.mark.spec("HT-4")
@in_loop
async def test_nobody_comes_in_again_by_the_session_he_had(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, pins: dict[str, bytes]
) -> None:
    context = client_context(wuhan, xiangyang.certificate)

    def dial(
        port: int, session: ssl.SSLSession | None = None
    ) -> tuple[ssl.SSLSession | None, bool | None]:
        """A connection over which a request was answered: tickets come before the answer."""
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, session=session) as caller,
        ):
            caller.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert caller.recv(4096).startswith(b"HTTP/1.1 404")
            return caller.session, caller.session_reused

    async with listening(Engine().exchange, xiangyang, pins) as listener:
        session, _ = await asyncio.to_thread(dial, listener.port)
        assert session is not None
        assert not session.has_ticket
        _, reused = await asyncio.to_thread(dial, listener.port, session)
    assert not reused


@pytest.mark.spec("HT-3")
@in_loop
async def test_another_pinned_node_in_the_peers_place_gets_no_frame(
    wuhan: TlsIdentity, xiangyang: TlsIdentity, ezhou: TlsIdentity, pins: dict[str, bytes]
) -> None:
    received: list[bytes] = []

    async def serve(caller: Raw) -> None:
        received.append(await caller.reader.read())

    async with (
        misbehaving(ezhou, pins, serve) as port,
        calling(wuhan, xiangyang.certificate, port) as post,
    ):
        with pytest.raises(UnavailableError, match="TLS: it does not show the certificate") as told:
            await post(b"frames")
    assert told.value.reason is Reason.PEER_UNREACHABLE
    assert b"".join(received) == b""


def certified(
    key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, folder: Path
) -> TlsIdentity:
    """A certificate for 420600 on the key; one that may issue others if it is self-signed."""
    own = key is by
    key_file, certificate_file = folder / f"{own}.key", folder / f"{own}.crt"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, XIANGYANG)])
    # One certificate with the name of its issuer would be taken for self-signed.
    subject = name if own else x509.Name([])
    now = dt.datetime.fromtimestamp(SystemClock().now_ms() // 1000, dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1 if own else 2)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=own, path_length=None), critical=True)
        .sign(by, hashes.SHA256())
    )
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    der = certificate.public_bytes(Encoding.DER)
    return TlsIdentity(XIANGYANG, der, certificate_file, key_file)


@pytest.mark.spec("HT-3")
@in_loop
async def test_what_a_pinned_certificate_vouches_for_is_not_that_peer(
    wuhan: TlsIdentity, tmp_path: Path
) -> None:
    key, other_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pinned, issued = certified(key, key, tmp_path), certified(other_key, key, tmp_path)
    received: list[bytes] = []

    async def serve(caller: Raw) -> None:
        received.append(await caller.reader.read())

    async with (
        misbehaving(issued, {WUHAN: wuhan.certificate}, serve) as port,
        calling(wuhan, pinned.certificate, port) as post,
    ):
        with pytest.raises(UnavailableError, match="TLS: it does not show the certificate"):
            await post(b"frames")
    assert b"".join(received) == b""

    engine = Engine()
    async with (
        listening(engine.exchange, wuhan, {XIANGYANG: pinned.certificate}) as listener,
        calling(issued, wuhan.certificate, listener.port) as post,
    ):
        with pytest.raises(UnavailableError, match="HTTP 403: this certificate is pinned for no"):
            await post(b"frames")
    assert engine.posts == []


@pytest.mark.spec("HT-2")
@in_loop
async def test_a_peer_is_known_by_its_certificate_not_by_the_name_in_it(
    make: Callable[[str], TlsIdentity], wuhan: TlsIdentity, xiangyang: TlsIdentity
) -> None:
    namesake = make(WUHAN)
    engine = Engine()
    peers = {WUHAN: wuhan.certificate, EZHOU: namesake.certificate}
    async with listening(engine.exchange, xiangyang, peers) as listener:
        for caller in (namesake, wuhan):
            async with calling(caller, xiangyang.certificate, listener.port) as post:
                await post(b"frames")
    assert [peer for peer, _ in engine.posts] == [EZHOU, WUHAN]


@pytest.mark.spec("HT-5")
@in_loop
async def test_a_certificate_pinned_for_two_nodes_is_neither(
    wuhan: TlsIdentity, xiangyang: TlsIdentity
) -> None:
    peers = {WUHAN: wuhan.certificate, EZHOU: wuhan.certificate}
    engine = Engine()
    async with (
        listening(engine.exchange, xiangyang, peers) as listener,
        calling(wuhan, xiangyang.certificate, listener.port) as post,
    ):
        with pytest.raises(UnavailableError, match="HTTP 403"):
            await post(b"frames")
    assert engine.posts == []


@in_loop
async def test_without_peers_nobody_is_served(wuhan: TlsIdentity, xiangyang: TlsIdentity) -> None:
    async with listening(Engine().exchange, xiangyang, {}) as listener:
        context = client_context(wuhan, xiangyang.certificate)
        assert "CERTIFICATE_VERIFY_FAILED" in await turned_away(context, listener.port)


@in_loop
async def test_nothing_is_posted_without_tls_or_to_a_broken_pin(wuhan: TlsIdentity) -> None:
    peers = {
        XIANGYANG: Endpoint(f"http://127.0.0.1:{unused_port()}", wuhan.certificate),
        EZHOU: Endpoint(f"https://127.0.0.1:{unused_port()}", b"not a certificate"),
    }
    transport = HttpsTransport(wuhan, peers)
    with pytest.raises(UnavailableError, match="not of the form https"):
        await transport.post(XIANGYANG, b"frames")
    with pytest.raises(UnavailableError, match=r"is not one X\.509 certificate"):
        await transport.post(EZHOU, b"frames")
    with pytest.raises(UnavailableError, match="node 430100 has no endpoint"):
        await transport.post("430100", b"frames")
    await transport.close()
