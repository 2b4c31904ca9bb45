"""What is shown while it runs: a live table on a terminal, a line per event anywhere else.

Pure drawing: `Board` holds what the nodes said last, and nothing here asks them anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections import Counter

    from rich.console import RenderableType

_WIDE: Final = 132  # columns from which the authority and the tale have columns of their own
_MIDDLE: Final = 104
_EVENTS: Final = 6

RECEIPTS: Final = {"custody": "托管", "received": "签收", "refused": "拒收"}
_STYLES: Final = {
    "delivered": "bold green",
    "rejected": "bold yellow",
    "refused": "bold red",
    "correcting": "magenta",
    "accepted": "cyan",
    "decided": "cyan",
}


@dataclass(slots=True)
class NodeLine:
    """One node as shown.

    Attributes:
        waiting: Messages waiting here for a peer, by peer.
    """

    node: str
    name: str
    up: bool = False
    waiting: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class CaseLine:
    """One case as shown.

    Attributes:
        tale: What it is there to show.
        route: Short names of the nodes, window first.
        state: Key of the state; `refused` when a node refused the submission.
        state_name: In Chinese.
        holder: Who has it now.
        receipts: Receipts of all its messages by type.
        messages: How many messages it has taken.
    """

    number: int
    item: str
    tale: str
    route: tuple[str, ...]
    authority: str
    state: str
    state_name: str
    holder: str
    receipts: Counter[str]
    messages: int = 0
    over: bool = False

    @property
    def way(self) -> str:
        """From → path → to."""
        return " → ".join(self.route)

    @property
    def proof(self) -> str:
        """The receipts, shortly."""
        return " ".join(
            f"{RECEIPTS[name]}{self.receipts[name]}" for name in RECEIPTS if self.receipts[name]
        )


@dataclass(slots=True)
class Board:
    """Everything that is shown.

    Attributes:
        heading: One line: what runs, how it is signed.
        act: What happens just now.
        events: What happened, newest last: (seconds since the start, text).
        footer: One line under it all.
    """

    heading: str
    act: str = ""
    nodes: dict[str, NodeLine] = field(default_factory=dict)
    cases: dict[str, CaseLine] = field(default_factory=dict)
    events: list[tuple[float, str]] = field(default_factory=list)
    footer: str = ""

    def lines(self) -> list[CaseLine]:
        """The cases in order."""
        return sorted(self.cases.values(), key=lambda line: line.number)


def draw(board: Board, width: int, height: int) -> RenderableType:
    """The whole screen; what does not fit is left out from the oldest finished cases on."""
    nodes = _nodes(board)
    events = Text("\n").join(
        Text.assemble((f"{seconds:5.1f}s ", "dim"), text)
        for seconds, text in board.events[-_EVENTS:]
    )
    # Frame and headings of the three panels, the lines of nodes, events and footer.
    room = max(4, height - 11 - len(nodes.rows) - min(_EVENTS, max(1, len(board.events))))
    return Group(
        Panel(nodes, title=board.heading, title_align="left", border_style="blue"),
        _cases(board, width, room),
        Panel(events, title=board.act, title_align="left", border_style="blue"),
        Text(board.footer, style="bold"),
    )


def state_text(line: CaseLine) -> Text:
    """A case's state in its colour."""
    return Text(line.state_name, _STYLES.get(line.state, ""))


def _nodes(board: Board) -> Table:
    grid = Table.grid(padding=(0, 3))
    lines = list(board.nodes.values())
    for _ in range(4):
        grid.add_column(no_wrap=True)
    cells = [_node(line, board) for line in lines]
    for start in range(0, len(cells), 4):
        grid.add_row(*cells[start : start + 4])
    return grid


def _node(line: NodeLine, board: Board) -> Text:
    mark, style = ("●", "green") if line.up else ("○", "bold red")
    text = Text.assemble((mark, style), f" {line.name} ", (line.node, "dim"))
    waiting = {peer: count for peer, count in line.waiting.items() if count}
    if not line.up:
        text.append(" 已停", "bold red")
    for peer, count in waiting.items():
        name = board.nodes[peer].name if peer in board.nodes else peer
        text.append(f" 待发{name} {count}", "yellow")
    return text


def _cases(board: Board, width: int, room: int) -> Table:
    table = Table(expand=True, border_style="blue", header_style="bold", pad_edge=False)
    table.add_column("№", justify="right", no_wrap=True)
    table.add_column("事项", no_wrap=True, overflow="ellipsis", ratio=3)
    if width >= _WIDE:
        table.add_column("情形", no_wrap=True, overflow="ellipsis", ratio=3)
    table.add_column("窗口 → 路径 → 办理节点", no_wrap=True, overflow="ellipsis", ratio=5)
    if width >= _MIDDLE:
        table.add_column("办理机关", no_wrap=True, overflow="ellipsis", ratio=3)
    table.add_column("状态", no_wrap=True)
    table.add_column("现持有", no_wrap=True, overflow="ellipsis", ratio=3)
    table.add_column("回执", no_wrap=True)
    lines = board.lines()
    hidden = max(0, len(lines) - room)
    if hidden:
        over = [line.number for line in lines if line.over][:hidden]
        lines = [line for line in lines if line.number not in over]
        table.caption = f"另有 {len(over)} 件已办结 · {len(over)} more are over"
    for line in lines[:room]:
        row: list[RenderableType] = [str(line.number), line.item]
        if width >= _WIDE:
            row.append(line.tale)
        row.append(line.way)
        if width >= _MIDDLE:
            row.append(line.authority)
        row += [state_text(line), line.holder, line.proof]
        table.add_row(*row)
    return table
