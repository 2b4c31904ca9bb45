"""The composition root and command line of a Tongban node (通办节点).

    run_node.py init HOME …       make a new node's home
    run_node.py serve             run the node
    run_node.py demo              a whole federation on this machine

Here the rooms are put together and nothing else happens: what a command does is in its module, and
only the module of the command that was called is imported.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

import typer

from node.cli.ending import ended

if TYPE_CHECKING:
    from collections.abc import Sequence

_CASES: Final = "node.cli.cases"
MODULES: Final = {
    "demo": "examples.demo.command",
    "init": "node.cli.init",
    "serve": "node.cli.serve",
    "recover": "node.cli.recover",
    "submit": _CASES,
    "show": _CASES,
    "inbox": _CASES,
    "act": _CASES,
    "ping": _CASES,
    "directory": "node.cli.directory",
    "catalogue": "node.cli.catalogue",
    "keys": "node.cli.keys",
    "log": "node.cli.log",
    "evidence": "node.cli.evidence",
    "verify": "node.cli.evidence",
    "erase": "node.cli.erase",
}


def program(arguments: Sequence[str]) -> typer.Typer:
    """The command line, with what these arguments need; with everything if that is not clear."""
    app = typer.Typer(
        name="run_node.py",
        help="通办节点 · a Tongban node: any window is the right window.",
        epilog="退出码 exit: 0 完成 done, 1 拒绝 refused, 2 用法 usage, 3 未能核查 could not check",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)
    called = arguments[0] if arguments else ""
    needed = [MODULES[called]] if called in MODULES else dict.fromkeys(MODULES.values())
    for name in needed:
        import_module(name).add_to(app)
    return app


def main() -> None:
    """Run the command that was given; exit codes in node/cli/ending.py."""
    arguments = sys.argv[1:]
    sys.exit(ended(lambda: program(arguments)(arguments, prog_name="run_node.py")))


if __name__ == "__main__":
    main()
