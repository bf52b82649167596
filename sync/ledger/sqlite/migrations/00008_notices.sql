-- +goose Up

-- Where an account, or one of its numbers, wants to be told.
CREATE TABLE webhooks (
    account    TEXT    NOT NULL REFERENCES accounts (id),
    number_id  TEXT    NOT NULL, -- empty: the account's, for all numbers that have none of their own
    url        TEXT    NOT NULL CHECK (url <> ''),
    secret     TEXT    NOT NULL CHECK (secret <> ''), -- signs what is sent, so it is kept as it is
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (account, number_id)
) STRICT, WITHOUT ROWID;

-- When an account wants to be told that credit runs low, and what it was told since its last top-up.
CREATE TABLE alerts (
    account      TEXT    NOT NULL PRIMARY KEY REFERENCES accounts (id),
    below_units  INTEGER NOT NULL DEFAULT 0 CHECK (below_units BETWEEN 0 AND 9007199254740991), -- 0: never
    email        INTEGER NOT NULL DEFAULT 0 CHECK (email IN (0, 1)),
    low_at       INTEGER,
    mailed_at    INTEGER, -- the last e-mail about low credit, unless topped up since
    exhausted_at INTEGER,
    updated_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The queue. seq is the order in which those of one account, endpoint and topic are delivered.
CREATE TABLE deliveries (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         BLOB    NOT NULL UNIQUE CHECK (length(id) = 16), -- follows from what it tells: the same thing twice is one delivery
    account    TEXT    NOT NULL,
    number_id  TEXT    NOT NULL, -- of the webhook
    endpoint   TEXT    NOT NULL, -- a URL, or mailto:ADDRESS
    topic      TEXT    NOT NULL, -- empty: in no order
    event      TEXT    NOT NULL,
    body       BLOB    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts   INTEGER NOT NULL DEFAULT 0,
    due        INTEGER NOT NULL,
    since      INTEGER NOT NULL, -- made, or replayed: giving up counts from here
    error      TEXT    NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    done_at    INTEGER
) STRICT;
CREATE INDEX deliveries_lane ON deliveries (account, endpoint, seq) WHERE state = 'pending';
CREATE INDEX deliveries_topic ON deliveries (account, endpoint, topic, seq, due) WHERE state = 'pending';
CREATE INDEX deliveries_account ON deliveries (account, seq);
CREATE INDEX deliveries_done ON deliveries (state, done_at) WHERE state <> 'pending';

-- Endpoints that are being worked on, or that fail. One sidecar at a time works on what an account
-- has for an endpoint, under a lease. Accounts that share an endpoint do not share what one of them makes it do.
CREATE TABLE endpoints (
    account      TEXT    NOT NULL,
    endpoint     TEXT    NOT NULL,
    failures     INTEGER NOT NULL DEFAULT 0, -- in a row
    open_until   INTEGER, -- the breaker: nothing is tried before
    holder       TEXT    NOT NULL DEFAULT '',
    leased_until INTEGER,
    worked_at    INTEGER, -- last: who waits longest is next
    PRIMARY KEY (account, endpoint)
) STRICT, WITHOUT ROWID;
