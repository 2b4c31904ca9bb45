"""The inbox (收件箱): what came in for authorities of ours, handed out on leases.

A lease is a durable row, so a crash on either side loses nothing: an entry that was leased and not
reported done is offered again when the lease runs out. An entry may therefore be seen twice, and is
never lost; what was done under a lease nobody else took meanwhile stays done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from adapters.local_json import from_body
from node.api.forms import DoneForm, LeaseForm
from node.api.problems import Fault, ProblemError
from node.api.reading import read_form, read_id
from node.api.writing import kind_name, part_shown, party, respond, written
from node.ports import Decision, Unit, Update
from node.store import schema
from node.store.queries import MessageRow, Role, find_message, find_parts
from node.store.views import InboxRow, find_entry, open_entries
from protocol.bodies import decode_body
from protocol.envelope import BODY_ID, MessageReference, read_validated
from protocol.identifiers import ENTROPY_OCTETS, make_uuid7
from protocol.limits import MAX_ENVELOPE_OCTETS
from protocol.wire import parse_canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext

_MS_PER_S: Final = 1000
# One after the other: a unit has to see the leases the one before it gave.
_LOCK: Final = frozenset({"inbox"})


class InboxApi:
    """Leases on what waits for an authority's own systems and people."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context

    async def lease(self, request: web.Request) -> web.Response:
        """POST /v1/inbox/lease: take entries for a while, the oldest first."""
        form = await read_form(request, LeaseForm)
        context = self._context
        now_ms = context.clock.now_ms()
        lease = make_uuid7(now_ms, context.entropy.octets(ENTROPY_OCTETS))
        until_ms = now_ms + form.seconds * _MS_PER_S

        def decide(connection: Connection) -> Decision[Sequence[InboxRow]]:
            entries = open_entries(connection, form.authority, now_ms, form.most)
            changes = {"lease": lease, "leased_until_ms": until_ms}
            rows = [Update(schema.inbox, entry.key, changes) for entry in entries]
            return Decision(lambda _signatures: (rows, entries))

        entries = await context.store.run(Unit(decide, _LOCK))
        found = await context.store.read(lambda connection: _messages(connection, entries))
        shown = [
            {**self._shown(row, body), "lease": lease, "leasedUntil": written(until_ms)}
            for row, body in found
        ]
        return respond({"entries": shown})

    async def done(self, request: web.Request) -> web.Response:
        """POST /v1/inbox/{messageId}/done: the entry need not be offered again."""
        reference_id = read_id(request, "messageId")
        form = await read_form(request, DoneForm)
        reference = MessageReference(form.authority, reference_id)
        now_ms = self._context.clock.now_ms()

        def decide(connection: Connection) -> Decision[Fault | None]:
            entry = find_entry(connection, reference)
            if entry is None:
                return Decision(lambda _signatures: ([], Fault.NOT_FOUND))
            if entry.lease != form.lease:
                return Decision(lambda _signatures: ([], Fault.LEASE_LOST))
            # Said twice it is done once: the answer to the first may have been lost.
            first = entry.done_ms is None
            rows = [Update(schema.inbox, entry.key, {"done_ms": now_ms})] if first else []
            return Decision(lambda _signatures: (rows, None))

        fault = await self._context.store.run(Unit(decide, _LOCK))
        if fault is not None:
            raise ProblemError(fault, f"inbox entry {reference_id} of {form.authority}")
        return web.Response(status=204)

    def _shown(self, row: MessageRow, body: bytes) -> dict[str, object]:
        directory = self._context.federation.directory
        envelope = read_validated(parse_canonical(row.envelope, MAX_ENVELOPE_OCTETS))
        return {
            "messageId": row.message_id,
            "from": party(directory, row.from_node, row.authority),
            "to": party(directory, row.to_node, row.to_authority),
            "caseId": row.case_id,
            "sequence": row.sequence,
            "kind": row.kind,
            "kindName": kind_name(row.kind),
            "body": from_body(decode_body(body, self._context.rules.schemas)),
            "parts": [part_shown(part) for part in envelope.parts],
            "recorded": written(row.recorded_ms),
        }


def _messages(
    connection: Connection, entries: Sequence[InboxRow]
) -> list[tuple[MessageRow, bytes]]:
    """The messages of these entries with their bodies, in their order."""
    found = [
        find_message(connection, MessageReference(entry.authority, entry.message_id), Role.IN)
        for entry in entries
    ]
    rows = [row for row in found if row is not None]
    parts = find_parts(connection, rows)
    return [(row, parts[row.authority, row.message_id, row.role][BODY_ID]) for row in rows]
