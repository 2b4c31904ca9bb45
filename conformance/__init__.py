"""Conformance: a black-box kit for any node, ours or another's (一致性测试).

It drives a node through its public faces only (exchange, local API, exported evidence) and judges
what comes back. Imports no product package: whoever writes another node must be able to run it, and
a bug in our core must not hide in the judge.
"""

from __future__ import annotations
