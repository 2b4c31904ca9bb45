from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from node.store.stores import ThreadedStore
from protocol.errors import UnavailableError
from protocol.reasons import Reason
from tests.store_kit import answer, engine_at, on_disk, peer, peers, unit, writer_of

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
WRITER = ROOT / "tests/integration/store_writer.py"
END_S = 120  # a process that takes longer hangs


def writer(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WRITER), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def whole_units(path: Path) -> set[str]:
    """The units in the file; all their rows are there, for units are never there in part."""
    with closing(engine_at(path)) as engine:
        found = engine.read(peers)
    assert {key for (key,) in on_disk(path, "SELECT key FROM idempotency")} == found
    assert on_disk(path, "PRAGMA integrity_check") == [("ok",)]
    return found


def acknowledged(lines: Sequence[str]) -> set[str]:
    return {line.removeprefix("ok ").strip() for line in lines if line.startswith("ok ")}


@pytest.mark.spec("EX-8")
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    engine_at(path).close()
    acknowledged_ever: set[str] = set()
    for kill in range(4):
        with writer("endless", path, kill) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(100 + 150 * kill)]
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read()
            # The last line may be cut off: nobody got that answer.
            lines += rest.splitlines(keepends=True)
            lines = [line for line in lines if line.endswith("\n")]
        assert process.returncode == -signal.SIGKILL
        now = acknowledged(lines)
        assert len(now) == len(lines) > 0
        acknowledged_ever |= now
        assert acknowledged_ever <= whole_units(path)


@pytest.mark.spec("TR-4")
@pytest.mark.parametrize("room", [450_000, 900_000])
def test_a_disk_that_refuses_loses_nothing_and_is_forgiven(tmp_path: Path, room: int) -> None:
    """The limit hits the log while a group is committed, and later the database itself."""
    path = tmp_path / "state.sqlite"
    engine_at(path).close()
    limit = path.stat().st_size + room
    with writer("cramped", path, "life", limit) as process:
        output, _ = process.communicate(timeout=END_S)
    assert process.returncode == 0
    before, after = output.split("room\n")
    answers = [line.split()[0] for line in before.splitlines()]
    # The log reached the limit, folding it made room, and then there was none.
    assert answers[answers.index("no") :].count("ok") >= 16
    assert answers[-1] == "no"
    assert len(acknowledged(after.splitlines())) == 50
    assert "no " not in after
    assert acknowledged(output.splitlines()) <= whole_units(path)


@pytest.mark.spec("TR-4")
def test_a_full_disk_refuses_and_serves_again_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    engine = engine_at(path)
    set_room = writer_of(engine).exec_driver_sql

    async def main() -> None:
        store = ThreadedStore(engine)
        set_room("PRAGMA max_page_count = 200")
        names = [str(number) for number in range(600)]
        outcomes = await asyncio.gather(
            *(store.run(unit(peer(name), answer(name, 2_000), result=name)) for name in names),
            return_exceptions=True,
        )
        done = {outcome for outcome in outcomes if isinstance(outcome, str)}
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert done
        assert errors
        for error in errors:
            assert isinstance(error, UnavailableError)
            assert error.reason is Reason.STORE_UNAVAILABLE
            assert "disk is full" in str(error)
        assert "disk is full" in (store.trouble or "")
        assert {node for (node,) in on_disk(path, "SELECT node FROM peer")} == done
        set_room("PRAGMA max_page_count = 20000")
        again = [name for name in names if name not in done]
        assert again == await asyncio.gather(
            *(store.run(unit(peer(name), answer(name, 2_000), result=name)) for name in again)
        )
        assert store.trouble is None
        await store.close()

    asyncio.run(main())
    assert whole_units(path) == {str(number) for number in range(600)}
