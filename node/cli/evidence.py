"""`evidence export` asks a node for proof; `verify` checks it anywhere, without a node or network.

`verify` needs the file, the trust anchor from elsewhere, and nothing else: no configuration, no
clock, no running node.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

import schemas
from node.cli.asking import CONFIG_NAME, ConfigFile, ask
from node.cli.documents import read_anchor, read_octets
from node.cli.ending import CommandError, Exit
from node.cli.local import ProblemError
from node.cli.octets import opened, written_whole
from node.cli.output import AsJson, write, write_json
from node.evidence import verify_file
from protocol.bodies import KINDS, kind_named
from protocol.instants import format_instant
from protocol.receipt import ReceiptType
from signing.evidence import Outcome
from signing.stamps import read_roots

if TYPE_CHECKING:
    from node.cli.local import Json, LocalNode
    from signing.erasure import Erasure
    from signing.evidence import Proven, Report

_OUTCOMES: Final = {
    Outcome.VALID: "有效 valid",
    Outcome.REFUSED: "不予认可 refused",
    Outcome.COULD_NOT_CHECK: "未能核查 could not check",
}
_RECEIPTS: Final = {ReceiptType.RECEIVED: "签收 received", ReceiptType.REFUSED: "拒收 refused"}
_HTTP_NOT_FOUND: Final = 404
_SUFFIX: Final = ".tbev"

app = typer.Typer(no_args_is_help=True, help="存证 · evidence of cases and messages")


def add_to(program: typer.Typer) -> None:
    """Add the group and the command."""
    program.add_typer(app, name="evidence")
    program.command()(verify)


@app.callback()
def _group() -> None:
    """A group also while it has one command."""


@app.command()
def export(
    identifier: Annotated[
        str, typer.Argument(metavar="CASE|MESSAGE", help="办件号或报文号 · case or message id")
    ],
    *,
    out: Annotated[Path | None, typer.Option(help="输出文件 · where it goes")] = None,
    without_bodies: Annotated[
        bool,
        typer.Option(
            "--without-bodies",
            help="不附正文与材料，交给无权阅读的人 · for someone who may not read the contents",
        ),
    ] = False,
    config: ConfigFile = Path(CONFIG_NAME),
    as_json: AsJson = False,
) -> None:
    """导出存证文件 · one file with everything that proves a case, or one message."""
    path = out or Path(f"{identifier}{_SUFFIX}")
    with written_whole(path) as file:
        size = ask(config, lambda node: _export(node, identifier, file, not without_bodies))
    if as_json:
        write_json({"file": str(path), "octets": size})
        return
    write(f"{path}  {size} 字节 octets")
    write(f"核验 check it: run_node.py verify {path} --trust ANCHOR")


def verify(
    file: Annotated[Path, typer.Argument(help="存证文件 · an evidence file")],
    *,
    trust: Annotated[
        Path, typer.Option("--trust", help="信任锚，须来自文件之外 · the anchor, from elsewhere")
    ],
    tsa: Annotated[
        Path | None,
        typer.Option(
            "--tsa",
            help="时间戳机构根证书（PEM）· roots of time-stamping authorities, from elsewhere",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """核验存证文件 · check an evidence file, step by step, offline."""
    kinds = frozenset(kind.name for kind in KINDS)
    roots = () if tsa is None else read_roots(read_octets(tsa))
    with opened(file) as octets:
        report = verify_file(octets, read_anchor(trust), schemas.compiled(), kinds, roots)
    if as_json:
        write_json(_as_json(report))
    else:
        _write_report(file, report)
    if report.outcome is Outcome.VALID:
        return
    failed = report.steps[-1]
    what = f"{file}: 第 {failed.number} 步 step {failed.number} {failed.chinese} {failed.name}"
    if report.outcome is Outcome.COULD_NOT_CHECK:
        remedy = "在支持该套件的机器上核验 check it on a machine with this suite"
        raise CommandError(f"{what}: {failed.detail}", remedy, Exit.UNCHECKED)
    remedy = "向导出节点重新索取，并核对信任锚 ask the exporting node again; check the trust anchor"
    raise CommandError(f"{what}: {failed.detail}", remedy, Exit.REFUSED)


async def _export(node: LocalNode, identifier: str, file: BinaryIO, contents: bool) -> int:  # noqa: FBT001
    """Of the case, or of the message with this id."""
    try:
        return await node.evidence("cases", identifier, file, contents=contents)
    except ProblemError as problem:
        if problem.status != _HTTP_NOT_FOUND:
            raise
    return await node.evidence("messages", identifier, file, contents=contents)


def _write_report(file: Path, report: Report) -> None:
    for step in report.steps:
        mark = "通过 ok  " if step.passed else "不过 FAIL"
        write(f"{step.number}. {mark}  {step.chinese} {step.name}  {step.detail}".rstrip())
    for proven in report.proven:
        number = "" if proven.sequence is None else f"{proven.sequence} "
        kind = f"{kind_named(proven.kind).chinese} {proven.kind}"
        told = f"   {number}{kind}  {proven.sender} → {proven.recipient}  "
        told += f"{_RECEIPTS[proven.outcome]} {format_instant(proven.received_ms)}"
        if proven.custody:
            told += f"  经 via {', '.join(proven.custody)}"
        write(told)
        if proven.erasure is not None:
            ground, erased = proven.erasure.ground, format_instant(proven.erasure.erased_ms)
            write(f"      内容已删除 contents erased  {erased}  {ground.chinese} {ground.english}")
        elif proven.missing:
            write(f"      未附 left out: {', '.join(proven.missing)}")
    write(f"{_OUTCOMES[report.outcome]}: {file}")


def _as_json(report: Report) -> Json:
    about = report.about
    return {
        "outcome": report.outcome.value,
        "steps": [
            {
                "number": step.number,
                "name": step.name,
                "passed": step.passed,
                "detail": step.detail,
            }
            for step in report.steps
        ],
        "about": None
        if about is None
        else {
            "environment": about.environment,
            "subject": about.subject.value,
            "subjectId": about.subject_id,
            "node": about.node,
            "exported": format_instant(about.exported_ms),
        },
        "stamped": None if report.stamped_ms is None else format_instant(report.stamped_ms),
        "proven": [_proven(row) for row in report.proven],
    }


def _proven(row: Proven) -> Json:
    return {
        "messageId": row.message_id,
        "kind": row.kind,
        "sequence": row.sequence,
        "sender": row.sender,
        "recipient": row.recipient,
        "outcome": row.outcome.name.lower(),
        "reason": None if row.reason is None else row.reason.code,
        "received": format_instant(row.received_ms),
        "custody": list(row.custody),
        "missing": list(row.missing),
        "erased": None if row.erasure is None else _erasure(row.erasure),
    }


def _erasure(erasure: Erasure) -> Json:
    return {
        "instant": format_instant(erasure.erased_ms),
        "authority": erasure.authority,
        "ground": erasure.ground.code,
    }
