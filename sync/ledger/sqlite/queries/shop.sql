-- Purchases, invoices, what Stripe told, top-ups.

-- name: purchase_columns
id, account, kind, state, units, net, gross, currency, save_card, success_url, cancel_url, tax, session, intent, charge, invoice, back, problem, attempts, due_at, created_at, expires_at, paid_at, quoted, language

-- name: purchase_insert
INSERT INTO purchases (/*=purchase_columns*/)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)

-- name: purchase_update
UPDATE purchases
SET state = $2, gross = $3, session = $4, intent = $5, charge = $6, invoice = $7, back = $8, problem = $9, attempts = $10, due_at = $11, paid_at = $12
WHERE id = $1

-- name: purchase
SELECT /*=purchase_columns*/ FROM purchases WHERE id = $1

-- name: purchase_of
SELECT /*=purchase_columns*/ FROM purchases
WHERE (session = $1 AND session <> '') OR (intent = $2 AND intent <> '') OR (invoice = $3 AND invoice <> '') LIMIT 1

-- name: purchases_of_account
SELECT /*=purchase_columns*/ FROM purchases WHERE account = $1 ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3

-- name: purchases_aside
SELECT /*=purchase_columns*/ FROM purchases WHERE problem NOT IN ('', $1) AND (state IN ('open', 'paid') OR problem LIKE $3) ORDER BY created_at DESC LIMIT $2

-- name: purchases_claim
UPDATE purchases SET due_at = $2, attempts = attempts + 1
WHERE due_at <= $1 AND id = (SELECT id FROM purchases WHERE due_at <= $1 ORDER BY due_at LIMIT 1)
RETURNING /*=purchase_columns*/

-- name: purchases_look
UPDATE purchases SET due_at = $2 WHERE account = $1 AND state = 'open' AND due_at > $2

-- name: purchases_count
SELECT count(*) FILTER (WHERE state = 'open'), count(*) FILTER (WHERE state = 'paid'), count(*) FILTER (WHERE state IN ('failed', 'expired')) FROM purchases

-- name: top_ups_since
SELECT count(*) FROM purchases WHERE account = $1 AND kind = 'top-up' AND created_at > $2 AND problem NOT LIKE $3

-- name: top_up_open
SELECT /*=purchase_columns*/ FROM purchases WHERE account = $1 AND kind = 'top-up' AND state = 'open'

-- name: payback
SELECT amount, units FROM paybacks WHERE reference = $1

-- name: payback_insert
INSERT INTO paybacks (reference, purchase, amount, units, created_at) VALUES ($1, $2, $3, $4, $5)

-- name: paybacks_sum
SELECT COALESCE(sum(amount), 0), COALESCE(sum(units), 0) FROM paybacks WHERE purchase = $1

-- name: invoice_columns
id, account, purchase, number, status, created_at, currency, net, vat, vat_rate, reverse_charge, total, pay_url, pdf_url

-- name: invoice_put
INSERT INTO invoices (/*=invoice_columns*/) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (id) DO UPDATE
SET number = excluded.number, status = excluded.status, created_at = excluded.created_at, net = excluded.net, vat = excluded.vat,
    vat_rate = excluded.vat_rate, reverse_charge = excluded.reverse_charge, total = excluded.total, pay_url = excluded.pay_url, pdf_url = excluded.pdf_url
WHERE invoices.status IN ('draft', 'open') OR excluded.status NOT IN ('draft', 'open')

-- name: invoice
SELECT /*=invoice_columns*/ FROM invoices WHERE account = $1 AND id = $2

-- name: invoices_of_account
SELECT /*=invoice_columns*/ FROM invoices WHERE account = $1 ORDER BY created_at DESC, purchase DESC, id DESC LIMIT $2 OFFSET $3

-- name: invoices_count
SELECT count(*) FROM invoices WHERE account = $1

-- name: event_columns
id, type, object, need, body, state, attempts, problem, created_at, received_at, due_at, done_at

-- name: event_insert
INSERT INTO stripe_events (/*=event_columns*/) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING

-- name: event
SELECT /*=event_columns*/ FROM stripe_events WHERE id = $1

-- name: events_claim
UPDATE stripe_events SET due_at = $2, attempts = attempts + 1
WHERE state = 'waiting' AND due_at <= $1
    AND id = (SELECT id FROM stripe_events WHERE state = 'waiting' AND due_at <= $1 ORDER BY need, due_at LIMIT 1)
RETURNING /*=event_columns*/

-- name: event_update
UPDATE stripe_events SET state = $2, problem = $3, due_at = $4, done_at = $5, attempts = $6 WHERE id = $1

-- name: events_aside
SELECT /*=event_columns*/ FROM stripe_events WHERE state = 'aside' ORDER BY received_at DESC LIMIT $1

-- name: events_failing
SELECT /*=event_columns*/ FROM stripe_events WHERE state = 'waiting' AND problem <> '' ORDER BY received_at LIMIT $1

-- name: events_count
SELECT count(*) FILTER (WHERE state = 'waiting'), count(*) FILTER (WHERE state = 'aside'), count(*) FILTER (WHERE state = 'done') FROM stripe_events

-- name: events_prune
DELETE FROM stripe_events WHERE state = 'done' AND done_at < $1

-- name: event_newest
SELECT received_at FROM stripe_events ORDER BY received_at DESC LIMIT 1

-- name: mark
SELECT at, due_at FROM stripe_marks WHERE name = $1

-- name: mark_claim
INSERT INTO stripe_marks (name, at, due_at) VALUES ($1, $2, $4)
ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at WHERE stripe_marks.due_at <= $3
RETURNING at

-- name: mark_move
UPDATE stripe_marks SET at = max(at, $2) WHERE name = $1

-- name: top_up_columns
account, enabled, below, units, max_per_day, declined, not_before, problem, pay_url, updated_at

-- name: top_up_put
INSERT INTO top_ups (/*=top_up_columns*/) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (account) DO UPDATE
SET enabled = excluded.enabled, below = excluded.below, units = excluded.units, max_per_day = excluded.max_per_day, declined = excluded.declined,
    not_before = excluded.not_before, problem = excluded.problem, pay_url = excluded.pay_url, updated_at = excluded.updated_at

-- name: top_up
SELECT /*=top_up_columns*/ FROM top_ups WHERE account = $1

-- name: top_ups_enabled
SELECT /*=top_up_columns*/ FROM top_ups WHERE enabled AND account > $1 AND (not_before IS NULL OR not_before <= $2) ORDER BY account LIMIT $3

-- name: top_ups_failing
SELECT /*=top_up_columns*/ FROM top_ups WHERE problem <> '' ORDER BY updated_at DESC, account LIMIT $1

-- name: card_newer
SELECT count(*) FROM purchases WHERE account = $1 AND save_card AND state = 'paid' AND created_at > $2

-- name: card_put
INSERT INTO billing (account, card, card_name, updated_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (account) DO UPDATE SET card = excluded.card, card_name = excluded.card_name, updated_at = excluded.updated_at
