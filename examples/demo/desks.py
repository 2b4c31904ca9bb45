"""The people at the desks, as clients of their own node's local API: one desk per node.

A desk polls its node's inbox on leases and does what the message asks for. What it decides, it
decides from the message and from rules of its own office; it does not know the demo's script:

* a submission: sign for it (属地签收), then check it. A required material is missing: everything to
  be corrected, at once. The law rules the applicant out: reject, with ground and remedies.
  Otherwise accept, decide, deliver.
* a correction asked of us as the window: send what was asked for.
* anything else: take note.

Whatever happens to a node, a desk repeats its request unchanged under the same idempotency key.
Leases are short: one that a killed node gave and could not tell anybody of soon runs out. An entry
that comes back while somebody is at work on it only brings a new lease.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from node.cli.local import LocalNode, NodeUnreachableError, ProblemError
from protocol.instants import format_instant, parse_instant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeVar

    from node.cli.local import Json

    T = TypeVar("T")

_RETRY_S: Final = 0.25
_LEASE_S: Final = 3
_LOST: Final = "urn:tongban:problem:lease-lost"
_POLL_S: Final = 0.1
_DAY_MS: Final = 24 * 3600 * 1000
_CORRECTION_DAYS: Final = 15
_OLD_AGE: Final = 60
_CHINA: Final = dt.timezone(dt.timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Office:
    """How a desk works.

    Attributes:
        pause_s: How long a step takes a person here.
        now_ms: The clock on the wall.
        items: The items as the catalogue publishes them, by code.
        promised: Called with the id of each message the node acknowledged.
    """

    pause_s: float
    now_ms: Callable[[], int]
    items: dict[str, Json]
    promised: Callable[[str], None]


@dataclass(slots=True)
class Desk:
    """Everybody who works at one node."""

    node: str
    api: LocalNode
    office: Office
    serial: int = 0
    _leases: dict[str, str] = field(default_factory=dict)

    async def work(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                for entry in await insist(lambda: self.api.lease(seconds=_LEASE_S)):
                    message = str(entry["messageId"])
                    in_work = message in self._leases
                    self._leases[message] = str(entry["lease"])
                    if not in_work:
                        group.create_task(self._take(entry))
                await asyncio.sleep(_POLL_S)

    async def _take(self, entry: Json) -> None:
        match entry["kind"]:
            case "case.submit":
                await self._handle(entry)
            case "case.supplement":
                await self._grant(entry)
            case "case.correct":
                await self._supplement(entry)
            case _:
                pass  # the window takes note
        await self._report_done(str(entry["messageId"]), str(entry["from"]["authority"]))

    async def _report_done(self, message: str, sender: str) -> None:
        """Under the lease we hold; if it ran out, the next one is ours as well."""
        while True:
            try:
                await insist(partial(self.api.done, message, sender, self._leases[message]))
            except ProblemError as problem:
                if problem.document.get("type") != _LOST:
                    raise
                await asyncio.sleep(_RETRY_S)
            else:
                del self._leases[message]
                return

    # the authority

    async def _handle(self, entry: Json) -> None:
        body = entry["body"]
        await self._act(entry, "case.received", {"received": self._now()})
        missing = self._missing(body)
        if missing:
            await self._act(entry, "case.correct", {"problems": missing, "due": self._in_days()})
            return
        rejection = self._ruled_out(body)
        if rejection is not None:
            await self._act(entry, "case.reject", {"rejected": self._now(), **rejection})
            return
        await self._grant(entry)

    async def _grant(self, entry: Json) -> None:
        case = await insist(lambda: self.api.case(str(entry["caseId"])))
        number = self._case_number(str(case["implementation"]))
        item = self.office.items[str(case["item"])]
        applied = await self._submission(case)
        await self._act(entry, "case.accept", {"caseNumber": number, "accepted": self._now()})
        document = {"scheme": "notice", "value": number[-12:], "name": f"{item['name']}办理结果"}
        await self._act(
            entry,
            "case.decide",
            {"result": "granted", "decided": self._now(), "documents": [document]},
        )
        delivery = applied["delivery"]
        proof = {
            "window": ("signature", f"回证{number[-12:]}"),
            "post": ("waybill", f"EX{number[-10:]}CN"),
            "electronic": ("record", f"电子送达{number[-12:]}"),
        }[str(delivery["method"])]
        await self._act(
            entry,
            "case.deliver",
            {
                "method": delivery["method"],
                "recipient": delivery.get("recipient") or applied["applicant"]["name"],
                "delivered": self._now(),
                "proof": {"kind": proof[0], "value": proof[1]},
            },
        )

    async def _submission(self, case: Json) -> Json:
        first = next(row for row in case["messages"] if row["kind"] == "case.submit")
        message = await insist(lambda: self.api.message(str(first["messageId"])))
        body = message["body"]
        return body if isinstance(body, dict) else {}

    def _missing(self, body: Json) -> list[Json]:
        """Everything that has to be corrected, at once (许可法32条4项)."""
        there = {row["code"] for row in body["materials"]}
        return [
            {
                "subject": "material",
                "code": row["code"],
                "problem": f"缺少{row['name']}",
                "remedy": f"补交{row['name']}，或提供相应电子证照",
            }
            for row in self.office.items[str(body["item"])]["materials"]
            if row["required"] == "always" and row["code"] not in there
        ]

    def _ruled_out(self, body: Json) -> Json | None:
        """Why the law rules the applicant out, if it does: here the age of an old-age card."""
        if "老年人" not in str(self.office.items[str(body["item"])]["name"]):
            return None
        born = dt.date.fromisoformat(str(body["applicant"]["birthDate"]))
        today = dt.datetime.fromtimestamp(self.office.now_ms() / 1000, _CHINA).date()
        if (today.year - _OLD_AGE, today.month, today.day) >= (born.year, born.month, born.day):
            return None
        return {
            "cause": "not-required",
            "ground": "中华人民共和国老年人权益保障法第二条：老年人是指六十周岁以上的公民",
            "explanation": "申请人未满六十周岁，依法不能取得本证件；满六十周岁后可在任一窗口申请。",
            "remedies": [
                {"kind": "review", "body": "本级人民政府", "within": "六十日内"},
                {"kind": "litigation", "body": "有管辖权的人民法院", "within": "六个月内"},
            ],
        }

    def _case_number(self, implementation: str) -> str:
        self.serial += 1
        day = dt.datetime.fromtimestamp(self.office.now_ms() / 1000, _CHINA)
        return f"{implementation}{day:%Y%m%d}{self.serial:04}"

    # the window

    async def _supplement(self, entry: Json) -> None:
        asked = {str(row["code"]): row for row in entry["body"]["problems"]}
        materials = [
            {
                "code": code,
                "name": str(row["problem"]).removeprefix("缺少"),
                "form": "copy",
                "trust": "B",
                "count": 1,
            }
            for code, row in asked.items()
        ]
        await self._act(entry, "case.supplement", {"materials": materials, "note": "已一次补齐"})

    # both

    async def _act(self, entry: Json, kind: str, body: Json) -> None:
        """One step; under one key however often it has to be asked for."""
        await asyncio.sleep(self.office.pause_s)
        case, ours = str(entry["caseId"]), str(entry["to"]["authority"])
        actor = {"name": "值班员", "staffNumber": f"{self.node}-01", "window": "跨域通办"}
        said = {"actor": actor, **body}
        key = f"{case}.{kind}"
        answer = await insist(lambda: self.api.act(case, ours, kind, said, {}, key))
        self.office.promised(str(answer["messageId"]))

    def _now(self) -> str:
        return format_instant(self.office.now_ms())

    def _in_days(self) -> str:
        return format_instant(parse_instant(self._now()) + _CORRECTION_DAYS * _DAY_MS)


async def insist(request: Callable[[], Awaitable[T]]) -> T:
    """Repeat a request while the node is away or asks for patience; a refusal is passed on."""
    while True:
        try:
            return await request()
        except NodeUnreachableError:
            pass
        except ProblemError as problem:
            if not problem.may_pass:
                raise
        await asyncio.sleep(_RETRY_S)
