"""One TOML file says everything a node is told (配置): read strictly, or the node does not start.

Unknown keys, wrong types and missing keys are reported all at once, each with its line and its
remedy. There is no second source such as environment variables: what a node does is what its file
says. Paths are relative to the file, so that a node's home can be moved as a whole.

What is said about a key in messages, in the file that `init` writes and in docs/configuration.md
stands once, beside the key (`Key`); node/config_text.py writes the latter two.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from node.store.address import Address
from node.toml_text import line_of, toml_value
from protocol.errors import LocalUseError
from protocol.identifiers import is_region
from protocol.limits import (
    BACKUP_HORIZON_MS,
    DEFAULT_GRACE_MS,
    DEFAULT_LIFETIME_MS,
    GIB,
    KIB,
    MAX_FERRY_FILES,
    MAX_GRACE_MS,
    MAX_LARGE_OCTETS,
    MAX_LIFETIME_MS,
    MAX_POST_MESSAGES,
    MAX_POST_OCTETS,
)
from signing.suites import Suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

_DAY_MS: Final = 24 * 3600 * 1000
_HORIZON_DAYS: Final = BACKUP_HORIZON_MS // _DAY_MS
_LARGEST_GIB: Final = MAX_LARGE_OCTETS // GIB  # of one message: less would keep it out for ever
# Less, and a hand-over would be more files than it may be; one KiB for the head.
_SMALLEST_FILE_KIB: Final = MAX_POST_OCTETS // MAX_FERRY_FILES // KIB + 1
_MAX_SHOWN: Final = 60
_MAX_PORT: Final = 65535
_URL: Final = re.compile(
    r"https://([^\s/:@?#\[\]]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[1-9][0-9]{0,4}))?/?"
)
# In a URL, where none belongs; what is wrong is told, not the password.
_PASSWORD: Final = re.compile(r"(postgres(?:ql)?://[^/@:]*:|\bpassword=)[^@&'\"]*")
_Place: TypeAlias = tuple[int | str, ...]
# Where the library speaks of Python rather than of the file.
_RULES: Final = {
    "model_type": "has to be a section",
    "tuple_type": "has to be a list of texts",
    "too_short": "has to name at least one",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps the node from starting: where, what, and what to do about it.

    Attributes:
        file: The file it is in.
        line: Counted from 1; None if it is about the file as a whole.
        what: What was found.
        remedy: What to do.
    """

    file: Path
    line: int | None
    what: str
    remedy: str

    def __str__(self) -> str:
        """As a compiler would say it, the remedy on a line of its own."""
        where = str(self.file) if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.what}\n    -> {self.remedy}"


class ConfigError(Exception):
    """The node cannot start with what it was given.

    Args:
        problems: All that were found, at least one.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, problems)))


@dataclass(frozen=True, slots=True)
class Key:
    """What people are told about a key or a section; `example` is also what `init` writes."""

    chinese: str
    english: str
    example: str | int | tuple[str, ...] = ""


def _node_id(value: str) -> str:
    if not is_region(value):
        message = "not a region code of six digits (GB/T 2260)"
        raise ValueError(message)
    return value


def _https_url(value: str) -> str:
    if not value:
        return value
    url = _URL.fullmatch(value)
    if url is None or int(url["port"] or 1) > _MAX_PORT:
        message = "not of the form https://host:port"
        raise ValueError(message)
    return value.rstrip("/")


def _from_file(value: object, info: ValidationInfo) -> object:
    """A path as it is meant: relative to the folder of the file it stands in."""
    if not isinstance(value, str | Path) or not value:  # a default is a path already
        message = "has to be a path, as text"
        raise ValueError(message)
    return Path(info.context or "", value)


def _from_file_if_any(value: object, info: ValidationInfo) -> object:
    return None if value is None or value == "" else _from_file(value, info)


def _database_url(value: str) -> str:
    if value:
        Address(value)
    return value


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if value and (parts.scheme not in ("http", "https") or not parts.hostname):
        message = "need http://host/path or https://host/path"
        raise ValueError(message)
    return value


Port = Annotated[int, Field(ge=1, le=_MAX_PORT)]
Text = Annotated[str, Field(min_length=1)]
FilePath = Annotated[Path, BeforeValidator(_from_file)]
# A list in TOML is a list; once read, nothing changes any more.
FilePaths = Annotated[tuple[FilePath, ...], Field(strict=False, min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class NodeSection(_Table):
    """[node]."""

    id: Annotated[
        str,
        AfterValidator(_node_id),
        Key("节点编号：六位行政区划代码（GB/T 2260）", "node id: region code", "420100"),
    ]
    name: Annotated[Text, Key("节点名称，供人阅读", "what people call it", "武汉市节点")]
    environment: Annotated[
        Literal["trial", "production"],
        Key("试运行或正式环境；两者的报文互不相通", "trial and production never mix", "trial"),
    ]
    suite: Annotated[
        Suite,
        Field(strict=False),
        Key("本节点签名所用算法套件", "suite this node signs with", Suite.SM2_SM3.value),
    ] = Suite.SM2_SM3


class StoreSection(_Table):
    """[store]: a file, or a database on a server."""

    model_config = ConfigDict(validate_default=True)  # a path has to be resolved

    path: Annotated[FilePath, Key("数据库文件（SQLite）", "database file (SQLite)")] = Path(
        "node.db"
    )
    url: Annotated[
        str,
        AfterValidator(_database_url),
        Key(
            "改用 PostgreSQL：数据库地址，不含口令",
            "PostgreSQL instead: where the database is, without a password",
            "postgresql://tongban@db.example/tongban",
        ),
    ] = ""
    password_file: Annotated[
        Path | None,
        BeforeValidator(_from_file_if_any),
        Key("其口令所在文件（权限 600）", "file with its password (mode 600)", "store.password"),
    ] = None

    @model_validator(mode="after")
    def _one_place(self) -> StoreSection:
        if self.url and "path" in self.model_fields_set:
            message = "either `path` (SQLite) or `url` (PostgreSQL), not both"
            raise ValueError(message)
        if self.password_file is not None and not self.url:
            message = "`password_file` goes with `url`"
            raise ValueError(message)
        return self


class PeersSection(_Table):
    """[peers]."""

    host: Annotated[Text, Key("监听地址", "address to listen on", "0.0.0.0")]  # noqa: S104
    port: Annotated[Port, Key("监听端口", "port to listen on", 8443)]
    url: Annotated[
        str,
        AfterValidator(_https_url),
        Key(
            "对端访问本节点的地址；空：对端无法呼叫本节点，由本节点向外呼叫",
            "where peers reach this node; empty: they cannot, it calls them",
            "https://node.example:8443",
        ),
    ] = ""
    pull: Annotated[
        Literal["auto", "always", "never"],
        Key(
            "是否向对端呼叫取件；auto：对端无法呼叫本节点时",
            "whether to call peers for what waits there; auto: if they cannot call this node",
            "auto",
        ),
    ] = "auto"
    check_s: Annotated[
        int,
        Field(ge=0, le=600),
        Key(
            "启动时最多等待对端多久（秒），以核对本节点是否被旧备份还原；0：不问",
            "seconds a start waits for a peer to say whether this node was put back",
            10,
        ),
    ] = 10


class LocalSection(_Table):
    """[local]."""

    host: Annotated[Text, Key("监听地址", "address to listen on", "127.0.0.1")] = "127.0.0.1"
    port: Annotated[Port, Key("监听端口", "port to listen on", 8080)]
    token_file: Annotated[
        FilePath, Key("存放访问令牌的文件", "file with the token that callers show", "local.token")
    ]


class TrustSection(_Table):
    """[trust]."""

    anchor: Annotated[
        FilePath,
        Key(
            "信任锚：各省根文件的摘要，须由人带来",
            "the digest of each province's root, brought by hand",
            "anchor.json",
        ),
    ]
    directories: Annotated[
        FilePaths,
        Key(
            "各省的根、节点目录、吊销与时效声明",
            "each province's roots, directory, revocations, freshness",
            ("directories",),
        ),
    ]
    catalogue: Annotated[
        FilePaths, Key("事项目录文件", "signed catalogues of service items", ("catalogue",))
    ]

    memory: Annotated[
        FilePath,
        Field(validate_default=True),
        Key(
            "记住已采用的版本，防止回退",
            "remembers the versions accepted, so that none goes back",
            "trust-memory.json",
        ),
    ] = Path("trust-memory.json")
    fetch: Annotated[
        Literal["auto", "never"],
        Key(
            "是否从对端取较新的目录文件（自证其真，成套核验后落盘）",
            "whether to fetch newer documents of the directory from peers",
            "auto",
        ),
    ] = "auto"
    grace_days: Annotated[
        int,
        Field(ge=0, le=MAX_GRACE_MS // _DAY_MS),
        Key(
            "时效过期后，已知密钥继续使用的天数",
            "days that known keys go on after freshness expired",
            DEFAULT_GRACE_MS // _DAY_MS,
        ),
    ] = DEFAULT_GRACE_MS // _DAY_MS


class KeysSection(_Table):
    """[keys]."""

    directory: Annotated[FilePath, Key("签名私钥所在文件夹", "folder of the signing keys", "keys")]


class TlsSection(_Table):
    """[tls]."""

    directory: Annotated[
        FilePath, Key("TLS 证书与私钥所在文件夹", "folder of certificate and key", "tls")
    ]


class LimitsSection(_Table):
    """[limits]."""

    lifetime_days: Annotated[
        int,
        Field(ge=1, le=MAX_LIFETIME_MS // _DAY_MS),
        Key("报文有效期（天）", "days until a message expires", DEFAULT_LIFETIME_MS // _DAY_MS),
    ] = DEFAULT_LIFETIME_MS // _DAY_MS
    group_size: Annotated[
        int,
        Field(ge=1, le=4096),
        Key("一次提交最多合并的操作数", "units of work in one commit", MAX_POST_MESSAGES),
    ] = MAX_POST_MESSAGES
    posts: Annotated[
        int, Field(ge=1, le=1024), Key("同时处理的对端请求总数", "peers' posts served at once", 32)
    ] = 32
    posts_per_peer: Annotated[
        int, Field(ge=1, le=64), Key("其中每个对端的请求数", "of those, for one peer", 4)
    ] = 4


class PartsSection(_Table):
    """[parts]."""

    model_config = ConfigDict(validate_default=True)  # a path has to be resolved

    folder: Annotated[
        FilePath,
        Key("大部件（超过 64 KiB 的材料）所在文件夹", "folder of parts beyond 64 KiB", "parts"),
    ] = Path("parts")
    spare_mib: Annotated[
        int,
        Field(ge=0),
        Key("磁盘剩余少于此数时不再接收大部件（MiB）", "MiB of the disk left to others"),
    ] = 512
    in_progress_gib: Annotated[
        int,
        Field(ge=_LARGEST_GIB),
        Key("同时接收中的大部件总量（GiB）", "GiB of large parts under way at once"),
    ] = 64
    per_peer_gib: Annotated[
        int,
        Field(ge=_LARGEST_GIB),
        Key("其中每个对端的总量（GiB）", "of those, for one peer"),
    ] = 16
    idle_hours: Annotated[
        int,
        Field(ge=1, le=24 * 30),
        Key("未完成的传输保留时间（小时）", "hours until an unfinished transfer is dropped"),
    ] = 24
    forwarded_days: Annotated[
        int,
        Field(ge=_HORIZON_DAYS, le=366),
        Key(
            "枢纽在目的地签收后保留部件的天数（对端从旧备份恢复时要用）",
            "days a hub keeps parts after the destination's receipt, for peers that recover",
        ),
    ] = _HORIZON_DAYS


def _beyond_the_horizon(days: int) -> int:
    if 0 < days <= _HORIZON_DAYS:
        message = f"0, or more than the {_HORIZON_DAYS} days in which peers may need them again"
        raise ValueError(message)
    return days


class RetentionSection(_Table):
    """[retention]."""

    contents_days: Annotated[
        int,
        Field(ge=0, le=36_500),
        AfterValidator(_beyond_the_horizon),
        Key(
            "签收后满此天数且已办结，自动删除正文与材料（凭证保留）；0：只按指令删除",
            "days after the receipt until contents are erased, if the case is over; 0: on order",
            0,
        ),
    ] = 0
    answers_days: Annotated[
        int,
        Field(ge=30, le=3_660),
        Key(
            "幂等键的应答保留天数；此后同一键视为新请求",
            "days an idempotency key is known; after that it is a new request",
            MAX_LIFETIME_MS // _DAY_MS,
        ),
    ] = MAX_LIFETIME_MS // _DAY_MS


class FerrySection(_Table):
    """[[ferry]]: one per link over a one-way gate."""

    node: Annotated[
        str,
        AfterValidator(_node_id),
        Key("对端节点编号", "the node on the other side", "420600"),
    ]
    out: Annotated[
        FilePath, Key("待摆渡文件所在文件夹", "folder the gate fetches files from", "ferry/out")
    ]
    into: Annotated[
        FilePath,
        Field(alias="in"),
        Key("摆渡到达文件所在文件夹", "folder the gate puts files into", "ferry/in"),
    ]
    round_trip_s: Annotated[
        int,
        Field(ge=1, le=1800),
        Key("摆渡往返通常所需的秒数", "seconds a file and its answer usually take", 60),
    ]
    max_file_kib: Annotated[
        int,
        Field(ge=_SMALLEST_FILE_KIB, le=16 * 1024),
        Key("网闸允许的最大文件（KiB）", "largest file the gate lets through, in KiB"),
    ] = 16 * 1024


def _apart(ferries: tuple[FerrySection, ...]) -> tuple[FerrySection, ...]:
    """Two links in one folder would take each other's files."""
    said = [what for ferry in ferries for what in (ferry.node, str(ferry.out), str(ferry.into))]
    twice = next((what for what in said if said.count(what) > 1), None)
    if twice is not None:
        message = f"{twice} is given twice"
        raise ValueError(message)
    return ferries


class StampsSection(_Table):
    """[stamps]: time stamps over the heads of the evidence log (RFC 3161)."""

    model_config = ConfigDict(validate_default=True)

    url: Annotated[
        str,
        AfterValidator(_http_url),
        Key(
            "时间戳机构地址；不填则不加时间戳",
            "where a time-stamping authority answers; none if empty",
            "http://tsa.example/tsa",
        ),
    ] = ""
    certificates: Annotated[
        Path | None,
        BeforeValidator(_from_file_if_any),
        Key("其根证书文件（PEM）", "PEM file of the certificates it is believed under", "tsa.pem"),
    ] = None
    every_minutes: Annotated[
        int,
        Field(ge=1, le=24 * 60),
        Key("两次时间戳的最短间隔（分钟）", "minutes between two stamps at least", 60),
    ] = 60

    @model_validator(mode="after")
    def _both(self) -> StampsSection:
        if bool(self.url) != (self.certificates is not None):
            message = "`url` and `certificates` go together"
            raise ValueError(message)
        return self


class LogSection(_Table):
    """[log]."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Key("最低级别", "what is logged at least", "info"),
    ] = "info"
    format: Annotated[
        Literal["text", "json"], Key("供人阅读或供程序读取", "for people or programs", "text")
    ] = "text"


class Config(_Table):
    """The whole file. Every path in it is absolute if the file's own path was."""

    node: Annotated[NodeSection, Key("本节点", "this node")]
    store: Annotated[StoreSection, Key("存储", "durable state")]
    peers: Annotated[
        PeersSection, Key("对端监听（双向 TLS）", "the listener for peers, mutual TLS")
    ]
    local: Annotated[
        LocalSection,
        Key("本地接口监听（单位内部使用）", "the listener for local systems and people"),
    ]
    trust: Annotated[TrustSection, Key("信任来源", "where trust comes from")]
    keys: Annotated[KeysSection, Key("签名密钥", "signing keys")]
    tls: Annotated[TlsSection, Key("TLS 身份", "who this node is on the wire")]
    limits: Annotated[LimitsSection, Key("限额", "bounds")] = LimitsSection()
    parts: Annotated[
        PartsSection,
        Field(default_factory=dict, validate_default=True),
        Key("大部件", "large parts"),
    ]
    retention: Annotated[
        RetentionSection, Key("留存期限", "how long octets are kept; proof is kept for ever")
    ] = RetentionSection()
    ferry: Annotated[
        tuple[FerrySection, ...],
        Field(strict=False),
        AfterValidator(_apart),
        Key("网闸摆渡：经两个文件夹与一个对端交换", "links over one-way gates, one each"),
    ] = ()
    stamps: Annotated[
        StampsSection,
        Field(default_factory=dict, validate_default=True),
        Key("时间戳（RFC 3161）", "time stamps of the evidence log (RFC 3161)"),
    ]
    log: Annotated[LogSection, Key("日志", "logging")] = LogSection()


def load_config(path: Path) -> Config:
    """Read a node's configuration.

    Raises:
        ConfigError: it cannot be read, is not TOML, or breaks a rule: every breach that was found,
            in the order of the lines.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([Problem(path, line, "not UTF-8", "save the file as UTF-8")]) from error
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        remedy = "give the path of a node's file; `run_node.py init` writes a new one"
        raise ConfigError([Problem(path, None, what, remedy)]) from error
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line (\d+)", str(error))
        line = int(place[1]) if place else len(text.splitlines()) or 1
        what, remedy = f"not TOML: {error}", "texts stand in quotes, sections in [brackets]"
        raise ConfigError([Problem(path, line, what, remedy)]) from error
    try:
        return Config.model_validate(tree, context=path.parent)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        raise ConfigError(_problems(path, text, errors)) from error


def keys_of(section: str) -> dict[str, FieldInfo]:
    """The keys of a section of the file, by their names there, in order."""
    model = Config.model_fields[section].annotation
    if is_list(section):
        model = get_args(model)[0]
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        message = f"[{section}] is not a section"
        raise LocalUseError(message)
    return {field.alias or name: field for name, field in model.model_fields.items()}


def is_list(section: str) -> bool:
    """Whether a section may stand several times, in double brackets, or not at all."""
    field = Config.model_fields.get(section)
    return field is not None and get_origin(field.annotation) is tuple


def key_of(field: FieldInfo) -> Key:
    """What people are told about this key or section."""
    return next(entry for entry in field.metadata if isinstance(entry, Key))


def _problems(file: Path, text: str, errors: Sequence[ErrorDetails]) -> list[Problem]:
    meant = {error["loc"]: _meant(error["loc"]) for error in errors if _is_unknown(error)}
    found: list[Problem] = []
    for error in errors:
        place = error["loc"]
        if error["type"] == "missing" and place in meant.values():
            continue  # said with the misspelt key
        what, remedy = (
            (f"unknown: {_name(place)}", _suggestion(place, meant[place]))
            if _is_unknown(error)
            else _explained(error)
        )
        found.append(Problem(file, line_of(text, place), what, remedy))
    return sorted(found, key=lambda problem: problem.line or 0)


def _is_unknown(error: ErrorDetails) -> bool:
    return error["type"] == "extra_forbidden"


def _name(place: _Place) -> str:
    section = f"[[{place[0]}]]" if is_list(str(place[0])) else f"[{place[0]}]"
    key = _key_at(place)
    return section if key is None else f"`{key}` in {section}"


def _key_at(place: _Place) -> str | None:
    """The key of a place; None if it is a section, or one of several."""
    step = 2 if is_list(str(place[0])) else 1
    return str(place[step]) if len(place) > step else None


def _known(place: _Place) -> list[str]:
    """What may stand beside it."""
    return list(keys_of(str(place[0])) if _key_at(place) else Config.model_fields)


def _meant(place: _Place) -> _Place | None:
    close = difflib.get_close_matches(str(place[-1]), _known(place), n=1)
    return (*place[:-1], *close) if close else None


def _suggestion(place: _Place, meant: _Place | None) -> str:
    if meant:
        return f"did you mean {_name(meant)}?"
    others = [section for section in Config.model_fields if place[-1] in keys_of(section)]
    if others:
        return f"it belongs in [{'] or ['.join(others)}]"
    return f"delete it; known here: {', '.join(_known(place))}"


def _explained(error: ErrorDetails) -> tuple[str, str]:
    """What is wrong with a key that is known, and what to do about it."""
    place = error["loc"]
    section = str(place[0])
    name = _key_at(place)
    field = keys_of(section)[name] if name else Config.model_fields[section]
    key = key_of(field)
    meaning = f"{key.chinese} ({key.english})"
    if name:
        remedy = f"for example: {name} = {toml_value(key.example)}   # {meaning}"
    else:
        remedy = f"write the section {_name(place)} as `run_node.py init` does: {meaning}"
    if error["type"] == "missing":
        return f"missing: {_name(place)}", remedy
    rule = _RULES.get(error["type"], error["msg"].removeprefix("Value error, "))
    shown = _PASSWORD.sub(r"\1…", repr(error["input"]))
    if len(shown) > _MAX_SHOWN:
        shown = f"{shown[:_MAX_SHOWN]}…"
    return f"{_name(place)} is {shown}: {rule}", remedy
