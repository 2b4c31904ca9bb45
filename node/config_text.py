"""What is written from the configuration's own definition: a node's first file, and the reference.

`python -m node.config_text > docs/configuration.md` writes the reference anew.
"""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args, get_origin

from node.config import Config, is_list, key_of, keys_of
from node.toml_text import toml_value
from protocol.errors import LocalUseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

_FILE_HEAD: Final = """\
# 通办节点配置。路径相对于本文件所在文件夹；未知的键会使节点拒绝启动并给出行号。
# Configuration of a Tongban node. Paths are relative to this file's folder; an unknown key stops
# the start with its line.
"""
_REFERENCE_HEAD: Final = """\
# 配置参考 · Configuration

<!-- Written by `python -m node.config_text`; a test compares it with the program. -->

节点只读一个 TOML 文件。未知的键、错误的类型、缺少的键都会使节点拒绝启动，并给出行号与处理办法。
路径相对于该文件所在文件夹。`run_node.py init` 写出首份文件。

A node reads one TOML file. Unknown keys, wrong types and missing keys stop the start, with line and
remedy. Paths are relative to the file's folder. `run_node.py init` writes a first file.
"""


def default_config_text(values: Mapping[str, Mapping[str, object]]) -> str:
    """A node's first configuration file, with a comment beside every key.

    Args:
        values: Section to key to value: a text, an integer, or a tuple of texts. A required key
            that is not given gets its example; an optional one stands as a comment.

    Raises:
        LocalUseError: a section or key that does not exist.
    """
    unknown = [
        f"[{section}] {name}"
        for section, given in values.items()
        for name in given
        if section not in Config.model_fields or name not in keys_of(section)
    ]
    if unknown:
        message = f"no such key: {', '.join(unknown)}"
        raise LocalUseError(message)
    parts = [_FILE_HEAD]
    for section, entry in Config.model_fields.items():
        given = values.get(section, {})
        told = key_of(entry)
        several = is_list(section)
        head = f"# [[{section}]]" if several else f"[{section}]"
        parts.append(f"\n# {told.chinese} · {told.english}\n{head}\n")
        for name, field in keys_of(section).items():
            told = key_of(field)
            used = name in given or (field.is_required() and not several)
            value = given.get(name, told.example if field.is_required() else _default(field))
            mark = "" if used else "# "
            choice = f" ({choices})" if (choices := _choices(field)) else ""
            parts.append(f"# {told.chinese} · {told.english}{choice}\n")
            parts.append(f"{mark}{name} = {toml_value(value)}\n")
    return "".join(parts)


def reference_markdown() -> str:
    """The whole of docs/configuration.md."""
    parts = [_REFERENCE_HEAD]
    for section, entry in Config.model_fields.items():
        told = key_of(entry)
        head = f"[[{section}]]" if is_list(section) else f"[{section}]"
        parts.append(f"\n## `{head}` {told.chinese} · {told.english}\n\n")
        parts.append(
            "| 键 key | 含义 | meaning | 取值 values | 默认 default |\n|---|---|---|---|---|\n"
        )
        for name, field in keys_of(section).items():
            told = key_of(field)
            default = "必填 required" if field.is_required() else f"`{toml_value(_default(field))}`"
            form = _choices(field).replace(" | ", "、") or _kind(field)
            parts.append(f"| `{name}` | {told.chinese} | {told.english} | {form} | {default} |\n")
    return "".join(parts)


def _default(field: FieldInfo) -> object:
    if field.default is None:
        return ""
    return str(field.default) if isinstance(field.default, Path) else field.default


def _choices(field: FieldInfo) -> str:
    """The values or the range that a key is limited to; empty if it is neither."""
    kind = field.annotation
    if get_origin(kind) is Literal:
        return " | ".join(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " | ".join(str(member.value) for member in kind)
    bounds = [
        str(getattr(entry, bound))
        for entry in field.metadata
        for bound in ("ge", "le")
        if hasattr(entry, bound)
    ]
    return " … ".join(bounds) if len(bounds) != 1 else f"≥ {bounds[0]}"


def _kind(field: FieldInfo) -> str:
    if field.annotation is str:
        return "文本 text"
    several = get_origin(field.annotation) is tuple
    return "路径列表 list of paths" if several else "路径 path"


if __name__ == "__main__":
    sys.stdout.write(reference_markdown())
