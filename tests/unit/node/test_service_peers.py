from __future__ import annotations

import pytest

from node.service import dialled, pins
from tests.unit.routing.provinces import hub, merged, node, province


@pytest.mark.spec("DI-3")
def test_a_peer_without_an_address_may_call_but_is_never_dialled() -> None:
    silent = node("420100", url=None)
    directory = merged(province("42", [hub("420000"), silent, node("420600")]))
    assert set(pins(directory, "420000")) == {"420100", "420600"}
    assert set(dialled(directory, "420000")) == {"420600"}
