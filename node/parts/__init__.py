"""Large parts: beyond 64 KiB, up to 4 GiB each, in pieces, over every carrier (大部件).

A message with large parts travels like any other, and its octets after it:

1. The sender presents the envelope with its small parts. The receiver verifies it and decides
   everything it can decide without the large ones; only if it would take the message does it set
   room aside and answer `wanted(part, offset)` for each (UP-1, UP-2, UP-7).
2. The sender posts the envelope again, with pieces of what is wanted from there on. The receiver
   puts what begins where it left off on disk, and wants the next; anything else is passed over
   (UP-3, UP-4, UP-5). With the last pieces come the small parts once more.
3. A part that is whole is held against its digest; if it is not it, it is dropped and wanted anew,
   a few times (UP-6). When all are there, the message is recorded and its receipt signed.

So the receiver remembers nothing of a message under way but its files and a row per part, and the
sender nothing but the last answer: either may crash at any moment, and the next presentation finds
out how far things are.

    blob row          what it is to this node
    ----------------  ----------------------------------------------------------
    `upload`          a local caller brings it (`node.parts.uploads`)
    `transfer`        asked of a peer (`node.parts.intake`)
    `part`            belongs to a message that is on record

A blob is named by its row before it has an octet; a row's end and another's beginning are one
commit. What no row names at a start is swept (`node.parts.sweep`).
"""

from __future__ import annotations
