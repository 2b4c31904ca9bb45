"""Cases from one node to another, as fast as they go: filed, sent, received, receipts settled.

The sender runs in this process and is given cases of many windows as fast as it takes them; the
receiver is a process of its own. Time runs from the first case filed to the last receipt on disk.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import re
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.floor import BATCH, Carried, measure_floor
from bench.pair import inside, lay_pair, process, reading
from bench.result import AuditError, Measured, spread
from bench.workplace import workplace
from protocol.receipt import ReceiptType
from signing.batch import Checking
from signing.receipts import verify_receipt
from signing.suites import Suite

if TYPE_CHECKING:
    from pathlib import Path

    from bench.pair import Pair
    from node.engine import Engine
    from signing.trust import TrustSet

WINDOWS: Final = 40
FILING: Final = 512  # cases being filed at once
_POLL_S: Final = 0.02
_PATIENCE_S: Final = 120
_SENT: Final = """
    SELECT m.message_id, m.envelope, m.receipt, m.message_digest, p.octets
    FROM message m JOIN part p ON (p.authority, p.message_id, p.role) =
        (m.authority, m.message_id, m.role)
    WHERE m.role = 'out' AND p.part_id = 'body' ORDER BY m.recorded_ms, m.message_id
"""
_VALUE: Final = re.compile(rb"<ds:SignatureValue>([^<]*)<")


@dataclass(frozen=True, slots=True)
class Moved:
    """One run that holds up.

    Attributes:
        rate: Messages a second, filed to settled.
        messages: What was moved, as it stands in the sender's store.
    """

    rate: float
    messages: list[Carried]


async def move(pair: Pair, count: int) -> Moved:
    """Move so many cases from end to end.

    Raises:
        AuditError: a case is not where it has to be.
    """
    async with process(pair.receiver), inside(pair.sender) as engine:
        await _file(engine, pair, range(WINDOWS))
        await _settled(pair, 0)
        began = time.perf_counter()
        await _file(engine, pair, range(count))
        await _settled(pair, began)
        took = time.perf_counter() - began
        trust = engine.context.federation.directory.trust
    messages = audit(pair, WINDOWS + count, trust)
    return Moved(count / took, messages[WINDOWS:])


async def _file(engine: Engine, pair: Pair, wanted: range) -> None:
    numbers = iter(wanted)

    async def file() -> None:
        for number in numbers:
            await engine.file(pair.draft(number, engine))

    await asyncio.gather(*(file() for _ in range(FILING)))


async def _settled(pair: Pair, began: float) -> None:
    with reading(pair.sender) as store:
        deadline = (began or time.perf_counter()) + _PATIENCE_S
        while waiting := store.execute("SELECT count(*) FROM outbox").fetchone()[0]:
            if time.perf_counter() > deadline:
                raise AuditError(f"{waiting} cases still wait")
            await asyncio.sleep(_POLL_S)


def audit(pair: Pair, count: int, trust: TrustSet) -> list[Carried]:
    """What was moved: every case filed, received once, with a receipt that verifies.

    Raises:
        AuditError: it was not.
    """
    found: list[Carried] = []
    checking = Checking()
    with reading(pair.sender) as sender, reading(pair.receiver) as receiver:
        inbox = {row[0] for row in receiver.execute("SELECT message_id FROM inbox")}
        rows = sender.execute(_SENT)
        for message_id, envelope, receipt, message_digest, body in rows:
            if message_id not in inbox or receipt is None:
                raise AuditError(f"{message_id} is not settled at both ends")
            stated = verify_receipt(receipt, trust, checking=checking).receipt
            if stated.type is not ReceiptType.RECEIVED or stated.message_digest != message_digest:
                raise AuditError(f"{message_id}: {stated.type.name}")
            found.append(Carried(envelope, body, _root(envelope)))
    if len(found) != count or len(inbox) != count:
        raise AuditError(f"{count} filed, {len(found)} sent, {len(inbox)} received")
    return found


def _root(envelope: bytes) -> bytes:
    """What two messages under one private-key signature share: its last 64 octets."""
    value = _VALUE.search(envelope)
    if value is None:
        raise AuditError("an envelope without signature")
    return base64.b64decode(value[1])[-64:]


async def measure(suite: Suite, count: int, runs: int, folder: Path) -> Measured:
    """The median of some runs, each beside its floor."""
    rates: list[float] = []
    floors: list[float] = []
    messages: list[Carried] = []
    for run in range(runs):
        pair = lay_pair(folder / f"{suite.value}-{run}", suite, WINDOWS)
        moved = await move(pair, count)
        messages = moved.messages
        rates.append(moved.rate)
        floors.append(await measure_floor(pair, suite, messages))
    value, floor = statistics.median(rates), statistics.median(floors)
    settings = {
        "suite": suite.value,
        "messages": count,
        "authorities": WINDOWS,
        "runs": runs,
        "signatures": len({message.root for message in messages}),
        "octets": sum(len(m.envelope) + len(m.body) for m in messages) // count,
        "floor_batch": BATCH,
    }
    return Measured("exchange", value, "messages/s", floor, value / floor, spread(rates), settings)


def main() -> int:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m bench exchange", description=__doc__)
    parser.add_argument("--suite", type=Suite, choices=list(Suite), default=Suite.SM2_SM3)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    arguments = parser.parse_args()
    with workplace() as folder:
        measured = asyncio.run(measure(arguments.suite, arguments.messages, arguments.runs, folder))
    print(measured.line() if arguments.json else measured.told())
    return 0
