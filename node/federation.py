"""The signed data a node believes, read from its files: directories, items, sheets (信任数据).

What a file is its signed type says. Per province that the trust anchor pins, its documents are
taken as one consistent set with the items it names, or not at all, and only forward from what was
accepted before (node/trust_memory.py).

* The own province's set that does not hold stops the start; at a reload everything stays as it was.
  Another province's is left out with an error, or stays in its last version: its mistake, or its
  malice, must not stop us. So with a sheet: one authority's mistake must not stop everybody. A
  file that is no document is left out with an error; what it should have been may be missed.
* This node has to be in the directory with the certificate and the receipt key it really has:
  else its peers could not believe a word.
"""

from __future__ import annotations

import contextlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from node.config import ConfigError, Problem
from node.context import Federation
from node.documents import (
    DocumentFile,
    files_in,
    lay_down,
    read_document,
    set_of,
    superseded,
)
from node.trust_memory import TrustMemory, read_memory, remembering, write_memory
from protocol.errors import RefusedError, UnavailableError
from protocol.identifiers import province_of
from protocol.reasons import Reason
from routing.catalogue import (
    ITEMS_TYPE,
    SHEET_TYPE,
    Catalogue,
    ItemsDocument,
    SheetDocument,
    open_items,
    open_sheet,
)
from routing.directory import Directory
from routing.directory_memory import admit, remember
from routing.directory_province import Province, open_province
from routing.directory_roles import TrustAnchor
from routing.payload import accept_newer, digest_of, require_forward
from signing.keys import KeyStoreError, KeyUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from node.config import Config
    from node.ports import Clock
    from node.tls import TlsIdentity
    from routing.directory_memory import Accepted
    from routing.directory_roles import AnchorEntry
    from signing.keys import KeyStore

_DAY_MS: Final = 24 * 3600 * 1000
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Held:
    """One province as it is in force: its set, and the items the set names."""

    province: Province
    items: ItemsDocument | None


class Trust:
    """The files of `[trust]`, and what of them is in force."""

    def __init__(self, config: Config, identity: TlsIdentity, keys: KeyStore, clock: Clock) -> None:
        self._config = config
        self._trust = config.trust
        self._identity = identity
        self._keys = keys
        self._clock = clock
        self._own = province_of(config.node.id)
        self._held: dict[str, Held] = {}
        self._pinned: tuple[str, ...] = ()
        self._seen: frozenset[tuple[object, ...]] = frozenset()
        self._sheets: dict[str, SheetDocument] = {}

    def load(self) -> Federation:
        """Read all files again.

        Raises:
            ConfigError: a file is missing or broken, our own province's set does not hold, or its
                directory knows this node otherwise than it is; nothing has changed.
            KeyStoreError: this node has no receipt key, or its memory cannot be written.
            UnavailableError: STALE_DIRECTORY, CLOCK_SKEW or SUITE_UNAVAILABLE: it could not be
                checked; nothing has changed.
        """
        self._seen = self._look()
        with remembering(self._trust.memory):
            memory = read_memory(self._trust.memory)
            files, broken = self._read_files()
            held = self._take_provinces(files, memory, broken)
            grace_ms = self._trust.grace_days * _DAY_MS
            with _telling(self._trust.directories[0]):
                directory = Directory.merge((row.province for row in held.values()), grace_ms)
            self._check_self(directory)
            sheets = self._take_sheets(files, directory, memory)
            items = [row.items for row in held.values() if row.items is not None]
            with _telling(self._trust.catalogue[0]):
                catalogue = Catalogue.merge(items, sheets.values(), directory)
            for aside in catalogue.set_aside:
                _log.warning(
                    "implementation set aside",
                    authority=aside.authority,
                    code=aside.code,
                    why=aside.problem,
                )
            _remember(self._trust.memory, memory, held, sheets)
            self._held, self._sheets = held, sheets
        return Federation(directory, catalogue)

    @property
    def pinned(self) -> tuple[str, ...]:
        """The provinces the trust anchor pinned at the last `load`."""
        return self._pinned

    def documents(self, prefix: str) -> Iterator[bytes]:
        """A province's files in force, its items before its freshness statement; none unknown."""
        held = self._held.get(prefix)
        if held is not None:
            *others, freshness = held.province.octets()
            yield from others
            yield from () if held.items is None else (held.items.octets,)
            yield freshness

    def adopt(self, prefix: str, documents: Iterable[bytes]) -> bool:
        """Lay down what a peer holds of a province, if that makes a newer set than is in force.

        Returns:
            Whether anything was written; `load` puts it in force.

        Raises:
            RefusedError, UnavailableError: it makes none, with what is there.
            ConfigError: `[trust]` has no folder for it, or a file there is damaged.
            OSError: the disk refused.
        """
        with remembering(self._trust.memory):
            memory = read_memory(self._trust.memory)
            there, _ = self._read_files()
            known = {file.digest for file in there}
            peer = [read_document(self._trust.directories[0], octets) for octets in documents]
            fresh = [row for row in peer if row.digest not in known and row.prefix == prefix]
            with _telling(self._trust.anchor):
                pin = TrustAnchor.read(_read(self._trust.anchor)).entry(prefix)
            held = self._take(pin, [*fresh, *there], memory)
            wanted = {digest_of(octets) for octets in held.province.octets()}
            wanted |= set() if held.items is None else {held.items.digest}
            news = [row for row in fresh if row.digest in wanted]
            lay_down(self._trust, news)
            for file in there if news else ():
                if superseded(file, held.province):
                    file.path.unlink(missing_ok=True)
        return bool(news)

    def changed(self) -> bool:
        """Whether a file is another than at the last `load`, whatever that came to."""
        return self._look() != self._seen

    def _look(self) -> frozenset[tuple[object, ...]]:
        """Name, size and time of every file; one that is gone meanwhile is not there."""
        found: set[tuple[object, ...]] = set()
        paths = (self._trust.anchor, *self._trust.directories, *self._trust.catalogue)
        for path in files_in(paths):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.add((path, status.st_size, status.st_mtime_ns, status.st_ino))
        return frozenset(found)

    def _read_files(self) -> tuple[list[DocumentFile], list[Problem]]:
        """The documents, and what is wrong with the files that are none."""
        found: list[DocumentFile] = []
        broken: list[Problem] = []
        for path in files_in((*self._trust.directories, *self._trust.catalogue)):
            try:
                found.append(read_document(path, _read(path)))
            except RefusedError as error:
                broken.append(_told(path, error))
        return found, broken

    def _take_provinces(
        self, files: Sequence[DocumentFile], memory: TrustMemory, broken: Sequence[Problem]
    ) -> dict[str, Held]:
        """Every pinned province as its files have it, or else as it was.

        A file that is no document is left out: what it may have been is missed, or it is not. If
        our own set does not hold without it, that file is the trouble to be told.
        """
        with _telling(self._trust.anchor):
            anchor = TrustAnchor.read(_read(self._trust.anchor))
            anchor.entry(self._own)
        self._pinned = tuple(pin.prefix for pin in anchor.anchors)
        held = dict(self._held)
        for pin in anchor.anchors:
            own = pin.prefix == self._own
            try:
                held[pin.prefix] = self._take(pin, files, memory)
            except RefusedError as error:
                if own:
                    problem = _told(self._trust.directories[0], error)
                    raise ConfigError(broken or [problem]) from error
                _log.error("province left out", prefix=pin.prefix, why=str(error))
            except UnavailableError as error:
                if own and broken:
                    raise ConfigError(broken) from error
                if own:
                    raise
                _log.error("province left out", prefix=pin.prefix, why=str(error))
        for prefix in sorted(
            {row.prefix for row in files} - {row.prefix for row in anchor.anchors}
        ):
            _log.warning("not pinned by the trust anchor; its files are left out", prefix=prefix)
        for problem in broken:
            _log.error("file left out", file=problem.file.name, why=problem.what)
        return held

    def _take(self, pin: AnchorEntry, files: Sequence[DocumentFile], memory: TrustMemory) -> Held:
        known = memory.provinces.get(pin.prefix)
        held = take_province(pin, files, known, self._clock.now_ms())
        environment, here = held.province.environment, self._config.node.environment
        if environment != here:
            detail = f"{pin.prefix} is for {environment}, but this node is in {here}"
            raise RefusedError(Reason.ENVIRONMENT_MISMATCH, detail)
        return held

    def _take_sheets(
        self, files: Iterable[DocumentFile], directory: Directory, memory: TrustMemory
    ) -> dict[str, SheetDocument]:
        sheets = dict(self._sheets)
        for file in files:
            if file.kind != SHEET_TYPE:
                continue
            try:
                sheet = open_sheet(file.octets, directory)
                publisher = sheet.payload.publisher
                require_forward(publisher, sheet.named, memory.sheets.get(publisher))
                sheets[publisher] = accept_newer(sheets.get(publisher), sheet)
            except (RefusedError, UnavailableError) as error:
                _log.warning("sheet left out", file=file.path.name, why=str(error))
        return sheets

    def _check_self(self, directory: Directory) -> None:
        """Whether this node is who the directory says it is; every difference at once."""
        here = self._config.node.id
        problems = [
            Problem(self._trust.directories[0], None, what, remedy)
            for what, remedy in _differences(directory, here, self._identity, self._keys)
        ]
        if problems:
            raise ConfigError(problems)
        ferried = [(KeyUse.CARRIER, here)] if self._config.ferry else []
        for use, owner in (*_signs(directory, here), *ferried):
            if not _can_sign(use, owner, here, directory, self._keys):
                _log.warning("no registered key", use=use.value, owner=owner)


def take_province(
    pin: AnchorEntry, files: Sequence[DocumentFile], accepted: Accepted | None, now_ms: int
) -> Held:
    """A province's set out of these files, if it may take the place of what was accepted before.

    Raises:
        RefusedError, UnavailableError: as `open_province`, `admit` and `named_items`.
    """
    province = open_province(set_of(files, pin.prefix), pin, now_ms)
    admit(province, accepted, now_ms)
    return Held(province, named_items(province, files))


def named_items(province: Province, files: Iterable[DocumentFile]) -> ItemsDocument | None:
    """The items a province's set names, out of these files; None if it names none.

    Raises:
        RefusedError: as `open_items`.
        UnavailableError: STALE_DIRECTORY: they are not there; SUITE_UNAVAILABLE.
    """
    named = province.freshness.payload.items
    if named is None:
        return None
    for file in files:
        if file.kind == ITEMS_TYPE and digest_of(file.octets) == named.digest:
            return open_items(file.octets, province)
    detail = f"items of {province.prefix}: {named} is not there"
    raise UnavailableError(Reason.STALE_DIRECTORY, detail)


def _remember(
    path: Path,
    before: TrustMemory,
    held: Mapping[str, Held],
    sheets: Mapping[str, SheetDocument],
) -> None:
    provinces = {prefix: remember(row.province) for prefix, row in held.items()}
    named = {publisher: sheet.named for publisher, sheet in sheets.items()}
    memory = TrustMemory(provinces=before.provinces | provinces, sheets=before.sheets | named)
    if memory != before:
        write_memory(path, memory)


def _differences(
    directory: Directory, here: str, identity: TlsIdentity, keys: KeyStore
) -> Iterator[tuple[str, str]]:
    again = "send request.json of the node's home to the publisher, and take the new directory"
    node = directory.node(here)
    if node is None:
        yield f"node {here} is not listed", again
        return
    if node.certificate != identity.certificate:
        yield f"node {here} is listed with another TLS certificate than its own", again
    receipt_key = keys.find(KeyUse.RECEIPT, here)
    record = directory.trust.key(receipt_key, here)
    if record is None or (record.use, record.owner) != (KeyUse.RECEIPT, here):
        yield f"the receipt key of {here}, {receipt_key}, is not registered", again
    elif record.revoked_ms is not None:
        yield f"the receipt key of {here}, {receipt_key}, is revoked", "make a new one: keys"


def _signs(directory: Directory, here: str) -> Iterator[tuple[KeyUse, str]]:
    """What a node can do without, but not for long."""
    yield KeyUse.EVIDENCE, here
    yield KeyUse.HEAD, here
    operators = {node.operator for node in directory.nodes.values()}
    for authority in directory.authorities.values():
        if authority.node == here and authority.uscc not in operators:
            yield KeyUse.ENVELOPE, authority.uscc
    node = directory.node(here)
    if node is not None:
        yield KeyUse.PING, node.operator


def _can_sign(use: KeyUse, owner: str, here: str, directory: Directory, keys: KeyStore) -> bool:
    try:
        record = directory.trust.key(keys.find(use, owner), here)
    except KeyStoreError:
        return False
    return record is not None and record.revoked_ms is None


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Whoever starts the node is told which file was refused, and what to do."""
    try:
        yield
    except RefusedError as error:
        raise ConfigError([_told(path, error)]) from error


def _told(path: Path, error: RefusedError) -> Problem:
    reason = error.reason
    what = f"{reason.chinese} ({reason.code}): {error.detail}"
    return Problem(path, None, what, f"{reason.chinese_remedy} · {reason.remedy}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        remedy = "get the file from its publisher, or correct [trust]"
        raise ConfigError([Problem(path, None, what, remedy)]) from error
