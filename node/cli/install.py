"""`directory install`: what was published, checked against a node's anchor, into its home.

Everything that will then lie in the home is checked together, before anything is written; and no
file goes back to an older version.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.asking import CONFIG_NAME, ConfigFile
from node.cli.documents import NAMES, check_files, read_anchor, read_file, read_octets, write_file
from node.cli.ending import CommandError, Exit
from node.cli.output import write
from node.config import load_config
from protocol.errors import TongbanError
from routing.directory import DIRECTORY_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from node.cli.documents import DocumentFile
    from node.config import Config
    from routing.directory import TrustAnchor


def install(
    files: Annotated[
        list[Path], typer.Argument(help="已签发的目录、事项、实施清单 · directories, items, sheets")
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
    fresh = [read_file(path) for path in files]
    there = _installed(settings, fresh)
    replaced = {id(old) for new in fresh for old in there if _same_publisher(old, new)}
    stay = [old.path for old in there if id(old) not in replaced]
    check_files([*files, *stay], trusted)
    places = [_place(settings, new, there) for new in fresh]
    for new, (_, old) in zip(fresh, places, strict=True):
        _refuse_rollback(new, old)
    if anchor is not None and not settings.trust.anchor.exists():
        write_file(settings.trust.anchor, read_octets(anchor))
    for new, (place, _) in zip(fresh, places, strict=True):
        write_file(place, new.octets)
        name = f"{NAMES[new.kind]} {new.payload.publisher}"
        write(f"已安装 installed {name} 版本 version {new.payload.version}  {place}")
    write(
        "运行中的节点在 SIGHUP 或重启后生效 a running node takes it on SIGHUP, or at its next start"
    )


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
    replacing = {f"{NAMES[new.kind]}-{new.payload.publisher}.json" for new in fresh}
    for path in (*settings.trust.directories, *settings.trust.catalogue):
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        for file in files:
            if not file.exists():
                continue
            try:
                found.append(read_file(file))
            except TongbanError:
                if file.name not in replacing:
                    raise
                write(f"已损坏，将被替换 damaged, to be replaced: {file}")
    return found


def _same_publisher(one: DocumentFile, other: DocumentFile) -> bool:
    return (one.kind, one.payload.publisher) == (other.kind, other.payload.publisher)


def _place(
    settings: Config, new: DocumentFile, there: Iterable[DocumentFile]
) -> tuple[Path, DocumentFile | None]:
    """Where a document goes, and the one it takes the place of."""
    for old in there:
        if _same_publisher(old, new):
            return old.path, old
    trust = settings.trust
    configured = trust.directories if new.kind == DIRECTORY_TYPE else trust.catalogue
    for path in configured:
        if path.is_dir():
            return path / f"{NAMES[new.kind]}-{new.payload.publisher}.json", None
        if not path.exists():
            return path, None
    section = "directories" if new.kind == DIRECTORY_TYPE else "catalogue"
    what = f"{new.path}: [trust] {section} 没有其位置 has no place for it"
    raise CommandError(what, "在配置中加一个目录 add a folder there in the configuration")


def _refuse_rollback(new: DocumentFile, old: DocumentFile | None) -> None:
    if old is None or old.payload.version < new.payload.version or old.octets == new.octets:
        return
    if old.payload == new.payload:
        return
    what = f"{new.path}: 版本 version {new.payload.version}, 已装 installed {old.payload.version}"
    raise CommandError(what, "向发布者索取新版 get a newer one", Exit.REFUSED)
