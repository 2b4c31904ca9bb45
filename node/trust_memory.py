"""What a node remembers of signed documents across restarts, in one small file (信任记忆).

``trust-memory.json`` holds, per province, what `routing.directory_memory` compares with, and per
sheet its version and digest. It is written before anything newer is put in force, so that files of
last month, laid down while the node was stopped, are seen for what they are. Who loses the file
starts anew from the trust anchor; who may replace it may replace the store as well.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from node.config import ConfigError, Problem
from node.keyfile import write_private_file
from protocol.errors import RefusedError
from routing.directory_memory import Accepted
from routing.payload import STRICT, Named, Prefix, read_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TrustMemory(BaseModel):
    """The file: provinces by prefix, sheets by publisher."""

    model_config = STRICT

    version: Literal[1] = 1
    provinces: dict[Prefix, Accepted] = {}
    sheets: dict[str, Named] = {}


def read_memory(path: Path) -> TrustMemory:
    """What is remembered; nothing if the file is not there.

    Raises:
        ConfigError: it is damaged.
    """
    if not path.exists():
        return TrustMemory()
    try:
        return read_model(TrustMemory, path.read_bytes())
    except RefusedError as error:
        what = f"damaged: {error.detail}"
        remedy = (
            "restore it from the backup; without one move it away: older documents than those "
            "accepted before will not be noticed once"
        )
        raise ConfigError([Problem(path, None, what, remedy)]) from error


def write_memory(path: Path, memory: TrustMemory) -> None:
    """Remember this; when it returns, it is on disk.

    Raises:
        KeyStoreError: the disk refused; what was remembered before still is.
    """
    write_private_file(path, memory.model_dump_json(indent=1).encode() + b"\n")


@contextlib.contextmanager
def remembering(path: Path) -> Iterator[None]:
    """Keep other processes of this home from remembering something else meanwhile."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
