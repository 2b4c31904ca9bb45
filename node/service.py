"""One running node, put together from its configuration: keys, store, trust, engine, listeners.

Start is bottom up and stops at the first thing that does not hold; stop is top down, so that
nothing is acknowledged that could not be kept:

    key store, TLS identity, signed files -> store -> engine -> peers' listener -> local listener

Reload reads the signed files again, checks them like a start does, and puts them in force in one
assignment; if anything does not hold, everything stays as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

import schemas
from node.api.app import LocalListener, make_app
from node.blobs import FileBlobs
from node.carriers.ferry import Ferry, FerryTerms, Folders
from node.carriers.https import Endpoint, HttpsTransport, ListenerLimits, PeerListener
from node.clock import SystemClock, SystemEntropy
from node.config import ConfigError, Problem
from node.context import NodeContext, RetentionTimes
from node.engine import Engine
from node.federation import Trust
from node.heap import settled_heap
from node.keystore import FileKeyStore
from node.parts.limits import PartLimits
from node.recovery.marker import FileMarker
from node.stamps import HttpStamps, Stamper
from node.store.engine import StoreEngine
from node.store.opening import open_database
from node.store.stores import ThreadedStore
from node.tls import load_identity
from node.trust_sync import TrustSync
from node.trust_watch import TrustWatch
from node.workers import ThreadWorkers
from protocol.bodies import KINDS
from protocol.errors import RefusedError, TongbanError
from protocol.limits import GIB, KIB, MIB
from signing.stamps import read_roots
from signing.verify import Rules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from node.config import Config
    from node.ports import Clock
    from routing.directory import Directory
    from routing.directory_document import NodeEntry

_HOUR_MS: Final = 3600 * 1000
_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 24 * _HOUR_MS
_SHORTEST_TOKEN: Final = 32
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_log = structlog.get_logger()


class Service:
    """A node that serves. Made and ended by `running`."""

    def __init__(
        self,
        config: Config,
        token: str,
        engine: Engine,
        trust: Trust,
        listener: PeerListener,
        transport: HttpsTransport,
        sync: TrustSync,
        work: asyncio.Task[None],
    ) -> None:
        self.config: Final = config
        self.token: Final = token
        self.engine: Final = engine
        self._trust = trust
        self._listener = listener
        self._transport = transport
        self.sync: Final = sync
        self._work = work

    @property
    def url(self) -> str:
        """Where the local API is, for callers on this machine."""
        host, port = self.config.local.host, self.config.local.port
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def reload(self) -> None:
        """Read the signed files again and put them in force.

        Raises:
            ConfigError: one of them does not hold; everything stays as it was.
            UnavailableError: SUITE_UNAVAILABLE: it could not be checked; everything stays.
        """
        federation = await asyncio.to_thread(self._trust.load)
        directory, here = federation.directory, self.config.node.id
        self._listener.update_peers(pins(directory, here))
        await self._transport.update_peers(dialled(directory, here))
        self.engine.context.federation = federation
        self.engine.refresh()
        _log.info("trust reloaded", versions=_versions(directory))

    async def ended(self) -> None:
        """Return when the engine does, which it only does for a fault of its own; raise that."""
        await asyncio.shield(self._work)


@asynccontextmanager
async def running(
    config: Config, clock: Clock | None = None, *, recover: bool = False
) -> AsyncIterator[Service]:
    """A node that serves while the block runs, and has let go of everything after it.

    Args:
        config: The node's.
        clock: Its time; the machine's own if none is given.
        recover: The operator knows that its store was put back.

    Raises:
        ConfigError: a file of the configuration is missing, broken, or says something else than
            another; an address is taken.
        KeyStoreError: the key store is damaged, unsafe, or lacks the receipt key.
        UnavailableError: STORE_UNAVAILABLE or SUITE_UNAVAILABLE.
    """
    clock = clock or SystemClock()
    identity = load_identity(config.tls.directory, config.node.id)
    keys = FileKeyStore(config.keys.directory)
    token = read_token(config.local.token_file)
    trust = Trust(config, identity, keys, clock)
    federation = trust.load()
    directory, here = federation.directory, config.node.id
    kinds = frozenset(kind.name for kind in KINDS)
    async with AsyncExitStack() as stack:
        stack.enter_context(alone(config.store.path))
        database = open_database(config.store)
        store = ThreadedStore(StoreEngine(database, keys), group_limit=config.limits.group_size)
        stack.push_async_callback(store.close)
        blobs = FileBlobs(config.parts.folder, config.parts.spare_mib * MIB)
        stack.push_async_callback(blobs.close)
        workers = ThreadWorkers()
        stack.push_async_callback(workers.close)
        context = NodeContext(
            here=here,
            rules=Rules(schemas.compiled(), kinds, config.node.environment),
            keys=keys,
            store=store,
            blobs=blobs,
            clock=clock,
            entropy=SystemEntropy(),
            federation=federation,
            lifetime_ms=config.limits.lifetime_days * _DAY_MS,
            parts=_part_limits(config),
            retention=_retention(config),
            workers=workers,
        )
        transport = HttpsTransport(identity, dialled(directory, here))
        stack.push_async_callback(transport.close)
        engine = Engine(
            context,
            transport,
            pull=config.peers.pull,
            ferries=_ferries(context, config),
            marker=FileMarker(config.store.path.with_name(f"{config.store.path.name}.mark")),
            stamper=_stamper(context, config),
        )
        limits = ListenerLimits(
            posts=config.limits.posts, posts_per_peer=config.limits.posts_per_peer
        )
        sync = TrustSync(context, trust, transport.ask_documents)
        listener = PeerListener(
            engine.exchange, identity, pins(directory, here), limits, engine, documents=sync.answer
        )
        await engine.prepare(recover=recover, check_ms=config.peers.check_s * 1000)
        work = asyncio.create_task(engine.run())
        stack.push_async_callback(_cancelled, work)
        stack.push_async_callback(listener.stop)
        if config.peers.url:
            with _telling_address(config.peers.host, config.peers.port, "peers"):
                await listener.start(config.peers.host, config.peers.port)
        local = LocalListener(make_app(engine, token))
        stack.push_async_callback(local.stop)
        with _telling_address(config.local.host, config.local.port, "local"):
            await local.start(config.local.host, config.local.port)
        if not (config.peers.url or config.ferry) and config.peers.pull == "never":
            _log.warning("no peer can hand this node anything: no url, no pull, no ferry")
        if config.local.host not in _LOOPBACK:
            _log.warning("local API beyond this machine, without TLS", host=config.local.host)
        service = Service(config, token, engine, trust, listener, transport, sync, work)
        fetching = sync if config.trust.fetch == "auto" else None
        watch = TrustWatch(context, trust, service.reload, fetching)
        watching = asyncio.create_task(watch.run())
        stack.push_async_callback(_cancelled, watching)
        _log.info(
            "serving",
            node=here,
            environment=config.node.environment,
            peers=config.peers.url or None,
            local=service.url,
            versions=_versions(directory),
        )
        stack.enter_context(settled_heap())
        yield service
    _log.info("stopped", node=here)


async def serve(
    config: Config, ready: Callable[[Service], None] | None = None, *, recover: bool = False
) -> None:
    """Run a node until SIGINT or SIGTERM; SIGHUP reloads the signed files.

    Args:
        config: The node's.
        ready: Called once it serves, and knows whether it works or recovers.
        recover: The operator knows that its store was put back.

    Raises:
        ConfigError, KeyStoreError, UnavailableError: as `running`.
    """
    loop = asyncio.get_running_loop()
    stop, hang_up = asyncio.Event(), asyncio.Event()
    async with running(config, recover=recover) as service:
        loop.add_signal_handler(signal.SIGINT, stop.set)
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGHUP, hang_up.set)
        reloading = asyncio.create_task(_reload_when(hang_up, service))
        stopping = asyncio.create_task(stop.wait())
        ended = asyncio.create_task(service.ended())
        decided = asyncio.create_task(service.engine.recovery.decided())
        try:
            await asyncio.wait({decided, stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
            if decided.done() and ready is not None:
                ready(service)
            await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ended.result()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)
            for task in (reloading, stopping, ended, decided):
                await _cancelled(task)


async def _reload_when(hang_up: asyncio.Event, service: Service) -> None:
    while True:
        await hang_up.wait()
        hang_up.clear()
        try:
            await service.reload()
        except (ConfigError, TongbanError) as error:
            _log.error("reload refused; what was in force stays", why=str(error))


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task


@contextlib.contextmanager
def alone(store: Path) -> Iterator[None]:
    """One process serves a home: two would not know of each other's queue and receipts."""
    path = store.with_name(f"{store.name}.lock")
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        what = f"cannot be made: {error.strerror or error}"
        remedy = "make its folder, or check the disk and who may write there"
        raise ConfigError([Problem(path, None, what, remedy)]) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        what = "another process serves this home already"
        raise ConfigError(
            [Problem(path, None, what, "stop it first; it may be `serve`")]
        ) from error
    try:
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _telling_address(host: str, port: int, section: str) -> Iterator[None]:
    """Which listener could not start, in the words of the configuration."""
    try:
        yield
    except OSError as error:
        what = f"[{section}] {host}:{port}: cannot listen: {error.strerror or error}"
        remedy = f"stop what uses the address, or change host or port in [{section}]"
        raise ConfigError([Problem(Path(f"{host}:{port}"), None, what, remedy)]) from error


def read_token(path: Path) -> str:
    """The token that callers of the local API show.

    Raises:
        ConfigError: the file is missing, readable by others, or holds no token.
    """
    try:
        token, mode = path.read_text(encoding="ascii").strip(), path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        remedy = "`run_node.py init` makes one; or write 43 random characters into it, mode 600"
        raise ConfigError([Problem(path, None, f"no token: {error}", remedy)]) from error
    if mode & 0o077:
        what, remedy = f"others may read it (mode {mode & 0o777:o})", f"chmod 600 {path}"
        raise ConfigError([Problem(path, None, what, remedy)])
    if len(token) < _SHORTEST_TOKEN:
        what = f"a token of {len(token)} characters can be guessed"
        remedy = f"put at least {_SHORTEST_TOKEN} random characters into it"
        raise ConfigError([Problem(path, None, what, remedy)])
    return token


def _linked(directory: Directory, here: str) -> list[NodeEntry]:
    return [node for node in directory.nodes.values() if directory.linked(here, node.id)]


def pins(directory: Directory, here: str) -> dict[str, bytes]:
    """Who may connect: nobody but those we are linked with."""
    return {node.id: node.certificate for node in _linked(directory, here)}


def dialled(directory: Directory, here: str) -> dict[str, Endpoint]:
    """Who can be dialled."""
    return {
        node.id: Endpoint(node.url, node.certificate)
        for node in _linked(directory, here)
        if node.url is not None
    }


def _stamper(context: NodeContext, config: Config) -> Stamper | None:
    stamps = config.stamps
    if stamps.certificates is None:
        return None
    try:
        roots = read_roots(stamps.certificates.read_bytes())
    except (OSError, RefusedError) as error:
        what = f"[stamps] certificates: {error}"
        remedy = "ask the authority for its certificates, in PEM form"
        raise ConfigError([Problem(stamps.certificates, None, what, remedy)]) from error
    return Stamper(context, HttpStamps(stamps.url), roots, stamps.every_minutes * _MINUTE_MS)


def _part_limits(config: Config) -> PartLimits:
    section = config.parts
    return PartLimits(
        peer_octets=section.per_peer_gib * GIB,
        octets=section.in_progress_gib * GIB,
        client_octets=section.in_progress_gib * GIB,
        idle_ms=section.idle_hours * _HOUR_MS,
        forwarded_ms=section.forwarded_days * _DAY_MS,
    )


def _retention(config: Config) -> RetentionTimes:
    section = config.retention
    contents_ms = section.contents_days * _DAY_MS or None
    return RetentionTimes(contents_ms, section.answers_days * _DAY_MS)


def _ferries(context: NodeContext, config: Config) -> dict[str, Ferry]:
    """The carriers of the links over a gate."""
    return {
        row.node: Ferry(
            context,
            FerryTerms(row.node, row.round_trip_s * 1000, row.max_file_kib * KIB),
            Folders(row.out, row.into),
        )
        for row in config.ferry
    }


def _versions(directory: Directory) -> dict[str, int]:
    return {prefix: province.payload.version for prefix, province in directory.provinces.items()}
