"""Every bound of the protocol in one place, each with its unit and the reason for it."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

MAX_ENVELOPE_OCTETS: Final = 64 * KIB
"""One envelope; only this much XML is ever parsed or canonicalised for one message (LI-1)."""

MAX_ATTRIBUTES: Final = 64
"""Attributes of one XML element (LI-10), seven times what any has: their canonical order is found
by comparing, and 6,500 in 64 KiB take a tenth of a second."""

MAX_INLINE_PART_OCTETS: Final = 64 * KIB
"""One part carried whole beside its envelope in a post; a body always is. A larger part travels in
pieces that its receiver asks for (LI-2)."""

MAX_PARTS: Final = 128
"""Parts in one manifest: a body and its materials (LI-3)."""

MAX_POST_MESSAGES: Final = 256
"""Messages in one post (LI-4): beyond this batching gains nothing (design, section 12)."""

MAX_POST_OCTETS: Final = 8 * MIB
"""One post with all its frames; what a receiver has to hold in memory at once (LI-5)."""

MAX_MESSAGE_OCTETS: Final = MAX_POST_OCTETS - 256 * KIB
"""One envelope with its inline parts (LI-6): leaves room for framing and for a growing path. What
travels in pieces does not count here."""

MAX_FERRY_FILES: Final = 128
"""Files of one hand-over, where a gate takes small files only (FF-3)."""

MAX_PIECE_OCTETS: Final = MIB
"""One piece of a large part in one frame (LI-7): many to a post, so that a small message need not
wait for a large neighbour."""

MAX_PART_OCTETS: Final = 4 * GIB
"""One part (LI-8): the whole model of a building, hours of a hearing on film; over a line of
100 Mbit/s it takes six minutes."""

MAX_LARGE_OCTETS: Final = 2 * MAX_PART_OCTETS
"""All parts of one message that travel in pieces (LI-9): bounds what a receiver sets aside before
it can answer for the message; more goes as a second message of the case."""

MAX_POST_FRAMES: Final = MAX_POST_MESSAGES * 4
"""Frames in one post: envelopes, their inline parts, receipts, asks (LI-5)."""

MAX_BATCH: Final = 4096
"""Messages under one signature (BP-3); a path then has at most 12 hashes."""

MAX_HOPS: Final = 4
"""Nodes a message may be handed to on its way: hub, hub, and one alternate (RT-4)."""

MAX_DETAIL_OCTETS: Final = 200
"""UTF-8 octets of the detail line of a receipt (RC-3)."""

MAX_CLOCK_SKEW_MS: Final = 5 * 60 * 1000
"""How far ahead `Created` may be of the receiver's clock (TR-2)."""

MIN_LIFETIME_MS: Final = 60 * 1000
DEFAULT_LIFETIME_MS: Final = 30 * 24 * 3600 * 1000
MAX_LIFETIME_MS: Final = 90 * 24 * 3600 * 1000
"""Time between `Created` and `Expires` (EN-4)."""

MAX_LOG_LEAVES: Final = 2**48
"""Leaves in one evidence log (LG-5): thousands of years at the peak; fits every store's integer."""

HEAD_OCTETS: Final = 193
"""A signed head of an evidence log: it has one size (LG-5)."""

MAX_PROOF_HASHES: Final = 49
"""Hashes in a consistency proof (LG-7): what the largest log can need (RFC 9162 §2.1.4)."""

MAX_VIEW_OCTETS: Final = 16 * KIB
"""What a node shows of the directories it holds, beside a head (LG-7): 90 provinces take 11 KiB."""

HEAD_INTERVAL_MS: Final = 60 * 1000
"""How often a node shows a peer a new head, at most (LG-7)."""

MERGE_DELAY_MS: Final = 60 * 1000
"""A head signed this long after a leaf's instant contains the leaf (LG-4)."""

MAX_SEQUENCE: Final = 2**31 - 1
"""Largest sequence number of one sender in one case; fits every store's integer."""

MAX_DOCUMENT_OCTETS: Final = 32 * MIB
"""One signed document (LI-20); a province of 100 counties with 100 authorities each takes 6 MiB."""

MAX_SIGNATURES: Final = 16
"""Signatures of one document (LI-21): a root changes hands by those of the old and the new."""

MAX_FRESHNESS_MS: Final = 24 * 3600 * 1000
"""Longest life of a freshness statement (DI-8): how long a node can be kept from the newest."""

DEFAULT_GRACE_MS: Final = 15 * 24 * 3600 * 1000
MAX_GRACE_MS: Final = 30 * 24 * 3600 * 1000
"""How long known keys go on after a province's documents expired (DI-12): longer than 春节."""

MAX_HISTORY: Final = 1024
"""Roots in the chain from the pinned one (DI-6): one a month for 85 years."""

MAX_STAMP_OCTETS: Final = 64 * KIB
"""One time stamp (LI-22): a response with the certificates of its authority takes some 5 KiB."""

MAX_RECALLED_RECEIPTS: Final = 8
"""Receipts about one recalled message (RV-7): its destination's and the recalling node's own."""

BACKUP_HORIZON_MS: Final = 35 * 24 * 3600 * 1000
"""The age of the oldest backup a node can be restored from without loss: so long every node keeps
what it sent, forwarded and received after the message is settled (RV-15). A month and some days, so
that a monthly copy serves, and messages of the longest usual life are covered."""

MAX_INCARNATION_STEP: Final = 256
"""How much later an incarnation may be than the one held (LG-10): many recoveries while a peer was
away, and not the last number there is, with which a stolen head key could end a log for ever."""
