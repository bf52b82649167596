-- Grants and sums.

-- name: sums_columns
account, granted_units, grants, settled_units, seq, settled, lost, released, rejected, dropped_units, dropped_calls, kept_from, masked_before

-- name: sums_insert
INSERT INTO account_sums (account) VALUES ($1)

-- name: sums
SELECT /*=sums_columns*/ FROM account_sums WHERE account = $1

-- name: sums_page
SELECT /*=sums_columns*/ FROM account_sums WHERE account > $1 ORDER BY account LIMIT $2

-- name: sums_locked
SELECT /*=sums_columns*/ FROM account_sums WHERE account IN (SELECT value FROM json_each($1)) ORDER BY account

-- name: sums_grant
UPDATE account_sums SET granted_units = granted_units + $2, grants = $3 WHERE account = $1

-- name: sums_move
UPDATE account_sums
SET settled_units = settled_units + $2, seq = max(seq, $3),
    settled = settled + $4, lost = lost + $5, released = released + $6, rejected = rejected + $7
WHERE account = $1

-- name: sums_drop
UPDATE account_sums
SET dropped_units = dropped_units + $2, dropped_calls = dropped_calls + $3, kept_from = max(COALESCE(kept_from, $4), $4),
    settled = settled - $5, lost = lost - $6, released = released - $7, rejected = rejected - $8
WHERE account = $1

-- name: sums_mask
UPDATE account_sums SET masked_before = max(COALESCE(masked_before, $2), $2) WHERE account = $1

-- A call may have been taken for another side of a switch that came after it: what is unreported never falls below zero.
-- name: hour_move
INSERT INTO account_hours (
    account, hour, settled, lost, released, rejected, seconds, units, micros, extra_units, extra_micros, unreported)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, max($12, 0))
ON CONFLICT (account, hour) DO UPDATE
SET settled = account_hours.settled + excluded.settled, lost = account_hours.lost + excluded.lost,
    released = account_hours.released + excluded.released, rejected = account_hours.rejected + excluded.rejected,
    seconds = account_hours.seconds + excluded.seconds, units = account_hours.units + excluded.units,
    micros = account_hours.micros + excluded.micros, extra_units = account_hours.extra_units + excluded.extra_units,
    extra_micros = account_hours.extra_micros + excluded.extra_micros,
    unreported = max(account_hours.unreported + $12, 0)

-- name: grant_columns
account, number, units, kind, reference, reason, created_at

-- name: grant_insert
INSERT INTO grants (/*=grant_columns*/, input_hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: grant_by_reference
SELECT /*=grant_columns*/, input_hash FROM grants WHERE account = $1 AND reference = $2

-- name: grants_after
SELECT /*=grant_columns*/ FROM grants WHERE account = $1 AND number > $2 ORDER BY number LIMIT $3

-- name: grants_newest
SELECT /*=grant_columns*/ FROM grants WHERE account = $1 ORDER BY number DESC LIMIT $2 OFFSET $3

-- name: grants_between
SELECT /*=grant_columns*/ FROM grants WHERE account = $1 AND created_at >= $2 AND created_at < $3 ORDER BY created_at, number

-- name: granted_before
SELECT COALESCE(sum(units), 0) FROM grants WHERE account = $1 AND created_at < $2
