-- +goose Up

-- Every change of an account, number, key or tariff takes the next revision and writes it into the changed row. The
-- row of directory_revision stays locked until that transaction commits, so that revisions appear in their order: a
-- reader that has seen revision n misses nothing up to n.
CREATE TABLE directory_revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint NOT NULL
);
INSERT INTO directory_revision (revision) VALUES (0);

-- A tariff version never changes. body is what tariff.Parse reads; json, not jsonb, keeps its text as it was given.
CREATE TABLE tariffs (
    id         text        NOT NULL CHECK (id <> ''),
    version    bigint      NOT NULL CHECK (version >= 0),
    body       json        NOT NULL,
    created_at timestamptz NOT NULL,
    revision   bigint      NOT NULL,
    PRIMARY KEY (id, version)
);
CREATE INDEX tariffs_revision ON tariffs (revision);

CREATE TABLE accounts (
    id            text PRIMARY KEY CHECK (id <> ''),
    company_name  text        NOT NULL,
    email         text        NOT NULL,
    status        text        NOT NULL CHECK (status IN ('active', 'suspended')),
    currency      text        NOT NULL,
    tariff        text        NOT NULL,
    language      text        NOT NULL,
    time_zone     text        NOT NULL,
    max_calls     bigint      NOT NULL CHECK (max_calls >= 0),
    max_seconds   bigint      NOT NULL CHECK (max_seconds >= 0),
    spend_per_day bigint      NOT NULL CHECK (spend_per_day >= 0), -- units
    created_at    timestamptz NOT NULL,
    revision      bigint      NOT NULL
);
CREATE INDEX accounts_revision ON accounts (revision);

-- A removed number stays as a row: calls name it by its id, and a mirror that missed the removal learns of it.
CREATE TABLE numbers (
    id         text PRIMARY KEY CHECK (id <> ''),
    e164       text        NOT NULL CHECK (e164 <> ''),
    account    text        NOT NULL REFERENCES accounts (id),
    name       text        NOT NULL,
    created_at timestamptz NOT NULL,
    removed_at timestamptz,
    revision   bigint      NOT NULL
);
CREATE UNIQUE INDEX numbers_in_use ON numbers (e164) WHERE removed_at IS NULL;
CREATE INDEX numbers_account ON numbers (account);
CREATE INDEX numbers_revision ON numbers (revision);

CREATE TABLE api_keys (
    id           text PRIMARY KEY CHECK (id <> ''),
    account      text        NOT NULL REFERENCES accounts (id),
    name         text        NOT NULL,
    prefix       text        NOT NULL, -- what may be shown of the key
    hash         bytea       NOT NULL UNIQUE, -- SHA-256 of the key; the key itself is kept nowhere
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    revision     bigint      NOT NULL
);
CREATE INDEX api_keys_account ON api_keys (account);
CREATE INDEX api_keys_revision ON api_keys (revision);
