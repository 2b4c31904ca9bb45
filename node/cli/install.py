"""`directory install`: what was published, checked against a node's anchor, into its home.

Everything that will then lie in the home is checked together, before anything is written, and
nothing goes back to an older version.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.asking import CONFIG_NAME, ConfigFile
from node.cli.documents import naming, payload_of, read_anchor, read_files, read_octets
from node.cli.ending import CommandError, Exit
from node.cli.output import write
from node.clock import SystemClock
from node.config import load_config
from node.documents import (
    DocumentFile,
    file_name,
    files_in,
    lay_down,
    read_document,
    superseded,
    write_file,
)
from node.federation import take_province
from node.trust_memory import read_memory, remembering, write_memory
from protocol.errors import RefusedError, TongbanError
from protocol.reasons import Reason
from routing.catalogue import SHEET_TYPE, open_sheet
from routing.directory import Directory
from routing.directory_memory import remember
from routing.payload import require_forward

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from node.config import Config
    from node.federation import Held
    from node.trust_memory import TrustMemory
    from routing.directory_roles import TrustAnchor
    from routing.payload import Named


def install(
    files: Annotated[
        list[Path],
        typer.Argument(help="已发布的文件或目录 · what was published, or folders of it"),
    ],
    *,
    anchor: Annotated[
        Path | None, typer.Option(help="首次安装的信任锚 · the trust anchor, the first time")
    ] = None,
    config: ConfigFile = Path(CONFIG_NAME),
) -> None:
    """安装到节点 · check published files against the node's anchor and put them in its home."""
    settings = load_config(config)
    trusted = _anchor_of(settings, anchor)
    fresh = read_files(files)
    there = _installed(settings, fresh)
    with remembering(settings.trust.memory):
        memory = read_memory(settings.trust.memory)
        held = _check_sets(settings, fresh, there, trusted, memory)
        sheets = _check_sheets(fresh, there, trusted, memory, held)
        if anchor is not None and not settings.trust.anchor.exists():
            write_file(settings.trust.anchor, read_octets(anchor))
        lay_down(settings.trust, fresh)
        for file in fresh:
            name = f"{file.name} {payload_of(file).publisher}"
            write(f"已安装 installed {name} 版本 version {payload_of(file).version}")
        for file in there:
            if file.prefix in held and superseded(file, held[file.prefix].province):
                file.path.unlink()
        provinces = {prefix: remember(row.province) for prefix, row in held.items()}
        changed = {
            "provinces": memory.provinces | provinces,
            "sheets": memory.sheets | sheets,
        }
        write_memory(settings.trust.memory, memory.model_copy(update=changed))
    write("运行中的节点半分钟内自行采用 a running node takes it within half a minute")


def _anchor_of(settings: Config, given: Path | None) -> TrustAnchor:
    """The anchor in force; what is installed may be confirmed, never replaced, by a command."""
    path = settings.trust.anchor
    if given is None:
        if not path.exists():
            what = f"{path}: 尚无信任锚 there is no trust anchor yet"
            raise CommandError(what, "首次安装请给出 give it the first time: --anchor FILE")
        return read_anchor(path)
    anchor = read_anchor(given)
    if path.exists() and read_anchor(path) != anchor:
        held = hashlib.sha256(read_octets(path)).hexdigest()[:16]
        what = f"{given}: 与已装信任锚不同 differs from the installed one, {path} ({held}…)"
        remedy = (
            "确需更换时，核实后手工替换该文件 to change it, verify it and replace the file by hand"
        )
        raise CommandError(what, remedy, Exit.REFUSED)
    return anchor


def _installed(settings: Config, fresh: Sequence[DocumentFile]) -> list[DocumentFile]:
    """What lies in the home; a damaged file that one of the fresh ones replaces does not count."""
    found: list[DocumentFile] = []
    replacing = {file_name(file) for file in fresh}
    known = {file.digest for file in fresh}
    for path in files_in((*settings.trust.directories, *settings.trust.catalogue)):
        if not path.exists():
            continue
        try:
            with naming(path):
                file = read_document(path, read_octets(path))
        except TongbanError:
            if path.name not in replacing:
                raise
            write(f"已损坏，将被替换 damaged, to be replaced: {path}")
            continue
        if file.digest not in known:
            found.append(file)
    return found


def _check_sets(
    settings: Config,
    fresh: Sequence[DocumentFile],
    there: Sequence[DocumentFile],
    trusted: TrustAnchor,
    memory: TrustMemory,
) -> dict[str, Held]:
    """The provinces that fresh files concern, each as a set with what lies there already."""
    held: dict[str, Held] = {}
    now_ms = SystemClock().now_ms()
    # A freshness statement takes the place of the one that is there; it is not one of two.
    staying = [row for row in there if not _replaced(row, fresh)]
    for prefix in sorted({file.prefix for file in fresh if file.kind != SHEET_TYPE}):
        entry, known = trusted.entry(prefix), memory.provinces.get(prefix)
        held[prefix] = take_province(entry, [*fresh, *staying], known, now_ms)
        environment = held[prefix].province.environment
        if environment != settings.node.environment:
            detail = f"{prefix} is for {environment}, this node for {settings.node.environment}"
            raise RefusedError(Reason.ENVIRONMENT_MISMATCH, detail)
    return held


def _replaced(row: DocumentFile, fresh: Iterable[DocumentFile]) -> bool:
    return any(row.path.name == file_name(file) for file in fresh)


def _check_sheets(
    fresh: Sequence[DocumentFile],
    there: Sequence[DocumentFile],
    trusted: TrustAnchor,
    memory: TrustMemory,
    held: dict[str, Held],
) -> dict[str, Named]:
    named: dict[str, Named] = {}
    now_ms = SystemClock().now_ms()
    for file in fresh:
        if file.kind != SHEET_TYPE:
            continue
        if file.prefix not in held:
            entry, known = trusted.entry(file.prefix), memory.provinces.get(file.prefix)
            held[file.prefix] = take_province(entry, there, known, now_ms)
        with naming(file.path):
            directory = Directory.merge(row.province for row in held.values())
            sheet = open_sheet(file.octets, directory)
            publisher = sheet.payload.publisher
            require_forward(publisher, sheet.named, memory.sheets.get(publisher))
        named[publisher] = sheet.named
    return named
