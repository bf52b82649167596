-- +goose Up

-- When the reporting of an account's usage was turned off, or on again: calls that ended from then on are reported or not.
-- Before the first it was on.
CREATE TABLE usage_switches (
    account TEXT NOT NULL REFERENCES accounts (id),
    at      INTEGER NOT NULL,
    off     INTEGER NOT NULL,
    PRIMARY KEY (account, at)
) STRICT, WITHOUT ROWID;

-- Since when it has been off was not kept. Nothing of that time may be reported: it counts as off from the beginning, and
-- what is in no batch yet comes into none.
INSERT INTO usage_switches (account, at, off) SELECT account, 0, 1 FROM usage_accounts WHERE off;
UPDATE account_hours SET unreported = seconds - reported
WHERE seconds > reported + unreported AND account IN (SELECT account FROM usage_accounts WHERE off);
ALTER TABLE usage_accounts DROP COLUMN off;
