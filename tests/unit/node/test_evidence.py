"""Evidence: exported by a node, checked by anyone, broken by any change."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

import schemas
from node.evidence import export_case, export_message, verify_file
from node.outgoing import Filed
from protocol.bodies import KINDS
from protocol.errors import RefusedError, UnavailableError
from protocol.reasons import Reason
from signing.evidence import MAGIC, Outcome, Report
from tests.sim.agents import Clerk, Officer
from tests.sim.federation import EZHOU, HUB, RULES, WUHAN, XIANGYANG, make_sample
from tests.sim.loop import run_virtual
from tests.sim.weather import Network
from tests.sim.world import SimNode
from tests.unit.routing.provinces import anchor

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from node.evidence import Export
    from routing.directory_roles import TrustAnchor

SAMPLE = make_sample()
OURS, FOREIGN = anchor("42", "43"), anchor("44")


def check(octets: bytes, trust: TrustAnchor = OURS) -> Report:
    return verify_file(octets, trust, schemas.compiled(), RULES.kinds)


def failing_step(octets: bytes, trust: TrustAnchor = OURS) -> str:
    report = check(octets, trust)
    assert report.outcome is Outcome.REFUSED
    assert report.proven == ()
    *held, last = report.steps
    assert all(step.passed for step in held)
    assert not last.passed
    assert last.detail
    return last.name


async def _whole(exporting: Awaitable[Export]) -> bytes:
    export = await exporting
    return b"".join([piece async for piece in export.octets()])


async def _story(folder: Path) -> tuple[bytes, bytes, bytes, str]:
    """One case from Wuhan to Xiangyang by the hub: its file from both ends, and one message's."""
    dice = random.Random(7)
    nodes: dict[str, SimNode] = {}
    network = Network(dice, nodes)
    for node_id in (HUB, WUHAN, XIANGYANG, EZHOU):
        nodes[node_id] = SimNode(
            node_id, folder, SAMPLE.keyrings[node_id], RULES, SAMPLE.federation, dice
        )
        nodes[node_id].start(network)
    officers = [asyncio.ensure_future(Officer(node, dice).run()) for node in nodes.values()]
    clerk = Clerk(nodes[WUHAN], dice)
    await clerk.file(SAMPLE.implementation(XIANGYANG), XIANGYANG, 1)
    await asyncio.sleep(600)
    (filed,) = clerk.filed
    ends = []
    for node_id in (WUHAN, XIANGYANG):
        engine = nodes[node_id].engine
        assert engine is not None
        ends.append(await _whole(export_case(engine.context, filed.case_id or "")))
    engine = nodes[WUHAN].engine
    assert engine is not None
    one = await _whole(export_message(engine.context, filed.message.message_id))
    with pytest.raises(RefusedError) as unknown:
        await export_message(engine.context, filed.case_id or "")
    assert unknown.value.reason is Reason.MESSAGE_UNKNOWN
    with pytest.raises(RefusedError) as unknown:
        await export_case(engine.context, filed.message.message_id)
    assert unknown.value.reason is Reason.CASE_UNKNOWN
    for officer in officers:
        officer.cancel()
    for node in nodes.values():
        await node.crash()
    return ends[0], ends[1], one, filed.case_id or ""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, bytes, str]:
    told: tuple[bytes, bytes, bytes, str] = run_virtual(_story(tmp_path_factory.mktemp("story")))
    return told


def test_both_ends_prove_the_same_case(story: tuple[bytes, bytes, bytes, str]) -> None:
    window, authority, _, case_id = story
    reports = [check(window), check(authority)]
    for report in reports:
        assert report.outcome is Outcome.VALID, report
        assert [step.number for step in report.steps] == list(range(1, 10))
        assert report.about is not None
        assert report.about.subject_id == case_id
    proven = [{one.message_id: (one.kind, one.received_ms) for one in r.proven} for r in reports]
    assert proven[0] == proven[1]
    kinds = [kind for kind, _ in proven[0].values()]
    assert kinds[:2] == ["case.submit", "case.received"]
    assert set(kinds) <= {kind.name for kind in KINDS}


def test_a_message_alone_proves_itself_with_its_custody(
    story: tuple[bytes, bytes, bytes, str],
) -> None:
    report = check(story[2])
    assert report.outcome is Outcome.VALID
    (one,) = report.proven
    assert (one.kind, one.custody, one.missing) == ("case.submit", (HUB,), ())


@pytest.mark.spec("EV-9")
def test_any_changed_byte_is_refused_by_a_named_step(
    story: tuple[bytes, bytes, bytes, str],
) -> None:
    octets = story[2]
    found = set()
    # Head and tail, and every 41st octet between; the change differs from place to place.
    places = [*range(0, len(octets), 41), *range(60), *range(len(octets) - 110, len(octets))]
    for place in places:
        flip = 1 << place % 8
        changed = octets[:place] + bytes([octets[place] ^ flip]) + octets[place + 1 :]
        found.add(failing_step(changed))
    assert {"container", "about", "directories", "envelopes", "parts", "receipts", "seal"} <= found


@pytest.mark.spec("EV-13")
def test_a_foreign_anchor_is_refused_at_the_directories(
    story: tuple[bytes, bytes, bytes, str],
) -> None:
    assert failing_step(story[0], FOREIGN) == "directories"


@pytest.mark.parametrize("cut", [1, 50, 97, 5_000])
def test_a_file_cut_short_or_continued_is_refused(
    story: tuple[bytes, bytes, bytes, str], cut: int
) -> None:
    assert failing_step(story[0][:-cut]) == "container"
    assert failing_step(story[0] + bytes(cut)) == "container"


@pytest.mark.parametrize(
    "octets", [b"", MAGIC, b"PK\x03\x04", MAGIC + bytes(5), MAGIC + b"\xff" * 9]
)
def test_rubbish_is_refused_at_the_container(octets: bytes) -> None:
    assert failing_step(octets) == "container"


def records(octets: bytes) -> list[bytes]:
    found, place = [], len(MAGIC)
    while place < len(octets):
        length = int.from_bytes(octets[place + 1 : place + 5])
        found.append(octets[place : place + 5 + length])
        place += 5 + length
    return found


def test_a_part_taken_out_is_noticed_by_the_seal(story: tuple[bytes, bytes, bytes, str]) -> None:
    kept = [record for record in records(story[2]) if record[0] != 4]
    assert failing_step(MAGIC + b"".join(kept)) == "seal"


def test_a_receipt_from_another_file_is_refused(story: tuple[bytes, bytes, bytes, str]) -> None:
    whole, one = records(story[0]), records(story[2])
    foreign = [record for record in whole if record[0] == 5 and record not in one]
    mixed = [foreign[0] if record[0] == 5 else record for record in one]
    assert failing_step(MAGIC + b"".join(mixed)) in {"container", "log", "receipts"}


def test_a_message_of_another_case_is_refused(story: tuple[bytes, bytes, bytes, str]) -> None:
    whole, one = records(story[0]), records(story[2])
    relabelled = [one[0], *whole[1:]]
    assert failing_step(MAGIC + b"".join(relabelled)) == "subject"
    assert failing_step(MAGIC + b"".join([whole[0], *one[1:-1], *one[3:]])) != ""


def test_what_is_on_its_way_cannot_be_proven_yet(tmp_path: Path) -> None:
    async def scene() -> None:
        node = SimNode(
            WUHAN, tmp_path, SAMPLE.keyrings[WUHAN], RULES, SAMPLE.federation, random.Random(1)
        )
        nodes = {WUHAN: node, EZHOU: node}
        node.start(Network(random.Random(2), nodes))
        assert node.engine is not None
        filed = await node.engine.ping(XIANGYANG)
        assert isinstance(filed, Filed)
        with pytest.raises(UnavailableError) as early:
            await export_message(node.engine.context, filed.message.message_id)
        assert early.value.reason is Reason.RECEIPT_MISSING
        await node.crash()

    run_virtual(scene())
