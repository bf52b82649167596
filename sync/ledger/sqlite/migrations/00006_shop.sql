-- +goose Up

-- Who an account's invoices are made out to, and how it pays. customer, tax_id and card are Stripe's ids.
CREATE TABLE billing (
    account     TEXT PRIMARY KEY REFERENCES accounts (id),
    company     TEXT NOT NULL DEFAULT '',
    email       TEXT NOT NULL DEFAULT '',
    line1       TEXT NOT NULL DEFAULT '',
    line2       TEXT NOT NULL DEFAULT '',
    postal_code TEXT NOT NULL DEFAULT '',
    city        TEXT NOT NULL DEFAULT '',
    state       TEXT NOT NULL DEFAULT '',
    country     TEXT NOT NULL DEFAULT '',
    vat_id      TEXT NOT NULL DEFAULT '',
    vat_status  TEXT NOT NULL DEFAULT '',
    customer    TEXT NOT NULL DEFAULT '',
    tax_id      TEXT NOT NULL DEFAULT '',
    card        TEXT NOT NULL DEFAULT '',
    card_name   TEXT NOT NULL DEFAULT '',
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX billing_customer ON billing (customer) WHERE customer <> '';

-- Credit that is being bought or was. A row is there before Stripe is asked, and holds all that the request is made of,
-- so that a repetition is the same request. Whoever changes a purchase holds the account's row of account_sums.
CREATE TABLE purchases (
    id          BLOB PRIMARY KEY,
    account     TEXT NOT NULL REFERENCES accounts (id),
    kind        TEXT NOT NULL CHECK (kind IN ('checkout', 'top-up')),
    state       TEXT NOT NULL CHECK (state IN ('open', 'paid', 'failed', 'expired')),
    units       INTEGER NOT NULL CHECK (units BETWEEN 1 AND 9007199254740991),
    net         INTEGER NOT NULL CHECK (net BETWEEN 1 AND 9007199254740991), -- micros, without VAT
    gross       INTEGER NOT NULL DEFAULT 0 CHECK (gross >= 0), -- paid, in the currency's smallest unit
    currency    TEXT NOT NULL,
    save_card   INTEGER NOT NULL,
    success_url TEXT NOT NULL,
    cancel_url  TEXT NOT NULL,
    tax         TEXT NOT NULL, -- the rate that was quoted, as the request needs it
    session     TEXT NOT NULL DEFAULT '',
    intent      TEXT NOT NULL DEFAULT '',
    charge      TEXT NOT NULL DEFAULT '',
    invoice     TEXT NOT NULL DEFAULT '',
    back        INTEGER NOT NULL DEFAULT 0 CHECK (back BETWEEN 0 AND gross), -- of gross
    problem     TEXT NOT NULL DEFAULT '', -- why it is kept aside
    attempts    INTEGER NOT NULL DEFAULT 0,
    due_at      INTEGER, -- when Stripe is asked about it next; null: no more
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL, -- when nobody can pay any more
    paid_at     INTEGER
) STRICT;
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
    reference  TEXT PRIMARY KEY CHECK (reference <> ''), -- re:ID, dp:ID:withdrawn ...: that of the grant, where units are not 0
    purchase   BLOB NOT NULL REFERENCES purchases (id),
    amount     INTEGER NOT NULL, -- in the currency's smallest unit; negative: it came back
    units      INTEGER NOT NULL, -- taken by this row
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX paybacks_purchase ON paybacks (purchase);

-- As Stripe made them. Amounts are in the currency's smallest unit.
CREATE TABLE invoices (
    id             TEXT PRIMARY KEY CHECK (id <> ''),
    account        TEXT NOT NULL REFERENCES accounts (id),
    purchase       BLOB NOT NULL REFERENCES purchases (id),
    number         TEXT NOT NULL,
    status         TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    currency       TEXT NOT NULL,
    net            INTEGER NOT NULL,
    vat            INTEGER NOT NULL,
    vat_rate       INTEGER NOT NULL, -- hundredths of a percent
    reverse_charge INTEGER NOT NULL,
    total          INTEGER NOT NULL,
    pay_url        TEXT NOT NULL,
    pdf_url        TEXT NOT NULL
) STRICT;
CREATE INDEX invoices_account ON invoices (account, created_at);

-- What Stripe told, once each. Those that nothing could be made of are kept aside, for an operator to see and replay.
CREATE TABLE stripe_events (
    id          TEXT PRIMARY KEY CHECK (id <> ''),
    type        TEXT NOT NULL,
    object      TEXT NOT NULL, -- id of what it is about
    need        INTEGER NOT NULL, -- lower is worked first
    body        BLOB NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'aside')),
    attempts    INTEGER NOT NULL DEFAULT 0,
    problem     TEXT NOT NULL DEFAULT '',
    created_at  INTEGER NOT NULL, -- by Stripe's clock
    received_at INTEGER NOT NULL,
    due_at      INTEGER NOT NULL,
    done_at     INTEGER
) STRICT;
CREATE INDEX stripe_events_waiting ON stripe_events (need, due_at) WHERE state = 'waiting';
CREATE INDEX stripe_events_aside ON stripe_events (received_at) WHERE state = 'aside';

-- How far something has come that one sidecar at a time does.
CREATE TABLE stripe_marks (
    name   TEXT PRIMARY KEY,
    at     INTEGER NOT NULL, -- up to when it is done
    due_at INTEGER NOT NULL  -- when it is done next
) STRICT;

CREATE TABLE top_ups (
    account     TEXT PRIMARY KEY REFERENCES accounts (id),
    enabled     INTEGER NOT NULL,
    below       INTEGER NOT NULL CHECK (below BETWEEN 0 AND 9007199254740991), -- units
    units       INTEGER NOT NULL CHECK (units BETWEEN 0 AND 9007199254740991),
    max_per_day INTEGER NOT NULL CHECK (max_per_day >= 0),
    declined    INTEGER NOT NULL DEFAULT 0,
    not_before  INTEGER,
    problem     TEXT NOT NULL DEFAULT '',
    pay_url     TEXT NOT NULL DEFAULT '',
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX top_ups_enabled ON top_ups (account) WHERE enabled;
