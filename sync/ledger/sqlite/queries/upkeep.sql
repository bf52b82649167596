-- Refused records, retention, and the proof of the sums.

-- name: refused_put
INSERT INTO refused_records (digest, raw, reason, count, first_at, last_at) VALUES ($1, $2, $3, 1, $4, $4)
ON CONFLICT (digest) DO UPDATE
SET count = refused_records.count + 1, reason = excluded.reason, last_at = excluded.last_at

-- name: refused_columns
id, raw, reason, count, first_at, last_at

-- name: refused
SELECT /*=refused_columns*/ FROM refused_records WHERE id = $1

-- name: refused_locked
SELECT /*=refused_columns*/ FROM refused_records WHERE id = $1

-- name: refused_after
SELECT /*=refused_columns*/ FROM refused_records WHERE id > $1 ORDER BY id LIMIT $2

-- name: refused_count
SELECT count(*) FROM refused_records

-- name: refused_delete
DELETE FROM refused_records WHERE id = $1

-- name: old_calls
SELECT uid, status, units + extra_units FROM calls
WHERE account = $1 AND status IN ('settled', 'lost', 'released', 'rejected') AND created_at < $2
LIMIT $3

-- name: calls_delete
DELETE FROM calls WHERE uid IN (SELECT unhex(value) FROM json_each($1))

-- name: call_mask
UPDATE calls SET from_number = $2, to_number = $3, from_raw = $4, to_raw = $5 WHERE uid = $1

-- name: check_grants
SELECT count(*), COALESCE(max(number), 0), COALESCE(sum(units), 0) FROM grants WHERE account = $1

-- name: check_calls
SELECT status, count(*), COALESCE(sum(units + extra_units), 0), max(seq) FROM calls WHERE account = $1 GROUP BY status

-- The hours from $2 on whose sums differ from their calls.
-- name: check_hours
SELECT hour,
       COALESCE(k.settled, 0), COALESCE(f.settled, 0), COALESCE(k.lost, 0), COALESCE(f.lost, 0),
       COALESCE(k.released, 0), COALESCE(f.released, 0), COALESCE(k.rejected, 0), COALESCE(f.rejected, 0),
       COALESCE(k.seconds, 0), COALESCE(f.seconds, 0), COALESCE(k.units, 0), COALESCE(f.units, 0),
       COALESCE(k.micros, 0), COALESCE(f.micros, 0), COALESCE(k.extra_units, 0), COALESCE(f.extra_units, 0),
       COALESCE(k.extra_micros, 0), COALESCE(f.extra_micros, 0)
FROM (
    SELECT hour, settled, lost, released, rejected, seconds, units, micros, extra_units, extra_micros
    FROM account_hours WHERE account = $1 AND hour >= $2
) AS k
FULL JOIN (
    SELECT created_at - created_at % 3600000 AS hour,
        count(*) FILTER (WHERE status = 'settled') AS settled, count(*) FILTER (WHERE status = 'lost') AS lost,
        count(*) FILTER (WHERE status = 'released') AS released,
        count(*) FILTER (WHERE status = 'rejected') AS rejected,
        (sum(duration_sec) FILTER (WHERE status IN ('settled', 'lost'))) AS seconds,
        sum(units) AS units,
        sum(micros) AS micros, sum(extra_units) AS extra_units, sum(extra_micros) AS extra_micros
    FROM calls WHERE account = $1 AND created_at >= $2
    GROUP BY 1
) AS f USING (hour)
WHERE (
    COALESCE(k.settled, 0), COALESCE(k.lost, 0), COALESCE(k.released, 0), COALESCE(k.rejected, 0),
    COALESCE(k.seconds, 0), COALESCE(k.units, 0), COALESCE(k.micros, 0), COALESCE(k.extra_units, 0),
    COALESCE(k.extra_micros, 0)
) <> (
    COALESCE(f.settled, 0), COALESCE(f.lost, 0), COALESCE(f.released, 0), COALESCE(f.rejected, 0),
    COALESCE(f.seconds, 0), COALESCE(f.units, 0), COALESCE(f.micros, 0), COALESCE(f.extra_units, 0),
    COALESCE(f.extra_micros, 0)
)
ORDER BY hour
