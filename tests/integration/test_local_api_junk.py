"""Requests that are almost right, by the hundred: each is answered as the document says."""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING, Any

import pytest

from node.service import running
from tests.desk import OFFICER, Desk, scan
from tests.homes import ITEM, WUHAN, XIANGYANG, bureau, make_homes, window
from tests.loops import in_loop
from tests.samples import WIDOW

if TYPE_CHECKING:
    from pathlib import Path

    from tests.desk import Json

REQUESTS = 250
NOBODY = "01a20404-f6fc-7212-b313-3cdfc384ec8a"
JUNK: list[Any] = [
    None, True, 0, -1, 10**30, 1.5, "", " ", "x" * 300, "\x00", "\ud800", "<a/>", "']]>", "../..",
    "💾" * 60, [], {}, [[]], [None] * 200, {"a": {"a": {"a": {}}}}, NOBODY, WUHAN, ITEM,
]  # fmt: skip

NAMES = ["x", "note", "salt", "implementation", "zone", "agent", ""]


def application() -> Json:
    return {
        "actor": OFFICER,
        "item": ITEM,
        "mode": "collected",
        "basis": {"kind": "residence", "region": WUHAN},
        "applicant": {
            "kind": "natural",
            "name": WIDOW.name,
            "certificate": {"type": "111", "number": WIDOW.certificate.number},
        },
        "delivery": {"method": "window"},
        "materials": [
            {"code": "m", "name": "n", "form": "copy", "trust": "B", "count": 1, "part": "m1"}
        ],
        "form": [{"name": "a", "value": ""}],
    }


def requests(case_id: str, message_id: str) -> list[tuple[str, Json]]:
    """Good ones, to be spoilt."""
    receive = {"actor": OFFICER, "received": "2026-11-22T04:00:00.000Z", "numbers": []}
    act = {"authority": bureau(WUHAN), "kind": "case.received", "body": receive, "files": {}}
    return [
        (
            "/v1/cases",
            {"authority": window(WUHAN), "submit": application(), "files": {"m1": scan()}},
        ),
        (f"/v1/cases/{case_id}/acts", act),
        ("/v1/inbox/lease", {"authority": bureau(WUHAN), "max": 1, "seconds": 1}),
        (f"/v1/inbox/{message_id}/done", {"authority": window(WUHAN), "lease": NOBODY}),
        ("/v1/pings", {"node": XIANGYANG}),
    ]


def spoil(dice: random.Random, tree: Any) -> Any:
    """The tree with one value changed, added or taken away, somewhere."""
    match tree:
        case dict() if tree and dice.random() < 0.8:
            name = dice.choice(list(tree))
            if dice.random() < 0.1:
                del tree[name]
            else:
                tree[name] = spoil(dice, tree[name])
        case dict():
            tree[dice.choice(NAMES)] = copy.deepcopy(dice.choice(JUNK))
        case [first, *_] if dice.random() < 0.8:
            tree[0] = spoil(dice, first)
        case _:
            return copy.deepcopy(dice.choice(JUNK))
    return tree


@pytest.mark.parametrize("seed", [1, 2])
@in_loop
async def test_no_request_makes_the_node_fail(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    homes = make_homes(tmp_path)
    async with running(homes.config(WUHAN)) as service, Desk(service.url, service.token) as desk:
        filed = await desk.submit(window(WUHAN), application())
        good = requests(filed["caseId"], filed["messageId"])
        for number in range(REQUESTS):
            path, form = copy.deepcopy(dice.choice(good))
            for _ in range(dice.randint(1, 2)):
                form = spoil(dice, form)
            answer = await desk.post(path, form, f"key-{number}")
            assert answer.status < 500, (seed, number, form)
        queries = [
            str(value) for value in JUNK if not isinstance(value, str) or value.isprintable()
        ]
        for value in queries:
            for path, name in [
                ("/v1/cases", "after"),
                ("/v1/cases", "limit"),
                ("/v1/items", "q"),
                (f"/v1/items/{ITEM}/authority", "region"),
                (f"/v1/messages/{filed['messageId']}", "authority"),
            ]:
                answer = await desk.get(path, **{name: value})
                assert answer.status < 500, (path, name, value)
        (case, *_) = (await desk.get("/v1/cases", side="collect")).json["cases"][-1:]
        assert case["caseId"] == filed["caseId"]
