-- +goose Up

-- Outbox records that can never become a call as they are, kept with the text they came as until somebody retries or
-- discards them.
CREATE TABLE refused_records (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest   bytea       NOT NULL UNIQUE, -- SHA-256 of raw: a redelivery is counted, not added
    raw      bytea       NOT NULL, -- as it came, which need not be valid text
    reason   text        NOT NULL,
    count    bigint      NOT NULL,
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL
);
