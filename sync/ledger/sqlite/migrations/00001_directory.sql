-- +goose Up

-- Times are whole milliseconds since 1970 in UTC: they compare and sort as numbers, and there is one way to write one.

-- Every change of an account, number, key or tariff takes the next revision and writes it into the changed row.
CREATE TABLE directory_revision (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO directory_revision (only_row, revision) VALUES (1, 0);

-- A tariff version never changes. body is what tariff.Parse reads.
CREATE TABLE tariffs (
    id         TEXT    NOT NULL CHECK (id <> ''),
    version    INTEGER NOT NULL CHECK (version >= 0),
    body       TEXT    NOT NULL CHECK (json_valid(body)),
    created_at INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    PRIMARY KEY (id, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX tariffs_revision ON tariffs (revision);

CREATE TABLE accounts (
    id            TEXT PRIMARY KEY CHECK (id <> ''),
    company_name  TEXT    NOT NULL,
    email         TEXT    NOT NULL,
    status        TEXT    NOT NULL CHECK (status IN ('active', 'suspended')),
    currency      TEXT    NOT NULL,
    tariff        TEXT    NOT NULL,
    language      TEXT    NOT NULL,
    time_zone     TEXT    NOT NULL,
    max_calls     INTEGER NOT NULL CHECK (max_calls >= 0),
    max_seconds   INTEGER NOT NULL CHECK (max_seconds >= 0),
    spend_per_day INTEGER NOT NULL CHECK (spend_per_day >= 0), -- units
    created_at    INTEGER NOT NULL,
    revision      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX accounts_revision ON accounts (revision);

-- A removed number stays as a row: calls name it by its id, and a mirror that missed the removal learns of it.
CREATE TABLE numbers (
    id         TEXT PRIMARY KEY CHECK (id <> ''),
    e164       TEXT    NOT NULL CHECK (e164 <> ''),
    account    TEXT    NOT NULL REFERENCES accounts (id),
    name       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    removed_at INTEGER,
    revision   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX numbers_in_use ON numbers (e164) WHERE removed_at IS NULL;
CREATE INDEX numbers_account ON numbers (account);
CREATE INDEX numbers_revision ON numbers (revision);

CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY CHECK (id <> ''),
    account      TEXT    NOT NULL REFERENCES accounts (id),
    name         TEXT    NOT NULL,
    prefix       TEXT    NOT NULL, -- what may be shown of the key
    hash         BLOB    NOT NULL UNIQUE, -- SHA-256 of the key; the key itself is kept nowhere
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER,
    revision     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_account ON api_keys (account);
CREATE INDEX api_keys_revision ON api_keys (revision);
