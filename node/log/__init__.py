"""node/log/: the evidence log: leaves in, places and heads given, proofs out (存证日志).

    leaves.py     what a unit of work adds to its rows
    places.py     from a digest to its place in the log
    growth.py     what one step of the log writes
    sequencer.py  the worker that takes the steps and signs heads
    reading.py    leaves, roots and proofs from tiles

What a leaf, a head and a tile are is in `signing.log` and `signing.tiles`. May touch the store and
the key store; nothing here reads or writes a message.
"""

from __future__ import annotations
