"""The errors of the core: few, and each means something different for whoever catches it.

* `RefusedError`: the peer or caller broke a rule. Saying it again changes nothing.
* `UnavailableError`: not now, or it could not be checked. It never counts as passed; try again
  later.
* `LocalUseError`: this program used the core wrongly. A bug of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.reasons import Reason


class TongbanError(Exception):
    """Whatever the core raises on purpose."""


class _ReasonedError(TongbanError):
    """An error that carries a wire reason and a detail for people.

    Args:
        reason: The member of the closed list.
        detail: What was found and where, in one line, without personal data.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason.code}: {detail or reason.english}")


class RefusedError(_ReasonedError):
    """A rule was broken; final."""


class UnavailableError(_ReasonedError):
    """Could not be checked or served now; never a refusal and never a pass."""


class LocalUseError(TongbanError):
    """The core was called wrongly: a bug in this program, not in a peer."""
