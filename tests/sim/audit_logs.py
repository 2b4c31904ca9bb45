"""The checker of evidence logs: what every node holds must stand in the logs it belongs in.

Each receipt in the world is in its issuer's log and in that of whoever took it; each message in the
logs of those who sent and took it; each log is the tree its head says; and the heads that peers
hold lie on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import select

from node.log.leaves import receipt_digest
from node.log.reading import Inclusion, newest_head, proofs_for
from node.log.witness import HeldRow, alarms, all_held
from node.store import schema
from node.store.queries import MessageRow, Role
from protocol.receipt import read_receipt
from routing.delivery import Standing
from signing.log import LeafType, read_leaf, verify_head
from signing.merkle import leaf_hash, root_from_inclusion
from tests.log_kit import all_leaves
from tests.sim.tally import TALLY
from tests.trees import Recursive

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection

    from signing.trust import TrustSet
    from tests.sim.world import SimNode

SAMPLES = 5
"""Digests of each node that are proven one by one; the others are looked up."""


@dataclass(frozen=True, slots=True)
class NodeLog:
    """The log of one node, and what it holds that belongs in logs."""

    leaves: list[bytes]
    logged: set[tuple[LeafType, bytes]]
    head: bytes | None
    held: list[HeldRow]
    alarms: list[str]
    messages: list[MessageRow]
    receipts: list[tuple[str, bytes]]


def read_log(connection: Connection) -> NodeLog:
    leaves, head, custody = all_leaves(connection), newest_head(connection), schema.custody
    messages = [MessageRow(*row) for row in connection.execute(select(schema.message))]
    given = connection.execute(select(custody.c.role, custody.c.receipt))
    return NodeLog(
        leaves=leaves,
        logged={(leaf.type, leaf.digest) for leaf in map(read_leaf, leaves)},
        head=None if head is None else head.octets,
        held=all_held(connection),
        alarms=[f"{row.node} {row.verdict}" for row in alarms(connection)],
        messages=messages,
        receipts=[(row.role, row.receipt) for row in messages if row.receipt is not None]
        + [(row.role, row.receipt) for row in given],
    )


async def audit_logs(nodes: Mapping[str, SimNode], trust: TrustSet) -> list[str]:
    """What does not hold, in words."""
    logs = {node_id: await node.read(read_log) for node_id, node in nodes.items()}
    trees = {node_id: Recursive(log.leaves) for node_id, log in logs.items()}
    wrong = [f"{node_id}: alarm {each}" for node_id, log in logs.items() for each in log.alarms]
    for node_id, log in logs.items():
        wrong += [f"{node_id}: {problem}" for problem in _problems(node_id, log, logs)]
        wrong += [f"{node_id}: {problem}" for problem in _heads(node_id, log, trees, trust)]
        for proof in await nodes[node_id].read(partial(_prove_some, log=log)):
            if not _proves(proof):
                wrong.append(f"{node_id}: leaf {proof.index} is not proven")
    if not wrong:
        TALLY["leaves"] += sum(len(log.leaves) for log in logs.values())
        TALLY["heads held"] += sum(len(log.held) for log in logs.values())
    return wrong


def _problems(here: str, log: NodeLog, logs: Mapping[str, NodeLog]) -> Iterator[str]:
    for row in log.messages:
        kind = LeafType.MESSAGE_SENT if row.role == Role.OUT else LeafType.MESSAGE_TAKEN
        refused = row.role == Role.IN and row.standing == Standing.REFUSED
        if not refused and (kind, row.message_digest) not in log.logged:
            yield f"{row.role} {row.message_id} is not logged"
    for role, octets in log.receipts:
        receipt = read_receipt(octets).receipt
        digest = receipt_digest(receipt, octets)
        if (LeafType.RECEIPT_ISSUED, digest) not in logs[receipt.issuer].logged:
            yield f"a receipt of {receipt.issuer} that its log does not have"
        taken = role != Role.IN or receipt.issuer != here
        if taken and (LeafType.RECEIPT_TAKEN, digest) not in log.logged:
            yield f"a receipt of {receipt.issuer} that was taken and not logged"


def _heads(
    here: str, log: NodeLog, trees: Mapping[str, Recursive], trust: TrustSet
) -> Iterator[str]:
    if log.head is None:
        yield "no head"
        return
    head = verify_head(log.head, trust, here).head
    if head.size != len(log.leaves) or head.root != trees[here].root(head.size):
        yield "the head is not that of the log"
    for held in log.held:
        theirs = verify_head(held.octets, trust, held.node).head
        tree = trees[held.node]
        # Larger than its log: one from before a loss, until the next one is shown.
        if theirs.size > len(tree.leaves) or theirs.root != tree.root(theirs.size):
            yield f"holds a head of {held.node} that its log does not lead to"


def _prove_some(connection: Connection, log: NodeLog) -> list[Inclusion]:
    chosen = sorted(digest for _, digest in log.logged)[:SAMPLES]
    return [proof for digest in chosen for proof in proofs_for(connection, digest)]


def _proves(proof: Inclusion) -> bool:
    head = proof.head.signed.head
    suite = head.digest.suite
    leaf = leaf_hash(suite, proof.leaf.octets)
    return root_from_inclusion(suite, leaf, proof.index, head.size, proof.path) == head.root
