"""What is run for each group: octets in; it returns, or raises the refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import schemas
from protocol.bodies import KINDS
from signing.batch import Checking
from signing.receipts import verify_receipt
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
    """The ten steps, on envelope.xml; if there is a first.xml, by a verifier that has seen it."""
    held_to = rules(vector.case["environment"])
    now_ms = vector.instant("now")
    checking = Checking()
    if vector.has("first.xml"):
        trust = guarded_trust(vector.records, None)
        verify_envelope(vector.octets("first.xml"), held_to, trust, now_ms, checking=checking)
    verified = verify_envelope(
        vector.octets("envelope.xml"),
        held_to,
        guarded_trust(vector.records, vector.stage),
        now_ms,
        live=not vector.case.get("historic", False),
        checking=checking,
    )
    header = verified.envelope.header
    return {
        "kind": header.kind,
        "suite": verified.suite.value,
        "messageId": header.message_id,
        "messageDigest": verified.message_digest.hex(),
    }


def receipt(vector: Vector) -> Result:
    """A receipt's layout, key and signature."""
    trust = guarded_trust(vector.records, vector.stage)
    verified = verify_receipt(vector.octets("receipt.tbr"), trust, live=True)
    held = verified.receipt
    return {"type": held.type.name.lower(), "issuer": held.issuer}


def batch(vector: Vector) -> Result:
    """An envelope or a receipt in a batch."""
    return receipt(vector) if vector.has("receipt.tbr") else envelope(vector)


CHECKS: Final[Mapping[str, Callable[[Vector], Result]]] = {
    "wire": envelope,
    "envelope": envelope,
    "signature": envelope,
    "batch": batch,
}
"""By group."""
