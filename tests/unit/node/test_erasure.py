"""Erasing contents: when it may be done, what is left, and what becomes of it in a crash."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

import schemas
from node.context import RetentionTimes
from node.erasure import Eraser, Scope
from node.evidence import export_case, export_message, verify_file
from node.log.check import check_log
from node.outgoing import Draft, Filed
from node.parts.files import Material as File
from node.ports import Delete, Insert, Update
from node.store import schema
from node.store.contents import find_erasures, list_parts, pending_erasures
from node.store.queries import Role, find_answer
from protocol.bodies import Material
from protocol.errors import RefusedError, UnavailableError
from protocol.frames import ReceiptFrame, read_frames
from protocol.limits import BACKUP_HORIZON_MS, MAX_LIFETIME_MS
from protocol.reasons import Reason
from signing.erasure import Ground, Order, read_erasure
from signing.evidence import Outcome
from signing.log import LeafType, read_leaf, split_leaves
from tests.sim.craft import Message, receipt_in, sign
from tests.sim.federation import EZHOU, HUB, RULES, WUHAN, XIANGYANG
from tests.sim.large import last, pieces, presented
from tests.sim.large import message as ping_with
from tests.sim.little import KIB, LIMITS, scan
from tests.sim.peers import SAMPLE, operator, play, submission
from tests.store_kit import unit
from tests.unit.routing.provinces import anchor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from node.ports import Row
    from protocol.envelope import MessageReference
    from signing.evidence import Report
    from tests.sim.peers import DrivenNode, Stage

SCAN = scan(5 * KIB)
NOTE = scan(KIB, 2)
NAME = "李强"
DAY_MS = 24 * 3600 * 1000


def order(node_id: str, note: str = "档案鉴定期满") -> Order:
    return Order(operator(node_id).authority, NAME, "42-17", Ground.RETENTION, note)


async def write(node: DrivenNode, *rows: Row) -> None:
    await node.context.store.run(unit(*rows))


async def filed_and_received(stage: Stage, **settings: Any) -> tuple[DrivenNode, DrivenNode, Filed]:
    """A submission with a scan and a note, at both ends, its inbox entry done."""
    near = stage.node(WUHAN, parts=LIMITS, **settings)
    far = stage.node(EZHOU, parts=LIMITS, **settings)
    near.reaches(far)
    rows = tuple(Material(name, name, "electronic", "B", 1, part=name) for name in ("m1", "note"))
    files = {"m1": File("application/pdf", SCAN), "note": File("text/plain", NOTE)}
    draft = Draft(
        operator(WUHAN).authority,
        submission(EZHOU, rows),
        materials=files,
        recipient=operator(EZHOU),
    )
    filed = await near.file(draft)
    await near.run()
    await far.run()
    while await near.standing(filed) != "received":
        await near.clock.sleep_ms(1000)
    await near.rest()
    await far.rest()
    return near, far, filed


async def done(node: DrivenNode, reference: MessageReference) -> None:
    key = {"authority": reference.authority, "message_id": reference.message_id}
    await write(node, Update(schema.inbox, key, {"done_ms": 1}))


def later(node: DrivenNode, duration_ms: int) -> None:
    node.clock.pass_ms(duration_ms)


async def parts_held(node: DrivenNode, reference: MessageReference, role: Role) -> list[str]:
    row = await node.row(reference, role)
    found = await node.read(lambda c: list_parts(c, [row]))
    return [part.part_id for part in found.get(row.name, [])]


async def exported(node: DrivenNode, filed: Filed, **how: Any) -> Report:
    await node.engine.log.drain()
    export = await export_case(node.context, filed.case_id or "", **how)
    octets = b"".join([piece async for piece in export.octets()])
    assert len(octets) == export.size
    report = verify_file(octets, anchor("42", "43"), schemas.compiled(), RULES.kinds)
    assert report.outcome is Outcome.VALID, report
    return report


def on_disk(node: DrivenNode) -> bytes:
    """Every octet of the node's database and its log."""
    return b"".join(path.read_bytes() for path in node.folder.glob(f"{node.node_id}.db*"))


@contextmanager
def needed(words: str) -> Iterator[None]:
    with pytest.raises(RefusedError, match=words) as caught:
        yield
    assert caught.value.reason is Reason.STILL_NEEDED


OPEN: Any = {"although_open": True}


@pytest.mark.spec("EV-25", "EV-26", "EV-27", "EV-28")
def test_what_is_erased_is_gone_from_the_disk_and_stays_proven(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        near, far, filed = await filed_and_received(stage)
        await done(far, filed.message)
        later(far, BACKUP_HORIZON_MS + 1)
        assert NOTE in on_disk(far)
        assert far.disk.sealed
        before = await exported(far, filed)
        assert before.proven[0].missing == ()
        scope = Scope(case_id=filed.case_id, **OPEN)
        (row,) = await far.engine.erase(order(EZHOU), scope)
        # Nothing is left of it in rows, in the file, in its log, among the blobs.
        assert await parts_held(far, filed.message, Role.IN) == []
        assert far.disk.sealed == {}
        held = on_disk(far)
        for octets in (NOTE, NOTE[:64], NOTE[-64:], "覃䶮兰".encode(), b"<applicant>"):
            assert octets not in held
        # Who, why and when are on record and in the log.
        record = read_erasure(row.record)
        assert (row.name, row.note) == (NAME, "档案鉴定期满")
        assert record.erased_ms == far.clock.now_ms()
        assert record.order_digest == order(EZHOU).digest(row.salt)
        await far.engine.log.drain()
        steps = await far.read(lambda c: check_log(c, far.context.keys))
        assert [step.problems for step in steps] == [[]] * len(steps)
        forged = {**row.key, "record": bytes(95), "salt": b"", "name": "", "staff_number": ""}
        forged |= {"message_id": "none", "note": "", "blobs": "", "pending": None}
        await write(far, Insert(schema.erasure, forged))
        (step,) = [
            step for step in await far.read(lambda c: check_log(c, far.context.keys)) if step.count
        ]
        assert step.problems == ["the erasure of message none has no leaf ERASURE"]
        await write(far, Delete(schema.erasure, {**row.key, "message_id": "none"}))
        # What proves it stands, step by step; the other end's copy is its own.
        report = await exported(far, filed)
        assert [step.passed for step in report.steps] == [True] * 9
        (proven,) = report.proven
        assert proven.missing == ("body", "m1", "note")
        assert proven.erasure == record
        assert "3 erased" in report.steps[5].detail
        later(near, BACKUP_HORIZON_MS)
        assert (await exported(near, filed)).proven[0].missing == ()
        # Once more is the same.
        assert await far.engine.erase(order(EZHOU, note=""), scope) == [
            replace(row, blobs="", pending=None)
        ]

    play(tmp_path, scene)


@pytest.mark.spec("EV-24")
def test_nothing_is_erased_that_is_still_needed(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        near, far, filed = await filed_and_received(stage)
        scope = Scope(message_id=filed.message.message_id)
        with needed("peers may need it again until"):
            await far.engine.erase(order(EZHOU), scope)
        later(far, BACKUP_HORIZON_MS + 1)
        with needed("waits in the inbox"):
            await far.engine.erase(order(EZHOU), replace(scope, **OPEN))
        await done(far, filed.message)
        with needed("is not over: submitted"):
            await far.engine.erase(order(EZHOU), scope)
        assert await parts_held(far, filed.message, Role.IN) == ["body", "m1", "note"]
        key = {"case_id": filed.case_id, "side": "handle"}
        await write(far, Update(schema.case, key, {"state": "rejected"}))
        assert await far.engine.erase(order(EZHOU), scope)
        # A message that waits for its destination.
        near.peers.clear()
        waiting = await near.ping(EZHOU)
        with needed("queued: its destination has not answered"):
            await near.engine.erase(order(WUHAN), Scope(message_id=waiting.message.message_id))

    play(tmp_path, scene)


@pytest.mark.spec("EV-24")
def test_an_authority_erases_what_is_its_own(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        _, far, filed = await filed_and_received(stage)
        await done(far, filed.message)
        later(far, BACKUP_HORIZON_MS + 1)
        for scope, reason in (
            (Scope(case_id=filed.case_id, **OPEN), Reason.CASE_UNKNOWN),
            (Scope(message_id=filed.message.message_id, **OPEN), Reason.MESSAGE_UNKNOWN),
        ):
            with pytest.raises(RefusedError) as caught:
                await far.engine.erase(order(WUHAN), scope)
            assert caught.value.reason is reason
        assert await parts_held(far, filed.message, Role.IN) == ["body", "m1", "note"]

    play(tmp_path, scene)


@pytest.mark.spec("EX-5", "EV-27")
def test_a_late_duplicate_of_what_was_erased_gets_the_same_receipt(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        far = stage.node(EZHOU, parts=LIMITS)
        first = ping_with(WUHAN, EZHOU, film=SCAN)
        await far.engine.exchange(WUHAN, presented(first))
        answer = await far.engine.exchange(WUHAN, last(first, *pieces(first, "film", 0, len(SCAN))))
        receipt = receipt_in(answer)
        later(far, BACKUP_HORIZON_MS + 1)
        await far.engine.erase(order(EZHOU), Scope(message_id=first.reference.message_id))
        for again in (presented(first), first.ask()):
            assert receipt_in(await far.engine.exchange(WUHAN, again)) == receipt
        assert await parts_held(far, first.reference, Role.IN) == []
        assert far.disk.sealed == far.disk.unsealed == {}

    play(tmp_path, scene)


@pytest.mark.spec("EV-26", "EV-35")
@pytest.mark.parametrize("crash", ["before the files", "disk trouble", "file gone, row there"])
def test_an_erasure_is_seen_through_after_a_crash(tmp_path: Path, crash: str) -> None:
    async def scene(stage: Stage) -> None:
        _, far, filed = await filed_and_received(stage)
        await done(far, filed.message)
        later(far, BACKUP_HORIZON_MS + 1)
        scope = Scope(case_id=filed.case_id, **OPEN)
        if crash == "before the files":
            await Eraser(far.context).record(order(EZHOU), scope)
            assert far.disk.sealed
            assert NOTE in on_disk(far)
            now_ms = far.clock.now_ms()
            await far.stop()
            again = stage.node(EZHOU, parts=LIMITS, disk=far.disk)
            later(again, now_ms - again.clock.now_ms())
            await again.engine.prepare(check_ms=0)
            await again.engine._sweeper.sweep()
        elif crash == "disk trouble":
            again = far
            far.disk.undeletable = True
            with pytest.raises(UnavailableError) as caught:
                await far.engine.erase(order(EZHOU), scope)
            assert caught.value.reason is Reason.STORE_UNAVAILABLE
            assert await far.read(lambda c: pending_erasures(c, 9))
            far.disk.undeletable = False
            # Ordered again it is seen through; it is on record once.
            assert len(await far.engine.erase(order(EZHOU), scope)) == 1
        else:
            again = far
            far.disk.sealed.clear()
            await far.engine.erase(order(EZHOU), scope)
        assert again.disk.sealed == {}
        assert NOTE not in on_disk(again)
        assert await again.read(lambda c: pending_erasures(c, 9)) == []
        row = await again.row(filed.message, Role.IN)
        assert (await again.read(lambda c: find_erasures(c, [row]))).keys() == {row.name}
        leaves = await again.read(_leaves)
        assert leaves.count(LeafType.ERASURE) == 1

    play(tmp_path, scene)


@pytest.mark.spec("EV-33")
def test_proof_for_somebody_who_may_not_read_it(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        near, _, filed = await filed_and_received(stage)
        (whole,) = (await exported(near, filed)).proven
        assert whole.missing == ()
        report = await exported(near, filed, contents=False)
        (proven,) = report.proven
        assert proven.missing == ("body", "m1", "note")
        assert proven.erasure is None
        assert "3 left out" in report.steps[5].detail
        await near.engine.log.drain()
        one = await export_message(near.context, filed.message.message_id, contents=False)
        octets = b"".join([piece async for piece in one.octets()])
        assert NOTE not in octets
        assert SCAN[:KIB] not in octets

    play(tmp_path, scene)


# --- retention


@pytest.mark.spec("EV-34", "UP-9")
def test_a_forwarder_lets_go_of_small_parts_too_and_knows_the_message_for_ever(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        near, hub, far = (stage.node(name, parts=LIMITS) for name in (WUHAN, HUB, XIANGYANG))
        hub.reaches(far)
        message = sign(Message(WUHAN, XIANGYANG), SAMPLE.keyrings[WUHAN])
        await hub.engine.exchange(WUHAN, message.post())
        assert await parts_held(hub, message.reference, Role.TRANSIT) == ["body"]
        later(hub, 2 * LIMITS.forwarded_ms)
        # Nobody has it but us: custody does not run out.
        await hub.engine._sweeper.sweep()
        assert await parts_held(hub, message.reference, Role.TRANSIT) == ["body"]
        later(hub, -2 * LIMITS.forwarded_ms)
        await hub.run()
        while (await hub.row(message.reference, Role.TRANSIT)).receipt is None:
            await hub.clock.sleep_ms(1000)
        later(hub, LIMITS.forwarded_ms + DAY_MS)
        # Upstream has not taken the receipt yet.
        await hub.engine._sweeper.sweep()
        assert await parts_held(hub, message.reference, Role.TRANSIT) == ["body"]
        later(hub, -LIMITS.forwarded_ms - DAY_MS)
        hub.reaches(near)
        while await hub.queue():
            await hub.clock.sleep_ms(1000)
        later(hub, LIMITS.forwarded_ms + DAY_MS)
        await hub.engine._sweeper.sweep()
        assert await parts_held(hub, message.reference, Role.TRANSIT) == []
        late = await hub.engine.exchange(WUHAN, message.post())
        row = await hub.row(message.reference, Role.TRANSIT)
        assert [f.octets for f in read_frames(late) if isinstance(f, ReceiptFrame)] == [row.receipt]

    play(tmp_path, scene)


@pytest.mark.spec("EV-34")
def test_contents_go_by_themselves_if_a_time_is_set_and_their_case_is_over(tmp_path: Path) -> None:
    times = RetentionTimes(contents_ms=100 * DAY_MS)

    async def scene(stage: Stage) -> None:
        _, far, filed = await filed_and_received(stage, retention=times)
        await done(far, filed.message)
        key = {"case_id": filed.case_id, "side": "handle"}
        later(far, 99 * DAY_MS)
        await write(far, Update(schema.case, key, {"state": "delivered"}))
        await far.engine._sweeper.sweep()
        assert await parts_held(far, filed.message, Role.IN) == ["body", "m1", "note"]
        later(far, 2 * DAY_MS)
        await write(far, Update(schema.case, key, {"state": "accepted"}))
        await far.engine._sweeper.sweep()
        assert await parts_held(far, filed.message, Role.IN) == ["body", "m1", "note"]
        await write(far, Update(schema.case, key, {"state": "delivered"}))
        await far.engine._sweeper.sweep()
        assert await parts_held(far, filed.message, Role.IN) == []
        (proven,) = (await exported(far, filed)).proven
        assert proven.erasure is not None
        assert proven.erasure.ground is Ground.RETENTION
        assert NOTE not in on_disk(far)

    play(tmp_path, scene)


def test_answers_are_known_for_their_time(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(WUHAN)
        now_ms = node.clock.now_ms()
        for key, recorded_ms in (("old", now_ms), ("new", now_ms + 2)):
            values: dict[str, object] = {"client": "local", "key": key, "answer": ""}
            values |= {"request_digest": bytes(32), "recorded_ms": recorded_ms}
            await write(node, Insert(schema.idempotency, values))
        later(node, MAX_LIFETIME_MS + 1)
        await node.engine._sweeper.sweep()
        assert await node.read(lambda c: find_answer(c, "local", "old")) is None
        assert await node.read(lambda c: find_answer(c, "local", "new")) is not None

    play(tmp_path, scene)


def _leaves(connection: Connection) -> list[LeafType]:
    rows = [
        *connection.execute(select(schema.log_wait.c.leaves)).scalars(),
        *connection.execute(select(schema.log_entry.c.leaves)).scalars(),
    ]
    return [read_leaf(leaf).type for row in rows for leaf in split_leaves(row)]
