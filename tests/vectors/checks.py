"""What is run for each group: octets in; it returns, or raises the refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import schemas
from protocol.bodies import KINDS
from signing.verify import Rules, verify_envelope
from tests.vectors.tripwires import guarded_trust

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from protocol.envelope import Environment
    from tests.vectors.folders import Vector

Result = dict[str, Any]


def rules(environment: Environment) -> Rules:
    return Rules(schemas.compiled(), {kind.name for kind in KINDS}, environment)


def envelope(vector: Vector) -> Result:
    """The ten steps, on envelope.xml."""
    trust = guarded_trust(vector.records, vector.stage)
    verified = verify_envelope(
        vector.octets("envelope.xml"),
        rules(vector.case["environment"]),
        trust,
        vector.instant("now"),
        live=not vector.case.get("historic", False),
    )
    header = verified.envelope.header
    return {
        "kind": header.kind,
        "suite": verified.suite.value,
        "messageId": header.message_id,
        "messageDigest": verified.message_digest.hex(),
    }


CHECKS: Final[Mapping[str, Callable[[Vector], Result]]] = {
    "wire": envelope,
    "envelope": envelope,
    "signature": envelope,
}
"""By group."""
