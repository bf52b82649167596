-- +goose Up

-- What an account's rows add up to, kept in the transaction that changes them: balance = granted - settled without
-- reading a row. Sums stay within 2^53 - 1, beyond which Lua and JSON round silently.
CREATE TABLE account_sums (
    account       TEXT PRIMARY KEY REFERENCES accounts (id),
    granted_units INTEGER NOT NULL DEFAULT 0 CHECK (granted_units BETWEEN -9007199254740991 AND 9007199254740991),
    grants        INTEGER NOT NULL DEFAULT 0 -- how many, and the number of the last
) STRICT, WITHOUT ROWID;
INSERT INTO account_sums (account) SELECT id FROM accounts;

-- Numbered 1, 2, 3 ... per account without a gap: the balance store applies number n + 1 after n and nothing else.
CREATE TABLE grants (
    account    TEXT    NOT NULL REFERENCES accounts (id),
    number     INTEGER NOT NULL CHECK (number > 0),
    units      INTEGER NOT NULL CHECK (units <> 0 AND units BETWEEN -9007199254740991 AND 9007199254740991),
    kind       TEXT    NOT NULL CHECK (kind <> ''),
    reference  TEXT    NOT NULL CHECK (reference <> ''),
    reason     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    input_hash BLOB    NOT NULL, -- tells a repeated grant from another one under the same reference
    PRIMARY KEY (account, number),
    UNIQUE (account, reference)
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_time ON grants (account, created_at);
