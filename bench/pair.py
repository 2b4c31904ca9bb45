"""Two nodes of one circle: 武汉 with many windows, 鄂州 with one authority that handles.

Everything is laid down as the demo lays it down; the plan differs: one item, and as many collecting
authorities as are asked for, each with its own key.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from adapters.local_json import to_body
from examples.demo.federation import lay_down
from examples.demo.processes import NodeProcess
from examples.federation import AuthorityPlan, case_submit, load_federation
from node.config import load_config
from node.logs import set_up_logging
from node.outgoing import Draft
from node.service import running
from protocol.envelope import Address
from protocol.identifiers import uscc_check

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from examples.demo.federation import Federation, Site
    from examples.federation import Application, FederationPlan
    from node.config import Config
    from node.engine import Engine
    from signing.suites import Suite

SENDER: Final = "420100"
RECEIVER: Final = "420700"
ACTOR: Final = {"name": "汪小满", "staffNumber": "W-0417", "window": "综窗3号"}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two homes on disk, linked directly.

    Attributes:
        sender: Its windows collect.
        receiver: One authority of it handles the item.
        windows: USCC of the collecting authorities.
        handler: USCC of the handling authority.
        submission: What every case says, in the local JSON form.
    """

    sender: Site
    receiver: Site
    windows: tuple[str, ...]
    handler: str
    submission: dict[str, object]

    def config(self, site: Site) -> Config:
        """A node's configuration, as it would be read at a start."""
        return load_config(site.config)

    def draft(self, number: int, engine: Engine) -> Draft:
        """The case with this number; windows take turns."""
        body = to_body("case.submit", self.submission, engine.salt())
        window = self.windows[number % len(self.windows)]
        return Draft(window, body, recipient=Address(RECEIVER, self.handler))


def lay_pair(folder: Path, suite: Suite, windows: int) -> Pair:
    """Make two nodes; neither runs yet."""
    plan = load_federation()
    handled = {row.uscc for row in plan.node(RECEIVER).authorities}
    application = next(row for row in plan.applications if row.leads_to in handled)
    handler = plan.authority(str(application.leads_to))
    own = plan.node(SENDER)
    operator = next(row for row in own.authorities if row.uscc == own.operator)
    desks = tuple(_window(number) for number in range(windows))
    sender = own.model_copy(update={"authorities": (operator, *desks)})
    nodes = (sender, plan.node(RECEIVER))
    federation: Federation = lay_down(folder, suite, replace(plan, nodes=nodes))
    return Pair(
        federation.sites[SENDER],
        federation.sites[RECEIVER],
        tuple(row.uscc for row in desks),
        handler.uscc,
        _submission(plan, application, handler),
    )


def _window(number: int) -> AuthorityPlan:
    body = f"12{SENDER}TB{number:07d}"
    return AuthorityPlan(
        uscc=body + uscc_check(body),
        name=f"武汉市第{number + 1}政务服务中心",
        region=SENDER,
        telephone="000-0000-0000",
    )


def _submission(
    plan: FederationPlan, application: Application, handler: AuthorityPlan
) -> dict[str, object]:
    row = next(row for row in handler.implements if row.item == application.item)
    implementation = f"{handler.uscc}{row.level}{row.item}"
    return case_submit(application, plan.items[application.item], implementation, ACTOR)


@contextlib.asynccontextmanager
async def process(site: Site) -> AsyncIterator[NodeProcess]:
    """The node as a process of its own, serving while the block runs."""
    with (site.home / "bench.lock").open("w") as lock:
        async with site.api() as api:
            running = NodeProcess(site.node.id, site.config, api, lock.fileno())
            await running.start()
            try:
                await running.ready()
                yield running
            finally:
                await running.stop()


@contextlib.asynccontextmanager
async def inside(site: Site) -> AsyncIterator[Engine]:
    """A node's engine inside this process, ready to work; it logs into a file of its home."""
    config = load_config(site.config)
    with (site.home / "node.log").open("a", encoding="utf-8") as log:
        with contextlib.redirect_stderr(log):
            set_up_logging(config.log)
        async with running(config) as service:
            await service.engine.recovery.decided()
            yield service.engine


@contextlib.contextmanager
def reading(site: Site) -> Iterator[sqlite3.Connection]:
    """The node's store, read from outside."""
    connection = sqlite3.connect(f"file:{site.store}?mode=ro", uri=True, check_same_thread=False)
    try:
        yield connection
    finally:
        connection.close()
