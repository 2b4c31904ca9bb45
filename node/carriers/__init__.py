"""Carriers: how frames get from node to node (承载); the signed messages do not depend on which.

Each carrier has two ends: one hands what a peer posted to the engine and answers with what it says,
the other implements the port `Transport`. Neither looks into the frames.
"""

from __future__ import annotations
