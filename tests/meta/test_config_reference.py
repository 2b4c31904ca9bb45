from __future__ import annotations

from pathlib import Path

from node.config_text import reference_markdown

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_reference_says_what_the_program_reads() -> None:
    written = REFERENCE.read_text(encoding="utf-8")
    remedy = "write it anew: .venv/bin/python -m node.config_text > docs/configuration.md"
    assert written == reference_markdown(), remedy
