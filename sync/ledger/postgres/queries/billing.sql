-- Billing details, and how far they have come to Stripe.

-- name: billing_columns
account, company, email, line1, line2, postal_code, city, state, country, vat_id, vat_status, customer, tax_id, card, card_name, updated_at

-- name: billing
SELECT /*=billing_columns*/ FROM billing WHERE account = $1

-- What is known of a VAT ID is known of that one only.
-- name: billing_put
INSERT INTO billing (account, company, email, line1, line2, postal_code, city, state, country, vat_id, vat_status, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (account) DO UPDATE
SET company = excluded.company, email = excluded.email, line1 = excluded.line1, line2 = excluded.line2,
    postal_code = excluded.postal_code, city = excluded.city, state = excluded.state, country = excluded.country,
    vat_id = excluded.vat_id, updated_at = excluded.updated_at,
    vat_status = CASE WHEN billing.vat_id = excluded.vat_id THEN billing.vat_status ELSE excluded.vat_status END

-- The card that was kept went with the customer that had it.
-- name: billing_customer
INSERT INTO billing (account, customer, updated_at) VALUES ($1, $3, $4)
ON CONFLICT (account) DO UPDATE SET customer = excluded.customer, card = '', card_name = '', updated_at = excluded.updated_at
WHERE billing.customer = $2

-- A tax id that was found good or bad is pending no more: that was said before.
-- name: billing_tax_id
UPDATE billing SET tax_id = $3, vat_status = $4, updated_at = $5
WHERE account = $1 AND vat_id = $2 AND (tax_id <> $3 OR vat_status <> $4)
    AND NOT (tax_id = $3 AND $4 = 'pending' AND vat_status IN ('verified', 'unverified'))

-- name: billing_account
SELECT account FROM billing WHERE customer = $1

-- name: billing_sync_next
INSERT INTO billing_sync (account, revision, due_at) VALUES ($1, 1, $2)
ON CONFLICT (account) DO UPDATE SET revision = billing_sync.revision + 1, attempts = 0, due_at = excluded.due_at, problem = ''

-- name: billing_sync_columns
account, revision, synced, attempts, holder, due_at, problem

-- name: billing_sync
SELECT /*=billing_sync_columns*/ FROM billing_sync WHERE account = $1

-- name: billing_sync_failing
SELECT /*=billing_sync_columns*/ FROM billing_sync WHERE problem <> '' ORDER BY account LIMIT $1

-- One that is due, or that of $4, due now or later.
-- name: billing_sync_claim
UPDATE billing_sync SET holder = $1, lease_until = $3
WHERE account = ANY(ARRAY(
    SELECT account FROM billing_sync
    WHERE due_at IS NOT NULL AND (due_at <= $2 OR account = $4) AND (lease_until IS NULL OR lease_until <= $2) AND ($4::text = '' OR account = $4)
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED))
RETURNING /*=billing_sync_columns*/

-- Details that have changed meanwhile stay due.
-- name: billing_sync_save
UPDATE billing_sync
SET synced = $4, attempts = $5, problem = $7, holder = '', lease_until = NULL,
    due_at = CASE WHEN revision = $3 THEN $6 ELSE due_at END
WHERE account = $1 AND holder = $2
