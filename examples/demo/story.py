"""The story: who files what where, and what happens to 襄阳 half-way.

Three acts. First everything runs. Then 襄阳's process is killed in the middle of its work, and the
windows go on filing for it: the messages wait at the hub. Then it comes back, and the queue drains.
The story only files; what becomes of a case the desks decide (`desks`).
"""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from examples.demo.desks import insist
from examples.demo.federation import WITHDRAWN
from examples.federation import case_submit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from examples.demo.federation import Federation
    from examples.demo.processes import NodeProcess
    from examples.demo.watch import Watch
    from examples.federation import Application
    from node.cli.local import LocalNode

VICTIM: Final = "420600"
"""襄阳, whose process is killed."""

_TALES: Final = {
    "rare-character": "都市圈内直达",
    "widow": "经枢纽，只有纸质",
    "agent": "代理人代办",
    "new-legal-representative": "跨省，到县级机关",
    "number-ends-in-x": "经省枢纽",
    "withdrawn": "节点拒收：已停办",
    "graduate": "跨省到武汉",
    "founder": "到功能区",
    "pension": "跨省",
    "too-young": "依法不予受理",
    "correction": "补正一次",
    "minor": "停机中，监护人",
    "marriage": "停机中收件",
    "doctor": "跨省，部委系统",
    "which-street": "先问清哪个街道",
    "no-prefecture": "枢纽代接的城市",
    "provincial-fund": "省直单位",
    "disabled": "跨省，居住地办",
    "clean-record": "本节点内办理",
}
_WHILE_DOWN: Final = (
    *("minor", "marriage", "no-prefecture", "provincial-fund"),
    *("doctor", "which-street", "disabled", "clean-record"),
)
_CLERK: Final = {"name": "窗口员", "staffNumber": "0001", "window": "跨域通办窗口"}


@dataclass(frozen=True, slots=True)
class Filing:
    """One application to be filed.

    Attributes:
        number: On the screen.
        tale: What it is there to show.
        while_down: Filed while 襄阳 is down.
    """

    number: int
    application: Application
    tale: str
    while_down: bool


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the story goes, in seconds.

    Attributes:
        between: From one filing to the next.
        desk: A step at a desk.
        down: How long 襄阳 stays down once its queue is seen.
    """

    between: float
    desk: float
    down: float


TO_WATCH: Final = Pace(between=0.5, desk=0.7, down=5.0)
AT_ONCE: Final = Pace(between=0.02, desk=0.02, down=0.5)


def filings(federation: Federation) -> list[Filing]:
    """The applications that can be filed with the nodes that are there."""
    served = {authority.uscc for _, authority in federation.plan.authorities()}
    found = [
        application
        for application in _applications(federation)
        if application.window.node in federation.sites
        and (application.leads_to is None or application.leads_to in served)
    ]
    found.sort(key=lambda application: application.id in _WHILE_DOWN)
    return [
        Filing(number, application, _TALES[application.id], application.id in _WHILE_DOWN)
        for number, application in enumerate(found, 1)
    ]


def _applications(federation: Federation) -> Iterator[Application]:
    """The plan's, and one more: a driver whose licence is from 襄阳, where it is done no more."""
    uscc, item = WITHDRAWN
    for application in federation.plan.applications:
        yield application
        if application.item == item:
            region = federation.plan.authority(uscc).region
            basis = application.basis.model_copy(update={"region": region})
            changes = {"id": "withdrawn", "basis": basis, "leads_to": uscc}
            yield application.model_copy(update=changes)


@dataclass(slots=True)
class Story:
    """The acts, played on running nodes.

    Attributes:
        promised: Called with the id of each message a node acknowledged.
    """

    federation: Federation
    apis: dict[str, LocalNode]
    processes: dict[str, NodeProcess]
    watch: Watch
    pace: Pace
    promised: Callable[[str], None]
    _numbers: dict[str, str] = field(default_factory=dict)

    async def play(self) -> None:
        """All acts; returns when 襄阳 is back and its queue is empty."""
        everything = filings(self.federation)
        self.watch.act("第一幕：各窗口收件 · Act 1: the windows collect")
        for filing in (row for row in everything if not row.while_down):
            await self._file(filing)
        await self.watch.until(self._half_way)
        await self._kill()
        self.watch.act("第二幕：襄阳停机，照常收件 · Act 2: 襄阳 is down, the windows go on")
        for filing in (row for row in everything if row.while_down):
            await self._file(filing)
        await self._show_queue()
        await self._restart()

    def _half_way(self) -> bool:
        lines = self.watch.board.lines()
        return sum(line.over for line in lines) * 2 >= len(lines)

    async def _file(self, filing: Filing) -> None:
        application = filing.application
        node = self.apis[application.window.node]
        basis = application.basis
        found = await insist(
            lambda: node.authority(application.item, basis.kind, basis.region, basis.zone)
        )
        if found["outcome"] == "ambiguous":
            question, chosen = found["question"]["zh"], found["options"][0]
            self.watch.event(f"№{filing.number} {question} → {chosen['authority']['name']}")
            found = chosen
        item = self.federation.plan.items[application.item]
        document = case_submit(application, item, str(found["implementation"]), _CLERK)
        files = {
            part: {"mediaType": file.media_type, "base64": _base64(file.text)}
            for part, file in application.files.items()
        }
        # One key per application: asked twice, filed once.
        authority, key = application.window.authority, f"demo-{application.id}"
        answer = await insist(lambda: node.submit(authority, document, files, key))
        again = await insist(lambda: node.submit(authority, document, files, key))
        if again["caseId"] != answer["caseId"]:
            message = f"№{filing.number}: one request, two cases"
            raise AssertionError(message)
        self.promised(str(answer["messageId"]))
        self.watch.follow(filing.number, filing.tale, application, answer, item)
        await asyncio.sleep(self.pace.between)

    async def _kill(self) -> None:
        await self.processes[VICTIM].kill()
        self.watch.board.nodes[VICTIM].up = False
        name = self.federation.name(VICTIM)
        self.watch.event(f"SIGKILL：{name}节点进程 {self.processes[VICTIM].pid} 被强制终止")

    async def _show_queue(self) -> None:
        name = self.federation.name(VICTIM)
        await self.watch.until(lambda: self.watch.waiting_for(VICTIM) > 0)
        await asyncio.sleep(self.pace.down)
        self.watch.event(f"{self.watch.waiting_for(VICTIM)} 份报文在各节点排队，等候{name}")

    async def _restart(self) -> None:
        name = self.federation.name(VICTIM)
        process = self.processes[VICTIM]
        self.watch.act("第三幕：襄阳恢复，队列清空 · Act 3: 襄阳 is back, the queue drains")
        await process.start()
        await process.ready()
        self.watch.board.nodes[VICTIM].up = True
        since = time.monotonic()
        self.watch.event(f"{name}节点重新启动，进程 {process.pid}")
        await self.watch.until(lambda: self.watch.waiting_for(VICTIM) == 0)
        self.watch.event(f"等候{name}的队列在 {time.monotonic() - since:.1f} 秒内清空")


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
