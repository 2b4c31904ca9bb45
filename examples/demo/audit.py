"""The audit: nothing lost, nothing doubled, counted from what the nodes hold.

It opens every node's store, read only, and believes nothing the demo remembers but one list: the
submissions and acts that a node acknowledged to its caller, for those are promises. It counts

* **lost**: a message that was promised and is not in the sender's store; one that its sender holds
  as received and that its destination does not have under the same digest, or has not put into the
  inbox;
* **duplicated**: content that a destination recorded or put into an inbox more than once, that
  nobody sent, or that stands more than once in a case under one number;
* **unsettled**: a message without its destination's receipt; a receipt that does not verify against
  the directory, or not for this digest; a case that is not over; two ends that see different cases.

A message that was refused is neither lost nor doubled: its sender holds the refusal, signed.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from protocol.envelope import MessageReference
from protocol.errors import RefusedError, UnavailableError
from protocol.lifecycle import CaseState
from protocol.receipt import ReceiptType
from signing.receipts import concerns, verify_receipt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from signing.trust import TrustSet

_PING: Final = "ping"


@dataclass(frozen=True, slots=True)
class Held:
    """One message as one node holds it."""

    node: str
    authority: str
    message_id: str
    role: str
    kind: str
    case_id: str | None
    sequence: int | None
    to_node: str
    message_digest: bytes
    envelope: bytes
    standing: str
    receipt: bytes | None
    path: str

    @property
    def name(self) -> str:
        """For a finding."""
        return f"{self.kind} {self.message_id}"

    @property
    def identity(self) -> tuple[str, str, bytes]:
        """What makes it this message and no other."""
        return self.authority, self.message_id, self.message_digest


@dataclass(frozen=True, slots=True)
class End:
    """One end of a case as its node sees it."""

    node: str
    case_id: str
    side: str
    state: str


@dataclass(frozen=True, slots=True)
class Stores:
    """What all nodes hold."""

    messages: tuple[Held, ...]
    ends: tuple[End, ...]
    inbox: Counter[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class Findings:
    """What the audit found; each finding a sentence.

    Attributes:
        messages: How many messages were written at the nodes.
        receipts: How many destination receipts verified.
        cases: Cases by id: whether each is settled.
        refused: Cases whose submission a node refused, by a signed receipt.
        lost: Findings.
        duplicated: Findings.
        unsettled: Findings.
    """

    messages: int
    receipts: int
    cases: Mapping[str, bool]
    refused: frozenset[str]
    lost: tuple[str, ...]
    duplicated: tuple[str, ...]
    unsettled: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing doubled, every case over."""
        over = self.settled + len(self.refused) == len(self.cases)
        return over and not (self.lost or self.duplicated or self.unsettled)

    @property
    def settled(self) -> int:
        """Cases the authority finished, with every message receipted by its destination."""
        return sum(over for case_id, over in self.cases.items() if case_id not in self.refused)


def read_stores(stores: Mapping[str, Path]) -> Stores:
    """Read the nodes' databases.

    Args:
        stores: Node id to database file.
    """
    messages: list[Held] = []
    ends: list[End] = []
    inbox: Counter[tuple[str, str, str]] = Counter()
    for node, path in stores.items():
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            messages += (
                Held(node, *row)
                for row in database.execute(
                    "SELECT authority, message_id, role, kind, case_id, sequence, to_node,"
                    " message_digest, envelope, standing, receipt, path FROM message"
                )
            )
            ends += (
                End(node, *row)
                for row in database.execute("SELECT case_id, side, state FROM case_view")
            )
            inbox.update(
                (node, authority, message_id)
                for authority, message_id in database.execute(
                    "SELECT authority, message_id FROM inbox"
                )
            )
    return Stores(tuple(messages), tuple(ends), inbox)


def audit(stores: Stores, promised: Iterable[str], trust: TrustSet) -> Findings:
    """Count.

    Args:
        stores: What the nodes hold.
        promised: Ids of the messages that a node acknowledged to its caller.
        trust: The keys of the directory, for the receipts.
    """
    sent = [held for held in stores.messages if held.role == "out"]
    arrived = [held for held in stores.messages if held.role == "in"]
    lost = [*_broken_promises(sent, promised), *_not_arrived(sent, arrived, stores.inbox)]
    bad = {held.message_id: fault for held in sent if (fault := _receipt_fault(held, trust))}
    cases, refused, differences = _cases(stores, sent, set(bad))
    return Findings(
        messages=len(sent),
        receipts=len(sent) - len(bad),
        cases=cases,
        refused=refused,
        lost=tuple(lost),
        duplicated=tuple(_doubled(sent, arrived, stores.inbox)),
        unsettled=(*bad.values(), *differences),
    )


def _broken_promises(sent: Iterable[Held], promised: Iterable[str]) -> Iterable[str]:
    written = {held.message_id for held in sent}
    return [f"{message_id} was acknowledged and is gone" for message_id in {*promised} - written]


def _not_arrived(
    sent: Iterable[Held], arrived: Iterable[Held], inbox: Mapping[tuple[str, str, str], int]
) -> Iterable[str]:
    there = {(held.node, *held.identity) for held in arrived}
    for held in sent:
        if held.standing != "received":
            continue
        if (held.to_node, *held.identity) not in there:
            yield f"{held.name}: received, but not at {held.to_node}"
        elif held.kind != _PING and not inbox.get((held.to_node, held.authority, held.message_id)):
            yield f"{held.name}: received at {held.to_node}, but not in the inbox"


def _doubled(
    sent: Iterable[Held], arrived: Iterable[Held], inbox: Mapping[tuple[str, str, str], int]
) -> Iterable[str]:
    written = {held.identity for held in sent}
    recorded = Counter(held.message_digest for held in arrived)
    places = Counter(
        (held.case_id, held.authority, held.sequence)
        for held in arrived
        if held.case_id is not None and held.standing == "received"
    )
    for held in arrived:
        if held.identity not in written:
            yield f"{held.name}: recorded at {held.node}, and nobody sent it"
    for held in {held.message_digest: held for held in arrived}.values():
        if recorded[held.message_digest] > 1:
            yield f"{held.name}: recorded {recorded[held.message_digest]} times"
    yield from (f"{place}: {count} messages" for place, count in places.items() if count > 1)
    yield from (f"{entry}: {count} in the inbox" for entry, count in inbox.items() if count > 1)


def _receipt_fault(held: Held, trust: TrustSet) -> str | None:
    """Why the destination's receipt does not settle a message; None if it does."""
    if held.receipt is None:
        return f"{held.name}: {held.standing}, no receipt of {held.to_node}"
    try:
        verified = verify_receipt(held.receipt, trust)
    except (RefusedError, UnavailableError) as error:
        return f"{held.name}: {error}"
    reference = MessageReference(held.authority, held.message_id)
    receipt = verified.receipt
    fits = concerns(verified, reference, held.message_digest, held.envelope)
    if not fits or receipt.issuer != held.to_node or receipt.type is ReceiptType.CUSTODY:
        return f"{held.name}: its receipt is another's"
    return None


def _cases(
    stores: Stores, sent: Iterable[Held], open_messages: set[str]
) -> tuple[dict[str, bool], frozenset[str], list[str]]:
    """Case to settled, the cases refused by a node, and where the two ends differ."""
    refused = frozenset(
        held.case_id
        for held in sent
        if held.case_id and held.kind == "case.submit" and held.standing == "refused"
    )
    waiting = {held.case_id for held in sent if held.message_id in open_messages}
    views: dict[str, dict[str, str]] = {}
    for end in stores.ends:
        views.setdefault(end.case_id, {})[end.side] = end.state
    settled: dict[str, bool] = {}
    differences: list[str] = []
    for case_id, ends in views.items():
        states = set(ends.values())
        both = ends.keys() == {"collect", "handle"} and len(states) == 1
        if not both and case_id not in refused:
            differences.append(f"case {case_id}: the ends see {ends}")
        over = both and all(CaseState(state).terminal for state in states)
        if both and not over:
            differences.append(f"case {case_id}: {', '.join(states)}, not over")
        settled[case_id] = case_id not in waiting and (over or case_id in refused)
    return settled, refused, differences
