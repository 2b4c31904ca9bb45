"""What is shown while it runs: a live table on a terminal, a line per event anywhere else.

Pure drawing: `Board` holds what the nodes said last, and nothing here asks them anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections import Counter

    from rich.console import RenderableType

_WIDE: Final = 148  # columns from which the tale, and then the authority, has one of its own
_MIDDLE: Final = 110
_EVENTS: Final = 6
_NODES_IN_A_LINE = (4, 3)  # where there is room, and where there is less

RECEIPTS: Final = {"custody": "托", "received": "签", "refused": "拒"}
LEGEND: Final = "回执：托 转运节点托管 custody，签 目的地签收 received，拒 目的地拒收 refused"
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
        up: Whether it runs; None before it first did.
        waiting: Messages here whose way leads over a peer and that are not receipted, by peer.
    """

    node: str
    name: str
    up: bool | None = None
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
        over: It has ended, and every message of both ends is receipted.
        why: Why a node refused it.
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
    why: str = ""

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
    """The whole screen; what does not fit is left out, the oldest finished cases first."""
    nodes = _nodes(board, _NODES_IN_A_LINE[width < _MIDDLE])
    shown = board.events[-_EVENTS:]
    events = Text("\n", no_wrap=True, overflow="ellipsis").join(
        Text.assemble((f"{seconds:6.1f} s  ", "dim"), text) for seconds, text in shown
    )
    # Frames of the two panels, head, rule and caption of the table, the last line.
    room = max(4, height - 10 - nodes.row_count - max(1, len(shown)))
    return Group(
        Panel(nodes, title=board.heading, title_align="left", border_style="blue"),
        _cases(board, width, room),
        Panel(events, title=board.act, title_align="left", border_style="blue"),
        Text(board.footer, style="bold", no_wrap=True),
    )


def state_text(line: CaseLine) -> Text:
    """A case's state in its colour."""
    return Text(line.state_name, _STYLES.get(line.state, ""))


def _nodes(board: Board, across: int) -> Table:
    grid = Table.grid(padding=(0, 3))
    for _ in range(across):
        grid.add_column(no_wrap=True)
    cells = [_node(line, board) for line in board.nodes.values()]
    for start in range(0, len(cells), across):
        grid.add_row(*cells[start : start + across])
    return grid


def _node(line: NodeLine, board: Board) -> Text:
    mark, style, told = {
        None: ("○", "yellow", " 启动中"),
        True: ("●", "green", ""),
        False: ("○", "bold red", " 已停"),
    }[line.up]
    text = Text.assemble((mark, style), f" {line.name} ", (line.node, "dim"), (told, style))
    for peer, count in line.waiting.items():
        if count:
            name = board.nodes[peer].name if peer in board.nodes else peer
            text.append(f"  候{name} {count}", "yellow")
    return text


def _cases(board: Board, width: int, room: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("№", justify="right", no_wrap=True)
    table.add_column("事项", no_wrap=True, overflow="ellipsis", ratio=4)
    if width >= _WIDE:
        table.add_column("情形", no_wrap=True)
    table.add_column("窗口 → 路径 → 办理节点", no_wrap=True)
    if width >= _MIDDLE:
        table.add_column("办理机关", no_wrap=True, overflow="ellipsis", ratio=4)
    table.add_column("状态", no_wrap=True)
    table.add_column("现由谁持有", no_wrap=True, overflow="ellipsis", ratio=4)
    table.add_column("回执", no_wrap=True)
    lines = board.lines()
    excess = max(0, len(lines) - room)
    hidden = {line.number for line in [line for line in lines if line.over][:excess]}
    shown = [line for line in lines if line.number not in hidden][:room]
    if excess:
        table.caption = f"另有 {excess} 件未显示 · {excess} more are not shown"
    for line in shown:
        row: list[RenderableType] = [str(line.number), line.item]
        if width >= _WIDE:
            row.append(line.tale)
        row.append(line.way)
        if width >= _MIDDLE:
            row.append(line.authority)
        row += [state_text(line), line.holder, line.proof]
        table.add_row(*row)
    return table
