-- +goose Up

-- Calls that are over. Not partitioned: a call's uid must be unique over all time for a record to be charged once,
-- and a partitioned table can only promise that per partition. The indexes below answer in milliseconds at millions of
-- calls of one account, sums come from account_hours, and old calls are dropped in batches.
CREATE TABLE calls (
    uid                 uuid PRIMARY KEY,
    account             text        NOT NULL,
    status              text        NOT NULL CHECK (status IN ('settled', 'lost', 'released', 'rejected')),
    switch              text        NOT NULL,
    direction           text        NOT NULL CHECK (direction IN ('inbound', 'outbound')),
    call_id             text        NOT NULL,
    seq                 bigint      NOT NULL,
    epoch               bigint      NOT NULL,
    created_at          timestamptz NOT NULL, -- the hangup, the release or the rejection
    authorized_at       timestamptz NOT NULL,
    answered_at         timestamptz,
    talk_ms             bigint      NOT NULL CHECK (talk_ms >= 0),
    duration_sec        bigint      NOT NULL CHECK (duration_sec >= 0),
    units               bigint      NOT NULL CHECK (units >= 0),
    micros              bigint      NOT NULL CHECK (micros >= 0),
    extra_units         bigint      NOT NULL CHECK (extra_units >= 0),
    extra_micros        bigint      NOT NULL CHECK (extra_micros >= 0),
    overrun_units       bigint      NOT NULL,
    flags               text        NOT NULL,
    reason              text        NOT NULL,
    rate_units          bigint      NOT NULL, -- per minute
    connect_units       bigint      NOT NULL,
    rate_micros         bigint      NOT NULL, -- per minute
    connect_micros      bigint      NOT NULL,
    initial_sec         bigint      NOT NULL,
    step_sec            bigint      NOT NULL,
    credit_price_micros bigint      NOT NULL,
    max_seconds         bigint      NOT NULL,
    from_number         text        NOT NULL,
    to_number           text        NOT NULL,
    from_raw            text        NOT NULL, -- empty: equal to from_number
    to_raw              text        NOT NULL, -- empty: equal to to_number
    number_id           text        NOT NULL,
    mode                text        NOT NULL,
    tariff              text        NOT NULL, -- id@version
    prefix              text        NOT NULL,
    currency            text        NOT NULL,
    recorded_at         timestamptz NOT NULL
);
CREATE INDEX calls_time ON calls (account, status, created_at, uid);
CREATE INDEX calls_seq ON calls (account, seq);
CREATE INDEX calls_call_id ON calls USING hash (call_id);

-- How many calls of each status ended in a UTC hour, and what its settled and lost ones add up to. Hours serve every
-- time zone: a range's whole hours are summed here, and its at most two partial hours from the calls themselves. They
-- also tell where in time the nth newest call is.
CREATE TABLE account_hours (
    account      text        NOT NULL,
    hour         timestamptz NOT NULL,
    settled      bigint      NOT NULL, -- calls of each status
    lost         bigint      NOT NULL,
    released     bigint      NOT NULL,
    rejected     bigint      NOT NULL,
    seconds      bigint      NOT NULL,
    units        bigint      NOT NULL,
    micros       bigint      NOT NULL,
    extra_units  bigint      NOT NULL,
    extra_micros bigint      NOT NULL,
    PRIMARY KEY (account, hour)
) WITH (fillfactor = 70);

ALTER TABLE account_sums
    ADD COLUMN settled_units bigint NOT NULL DEFAULT 0 CHECK (settled_units BETWEEN -9007199254740991 AND 9007199254740991),
    ADD COLUMN seq           bigint NOT NULL DEFAULT 0, -- the highest seen
    ADD COLUMN settled       bigint NOT NULL DEFAULT 0, -- rows of each status
    ADD COLUMN lost          bigint NOT NULL DEFAULT 0,
    ADD COLUMN released      bigint NOT NULL DEFAULT 0,
    ADD COLUMN rejected      bigint NOT NULL DEFAULT 0;
