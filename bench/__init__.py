"""Bench: how fast, measured, and against what (性能).

The floor (what the same cryptography and disk cost with nothing around them) and the product run
side by side in one run. May import every room; nothing imports it.
"""

from __future__ import annotations
