"""The offline ceremony: roots, and signatures by several people on separate machines (离线仪式).

Every signer keeps one key in a folder of their own (`directory key`). A document that is to be
signed lies in the publisher's `pending/` and goes from signer to signer; each is shown what it says
or changes, and adds a signature (`directory sign`). When enough have signed, `directory publish`
checks it as every node will, and puts it where nodes get it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from node.cli.documents import Signer, naming, payload_of, read_files, read_octets
from node.cli.ending import CommandError, Exit
from node.cli.output import write
from node.cli.publisher import Publisher
from node.cli.summaries import changes, people
from node.clock import SystemClock, SystemEntropy
from node.documents import write_file
from node.keystore import INDEX_NAME, FileKeyStore
from protocol.envelope import Environment  # noqa: TC001 - typer reads it
from routing.catalogue import ItemsPayload
from routing.directory_document import DirectoryPayload, Entry, RegionEntry
from routing.directory_roles import (
    RevocationPayload,
    Role,
    RoleKey,
    RootPayload,
    check_revocation,
    check_root,
)
from routing.directory_rules import check_directory
from routing.payload import Prefix, read_model
from signing.document import countersign, read_claims
from signing.keys import KeyUse
from signing.suites import Suite

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from node.documents import DocumentFile, Payload

_DAY_MS: Final = 24 * 3600 * 1000
_YEAR_MS: Final = 366 * _DAY_MS
_ENTROPY_OCTETS: Final = 48
_KEYS, _PUBLIC = "keys", "public.json"
RoleName = Literal["root", "directory", "freshness"]
HERE: Final = Path()

root_app = typer.Typer(no_args_is_help=True, help="根 · the root: who may sign what")

Folder = Annotated[Path, typer.Argument(help="发布者目录 · the publisher's folder")]
PublisherOption = Annotated[
    Path, typer.Option("--publisher", "-p", help="发布者目录 · the publisher's folder")
]
KeyFolder = Annotated[
    Path,
    typer.Option("--key", help="签署人的密钥目录 · the signer's folder, made by: directory key"),
]
Publics = Annotated[
    list[Path] | None, typer.Option("--key", help="public.json，可重复 · of each key, repeat it")
]
Threshold = Annotated[int | None, typer.Option(min=1, max=8, help="门限 · how many have to sign")]
Yes = Annotated[
    bool,
    typer.Option("--yes", help="已阅，直接签署 · what is shown has been read: sign without asking"),
]


class PublicKeyFile(Entry):
    """``public.json``: what a signer hands over to have the key listed in a root."""

    role: RoleName
    prefix: Prefix
    key: RoleKey


def key(
    folder: Annotated[
        Path, typer.Argument(help="签署人自己的新目录 · the signer's own new folder")
    ],
    *,
    role: Annotated[RoleName, typer.Option(help="角色 · what it will sign")],
    prefix: Annotated[str, typer.Option(help="两位区划前缀 · region prefix, as 42")],
    holder: Annotated[str, typer.Option(help="保管人 · who keeps it")],
    suite: Annotated[Suite, typer.Option(help="算法套件 · suite")] = Suite.SM2_SM3,
) -> None:
    """生成角色密钥 · make a key for one role, on its keeper's machine."""
    if (folder / _KEYS / INDEX_NAME).exists():
        what = f"{folder}: 已有密钥 holds a key already"
        raise CommandError(
            what, "一人一钥，另选目录 one folder, one key: choose another", Exit.REFUSED
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = FileKeyStore.create(folder / _KEYS)
    entropy = SystemEntropy().octets(_ENTROPY_OCTETS)
    made = store.create_key(KeyUse(role), prefix, suite, entropy, SystemClock().now_ms())
    entry = RoleKey(id=made.key_id, suite=made.suite, spki=made.spki, holder=holder)
    public = PublicKeyFile(role=role, prefix=prefix, key=entry)
    write_file(folder / _PUBLIC, public.model_dump_json(indent=1).encode() + b"\n")
    write(f"密钥 key {made.key_id}  {role}  {holder}")
    write(f"私钥不出本机 the secret stays in {folder / _KEYS}")
    write(
        f"下一步 next: 交出 hand over {folder / _PUBLIC}: directory root init | root rotate --key"
    )


@root_app.command()
def init(
    folder: Folder,
    *,
    prefix: Annotated[str, typer.Option(help="两位区划前缀 · region prefix, as 42")],
    name: Annotated[str, typer.Option(help="省级名称 · the province's name")],
    keys: Publics = None,
    root_threshold: Threshold = 2,
    directory_threshold: Threshold = 2,
    revoking: Threshold = 1,
    years: Annotated[int, typer.Option(min=1, max=10, help="根有效年数 · it is valid for")] = 3,
    environment: Annotated[Environment, typer.Option(help="试运行或正式 · never mixed")] = "trial",
) -> None:
    """提出第一个根 · propose a province's first root; makes the publisher's folder."""
    publics = _read_publics(keys or (), prefix)
    now_ms = SystemClock().now_ms()
    payload = RootPayload(
        version=1,
        environment=environment,
        prefix=prefix,
        name=name,
        issued_ms=now_ms,
        expires_ms=now_ms + years * _YEAR_MS,
        keys=tuple(row.key for row in publics),
        root=_role(publics, "root", root_threshold or 1),
        directory=_role(publics, "directory", directory_threshold or 1),
        freshness=_role(publics, "freshness", 1),
        revoking=revoking or 1,
    )
    check_root(payload)
    publisher = Publisher(folder)
    publisher.make(_empty_draft(payload))
    path = publisher.propose(payload)
    _show(None, payload)
    write(f"待签 proposed {path}")
    _tell_signers(payload.root, payload)


@root_app.command()
def rotate(
    *,
    publisher: PublisherOption = HERE,
    keys: Publics = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="移除的密钥号（或其前 8 位） · key id to take out")
    ] = None,
    root_threshold: Threshold = None,
    directory_threshold: Threshold = None,
    revoking: Threshold = None,
    years: Annotated[int, typer.Option(min=1, max=10, help="根有效年数 · it is valid for")] = 3,
    again: Annotated[
        bool, typer.Option("--again", help="替换待签文件 · replace a proposal")
    ] = False,
) -> None:
    """提出下一个根 · propose the next root: other keys, other thresholds, or a longer life."""
    desk = Publisher(publisher)
    old = desk.roots()[-1].payload
    publics = _read_publics(keys or (), old.prefix)
    gone = {_one_key(old, text) for text in drop or ()}
    now_ms = SystemClock().now_ms()
    kept = tuple(row for row in old.keys if row.id not in gone)
    payload = old.model_copy(
        update={
            "version": old.version + 1,
            "issued_ms": now_ms,
            "expires_ms": now_ms + years * _YEAR_MS,
            "keys": (*kept, *(row.key for row in publics)),
            "root": _changed(old.root, gone, publics, "root", root_threshold),
            "directory": _changed(old.directory, gone, publics, "directory", directory_threshold),
            "freshness": _changed(old.freshness, gone, publics, "freshness", None),
            "revoking": revoking or old.revoking,
        }
    )
    check_root(payload)
    path = desk.propose(payload, again=again)
    _show(old, payload)
    write(f"待签 proposed {path}")
    write(f"旧根保管人 keepers of root {old.version}: {_needed(old.root, old)}")
    _tell_signers(payload.root, payload)


def sign(
    file: Annotated[Path, typer.Argument(help="待签文件 · a proposal in pending/")],
    *,
    key: KeyFolder,
    publisher: Annotated[
        Path | None,
        typer.Option("--publisher", "-p", help="发布者目录；默认为文件所在 · default: the file's"),
    ] = None,
    yes: Yes = False,
) -> None:
    """签署 · see what a proposal says or changes, and add your signature to it."""
    desk = Publisher(publisher or file.resolve().parent.parent)
    (proposal,) = read_files([file])
    payload = payload_of(proposal)
    old = _checked_against(desk, proposal, payload)
    signer = _signer(key, _who_may_sign(desk, payload))
    _show(old, payload)
    _confirm(proposal, yes=yes)
    octets = read_octets(file)
    signature = signer.sign(proposal.kind, read_claims(octets).payload)
    write_file(file, countersign(octets, signer.key_id, signature))
    write(f"已签 signed {file}  密钥 key {signer.key_id}")
    (proposal,) = read_files([file])
    missing = still_needed(desk, proposal, payload)
    if missing:
        write("\n".join(f"尚缺 still needed: {line}" for line in missing))
        write("下一步 next: 交下一位签署人 to the next signer: directory sign")
    else:
        write("签名已足 enough have signed. 下一步 next: directory publish")


root_app.command("sign")(sign)


def tell_proposed(desk: Publisher, path: Path) -> None:
    """Say who has to sign a proposal, and how."""
    (file,) = read_files([path])
    write(f"待签 proposed {path}")
    for line in still_needed(desk, file, payload_of(file)):
        write(f"须签 has to be signed by {line}")
    write("下一步 next: 逐人 each of them: directory sign FILE --key 自己的目录 OWN-FOLDER")


def still_needed(desk: Publisher, file: DocumentFile, payload: Payload) -> list[str]:
    """Whose signatures a proposal still lacks; empty when it can be published."""
    missing: list[str] = []
    for role, root, least in _roles(desk, payload):
        signed = file.signers & set(role.keys)
        if len(signed) < least:
            rest = [key_id for key_id in role.keys if key_id not in signed]
            missing.append(f"{least - len(signed)} / {people(root, rest)}")
    return missing


def _roles(desk: Publisher, payload: Payload) -> list[tuple[Role, RootPayload, int]]:
    """Who has to sign a payload: roles, the root that names their keys, and how many."""
    if isinstance(payload, RootPayload):
        roles = [(payload.root, payload, payload.root.threshold)]
        if payload.version > 1:
            old = desk.roots()[-1].payload
            roles.append((old.root, old, old.root.threshold))
        return roles
    root = desk.roots()[-1].payload
    revoking = isinstance(payload, RevocationPayload)
    return [(root.directory, root, root.revoking if revoking else root.directory.threshold)]


def _who_may_sign(desk: Publisher, payload: Payload) -> set[str]:
    return {key_id for role, _, _ in _roles(desk, payload) for key_id in role.keys}


def _checked_against(desk: Publisher, file: DocumentFile, payload: Payload) -> Payload | None:
    """What a proposal changes, once it holds by its own rules; nobody signs what does not.

    Raises:
        CommandError: it is no document that several people sign.
        RefusedError: it breaks a rule, or speaks for another province or environment.
    """
    with naming(file.path):
        match payload:
            case RootPayload():
                check_root(payload)
                return None if payload.version == 1 else desk.roots()[-1].payload
            case DirectoryPayload():
                check_directory(payload)
            case RevocationPayload():
                check_revocation(payload)
            case ItemsPayload():
                pass
            case _:
                what = f"{file.path}: {file.name}: 不经多人签署 is not signed this way"
                raise CommandError(
                    what, "时效 freshness: directory freshness sign; 清单: catalogue sign"
                )
    root = desk.roots()[-1].payload
    if (payload.prefix, payload.environment) != (root.prefix, root.environment):
        what = f"{file.path}: {payload.prefix} {payload.environment}, 根为 the root is for"
        raise CommandError(
            f"{what} {root.prefix} {root.environment}", "勿签 do not sign", Exit.REFUSED
        )
    if isinstance(payload, RevocationPayload):
        return None
    newest = desk.newest(file.kind, type(payload))
    return None if newest is None else newest[0]


def _show(old: Payload | None, new: Payload) -> None:
    write("—— 内容 what it says ——" if old is None else f"—— 变更 changes since {old.version} ——")
    for line in changes(old, new):
        write(f"  {line}")
    write("——")


def _confirm(file: DocumentFile, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        what = f"{file.path}: 须由签署人阅后确认 its signer has to read it and agree"
        raise CommandError(what, "在终端运行，或阅后加 at a terminal, or after reading: --yes")
    if not typer.confirm("签署以上内容？ sign this?", default=False, err=True):
        raise CommandError(
            "未签 not signed", "有疑问向提出者核实 ask whoever proposed it", Exit.REFUSED
        )


def _signer(folder: Path, allowed: set[str]) -> Signer:
    signer = open_signer(folder)
    if signer.key_id not in allowed:
        what = f"{folder}: 密钥 {signer.key_id} 无权签署此文件 has no say in this document"
        remedy = "换用该角色的密钥 use a key of its role; 见 see: directory show ROOT"
        raise CommandError(what, remedy, Exit.REFUSED)
    return signer


def open_signer(folder: Path) -> Signer:
    """The one key in a signer's folder.

    Raises:
        CommandError: there is none, or more than one.
        KeyStoreError: it cannot be read.
    """
    store = FileKeyStore(folder / _KEYS)
    entries = store.keys()
    if len(entries) != 1:
        what = f"{folder}: {len(entries)} 把密钥 keys, 须为一把 there has to be one"
        raise CommandError(what, "用 make it with: directory key")
    return Signer(store, entries[0].key_id)


def _read_publics(paths: Iterable[Path], prefix: str) -> list[PublicKeyFile]:
    found: list[PublicKeyFile] = []
    for path in paths:
        with naming(path):
            found.append(read_model(PublicKeyFile, read_octets(path)))
        if found[-1].prefix != prefix:
            what = f"{path}: 为 for {found[-1].prefix}, 而根为 but the root is for {prefix}"
            raise CommandError(what, "换用本省的 use one of this province", Exit.REFUSED)
    return found


def _role(publics: Sequence[PublicKeyFile], name: RoleName, threshold: int) -> Role:
    keys = tuple(row.key.id for row in publics if row.role == name)
    if not keys:
        what = f"没有 {name} 角色的密钥 there is no key for the role {name}"
        raise CommandError(what, f"给出 give: --key FOLDER/{_PUBLIC}")
    return Role(threshold=threshold, keys=keys)


def _changed(
    old: Role,
    gone: set[str],
    publics: Sequence[PublicKeyFile],
    name: RoleName,
    threshold: int | None,
) -> Role:
    added = [row.key.id for row in publics if row.role == name]
    keys = (*(key_id for key_id in old.keys if key_id not in gone), *added)
    return Role(threshold=threshold or old.threshold, keys=keys)


def _one_key(root: RootPayload, text: str) -> str:
    found = [row.id for row in root.keys if len(text) >= 8 and row.id.startswith(text)]  # noqa: PLR2004
    if len(found) != 1:
        what = f"--drop {text}: {len(found)} 把密钥与之相符 keys of the root match"
        raise CommandError(what, "给出密钥号的前 8 位以上 give 8 characters of its id, or more")
    return found[0]


def _needed(role: Role, root: RootPayload) -> str:
    return f"{role.threshold} / {people(root, role.keys)}"


def _tell_signers(role: Role, root: RootPayload) -> None:
    write(f"须签 has to be signed by {_needed(role, root)}")
    write("下一步 next: 逐人 each of them: directory sign FILE --key 自己的目录 OWN-FOLDER")


def _empty_draft(root: RootPayload) -> DirectoryPayload:
    top = RegionEntry(code=f"{root.prefix}0000", name=root.name, parent=None)
    return DirectoryPayload(
        version=1,
        environment=root.environment,
        prefix=root.prefix,
        name=root.name,
        issued_ms=0,
        expires_ms=0,
        regions=(top,),
        circles=(),
        authorities=(),
        nodes=(),
        keys=(),
        links=(),
    )
