-- +goose Up

-- Calls older than kept_from are dropped (or are being dropped); their sums stay in account_hours and settled_units.
-- The numbers of calls older than masked_before are truncated.
ALTER TABLE account_sums
    ADD COLUMN dropped_units bigint NOT NULL DEFAULT 0, -- the part of settled_units that no row proves any more
    ADD COLUMN dropped_calls bigint NOT NULL DEFAULT 0,
    ADD COLUMN kept_from     timestamptz,
    ADD COLUMN masked_before timestamptz;
