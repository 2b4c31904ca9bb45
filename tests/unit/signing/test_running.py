from __future__ import annotations

import pytest

from signing.running import running_digest
from signing.suites import Suite, digest


@pytest.mark.parametrize("suite", list(Suite))
def test_piece_by_piece_it_is_the_same_digest(suite: Suite) -> None:
    octets = bytes(range(256)) * 40
    running = running_digest(suite)
    for start in range(0, len(octets), 999):
        assert running.digest() == digest(suite, octets[:start])
        running.update(memoryview(octets)[start : start + 999])
    assert running.digest() == digest(suite, octets)
