"""node/log/: the evidence log: leaves in, places and heads given, proofs out (存证日志).

    leaves.py     what a unit of work adds to its rows
    growth.py     what one step of the log writes
    sequencer.py  the worker that takes the steps
    places.py     from a digest to its place in the log
    reading.py    leaves, roots and proofs from tiles
    heads.py      heads shown to peers and taken from them
    witness.py    what is kept of those: theirs, ours, contradictions
    check.py      the whole log walked, and what does not hold

What a leaf, a head and a tile are is in `signing.log`, `signing.tiles` and `signing.heads`. May
touch the store and the key store; nothing here reads or writes a message.
"""

from __future__ import annotations
