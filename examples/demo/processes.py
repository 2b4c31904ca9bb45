"""The nodes as what they are in production: one operating system process each, by `serve`.

A node lives no longer than the demo, however that ends: its standard input is a pipe that only
the demo holds open, and `serve --until-eof` stops when it closes. That also covers a demo that is
killed, and needs nothing from the operating system but pipes. Each node has a session of its own,
so that Ctrl-C reaches the demo only, which then stops them in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from node.cli.ending import CommandError, Exit
from node.cli.local import NodeUnreachableError, ProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.cli.local import LocalNode

PROGRAM: Final = Path(__file__).resolve().parents[2] / "run_node.py"
_START_S: Final = 60.0
_STOP_S: Final = 10.0
_POLL_S: Final = 0.05
_TAIL_LINES: Final = 6


class NodeFailedError(CommandError):
    """A node ended by itself, or did not begin to answer in time.

    Args:
        node: Which.
        log: Where it says why.
        what: What happened.
    """

    def __init__(self, node: str, log: Path, what: str) -> None:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        told = "\n".join(f"     {line}" for line in tail)
        remedy = "照日志处理后重试 mend what the log names, then try again"
        super().__init__(f"节点 node {node} {what}; {log}:\n{told}", remedy, Exit.UNCHECKED)


class NodeProcess:
    """One node, which can be started, killed and started again.

    Args:
        node: Its id.
        config: Its configuration file; its log goes beside it.
        api: The client of its local API, to see when it answers.
        lock: A descriptor to inherit: the work folder's lock.
    """

    def __init__(self, node: str, config: Path, api: LocalNode, lock: int) -> None:
        self.node: Final = node
        self.log: Final = config.with_name("node.log")
        self._config = config
        self._api = api
        self._lock = lock
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The process's id, once it was started."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process; `ready` says when it answers."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(PROGRAM),
                "serve",
                "--config",
                str(self._config),
                "--until-eof",
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[self._lock],
            )

    async def ready(self) -> None:
        """Return when its local API answers, and the node works.

        Raises:
            NodeFailedError: it ended, or does not answer in time.
        """
        process = self._started()
        try:
            async with asyncio.timeout(_START_S):
                while process.returncode is None:
                    with contextlib.suppress(NodeUnreachableError, ProblemError):
                        health = await self._api.health()
                        if health["recovery"]["phase"] == "working":
                            return
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            what = f"does not answer after {_START_S:.0f} s"
            raise NodeFailedError(self.node, self.log, what) from error
        raise NodeFailedError(self.node, self.log, f"ended with code {process.returncode}")

    async def kill(self) -> None:
        """SIGKILL: no warning, no last write, like a pulled plug."""
        process = self._started()
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def stop(self) -> None:
        """SIGTERM, as an operator would; SIGKILL if that takes too long."""
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            message = f"node {self.node} was not started"
            raise RuntimeError(message)
        return self._process


async def stop_all(processes: Sequence[NodeProcess]) -> None:
    """Stop them all at once."""
    await asyncio.gather(*(process.stop() for process in processes), return_exceptions=True)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on now.

    Below those that the system hands out to callers (from 32768): a node that was killed finds its
    port free when it comes back.
    """
    found: set[int] = set()
    while len(found) < count:
        port = 12_000 + secrets.randbelow(20_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.add(port)
    return sorted(found)
