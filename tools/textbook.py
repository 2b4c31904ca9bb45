"""How many of the vectors we refuse do other programs accept? Written into signature-interop.md.

``python -m tools.textbook`` measures and writes; the test run measures again and compares.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from tests.other_programs import Jdk, Program, Signxml, Xmlsec1
from tools.vectors.samples import GOOD, SENDER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[1]
VECTORS: Final = ROOT / "docs" / "spec" / "vectors"
PAGE: Final = ROOT / "docs" / "signature-interop.md"
BEGIN, END = "<!-- begin textbook -->", "<!-- end textbook -->"

FAMILIES: Final = {
    "wire": "other spellings of a signed message (另一种写法)",
    "wrap": "wrapping: second, moved and nested signatures (签名包裹)",
    "transform": "other transforms (其他变换)",
    "c14n": "other canonicalisations of SignedInfo (其他规范化)",
    "reference": "other references (其他引用)",
    "digest": "other digests (其他摘要算法)",
    "method": "other signature methods (其他签名算法)",
    "keyinfo": "keys the message brings along (自带密钥)",
    "value": "other forms of the two values (取值的其他形式)",
    "forged": "changed or forged after all (确属改动或伪造)",
}
"""Rows of the table; the last is what every verifier has to refuse."""

ARITHMETIC: Final = "forged"


def families() -> dict[str, list[Path]]:
    """The refused envelopes of the suite these programs know, by row."""
    found: dict[str, list[Path]] = {name: [] for name in FAMILIES}
    for group in ("wire", "signature"):
        for folder in sorted((VECTORS / group).glob("*_fail")):
            case = json.loads((folder / "case.json").read_bytes())
            octets = (folder / "envelope.xml").read_bytes()
            if case["stage"] == "form" and case["expect"] not in ("not-well-formed", "too-large"):
                found[_family(group, folder.name)].append(folder / "envelope.xml")
            elif case["stage"] in ("digest", "signature") and b"#ecdsa-sha256" in octets:
                found[ARITHMETIC].append(folder / "envelope.xml")
    return found


def _family(group: str, name: str) -> str:
    if group == "wire":
        return group
    family = name.partition("-")[0]
    if name.startswith(("digest-value", "signature-value")):
        family = "value"
    return family


def programs(folder: Path) -> list[Program]:
    """The three, with their defaults, working in this folder."""
    return [Xmlsec1(folder), Signxml(), Jdk(folder)]


def table(rows: Mapping[str, Sequence[Path]], accepted: Mapping[str, set[Path]]) -> str:
    """The table: what each program, by its name, accepted of each row."""
    lines = [
        "| refused here | vectors | " + " | ".join(accepted) + " |",
        "|---|" + "---:|" * (1 + len(accepted)),
    ]
    form = [file for name, files in rows.items() if name != ARITHMETIC for file in files]
    counted = [(FAMILIES[name], files) for name, files in rows.items()]
    counted[-1:-1] = [
        ("**together, all refused before any cryptography** (合计)", form),
        ("of these, made without the key (其中无需私钥即可造出)", list(filter(_keyless, form))),
    ]
    for said, files in counted:
        counts = " | ".join(str(len(taken & set(files))) for taken in accepted.values())
        lines.append(f"| {said} | {len(files)} | {counts} |")
    return "\n".join(lines)


def _keyless(file: Path) -> bool:
    """Whether it carries the good message's own signature: anybody on the way can make it."""
    octets = file.read_bytes()
    text = octets.decode("utf-16" if octets[:1] in (b"\xff", b"\xfe") else "latin-1")
    value = GOOD.partition("<ds:SignatureValue>")[2]
    return value[16:56] in re.sub(r"\s", "", text)


def written() -> str:
    """The table as the page has it."""
    text = PAGE.read_text(encoding="utf-8")
    match = re.search(f"{re.escape(BEGIN)}\n\n(.*?)\n\n{re.escape(END)}", text, re.DOTALL)
    return match[1] if match else ""


def main() -> None:
    """Measure, and write the table into the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = families()
    files = [file for found in rows.values() for file in found]
    with TemporaryDirectory() as name:
        accepted = {
            program.name(): program.accepted(files, SENDER) for program in programs(Path(name))
        }
    new = table(rows, accepted)
    PAGE.write_text(f"{before}{BEGIN}\n\n{new}\n\n{END}{after}", encoding="utf-8")
    print(new)


if __name__ == "__main__":
    main()
