"""A node's life as a process: start, reload, stop, and being killed."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from node.config import ConfigError
from node.service import read_token, running
from tests.desk import Desk, eventually
from tests.homes import HUB, ITEM, WUHAN, XIANGYANG, Homes, make_homes, window
from tests.loops import in_loop
from tests.samples import WIDOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.desk import Json

ROOT = Path(__file__).resolve().parents[2]
SERVE = """
import asyncio, sys
from pathlib import Path
from node.config import load_config
from node.service import serve
asyncio.run(serve(load_config(Path(sys.argv[1])), lambda service: print("ready", flush=True)))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    return make_homes(tmp_path_factory.mktemp("homes"))


@pytest.fixture
def homes(made: Homes, tmp_path: Path) -> Homes:
    return made.copy(tmp_path / "homes")


@asynccontextmanager
async def process(homes: Homes, node: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The node as a process of its own; killed at the end if it still runs."""
    command = [sys.executable, "-c", SERVE, str(homes.folder / node / "node.toml")]
    child = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def says(child: asyncio.subprocess.Process, words: str) -> list[str]:
    """What a process says up to the line with these words."""
    assert child.stdout is not None
    said: list[str] = []
    while not said or words not in said[-1]:
        line = await child.stdout.readline()
        assert line, said
        said.append(line.decode())
    return said


def desk_of(homes: Homes, node: str) -> Desk:
    config = homes.config(node)
    url = f"http://{config.local.host}:{config.local.port}"
    return Desk(url, read_token(config.local.token_file))


def application(region: str = XIANGYANG) -> Json:
    return {
        "actor": {"name": "汪小满", "staffNumber": "0417", "window": "综窗3号"},
        "item": ITEM,
        "mode": "online",
        "basis": {"kind": "residence", "region": region},
        "applicant": {
            "kind": "natural",
            "name": WIDOW.name,
            "certificate": {"type": "111", "number": WIDOW.certificate.number},
        },
        "delivery": {"method": "window"},
    }


@in_loop
async def test_a_node_that_is_killed_goes_on_where_it_was(homes: Homes) -> None:
    async with running(homes.config(XIANGYANG)) as other:
        desk = Desk(other.url, other.token)
        async with desk as xiangyang, desk_of(homes, WUHAN) as wuhan:
            async with process(homes, WUHAN) as child:
                await says(child, "ready")
                filed = [
                    await wuhan.submit(window(WUHAN), application(), key=f"{i}") for i in range(5)
                ]
                child.send_signal(signal.SIGKILL)
                assert await child.wait() == -signal.SIGKILL
            async with process(homes, WUHAN) as child:
                await says(child, "ready")
                for number, row in enumerate(filed):
                    again = await wuhan.submit(window(WUHAN), application(), key=f"{number}")
                    assert again == row
                taken = [(await xiangyang.take("case.submit"))["caseId"] for _ in filed]
                assert sorted(taken) == sorted(row["caseId"] for row in filed)
                assert (await xiangyang.post("/v1/inbox/lease", {})).json["entries"] == []
                child.terminate()
                assert await child.wait() == 0


@in_loop
async def test_a_hang_up_reloads_what_was_published_and_nothing_stops(homes: Homes) -> None:
    async with process(homes, WUHAN) as child:
        await says(child, "ready")
        async with desk_of(homes, WUHAN) as desk:
            homes.publish(version=2)
            child.send_signal(signal.SIGHUP)
            await says(child, "trust reloaded")
            (province,) = (await desk.get("/v1/health")).json["directory"]
            assert province["version"] == 2
            (homes.folder / "directories" / "directory.json").write_bytes(b"{}")
            child.send_signal(signal.SIGHUP)
            (*_, line) = await says(child, "reload refused")
            assert "directory.json" in line
            (province,) = (await desk.get("/v1/health")).json["directory"]
            assert province["version"] == 2
        child.send_signal(signal.SIGINT)
        assert await child.wait() == 0


@pytest.mark.spec("DI-18", "DI-19")
@in_loop
async def test_a_newer_directory_goes_from_peer_to_peer(homes: Homes) -> None:
    toml = homes.folder / XIANGYANG / "node.toml"
    text = toml.read_text(encoding="utf-8")
    toml.write_text(text.replace("../directories", "directories"), encoding="utf-8")
    shutil.copytree(homes.folder / "directories", homes.folder / XIANGYANG / "directories")
    async with running(homes.config(WUHAN)) as wuhan, running(homes.config(XIANGYANG)) as other:
        assert not await other.sync.round(), "both hold the same"
        homes.publish(version=2)
        await wuhan.reload()
        assert await other.sync.round()
        await other.reload()
        views = [node.engine.context.federation.directory.view() for node in (wuhan, other)]
        assert views[0] == views[1]
        assert views[0][0].directory.version == 2


@in_loop
async def test_a_node_that_joins_is_reached_after_a_reload(tmp_path: Path) -> None:
    homes = make_homes(tmp_path)
    homes.publish(nodes=(WUHAN,))
    async with running(homes.config(WUHAN)) as service, Desk(service.url, service.token) as wuhan:
        answer = await wuhan.post("/v1/pings", {"node": XIANGYANG})
        assert (answer.status, answer.problem) == (422, "not-for-us")
        homes.publish(version=2)
        async with running(homes.config(XIANGYANG)) as other:
            await service.reload()
            message = (await wuhan.post("/v1/pings", {"node": XIANGYANG})).json["messageId"]

            async def received() -> Json | None:
                shown = (await wuhan.get(f"/v1/messages/{message}")).json
                return shown if shown["standing"] == "received" else None

            await eventually(received)
            # And the other way round: the listener knows the newcomer's certificate.
            async with Desk(other.url, other.token) as xiangyang:
                sent = (await xiangyang.post("/v1/pings", {"node": WUHAN})).json["messageId"]

                async def answered() -> Json | None:
                    shown = (await xiangyang.get(f"/v1/messages/{sent}")).json
                    return shown if shown["standing"] == "received" else None

                await eventually(answered)


@pytest.mark.spec("HT-2")
@in_loop
async def test_only_linked_nodes_get_through_the_door(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, (HUB, WUHAN, XIANGYANG))
    async with running(homes.config(WUHAN)) as service, running(homes.config(XIANGYANG)):
        listener = service._listener
        assert set(listener._peers) == {HUB}


@pytest.mark.parametrize("section", ["peers", "local"])
@in_loop
async def test_an_address_that_is_taken_stops_the_start(homes: Homes, section: str) -> None:
    config = homes.config(WUHAN)
    taken = config.peers if section == "peers" else config.local
    server = await asyncio.start_server(lambda _r, _w: None, taken.host, taken.port)
    async with server:
        with pytest.raises(ConfigError, match=rf"\[{section}\] 127.0.0.1:{taken.port}"):
            async with running(config):
                pass
    async with running(config):
        pass  # nothing was left behind that holds the store or the other address


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("0123456789012345678901234567890123456789012\n", 0o644, "others may read it"),
        ("secret\n", 0o600, "can be guessed"),
        ("", 0o600, "can be guessed"),
        ("令牌" * 20, 0o600, "no token"),
    ],
)
def test_a_token_that_does_not_protect_stops_the_start(
    tmp_path: Path, text: str, mode: int, words: str
) -> None:
    path = tmp_path / "local.token"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=words) as error:
        read_token(path)
    assert error.value.problems[0].remedy
    if text:
        assert text.strip() not in str(error.value)


@in_loop
async def test_the_local_listener_is_on_loopback_and_speaks_no_tls(homes: Homes) -> None:
    config = homes.config(WUHAN)
    assert config.local.host == "127.0.0.1"
    async with running(config) as service, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(service.url.replace("http:", "https:") + "/v1/openapi.json")
        async with session.get(f"{service.url}/v1/openapi.json") as response:
            assert response.status == 200


@in_loop
async def test_one_process_serves_a_home(homes: Homes) -> None:
    """Two on one store would not know of each other's queue and receipts."""
    config = homes.config(WUHAN)
    other = config.model_copy(
        update={
            "peers": config.peers.model_copy(update={"port": 0}),
            "local": config.local.model_copy(update={"port": 0}),
        }
    )
    async with running(config):
        with pytest.raises(ConfigError, match="another process serves this home"):
            async with running(other):
                pass
    async with running(config):
        pass


async def served(homes: Homes, node: str, meet: Callable[[], Awaitable[None]]) -> str:
    """Everything `run_node.py serve` says while something happens to it."""
    config = homes.folder / node / "node.toml"
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "run_node.py", "serve", "-c", str(config)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said = await says(child, "stop: Ctrl-C")
        await meet()
    finally:
        child.terminate()
    rest, _ = await child.communicate()
    return "".join(said) + rest.decode()


STRANGE = (
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /v1/pings HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    bytes(range(256)) * 80 + b"\r\n\r\n",
)


@in_loop
async def test_what_strangers_send_to_the_local_port_fills_no_log(homes: Homes) -> None:
    config = homes.config(WUHAN)

    async def meet() -> None:
        for octets in STRANGE:
            reader, writer = await asyncio.open_connection(config.local.host, config.local.port)
            writer.write(octets)
            assert (await reader.read(12)).startswith(b"HTTP/1.")
            writer.close()

    said = await served(homes, WUHAN, meet)
    assert "Traceback" not in said
    assert "Error handling request" not in said


@in_loop
async def test_a_home_without_its_store_says_so_at_the_start(homes: Homes) -> None:
    async def nothing() -> None:
        return

    assert "new store" in await served(homes, WUHAN, nothing)
    assert "new store" not in await served(homes, WUHAN, nothing)
    homes.config(WUHAN).store.path.unlink()
    assert "new store" in await served(homes, WUHAN, nothing)
