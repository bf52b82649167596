-- +goose Up

-- Where an account, or one of its numbers, wants to be told.
CREATE TABLE webhooks (
    account    text        NOT NULL REFERENCES accounts (id),
    number_id  text        NOT NULL, -- empty: the account's, for all numbers that have none of their own
    url        text        NOT NULL CHECK (url <> ''),
    secret     text        NOT NULL CHECK (secret <> ''), -- signs what is sent, so it is kept as it is
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account, number_id)
);

-- When an account wants to be told that credit runs low, and what it was told since its last top-up.
CREATE TABLE alerts (
    account      text PRIMARY KEY REFERENCES accounts (id),
    below_units  bigint      NOT NULL DEFAULT 0 CHECK (below_units BETWEEN 0 AND 9007199254740991), -- 0: never
    email        bigint      NOT NULL DEFAULT 0 CHECK (email IN (0, 1)),
    low_at       timestamptz,
    mailed_at    timestamptz, -- the last e-mail about low credit, unless topped up since
    exhausted_at timestamptz,
    updated_at   timestamptz NOT NULL
);

-- The queue. seq is the order in which those of one account, endpoint and topic are delivered.
CREATE TABLE deliveries (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         uuid        NOT NULL UNIQUE, -- follows from what it tells: the same thing twice is one delivery
    account    text        NOT NULL,
    number_id  text        NOT NULL, -- of the webhook
    endpoint   text        NOT NULL, -- a URL, or mailto:ADDRESS
    topic      text        NOT NULL, -- empty: in no order
    event      text        NOT NULL,
    body       bytea       NOT NULL,
    state      text        NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts   bigint      NOT NULL DEFAULT 0,
    due        timestamptz NOT NULL,
    since      timestamptz NOT NULL, -- made, or replayed: giving up counts from here
    error      text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    done_at    timestamptz
);
CREATE INDEX deliveries_lane ON deliveries (account, endpoint, seq) WHERE state = 'pending';
CREATE INDEX deliveries_topic ON deliveries (account, endpoint, topic, seq, due) WHERE state = 'pending';
CREATE INDEX deliveries_account ON deliveries (account, seq);
CREATE INDEX deliveries_done ON deliveries (state, done_at) WHERE state <> 'pending';

-- Endpoints that are being worked on, or that fail. One sidecar at a time works on what an account
-- has for an endpoint, under a lease. Accounts that share an endpoint do not share what one of them makes it do.
CREATE TABLE endpoints (
    account      text   NOT NULL,
    endpoint     text   NOT NULL,
    failures     bigint NOT NULL DEFAULT 0, -- in a row
    open_until   timestamptz, -- the breaker: nothing is tried before
    holder       text   NOT NULL DEFAULT '',
    leased_until timestamptz,
    worked_at    timestamptz, -- last: who waits longest is next
    PRIMARY KEY (account, endpoint)
);
