"""Real processes under load: one is killed, its database replaced by an older copy of the file.

Clerks file all the while. At the end both stores are compared row by row: every message of one end
is at the other with the same receipt, octet by octet; no number was given twice; every case is the
same at both ends; and every case a clerk was promised is there, but for those that were filed
within the last moment before the kill and that no peer ever saw.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from node.service import read_token
from tests.desk import Desk, eventually
from tests.homes import WUHAN, XIANGYANG, Homes, make_homes, window
from tests.integration.test_two_nodes import application
from tests.loops import in_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.desk import Json

ROOT = Path(__file__).resolve().parents[2]
BEFORE, BETWEEN, AFTER, CLERKS = 10, 20, 10, 3
_MESSAGES = (
    "SELECT authority, message_id, role, case_id, sequence, from_node, standing, receipt, "
    "hex(message_digest) AS digest FROM message"
)


class Process:
    """One node, run as an operator runs it."""

    def __init__(self, homes: Homes, node: str) -> None:
        self.node = node
        self.home = homes.folder / node
        self.config = homes.config(node)
        self.store = self.config.store.path
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, name: str) -> list[str]:
        return [sys.executable, str(ROOT / "run_node.py"), name, "-c", str(self.home / "node.toml")]

    def start(self) -> None:
        with (self.home / "log").open("ab") as log:
            words = [*self.command("serve"), "--until-eof"]
            self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def marked(self) -> int:
        """How long its log was, by the mark beside its store."""
        return int(self.store.with_name(f"{self.store.name}.mark").read_text().split()[1])

    def desk(self) -> Desk:
        local = self.config.local
        return Desk(f"http://{local.host}:{local.port}", read_token(local.token_file))

    def rows(self, query: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)) as store:
            store.row_factory = sqlite3.Row
            return [dict(row) for row in store.execute(query)]

    def copied(self, target: Path) -> None:
        with closing(sqlite3.connect(self.store)) as one, closing(sqlite3.connect(target)) as other:
            one.backup(other)

    def put_back(self, backup: Path) -> None:
        for name in ("-wal", "-shm"):
            self.store.with_name(self.store.name + name).unlink(missing_ok=True)
        self.store.write_bytes(backup.read_bytes())


async def works(desk: Desk) -> None:
    async def looked() -> Json | None:
        try:
            health = (await desk.get("/v1/health")).json
        except aiohttp.ClientError:
            return None
        return health if health["recovery"]["phase"] == "working" else None

    await eventually(looked)


class Clerks:
    """They file at one window, several at a time; what was answered is promised."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.promised: list[str] = []

    async def file(self, number: int) -> None:
        """File so many; whoever gets no answer goes home."""
        turns = iter(range(number))
        await asyncio.gather(*(self._file(turns) for _ in range(CLERKS)))

    async def file_on(self) -> None:
        """File until cancelled, slowly enough for the peer to keep up."""
        while True:
            await self._file(iter(range(1)))
            await asyncio.sleep(0.05)

    async def _file(self, turns: Iterator[int]) -> None:
        for _ in turns:
            with contextlib.suppress(aiohttp.ClientError):
                case = await self._desk.submit(window(WUHAN), application())
                self.promised.append(case["caseId"])


def seen_by_nobody_else(victim: Process, other: Process) -> set[str]:
    there = {row["case_id"] for row in other.rows(_MESSAGES)}
    return {row["case_id"] for row in victim.rows(_MESSAGES)} - there


def differences(one: Process, other: Process) -> list[str]:
    """What the two stores do not agree about."""
    rows = {(row["authority"], row["message_id"], row["role"]): row for row in one.rows(_MESSAGES)}
    rows |= {
        (row["authority"], row["message_id"], row["role"]): row for row in other.rows(_MESSAGES)
    }
    found: list[str] = []
    for (authority, message_id, role), row in rows.items():
        twin = rows.get((authority, message_id, "in" if role == "out" else "out"))
        if twin is None:
            found.append(f"{role} {message_id} at one end only")
        elif row["receipt"] is None or any(
            row[name] != twin[name] for name in ("digest", "standing", "receipt", "sequence")
        ):
            found.append(f"{role} {message_id}: {row['standing']} here, {twin['standing']} there")
    numbers = Counter(
        (row["authority"], row["case_id"], row["sequence"])
        for row in rows.values()
        if row["role"] == "in"
    )
    found += [f"number {number} given {n} times" for number, n in numbers.items() if n > 1]
    views = [row for end in (one, other) for row in end.rows("SELECT * FROM case_view")]
    states: dict[str, list[str]] = {}
    for view in views:
        states.setdefault(view["case_id"], []).append(view["state"])
    alike = {case for case, both in states.items() if len(both) == 2 and len(set(both)) == 1}
    found += [f"case {case}: {states[case]}" for case in states.keys() - alike]
    return found


@pytest.mark.spec("RV-2", "RV-8", "RV-11")
@pytest.mark.parametrize(("victim", "whole"), [(WUHAN, False), (XIANGYANG, True)])
@in_loop
async def test_a_store_put_back_under_load_is_made_whole(
    tmp_path: Path,
    victim: str,
    whole: bool,  # noqa: FBT001
) -> None:
    homes = make_homes(tmp_path / "homes")
    nodes = {node: Process(homes, node) for node in (WUHAN, XIANGYANG)}
    backup, fallen = tmp_path / "backup.db", nodes[victim]
    (other,) = (node for node in nodes.values() if node is not fallen)
    async with AsyncExitStack() as stack:
        for node in nodes.values():
            node.start()
            stack.callback(node.kill)
        desks = {name: await stack.enter_async_context(node.desk()) for name, node in nodes.items()}
        for desk in desks.values():
            await works(desk)
        clerks = Clerks(desks[WUHAN])
        await clerks.file(BEFORE)
        fallen.copied(backup)
        begun = fallen.marked()
        filing = asyncio.ensure_future(clerks.file_on())

        async def enough() -> Json | None:
            # A loss of the last second, of leaves that no head covers yet, nobody can notice.
            known = len(clerks.promised) >= BEFORE + BETWEEN and fallen.marked() > begun + BETWEEN
            return {"enough": True} if known else None

        await eventually(enough)
        fallen.kill()
        await asyncio.sleep(0.2)
        filing.cancel()
        await asyncio.gather(filing, return_exceptions=True)
        gone = seen_by_nobody_else(fallen, other)
        before = len(fallen.rows(_MESSAGES))
        fallen.put_back(backup)
        lost = before - len(fallen.rows(_MESSAGES))
        if whole:
            fallen.store.with_name(f"{fallen.store.name}.mark").unlink()
            recover = await asyncio.create_subprocess_exec(*fallen.command("recover"))
            assert await recover.wait() == 0
        fallen.start()
        await works(desks[victim])
        await clerks.file(AFTER)

        async def agreed() -> Json | None:
            return None if differences(*nodes.values()) else {"agreed": True}

        with contextlib.suppress(TimeoutError):
            await eventually(agreed)
        found = differences(*nodes.values())
        cases = {row["case_id"] for row in other.rows(_MESSAGES)}
        health = (await desks[victim].get("/v1/health")).json
        missing = set(clerks.promised) - cases - gone
        sys.stdout.write(
            f"put back under load at {victim}: promised {len(clerks.promised)}, rows lost {lost}, "
            f"known to nobody else {len(gone)}, missing {len(missing)}, differences {len(found)}\n"
        )
        assert found == []
        assert not missing
        assert lost > 0
        assert [row["incarnation"] for row in health["log"]["breaks"]] == [2]
