-- +goose Up

-- When the reporting of an account's usage was turned off, or on again: calls that ended from then on are reported or not.
-- Before the first it was on.
CREATE TABLE usage_switches (
    account text        NOT NULL REFERENCES accounts (id),
    at      timestamptz NOT NULL,
    off     boolean     NOT NULL,
    PRIMARY KEY (account, at)
);

-- Since when it has been off was not kept. Nothing of that time may be reported: it counts as off from the beginning, and
-- what is in no batch yet comes into none.
INSERT INTO usage_switches (account, at, off) SELECT account, '1970-01-01 00:00:00Z', true FROM usage_accounts WHERE off;
UPDATE account_hours SET unreported = seconds - reported
WHERE seconds > reported + unreported AND account IN (SELECT account FROM usage_accounts WHERE off);
ALTER TABLE usage_accounts DROP COLUMN off;
