-- Webhooks, alerts and what is on its way to customers.

-- name: account_touch
UPDATE accounts SET revision = $2 WHERE id = $1

-- name: webhook_columns
account, number_id, url, secret, updated_at

-- name: webhook_put
INSERT INTO webhooks (/*=webhook_columns*/) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (account, number_id) DO UPDATE SET url = excluded.url, secret = excluded.secret, updated_at = excluded.updated_at

-- name: webhook_remove
DELETE FROM webhooks WHERE account = $1 AND number_id = $2

-- name: webhook
SELECT /*=webhook_columns*/ FROM webhooks WHERE account = $1 AND number_id = $2

-- name: webhooks
SELECT /*=webhook_columns*/ FROM webhooks WHERE account = $1 ORDER BY number_id

-- name: webhooks_of
SELECT /*=webhook_columns*/ FROM webhooks WHERE account IN (SELECT value FROM json_each($1))

-- name: numbers_by_id
SELECT /*=number_columns*/ FROM numbers WHERE id IN (SELECT value FROM json_each($1))

-- name: alerts_columns
account, below_units, email, low_at, exhausted_at, updated_at

-- name: alerts
SELECT /*=alerts_columns*/ FROM alerts WHERE account = $1

-- name: alerts_of
SELECT /*=alerts_columns*/ FROM alerts WHERE account IN (SELECT value FROM json_each($1))

-- What was told stays told, unless the threshold moves.
-- name: alerts_put
INSERT INTO alerts (account, below_units, email, updated_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (account) DO UPDATE
SET low_at = CASE WHEN alerts.below_units = excluded.below_units THEN alerts.low_at END,
    below_units = excluded.below_units, email = excluded.email, updated_at = excluded.updated_at

-- name: alerts_open
INSERT INTO alerts (account, updated_at) VALUES ($1, $2) ON CONFLICT (account) DO NOTHING

-- Each of these changes a row once: who changed it tells the customer.
-- name: alert_low
UPDATE alerts SET low_at = $2 WHERE account = $1 AND low_at IS NULL AND below_units > 0

-- Changes the row unless an e-mail about low credit was queued after a time.
-- name: alert_mailed
UPDATE alerts SET mailed_at = $2 WHERE account = $1 AND (mailed_at IS NULL OR mailed_at <= $3)

-- name: alert_exhausted
UPDATE alerts SET exhausted_at = $2 WHERE account = $1 AND exhausted_at IS NULL

-- name: alert_rearm
UPDATE alerts
SET low_at = CASE WHEN $2 > 0 THEN NULL ELSE low_at END,
    mailed_at = CASE WHEN $2 > 0 THEN NULL ELSE mailed_at END,
    exhausted_at = CASE WHEN $3 > 0 THEN NULL ELSE exhausted_at END
WHERE account = $1 AND (low_at IS NOT NULL OR mailed_at IS NOT NULL OR exhausted_at IS NOT NULL)

-- name: delivery_columns
id, account, number_id, endpoint, topic, event, body, state, attempts, due, since, error, created_at, done_at

-- name: delivery_put
INSERT INTO deliveries (id, account, number_id, endpoint, topic, event, body, state, due, since, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8, $8, $8)
ON CONFLICT (id) DO NOTHING

-- Whether credit was added at a time or after it.
-- name: granted_since
SELECT count(*) FROM (SELECT 1 FROM grants WHERE account = $1 AND units > 0 AND created_at >= $2 LIMIT 1) AS g

-- The endpoints of accounts that have something to try now, whose breaker is closed, and that nobody works on: those
-- that were not worked on for the longest time first. They are found by jumps through the index, however many
-- deliveries wait for each. $3: e-mail (1) or webhooks (0).
-- name: endpoints_ready
WITH RECURSIVE lanes (seq) AS (
    SELECT (SELECT d.seq FROM deliveries AS d WHERE d.state = 'pending' ORDER BY d.account, d.endpoint, d.seq LIMIT 1)
    UNION ALL
    SELECT COALESCE(
        (SELECT d.seq FROM deliveries AS d
            WHERE d.state = 'pending' AND d.account = l.account AND d.endpoint > l.endpoint ORDER BY d.endpoint, d.seq LIMIT 1),
        (SELECT d.seq FROM deliveries AS d
            WHERE d.state = 'pending' AND d.account > l.account ORDER BY d.account, d.endpoint, d.seq LIMIT 1))
    FROM lanes JOIN deliveries AS l ON l.seq = lanes.seq
)
SELECT l.account, l.endpoint
FROM lanes JOIN deliveries AS l ON l.seq = lanes.seq
    LEFT JOIN endpoints AS e ON e.account = l.account AND e.endpoint = l.endpoint
WHERE (l.endpoint LIKE 'mailto:%') = ($3 > 0)
    AND (e.open_until IS NULL OR e.open_until <= $1)
    AND (e.leased_until IS NULL OR e.leased_until <= $1)
    AND EXISTS (
        SELECT 1 FROM deliveries AS d
        WHERE d.state = 'pending' AND d.account = l.account AND d.endpoint = l.endpoint AND d.due <= $1
            AND (d.topic = '' OR NOT EXISTS (
                SELECT 1 FROM deliveries AS b
                WHERE b.state = 'pending' AND b.account = d.account AND b.endpoint = d.endpoint AND b.topic = d.topic
                    AND b.seq < d.seq AND b.due > $1)))
ORDER BY e.worked_at NULLS FIRST, l.seq
LIMIT $2

-- name: endpoint_lease
INSERT INTO endpoints (account, endpoint, holder, leased_until) VALUES ($1, $2, $3, $5)
ON CONFLICT (account, endpoint) DO UPDATE SET holder = excluded.holder, leased_until = excluded.leased_until
WHERE (endpoints.leased_until IS NULL OR endpoints.leased_until <= $4)
    AND (endpoints.open_until IS NULL OR endpoints.open_until <= $4)
RETURNING account, endpoint, failures, open_until

-- name: endpoint_note
UPDATE endpoints SET failures = $4, open_until = $5 WHERE account = $1 AND endpoint = $2 AND holder = $3

-- name: endpoint_close
UPDATE endpoints SET failures = 0, open_until = NULL WHERE account = $1 AND endpoint = $2

-- name: endpoint_free
UPDATE endpoints SET leased_until = NULL, holder = '', worked_at = $4 WHERE account = $1 AND endpoint = $2 AND holder = $3

-- name: endpoints_free
UPDATE endpoints SET leased_until = NULL, holder = '' WHERE holder = $1

-- Those that nothing waits for and that nobody works on.
-- name: endpoints_drop
DELETE FROM endpoints
WHERE (leased_until IS NULL OR leased_until <= $1)
    AND NOT EXISTS (SELECT 1 FROM deliveries AS d
        WHERE d.state = 'pending' AND d.account = endpoints.account AND d.endpoint = endpoints.endpoint)

-- What is due of an endpoint and behind nothing that waits for a later attempt.
-- name: deliveries_due
SELECT /*=delivery_columns*/, COALESCE((
    SELECT w.secret FROM webhooks AS w WHERE w.account = d.account AND w.number_id = d.number_id AND w.url = d.endpoint), '')
FROM deliveries AS d
WHERE d.state = 'pending' AND d.account = $1 AND d.endpoint = $2 AND d.due <= $3
    AND (d.topic = '' OR NOT EXISTS (
        SELECT 1 FROM deliveries AS b
        WHERE b.state = 'pending' AND b.account = d.account AND b.endpoint = d.endpoint AND b.topic = d.topic
            AND b.seq < d.seq AND b.due > $3))
ORDER BY d.seq LIMIT $4

-- name: delivery_done
UPDATE deliveries SET state = $2, attempts = $3, due = $4, error = $5, done_at = $6 WHERE id = $1 AND state = 'pending'

-- name: deliveries_give_up
UPDATE deliveries SET state = 'dead', done_at = $4, error = CASE WHEN error = '' THEN $5 ELSE error END
WHERE state = 'pending' AND account = $1 AND endpoint = $2 AND since <= $3

-- A webhook that moved or went takes along what waits for it.
-- name: deliveries_move
UPDATE deliveries SET endpoint = $3, due = $4
WHERE account = $1 AND number_id = $2 AND state = 'pending' AND endpoint NOT LIKE 'mailto:%'

-- name: deliveries_orphan
UPDATE deliveries SET state = 'dead', done_at = $3, error = $4
WHERE account = $1 AND number_id = $2 AND state = 'pending' AND endpoint NOT LIKE 'mailto:%'

-- name: delivery
SELECT /*=delivery_columns*/, '' FROM deliveries WHERE id = $1

-- name: deliveries_page
SELECT /*=delivery_columns*/, '' FROM deliveries
WHERE ($1 = '' OR account = $1) AND ($2 = '' OR state = $2) ORDER BY seq DESC LIMIT $3 OFFSET $4

-- name: deliveries_count
SELECT count(*) FROM deliveries WHERE ($1 = '' OR account = $1) AND ($2 = '' OR state = $2)

-- A replayed delivery goes to where its webhook is now.
-- name: delivery_again
UPDATE deliveries SET state = 'pending', due = $2, since = $2, done_at = NULL,
    endpoint = COALESCE((SELECT w.url FROM webhooks AS w
        WHERE w.account = deliveries.account AND w.number_id = deliveries.number_id AND deliveries.endpoint NOT LIKE 'mailto:%'), endpoint)
WHERE id = $1 AND state <> 'pending'

-- name: deliveries_again
UPDATE deliveries SET state = 'pending', due = $2, since = $2, done_at = NULL,
    endpoint = COALESCE((SELECT w.url FROM webhooks AS w
        WHERE w.account = deliveries.account AND w.number_id = deliveries.number_id AND deliveries.endpoint NOT LIKE 'mailto:%'), endpoint)
WHERE account = $1 AND state = 'dead'

-- name: deliveries_drop
DELETE FROM deliveries WHERE seq IN (
    SELECT seq FROM deliveries WHERE state = $1 AND done_at < $2 ORDER BY done_at LIMIT $3
)

-- name: queue_depth
SELECT count(*), min(created_at), (SELECT count(*) FROM deliveries WHERE state = 'dead') FROM deliveries WHERE state = 'pending'

-- name: billing_email
SELECT COALESCE(NULLIF(b.email, ''), a.email) FROM accounts AS a LEFT JOIN billing AS b ON b.account = a.id WHERE a.id = $1

-- Once an endpoint takes messages again, all that waits for it is due.
-- name: deliveries_hasten
UPDATE deliveries SET due = $3 WHERE account = $1 AND endpoint = $2 AND state = 'pending' AND due > $3
