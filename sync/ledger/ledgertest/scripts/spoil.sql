-- Sums that are not what the rows add up to, and a grant that was altered.
UPDATE account_sums SET settled_units = settled_units + 1, grants = 3, rejected = 2, seq = 0;
UPDATE account_hours SET seconds = seconds - 1, lost = 4;
UPDATE grants SET units = 90;
