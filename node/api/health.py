"""How the node does: its clock, the directories in force, and each peer with what waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.api.writing import respond, written
from node.log.reading import breaks, log_size, newest_head, stamped_head
from node.log.witness import alarms, all_held
from node.store.queries import PeerRow, queue_lengths

if TYPE_CHECKING:
    from aiohttp import web

    from node.engine import Engine


class HealthApi:
    """For operators and for whoever watches the node."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._context = engine.context

    async def show(self, _request: web.Request) -> web.Response:
        """GET /v1/health."""
        context = self._context
        queues = await context.store.read(queue_lengths)
        directory = context.federation.directory
        me, now_ms = directory.node(context.here), context.clock.now_ms()
        known = {peer: PeerRow(peer, 0, 0, None, None) for peer in queues}
        known |= {row.node: row for row in self._engine.peers()}
        peers = [
            {
                "node": row.node,
                "failures": row.failures,
                "heard": written(row.heard_ms),
                "trouble": row.trouble,
                "queue": queues.get(row.node, 0),
            }
            for row in sorted(known.values(), key=lambda row: row.node)
        ]
        provinces = [
            {
                "prefix": prefix,
                "version": province.payload.version,
                "root": province.root.payload.version,
                "standing": directory.standing(prefix, now_ms).value,
                "expires": written(province.fresh_until_ms),
            }
            for prefix, province in directory.provinces.items()
        ]
        return respond(
            {
                "node": context.here,
                "name": None if me is None else me.name,
                "environment": context.rules.environment,
                "clock": written(now_ms),
                "directory": provinces,
                "store": {"trouble": context.store.trouble},
                "log": await self._log(),
                "stamps": await self._stamps(),
                "recovery": self._recovery(),
                "peers": peers,
            }
        )

    async def _stamps(self) -> dict[str, object] | None:
        """Time stamps: how old the newest stamped head is; None if none are asked for."""
        if self._engine.stamper is None:
            return None
        newest = await self._context.store.read(stamped_head)
        return {
            "head": None if newest is None else written(newest.instant_ms),
            "trouble": self._engine.stamper.trouble,
        }

    async def _log(self) -> dict[str, object]:
        """The evidence log: how far it is, what is held of peers' logs, what contradicts itself."""
        size, newest, held, seen, broken = await self._context.store.read(
            lambda connection: (
                log_size(connection),
                newest_head(connection),
                all_held(connection),
                alarms(connection),
                breaks(connection),
            )
        )
        return {
            "size": size,
            "head": None if newest is None else written(newest.instant_ms),
            "trouble": self._engine.log.trouble,
            "held": [
                {"node": row.node, "size": row.head.size, "taken": written(row.taken_ms)}
                for row in held
            ],
            "alarms": [
                {"node": row.node, "verdict": row.verdict, "seen": written(row.seen_ms)}
                for row in seen
            ],
            "breaks": [
                {
                    "node": row.node,
                    "incarnation": row.incarnation,
                    "lost": row.lost,
                    "seen": written(row.seen_ms),
                }
                for row in broken
            ],
        }

    def _recovery(self) -> dict[str, object]:
        """Whether the node works, and who is waited for if it does not."""
        recovery = self._engine.recovery
        return {
            "phase": recovery.phase.value,
            "why": recovery.why,
            "peers": [
                {
                    "node": peer.node,
                    "messages": peer.messages,
                    "done": peer.done,
                    "without": peer.excused,
                    "trouble": peer.trouble,
                }
                for peer in recovery.status()
            ],
        }
