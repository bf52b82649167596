-- +goose Up

-- What an account's rows add up to, kept in the transaction that changes them: balance = granted - settled without
-- reading a row. Whoever changes an account's money locks its row here first, accounts in the order of their ids.
-- Sums stay within 2^53 - 1, beyond which Lua and JSON round silently.
CREATE TABLE account_sums (
    account       text PRIMARY KEY REFERENCES accounts (id),
    granted_units bigint NOT NULL DEFAULT 0 CHECK (granted_units BETWEEN -9007199254740991 AND 9007199254740991),
    grants        bigint NOT NULL DEFAULT 0 -- how many, and the number of the last
) WITH (fillfactor = 70);
INSERT INTO account_sums (account) SELECT id FROM accounts;

-- Numbered 1, 2, 3 ... per account without a gap: the balance store applies number n + 1 after n and nothing else.
CREATE TABLE grants (
    account    text        NOT NULL REFERENCES accounts (id),
    number     bigint      NOT NULL CHECK (number > 0),
    units      bigint      NOT NULL CHECK (units <> 0 AND units BETWEEN -9007199254740991 AND 9007199254740991),
    kind       text        NOT NULL CHECK (kind <> ''),
    reference  text        NOT NULL CHECK (reference <> ''),
    reason     text        NOT NULL,
    created_at timestamptz NOT NULL,
    input_hash bytea       NOT NULL, -- tells a repeated grant from another one under the same reference
    PRIMARY KEY (account, number),
    UNIQUE (account, reference)
);
CREATE INDEX grants_time ON grants (account, created_at);
