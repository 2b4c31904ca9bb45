"""What the commands that concern one node share: its configuration, its keys, its local API."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypeVar

import typer

from node.cli.ending import CommandError
from node.cli.local import LocalNode
from node.config import Config, load_config
from node.keystore import FileKeyStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

CONFIG_NAME: Final = "node.toml"
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound

ConfigFile: TypeAlias = Annotated[
    Path,
    typer.Option("--config", "-c", help="节点配置文件 · the node's configuration file"),
]


def open_keys(config: Config) -> FileKeyStore:
    """The node's key store; KeyStoreError with the remedy."""
    return FileKeyStore(config.keys.directory)


def local_node(config: Config) -> LocalNode:
    """The client of a node's local API.

    Raises:
        CommandError: its token cannot be read.
    """
    host = _ANY_ADDRESS.get(config.local.host, config.local.host)
    host = f"[{host}]" if ":" in host else host
    path = config.local.token_file
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        what = f"{path}: 令牌不可读 the token cannot be read: {error}"
        remedy = "以节点的用户运行，或核对 run as the node's user, or check: [local] token_file"
        raise CommandError(what, remedy) from error
    return LocalNode(f"http://{host}:{config.local.port}", token)


def ask(file: Path, question: Callable[[LocalNode], Awaitable[T]]) -> T:
    """Put a question to the running node of a configuration file; its answer."""

    async def asked() -> T:
        async with local_node(load_config(file)) as node:
            return await question(node)

    return asyncio.run(asked())
