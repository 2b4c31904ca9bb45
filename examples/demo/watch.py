"""Watching: ask the nodes what they hold, put it on the board, and show the board.

What is on the screen comes from the nodes' own answers: cases from the window's node and, to see
whether everything is settled, from the handling node; queues from each node's health.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.live import Live

from examples.demo.table import LEGEND, Board, CaseLine, NodeLine, draw
from node.cli.local import NodeUnreachableError, ProblemError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from examples.demo.federation import Federation
    from examples.federation import Application
    from node.cli.local import Json, LocalNode
    from routing.catalogue import Item

_POLL_S: Final = 0.25
_LONG_NAME: Final = 11
_LOG_WIDTH: Final = 140  # of tables in a file, where nothing says how wide it is
_UNDER_WAY: Final = "转送中"
_REFUSED: Final = "节点拒收"
_OVER: Final = "—"


@dataclass(frozen=True, slots=True)
class Followed:
    """Where a case is asked about."""

    window: str
    handling: str


@dataclass(slots=True)
class Watch:
    """The board, kept up to date.

    Attributes:
        live: The board is redrawn in place; otherwise each event is a line.
        console: Where it is shown.
    """

    federation: Federation
    apis: dict[str, LocalNode]
    board: Board
    console: Console
    live: bool
    started: float = field(default_factory=time.monotonic)
    _followed: dict[str, Followed] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _screen: Live | None = None
    _poller: asyncio.Task[None] | None = None

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    @asynccontextmanager
    async def showing(self) -> AsyncIterator[None]:
        """Show the board and keep it up to date while the block runs."""
        if not self.live:
            async with self._polling():
                yield
            return
        with Live(console=self.console, auto_refresh=False, transient=True, screen=True) as screen:
            self._screen = screen
            async with self._polling():
                yield
            self._screen = None

    @asynccontextmanager
    async def _polling(self) -> AsyncIterator[None]:
        self._poller = asyncio.create_task(self._poll())
        self._poller.add_done_callback(lambda _task: self._changed.set())
        try:
            yield
        finally:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    def act(self, title: str) -> None:
        """A new act begins."""
        self.board.act = title
        self._say(f"—— {title}")
        self.refresh()

    def event(self, text: str) -> None:
        """Something happened."""
        self.board.events.append((self.seconds, text))
        self._say(text)
        self.refresh()

    def follow(
        self, number: int, tale: str, application: Application, answer: Json, item: Item
    ) -> None:
        """Watch a case from now on."""
        authority = answer["authority"]
        # Some names fill half a screen; the window knows them by a shorter one.
        name = item.name if len(item.name) <= _LONG_NAME else item.aliases[0]
        line = CaseLine(
            number=number,
            item=name,
            tale=tale,
            route=tuple(self.federation.name(node) for node in answer["route"]),
            authority=str(authority["name"]),
            state="new",
            state_name=_UNDER_WAY,
            holder=self.federation.name(application.window.node),
            receipts=Counter(),
        )
        case_id = str(answer["caseId"])
        self.board.cases[case_id] = line
        self._followed[case_id] = Followed(application.window.node, str(authority["node"]))
        self._say(f"№{number:<2} {line.item}  {line.way}  收件 → {line.authority}（{tale}）")
        self.refresh()

    def waiting_for(self, peer: str) -> int:
        """How many messages wait for a node, at all others together."""
        return sum(line.waiting.get(peer, 0) for line in self.board.nodes.values())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once this holds on the board."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()
            if self._poller is not None and self._poller.done():
                self._poller.result()

    def all_over(self) -> bool:
        """Whether every case is over and settled at both ends."""
        return all(line.over for line in self.board.cases.values())

    def refresh(self) -> None:
        """Redraw."""
        if self._screen is not None:
            size = self.console.size
            self._screen.update(draw(self.board, size.width, size.height), refresh=True)

    def _say(self, text: str) -> None:
        if not self.live:
            print(f"[{self.seconds:6.1f}s] {text}", file=self.console.file, flush=True)

    async def _poll(self) -> None:
        while True:
            await asyncio.gather(
                *(self._ask_health(node) for node in self.apis),
                *(self._ask_case(case_id) for case_id in list(self._followed)),
            )
            over = sum(line.over for line in self.board.cases.values())
            counted = f"已结 {over}/{len(self.board.cases)}"
            self.board.footer = f" {counted}   {self.seconds:.0f} 秒   {LEGEND}"
            self.refresh()
            self._changed.set()
            await asyncio.sleep(_POLL_S)

    async def _ask_health(self, node: str) -> None:
        line = self.board.nodes[node]
        try:
            health = await self.apis[node].health()
        except (NodeUnreachableError, ProblemError):
            return  # a node that is down is shown by whoever took it down
        line.waiting = {str(peer["node"]): int(peer["queue"]) for peer in health["peers"]}

    async def _ask_case(self, case_id: str) -> None:
        line, followed = self.board.cases[case_id], self._followed[case_id]
        if line.over:
            return
        try:
            case = await self.apis[followed.window].case(case_id)
        except (NodeUnreachableError, ProblemError):
            return
        before = line.state
        self._note(line, case)
        if case["settled"]:
            line.over = case["outcome"] == "refused" or await self._settled_there(case_id)
        if line.state != before:
            self._say(f"№{line.number:<2} {line.item}  {line.way}  {line.state_name}")
            if line.why:
                self.event(f"№{line.number} {line.route[-1]}节点拒收，回执已签名：{line.why}")

    async def _settled_there(self, case_id: str) -> bool:
        followed = self._followed[case_id]
        try:
            return bool((await self.apis[followed.handling].case(case_id))["settled"])
        except (NodeUnreachableError, ProblemError):
            return False

    def _note(self, line: CaseLine, case: Json) -> None:
        side = next(side for side in case["sides"] if side["side"] == "collect")
        line.state, line.state_name = str(side["state"]), str(side["stateName"])
        if case["outcome"] == "refused":
            line.state, line.state_name = "refused", _REFUSED
            first = case["messages"][0]
            line.why = f"{first['reason']}: {first['detail']}"
        elif line.state == "new":
            line.state_name = _UNDER_WAY
        holder = case["holder"]
        line.holder = _OVER if holder is None else str(holder["name"]).removesuffix("节点")
        # Where both ends are at one node, it shows each message twice: as sent and as received.
        messages = {message["messageId"]: message for message in case["messages"]}.values()
        line.messages = len(messages)
        line.receipts = Counter(row["type"] for message in messages for row in message["receipts"])


def new_board(federation: Federation, heading: str) -> Board:
    """A board with the nodes on it."""
    lines = {node: NodeLine(node, site.name) for node, site in federation.sites.items()}
    return Board(heading, nodes=lines)


def progress_console(*, as_json: bool) -> Console:
    """Where progress is shown: standard output, or standard error if the other carries JSON."""
    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = _LOG_WIDTH
    return console
