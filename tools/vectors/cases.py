"""One case: a folder with `case.json` and the octets it is about."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocol.reasons import Reason

Json: TypeAlias = "str | int | list[Json] | dict[str, Json] | None"
Stage = Literal["form", "directory", "digest", "signature", "clock"]
"""Where a verifier has to have refused; see docs/spec/vectors/README.md."""

CASE_FILE: Final = "case.json"


@dataclass(frozen=True, slots=True)
class Case:
    """What a folder holds.

    Attributes:
        group: The folder's folder; it says which check is run.
        name: In lower case with hyphens; the folder's ends in ``_fail`` unless it is valid.
        what: What the octets are, in one sentence.
        what_zh: The same in Chinese.
        why: Which hole would be open without the rule.
        clause: The rule, or several with spaces between them.
        files: Octets by file name.
        expect: The reason it is refused with; None for valid.
        stage: Where it is refused; None for valid, and for groups without stages.
        inputs: What else a verifier is given.
        result: What a valid case says once it is read.
    """

    group: str
    name: str
    what: str
    what_zh: str
    why: str
    clause: str
    files: Mapping[str, bytes]
    expect: Reason | None = None
    stage: Stage | None = None
    inputs: Mapping[str, Json] = field(default_factory=dict)
    result: Mapping[str, Json] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Its place below docs/spec/vectors."""
        return f"{self.group}/{self.name}{'' if self.expect is None else '_fail'}"

    def octets(self) -> dict[str, bytes]:
        """Every file of the folder."""
        clauses: list[Json] = [*self.clause.split()]
        told: dict[str, Json] = {
            "what": self.what,
            "whatZh": self.what_zh,
            "why": self.why,
            "clause": self.clause if len(clauses) == 1 else clauses,
            "expect": "valid" if self.expect is None else self.expect.code,
        }
        if self.stage is not None:
            told["stage"] = self.stage
        told |= self.inputs
        if self.result:
            told["result"] = dict(self.result)
        text = json.dumps(told, ensure_ascii=False, indent=2) + "\n"
        return {CASE_FILE: text.encode(), **self.files}


@dataclass(frozen=True, slots=True)
class Shared:
    """A folder that several cases of a group refer to; it is no case itself."""

    group: str
    name: str
    files: Mapping[str, bytes]

    @property
    def folder(self) -> str:
        """Its place below docs/spec/vectors."""
        return f"{self.group}/{self.name}"

    def octets(self) -> Mapping[str, bytes]:
        """Every file of the folder."""
        return self.files
