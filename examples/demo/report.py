"""The last word: every case's path and result, and what the audit found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from examples.demo.table import state_text

if TYPE_CHECKING:
    from rich.console import Console

    from examples.demo.audit import Findings, Stores
    from examples.demo.federation import Federation
    from examples.demo.table import Board


def paths_of(stores: Stores) -> dict[str, tuple[str, ...]]:
    """The nodes each case's submission really passed, as its destination recorded them."""
    return {
        held.case_id: (*dict.fromkeys((*held.path.split(","), held.node)),)
        for held in stores.messages
        if held.case_id and held.kind == "case.submit" and held.role == "in"
    }


def print_report(
    console: Console,
    federation: Federation,
    board: Board,
    findings: Findings,
    paths: dict[str, tuple[str, ...]],
) -> None:
    """Every case, then the count."""
    table = Table(title="全部办件 · every case", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("№", justify="right")
    for head in ("事项", "实际路径", "办理机关", "结果", "报文", "两端已结"):
        table.add_column(head, overflow="fold")
    for case_id, line in sorted(board.cases.items(), key=lambda entry: entry[1].number):
        way = " → ".join(federation.name(node) for node in paths.get(case_id, ()))
        settled = "是" if findings.cases.get(case_id) else "否"
        result = state_text(line)
        if line.why:
            result.append(f" {line.why.partition(':')[0]}")
        table.add_row(
            str(line.number),
            line.item,
            way,
            line.authority,
            result,
            str(line.messages),
            settled,
        )
    console.print(table)
    console.print(_count(findings))
    for what, found in (
        ("丢失 lost", findings.lost),
        ("重复 duplicated", findings.duplicated),
        ("未结 unsettled", findings.unsettled),
    ):
        for finding in found:
            console.print(f"  {what}: {finding}", style="red", markup=False)


def _count(findings: Findings) -> Text:
    clean = "bold green"
    broken = "bold red"
    return Text.assemble(
        ("清点 audit ", "bold"),
        f"（读各节点数据库 from the nodes' stores）  报文 {findings.messages}"
        f"  目的地回执验签通过 {findings.receipts}\n",
        f"办件 {len(findings.cases)}  办结 {findings.settled}  节点拒收 {len(findings.refused)}  ",
        (f"丢失 lost {len(findings.lost)}", broken if findings.lost else clean),
        "  ",
        (
            f"重复 duplicated {len(findings.duplicated)}",
            broken if findings.duplicated else clean,
        ),
        f"  未结 unsettled {len(findings.unsettled)}",
    )
