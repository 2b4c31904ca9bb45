"""The end of a recovery: the log goes on as a new incarnation, and says so in its first leaves.

Its leaf stands before everything that was recalled: its record names the last head of the
incarnation before that any peer holds, how many leaves this node still had, and the peers it went
on without (RV-11). So nobody can mistake a restored log for a rewritten one, or the other way
round: the heads of both incarnations are signed, and kept by whoever saw them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from node.log.growth import LOG_LOCK, birth_row
from node.log.reading import find_birth, incarnation_of, log_size, newest_head
from node.ports import Decision, Insert, Unit
from node.recovery.state import RECOVERY_LOCK, ended_rows, find_recovery
from node.store import schema
from node.store.query import Query
from protocol.errors import LocalUseError
from signing.log import Birth, Break, LogDigest, read_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from node.context import NodeContext
    from node.ports import Row
    from node.recovery.marker import LogMark

_NO_ROOT = bytes(32)
_FIRST_WAITING = Query(select(func.min(schema.log_wait.c.id)), lambda number: number)


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a recovery.

    Attributes:
        incarnation: The one that begins.
        lost: Leaves of the log that peers knew of and this store had not.
    """

    incarnation: int
    lost: int


def end_unit(context: NodeContext, beside: LogMark | None, without: Sequence[str]) -> Unit[Ended]:
    """The unit of work that ends a recovery.

    Args:
        context: The node.
        beside: The mark beside the store, which may know of later incarnations.
        without: Peers that were not heard.
    """
    known = 0 if beside is None else beside.incarnation
    return Unit(
        lambda connection: _decide(context, connection, known, tuple(sorted(without))),
        frozenset({LOG_LOCK, RECOVERY_LOCK}),
    )


def _decide(
    context: NodeContext, connection: Connection, later: int, without: tuple[str, ...]
) -> Decision[Ended]:
    here, now_ms = context.here, context.clock.now_ms()
    known, birth = find_recovery(connection), find_birth(connection)
    if known is None:
        raise LocalUseError("no recovery to end")
    before, fork = incarnation_of(connection), log_size(connection)
    octets, newest = known.head, newest_head(connection)
    if octets is None:
        octets = b"" if newest is None else newest.octets
    head = read_head(octets).head if octets else None
    size, root = (0, _NO_ROOT) if head is None else (head.size, head.root)
    last = max(before, later, 0 if head is None else head.incarnation)
    said = Break(here, last, last + 1, fork, size, root, now_ms, without)
    tree = LogDigest.of(context.receipt_key().suite) if birth is None else birth.digest
    values = {
        "node": here,
        "incarnation": said.incarnation,
        "seen_ms": now_ms,
        "fork": fork,
        "size": size,
        "held": octets,
        "shown": b"",
        "record": said.octets,
    }
    new = Birth(here, tree, said.incarnation, now_ms)
    # Before everything that waits: what was recalled belongs to the new incarnation.
    first = (_FIRST_WAITING.first(connection) or 1) - 1
    rows: list[Row] = [
        Insert(schema.log_break, values),
        birth_row(new),
        Insert(schema.log_wait, {"id": first, "leaves": said.leaf(tree).octets + new.leaf.octets}),
        *ended_rows(connection, here),
    ]
    ended = Ended(said.incarnation, max(0, size - fork))
    return Decision(lambda _proofs: (rows, ended))
