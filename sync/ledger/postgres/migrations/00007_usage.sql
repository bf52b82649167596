-- +goose Up

-- How many of an hour's seconds are in batches for Stripe (less what is owed back, usage_accounts.owed), and how many
-- are never to be. An hour is open while that is not all of them; ingest opens it by changing seconds.
ALTER TABLE account_hours
    ADD COLUMN reported   bigint NOT NULL DEFAULT 0,
    ADD COLUMN unreported bigint NOT NULL DEFAULT 0 CHECK (unreported >= 0);
CREATE INDEX account_hours_open ON account_hours (account, hour) WHERE seconds <> reported + unreported;

-- Whether an account's usage is reported, and how many seconds were reported that have turned out not to be talk time.
CREATE TABLE usage_accounts (
    account text PRIMARY KEY REFERENCES accounts (id),
    off     boolean NOT NULL DEFAULT false,
    owed    bigint  NOT NULL DEFAULT 0 CHECK (owed >= 0)
);

-- Seconds of one hour of an account, as they are reported: once made, only how far they have come changes, and minute if
-- Stripe takes it no more. Batches of an account have distinct minutes, so that the sum of a minute proves its batch.
CREATE TABLE usage_batches (
    identifier text PRIMARY KEY CHECK (identifier <> ''),
    account    text        NOT NULL REFERENCES accounts (id),
    hour       timestamptz NOT NULL, -- when the calls ended
    n          bigint      NOT NULL CHECK (n > 0), -- 1, 2, 3 ... in an hour
    seconds    bigint      NOT NULL CHECK (seconds > 0),
    minute     timestamptz NOT NULL, -- the event's time
    state      text        NOT NULL CHECK (state IN ('frozen', 'sent', 'known', 'proven', 'wrong')),
    attempts   bigint      NOT NULL DEFAULT 0,
    sent_at    timestamptz, -- the first attempt that may have arrived
    absent_at  timestamptz, -- since when the minute is known to be empty all the same
    holder     text        NOT NULL DEFAULT '', -- who works on it
    due_at     timestamptz, -- when it is looked at next, or may be by another than the holder; null: never
    problem    text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    proven_at  timestamptz,
    UNIQUE (account, hour, n),
    UNIQUE (account, minute)
);
CREATE INDEX usage_batches_due ON usage_batches (due_at) WHERE due_at IS NOT NULL;

-- How far an account's billing details have come to Stripe.
CREATE TABLE billing_sync (
    account     text PRIMARY KEY REFERENCES accounts (id),
    revision    bigint NOT NULL, -- of the details
    synced      bigint NOT NULL DEFAULT 0, -- the revision that Stripe has
    attempts    bigint NOT NULL DEFAULT 0, -- since the last success
    holder      text   NOT NULL DEFAULT '', -- who works on it
    lease_until timestamptz, -- until when nobody else does
    due_at      timestamptz, -- when it is looked at next; null: when something changes
    problem     text   NOT NULL DEFAULT ''
);
CREATE INDEX billing_sync_due ON billing_sync (due_at) WHERE due_at IS NOT NULL;
INSERT INTO billing_sync (account, revision, due_at) SELECT account, 1, updated_at FROM billing;
