"""`demo`: the main job, from the first process to the last word.

    1. claim the work folder, lay down homes, keys and signed files
    2. start every node as a process of its own
    3. play the story: windows file, desks act, 襄阳 is killed and comes back
    4. wait until every case is over at both ends, then audit the nodes' stores
    5. export one case's evidence and verify it with the command line, as anybody could
    6. without --once: stay up until Ctrl-C

However it ends, the nodes end with it.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from examples.demo.audit import audit, read_stores
from examples.demo.desks import Desk, Office
from examples.demo.federation import choose_suite, lay_down_demo
from examples.demo.folder import claimed
from examples.demo.gates import TOLD, Carrier, Gates
from examples.demo.processes import PROGRAM, NodeProcess, stop_all
from examples.demo.report import paths_of, print_report
from examples.demo.story import AT_ONCE, TO_WATCH, VICTIM, Story
from examples.demo.watch import Watch, new_board, progress_console
from node.cli.ending import Exit
from node.clock import SystemClock

if TYPE_CHECKING:
    from rich.console import Console

    from examples.demo.audit import Findings
    from examples.demo.federation import Federation
    from node.cli.local import LocalNode

_DEFAULT_FOLDER: Final = Path(__file__).resolve().parents[2] / ".demo"
_STORY_S: Final = 240.0
_INTERRUPTED: Final = "已中断，全部节点已停止 interrupted; all nodes are stopped"
_TERMINATED: Final = 143  # what shells expect after SIGTERM


def add_to(program: typer.Typer) -> None:
    """Add the command."""
    program.command()(demo)


def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="结束即退出 · end with the story")] = False,
    small: Annotated[bool, typer.Option("--small", help="只启动三个节点 · three nodes")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="末行为一行 JSON · the last line is JSON; with --once")
    ] = False,
    carrier: Annotated[
        Carrier, typer.Option(help="襄阳的承载方式 · how 襄阳 is reached")
    ] = Carrier.PUSH,
    folder: Annotated[
        Path, typer.Option("--dir", help="工作目录，会被清空 · work folder; it is emptied")
    ] = _DEFAULT_FOLDER,
) -> None:
    """演示：一台机器上的八个节点 · a whole federation on this machine."""
    started = time.monotonic()
    console = progress_console(as_json=as_json)
    once = once or as_json
    try:
        with claimed(folder) as lock:
            live = console.is_terminal
            run = Run(folder, lock, console, carrier, once=once, small=small, live=live)
            findings, proven = asyncio.run(run.whole())
    except asyncio.CancelledError:
        console.print(_INTERRUPTED)
        raise typer.Exit(_TERMINATED) from None
    except KeyboardInterrupt:
        console.print(_INTERRUPTED)
        raise
    if as_json:
        result = {
            "cases": len(findings.cases),
            "settled": findings.settled,
            "lost": len(findings.lost),
            "duplicated": len(findings.duplicated),
            "refused": len(findings.refused),
            "carrier": carrier.value,
            "seconds": round(time.monotonic() - started, 1),
        }
        print(json.dumps(result), flush=True)  # noqa: T201
    if not (findings.clean and proven):
        raise typer.Exit(Exit.REFUSED)


@dataclass(frozen=True, slots=True)
class Run:
    """One demo.

    Attributes:
        folder: The work folder, claimed.
        lock: The descriptor that holds the claim.
        console: Where it is shown.
        carrier: How 襄阳 is reached.
        once: It ends with the story.
        small: Three nodes.
        live: The board is redrawn in place, and people have time to look.
    """

    folder: Path
    lock: int
    console: Console
    carrier: Carrier
    once: bool
    small: bool
    live: bool

    async def whole(self) -> tuple[Findings, bool]:
        """The steps of the module's docstring, from the first to the last.

        Returns:
            What the audit found, and whether the exported evidence verified.
        """
        main = asyncio.current_task()
        if main is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main.cancel)
        async with AsyncExitStack() as stack:
            signing = choose_suite()
            self._say(f"通办演示 Tongban demo · 签名套件 suite {signing.told}")
            self._say("生成密钥、证书、目录与事项 making keys, certificates, directories …")
            dark = None if self.carrier is Carrier.PUSH else VICTIM
            federation = lay_down_demo(self.folder, signing.suite, small=self.small, dark=dark)
            gates = Gates(self.folder / "gates")
            if self.carrier is Carrier.FERRY:
                gates.put_around(federation, VICTIM)
                await stack.enter_async_context(gates.at_work())
            apis = {
                node: await stack.enter_async_context(site.api())
                for node, site in federation.sites.items()
            }
            processes = {
                node: NodeProcess(node, site.config, apis[node], self.lock)
                for node, site in federation.sites.items()
            }
            stack.push_async_callback(stop_all, list(processes.values()))
            heading = f"通办 Tongban · {len(processes)} 个节点，各为独立进程 · {signing.told}"
            watch = Watch(
                federation, apis, new_board(federation, heading), self.console, live=self.live
            )
            promised: list[str] = []
            async with watch.showing():
                await self._start(processes, watch)
                if TOLD[self.carrier]:
                    watch.event(TOLD[self.carrier])
                await self._play(federation, apis, processes, watch, promised)
                if gates.carried:
                    watch.event(f"网闸共摆渡 {gates.carried} 个文件 files went through the gates")
            stores = read_stores({node: site.store for node, site in federation.sites.items()})
            findings = audit(stores, promised, federation.trust)
            print_report(self.console, federation, watch.board, findings, paths_of(stores))
            proven = await self._prove(federation, watch)
            if not self.once:
                await self._stay(federation)
        return findings, proven

    async def _start(self, processes: dict[str, NodeProcess], watch: Watch) -> None:
        """Every node, all at once."""
        watch.act("启动节点 · starting the nodes")

        async def started(process: NodeProcess) -> None:
            await process.start()
            await process.ready()
            watch.board.nodes[process.node].up = True
            watch.refresh()

        async with asyncio.TaskGroup() as group:
            for process in processes.values():
                group.create_task(started(process))
        watch.event(f"{len(processes)} 个节点进程均已就绪 all nodes serve")

    async def _play(
        self,
        federation: Federation,
        apis: dict[str, LocalNode],
        processes: dict[str, NodeProcess],
        watch: Watch,
        promised: list[str],
    ) -> None:
        """The story, and the wait until everything is over."""
        pace = TO_WATCH if self.live else AT_ONCE
        items = {str(row["code"]): row for row in await next(iter(apis.values())).items()}
        office = Office(pace.desk, SystemClock().now_ms, items, promised.append)
        async with asyncio.TaskGroup() as group:
            desks = [
                group.create_task(Desk(node, api, office).work()) for node, api in apis.items()
            ]
            story = Story(federation, apis, processes, watch, pace, promised.append)
            try:
                async with asyncio.timeout(_STORY_S):
                    await story.play()
                    watch.act("尾声：等候全部办结 · until every case is over")
                    await watch.until(watch.all_over)
            except TimeoutError:
                watch.event("超时：仍有办件未结 not everything is over in time")
            for desk in desks:
                desk.cancel()

    async def _prove(self, federation: Federation, watch: Watch) -> bool:
        """Export the evidence of the case with the longest way, and verify it as anybody could."""
        case_id, line = max(watch.board.cases.items(), key=lambda row: len(row[1].route))
        node = next(node for node, site in federation.sites.items() if site.name == line.route[0])
        file = self.folder / "evidence" / f"case-{line.number}.tbev"
        file.parent.mkdir()
        config = federation.sites[node].config
        export = ("evidence", "export", case_id, "--out", file, "--config", config)
        return await self._command(*export) and await self._command(
            "verify", file, "--trust", federation.anchor
        )

    async def _command(self, *arguments: str | Path) -> bool:
        """A command of our own, shown as one would type it, and what it says; whether it did."""
        words = [".venv/bin/python", "run_node.py", *map(_relative, arguments)]
        self.console.print(f"\n$ {shlex.join(words)}", style="bold", markup=False, soft_wrap=True)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            *map(str, arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()
        self.console.print(told.decode().rstrip(), markup=False, soft_wrap=True)
        return process.returncode == 0

    async def _stay(self, federation: Federation) -> None:
        """Until somebody has seen enough."""
        self._say("\n节点继续运行，窗口与机关已下班 the nodes stay up, the desks have gone home:")
        table = Table.grid(padding=(0, 3))
        for site in federation.sites.values():
            config = f"--config {_relative(site.config)}"
            table.add_row(f"  {site.name}", site.node.id, site.api().url, config)
        self.console.print(table)
        origin, *_, target = federation.sites.values()
        words = f"run_node.py ping {target.node.id} --config {_relative(origin.config)}"
        self._say(f"例如 for example: .venv/bin/python {words}")
        self._say("停止 stop: Ctrl-C")
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stop.wait()
        self._say("正在停止全部节点 stopping all nodes …")

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


def _relative(argument: str | Path) -> str:
    """A path as seen from here, if it lies below."""
    if isinstance(argument, str):
        return argument
    here = Path.cwd()
    return str(argument.relative_to(here) if argument.is_relative_to(here) else argument)
