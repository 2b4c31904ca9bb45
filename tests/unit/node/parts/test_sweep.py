"""What goes by itself, and what has to stay."""

from __future__ import annotations

from asyncio import sleep
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from node.outgoing import Filed
from node.parts.files import Uploaded
from node.store.queries import Role
from tests.sim.federation import EZHOU, HUB, WUHAN, XIANGYANG
from tests.sim.large import carrying, message, piece, pieces, presented, stored, transfers, wanted
from tests.sim.little import KIB, LIMITS, scan
from tests.sim.peers import play
from tests.unit.node.parts.test_uploads import bring, file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sim.peers import Stage

HOUR_S = 3600


@pytest.mark.spec("UP-11")
def test_a_transfer_that_does_not_grow_goes_and_one_that_does_stays(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(EZHOU, parts=LIMITS)
        await node.run()
        idle = message(WUHAN, EZHOU, film=scan(9 * KIB))
        slow = message(WUHAN, EZHOU, 2, plan=scan(9 * KIB, 2))
        for signed, name in ((idle, "film"), (slow, "plan")):
            await node.engine.exchange(WUHAN, presented(signed))
            await node.engine.exchange(WUHAN, carrying(signed, piece(signed, name, 0)))
        await sleep(20 * HOUR_S)
        await node.engine.exchange(WUHAN, carrying(slow, piece(slow, "plan", KIB)))
        assert set(await node.read(transfers)) == {"film", "plan"}
        await sleep(5 * HOUR_S)
        assert set(await node.read(transfers)) == {"plan"}
        assert node.disk.octets == 2 * KIB
        # The sender is not refused for it: it begins anew.
        assert wanted(await node.engine.exchange(WUHAN, presented(idle))) == {"film": 0}

    play(tmp_path, scene)


def test_what_no_row_names_goes_before_anything_is_served(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        node = stage.node(EZHOU, parts=LIMITS)
        uploads = node.engine.uploads
        coming = message(WUHAN, EZHOU, film=scan(3 * KIB))
        await node.engine.exchange(WUHAN, presented(coming))
        await node.engine.exchange(WUHAN, carrying(coming, piece(coming, "film", 0)))
        there = message(WUHAN, EZHOU, 2, film=scan(3 * KIB, 2))
        await node.engine.exchange(WUHAN, presented(there))
        await node.engine.exchange(
            WUHAN, carrying(there, *pieces(there, "film", 0, 3 * KIB)) + presented(there)
        )
        brought = await bring(uploads, scan(4 * KIB))
        named = len(node.disk.sealed) + len(node.disk.unsealed)
        node.disk.sealed["ab" * 32] = b"of a message that was refused"
        node.disk.unsealed["cd" * 32] = b"of a transfer that was dropped"
        await node.engine.prepare(check_ms=0)
        assert len(node.disk.sealed) + len(node.disk.unsealed) == named == 3
        assert await stored(node, there.reference) == {"film": there.parts["film"]}
        row = await uploads.find("clerk", brought)
        assert row is not None
        assert row.whole

    play(tmp_path, scene)


@pytest.mark.spec("UP-9")
def test_a_forwarder_keeps_large_parts_until_the_receipt_and_for_a_while_after(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        bounds = replace(LIMITS, forwarded_ms=HOUR_S * 1000)
        near, hub, far = (stage.node(name, parts=bounds) for name in (WUHAN, HUB, XIANGYANG))
        near.reaches(hub)
        hub.reaches(near)
        await hub.run()
        await near.run()
        octets = scan(5 * KIB)
        upload = await bring(near.engine.uploads, octets)
        signed = await file(
            near, "one", {"film": Uploaded("video/mp4", upload)}, destination=XIANGYANG
        )
        assert isinstance(signed, Filed)
        await sleep(2 * HOUR_S)
        # Nobody has it but us: custody does not run out.
        assert len(hub.disk.sealed) == 1
        hub.reaches(far)
        await sleep(HOUR_S / 2)
        assert await near.standing(signed) == "received"
        assert await stored(hub, signed.message, Role.TRANSIT) == {"film": octets}
        await sleep(HOUR_S)
        assert hub.disk.sealed == {}
        assert await stored(hub, signed.message, Role.TRANSIT) == {}
        # The two ends keep theirs.
        assert await stored(far, signed.message) == {"film": octets}
        assert await stored(near, signed.message, Role.OUT) == {"film": octets}

    play(tmp_path, scene)
