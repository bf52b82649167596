-- +goose Up

-- Calls older than kept_from are dropped (or are being dropped); their sums stay in account_hours and settled_units.
-- The numbers of calls older than masked_before are truncated.
ALTER TABLE account_sums ADD COLUMN dropped_units INTEGER NOT NULL DEFAULT 0; -- the part of settled_units that no row proves any more
ALTER TABLE account_sums ADD COLUMN dropped_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account_sums ADD COLUMN kept_from INTEGER;
ALTER TABLE account_sums ADD COLUMN masked_before INTEGER;
