"""How the node does: its clock, the directories in force, and each peer with what waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.api.writing import respond, written
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
        me = directory.node(context.here)
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
                "version": document.payload.version,
                "expires": written(document.payload.expires_ms),
            }
            for prefix, document in directory.documents.items()
        ]
        return respond(
            {
                "node": context.here,
                "name": None if me is None else me.name,
                "environment": context.rules.environment,
                "clock": written(context.clock.now_ms()),
                "directory": provinces,
                "store": {"trouble": context.store.trouble},
                "peers": peers,
            }
        )
