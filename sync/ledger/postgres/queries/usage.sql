-- Usage that is reported to Stripe.

-- The accounts after $1 with an open hour before $2.
-- name: usage_open
SELECT DISTINCT account FROM account_hours
WHERE seconds <> reported + unreported AND account > $1 AND hour < $2 ORDER BY account LIMIT $3

-- name: usage_open_hours
SELECT hour, seconds - reported - unreported FROM account_hours
WHERE account = $1 AND seconds <> reported + unreported AND hour > $2 AND hour < $3 ORDER BY hour LIMIT $4

-- name: usage_hour_move
UPDATE account_hours SET reported = reported + $3 WHERE account = $1 AND hour = $2

-- name: usage_owed
SELECT owed FROM usage_accounts WHERE account = $1

-- name: usage_owed_put
INSERT INTO usage_accounts (account, owed) VALUES ($1, $2)
ON CONFLICT (account) DO UPDATE SET owed = excluded.owed

-- name: usage_switches
SELECT account, at, off FROM usage_switches WHERE account = ANY($1::text[]) ORDER BY account, at

-- name: usage_switch
INSERT INTO usage_switches (account, at, off) VALUES ($1, $2, $3)

-- name: usage_columns
identifier, account, hour, n, seconds, minute, state, attempts, sent_at, absent_at, holder, due_at, problem, created_at, proven_at

-- name: usage_insert
INSERT INTO usage_batches (/*=usage_columns*/) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, NULL, NULL, '', $8, '', $8, NULL)

-- name: usage_last
SELECT COALESCE(max(n), 0) FROM usage_batches WHERE account = $1 AND hour = $2

-- name: usage_minutes
SELECT minute FROM usage_batches WHERE account = $1 AND minute >= $2 AND minute < $3

-- An array is made once; a subquery may be run again for each row, and lock more of them.
-- name: usage_claim
UPDATE usage_batches SET holder = $1, due_at = $3
WHERE identifier = ANY(ARRAY(SELECT identifier FROM usage_batches WHERE due_at <= $2 ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED))
RETURNING /*=usage_columns*/

-- name: usage_begin
UPDATE usage_batches SET minute = $3, state = 'sent', attempts = attempts + 1, sent_at = $4, absent_at = NULL
WHERE identifier = $1 AND holder = $2
RETURNING /*=usage_columns*/

-- name: usage_save
UPDATE usage_batches SET state = $3, sent_at = $4, absent_at = $5, due_at = $6, problem = $7, proven_at = $8, holder = ''
WHERE identifier = $1 AND holder = $2

-- name: usage_of_account
SELECT /*=usage_columns*/ FROM usage_batches WHERE account = $1 ORDER BY hour DESC, n DESC LIMIT $2 OFFSET $3

-- name: usage_problems
SELECT /*=usage_columns*/ FROM usage_batches
WHERE due_at IS NOT NULL AND problem <> '' AND ($1::text = '' OR account = $1) AND ($2::text = '' OR state = $2)
ORDER BY hour, account, n LIMIT $3

-- name: usage_sums
SELECT COALESCE(sum(seconds), 0)::bigint, COALESCE(sum(reported), 0)::bigint, COALESCE(sum(unreported), 0)::bigint
FROM account_hours WHERE account = $1

-- name: usage_proven
SELECT COALESCE(sum(seconds), 0)::bigint FROM usage_batches WHERE account = $1 AND state = 'proven'

-- name: usage_queue
SELECT state, count(*), sum(seconds)::bigint, min(hour) FROM usage_batches WHERE due_at IS NOT NULL GROUP BY state
