-- Calls: written by ingest, read by uid, key, time or seq.

-- name: call_columns
uid, account, status, switch, direction, call_id, seq, epoch, created_at, authorized_at, answered_at,
talk_ms, duration_sec, units, micros, extra_units, extra_micros, overrun_units, flags, reason,
rate_units, connect_units, rate_micros, connect_micros, initial_sec, step_sec, credit_price_micros, max_seconds,
from_number, to_number, from_raw, to_raw, number_id, mode, tariff, prefix, currency, recorded_at

-- What ingest must know of the calls it has already.
-- name: calls_known
SELECT uid, account, status, switch, direction, call_id, created_at, duration_sec, units, micros, extra_units, extra_micros
FROM calls WHERE uid = ANY($1::uuid[])

-- Ingest has compared the ranks under the account's lock: what comes here replaces.
-- name: call_put
INSERT INTO calls (/*=call_columns*/)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25,
        $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38)
ON CONFLICT (uid) DO UPDATE
SET status = excluded.status, seq = excluded.seq, epoch = excluded.epoch, created_at = excluded.created_at,
    authorized_at = excluded.authorized_at, answered_at = excluded.answered_at, talk_ms = excluded.talk_ms,
    duration_sec = excluded.duration_sec, units = excluded.units, micros = excluded.micros,
    extra_units = excluded.extra_units, extra_micros = excluded.extra_micros, overrun_units = excluded.overrun_units,
    flags = excluded.flags, reason = excluded.reason, rate_units = excluded.rate_units,
    connect_units = excluded.connect_units, rate_micros = excluded.rate_micros,
    connect_micros = excluded.connect_micros, initial_sec = excluded.initial_sec, step_sec = excluded.step_sec,
    credit_price_micros = excluded.credit_price_micros, max_seconds = excluded.max_seconds,
    from_number = excluded.from_number, to_number = excluded.to_number, from_raw = excluded.from_raw,
    to_raw = excluded.to_raw, number_id = excluded.number_id, mode = excluded.mode, tariff = excluded.tariff,
    prefix = excluded.prefix, currency = excluded.currency, recorded_at = excluded.recorded_at
WHERE calls.account = excluded.account

-- name: call
SELECT /*=call_columns*/ FROM calls WHERE uid = $1

-- name: calls_by_id
SELECT /*=call_columns*/ FROM calls WHERE call_id = $1 ORDER BY created_at DESC, uid DESC LIMIT $2

-- name: calls_after_seq
SELECT /*=call_columns*/ FROM calls WHERE account = $1 AND seq > $2 ORDER BY seq, uid LIMIT $3

-- The wanted calls of an account in a time range: each status is read in the order of calls_time, and the four are
-- merged. $2 to $5 switch a status on. Each branch
-- is ordered, or Postgres would sort them all together.
-- name: calls_wanted
(SELECT uid, created_at FROM calls
WHERE $2::boolean AND account = $1 AND status = 'settled' AND created_at >= $6 AND created_at < $7
ORDER BY created_at DESC, uid DESC)
UNION ALL
(SELECT uid, created_at FROM calls
WHERE $3::boolean AND account = $1 AND status = 'lost' AND created_at >= $6 AND created_at < $7
ORDER BY created_at DESC, uid DESC)
UNION ALL
(SELECT uid, created_at FROM calls
WHERE $4::boolean AND account = $1 AND status = 'released' AND created_at >= $6 AND created_at < $7
ORDER BY created_at DESC, uid DESC)
UNION ALL
(SELECT uid, created_at FROM calls
WHERE $5::boolean AND account = $1 AND status = 'rejected' AND created_at >= $6 AND created_at < $7
ORDER BY created_at DESC, uid DESC)

-- Newest first. The page is found in the index alone, so that a far page does not read the rows before it.
-- name: calls_page
SELECT /*=call_columns*/ FROM calls
WHERE uid = ANY(ARRAY(
    SELECT uid FROM (/*=calls_wanted*/ ORDER BY created_at DESC, uid DESC LIMIT $8 OFFSET $9) AS wanted
))
ORDER BY created_at DESC, uid DESC

-- The hour in [$6, $7) that holds the wanted call with $8 newer ones, and how many of those are in newer hours.
-- name: hour_of_offset
SELECT hour, through - n FROM (
    SELECT hour, n, sum(n) OVER (ORDER BY hour DESC)::bigint AS through FROM (
        SELECT hour, $2::bigint * settled + $3::bigint * lost + $4::bigint * released + $5::bigint * rejected AS n
        FROM account_hours WHERE account = $1 AND hour >= $6 AND hour < $7
    ) AS counted
) AS summed
WHERE through > $8 ORDER BY hour DESC LIMIT 1

-- name: calls_wanted_after
(SELECT uid, created_at FROM calls
WHERE $2::boolean AND account = $1 AND status = 'settled' AND (created_at, uid) > ($6, $8::uuid) AND created_at < $7
ORDER BY created_at, uid)
UNION ALL
(SELECT uid, created_at FROM calls
WHERE $3::boolean AND account = $1 AND status = 'lost' AND (created_at, uid) > ($6, $8::uuid) AND created_at < $7
ORDER BY created_at, uid)
UNION ALL
(SELECT uid, created_at FROM calls
WHERE $4::boolean AND account = $1 AND status = 'released' AND (created_at, uid) > ($6, $8::uuid) AND created_at < $7
ORDER BY created_at, uid)
UNION ALL
(SELECT uid, created_at FROM calls
WHERE $5::boolean AND account = $1 AND status = 'rejected' AND (created_at, uid) > ($6, $8::uuid) AND created_at < $7
ORDER BY created_at, uid)

-- Oldest first, after the call ($6, $8): for readers that walk through many.
-- name: calls_next
SELECT /*=call_columns*/ FROM calls
WHERE uid = ANY(ARRAY(
    SELECT uid FROM (/*=calls_wanted_after*/ ORDER BY created_at, uid LIMIT $9) AS wanted
))
ORDER BY created_at, uid

-- Whole hours [$2, $3) and the calls of two partial ones, [$4, $5) and [$6, $7).
-- name: usage_sum
SELECT COALESCE(sum(calls), 0)::bigint, COALESCE(sum(seconds), 0)::bigint, COALESCE(sum(units), 0)::bigint,
       COALESCE(sum(micros), 0)::bigint, COALESCE(sum(extra_units), 0)::bigint, COALESCE(sum(extra_micros), 0)::bigint
FROM (
    SELECT settled + lost AS calls, seconds, units, micros, extra_units, extra_micros
    FROM account_hours WHERE account = $1 AND hour >= $2 AND hour < $3
    UNION ALL
    SELECT 1, duration_sec, units, micros, extra_units, extra_micros
    FROM calls WHERE account = $1 AND status IN ('settled', 'lost') AND created_at >= $4 AND created_at < $5
    UNION ALL
    SELECT 1, duration_sec, units, micros, extra_units, extra_micros
    FROM calls WHERE account = $1 AND status IN ('settled', 'lost') AND created_at >= $6 AND created_at < $7
) AS part

-- name: hours_between
SELECT hour, settled + lost, seconds, units, micros, extra_units, extra_micros
FROM account_hours WHERE account = $1 AND hour >= $2 AND hour < $3 AND settled + lost > 0 ORDER BY hour
