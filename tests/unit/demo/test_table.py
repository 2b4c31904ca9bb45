from __future__ import annotations

from collections import Counter
from io import StringIO

import pytest
from rich.console import Console

from examples.demo.table import Board, CaseLine, NodeLine, draw

NODES = [f"42{number:02}00" for number in range(8)]


def board(cases: int, over: int) -> Board:
    lines = {
        f"case {number}": CaseLine(
            number=number,
            item="公共场所卫生许可",
            tale="跨省，到县级机关",
            route=("武汉", "湖北枢纽", "湖南枢纽", "岳阳"),
            authority="岳阳市岳阳楼区卫生健康局",
            state="accepted",
            state_name="已受理",
            holder="岳阳市岳阳楼区卫生健康局",
            receipts=Counter(custody=1, received=3),
            over=number <= over,
        )
        for number in range(1, cases + 1)
    }
    nodes = {node: NodeLine(node, f"节点{node[2:4]}", up=True) for node in NODES}
    nodes[NODES[0]].up, nodes[NODES[1]].waiting = False, {NODES[0]: 7}
    return Board("题", "幕", nodes, lines, [(1.5, "事件")] * 9, "底")


def drawn(shown: Board, width: int, height: int) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height)
    with console.capture() as capture:
        console.print(draw(shown, width, height))
    return capture.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (96, 30), (120, 40), (160, 50)])
@pytest.mark.parametrize(("cases", "over"), [(0, 0), (8, 3), (19, 19), (19, 15), (40, 0)])
def test_the_board_fits_the_screen(width: int, height: int, cases: int, over: int) -> None:
    lines = drawn(board(cases, over), width, height)
    assert len(lines) <= height


def test_who_holds_it_and_what_waits_can_be_read() -> None:
    text = "\n".join(drawn(board(2, 0), 160, 50))
    for word in ("武汉 → 湖北枢纽 → 湖南枢纽 → 岳阳", "已受理", "托1 签3", "候节点00 7", "已停"):
        assert word in text


def test_what_is_left_out_is_the_oldest_that_is_over_and_is_said() -> None:
    lines = drawn(board(19, 15), 96, 30)
    shown = [line.split()[0] for line in lines if "→" in line and line.split()[0].isdigit()]
    assert shown == [str(number) for number in range(20 - len(shown), 20)]
    assert any(f"另有 {19 - len(shown)} 件" in line for line in lines)
