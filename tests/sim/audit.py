"""The checker: compares what the nodes hold, message by message and case by case.

It knows nothing of what was meant to happen; it reads the stores. Lost: accepted by a node and not
at its destination, or not settled. Doubled: delivered to somebody twice. Split: two ends that see a
case differently. Unproven: settled without a receipt that verifies. Unlogged: see
`tests.sim.audit_logs`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from node.cases import CaseView, Side
from node.store import schema
from node.store.queries import MessageRow, Role, StoredBlob, find_blobs, queue_lengths
from protocol.lifecycle import CaseState
from protocol.proof import Batched
from protocol.receipt import ReceiptType, read_receipt
from routing.delivery import Standing
from signing.receipts import concerns, verify_receipt
from tests.sim.audit_logs import audit_logs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

    from signing.trust import TrustSet
    from tests.sim.world import SimNode

EXPECTED = {
    Standing.RECEIVED: ReceiptType.RECEIVED,
    Standing.REFUSED: ReceiptType.REFUSED,
}


@dataclass(slots=True)
class Findings:
    """What is wrong, in words; empty lists are the goal."""

    messages: int = 0
    batched: int = 0
    cases: int = 0
    terminal: int = 0
    large: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    unlogged: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        wrong = self.lost, self.doubled, self.split, self.unproven, self.waiting, self.unlogged
        return not any(wrong)


@dataclass(frozen=True, slots=True)
class Holdings:
    """Everything one node holds."""

    messages: list[MessageRow]
    cases: list[CaseView]
    inbox: list[tuple[str, str]]
    queue: dict[str, int]
    large: dict[tuple[str, str, str], dict[str, StoredBlob]]


def read_holdings(connection: Connection) -> Holdings:
    inbox = schema.inbox
    messages = [MessageRow(*row) for row in connection.execute(select(schema.message))]
    return Holdings(
        messages,
        [CaseView(*row) for row in connection.execute(select(schema.case))],
        [
            (row.authority, row.message_id)
            for row in connection.execute(select(inbox.c.authority, inbox.c.message_id))
        ],
        queue_lengths(connection),
        find_blobs(connection, messages),
    )


async def audit(nodes: Mapping[str, SimNode], trust: TrustSet, filed: Iterable[str]) -> Findings:
    """Compare all nodes.

    Args:
        nodes: Running nodes.
        trust: The keys receipts are checked with.
        filed: The case ids clerks were promised.
    """
    held = {node_id: await node.read(read_holdings) for node_id, node in nodes.items()}
    findings = Findings()
    arrived = {
        (row.authority, row.message_id): row
        for holdings in held.values()
        for row in holdings.messages
        if row.role == Role.IN
    }
    deliveries = Counter(entry for holdings in held.values() for entry in holdings.inbox)
    for node_id, holdings in held.items():
        findings.waiting += [f"{node_id}: {n} for {p}" for p, n in holdings.queue.items()]
        for row in holdings.messages:
            if row.role != Role.IN:
                _check_sent(node_id, row, arrived, trust, findings)
    findings.doubled += [f"{entry} {n} times" for entry, n in deliveries.items() if n > 1]
    _check_large(nodes, held, findings)
    _check_cases(held, list(filed), findings)
    if findings.clean:
        findings.unlogged = await audit_logs(nodes, trust)
    return findings


def _check_sent(
    node_id: str,
    row: MessageRow,
    arrived: Mapping[tuple[str, str], MessageRow],
    trust: TrustSet,
    findings: Findings,
) -> None:
    name = f"{node_id} {row.role} {row.kind} {row.message_id} {row.standing}"
    findings.messages += row.role == Role.OUT
    there = arrived.get((row.authority, row.message_id))
    if there is None or there.message_digest != row.message_digest:
        findings.lost.append(f"{name}: not at {row.to_node}")
        return
    if row.standing != there.standing or row.receipt is None:
        findings.lost.append(f"{name}: {row.to_node} says {there.standing}")
        return
    verified = verify_receipt(row.receipt, trust)
    findings.batched += isinstance(read_receipt(row.receipt).proof, Batched)
    honest = (
        verified.receipt.type is EXPECTED[Standing(row.standing)]
        and verified.receipt.issuer == row.to_node
        and concerns(verified, row.reference, row.message_digest, row.envelope)
    )
    if not honest:
        findings.unproven.append(name)


def _check_large(
    nodes: Mapping[str, SimNode], held: Mapping[str, Holdings], findings: Findings
) -> None:
    """Every large part that left is there, octet by octet; no disk holds what no row names."""
    for node_id, holdings in held.items():
        sealed = nodes[node_id].disk.sealed
        named = {blob.name for blobs in holdings.large.values() for blob in blobs.values()}
        findings.lost += [f"{node_id}: blob {name} is gone" for name in named - sealed.keys()]
        for row in holdings.messages:
            if row.role != Role.OUT or row.standing != Standing.RECEIVED:
                continue
            there = held[row.to_node].large.get((row.authority, row.message_id, "in"), {})
            for part_id, blob in holdings.large.get(row.name, {}).items():
                findings.large += 1
                copy = there.get(part_id)
                disk = nodes[row.to_node].disk.sealed
                if copy is None or disk.get(copy.name) != sealed.get(blob.name):
                    findings.lost.append(f"{node_id}: {part_id} of {row.message_id}")


def _check_cases(held: Mapping[str, Holdings], filed: list[str], findings: Findings) -> None:
    views: dict[str, dict[str, CaseView]] = {}
    for holdings in held.values():
        for view in holdings.cases:
            views.setdefault(view.case_id, {})[view.side] = view
    findings.cases = len(views)
    findings.lost += [f"case {case_id} was promised" for case_id in filed if case_id not in views]
    findings.doubled += [
        f"case {case_id} nobody filed" for case_id in views if case_id not in filed
    ]
    findings.doubled += [f"case {c} filed {n} times" for c, n in Counter(filed).items() if n > 1]
    for case_id, sides in views.items():
        collect, handle = sides.get(Side.COLLECT), sides.get(Side.HANDLE)
        if collect is None or handle is None or collect.state != handle.state:
            ends = {side: view.state for side, view in sides.items()}
            findings.split.append(f"case {case_id}: {ends}")
        elif CaseState(collect.state).terminal:
            findings.terminal += 1
        else:
            findings.waiting.append(f"case {case_id}: {collect.state}")
