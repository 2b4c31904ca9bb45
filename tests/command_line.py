"""The command line in this process: what a command printed, and how it ended."""

from __future__ import annotations

import contextlib
import io
import json
from functools import cache
from typing import Any, NamedTuple

from typer.main import get_command

from node.cli.ending import ended
from run_node import program


class Ending(NamedTuple):
    code: int
    out: str
    err: str


@cache
def _command(name: str) -> Any:
    """The command line for a first word; making it takes longer than most commands."""
    return get_command(program([name]))


def run(*arguments: object) -> Ending:
    words = [str(argument) for argument in arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = ended(lambda: _command(words[0] if words else "")(words, prog_name="run_node.py"))
    return Ending(int(code), out.getvalue(), err.getvalue())


def done(*arguments: object) -> str:
    """What a command printed that has to succeed."""
    ending = run(*arguments)
    assert ending.code == 0, ending.err
    return ending.out


def asked(*arguments: object) -> Any:
    """The JSON document a command printed that has to succeed."""
    return json.loads(done(*arguments, "--json"))
