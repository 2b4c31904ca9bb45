"""Bench: how fast, measured, and against what (性能).

``python -m bench NAME`` measures one thing, in words; with ``--json`` the last line is one JSON
object (`bench.result`). Each run measures its floor beside the product: the same octets, the same
libraries, the same durability, and nothing around them; and each run audits itself: what was
counted as done is looked for in the stores of both ends, and a number that does not hold up is not
printed.

Numbers are never asserted in a test. May import every room; nothing imports it.
"""

from __future__ import annotations
