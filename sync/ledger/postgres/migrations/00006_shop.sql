-- +goose Up

-- Who an account's invoices are made out to, and how it pays. customer, tax_id and card are Stripe's ids.
CREATE TABLE billing (
    account     text PRIMARY KEY REFERENCES accounts (id),
    company     text        NOT NULL DEFAULT '',
    email       text        NOT NULL DEFAULT '',
    line1       text        NOT NULL DEFAULT '',
    line2       text        NOT NULL DEFAULT '',
    postal_code text        NOT NULL DEFAULT '',
    city        text        NOT NULL DEFAULT '',
    state       text        NOT NULL DEFAULT '',
    country     text        NOT NULL DEFAULT '',
    vat_id      text        NOT NULL DEFAULT '',
    vat_status  text        NOT NULL DEFAULT '',
    customer    text        NOT NULL DEFAULT '',
    tax_id      text        NOT NULL DEFAULT '',
    card        text        NOT NULL DEFAULT '',
    card_name   text        NOT NULL DEFAULT '',
    updated_at  timestamptz NOT NULL
);
CREATE UNIQUE INDEX billing_customer ON billing (customer) WHERE customer <> '';

-- Credit that is being bought or was. A row is there before Stripe is asked, and holds all that the request is made of,
-- so that a repetition is the same request. Whoever changes a purchase holds the account's row of account_sums.
CREATE TABLE purchases (
    id          uuid PRIMARY KEY,
    account     text        NOT NULL REFERENCES accounts (id),
    kind        text        NOT NULL CHECK (kind IN ('checkout', 'top-up')),
    state       text        NOT NULL CHECK (state IN ('open', 'paid', 'failed', 'expired')),
    units       bigint      NOT NULL CHECK (units BETWEEN 1 AND 9007199254740991),
    net         bigint      NOT NULL CHECK (net BETWEEN 1 AND 9007199254740991), -- micros, without VAT
    gross       bigint      NOT NULL DEFAULT 0 CHECK (gross >= 0), -- paid, in the currency's smallest unit
    currency    text        NOT NULL,
    save_card   boolean     NOT NULL,
    success_url text        NOT NULL,
    cancel_url  text        NOT NULL,
    tax         text        NOT NULL, -- the rate that was quoted, as the request needs it
    session     text        NOT NULL DEFAULT '',
    intent      text        NOT NULL DEFAULT '',
    charge      text        NOT NULL DEFAULT '',
    invoice     text        NOT NULL DEFAULT '',
    back        bigint      NOT NULL DEFAULT 0 CHECK (back BETWEEN 0 AND gross), -- of gross
    problem     text        NOT NULL DEFAULT '', -- why it is kept aside
    attempts    bigint      NOT NULL DEFAULT 0,
    due_at      timestamptz, -- when Stripe is asked about it next; null: no more
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL, -- when nobody can pay any more
    paid_at     timestamptz
);
CREATE INDEX purchases_account ON purchases (account, created_at);
CREATE INDEX purchases_due ON purchases (due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX purchases_session ON purchases (session) WHERE session <> '';
CREATE UNIQUE INDEX purchases_intent ON purchases (intent) WHERE intent <> '';
CREATE UNIQUE INDEX purchases_invoice ON purchases (invoice) WHERE invoice <> '';
-- One open top-up of an account.
CREATE UNIQUE INDEX purchases_top_up ON purchases (account) WHERE kind = 'top-up' AND state = 'open';

-- What refunds and disputes took from purchases, or brought back. The units of one purchase's rows follow from the sum
-- of its amounts, whatever order they came in.
CREATE TABLE paybacks (
    reference  text PRIMARY KEY CHECK (reference <> ''), -- re:ID, dp:ID:withdrawn ...: that of the grant, where units are not 0
    purchase   uuid        NOT NULL REFERENCES purchases (id),
    amount     bigint      NOT NULL, -- in the currency's smallest unit; negative: it came back
    units      bigint      NOT NULL, -- taken by this row
    created_at timestamptz NOT NULL
);
CREATE INDEX paybacks_purchase ON paybacks (purchase);

-- As Stripe made them. Amounts are in the currency's smallest unit.
CREATE TABLE invoices (
    id             text PRIMARY KEY CHECK (id <> ''),
    account        text        NOT NULL REFERENCES accounts (id),
    purchase       uuid        NOT NULL REFERENCES purchases (id),
    number         text        NOT NULL,
    status         text        NOT NULL,
    created_at     timestamptz NOT NULL,
    currency       text        NOT NULL,
    net            bigint      NOT NULL,
    vat            bigint      NOT NULL,
    vat_rate       bigint      NOT NULL, -- hundredths of a percent
    reverse_charge boolean     NOT NULL,
    total          bigint      NOT NULL,
    pay_url        text        NOT NULL,
    pdf_url        text        NOT NULL
);
CREATE INDEX invoices_account ON invoices (account, created_at);

-- What Stripe told, once each. Those that nothing could be made of are kept aside, for an operator to see and replay.
CREATE TABLE stripe_events (
    id          text PRIMARY KEY CHECK (id <> ''),
    type        text        NOT NULL,
    object      text        NOT NULL, -- id of what it is about
    need        bigint      NOT NULL, -- lower is worked first
    body        bytea       NOT NULL,
    state       text        NOT NULL CHECK (state IN ('waiting', 'done', 'aside')),
    attempts    bigint      NOT NULL DEFAULT 0,
    problem     text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL, -- by Stripe's clock
    received_at timestamptz NOT NULL,
    due_at      timestamptz NOT NULL,
    done_at     timestamptz
);
CREATE INDEX stripe_events_waiting ON stripe_events (need, due_at) WHERE state = 'waiting';
CREATE INDEX stripe_events_aside ON stripe_events (received_at) WHERE state = 'aside';

-- How far something has come that one sidecar at a time does.
CREATE TABLE stripe_marks (
    name   text PRIMARY KEY,
    at     timestamptz NOT NULL, -- up to when it is done
    due_at timestamptz NOT NULL  -- when it is done next
);

CREATE TABLE top_ups (
    account     text PRIMARY KEY REFERENCES accounts (id),
    enabled     boolean     NOT NULL,
    below       bigint      NOT NULL CHECK (below BETWEEN 0 AND 9007199254740991), -- units
    units       bigint      NOT NULL CHECK (units BETWEEN 0 AND 9007199254740991),
    max_per_day bigint      NOT NULL CHECK (max_per_day >= 0),
    declined    bigint      NOT NULL DEFAULT 0,
    not_before  timestamptz,
    problem     text        NOT NULL DEFAULT '',
    pay_url     text        NOT NULL DEFAULT '',
    updated_at  timestamptz NOT NULL
);
CREATE INDEX top_ups_enabled ON top_ups (account) WHERE enabled;
