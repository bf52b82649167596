-- +goose Up

-- Which ledger this is, made once: sidecars that share a Redis must share a ledger, and tell it by this.
CREATE TABLE ledger_identity (
    one INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    id  TEXT NOT NULL
) STRICT;
INSERT INTO ledger_identity (id) VALUES (lower(hex(randomblob(16))));
