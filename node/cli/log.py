"""`log`: the evidence log: its head, a proof, and the whole of it checked offline (存证日志)."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.asking import CONFIG_NAME, ConfigFile, ask, open_keys
from node.cli.ending import CommandError, Exit
from node.cli.output import AsJson, write, write_json
from node.config import load_config
from node.log.check import check_log
from node.store.engine import StoreEngine
from node.store.opening import open_database

if TYPE_CHECKING:
    from node.cli.local import Json
    from node.log.check import CheckStep

app = typer.Typer(no_args_is_help=True, help="存证日志 · the evidence log")


def add_to(program: typer.Typer) -> None:
    """Add the group."""
    program.add_typer(app, name="log")


@app.command()
def head(*, config: ConfigFile = Path(CONFIG_NAME), as_json: AsJson = False) -> None:
    """显示最新日志头 · show the newest head of a running node."""
    shown = ask(config, lambda node: node.log_head())
    if as_json:
        write_json(shown)
    else:
        _write_head(shown)


@app.command()
def proof(
    digest: Annotated[
        str, typer.Argument(help="报文摘要或回执摘要，64 位十六进制 · a digest, 64 hex digits")
    ],
    *,
    config: ConfigFile = Path(CONFIG_NAME),
    as_json: AsJson = False,
) -> None:
    """证明某摘要已编入日志 · prove that something was logged under a digest."""
    proven = ask(config, lambda node: node.log_proof(digest.lower()))
    if as_json:
        write_json(proven)
        return
    for leaf in proven["leaves"]:
        write(f"{leaf['index']:>10}  {leaf['instant']}  {leaf['typeName']} {leaf['type']}")
        for number, node in enumerate(leaf["path"]):
            write(f"{'':10}  {number:>2} {node}")
    _write_head(proven["head"])


@app.command()
def check(*, config: ConfigFile = Path(CONFIG_NAME), as_json: AsJson = False) -> None:
    """核对整部日志 · walk the whole log in the node's store, and say what does not hold."""
    settings = load_config(config)
    store, keys = settings.store, open_keys(settings)
    if not store.url and not store.path.exists():
        what = f"{store.path}: 没有数据库 there is no database"
        raise CommandError(what, "核对 check: [store] path")
    with closing(StoreEngine(open_database(store), keys)) as engine:
        steps = engine.read(partial(check_log, keys=keys))
    if as_json:
        write_json({"steps": [_as_json(step) for step in steps]})
    else:
        _write_steps(steps)
    wrong = [step for step in steps if step.count]
    if wrong:
        what = f"第 {wrong[0].number} 步 step {wrong[0].number}: {wrong[0].problems[0]}"
        remedy = "停止写入，保全数据库，与备份比对 keep the store as it is; compare with a backup"
        raise CommandError(what, remedy, Exit.REFUSED)


def _write_head(shown: Json) -> None:
    write(f"节点 node     {shown['node']}  第 {shown['incarnation']} 代 incarnation")
    write(f"叶数 size     {shown['size']}")
    write(f"根 root       {shown['root']}  {shown['digest']}")
    write(f"时刻 instant  {shown['instant']}")
    write(f"密钥 key      {shown['keyId']}  {shown['suite']}")


def _write_steps(steps: list[CheckStep]) -> None:
    for step in steps:
        mark = "不过 FAIL" if step.count else "通过 ok  "
        write(f"{step.number}. {mark}  {step.chinese} {step.name}  {step.looked_at}")
        for problem in step.problems:
            write(f"     {problem}")
        if step.count > len(step.problems):
            write(f"     … {step.count - len(step.problems)}")


def _as_json(step: CheckStep) -> Json:
    return {
        "number": step.number,
        "name": step.name,
        "lookedAt": step.looked_at,
        "wrong": step.count,
        "problems": step.problems,
    }
