"""`recover`: the operator's word about a recovery, given while the node does not run.

A store that was put back alone is noticed by itself. A home that was put back whole is noticed as
soon as a peer answers; whoever does it says so here. And a peer that is gone for good is left out
here: what only it had is then lost, which the log says for ever (RV-10).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.asking import CONFIG_NAME, ConfigFile, open_keys
from node.cli.ending import CommandError
from node.cli.output import progress
from node.clock import SystemClock
from node.config import load_config
from node.ports import Decision, Unit
from node.recovery.state import begun, recall_row
from node.service import alone
from node.store.engine import Done, StoreEngine
from node.store.opening import open_database
from protocol.identifiers import is_region

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from node.ports import Row


def add_to(program: typer.Typer) -> None:
    """Add the command."""
    program.command()(recover)


def recover(
    *,
    config: ConfigFile = Path(CONFIG_NAME),
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            help="不再等待此对端，它独有的即丢失 · without this peer; what only it has is lost",
        ),
    ] = None,
) -> None:
    """从旧备份还原之后 · after the store or the home was put back from a backup."""
    settings = load_config(config)
    peers = without or []
    for peer in peers:
        if not is_region(peer):
            raise CommandError(f"{peer}: 不是节点编号 not a node id", "六位数字 six digits: 420700")
    here, now_ms = settings.node.id, SystemClock().now_ms()

    def decide(connection: Connection) -> Decision[None]:
        rows: list[Row] = [begun(connection, here, now_ms, "by the operator's word").row]
        rows += [recall_row(connection, peer).excusing.row for peer in peers]
        return Decision(lambda _proofs: (rows, None))

    with alone(settings.store.path):
        engine = StoreEngine(open_database(settings.store), open_keys(settings))
        try:
            (outcome,) = engine.run_group([Unit(decide)])
        finally:
            engine.close()
    if not isinstance(outcome, Done):
        raise outcome.error
    progress(f"{here} 将在下次启动时恢复 recovers at its next start: run_node.py serve")
    for peer in peers:
        progress(f"  不等待 without {peer}")
