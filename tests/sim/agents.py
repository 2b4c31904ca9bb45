"""The people at the nodes: clerks who file cases, officers who handle what is in their inbox.

They are clients: they outlive their node's crashes and repeat what was not answered, with the same
idempotency token, as the local API's callers do.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from sqlalchemy import select

from node.cases import Side
from node.outgoing import Draft, Filed, Token
from node.parts.files import Material as Film
from node.ports import Decision, Unit, Update
from node.store import schema
from node.store.queries import find_case
from protocol.bodies import (
    Basis,
    CaseAccept,
    CaseCorrect,
    CaseDecide,
    CaseDeliver,
    CaseReceived,
    CaseReject,
    CaseSubmit,
    CaseSupplement,
    Delivery,
    Field,
    Material,
    Problem,
    Proof,
    Remedy,
)
from protocol.envelope import Address
from protocol.errors import UnavailableError
from protocol.lifecycle import CaseState
from tests.samples import CLERK, OFFICER, WIDOW
from tests.sim.little import KIB, scan
from tests.unit.routing.provinces import uscc

if TYPE_CHECKING:
    import random

    from protocol.bodies import Body
    from routing.catalogue import Implementation
    from tests.sim.world import SimNode

SALT = "5a" * 16
REMEDY = Remedy(kind="review", body="本级人民政府", within="60日")


class Downtime(Exception):  # noqa: N818 - not an error: the node is not there now
    """The node did not answer; nobody knows what became of the request."""


async def call(node: SimNode, draft: Draft) -> Filed:
    """One request to a node's local side.

    Raises:
        Downtime: it is down, crashed in between, or asked to come again.
        RefusedError: a rule forbids it; for these agents always a bug.
    """
    if node.engine is None:
        raise Downtime
    work = asyncio.ensure_future(node.engine.file(draft))
    node.belongs(work)
    await asyncio.wait({work})
    if work.cancelled():
        raise Downtime
    try:
        outcome = work.result()
    except UnavailableError as error:
        raise Downtime from error
    assert isinstance(outcome, Filed), outcome
    return outcome


async def insist(node: SimNode, draft: Draft) -> Filed:
    """The same request until it is answered."""
    while True:
        try:
            return await call(node, draft)
        except Downtime:
            await asyncio.sleep(2)


def token(client: str, name: str) -> Token:
    return Token(client, name, hashlib.sha256(name.encode()).digest())


class Clerk:
    """Files cases at a window node."""

    def __init__(self, node: SimNode, dice: random.Random) -> None:
        self._node = node
        self._dice = dice
        self.filed: list[Filed] = []

    async def file(self, implementation: Implementation, handling_node: str, number: int) -> None:
        # Every other one has a film with it, too large to travel whole.
        films = {"film": Film("video/mp4", scan(number * KIB, number))} if number % 2 else {}
        body = CaseSubmit(
            salt=SALT,
            actor=CLERK,
            item=implementation.item.code,
            implementation=implementation.code,
            mode="online",
            basis=Basis(kind="residence", region=implementation.entry.region),
            applicant=WIDOW,
            delivery=Delivery(method="window"),
            materials=tuple(Material(name, "录像", "electronic", "B", 1, name) for name in films),
        )
        draft = Draft(
            uscc(self._node.node_id),
            body,
            materials=films,
            recipient=Address(handling_node, implementation.authority),
            token=token("clerk", f"{self._node.node_id}-{number}"),
        )
        await asyncio.sleep(self._dice.random() * 120)
        self.filed.append(await insist(self._node, draft))


class Officer:
    """Works through the inbox of one node, for whichever authority and end it is."""

    def __init__(self, node: SimNode, dice: random.Random) -> None:
        self._node = node
        self._dice = dice

    async def run(self) -> None:
        while True:
            await asyncio.sleep(1 + self._dice.random() * 4)
            try:
                await self._work()
            except Downtime:
                continue

    async def _work(self) -> None:
        if self._node.engine is None:
            raise Downtime
        rows = await self._node.read(
            lambda c: c.execute(
                select(schema.inbox).where(schema.inbox.c.done_ms.is_(None)).limit(20)
            ).all()
        )
        for row in rows:
            await self._handle(row.to_authority, row.case_id)
            await self._done(row.authority, row.message_id)

    async def _handle(self, authority: str, case_id: str) -> None:
        """Take the case as far as it goes from this end; safe to do again after a crash."""
        while True:
            body = await self._next(authority, case_id)
            if body is None:
                return
            name = f"{authority}-{case_id}-{body.kind}"
            draft = Draft(authority, body, case_id=case_id, token=token("officer", name))
            if (await call(self._node, draft)).repeated:
                return  # on its way already; it takes effect when it has arrived

    async def _next(self, authority: str, case_id: str) -> Body | None:
        for side in Side:
            view = await self._read_view(case_id, side)
            if view is None or view[1] != authority:
                continue
            body = self._step(CaseState(view[0]), side, case_id)
            if body is not None:
                return body
        return None

    async def _read_view(self, case_id: str, side: Side) -> tuple[str, str] | None:
        if self._node.engine is None:
            raise Downtime
        view = await self._node.read(lambda c: find_case(c, case_id, side))
        return None if view is None else (view.state, view.ours[1])

    def _step(self, state: CaseState, side: Side, case_id: str) -> Body | None:
        # What becomes of a case follows from its id, so that a repeated request says the same.
        fate = hashlib.sha256(case_id.encode()).digest()[0] % 4
        if side is Side.COLLECT:
            if state is CaseState.CORRECTING:
                return CaseSupplement(SALT, CLERK, form=(Field("住址", "补充"),))
            return None
        return self._decide(state, fate)

    def _decide(self, state: CaseState, fate: int) -> Body | None:
        match state:
            case CaseState.SUBMITTED:
                return CaseReceived(SALT, OFFICER, received_ms=1)
            case CaseState.RECEIVED if fate == 0:
                return CaseReject(SALT, OFFICER, "not-required", 1, "许可法32条", "无需", (REMEDY,))
            case CaseState.RECEIVED if fate == 1:
                problem = Problem("field", "住址", "不全", "补全")
                return CaseCorrect(SALT, OFFICER, (problem,), due_ms=10**12)
            case CaseState.RECEIVED | CaseState.SUPPLEMENTED:
                return CaseAccept(SALT, OFFICER, "2026-1", 1)
            case CaseState.ACCEPTED:
                return CaseDecide(SALT, OFFICER, "granted", 1)
            case CaseState.DECIDED:
                proof = Proof("signature", "签收单")
                return CaseDeliver(SALT, OFFICER, "window", "覃", 1, proof)
            case _:
                return None

    async def _done(self, authority: str, message_id: str) -> None:
        if self._node.store is None:
            raise Downtime
        row = Update(
            schema.inbox, {"authority": authority, "message_id": message_id}, {"done_ms": 1}
        )
        decision: Decision[None] = Decision(lambda _signatures: ([row], None))
        work = asyncio.ensure_future(self._node.store.run(Unit(lambda _c: decision)))
        self._node.belongs(work)
        await asyncio.wait({work})
        if work.cancelled():
            raise Downtime
        try:
            work.result()
        except UnavailableError as error:
            raise Downtime from error
