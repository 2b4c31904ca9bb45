from __future__ import annotations

import pytest
from pydantic import ValidationError

from node.config import PartsSection
from node.parts.limits import PartLimits
from protocol.limits import BACKUP_HORIZON_MS

DAY_MS = 24 * 3600 * 1000


@pytest.mark.spec("RV-15")
def test_nothing_is_dropped_that_a_peer_may_still_recall() -> None:
    """The only thing this node ever drops of a settled message is a forwarder's large parts."""
    assert PartLimits().forwarded_ms >= BACKUP_HORIZON_MS
    assert PartsSection().forwarded_days * DAY_MS >= BACKUP_HORIZON_MS
    with pytest.raises(ValidationError):
        PartsSection(forwarded_days=BACKUP_HORIZON_MS // DAY_MS - 1)
