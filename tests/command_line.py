"""The command line in this process: what a command printed, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from node.cli.ending import ended
from run_node import program

if TYPE_CHECKING:
    import pytest


class Ending(NamedTuple):
    code: int
    out: str
    err: str


class CommandLine:
    """Runs commands; `pytest.CaptureFixture` takes what they print."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: object) -> Ending:
        words = [str(argument) for argument in arguments]
        self._capture.readouterr()
        code = ended(lambda: program(words)(words, prog_name="run_node.py"))
        out, err = self._capture.readouterr()
        return Ending(int(code), out, err)

    def done(self, *arguments: object) -> str:
        """What a command printed that has to succeed."""
        ending = self(*arguments)
        assert ending.code == 0, ending.err
        return ending.out
