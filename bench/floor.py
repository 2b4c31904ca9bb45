"""The floor: what an exchange costs with nothing but its cryptography, its XML and its disk.

Two processes, the node's own mutual TLS between them, the octets of messages a real run left in
its store. Per batch of messages the sender digests contents and bodies, makes as many private-key
signatures as the real run made for them, writes everything in one durable commit and posts it. The
receiver parses, validates and canonicalises each envelope and body, digests both, verifies those
signatures, writes everything and one signed answer in one durable commit, and answers; the sender
verifies the answer's signature and commits once more. No frames but lengths, no routing, no case,
no log, no timetable, no duplicates: whatever a node does on top is the difference.

    python -m bench.floor HOME-OF-RECEIVER SUITE     the receiver, until standard input ends
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import struct
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lxml import etree

import schemas
from bench.pair import RECEIVER, SENDER
from bench.result import AuditError
from node.carriers.https import Endpoint, HttpsTransport, PeerListener
from node.config import load_config
from node.tls import load_identity
from signing.suites import Suite, digest, private_key_from_entropy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bench.pair import Pair
    from node.config import Config
    from signing.suites import PrivateKey

BATCH: Final = 256
IN_FLIGHT: Final = 2  # one is worked on at each end
_LENGTHS: Final = struct.Struct(">III")
_SIGNATURE: Final = 64
_ROOT: Final = 120  # octets that one signature over a batch covers
_RECEIPT: Final = 160  # octets of one receipt before its proof
_ECHO: Final = b"\xff\xff\xff\xff"  # no post has so many signatures
_CLOSING: Final = b"</Envelope>"
_SIGNATURE_TAG: Final = b"<ds:Signature "


@dataclass(frozen=True, slots=True)
class Carried:
    """One message of a real run.

    Attributes:
        envelope: Its signed envelope.
        body: Its body.
        root: What names the private-key signature it was made under.
    """

    envelope: bytes
    body: bytes
    root: bytes


def key_of(suite: Suite) -> PrivateKey:
    """A key of this suite; always the same one."""
    return private_key_from_entropy(suite, bytes(range(64)))


class Disk:
    """A table of octets, written as the node's store writes: WAL, synchronous FULL."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA wal_autocheckpoint=0")
        self._connection.execute(
            "CREATE TABLE message (id BLOB PRIMARY KEY, envelope BLOB, body BLOB, receipt BLOB)"
        )

    def insert(self, rows: Sequence[tuple[bytes, bytes, bytes, bytes | None]]) -> None:
        """Write messages in one commit."""
        self._commit("INSERT INTO message VALUES (?, ?, ?, ?)", rows)

    def settle(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Write what was said about messages, in one commit."""
        self._commit("UPDATE message SET receipt = ? WHERE id = ?", rows)

    def _commit(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(statement, rows)
        self._connection.execute("COMMIT")


def _pack(messages: Sequence[Carried], signatures: Sequence[bytes]) -> bytes:
    pieces = [struct.pack(">I", len(signatures)), *signatures]
    for message in messages:
        pieces += [
            _LENGTHS.pack(len(message.envelope), len(message.body), 0),
            message.envelope,
            message.body,
        ]
    return b"".join(pieces)


def _unpack(octets: bytes) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    (count,) = struct.unpack_from(">I", octets)
    place = 4
    signatures = [octets[place + _SIGNATURE * i :][:_SIGNATURE] for i in range(count)]
    place += _SIGNATURE * count
    messages = []
    while place < len(octets):
        envelope, body, _ = _LENGTHS.unpack_from(octets, place)
        place += _LENGTHS.size
        messages.append((octets[place : place + envelope], octets[place + envelope :][:body]))
        place += envelope + body
    return messages, signatures


def _content(envelope: bytes) -> bytes:
    return envelope[: envelope.rfind(_SIGNATURE_TAG)] + _CLOSING


class _Receiver:
    """Takes batches."""

    def __init__(self, suite: Suite, folder: Path) -> None:
        self._suite = suite
        self._key = key_of(suite)
        self._disk = Disk(folder / "receiver.db")
        self._schemas = schemas.compiled()
        self._parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)

    async def take(self, _peer: str, octets: bytes) -> bytes:
        """One post; what begins like an echo is answered at once."""
        if octets.startswith(_ECHO):
            return bytes(_SIGNATURE + _RECEIPT)
        messages, signatures = _unpack(octets)
        public = self._key.public
        if not all(public.verify(bytes(_ROOT), signature) for signature in signatures):
            raise AuditError("a signature of the floor does not verify")
        rows = []
        for envelope, body in messages:
            self._read(envelope)
            message_digest = digest(self._suite, _content(envelope))
            self._read(body)
            digest(self._suite, body)
            rows.append((message_digest, envelope, body, bytes(_RECEIPT)))
        signature = self._key.sign(bytes(_ROOT))
        self._disk.insert(rows)
        return signature + bytes(_RECEIPT * len(rows))

    def _read(self, octets: bytes) -> None:
        root = etree.fromstring(octets, self._parser)
        namespace = etree.QName(root).namespace
        if not self._schemas[str(namespace)].validate(root):
            raise AuditError("the floor's message is not valid")
        if etree.tostring(root, method="c14n", exclusive=True, with_comments=False) != octets:
            raise AuditError("the floor's message is not canonical")


class _Sender:
    """Makes batches and hands them over."""

    def __init__(self, suite: Suite, folder: Path, transport: HttpsTransport) -> None:
        self._suite = suite
        self._key = key_of(suite)
        self._disk = Disk(folder / "sender.db")
        self._transport = transport

    async def send(self, messages: Sequence[Carried]) -> None:
        """One batch, until its answer is on disk."""
        ids = [digest(self._suite, _content(message.envelope)) for message in messages]
        for message in messages:
            digest(self._suite, message.body)
        roots = {message.root for message in messages}
        signatures = [self._key.sign(bytes(_ROOT)) for _ in roots]
        self._disk.insert(
            [(row, m.envelope, m.body, None) for row, m in zip(ids, messages, strict=True)]
        )
        answer = await self._transport.post(RECEIVER, _pack(messages, signatures))
        if not self._key.public.verify(bytes(_ROOT), answer[:_SIGNATURE]):
            raise AuditError("the floor's answer does not verify")
        receipts = answer[_SIGNATURE:]
        self._disk.settle([(receipts[_RECEIPT * at :][:_RECEIPT], i) for at, i in enumerate(ids)])


async def measure_floor(pair: Pair, suite: Suite, messages: Sequence[Carried]) -> float:
    """Messages a second that the floor moves; a fresh pair of processes each time."""
    async with _linked(pair, suite) as transport:
        with tempfile.TemporaryDirectory(dir=pair.sender.home) as folder:
            sender = _Sender(suite, Path(folder), transport)
            waiting = iter([messages[at : at + BATCH] for at in range(0, len(messages), BATCH)])

            async def work() -> None:
                for batch in waiting:
                    await sender.send(batch)

            began = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
            return len(messages) / (time.perf_counter() - began)


async def round_trip_ms(
    pair: Pair, suite: Suite, octets: bytes, times: int, rest_s: float
) -> float:
    """The median of posts that are answered at once, each after a rest; milliseconds."""
    taken = []
    async with _linked(pair, suite) as transport:
        for _ in range(times):
            await asyncio.sleep(rest_s)
            began = time.perf_counter()
            await transport.post(RECEIVER, _ECHO + octets)
            taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


@asynccontextmanager
async def _linked(pair: Pair, suite: Suite) -> AsyncIterator[HttpsTransport]:
    """The receiver as a process, and the way to it."""
    identity = load_identity(pair.config(pair.sender).tls.directory, SENDER)
    config = pair.config(pair.receiver)
    certificate = load_identity(config.tls.directory, RECEIVER).certificate
    url = f"https://{config.peers.host}:{config.peers.port}"
    async with _receiver(pair, suite):
        transport = HttpsTransport(identity, {RECEIVER: Endpoint(url, certificate)})
        try:
            yield transport
        finally:
            await transport.close()


@asynccontextmanager
async def _receiver(pair: Pair, suite: Suite) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.floor",
        str(pair.receiver.config),
        str(pair.config(pair.sender).tls.directory),
        suite.value,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None  # noqa: S101 -- a pipe was asked for
    assert process.stdin is not None  # noqa: S101
    try:
        await process.stdout.readline()
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def _serve(config: Config, peers: dict[str, bytes], suite: Suite) -> None:
    identity = load_identity(config.tls.directory, RECEIVER)
    with tempfile.TemporaryDirectory(dir=config.store.path.parent) as folder:
        receiver = _Receiver(suite, Path(folder))
        listener = PeerListener(receiver.take, identity, peers)
        await listener.start(config.peers.host, config.peers.port)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await listener.stop()


def main() -> None:
    """Serve as the floor's receiver."""
    config, tls, suite = Path(sys.argv[1]), Path(sys.argv[2]), Suite(sys.argv[3])
    peers = {SENDER: load_identity(tls, SENDER).certificate}
    asyncio.run(_serve(load_config(config), peers, suite))


if __name__ == "__main__":
    main()
