"""`serve`: run a node until it is told to stop, by Ctrl-C, SIGTERM, or the end of its input.

SIGHUP puts newly installed directories and catalogues in force.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.asking import CONFIG_NAME, ConfigFile
from node.cli.output import NOT_DIALLED, progress
from node.config import load_config
from node.logs import set_up_logging
from node.service import serve as serve_node

if TYPE_CHECKING:
    from node.service import Service


def add_to(program: typer.Typer) -> None:
    """Add the command."""
    program.command()(serve)


def serve(
    *,
    config: ConfigFile = Path(CONFIG_NAME),
    until_eof: Annotated[
        bool,
        typer.Option(
            "--until-eof", help="标准输入结束时停止 · stop when standard input ends: no orphans"
        ),
    ] = False,
    recover: Annotated[
        bool,
        typer.Option(
            "--recover",
            help="存储已从备份还原：先向对端取回所失 · the store was put back: recover first",
        ),
    ] = False,
) -> None:
    """启动节点 · run the node."""
    if until_eof:
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    settings = load_config(config)
    set_up_logging(settings.log)
    asyncio.run(serve_node(settings, _tell, recover=recover))


def _tell(service: Service) -> None:
    node, recovery = service.config.node, service.engine.recovery
    peers = service.config.peers.url or NOT_DIALLED
    progress(f"{node.name} {node.id} 已启动 serves  peers {peers}")
    progress(f"  本地接口 local API {service.url}")
    if not recovery.working:
        progress(f"  正在从旧备份恢复，暂不办件 recovering, cases wait: {recovery.why}")
        progress("  进度 how far it is: GET /v1/health")
    progress("  停止 stop: Ctrl-C; 重读签名文件 reload signed files: SIGHUP")


def _stop_at_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
