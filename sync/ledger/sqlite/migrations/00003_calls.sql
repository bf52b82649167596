-- +goose Up

-- Calls that are over.
CREATE TABLE calls (
    uid                 BLOB PRIMARY KEY CHECK (length(uid) = 16),
    account             TEXT    NOT NULL,
    status              TEXT    NOT NULL CHECK (status IN ('settled', 'lost', 'released', 'rejected')),
    switch              TEXT    NOT NULL,
    direction           TEXT    NOT NULL CHECK (direction IN ('inbound', 'outbound')),
    call_id             TEXT    NOT NULL,
    seq                 INTEGER NOT NULL,
    epoch               INTEGER NOT NULL,
    created_at          INTEGER NOT NULL, -- the hangup, the release or the rejection
    authorized_at       INTEGER NOT NULL,
    answered_at         INTEGER,
    talk_ms             INTEGER NOT NULL CHECK (talk_ms >= 0),
    duration_sec        INTEGER NOT NULL CHECK (duration_sec >= 0),
    units               INTEGER NOT NULL CHECK (units >= 0),
    micros              INTEGER NOT NULL CHECK (micros >= 0),
    extra_units         INTEGER NOT NULL CHECK (extra_units >= 0),
    extra_micros        INTEGER NOT NULL CHECK (extra_micros >= 0),
    overrun_units       INTEGER NOT NULL,
    flags               TEXT    NOT NULL,
    reason              TEXT    NOT NULL,
    rate_units          INTEGER NOT NULL, -- per minute
    connect_units       INTEGER NOT NULL,
    rate_micros         INTEGER NOT NULL, -- per minute
    connect_micros      INTEGER NOT NULL,
    initial_sec         INTEGER NOT NULL,
    step_sec            INTEGER NOT NULL,
    credit_price_micros INTEGER NOT NULL,
    max_seconds         INTEGER NOT NULL,
    from_number         TEXT    NOT NULL,
    to_number           TEXT    NOT NULL,
    from_raw            TEXT    NOT NULL, -- empty: equal to from_number
    to_raw              TEXT    NOT NULL, -- empty: equal to to_number
    number_id           TEXT    NOT NULL,
    mode                TEXT    NOT NULL,
    tariff              TEXT    NOT NULL, -- id@version
    prefix              TEXT    NOT NULL,
    currency            TEXT    NOT NULL,
    recorded_at         INTEGER NOT NULL
) STRICT;
CREATE INDEX calls_time ON calls (account, status, created_at, uid);
CREATE INDEX calls_seq ON calls (account, seq);
CREATE INDEX calls_call_id ON calls (call_id);

-- How many calls of each status ended in a UTC hour, and what its settled and lost ones add up to. Hours serve every
-- time zone: a range's whole hours are summed here, and its at most two partial hours from the calls themselves. They
-- also tell where in time the nth newest call is.
CREATE TABLE account_hours (
    account      TEXT    NOT NULL,
    hour         INTEGER NOT NULL,
    settled      INTEGER NOT NULL, -- calls of each status
    lost         INTEGER NOT NULL,
    released     INTEGER NOT NULL,
    rejected     INTEGER NOT NULL,
    seconds      INTEGER NOT NULL,
    units        INTEGER NOT NULL,
    micros       INTEGER NOT NULL,
    extra_units  INTEGER NOT NULL,
    extra_micros INTEGER NOT NULL,
    PRIMARY KEY (account, hour)
) STRICT, WITHOUT ROWID;

ALTER TABLE account_sums ADD COLUMN settled_units INTEGER NOT NULL DEFAULT 0 CHECK (settled_units BETWEEN -9007199254740991 AND 9007199254740991);
ALTER TABLE account_sums ADD COLUMN seq INTEGER NOT NULL DEFAULT 0; -- the highest seen
ALTER TABLE account_sums ADD COLUMN settled INTEGER NOT NULL DEFAULT 0; -- rows of each status
ALTER TABLE account_sums ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account_sums ADD COLUMN released INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account_sums ADD COLUMN rejected INTEGER NOT NULL DEFAULT 0;
