"""`erase`: erase the contents of a case or message, as the law demands; the proof stays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from node.cli.asking import CONFIG_NAME, ConfigFile, ask
from node.cli.local import ProblemError
from node.cli.output import AsJson, write, write_json
from signing.erasure import Ground

if TYPE_CHECKING:
    from node.cli.local import Json, LocalNode

_HTTP_NOT_FOUND: Final = 404
_GROUNDS: Final = "；".join(f"{ground.code} {ground.chinese}" for ground in Ground)


def add_to(program: typer.Typer) -> None:
    """Add the command."""
    program.command()(erase)


def erase(
    identifier: Annotated[
        str, typer.Argument(metavar="CASE|MESSAGE", help="办件号或报文号 · case or message id")
    ],
    *,
    authority: Annotated[
        str, typer.Option(help="哪个机关的留存，统一社会信用代码 · whose copies, by USCC")
    ],
    name: Annotated[str, typer.Option(help="决定删除的人员 · who decided")],
    staff: Annotated[str, typer.Option(help="其工号 · their staff number")],
    ground: Annotated[str, typer.Option(help=f"法定情形 · by law: {_GROUNDS}")],
    note: Annotated[str, typer.Option(help="说明 · in words")] = "",
    although_open: Annotated[
        bool, typer.Option("--although-open", help="办件未办结也删除 · the case is not over")
    ] = False,
    config: ConfigFile = Path(CONFIG_NAME),
    as_json: AsJson = False,
) -> None:
    """依法删除正文与材料，交接凭证保留 · erase bodies and parts; what proves them stays."""
    order = {
        "authority": authority,
        "name": name,
        "staffNumber": staff,
        "ground": ground,
        "note": note,
        "althoughOpen": although_open,
    }
    erased = ask(config, lambda node: _erased(node, identifier, order))
    if as_json:
        write_json({"erased": erased})
        return
    for row in erased:
        write(f"{row['messageId']}  {row['instant']}  {row['groundName']} {row['ground']}")
        write(f"  存证日志 log proof {row['leaf']}")
    write(f"已删除 erased: {len(erased)}")
    write("其他机关的留存、备份不在此列 copies of other authorities and backups are not touched")


async def _erased(node: LocalNode, identifier: str, order: Json) -> list[Json]:
    """Of the case, or of the message with this id."""
    try:
        return await node.erase("cases", identifier, order)
    except ProblemError as problem:
        if problem.status != _HTTP_NOT_FOUND:
            raise
    return await node.erase("messages", identifier, order)
