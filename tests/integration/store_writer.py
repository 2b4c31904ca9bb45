"""A process that writes to a store and says what was acknowledged; to be killed or to run dry.

    store_writer.py endless FILE PREFIX         until it is killed
    store_writer.py cramped FILE PREFIX LIMIT   until files of LIMIT octets are full, all fails;
                                                then without limit; ends without closing anything

Every line is `ok ID` or `no ID`, written when the answer is there; `room` when the limit is gone.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from itertools import count
from pathlib import Path

from node.store.stores import ThreadedStore
from protocol.errors import UnavailableError
from tests.store_kit import answer, engine_at, peer, unit

WORKERS = 8
ENOUGH = 10  # failures in a row of every worker


def say(line: str) -> None:
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


async def write(store: ThreadedStore, name: str) -> bool:
    """One unit of two rows, and what came of it."""
    try:
        await store.run(unit(peer(name), answer(name, 2_000)))
    except UnavailableError:
        say(f"no {name}")
        return False
    say(f"ok {name}")
    return True


async def endless(store: ThreadedStore, prefix: str) -> None:
    async def work(worker: int) -> None:
        for number in count():
            await write(store, f"{prefix}-{worker}-{number}")

    await asyncio.gather(*map(work, range(WORKERS)))


async def cramped(store: ThreadedStore, prefix: str, limit: int) -> None:
    async def work(worker: int) -> None:
        failed = 0
        for number in count():
            ok = await write(store, f"{prefix}-{worker}-{number}")
            failed = 0 if ok else failed + 1
            if failed == ENOUGH:
                return

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    await asyncio.gather(*map(work, range(WORKERS)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    say("room")
    await asyncio.gather(*(write(store, f"{prefix}-room-{number}") for number in range(50)))
    os._exit(0)


async def main() -> None:
    mode, file, prefix, *rest = sys.argv[1:]
    store = ThreadedStore(engine_at(Path(file)))
    if mode == "endless":
        await endless(store, prefix)
    else:
        await cramped(store, prefix, int(rest[0]))


if __name__ == "__main__":
    asyncio.run(main())
