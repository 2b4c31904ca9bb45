"""`keys`: the signing keys of a node. Secrets never leave the key store, nor get on the screen."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.asking import CONFIG_NAME, ConfigFile, open_keys
from node.cli.ending import CommandError
from node.cli.output import AsJson, write, write_json, write_table
from node.clock import SystemClock, SystemEntropy
from node.config import load_config
from protocol.identifiers import is_region, is_uscc
from protocol.instants import format_instant
from signing.keys import KeyUse  # noqa: TC001 - typer reads it
from signing.suites import Suite  # noqa: TC001 - typer reads it

if TYPE_CHECKING:
    from node.keystore import FileKeyStore, KeyEntry

_ENTROPY_OCTETS = 48

app = typer.Typer(no_args_is_help=True, help="签名密钥 · the node's signing keys")


def add_to(program: typer.Typer) -> None:
    """Add the group."""
    program.add_typer(app, name="keys")


@app.command("list")
def list_keys(*, config: ConfigFile = Path(CONFIG_NAME), as_json: AsJson = False) -> None:
    """列出全部密钥 · list all keys, oldest first."""
    store = open_keys(load_config(config))
    entries = store.keys()
    rows = [_shown(store, entry) for entry in entries]
    if as_json:
        write_json({"keys": rows})
        return
    heads = ("用途 use", "持有者 owner", "套件 suite", "创建 created", "密钥号 key id")
    names = ("use", "owner", "suite", "created", "keyId")
    write_table(heads, ([row[name] for name in names] for row in rows))


@app.command("new")
def new_key(
    use: Annotated[KeyUse, typer.Argument(help="用途 · what it may sign")],
    owner: Annotated[
        str, typer.Argument(help="机关的统一社会信用代码，或节点编号 · USCC, or node id")
    ],
    *,
    suite: Annotated[Suite | None, typer.Option(help="算法套件 · suite")] = None,
    config: ConfigFile = Path(CONFIG_NAME),
    as_json: AsJson = False,
) -> None:
    """生成一把密钥 · make a key; it counts once the directory lists it."""
    settings = load_config(config)
    if not is_uscc(owner) and not is_region(owner):
        what = f"{owner}: 既非统一社会信用代码亦非节点编号 neither a USCC nor a node id"
        raise CommandError(what, "核对校验位 check the code and its check digit")
    store = open_keys(settings)
    store.create_key(
        use,
        owner,
        suite or settings.node.suite,
        SystemEntropy().octets(_ENTROPY_OCTETS),
        SystemClock().now_ms(),
    )
    newest = store.keys()[-1]
    _write_one(store, newest, as_json=as_json)


@app.command("show")
def show_key(
    key_id: Annotated[str, typer.Argument(help="密钥号，可只写开头 · key id, or its beginning")],
    *,
    config: ConfigFile = Path(CONFIG_NAME),
    as_json: AsJson = False,
) -> None:
    """显示一把密钥的公开部分 · show the public part of a key."""
    store = open_keys(load_config(config))
    entries = store.keys()
    found = [entry for entry in entries if entry.key_id.startswith(key_id)]
    if len(found) != 1:
        what = f"{key_id}: {len(found)} 把密钥与之相符 keys match"
        raise CommandError(what, "查看 look with: run_node.py keys list")
    _write_one(store, found[0], as_json=as_json)


def _shown(store: FileKeyStore, entry: KeyEntry) -> dict[str, str]:
    return {
        "keyId": entry.key_id,
        "use": entry.use.value,
        "owner": entry.owner,
        "suite": entry.suite.value,
        "created": format_instant(entry.created_ms),
        "spki": base64.b64encode(store.public(entry.key_id).spki).decode("ascii"),
    }


def _write_one(store: FileKeyStore, entry: KeyEntry, *, as_json: bool) -> None:
    row = _shown(store, entry)
    if as_json:
        write_json(row)
        return
    for name, value in row.items():
        write(f"{name:8} {value}")
