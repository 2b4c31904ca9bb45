"""How a command ends: its exit code, and what it says when it could not do what it was asked.

| code | means |
|---|---|
| 0 | done |
| 1 | refused: a rule was broken; the same again will be refused again |
| 2 | usage: the command line, a file it names, or the configuration is wrong |
| 3 | could not check, or could not reach: the node, the disk, the key store; nothing is decided |

Every error is told in one or two lines: what and where, then the remedy. A traceback is never
shown; of a fault in the program itself the place is named, to be reported.
"""

from __future__ import annotations

import sys
import traceback
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from node.cli.local import NodeUnreachableError, ProblemError
from node.config import ConfigError
from protocol.errors import RefusedError, UnavailableError
from signing.keys import KeyStoreError

if TYPE_CHECKING:
    from collections.abc import Callable

_INTERRUPTED: Final = 130  # what shells expect after Ctrl-C
_SHOWN_ERRORS: Final = 5


class Exit(IntEnum):
    """The exit codes."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNCHECKED = 3


class CommandError(Exception):
    """A command cannot do what it was asked.

    Args:
        what: What is wrong, and where.
        remedy: What to do about it.
        code: How the command ends.
    """

    def __init__(self, what: str, remedy: str, code: Exit = Exit.USAGE) -> None:
        self.what: Final = what
        self.remedy: Final = remedy
        self.code: Final = code
        super().__init__(what)


def ended(command: Callable[[], None]) -> int:
    """Run a command to its end; its exit code. What went wrong is told on standard error."""
    try:
        command()
    except SystemExit as end:  # the command line library, after it told what is wrong
        return end.code if isinstance(end.code, int) else Exit.USAGE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.stdout = None
        return Exit.DONE
    except Exception as error:  # noqa: BLE001 - the boundary of the process
        code, told = explained(error)
        sys.stderr.write(f"{told}\n")
        return code
    return Exit.DONE


def explained(error: Exception) -> tuple[Exit, str]:  # noqa: PLR0911 - one per kind of error
    """The exit code for an error, and the lines to tell it; of several, the first."""
    error = _first(error)
    match error:
        case CommandError():
            return error.code, _lines(error.what, error.remedy)
        case RefusedError(reason=reason, detail=detail):
            what = f"拒绝 refused: {reason.chinese} ({reason.code}, {reason.clause}): {detail}"
            return Exit.REFUSED, _lines(what, f"{reason.chinese_remedy} · {reason.remedy}")
        case UnavailableError(reason=reason, detail=detail):
            what = f"未能核查 could not check: {reason.chinese} ({reason.code}): {detail}"
            return Exit.UNCHECKED, _lines(what, f"{reason.chinese_remedy} · {reason.remedy}")
        case ConfigError():
            return Exit.USAGE, str(error)
        case KeyStoreError():
            return Exit.UNCHECKED, f"密钥库 key store: {error}"
        case NodeUnreachableError():
            remedy = "启动节点 start it: run_node.py serve; 或核对 or check: [local] host, port"
            return Exit.UNCHECKED, _lines(f"节点无应答 the node does not answer: {error}", remedy)
        case ProblemError():
            code = Exit.UNCHECKED if error.may_pass else Exit.REFUSED
            return code, _problem(error)
        case ValidationError():
            return Exit.USAGE, _lines(_misfit(error), "修正后重新运行 mend it and run this again")
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            what = f"{where}{error.strerror or error}"
            return Exit.UNCHECKED, _lines(what, "检查路径、权限与磁盘 check path, rights and disk")
        case _:
            return Exit.UNCHECKED, _fault(error)


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _lines(what: str, remedy: str) -> str:
    return f"{what}\n  -> {remedy}"


def _misfit(error: ValidationError) -> str:
    row = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, row["loc"])) or error.title
    return f"{place}: {row['msg'].removeprefix('Value error, ')}"


def _problem(error: ProblemError) -> str:
    told = error.document
    code = str(told.get("type", "")).rpartition(":")[2]
    what = f"拒绝 refused: {told.get('title', error.status)} ({code or error.status})"
    errors = told.get("errors")
    rows = errors if isinstance(errors, list) else []
    if told.get("detail") and not rows:
        what += f": {told['detail']}"
    for row in rows[:_SHOWN_ERRORS]:
        what += f"\n     {row.get('path')}: {row.get('problem')} -> {row.get('remedy')}"
    remedies = [str(told[name]) for name in ("remedyZh", "remedy") if told.get(name)]
    return _lines(what, " · ".join(remedies)) if remedies else what


def _fault(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    what = f"程序缺陷 a fault of this program: {type(error).__name__}: {error} ({place})"
    return _lines(what, "请连同所用命令一并报告 report it with the command you gave")
