"""One large file from one node to another: 1 GiB, filed to its destination's receipt.

Both nodes are processes of their own. The file is brought to the sender's local API first (that is
told apart); time runs from the case that names it to the receipt. What each process grew by
meanwhile is read from the kernel. The receiver's copy is fetched through its local API and
compared.

The floor moves the same octets with nothing around it: one process reads the file and sends it
through TLS, the other digests it with the same suite and writes it, synchronised as often; each of
these in a thread of its own.

    python -m bench.materials FOLDER SUITE     the floor's receiver; it prints its port
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import queue
import random
import socket
import ssl
import statistics
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from bench.pair import lay_pair, process
from bench.result import AuditError, Measured, spread
from bench.workplace import workplace
from node.config import load_config
from node.tls import CERTIFICATE_FILE, KEY_FILE
from signing.running import running_digest
from signing.suites import Suite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from bench.pair import Pair
    from examples.demo.federation import Site
    from examples.demo.processes import NodeProcess

MIB: Final = 1 << 20
SYNC_OCTETS: Final = 8 * MIB
PART: Final = "film"
_BLOCK: Final = random.Random(1).randbytes(MIB)  # noqa: S311 -- the same in each run
_POLL_S: Final = 0.05
_PATIENCE_S: Final = 600
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_read=120)


@dataclass(frozen=True, slots=True)
class Moved:
    """One run that holds up.

    Attributes:
        rate: MiB a second, filed to receipt.
        upload: MiB a second, from the caller to the sender's disk.
        grown: What sender and receiver grew by at most while it passed, MiB.
    """

    rate: float
    upload: float
    grown: tuple[float, float]


def content(mib: int) -> Iterator[bytes]:
    """The file, a mebibyte at a time, no two alike."""
    for number in range(mib):
        yield number.to_bytes(8) + _BLOCK[8:]


@contextlib.asynccontextmanager
async def calling(site: Site) -> AsyncIterator[aiohttp.ClientSession]:
    """Its local API, as a local system would call it."""
    local = load_config(site.config).local
    token = local.token_file.read_text(encoding="ascii").strip()
    headers = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0"}
    url = f"http://{local.host}:{local.port}"
    async with aiohttp.ClientSession(url, headers=headers, timeout=_TIMEOUT) as session:
        yield session


async def upload(sender: aiohttp.ClientSession, mib: int) -> str:
    """Bring the file; the id of the upload."""
    length = {"Upload-Length": str(mib * MIB)}
    async with sender.post("/v1/uploads", headers=length) as answer:
        place = answer.headers["Location"]

    async def octets() -> AsyncIterator[bytes]:
        for block in content(mib):
            yield block

    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    async with sender.patch(place, headers=headers, data=octets()) as answer:
        if answer.status != 204:  # noqa: PLR2004 -- as tus says
            raise AuditError(f"upload: {answer.status} {await answer.text()}")
    return place.rpartition("/")[2]


async def file(sender: aiohttp.ClientSession, pair: Pair, uploaded: str) -> str:
    """File a case with the file; the id of its message."""
    material = {"code": PART, "name": "录像", "form": "electronic", "trust": "B", "count": 1}
    body = {
        "authority": pair.windows[0],
        "submit": {**pair.submission, "materials": [{**material, "part": PART}]},
        "files": {PART: {"mediaType": "video/mp4", "upload": uploaded}},
    }
    headers = {"Idempotency-Key": uploaded}
    async with sender.post("/v1/cases", json=body, headers=headers) as answer:
        document = await answer.json()
        if answer.status != 201:  # noqa: PLR2004 -- created
            raise AuditError(f"not filed: {document}")
    return str(document["messageId"])


async def received(sender: aiohttp.ClientSession, message_id: str) -> None:
    """Return when the destination's receipt is here."""
    deadline = time.perf_counter() + _PATIENCE_S
    while time.perf_counter() < deadline:
        async with sender.get(f"/v1/messages/{message_id}") as answer:
            if (await answer.json())["standing"] == "received":
                return
        await asyncio.sleep(_POLL_S)
    raise AuditError(f"{message_id} is not received")


async def compare(receiver: aiohttp.ClientSession, message_id: str, mib: int) -> None:
    """Fetch the receiver's copy and hold it against the file."""
    blocks = content(mib)
    async with receiver.get(f"/v1/messages/{message_id}/parts/{PART}") as answer:
        for block in blocks:
            if await answer.content.readexactly(len(block)) != block:
                raise AuditError("the copy differs")
        if await answer.content.read(1):
            raise AuditError("the copy is longer")


class Growth:
    """How much memory a process takes at most beyond what it takes now."""

    def __init__(self, node: NodeProcess) -> None:
        folder = Path(f"/proc/{node.pid}")
        (folder / "clear_refs").write_text("5")  # the peak begins anew
        self._status = folder / "status"
        self._before = self._read("VmRSS")

    def mib(self) -> float:
        """So many MiB until now."""
        return (self._read("VmHWM") - self._before) / 1024

    def _read(self, name: str) -> int:
        lines = self._status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


async def move(pair: Pair, mib: int) -> Moved:
    """Move one file of this size from end to end.

    Raises:
        AuditError: it is not there, or differs.
    """
    async with (
        process(pair.receiver) as to,
        process(pair.sender) as origin,
        calling(pair.sender) as sender,
        calling(pair.receiver) as receiver,
    ):
        # What the first message of a process brings with it is not the file's.
        await received(sender, await file(sender, pair, await upload(sender, 1)))
        began = time.perf_counter()
        uploaded = await upload(sender, mib)
        brought = time.perf_counter()
        growths = Growth(origin), Growth(to)
        message_id = await file(sender, pair, uploaded)
        await received(sender, message_id)
        ended = time.perf_counter()
        grown = growths[0].mib(), growths[1].mib()
        await compare(receiver, message_id, mib)
    return Moved(mib / (ended - brought), mib / (brought - began), grown)


# the floor


def _each(source: queue.Queue[bytes | None], work: Callable[[bytes], object]) -> threading.Thread:
    """A thread that does this with every block that comes."""

    def run() -> None:
        while (block := source.get()) is not None:
            work(block)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


class _Written:
    """A file that is synchronised every so many octets."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._unsynchronised = 0

    def write(self, block: bytes) -> None:
        os.write(self._handle, block)
        self._unsynchronised += len(block)
        if self._unsynchronised >= SYNC_OCTETS:
            self.sync()

    def sync(self) -> None:
        os.fsync(self._handle)
        self._unsynchronised = 0


def serve_floor(folder: Path, suite: Suite) -> None:
    """Take one file after the other; answer each with its digest once it is on disk."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / CERTIFICATE_FILE, folder / KEY_FILE)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            accepted, _ = listening.accept()
            with context.wrap_socket(accepted, server_side=True) as connection:
                _take(connection, folder / "floor.part", suite)


def _take(connection: ssl.SSLSocket, path: Path, suite: Suite) -> None:
    running, written = running_digest(suite), _Written(path)
    queues: list[queue.Queue[bytes | None]] = [queue.Queue(8), queue.Queue(8)]
    threads = [_each(queues[0], running.update), _each(queues[1], written.write)]
    left = int.from_bytes(_exactly(connection, 8))
    while left:
        block = _exactly(connection, min(left, MIB))
        left -= len(block)
        for waiting in queues:
            waiting.put(block)
    for waiting, thread in zip(queues, threads, strict=True):
        waiting.put(None)
        thread.join()
    written.sync()
    connection.sendall(running.digest())


def _exactly(connection: ssl.SSLSocket, count: int) -> bytes:
    room = bytearray(count)
    view = memoryview(room)
    while view:
        view = view[connection.recv_into(view) :]
    return bytes(room)


def measure_floor(folder: Path, port: int, suite: Suite, mib: int) -> float:
    """MiB a second that the floor moves."""
    source = folder / "floor.source"
    running = running_digest(suite)
    with source.open("wb") as out:
        for block in content(mib):
            out.write(block)
            running.update(block)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    began = time.perf_counter()
    with (
        source.open("rb") as octets,
        context.wrap_socket(socket.create_connection(("127.0.0.1", port))) as connection,
    ):
        connection.sendall((mib * MIB).to_bytes(8))
        while block := octets.read(MIB):
            connection.sendall(block)
        if _exactly(connection, 32) != running.digest():
            raise AuditError("the floor's copy differs")
    took = time.perf_counter() - began
    source.unlink()
    return mib / took


def _alone(folder: Path, suite: Suite) -> dict[str, float]:
    """MiB a second of each stage by itself."""
    blocks = list(content(128))
    written, running = _Written(folder / "alone.part"), running_digest(suite)

    def rate(work: Callable[[bytes], object]) -> float:
        began = time.perf_counter()
        for block in blocks:
            work(block)
        return len(blocks) / (time.perf_counter() - began)

    return {"digest_alone": rate(running.update), "disk_alone": rate(written.write)}


@contextlib.asynccontextmanager
async def _floor(folder: Path, suite: Suite) -> AsyncIterator[int]:
    """The floor's receiver as a process; its port."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.materials", str(folder), suite.value),
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None  # noqa: S101 -- a pipe was asked for
    try:
        yield int(await child.stdout.readline())
    finally:
        child.kill()
        await child.wait()


async def measure(suite: Suite, mib: int, runs: int, folder: Path) -> Measured:
    """Floor and product in turns, so that both see the same machine."""
    moved: list[Moved] = []
    floors: list[float] = []
    pair = lay_pair(folder / "pair", suite, 1)
    tls = load_config(pair.receiver.config).tls.directory
    alone = _alone(folder, suite)
    for _ in range(runs):
        async with _floor(tls, suite) as port:
            floors.append(await asyncio.to_thread(measure_floor, folder, port, suite, mib))
        moved.append(await move(pair, mib))
    value, floor = statistics.median(run.rate for run in moved), statistics.median(floors)
    settings = {
        "suite": suite.value,
        "mib": mib,
        "runs": runs,
        "upload_mib_per_s": round(statistics.median(run.upload for run in moved)),
        "sender_grew_mib": round(max(run.grown[0] for run in moved), 1),
        "receiver_grew_mib": round(max(run.grown[1] for run in moved), 1),
        **{f"{name}_mib_per_s": round(rate) for name, rate in alone.items()},
    }
    rates = [run.rate for run in moved]
    return Measured("materials", value, "MiB/s", floor, value / floor, spread(rates), settings)


def main() -> int:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m bench materials", description=__doc__)
    parser.add_argument("--suite", type=Suite, choices=list(Suite), default=Suite.SM2_SM3)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    arguments = parser.parse_args()
    with workplace() as folder:
        measured = asyncio.run(measure(arguments.suite, arguments.mib, arguments.runs, folder))
    print(measured.line() if arguments.json else measured.told())
    return 0


if __name__ == "__main__":
    serve_floor(Path(sys.argv[1]), Suite(sys.argv[2]))
