"""Settings of the whole test run, and the servers it shares; fixtures live beside their tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.postgres import Servers

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long one example takes says nothing about whether it is right.
settings.register_profile("tongban", deadline=None, print_blob=True)
if settings.get_current_profile_name() == "default":
    settings.load_profile("tongban")


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL, in every version; each starts when it is first asked for."""
    servers = Servers()
    yield servers
    servers.remove()
