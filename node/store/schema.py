"""The tables of a node's store: few and wide, one row per message and role.

A message can stand in up to two roles at one node (an authority may write to a neighbour served by
the same node), so the role is part of its key:

* `out`: written here, by an authority of ours;
* `in`: addressed to an authority of ours, or its tombstone;
* `transit`: in our custody on its way to another node.

Ids of messages grow with time and so come first in keys: rows are added at the end of an index, and
who knows nothing but the id finds them too.

Instants are milliseconds since 1970 UTC.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

metadata: Final = MetaData()
_LARGE: Final = text("blob IS NOT NULL")
_PENDING: Final = text("pending IS NOT NULL")
REFUSED: Final = text("standing = 'refused'")  # in a query too: only then the index serves it
# Alone in a primary key it is the row's own number in SQLite: no index beside the table.
_ROW_ID: Final = BigInteger().with_variant(Integer, "sqlite")

message: Final = Table(
    "message",
    metadata,
    Column("authority", String(18), primary_key=True),
    Column("message_id", String(36), primary_key=True),
    Column("role", String(8), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("case_id", String(36)),
    Column("sequence", Integer),
    Column("in_reply_to", String(36)),
    Column("from_node", String(6), nullable=False),
    Column("to_node", String(6), nullable=False),
    Column("to_authority", String(18), nullable=False),
    Column("message_digest", LargeBinary(32), nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("recorded_ms", BigInteger, nullable=False),
    Column("path", String(40), nullable=False, comment="nodes passed, origin first, by comma"),
    Column("upstream", String(6), comment="transit: the peer that is owed the final receipt"),
    Column("standing", String(10), nullable=False),
    Column("reason", Integer, comment="number of the refusal's reason"),
    Column("detail", Text),
    Column("receipt", LargeBinary, comment="the destination's receipt: ends the message"),
    Column("settled_ms", BigInteger),
    PrimaryKeyConstraint("message_id", "authority", "role"),
    Index("message_by_case", "case_id", "recorded_ms"),
    Index("message_refused", "case_id", "sequence", sqlite_where=REFUSED, postgresql_where=REFUSED),
)

part: Final = Table(
    "part",
    metadata,
    Column("authority", String(18), primary_key=True),
    Column("message_id", String(36), primary_key=True),
    Column("role", String(8), primary_key=True),
    Column("part_id", String(32), primary_key=True),
    Column("octets", LargeBinary, comment="of a small part"),
    Column("blob", String(64), comment="of a large part: the name of its octets in the blobs"),
    Column("size", BigInteger, nullable=False),
    PrimaryKeyConstraint("message_id", "authority", "role", "part_id"),
    Index("part_by_blob", "blob", sqlite_where=_LARGE, postgresql_where=_LARGE),
)

erasure: Final = Table(
    "erasure",
    metadata,
    Column("authority", String(18), primary_key=True),
    Column("message_id", String(36), primary_key=True),
    Column("role", String(8), primary_key=True),
    Column("record", LargeBinary, nullable=False, comment="see signing.erasure"),
    Column("salt", LargeBinary(16), nullable=False),
    Column("name", Text, nullable=False, comment="of who ordered it"),
    Column("staff_number", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("blobs", Text, nullable=False, comment="names of files that have to go, by comma"),
    Column("pending", Integer, comment="1: files or free pages may still hold the octets"),
    PrimaryKeyConstraint("message_id", "authority", "role"),
    Index("erasure_pending", "pending", sqlite_where=_PENDING, postgresql_where=_PENDING),
    comment="messages whose contents were erased; never deleted",
)

transfer: Final = Table(
    "transfer",
    metadata,
    Column("blob", String(64), primary_key=True),
    Column("authority", String(18), nullable=False),
    Column("message_id", String(36), nullable=False),
    Column("part_id", String(32), nullable=False),
    Column("peer", String(6), nullable=False, comment="who presented the message first"),
    Column("size", BigInteger, nullable=False),
    Column("touched_ms", BigInteger, nullable=False, comment="about when it last grew"),
    Column("mismatches", Integer, nullable=False, comment="times it came whole and was not it"),
    Index("transfer_by_message", "authority", "message_id"),
    Index("transfer_by_peer", "peer"),
    comment="large parts asked of a peer and not yet part of a message; written before their files",
)

upload: Final = Table(
    "upload",
    metadata,
    Column("upload_id", String(36), primary_key=True),
    Column("client", String(64), nullable=False),
    Column("blob", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False, comment="octets acknowledged to the caller"),
    Column("suite", String(20), comment="of the digest"),
    Column("digest", LargeBinary(32), comment="once it is whole"),
    Column("touched_ms", BigInteger, nullable=False),
    Index("upload_by_client", "client"),
    comment="files a local caller brings before the message they belong to",
)

custody: Final = Table(
    "custody",
    metadata,
    Column("authority", String(18), primary_key=True),
    Column("message_id", String(36), primary_key=True),
    Column("role", String(8), primary_key=True),
    Column("issuer", String(6), primary_key=True),
    Column("receipt", LargeBinary, nullable=False),
    PrimaryKeyConstraint("message_id", "authority", "role", "issuer"),
    comment="custody receipts others gave us for what we sent on; they discharge nobody",
)

outbox: Final = Table(
    "outbox",
    metadata,
    Column("authority", String(18), primary_key=True),
    Column("message_id", String(36), primary_key=True),
    Column("role", String(8), primary_key=True),
    Column("purpose", String(8), primary_key=True, comment="deliver, or receipt (upstream)"),
    Column("peer", String(6), nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("handed", Integer, nullable=False, comment="hand-overs the peer has not answered yet"),
    Column("size", Integer, nullable=False, comment="octets it takes in a post, about"),
    Column("case_id", String(36)),
    Column("sequence", Integer),
    Column("last_reason", Integer, comment="why it waits: number of a transient reason"),
    PrimaryKeyConstraint("message_id", "authority", "role", "purpose"),
    Index("outbox_due", "peer", "due_ms"),
)

peer: Final = Table(
    "peer",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("failures", Integer, nullable=False, comment="posts failed since it last answered"),
    Column("retry_ms", BigInteger, nullable=False),
    Column("heard_ms", BigInteger),
    Column("trouble", Text),
)

ferry: Final = Table(
    "ferry",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("sent", BigInteger, nullable=False, comment="number of the last hand-over written"),
    Column("taken", LargeBinary, nullable=False, comment="numbers taken, the highest: u64 each"),
    Column("floor", BigInteger, nullable=False, comment="lower ones count as taken (RV-14)"),
    comment="links over a one-way gate",
)

case: Final = Table(
    "case_view",
    metadata,
    Column("case_id", String(36), primary_key=True),
    Column("side", String(8), primary_key=True, comment="collect or handle"),
    Column("state", String(16), nullable=False),
    Column("item", String(36), nullable=False),
    Column("implementation", String(40), nullable=False),
    Column("collecting_authority", String(18), nullable=False),
    Column("collecting_node", String(6), nullable=False),
    Column("handling_authority", String(18), nullable=False),
    Column("handling_node", String(6), nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column(
        "last_message", String(36), comment="handle: the collecting side's latest message in effect"
    ),
    Column(
        "effective", Integer, nullable=False, comment="collect: its own latest number in effect"
    ),
    Index("case_by_change", "side", "changed_ms"),
)

sequence: Final = Table(
    "sequence",
    metadata,
    Column("case_id", String(36), primary_key=True),
    Column("province", String(2), primary_key=True),
    Column("authority", String(18), primary_key=True),
    Column("role", String(8), primary_key=True, comment="out: given here; in: consumed here"),
    Column("last", Integer, nullable=False),
)

inbox: Final = Table(
    "inbox",
    metadata,
    Column("authority", String(18), primary_key=True),
    Column("message_id", String(36), primary_key=True),
    Column("to_authority", String(18), nullable=False),
    Column("case_id", String(36)),
    Column("recorded_ms", BigInteger, nullable=False),
    Column("leased_until_ms", BigInteger, nullable=False),
    Column("lease", String(36)),
    Column("done_ms", BigInteger),
    PrimaryKeyConstraint("message_id", "authority"),
    Index("inbox_open", "done_ms", "recorded_ms", "message_id"),
)

idempotency: Final = Table(
    "idempotency",
    metadata,
    Column("client", String(64), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("request_digest", LargeBinary(32), nullable=False),
    Column("answer", Text, nullable=False),
    Column("recorded_ms", BigInteger, nullable=False),
    Index("idempotency_by_age", "recorded_ms"),
)

log_birth: Final = Table(
    "log_birth",
    metadata,
    Column("incarnation", Integer, primary_key=True, autoincrement=False),
    Column("node", String(6), nullable=False),
    Column("digest", Integer, nullable=False, comment="of the tree, for ever: 1 SM3, 2 SHA-256"),
    Column("instant_ms", BigInteger, nullable=False),
    comment="how this node's evidence log began, and how it went on after each loss",
)

log_wait: Final = Table(
    "log_wait",
    metadata,
    Column("id", _ROW_ID, primary_key=True),
    Column("leaves", LargeBinary, nullable=False, comment="of one commit; see signing.log"),
    comment="leaves that have no place in the log yet; no other index, written by every commit",
)

log_entry: Final = Table(
    "log_entry",
    metadata,
    Column("number", _ROW_ID, primary_key=True, autoincrement=False),
    Column("leaves", LargeBinary, nullable=False, comment="up to 256, those of tile (0, number)"),
)

log_tile: Final = Table(
    "log_tile",
    metadata,
    Column("level", Integer, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("width", Integer, nullable=False),
    Column("hashes", LargeBinary, nullable=False, comment="see signing.tiles"),
)

log_run: Final = Table(
    "log_run",
    metadata,
    Column("tier", Integer, primary_key=True),
    Column("bucket", Integer, primary_key=True, comment="first bits of the digests in it"),
    Column("number", BigInteger, primary_key=True),
    Column("places", LargeBinary, nullable=False, comment="digest to place; see node.log.places"),
)

log_head: Final = Table(
    "log_head",
    metadata,
    Column("incarnation", Integer, primary_key=True),
    Column("size", BigInteger, primary_key=True),
    Column("instant_ms", BigInteger, nullable=False),
    Column("octets", LargeBinary, nullable=False),
    Column("view", LargeBinary, nullable=False, comment="of the directories; its digest is signed"),
    Column("kept", Integer, nullable=False, comment="1: somebody was shown it, so it stays"),
    Column("stamp", LargeBinary, comment="time stamp over it, if there is one (RFC 3161)"),
    comment="heads this node signed: the newest, and those that others know",
)

log_held: Final = Table(
    "log_held",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("octets", LargeBinary, nullable=False),
    Column("view", LargeBinary, nullable=False),
    Column("taken_ms", BigInteger, nullable=False),
    comment="the last head taken of each peer's log",
)

log_shown: Final = Table(
    "log_shown",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("size", BigInteger, nullable=False, comment="0: none that this log has grown from"),
    Column("octets", LargeBinary, nullable=False, comment="the head of ours it holds"),
    Column("heard_ms", BigInteger, nullable=False),
    comment="which head of this node's log each peer holds",
)

log_alarm: Final = Table(
    "log_alarm",
    metadata,
    Column("node", String(6), primary_key=True, comment="whose log it is; or a province's code"),
    Column("verdict", String(12), primary_key=True),
    Column("seen_ms", BigInteger, nullable=False),
    Column("held", LargeBinary, nullable=False),
    Column("shown", LargeBinary, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("path", LargeBinary, nullable=False),
    comment="the first contradiction of each kind: evidence, never deleted; see node.log.witness",
)

log_break: Final = Table(
    "log_break",
    metadata,
    Column("node", String(6), primary_key=True, comment="whose log it is; may be this node"),
    Column("incarnation", Integer, primary_key=True, comment="the one that begins"),
    Column("seen_ms", BigInteger, nullable=False),
    Column("fork", BigInteger, nullable=False, comment="leaves both incarnations have, as said"),
    Column("size", BigInteger, nullable=False, comment="of the last head known of the one before"),
    Column("held", LargeBinary, nullable=False, comment="that head; empty if none is known"),
    Column("shown", LargeBinary, nullable=False, comment="a peer's first head of the new one"),
    Column("record", LargeBinary, nullable=False, comment="ours: what the leaf is about"),
    comment="logs that went on after a loss, as a new incarnation: never deleted",
)

recovery: Final = Table(
    "recovery",
    metadata,
    Column("node", String(6), primary_key=True, comment="this node: there is a row while it lasts"),
    Column("begun_ms", BigInteger, nullable=False),
    Column("since_ms", BigInteger, nullable=False, comment="what is older is here"),
    Column("why", Text, nullable=False),
    Column("head", LargeBinary, comment="the newest head of ours that a peer has shown"),
    comment="this node gathers what it lost since its backup",
)

recovery_peer: Final = Table(
    "recovery_peer",
    metadata,
    Column("node", String(6), primary_key=True),
    Column("cursor", LargeBinary, nullable=False, comment="where the next page begins"),
    Column("messages", Integer, nullable=False, comment="recalled from it so far"),
    Column("done", Integer, nullable=False, comment="1: it has handed over all it has"),
    Column("excused", Integer, nullable=False, comment="1: the operator goes on without it"),
)

recovery_case: Final = Table(
    "recovery_case",
    metadata,
    Column("case_id", String(36), primary_key=True),
    comment="cases with recalled messages that have not taken effect yet",
)

meta: Final = Table(
    "meta",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)

# SQLite knows no widths. That PostgreSQL takes the same values, none are declared there either.
for _table in metadata.tables.values():
    for _column in _table.columns:
        if isinstance(_column.type, String):
            _column.type = _column.type.with_variant(Text(), "postgresql")
        elif type(_column.type) is Integer:
            _column.type = _column.type.with_variant(BigInteger(), "postgresql")
