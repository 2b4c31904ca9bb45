"""Large files between two nodes as processes: flat memory, kills at both ends, the command line."""

from __future__ import annotations

import asyncio
import io
import json
import random
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.command_line import asked
from tests.desk import Desk, eventually
from tests.homes import WUHAN, XIANGYANG, Homes, make_homes, window
from tests.integration.test_service import application, desk_of, process, says
from tests.loops import in_loop

if TYPE_CHECKING:
    from tests.desk import Json

MIB = 1 << 20
SIZE = 96 * MIB


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    return make_homes(tmp_path_factory.mktemp("homes"))


@pytest.fixture
def homes(made: Homes, tmp_path: Path) -> Homes:
    return made.copy(tmp_path / "homes")


class Node:
    """A node's process, its desk, and what the kernel and the disk say of it."""

    def __init__(self, homes: Homes, node_id: str) -> None:
        self._homes = homes
        self._id = node_id
        self.folder = homes.config(node_id).parts.folder
        self.desk = desk_of(homes, node_id)
        self._stack = AsyncExitStack()
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._child = await self._stack.enter_async_context(process(self._homes, self._id))
        await says(self._child, "ready")

    async def kill(self) -> None:
        assert self._child is not None
        self._child.send_signal(signal.SIGKILL)
        assert await self._child.wait() == -signal.SIGKILL
        await self._stack.aclose()

    async def end(self) -> None:
        await self._stack.aclose()

    def forget_peak(self) -> int:
        """The memory of the process now, in octets; from here on its peak is measured anew."""
        assert self._child is not None
        Path(f"/proc/{self._child.pid}/clear_refs").write_text("5")
        return self._memory("VmRSS")

    def peak(self) -> int:
        return self._memory("VmHWM")

    def _memory(self, name: str) -> int:
        assert self._child is not None
        lines = Path(f"/proc/{self._child.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))

    def coming_in(self) -> int:
        """Octets of what is not whole yet."""
        return sum(path.stat().st_size for path in self.folder.rglob("*.part"))


def film(seed: int) -> bytes:
    block = random.Random(seed).randbytes(MIB)
    return b"".join(number.to_bytes(8) + block[8:] for number in range(SIZE // MIB))


async def send(desk: Desk, octets: bytes) -> str:
    """A case with this film, its upload done before; the message's id."""
    length = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(octets))}
    place = (await desk.send("POST", "/v1/uploads", headers=length)).headers["Location"]
    assert (await desk.append(place, 0, octets)).status == 204
    return str((await submit(desk, place))["messageId"])


async def submit(desk: Desk, place: str) -> Json:
    row = {"code": "m1", "name": "录像", "form": "electronic", "trust": "B", "count": 1}
    upload = {"mediaType": "video/mp4", "upload": place.rpartition("/")[2]}
    body = {
        "authority": window(WUHAN),
        "submit": application() | {"materials": [{**row, "part": "film"}]},
        "files": {"film": upload},
    }
    answer = await desk.post("/v1/cases", body, place)
    assert answer.status == 201, answer.octets.decode()
    return answer.json


async def received(desk: Desk, message_id: str) -> None:
    async def settled() -> Json | None:
        message = (await desk.get(f"/v1/messages/{message_id}")).json
        return message if message["standing"] == "received" else None

    await eventually(settled)


@in_loop
async def test_a_large_file_takes_no_memory_and_survives_the_death_of_either_end(
    homes: Homes,
) -> None:
    sender, receiver = Node(homes, WUHAN), Node(homes, XIANGYANG)
    async with sender.desk as wuhan, receiver.desk as xiangyang:
        try:
            await sender.start()
            await receiver.start()
            before = sender.forget_peak(), receiver.forget_peak()
            octets = film(1)
            message_id = await send(wuhan, octets)
            await received(wuhan, message_id)
            got = await xiangyang.get(f"/v1/messages/{message_id}/parts/film")
            assert got.octets == octets
            grown = sender.peak() - before[0], receiver.peak() - before[1]
            assert max(grown) < 64 * MIB < SIZE, [octets // MIB for octets in grown]

            octets = film(2)
            message_id = await send(wuhan, octets)
            held = await _coming_in(receiver, SIZE // 8)
            await receiver.kill()
            assert receiver.coming_in() >= held
            await receiver.start()
            held = await _coming_in(receiver, SIZE // 2)
            await sender.kill()
            await sender.start()
            while receiver.coming_in():
                assert receiver.coming_in() in (0, *range(held, SIZE + 1)), "it began anew"
                await asyncio.sleep(0.01)
            await received(wuhan, message_id)
            got = await xiangyang.get(f"/v1/messages/{message_id}/parts/film")
            assert got.octets == octets
        finally:
            await sender.end()
            await receiver.end()


async def _coming_in(node: Node, octets: int) -> int:
    """Wait until so much has come, but not all; how much."""

    async def enough() -> Json | None:
        held = node.coming_in()
        return {"held": held} if held >= octets else None

    held = int((await eventually(enough))["held"])
    assert held < SIZE
    return held


@in_loop
async def test_the_command_line_attaches_what_no_request_could_hold(
    homes: Homes, tmp_path: Path
) -> None:
    sender = Node(homes, WUHAN)
    row = {"code": "m1", "name": "录像", "form": "electronic", "trust": "B", "count": 1}
    document = application() | {"materials": [{**row, "part": "film"}]}
    (tmp_path / "case.json").write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "film.mp4").write_bytes(film(3)[: 16 * MIB])
    async with sender.desk as wuhan:
        try:
            await sender.start()
            command = (
                *("submit", tmp_path / "case.json", "--authority", window(WUHAN)),
                *("--attach", f"film={tmp_path / 'film.mp4'}"),
                *("--config", homes.folder / WUHAN / "node.toml"),
            )
            filed = await asyncio.to_thread(asked, *command)
            got = await wuhan.get(f"/v1/messages/{filed['messageId']}/parts/film")
            assert io.BytesIO(got.octets).getvalue() == (tmp_path / "film.mp4").read_bytes()
            assert got.headers["Content-Type"] == "video/mp4"
        finally:
            await sender.end()
