from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from node.cli.ending import CommandError, Exit, ended, explained
from node.cli.local import NodeUnreachableError, ProblemError
from node.config import ConfigError, Problem
from protocol.errors import RefusedError, UnavailableError
from protocol.reasons import Reason
from signing.keys import KeyStoreError

if TYPE_CHECKING:
    from collections.abc import Callable

PROBLEM = {
    "type": "urn:tongban:reason:body-invalid",
    "title": "正文不符合其结构",
    "detail": "1 to mend",
    "remedy": "compare with the XSD",
    "remedyZh": "对照 XSD 修正",
    "errors": [{"path": "submit.basis", "problem": "missing", "remedy": "add an object"}],
}


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (CommandError("这里 here", "这样 so"), Exit.USAGE, "这里 here\n  -> 这样 so"),
        (RefusedError(Reason.ITEM_UNKNOWN, "item 7"), Exit.REFUSED, "item-unknown"),
        (UnavailableError(Reason.NO_ROUTE, "to 1"), Exit.UNCHECKED, "no-route"),
        (ConfigError([Problem(Path("a.toml"), 7, "bad", "mend")]), Exit.USAGE, "a.toml:7: bad"),
        (KeyStoreError("keys: missing. Restore it."), Exit.UNCHECKED, "keys: missing"),
        (NodeUnreachableError("http://h:1", "refused"), Exit.UNCHECKED, "http://h:1: refused"),
        (ProblemError(422, PROBLEM), Exit.REFUSED, "submit.basis: missing -> add an object"),
        (ProblemError(503, {"title": "忙"}), Exit.UNCHECKED, "忙"),
        (PermissionError(13, "Permission denied", "/x"), Exit.UNCHECKED, "/x: Permission denied"),
        (ExceptionGroup("", [CommandError("first", "so")]), Exit.USAGE, "first"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_kind_of_error_has_its_code_and_says_what_and_remedy(
    error: Exception, code: Exit, told: str
) -> None:
    found, lines = explained(error)
    assert found == code
    assert told in lines
    assert "Traceback" not in lines


def test_a_fault_of_the_program_names_its_place_and_shows_no_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command() -> None:
        raise ZeroDivisionError

    assert ended(command) == Exit.UNCHECKED
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "test_ending.py:" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("raised", "code"),
    [(KeyboardInterrupt(), 130), (SystemExit(2), 2), (SystemExit("words"), 2)],
    ids=["ctrl-c", "usage", "words"],
)
def test_what_ends_a_process_ends_a_command(raised: BaseException, code: int) -> None:
    def command() -> None:
        raise raised

    assert ended(command) == code


def test_done_is_nought() -> None:
    command: Callable[[], None] = lambda: None  # noqa: E731
    assert ended(command) == Exit.DONE
