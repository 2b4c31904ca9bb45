"""examples/federation/: the demo federation as data: two provinces, eight nodes, fifteen items.

Authorities, persons, telephones and codes are invented, with valid check digits; regions are real.
`load_federation` reads the files in ``data/`` into typed values, `payloads` turns these into the
documents that get signed. Reads its own files and nothing else; keys, addresses and certificates
come from whoever starts the nodes. May import protocol/, signing/ and routing/.
"""

from __future__ import annotations

from examples.federation.payloads import (
    NodeFacts,
    directory_payload,
    items_payload,
    sheet_payload,
)
from examples.federation.people import Application, case_submit
from examples.federation.plan import (
    AuthorityPlan,
    FederationPlan,
    ImplementationPlan,
    NodePlan,
    ProvincePlan,
    load_federation,
)

__all__ = [
    "Application",
    "AuthorityPlan",
    "FederationPlan",
    "ImplementationPlan",
    "NodeFacts",
    "NodePlan",
    "ProvincePlan",
    "case_submit",
    "directory_payload",
    "items_payload",
    "load_federation",
    "sheet_payload",
]
