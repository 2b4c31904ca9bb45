"""Head, proofs and time stamp in an evidence file: what they add, and what makes them worthless."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import schemas
from node.evidence import verify_file
from protocol.proof import Single
from protocol.receipt import read_receipt
from signing.evidence import LeafProof, LogEvidence, MessageToShow, Outcome, Report, Subject
from signing.evidence_writer import write_evidence
from signing.keys import KeyUse
from signing.log import Head, Leaf, LeafType, LogDigest, head_signed_octets, write_head
from signing.merkle import Tree, leaf_hash
from signing.stamps import verify_stamp
from signing.suites import Suite, digest
from tests.evidence_files import (
    ANCHOR,
    EXPORTED_MS,
    about,
    directories,
    keys,
    message,
    story,
)
from tests.messages import (
    DAY_MS,
    NOW_MS,
    WUHAN,
    XIANGYANG,
    authority_of,
    rules,
    verified,
)
from tests.stamping import Tsa, make_tsa

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS = keys()
PAST_MS = NOW_MS - 300 * DAY_MS


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return make_tsa(tmp_path_factory.mktemp("evidence") / "tsa")


def leaves_of(messages: Sequence[MessageToShow]) -> list[Leaf]:
    """The log of a node that held these messages and the receipt that ended each."""
    found = [Leaf(LeafType.START, PAST_MS, bytes(32))]
    for one in messages:
        found.append(Leaf(LeafType.MESSAGE_SENT, PAST_MS, digest_of(one)))
        found.append(Leaf(LeafType.RECEIPT_TAKEN, PAST_MS, end_of(one)))
    return found


def digest_of(one: MessageToShow) -> bytes:
    return verified(one.envelope, KEYS).message_digest


def end_of(one: MessageToShow) -> bytes:
    octets = one.receipts[-1]
    return digest(Suite(read_receipt(octets).receipt.suite), octets)


def logged(messages: Sequence[MessageToShow], **changes: Any) -> tuple[list[MessageToShow], bytes]:
    """The messages with their proofs, and a head over them; `changes` are fields of the head."""
    leaves = [leaf.octets for leaf in leaves_of(messages)]
    tree = Tree(Suite.P256, [leaf_hash(Suite.P256, octets) for octets in leaves])
    proofs = [
        LeafProof(octets, index, tuple(tree.inclusion_path(index)))
        for index, octets in enumerate(leaves)
    ]
    proven = [
        replace(one, proofs=proofs[1 + 2 * number : 3 + 2 * number])
        for number, one in enumerate(messages)
    ]
    return proven, signed_head(**{"size": len(leaves), "root": tree.root} | changes)


def signed_head(**changes: Any) -> bytes:
    node = changes.get("node", WUHAN)
    key = KEYS.public(KEYS.find(changes.pop("use", KeyUse.HEAD), node))
    values: dict[str, Any] = {
        "node": node,
        "digest": LogDigest.SHA_256,
        "incarnation": 1,
        "instant_ms": PAST_MS,
        "view": bytes(32),
        "suite": key.suite,
        "key_id": key.key_id,
    }
    head = Head(**values | changes)
    return write_head(head, Single(KEYS.secrets[key.key_id].sign(head_signed_octets(head))))


def report(
    messages: Sequence[MessageToShow],
    log: LogEvidence | None,
    roots: Sequence[Any] = (),
    documents: Sequence[bytes] | None = None,
    **changes: Any,
) -> Report:
    listed = directories(KEYS) if documents is None else documents
    octets = write_evidence(about(**changes), listed, messages, KEYS, log)
    return verify_file(octets, ANCHOR, schemas.compiled(), rules().kinds, tuple(roots))


def fails(found: Report, step: str = "log") -> str:
    assert found.outcome is Outcome.REFUSED, found
    assert found.steps[-1].name == step, found
    return found.steps[-1].detail


@pytest.mark.spec("EV-19")
def test_a_file_shows_that_its_messages_stand_in_the_log_of_a_head() -> None:
    proven, head = logged(story(KEYS))
    found = report(proven, LogEvidence(head))
    assert found.outcome is Outcome.VALID, found
    assert found.stamped_ms is None
    assert "head of 7 leaves" in found.steps[3].detail


@pytest.mark.spec("EV-19")
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("kept", [slice(0, 1), slice(1, 2), slice(0, 0)])
def test_every_message_and_what_ended_it_has_to_be_in_the_log(number: int, kept: slice) -> None:
    proven, head = logged(story(KEYS))
    proven[number] = replace(proven[number], proofs=proven[number].proofs[kept])
    assert "no proof that" in fails(report(proven, LogEvidence(head)))


@pytest.mark.spec("EV-19")
def test_the_proof_of_another_message_proves_nothing() -> None:
    proven, head = logged(story(KEYS))
    proven[0], proven[1] = (
        replace(proven[0], proofs=proven[1].proofs),
        replace(proven[1], proofs=proven[0].proofs),
    )
    fails(report(proven, LogEvidence(head)))


@pytest.mark.spec("EV-19")
def test_a_leaf_of_another_type_is_no_proof() -> None:
    told = story(KEYS)[:1]
    leaf = Leaf(LeafType.PEER_HEAD, PAST_MS, digest_of(told[0])).octets
    end = Leaf(LeafType.RECEIPT_TAKEN, PAST_MS, end_of(told[0])).octets
    tree = Tree(Suite.P256, [leaf_hash(Suite.P256, octets) for octets in (leaf, end)])
    proofs = [
        LeafProof(octets, index, tuple(tree.inclusion_path(index)))
        for index, octets in enumerate((leaf, end))
    ]
    head = signed_head(size=2, root=tree.root)
    assert "the message" in fails(report([replace(told[0], proofs=proofs)], LogEvidence(head)))


@pytest.mark.spec("EV-20")
@pytest.mark.parametrize(
    "changes",
    [{"root": bytes(32)}, {"size": 8}, {"digest": LogDigest.SM3}],
    ids=["root", "size", "digest"],
)
def test_a_proof_has_to_lead_to_the_root_of_the_head(changes: dict[str, Any]) -> None:
    proven, head = logged(story(KEYS), **changes)
    assert "does not lead" in fails(report(proven, LogEvidence(head)))


@pytest.mark.spec("EV-20")
def test_a_path_with_a_hash_too_many_or_too_few_leads_nowhere() -> None:
    proven, head = logged(story(KEYS))
    first = proven[0].proofs[0]
    for path in (first.path[:-1], (*first.path, bytes(32)), ()):
        proofs = [replace(first, path=path), proven[0].proofs[1]]
        fails(report([replace(proven[0], proofs=proofs), *proven[1:]], LogEvidence(head)))


@pytest.mark.spec("EV-20")
def test_a_leaf_beyond_the_head_or_of_no_known_type_is_refused() -> None:
    proven, head = logged(story(KEYS))
    first = proven[0].proofs[0]
    for other in (replace(first, index=7), replace(first, leaf=b"\xff" + first.leaf[1:])):
        proofs = [other, proven[0].proofs[1]]
        fails(report([replace(proven[0], proofs=proofs), *proven[1:]], LogEvidence(head)))


@pytest.mark.spec("EV-19")
@pytest.mark.parametrize("changes", [{"node": XIANGYANG}, {"use": KeyUse.RECEIPT}], ids=str)
def test_the_head_is_the_exporting_nodes_by_its_head_key(changes: dict[str, Any]) -> None:
    proven, head = logged(story(KEYS), **changes)
    fails(report(proven, LogEvidence(head)))


@pytest.mark.spec("EV-10")
def test_proofs_come_with_their_head() -> None:
    proven, _ = logged(story(KEYS))
    assert "without its head" in fails(report(proven, None))


@pytest.mark.spec("EV-22", "TS-1", "TS-3")
def test_a_stamp_dates_the_file_where_its_authority_is_believed(tsa: Tsa) -> None:
    proven, head = logged(story(KEYS))
    log = LogEvidence(head, tsa.stamp(head))
    stamped = report(proven, log, tsa.roots)
    assert stamped.outcome is Outcome.VALID, stamped
    assert log.stamp is not None
    assert stamped.stamped_ms == verify_stamp(log.stamp, head, tsa.roots)
    # Without certificates from outside it dates nothing, and says so.
    plain = report(proven, log)
    assert plain.outcome is Outcome.VALID
    assert plain.stamped_ms is None
    assert "not looked at" in plain.steps[3].detail


@pytest.mark.spec("EV-21", "TS-2")
def test_a_stamp_of_another_head_or_authority_refuses_the_file(tsa: Tsa, tmp_path: Any) -> None:
    proven, head = logged(story(KEYS))
    fails(report(proven, LogEvidence(head, tsa.stamp(head + b".")), tsa.roots))
    other = make_tsa(tmp_path / "other")
    fails(report(proven, LogEvidence(head, other.stamp(head)), tsa.roots))


@pytest.mark.spec("EV-21")
def test_a_head_cannot_be_younger_than_its_stamp(tsa: Tsa) -> None:
    proven, head = logged(story(KEYS), instant_ms=NOW_MS + 300 * DAY_MS)
    assert "younger" in fails(report(proven, LogEvidence(head, tsa.stamp(head)), tsa.roots))


@pytest.mark.spec("EV-23", "EV-14", "TS-3")
def test_a_stamp_is_a_witness_where_the_senders_node_alone_is_none(tsa: Tsa) -> None:
    """The key of the sender is revoked later: only what was stamped before still counts."""
    local = [
        message(
            KEYS,
            to_node=WUHAN,
            received_ms=PAST_MS,
            created_ms=PAST_MS,
            expires_ms=PAST_MS + DAY_MS,
        )
    ]
    proven, head = logged(local)
    log = LogEvidence(head, tsa.stamp(head))
    assert log.stamp is not None
    stamped_ms = verify_stamp(log.stamp, head, tsa.roots)

    def checked(revoked_ms: int, roots: Sequence[Any]) -> Report:
        owner = authority_of(WUHAN)
        records = [
            replace(record, revoked_ms=revoked_ms)
            if (record.use, record.owner) == (KeyUse.ENVELOPE, owner)
            else record
            for record in KEYS.records
        ]
        documents = directories(replace(KEYS, records=records))
        return report(
            proven,
            log,
            roots,
            documents,
            subject=Subject.CASE,
            exported_ms=max(EXPORTED_MS, stamped_ms),
        )

    assert checked(stamped_ms + 1, tsa.roots).outcome is Outcome.VALID
    fails(checked(stamped_ms, tsa.roots), "envelopes")
    fails(checked(stamped_ms + 1, ()), "envelopes")
