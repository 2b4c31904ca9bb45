"""Tests: what a user would miss if it broke (测试).

`unit/` mirrors the source, `property/` generates, `contract/` runs one suite over every
implementation of a port, `integration/` runs real nodes, `sim/` a whole federation in virtual time,
`vectors/` holds exact octets, `meta/` guards the house. No wall-clock sleeping, no skips.
"""

from __future__ import annotations
