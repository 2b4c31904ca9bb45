"""protocol/bodies/: what a message says, one class and one XSD per kind (报文正文).

* `shapes`: what a single value may look like; `people`: what the kinds share; `kinds`: the bodies
  and the table kind, class, schema, Chinese name.
* `plan`: a class's form, read once by reflection; `codec`: octets out and in by that plan; `rules`:
  what ties one field to another, or to the law.

A new kind is a class in `kinds`, a row in its table and an XSD in ``schemas/``.
"""

from __future__ import annotations

from protocol.bodies.codec import MAX_BODY_OCTETS, decode_body, encode_body
from protocol.bodies.kinds import (
    KINDS,
    Body,
    CaseAccept,
    CaseCorrect,
    CaseDecide,
    CaseDeliver,
    CaseReceived,
    CaseReject,
    CaseSubmit,
    CaseSupplement,
    CaseVoid,
    Kind,
    Mode,
    Ping,
    RejectCause,
    Result,
    kind_named,
    kind_of,
    kind_with_schema,
    schema_of,
)
from protocol.bodies.people import (
    NUMBER_SCHEMES,
    Actor,
    Agent,
    Basis,
    Certificate,
    Delivery,
    Document,
    Field,
    Guardian,
    Material,
    Number,
    Person,
    Problem,
    Proof,
    Remedy,
)
from protocol.bodies.rules import FieldError, check_references, faults_of, references_of

__all__ = [
    "KINDS",
    "MAX_BODY_OCTETS",
    "NUMBER_SCHEMES",
    "Actor",
    "Agent",
    "Basis",
    "Body",
    "CaseAccept",
    "CaseCorrect",
    "CaseDecide",
    "CaseDeliver",
    "CaseReceived",
    "CaseReject",
    "CaseSubmit",
    "CaseSupplement",
    "CaseVoid",
    "Certificate",
    "Delivery",
    "Document",
    "Field",
    "FieldError",
    "Guardian",
    "Kind",
    "Material",
    "Mode",
    "Number",
    "Person",
    "Ping",
    "Problem",
    "Proof",
    "RejectCause",
    "Remedy",
    "Result",
    "check_references",
    "decode_body",
    "encode_body",
    "faults_of",
    "kind_named",
    "kind_of",
    "kind_with_schema",
    "references_of",
    "schema_of",
]
