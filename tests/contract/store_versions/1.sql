CREATE TABLE message (
    authority VARCHAR(18) NOT NULL,
    message_id VARCHAR(36) NOT NULL,
    role VARCHAR(8) NOT NULL,
    kind VARCHAR(40) NOT NULL,
    case_id VARCHAR(36),
    sequence INTEGER,
    in_reply_to VARCHAR(36),
    from_node VARCHAR(6) NOT NULL,
    to_node VARCHAR(6) NOT NULL,
    to_authority VARCHAR(18) NOT NULL,
    message_digest BLOB NOT NULL,
    envelope BLOB NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    recorded_ms BIGINT NOT NULL,
    path VARCHAR(40) NOT NULL,
    upstream VARCHAR(6),
    standing VARCHAR(10) NOT NULL,
    reason INTEGER,
    detail TEXT,
    receipt BLOB,
    settled_ms BIGINT,
    PRIMARY KEY (authority, message_id, role)
);

CREATE INDEX message_by_case ON message (case_id, recorded_ms);

CREATE INDEX message_by_id ON message (message_id);

CREATE TABLE part (
    authority VARCHAR(18) NOT NULL,
    message_id VARCHAR(36) NOT NULL,
    role VARCHAR(8) NOT NULL,
    part_id VARCHAR(32) NOT NULL,
    octets BLOB NOT NULL,
    PRIMARY KEY (authority, message_id, role, part_id)
);

CREATE TABLE custody (
    authority VARCHAR(18) NOT NULL,
    message_id VARCHAR(36) NOT NULL,
    role VARCHAR(8) NOT NULL,
    issuer VARCHAR(6) NOT NULL,
    receipt BLOB NOT NULL,
    PRIMARY KEY (authority, message_id, role, issuer)
);

CREATE TABLE outbox (
    authority VARCHAR(18) NOT NULL,
    message_id VARCHAR(36) NOT NULL,
    role VARCHAR(8) NOT NULL,
    purpose VARCHAR(8) NOT NULL,
    peer VARCHAR(6) NOT NULL,
    due_ms BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    size INTEGER NOT NULL,
    case_id VARCHAR(36),
    sequence INTEGER,
    last_reason INTEGER,
    PRIMARY KEY (authority, message_id, role, purpose)
);

CREATE INDEX outbox_due ON outbox (peer, due_ms);

CREATE TABLE peer (
    node VARCHAR(6) NOT NULL,
    failures INTEGER NOT NULL,
    retry_ms BIGINT NOT NULL,
    heard_ms BIGINT,
    trouble TEXT,
    PRIMARY KEY (node)
);

CREATE TABLE case_view (
    case_id VARCHAR(36) NOT NULL,
    side VARCHAR(8) NOT NULL,
    state VARCHAR(16) NOT NULL,
    item VARCHAR(36) NOT NULL,
    implementation VARCHAR(40) NOT NULL,
    collecting_authority VARCHAR(18) NOT NULL,
    collecting_node VARCHAR(6) NOT NULL,
    handling_authority VARCHAR(18) NOT NULL,
    handling_node VARCHAR(6) NOT NULL,
    opened_ms BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    last_message VARCHAR(36),
    effective INTEGER NOT NULL,
    PRIMARY KEY (case_id, side)
);

CREATE INDEX case_by_change ON case_view (side, changed_ms);

CREATE TABLE sequence (
    case_id VARCHAR(36) NOT NULL,
    authority VARCHAR(18) NOT NULL,
    role VARCHAR(8) NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (case_id, authority, role)
);

CREATE TABLE inbox (
    authority VARCHAR(18) NOT NULL,
    message_id VARCHAR(36) NOT NULL,
    to_authority VARCHAR(18) NOT NULL,
    case_id VARCHAR(36),
    recorded_ms BIGINT NOT NULL,
    leased_until_ms BIGINT NOT NULL,
    lease VARCHAR(36),
    done_ms BIGINT,
    PRIMARY KEY (authority, message_id)
);

CREATE INDEX inbox_open ON inbox (done_ms, recorded_ms, message_id);

CREATE TABLE idempotency (
    client VARCHAR(64) NOT NULL,
    "key" VARCHAR(128) NOT NULL,
    request_digest BLOB NOT NULL,
    answer TEXT NOT NULL,
    recorded_ms BIGINT NOT NULL,
    PRIMARY KEY (client, "key")
);

CREATE TABLE meta (
    name VARCHAR(40) NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name)
);


INSERT INTO meta VALUES ('schema_version', '1');

INSERT INTO message VALUES (
    '11420100MB1234567X', '0198c0de-0000-7000-8000-000000000000', 'out', 'case.submit',
    '0198c0de-0000-7000-8000-00000000ca5e', 7, NULL, '420100', '420600', '11420600MB1234567X', x'00ff', x'3c456e76656c6f70652f3e', 1, 2, 3,
    '420100', NULL, 'queued', NULL, NULL, NULL, NULL
);

INSERT INTO part VALUES (
    '11420100MB1234567X', '0198c0de-0000-7000-8000-000000000000', 'out', 'body', x'3c426f64792f3e'
);

INSERT INTO outbox VALUES (
    '11420100MB1234567X', '0198c0de-0000-7000-8000-000000000000', 'out', 'deliver', '420600', 3, 0,
    100, '0198c0de-0000-7000-8000-00000000ca5e', 7, NULL
);

INSERT INTO sequence VALUES (
    '0198c0de-0000-7000-8000-00000000ca5e', '11420100MB1234567X', 'out', 7
);
