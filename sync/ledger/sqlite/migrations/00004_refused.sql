-- +goose Up

-- Outbox records that can never become a call as they are, kept with the text they came as until somebody retries or
-- discards them.
CREATE TABLE refused_records (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    digest   BLOB    NOT NULL UNIQUE, -- SHA-256 of raw: a redelivery is counted, not added
    raw      BLOB    NOT NULL, -- as it came, which need not be valid text
    reason   TEXT    NOT NULL,
    count    INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) STRICT;
